// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	podmanhooks "go.podman.io/common/pkg/hooks"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// installHost is a host with our program.
func installHost(t *testing.T) (*testHost, Install) {
	h := newTestHost(t)
	h.Write("usr/bin/bootc-podman", programMark)
	if err := os.Chmod(h.Path("usr/bin/bootc-podman"), 0o755); err != nil {
		t.Fatal(err)
	}
	return h, Install{Root: h.Dir, Program: "/usr/bin/bootc-podman", Mode: hooks.Warn}
}

// fileOf is where the hook of a name is installed.
func fileOf(name string) string {
	h, _ := hooks.Find(name)
	return hookFile(h)
}

func (h *testHost) chown(name string, uid int) {
	h.t.Helper()
	if err := os.Chown(h.Path(name), uid, -1); errors.Is(err, fs.ErrPermission) {
		h.t.Skip("needs root")
	} else if err != nil {
		h.t.Fatal(err)
	}
}

// tree is every file below the root with its mode and content.
func (h *testHost) tree() string {
	h.t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(h.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
		}
		fmt.Fprintf(&out, "%s %v %q\n", strings.TrimPrefix(path, h.Dir), fi.Mode(), content)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out.String()
}

func TestInstallAndUninstall(t *testing.T) {
	for _, there := range []string{"", "etc", "etc/containers/containers.conf.d", "etc/bootc-podman/hooks.d", "etc/bootc-podman/bound.lock"} {
		t.Run(there, func(t *testing.T) {
			h, install := installHost(t)
			if strings.HasSuffix(there, ".lock") {
				h.Write(there, "{}")
			} else if there != "" {
				h.Mkdir(there)
			}
			before := h.tree()
			if err := install.Do(); err != nil {
				t.Fatal(err)
			}
			once := h.tree()
			if err := install.Do(); err != nil || h.tree() != once {
				t.Errorf("twice: %v,\n%s\nwant\n%s", err, h.tree(), once)
			}
			if findings, err := Verify(h.Dir, Podman{Version: "4.3.1"}); len(findings) > 0 || err != nil {
				t.Errorf("verify: %v, %v", findings, err)
			}
			install.Mode = hooks.Deny
			if err := install.Do(); err != nil || h.tree() == once || !strings.Contains(h.tree(), `\"deny\"`) {
				t.Errorf("another mode: %v,\n%s", err, h.tree())
			}
			for range 2 {
				if err := Uninstall(h.Dir); err != nil || h.tree() != before {
					t.Errorf("uninstalled: %v,\n%s\nwant\n%s", err, h.tree(), before)
				}
			}
		})
	}
}

func TestInstallIsWhatPodmanReads(t *testing.T) {
	h, install := installHost(t)
	if err := install.Do(); err != nil {
		t.Fatal(err)
	}
	for _, name := range hooks.Names() {
		hook, err := podmanhooks.Read(h.Path(fileOf(name)), podmanStages())
		if hook == nil || !errors.Is(err, fs.ErrNotExist) && err != nil { // the program is in the root only
			t.Fatalf("%s: %v", name, err)
		}
		if hook.Hook.Timeout == nil || *hook.Hook.Timeout != hooks.Timeout || !slices.Equal(hook.Hook.Args[:3], []string{"bootc-podman", "hook", name}) {
			t.Errorf("%s: %+v", name, hook.Hook)
		}
		precreate := slices.Contains(hook.Stages, "precreate")
		if precreate != (name != hooks.Ledger) {
			t.Errorf("%s: stages %v", name, hook.Stages)
		}
	}
	dir, err := rooted.OpenRoot(h.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	c, err := Podman{}.read(dir, Podman{}.orders()[0])
	if got := effective(c.all()); err != nil || !slices.Equal(got, []string{DefaultHooksDir, PrivateDir}) {
		t.Errorf("directories %v, %v", got, err)
	}
}

func TestInstallAtOnce(t *testing.T) {
	h, install := installHost(t)
	before := h.tree()
	for range 5 {
		done := make(chan error)
		const many = 16
		for n := range many {
			go func() {
				one := install
				one.Mode = hooks.Modes()[n%3]
				if n%4 == 3 {
					done <- Uninstall(h.Dir)
				} else {
					done <- one.Do()
				}
			}()
		}
		for range many {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := install.Do(); err != nil {
			t.Fatal(err)
		}
		if findings, err := Verify(h.Dir, Podman{}); len(findings) > 0 || err != nil {
			t.Errorf("verify: %v, %v", findings, err)
		}
		if err := Uninstall(h.Dir); err != nil || h.tree() != before {
			t.Fatalf("uninstalled: %v,\n%s\nwant\n%s", err, h.tree(), before)
		}
	}
}

func TestInstallKnowsItsFilesWithoutARecord(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(h *testHost)
	}{
		{"no record", func(h *testHost) { _ = os.Remove(h.Path(recordPath)) }},
		{"an empty one", func(h *testHost) { h.Write(recordPath, "") }},
		{"a truncated one", func(h *testHost) { h.Write(recordPath, `{"direc`) }},
		{"what was being written", func(h *testHost) {
			_ = os.Remove(h.Path(recordPath))
			_ = os.Remove(h.Path(DropIn))
			h.Write(PrivateDir+"/.50-bootc-podman-ledger.json.X.tmp", "{")
			h.Write(dropInDir+"/.50-bootc-podman-hooks.conf.X.tmp", "")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, install := installHost(t)
			h.Mkdir(dropInDir)
			before := h.tree()
			install.Mode = hooks.Enforce
			if err := install.Do(); err != nil {
				t.Fatal(err)
			}
			tt.with(h)
			if err := Uninstall(h.Dir); err != nil || h.tree() != before {
				t.Errorf("uninstalled: %v,\n%s\nwant\n%s", err, h.tree(), before)
			}
			if err := install.Do(); err != nil {
				t.Fatal(err)
			}
			tt.with(h)
			install.Mode = hooks.Deny
			if err := install.Do(); err != nil {
				t.Fatal(err)
			}
			if err := Uninstall(h.Dir); err != nil || h.tree() != before {
				t.Errorf("installed again and uninstalled: %v,\n%s\nwant\n%s", err, h.tree(), before)
			}
		})
	}
}

func TestUninstallGoesOn(t *testing.T) {
	h, install := installHost(t)
	before := h.tree()
	if err := install.Do(); err != nil {
		t.Fatal(err)
	}
	// No user can remove this file.
	_ = os.Remove(h.Path(DropIn))
	h.Write(DropIn+"/x", "")
	if err := Uninstall(h.Dir); err == nil || !strings.Contains(err.Error(), "hooks.conf") {
		t.Errorf("got %v", err)
	}
	for _, name := range hooks.Names() {
		if h.Exists(fileOf(name)) {
			t.Errorf("%s is still there", name)
		}
	}
	_ = os.RemoveAll(h.Path(DropIn))
	if err := Uninstall(h.Dir); err != nil || h.tree() != before {
		t.Errorf("%v, left\n%s\nwant\n%s", err, h.tree(), before)
	}
}

// TestSamplesAreWhatIsInstalled: contrib/hooks has the hooks of the table, and no others.
func TestSamplesAreWhatIsInstalled(t *testing.T) {
	if samples, err := filepath.Glob("../../contrib/hooks/*.json.in"); err != nil || len(samples) != len(hooks.Table()) {
		t.Errorf("samples %q, %v", samples, err)
	}
	files, err := Install{Program: "/usr/bin/bootc-podman", Mode: hooks.Warn}.Files()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		sample, err := os.ReadFile("../../contrib/hooks/" + filepath.Base(path) + ".in")
		if got := strings.ReplaceAll(string(sample), "@BINDIR@", "/usr/bin"); err != nil || got != string(want) {
			t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
		}
	}
}

func TestInstallRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(h *testHost, i *Install)
		want string
	}{
		{name: "another's file", with: func(h *testHost, _ *Install) { h.Write(DropIn, "# theirs") }, want: ErrNotOurs.Error()},
		{name: "another's link", with: func(h *testHost, _ *Install) { h.Link("/nowhere", fileOf(hooks.Ledger)) }, want: ErrNotOurs.Error()},
		{name: "a later hooks_dir", with: func(h *testHost, _ *Install) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[]\n")
		}, want: "99-x.conf"},
		{name: "a hooks_dir of the user root", with: func(h *testHost, _ *Install) {
			h.Write("root/.config/containers/containers.conf.d/1.conf", "[engine]\nhooks_dir=[]\n")
		}, want: "1.conf"},
		{name: "a configuration that is none", with: func(h *testHost, _ *Install) {
			h.Write("etc/containers/containers.conf", "[")
		}, want: "decode"},
		{name: "no program", with: func(_ *testHost, i *Install) { i.Program = "/usr/bin/missing" }, want: `no such program: "/usr/bin/missing" in "`},
		{name: "a program that is none", with: func(h *testHost, i *Install) { h.Write("x", ""); i.Program = "/x" }, want: "not executable"},
		{name: "another program", with: func(h *testHost, i *Install) {
			h.Write("bin/sh", "an interpreter, not bootc-podman/cmd/bootc-podman-store\n")
			h.Chmod("bin/sh", 0o755)
			i.Program = "/bin/sh"
		}, want: `program "/bin/sh" is not bootc-podman`},
		{name: "another script", with: func(h *testHost, i *Install) {
			h.Write("bin/x", "#!/bin/sh\n")
			h.Chmod("bin/x", 0o755)
			i.Program = "/bin/x"
		}, want: `program "/bin/x" is not bootc-podman`},
		{name: "a relative program", with: func(_ *testHost, i *Install) { i.Program = "bootc-podman" }, want: "no absolute path"},
		{name: "a program outside", with: func(h *testHost, i *Install) { h.Link("../../../../bin/sh", "x"); i.Program = "/x" }, want: "no such program"},
		{name: "a directory that cannot be made", with: func(h *testHost, _ *Install) { h.Write("etc/containers", "") }, want: "not a directory"},
		{name: "a directory that is a dangling link", with: func(h *testHost, _ *Install) {
			h.Link("/usr/etc/containers", "etc/containers")
		}, want: "file exists"},
		{name: "a directory that this podman does not follow a link to", with: func(h *testHost, i *Install) {
			h.Mkdir("var/lib/x")
			h.Mkdir("etc/containers")
			h.Link("/var/lib/x", dropInDir)
			i.Podman.Version = "5.4.2"
		}, want: "containers.conf.d\" is a link, which podman 5.4.2 does not follow"},
		{name: "a program of another user", with: func(h *testHost, i *Install) {
			h.chown("usr/bin/bootc-podman", 1000)
		}, want: `can replace program "/usr/bin/bootc-podman": /usr/bin/bootc-podman is owned by user 1000`},
		{name: "a program in another user's directory", with: func(h *testHost, i *Install) { h.chown("usr", 1000) }, want: "/usr is owned by user 1000"},
		{name: "a program below a directory for all", with: func(h *testHost, i *Install) { h.Chmod("usr", 0o1777) }, want: "/usr has mode 01777"},
		{name: "a program for a group", with: func(h *testHost, i *Install) { h.Chmod("usr/bin/bootc-podman", 0o775) }, want: "bootc-podman has mode 0775"},
		{name: "a link from a directory for all", with: func(h *testHost, i *Install) {
			h.Link("/usr/bin/bootc-podman", "tmp/program")
			h.Chmod("tmp", 0o1777)
			i.Program = "/tmp/program"
		}, want: "/tmp has mode 01777"},
		{name: "a link to a directory for all", with: func(h *testHost, i *Install) {
			h.Write("tmp/program", "")
			h.Chmod("tmp/program", 0o755)
			h.Chmod("tmp", 0o1777)
			h.Link("/tmp/program", "usr/bin/program")
			i.Program = "/usr/bin/program"
		}, want: "/tmp has mode 01777"},
		{name: "a program that not all can reach", with: func(h *testHost, i *Install) { h.Chmod("usr/bin", 0o750) }, want: "not every user can execute program \"/usr/bin/bootc-podman\": /usr/bin has mode 0750"},
		{name: "a program that not all can execute", with: func(h *testHost, i *Install) { h.Chmod("usr/bin/bootc-podman", 0o750) }, want: "it has mode 0750"},
		{name: "a program that its group cannot execute", with: func(h *testHost, i *Install) { h.Chmod("usr/bin/bootc-podman", 0o705) }, want: "it has mode 0705"},
		{name: "a script that not all can read", with: func(h *testHost, i *Install) {
			h.Write("usr/bin/bootc-podman", "#!/bin/sh\nexec bootc-podman")
			h.Chmod("usr/bin/bootc-podman", 0o711)
		}, want: "it has mode 0711"},
		{name: "a file in place of ours for podman 6", with: func(h *testHost, _ *Install) {
			h.Write("etc/containers/containers.rootful.conf.d/50-bootc-podman-hooks.conf", "")
		}, want: "containers.rootful.conf.d/50-bootc-podman-hooks.conf\" is read instead of"},
		{name: "a later hooks_dir for podman 6", with: func(h *testHost, _ *Install) {
			h.Write("usr/share/containers/containers.rootful.conf.d/60-x.conf", "[engine]\nhooks_dir=[]\n")
		}, want: "60-x.conf"},
		{name: "a file that is like ours", with: func(h *testHost, _ *Install) {
			h.Write(fileOf(hooks.Ledger), `{"version":"1.0.0","hook":{"path":"/usr/bin/bootc-podman","args":["bootc-podman","hook","ledger"],"timeout":10},"when":{"always":true},"stages":["createRuntime","poststop"]}`)
		}, want: ErrNotOurs.Error()},
		{name: "an unknown mode", with: func(_ *testHost, i *Install) { i.Mode = "x" }, want: "unknown mode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, install := installHost(t)
			tt.with(h, &install)
			before := h.tree()
			if err := install.Do(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if h.tree() != before {
				t.Errorf("left\n%s\nwant\n%s", h.tree(), before)
			}
		})
	}
}

// TestInstallFollowsLinks: hosts have such links, and a lock of bound images is
// written in the same way.
func TestInstallFollowsLinks(t *testing.T) {
	for link, target := range map[string]string{
		"etc": "/usr/etc", "etc/containers": "/usr/etc/containers", "etc/containers/containers.conf.d": "/var/lib/x",
		"etc/bootc-podman": "/var/lib/x", "usr/bin": "/opt/bin",
	} {
		t.Run(link, func(t *testing.T) {
			h := newTestHost(t)
			h.Mkdir(target)
			h.Link(target, link)
			program := "usr/bin/bootc-podman"
			if link == "usr/bin" { // this process is not in the root
				program = target + "/bootc-podman"
			}
			h.Write(program, programMark)
			h.Chmod(program, 0o755)
			before := h.tree()
			if err := (Install{Root: h.Dir, Program: "/usr/bin/bootc-podman", Mode: hooks.Warn}).Do(); err != nil {
				t.Fatal(err)
			}
			for _, version := range []string{"5.8.6", "6.1.1"} {
				if findings, err := Verify(h.Dir, Podman{Version: version}); len(findings) > 0 || err != nil {
					t.Errorf("verify: %v, %v", findings, err)
				}
			}
			if err := Uninstall(h.Dir); err != nil || h.tree() != before {
				t.Errorf("uninstalled: %v,\n%s\nwant\n%s", err, h.tree(), before)
			}
			lock := hooks.Lock{Schema: 1, Images: map[string]string{"x": "sha256:0"}}
			if _, err := lock.Write(h.Dir); err != nil {
				t.Fatal(err)
			}
			if got, err := hooks.ReadLock(h.Dir); err != nil || got.Images["x"] != "sha256:0" {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestInstallBesideOthers(t *testing.T) {
	const dir = "etc/containers/containers.conf.d/"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a list before", map[string]string{"10-x.conf": `["/x"]`}, []string{"/x", PrivateDir}},
		{"an addition before", map[string]string{"10-x.conf": `["/x", {append=true}]`}, []string{DefaultHooksDir, "/x", PrivateDir}},
		{"ours before", map[string]string{"10-x.conf": `["` + PrivateDir + `", "/x"]`}, []string{"/x", PrivateDir}},
		{"an addition after", map[string]string{"99-x.conf": `["/x", {append=true}]`}, []string{DefaultHooksDir, PrivateDir}},
		{"the main files", map[string]string{"../../../usr/share/containers/containers.conf": `["/vendor"]`, "../containers.conf": `["/admin"]`}, []string{"/admin", PrivateDir}},
		{"additions in the main files", map[string]string{"../../../usr/share/containers/containers.conf": `["/vendor"]`, "../containers.conf": `["/admin", {append=true}]`}, []string{"/vendor", DefaultHooksDir, "/admin", PrivateDir}},
		{"a vendor's drop-in, for podman 6", map[string]string{"../../../usr/share/containers/containers.conf.d/10-x.conf": `["/x"]`}, []string{DefaultHooksDir, "/x", PrivateDir}},
		{"one that is masked", map[string]string{
			"../../../usr/share/containers/containers.conf.d/10-x.conf": `["/x"]`, "../containers.rootful.conf.d/10-x.conf": `["/y"]`,
		}, []string{DefaultHooksDir, "/y", PrivateDir}},
		{"a list after that has ours", map[string]string{"99-x.conf": `["/x", "` + PrivateDir + `"]`}, []string{DefaultHooksDir, PrivateDir}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, install := installHost(t)
			for name, list := range tt.files {
				h.Write(dir+name, "[engine]\nhooks_dir = "+list+"\n")
			}
			for range 2 {
				if err := install.Do(); err != nil {
					t.Fatal(err)
				}
				want := `"` + strings.Join(tt.want, `", "`) + `"`
				if got := h.Read(DropIn); !strings.Contains(got, "hooks_dir = ["+want+"]\n") {
					t.Errorf("got\n%s\nwant %s", got, want)
				}
			}
		})
	}
}

func TestVerifyFinds(t *testing.T) {
	const good = `{"version":"1.0.0","hook":{"path":"/usr/bin/bootc-podman","args":["x"],"timeout":5},"when":{"always":true},"stages":["createRuntime"]}`
	edit := func(file, old, with string) func(h *testHost) {
		return func(h *testHost) { h.Write(file, strings.Replace(good, old, with, 1)) }
	}
	const theirs = DefaultHooksDir + "/theirs.json"
	for _, tt := range []struct {
		name    string
		with    func(h *testHost)
		podman  string
		confEnv string
		// override is a file.
		override string
		want     string
		// many is that there is more than one finding of the kind.
		many bool
	}{
		{name: "nothing"},
		{name: "nothing in a good hook", with: edit(theirs, "", "")},
		{name: "nothing in a precreate hook of its own", with: edit(PrivateDir+"/x.json", "createRuntime", "precreate")},
		{name: "nothing in a directory among the drop-ins", with: func(h *testHost) { h.Mkdir(dropInDir + "/x.conf") }},
		{name: "nothing in what is no hook", with: edit(DefaultHooksDir+"/x.txt", "{", "")},
		{name: "bad JSON", with: edit(theirs, "{", ""), want: "no container starts: parsing hook"},
		{name: "a list", with: edit(theirs, good, "[]"), want: theirs + ": no container starts: parsing hook: not a JSON object"},
		{name: "a text in place of a number", with: edit(theirs, `"timeout":5`, `"timeout":"5"`), want: theirs + `: no container starts: parsing hook: field "hook.timeout" is a string`},
		{
			name: "a dangling link among the drop-ins", podman: "4.3.1", with: func(h *testHost) { h.Link("/nowhere", dropInDir+"/20-x.conf") },
			want: dropInDir + "/20-x.conf: is a link to nothing, on which podman before 5.4 fails",
		},
		{name: "a dangling link for any podman", with: func(h *testHost) { h.Link("/nowhere", dropInDir+"/20-x.conf") }, want: "is a link to nothing"},
		{name: "nothing in a dangling link that podman passes over", podman: "5.4.2", with: func(h *testHost) { h.Link("/nowhere", dropInDir+"/20-x.conf") }},
		{name: "nothing in a main file that is a dangling link", podman: "4.3.1", with: func(h *testHost) { h.Link("/nowhere", "etc/containers/containers.conf") }},
		{name: "null", with: edit(theirs, good, "null"), want: "no container starts"},
		{name: "another version", with: edit(theirs, `"1.0.0"`, `"2.0.0"`), want: "unrecognized hook version"},
		{name: "an unknown stage", with: edit(theirs, "createRuntime", "later"), want: `unknown stage "later"`},
		{name: "a bad pattern", with: edit(theirs, `"always":true`, `"annotations":{"[":"x"}`), want: "invalid annotation key"},
		{name: "no path", with: edit(theirs, `"path":"/usr/bin/bootc-podman",`, ""), want: "missing required property: hook.path"},
		{name: "a missing program", with: edit(theirs, "/usr/bin/", "/usr/sbin/"), want: "is missing"},
		{name: "nothing in a program that is an absolute link", with: func(h *testHost) {
			edit(theirs, "/usr/bin/", "/usr/libexec/")(h)
			h.Link("/usr/bin/bootc-podman", "usr/libexec/bootc-podman")
		}},
		{name: "a link to nothing", with: func(h *testHost) {
			edit(theirs, "/usr/bin/", "/usr/libexec/")(h)
			h.Link("/usr/bin/other", "usr/libexec/bootc-podman")
		}, want: "is missing"},
		{name: "a program that is none", with: edit(theirs, "/usr/bin/bootc-podman", "/proc/self/mountinfo"), want: "not executable"},
		{name: "a relative path", with: edit(theirs, "/usr/bin/", ""), want: "no absolute path"},
		{name: "no timeout", with: edit(theirs, `,"timeout":5`, ""), want: "no timeout"},
		{name: "no args", with: func(h *testHost) {
			h.Write(PrivateDir+"/x.json", strings.NewReplacer("createRuntime", "precreate", `"args":["x"],`, "").Replace(good))
		}, want: "no args"},
		{name: "precreate in the default directory", with: edit(theirs, "createRuntime", "precreate"), want: "every podman build fail"},
		{name: "precreate in the override directory", with: edit(OverrideHooksDir+"/x.json", "createRuntime", "precreate"), want: "every podman build fail"},
		{name: "bad JSON in the override directory", with: edit(OverrideHooksDir+"/x.json", "{", ""), want: "podman build fails"},
		{name: "a shadowed list", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}, want: "99-x.conf: hooks_dir replaces the one in"},
		{name: "a list without the default", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\""+PrivateDir+"\"]\n")
		}, want: "is without " + DefaultHooksDir},
		{name: "a directory that was added later", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/10-x.conf", "[engine]\nhooks_dir=[\"/srv/theirs\"]\n")
		}, want: "10-x.conf: hooks_dir has /srv/theirs, which a later file leaves out"},
		{name: "a list of the user root", with: func(h *testHost) {
			h.Write("root/.config/containers/containers.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}, want: "/root/.config/containers/containers.conf: hooks_dir replaces the one in"},
		{name: "a relative directory", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\"x\",\""+PrivateDir+"\",\""+DefaultHooksDir+"\"]\n")
		}, want: "x: a hooks_dir that is no absolute path"},
		{name: "an appended list", podman: "4.3.1", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\"/x\",{append=true}]\n")
		}, want: "makes every command of podman 4.3.1 fail"},
		{name: "an appended list that podman accepts", podman: "5.4.2", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\"/x\",{append=true}]\n")
		}},
		{name: "a list after an appended one", podman: "5.4.2", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/10-x.conf", "[engine]\nhooks_dir=[{append=true}]\n")
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\"/x\"]\n")
		}},
		{name: "a list after one that is appended no more", podman: "5.4.2", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/10-x.conf", "[engine]\nhooks_dir=[{append=true}]\n")
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\",{append=false}]\n")
		}, want: "99-x.conf: hooks_dir replaces the one in"},
		{name: "a configuration by the environment", confEnv: "/x.conf", want: "/x.conf: CONTAINERS_CONF"},
		{name: "nothing installed", with: func(h *testHost) { _ = Uninstall(h.Dir) }, want: "no containers.conf file names"},
		{name: "a program that others may write", with: func(h *testHost) {
			edit(theirs, "/usr/bin/", "/usr/sbin/")(h)
			h.Write("usr/sbin/bootc-podman", "")
			_ = os.Chmod(h.Path("usr/sbin/bootc-podman"), 0o777)
		}, want: `a user other than root can replace program "/usr/sbin/bootc-podman": /usr/sbin/bootc-podman has mode 0777`},
		{name: "a program that not all can execute", with: func(h *testHost) { h.Chmod("usr/bin/bootc-podman", 0o700) }, want: "not every user can execute program", many: true},
		{name: "a FIFO", with: func(h *testHost) {
			h.Mkdir(DefaultHooksDir)
			if err := unix.Mkfifo(h.Path(theirs), 0o644); err != nil {
				h.t.Fatal(err)
			}
		}, want: "no container starts: not a regular file"},
		{name: "a broken hook behind an absolute link", with: func(h *testHost) {
			h.Write("usr/lib/hooks/theirs.json", "{")
			h.Link("/usr/lib/hooks", DefaultHooksDir)
		}, want: theirs + ": no container starts: parsing hook"},
		{name: "nothing behind a link that climbs", with: func(h *testHost) {
			outside := h.t.TempDir()
			if err := os.WriteFile(filepath.Join(outside, "theirs.json"), []byte("{"), 0o644); err != nil {
				h.t.Fatal(err)
			}
			h.Mkdir(outside)
			h.Link(outside, DefaultHooksDir)
			h.Link(strings.Repeat("../", 20)+outside, OverrideHooksDir)
		}},
		{name: "a linked directory of drop-ins", podman: "4.3.1", with: func(h *testHost) {
			h.Mkdir("var/lib")
			if err := os.Rename(h.Path(dropInDir), h.Path("var/lib/x")); err != nil {
				h.t.Fatal(err)
			}
			h.Link("/var/lib/x", dropInDir)
		}, want: dropInDir + ": is a link, which podman before 5.8 does not follow"},
		{name: "a directory of drop-ins for all", with: func(h *testHost) { h.Chmod("etc/containers/containers.conf.d", 0o777) }, want: "/etc/containers/containers.conf.d has mode 0777", many: true},
		{name: "a hooks directory of another user that is not there", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/99-x.conf", "[engine]\nhooks_dir=[\"/home/u/hooks\",\""+PrivateDir+"\",\""+DefaultHooksDir+"\"]\n")
			h.Mkdir("home/u")
			h.chown("home/u", 1000)
		}, want: "/home/u/hooks: a user other than root can replace it: /home/u is owned by user 1000"},
		{name: "hooks that not all can read", with: func(h *testHost) { h.Chmod("etc/bootc-podman", 0o700) }, want: PrivateDir + ": not every user can read it, whose podman then fails: /etc/bootc-podman has mode 0700"},
		{name: "a hook that not all can read", with: func(h *testHost) { h.Chmod(fileOf(hooks.Ledger), 0o600) }, want: fileOf(hooks.Ledger) + ": not every user can read it, whose podman then fails: it has mode 0600"},
		{name: "nothing when a package has them elsewhere", with: func(h *testHost) {
			_ = Uninstall(h.Dir)
			const dir = "/usr/share/bootc-podman/hooks.d"
			h.Write("etc/containers/containers.conf.d/50-x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\",\""+dir+"\"]\n")
			files, _ := Install{Program: "/usr/bin/bootc-podman", Mode: hooks.Warn}.Files()
			for path, content := range files {
				h.Write(dir+"/"+filepath.Base(path), string(content))
			}
		}},
		{name: "a hook of ours that is missing", with: func(h *testHost) { _ = os.Remove(h.Path(fileOf(hooks.BoundGate))) }, want: fileOf(hooks.BoundGate) + ": is missing, so that the hook bound-gate does not run"},
		{name: "a hook of ours that is shadowed", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/60-x.conf", "[engine]\nhooks_dir=[\"/x\",{append=true}]\n")
			h.Write("x/50-bootc-podman-mount-guard.json", strings.Replace(h.Read(fileOf(hooks.MountGuard)), `"always": true`, `"always": false`, 1))
		}, podman: "5.4.2", want: "/x/50-bootc-podman-mount-guard.json: is not the hook mount-guard: it is for other containers"},
		{name: "nothing when what shadows is left out", with: func(h *testHost) {
			h.Write("etc/containers/containers.conf.d/60-x.conf", "[engine]\nhooks_dir=[\"/x\",{append=true}]\n")
			h.Write("x/50-bootc-podman-mount-guard.json", strings.NewReplacer(`"always": true`, `"always": false`, "/usr/bin/", "/missing/").Replace(h.Read(fileOf(hooks.MountGuard))))
		}, podman: "5.4.2", want: "/x/50-bootc-podman-mount-guard.json: program \"/missing/bootc-podman\" is missing"},
		{name: "a hook of ours of before", with: func(h *testHost) {
			h.Write(fileOf(hooks.MountGuard), strings.Replace(h.Read(fileOf(hooks.MountGuard)), `"always": true`, `"hasBindMounts": true`, 1))
		}, want: "is not the hook mount-guard: it is for other containers; \"bootc-podman hooks install --root"},
		{name: "a hook of ours with other arguments", with: func(h *testHost) {
			h.Write(fileOf(hooks.BoundGate), strings.Replace(h.Read(fileOf(hooks.BoundGate)), `"bound-gate"`, `"ledger"`, 1))
		}, want: "is not the hook bound-gate: its arguments are"},
		{name: "a hook of ours with another mode", with: func(h *testHost) {
			h.Write(fileOf(hooks.MountGuard), strings.Replace(h.Read(fileOf(hooks.MountGuard)), `"warn"`, `"wran"`, 1))
		}, want: "is not the hook mount-guard: unknown options"},
		{name: "nothing in a mode of the same word", with: func(h *testHost) {
			h.Write(fileOf(hooks.MountGuard), strings.Replace(h.Read(fileOf(hooks.MountGuard)), "\"--mode\",\n      \"warn\"", `"--mode=deny"`, 1))
		}},
		{name: "a hook of ours at another stage", with: func(h *testHost) {
			h.Write(fileOf(hooks.Ledger), strings.Replace(h.Read(fileOf(hooks.Ledger)), "\n    \"createRuntime\",", "", 1))
		}, want: "is not the hook ledger: its stages are"},
		{name: "no hook of ours", with: func(h *testHost) {
			for _, name := range hooks.Names() {
				_ = os.Remove(h.Path(fileOf(name)))
			}
		}, want: PrivateDir + ": no hook of ours is in it"},
		{name: "nothing in a directory that podman 6 alone reads", podman: "5.8.6", with: func(h *testHost) {
			h.Write("etc/containers/containers.rootful.conf.d/60-x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}},
		{name: "a directory that podman 6 reads", podman: "6.0.0", with: func(h *testHost) {
			h.Write("etc/containers/containers.rootful.conf.d/60-x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}, want: "rootful.conf.d/60-x.conf: hooks_dir replaces the one in"},
		{name: "a directory that podman 6 might read", with: func(h *testHost) {
			h.Write("etc/containers/containers.rootful.conf.d/60-x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}, want: "rootful.conf.d/60-x.conf: hooks_dir replaces the one in"},
		{name: "a file in place of ours", podman: "6.0.0", with: func(h *testHost) {
			h.Write("etc/containers/containers.rootful.conf.d/50-bootc-podman-hooks.conf", "")
		}, want: "is read instead of " + DropIn},
		{name: "nothing in what ours masks", podman: "6.0.0", with: func(h *testHost) {
			h.Write("usr/share/containers/containers.rootful.conf.d/50-bootc-podman-hooks.conf", "[engine]\nhooks_dir=[\"/x\"]\n")
		}},
		{name: "nothing in the configuration of root before drop-ins", podman: "6.0.0", with: func(h *testHost) {
			h.Write("root/.config/containers/containers.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}},
		{name: "a file by the environment", override: "/srv/x.conf", with: func(h *testHost) {
			h.Write("srv/x.conf", "[engine]\nhooks_dir=[\""+DefaultHooksDir+"\"]\n")
		}, want: "/srv/x.conf: hooks_dir replaces the one in"},
		{name: "a file that others may write", with: func(h *testHost) {
			edit(theirs, "", "")(h)
			_ = os.Chmod(h.Path(theirs), 0o666)
		}, want: "a user other than root can replace it: " + theirs + " has mode 0666"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, install := installHost(t)
			if err := install.Do(); err != nil {
				t.Fatal(err)
			}
			if tt.with != nil {
				tt.with(h)
			}
			findings, err := Verify(h.Dir, Podman{Version: tt.podman, Conf: tt.confEnv, Override: tt.override})
			var text []string
			for _, f := range findings {
				text = append(text, f.String())
				if strings.Contains(f.Where+f.What+f.Why, h.Dir) {
					t.Errorf("%q has our own path in it", f)
				}
			}
			if err != nil || tt.want == "" && text != nil || tt.want != "" && (len(text) == 0 || len(text) > 1 != tt.many || !strings.Contains(text[0], tt.want)) {
				t.Errorf("got %q, %v, want one with %q", text, err, tt.want)
			}
		})
	}
}

// TestVerifyNamesTheCommandThatInstallsThemAsTheyWere: not in the default mode.
func TestVerifyNamesTheCommandThatInstallsThemAsTheyWere(t *testing.T) {
	h, install := installHost(t)
	install.Mode = hooks.Deny
	if err := install.Do(); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(h.Path(fileOf(hooks.BoundGate)))
	findings, err := Verify(h.Dir, Podman{})
	want := "bootc-podman hooks install --root " + h.Dir + " --mode deny --program /usr/bin/bootc-podman"
	if err != nil || len(findings) != 1 || findings[0].Fix != want || findings[0].Severity != health.Failing || findings[0].Where != fileOf(hooks.BoundGate) {
		t.Errorf("got %+v, %v, want the fix %q", findings, err, want)
	}
}

func TestExplain(t *testing.T) {
	h, install := installHost(t)
	install.Mode = hooks.Enforce
	if err := install.Do(); err != nil {
		t.Fatal(err)
	}
	h.Write(DefaultHooksDir+"/10-broken.json", "{")
	h.Write(DefaultHooksDir+"/20-mounts.json", `{"version":"1.0.0","hook":{"path":"/usr/bin/bootc-podman"},"when":{"hasBindMounts":true},"stages":["createRuntime"]}`)
	h.Mkdir("boot")
	explain := func(config string) map[string]Explained {
		all, err := Explain(h.Dir, Podman{}, strings.NewReader(config))
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]Explained{}
		for _, e := range all {
			byName[strings.TrimPrefix(strings.TrimSuffix(filepath.Base(e.File), ".json"), "50-bootc-podman-")] = e
		}
		return byName
	}
	got := explain(`{"process":{"args":["x"]},"mounts":[{"type":"bind","source":"/boot","destination":"/m"}],"annotations":{"io.bootc-podman.require":"bound"}}`)
	for name, want := range map[string]string{
		"10-broken": "no container starts", hooks.Ledger: "writes a lease",
		hooks.MountGuard: `makes read-only the mount of "/boot" on "/m", which is in /boot`, hooks.BoundGate: "does not let the container start: find its image",
		"20-mounts": "--volumes-from",
	} {
		if !strings.Contains(strings.Join(got[name].Effects, "\n"), want) || got[name].Matches != (name != "10-broken") {
			t.Errorf("%s: got %+v, want %q", name, got[name], want)
		}
	}
	got = explain(`{"mounts":[]}`)
	if !got[hooks.Ledger].Matches || !got[hooks.MountGuard].Matches || got[hooks.BoundGate].Matches || got["20-mounts"].Matches || got["20-mounts"].Effects != nil {
		t.Errorf("a plain container: %+v", got)
	}
}
