// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestPodmanGetsTheStoreAsOptions(t *testing.T) {
	tests := []struct {
		name string
		conf string
		// driver is one that the store was made with, if not overlay.
		driver string
		podman string
		want   []string
	}{
		{name: "plain host", want: onStore()},
		{
			name: "a driver of the host's storage.conf is left to podman, and so are its stores",
			conf: `[storage]
driver = "btrfs"
graphroot = "/somewhere/else"
runroot = "/run/else"
[storage.options]
additionalimagestores = ["/usr/lib/containers/storage"]
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
ignore_chown_errors = "true"
`,
			want: onStore(),
		},
		{
			name: "mount options of the host's storage.conf are passed, nothing else of overlay is",
			conf: `[storage]
driver = "overlay"
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
size = "1G"
use_composefs = "true"
`,
			want: onStore("--storage-opt", "overlay.mountopt=nodev,metacopy=on"),
		},
		{
			name:   "a store of another driver takes no options of overlay",
			conf:   "[storage.options.overlay]\nmountopt = \"nodev\"\nsync = \"filesystem\"\n",
			driver: "vfs",
			want:   onStore(),
		},
		{
			name:   "options of a podman command line go first",
			podman: "podman --log-level=debug 'a b'",
			want:   append([]string{"--log-level=debug", "a b"}, onStore()...),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			if tt.conf != "" {
				m.configure(t, tt.conf)
			}
			if tt.driver != "" {
				if err := os.Rename(filepath.Join(m.store(), "overlay-images"), filepath.Join(m.store(), tt.driver+"-images")); err != nil {
					t.Fatal(err)
				}
			}
			m.Env = append(m.Env, EnvPodman+"="+tt.podman)
			cmd := m.podmanCmd(t, "image", "ls", "--quiet")
			if cmd.Path != m.podman {
				t.Errorf("path %q, want %q", cmd.Path, m.podman)
			}
			equalStrings(t, "arguments", cmd.Args, slices.Concat([]string{m.podman}, tt.want, []string{"image", "ls", "--quiet"}))
			if len(m.runner.cmds) != 0 {
				t.Errorf("ran %v; nothing here depends on podman's version", m.runner.cmds)
			}
		})
	}
}

// oddArgs are argument vectors that a wrapper is tempted to touch.
func oddArgs() map[string][]string {
	return map[string][]string{
		"empty strings":            {"", "", ""},
		"newlines and quotes":      {"a\nb\n", `'"`, "`", "\\", "\r\t"},
		"shell syntax":             {"$HOME", "$(id)", "*", "~", "a;b|c&d>e#f", "!"},
		"two dashes":               {"--", "a", "--", "--"},
		"help asked for later":     {"inspect", "x", "--", "--help", "-h"},
		"options of ours":          {"ls", "--dry-run", "--sysroot", "/", "--version"},
		"bytes that are not UTF-8": {"\xff\xfe", "a\x80b"},
		"a format":                 {"ls", "--format", "{{.ID}}\t%s%%"},
		"ten thousand":             slices.Repeat([]string{"argument"}, 10_000),
	}
}

func TestArgumentsReachTheProgramByteForByte(t *testing.T) {
	for name, args := range oddArgs() {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			equalStrings(t, "podman", m.podmanCmd(t, append([]string{"image"}, args...)...).Args[1:],
				append(onStore("image"), args...))

			program, err := m.open(t).Program(append([]string{"podman"}, args...)...)
			if err != nil {
				t.Fatal(err)
			}
			equalStrings(t, "program", program.Args, append([]string{"podman"}, args...))

			m.DryRun = nil
			if err := m.BecomePodman(t.Context(), nil, append([]string{"image", "--help"}, args...)); err != nil {
				t.Fatal(err)
			}
			equalStrings(t, "help", m.execer.cmds[0].Args, append([]string{m.podman, "image", "--help"}, args...))
		})
	}
}

func TestProgramIsFoundInPATHAndKeepsItsName(t *testing.T) {
	m := newMachine(t)
	cmd, err := m.open(t).Program("podman", "ps")
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Path != m.podman {
		t.Errorf("path %q, want %q", cmd.Path, m.podman)
	}
	equalStrings(t, "arguments", cmd.Args, []string{"podman", "ps"})

	var lookup *LookupError
	if _, err := m.open(t).Program("missing"); !errors.As(err, &lookup) || lookup.Code != ExitNotFound {
		t.Errorf("got %v, want a *LookupError of code %d", err, ExitNotFound)
	}
}

func TestContainersAreRefused(t *testing.T) {
	tests := []struct {
		name    string
		file    string
		env     string
		sysroot string
		want    bool
	}{
		{name: "podman's file", file: "run/.containerenv", want: true},
		{name: "docker's file", file: ".dockerenv", want: true},
		{name: "systemd's variable", env: "container=podman", want: true},
		{name: "systemd's variable, empty", env: "container=", want: true},
		{name: "a sysroot named in a container by file", file: "run/.containerenv", sysroot: "named"},
		{name: "a sysroot named in a container by variable", env: "container=podman", sysroot: "named"},
		{name: "a variable alike", env: "containers=podman", sysroot: "named"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			if tt.file != "" {
				writeFile(t, filepath.Join(m.Root, tt.file), 0o644, "")
			}
			m.Env = append(m.Env, tt.env)
			if tt.sysroot == "" {
				m.Sysroot = "/"
			}
			if _, err := m.Open(); errors.Is(err, ErrContainer) != tt.want {
				t.Errorf("got %v, want ErrContainer: %v", err, tt.want)
			}
		})
	}
	t.Run("a dangling link is evidence enough", func(t *testing.T) {
		m := newMachine(t)
		m.Sysroot = "/"
		makeDir(t, m.Root)
		if err := os.Symlink("missing", filepath.Join(m.Root, ".dockerenv")); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Open(); !errors.Is(err, ErrContainer) {
			t.Errorf("got %v, want ErrContainer", err)
		}
	})
}

func TestWithoutRootOnlyADryRunIsPossible(t *testing.T) {
	t.Run("dry run", func(t *testing.T) {
		m := newMachine(t)
		if err := m.BecomePodman(t.Context(), nil, []string{"image", "ls"}); err != nil {
			t.Error(err)
		}
		m.removeStore(t)
		if created, err := m.open(t).Create(t.Context()); created || err != nil {
			t.Errorf("got %v, %v, want nothing made and no error", created, err)
		}
		m.nothingHappened(t)
		if _, err := os.Lstat(m.store()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the dry run made a store: %v", err)
		}
	})
	for name, store := range map[string]bool{"with a store": true, "without a store": false} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.DryRun = nil
			if !store {
				m.removeStore(t)
			}
			for what, become := range map[string]func() error{
				"image pull": func() error { return m.BecomePodman(t.Context(), nil, []string{"image", "pull", "x"}) },
				"images":     func() error { return m.BecomePodman(t.Context(), nil, []string{"images"}) },
				"exec":       func() error { return m.BecomeProgram(t.Context(), []string{"podman"}) },
				"init":       func() error { _, err := m.Open(); return err },
			} {
				if err := become(); !errors.Is(err, ErrNotRoot) {
					t.Errorf("%s: got %v, want ErrNotRoot", what, err)
				}
			}
			m.nothingHappened(t)
		})
	}
}

// nothingHappened checks that nothing ran and that nothing was written for it.
func (m *machine) nothingHappened(t *testing.T) {
	t.Helper()
	if n := len(m.execer.cmds) + len(m.runner.cmds); n != 0 {
		t.Errorf("%d programs were run", n)
	}
	if _, err := os.Lstat(filepath.Dir(m.ConfPath)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q was made: %v", filepath.Dir(m.ConfPath), err)
	}
}

func TestCreateLeavesAStoreAlone(t *testing.T) {
	m := newMachine(t)
	if created, err := m.open(t).Create(t.Context()); created || err != nil {
		t.Errorf("got %v, %v, want nothing made and no error", created, err)
	}
	if m.explained.Len() != 0 {
		t.Errorf("explained %q", &m.explained)
	}
}

func TestAStoreIsMadeOnlyForWhatCanFillIt(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want error
	}{
		{name: "image pull", args: []string{"image", "pull", "x"}},
		{name: "image load", args: []string{"image", "load"}},
		{name: "image ls", args: []string{"image", "ls"}, want: storageconf.ErrNoStore},
		{name: "image rm", args: []string{"image", "rm", "x"}, want: storageconf.ErrNoStore},
		{name: "images", args: []string{"images"}, want: storageconf.ErrNoStore},
		{name: "images of a repository called pull", args: []string{"images", "pull"}, want: storageconf.ErrNoStore},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.removeStore(t)
			m.expect(t, m.BecomePodman(t.Context(), nil, tt.args), tt.want)
		})
	}
	t.Run("exec", func(t *testing.T) {
		m := newMachine(t)
		m.removeStore(t)
		m.expect(t, m.BecomeProgram(t.Context(), []string{"podman", "image", "pull", "x"}), storageconf.ErrNoStore)
	})
}

// expect checks the outcome of a dry run: an error, or an explanation.
func (m *machine) expect(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if explained := m.explained.Len() > 0; explained != (want == nil) {
		t.Errorf("explained %q with error %v", &m.explained, err)
	}
}

func TestWhatIsNoBootcHostIsRefused(t *testing.T) {
	m := newMachine(t)
	m.Sysroot = t.TempDir()
	m.expect(t, m.BecomePodman(t.Context(), nil, []string{"images"}), storageconf.ErrNotBootcHost)
	m.expect(t, m.BecomeProgram(t.Context(), []string{"podman"}), storageconf.ErrNotBootcHost)
	m.expect(t, m.WriteEnv(&m.explained, nil), storageconf.ErrNotBootcHost)

	m.Sysroot = filepath.Join(m.Sysroot, "missing")
	m.expect(t, m.BecomePodman(t.Context(), nil, []string{"images"}), fs.ErrNotExist)
}

func TestAMalformedStorageConfIsRefused(t *testing.T) {
	m := newMachine(t)
	m.configure(t, "[storage]\ndriver = overlay\n")
	_, err := m.Open()
	if err == nil || !strings.Contains(err.Error(), "etc/containers/storage.conf") || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want it to name file and line", err)
	}
}

func TestADatabaseMadeWithOtherPathsIsRefused(t *testing.T) {
	db, err := os.ReadFile("../storageconf/testdata/podman-5.8.6.db.sql")
	if err != nil {
		t.Fatal(err)
	}
	// Of the same length, or the file would be damaged.
	const other = "/run/containers"
	for _, tt := range []struct {
		name string
		db   []byte
		want bool
	}{
		{name: "made as bootc does", db: db},
		{name: "made with another run root", db: bytes.ReplaceAll(db, []byte(storageconf.RunRoot), []byte(other)), want: true},
		{name: "unreadable: podman will say what is wrong", db: db[:1000]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			path := filepath.Join(m.store(), "db.sql")
			writeFile(t, path, 0o644, string(tt.db))
			_, err := m.Open()
			if !tt.want {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var mismatch *storageconf.MismatchError
			if !errors.As(err, &mismatch) {
				t.Fatalf("got %v, want a *MismatchError", err)
			}
			want := storageconf.MismatchError{Database: path, Name: "run root", Recorded: other, Canonical: storageconf.RunRoot}
			if *mismatch != want {
				t.Errorf("got %+v, want %+v", *mismatch, want)
			}
		})
	}
}

// TestADatabaseThatPodmanMayNotUseIsNoReason is for a store with both: which of them
// podman takes depends on its version.
func TestADatabaseThatPodmanMayNotUseIsNoReason(t *testing.T) {
	const other = "/run/containers"
	for _, tt := range []struct {
		name            string
		otherSQL, other bool
		want            string
	}{
		{name: "both as bootc does"},
		{name: "SQLite with another run root", otherSQL: true},
		{name: "BoltDB with another run root", other: true},
		{name: "both with another run root", otherSQL: true, other: true, want: "db.sql"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			for path, odd := range map[string]bool{"db.sql": tt.otherSQL, "libpod/bolt_state.db": tt.other} {
				db, err := os.ReadFile("../storageconf/testdata/" + map[string]string{
					"db.sql": "podman-5.8.6.db.sql", "libpod/bolt_state.db": "podman-4.3.1.bolt_state.db",
				}[path])
				if err != nil {
					t.Fatal(err)
				}
				if odd {
					db = bytes.ReplaceAll(db, []byte(storageconf.RunRoot), []byte(other))
				}
				writeFile(t, filepath.Join(m.store(), path), 0o644, string(db))
			}
			_, err := m.Open()
			var mismatch *storageconf.MismatchError
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!errors.As(err, &mismatch) || filepath.Base(mismatch.Database) != tt.want):
				t.Errorf("got %v, want a *MismatchError about %s", err, tt.want)
			}
		})
	}
}

func TestCredentialsInEffect(t *testing.T) {
	const own, bootcs = "the user's", "bootc's"
	named := func(t *testing.T, m *machine) {
		m.AuthFile = filepath.Join(m.dir, "auth.json")
		writeFile(t, m.AuthFile, 0o600, own)
	}
	inside := func(t *testing.T, m *machine) {
		writeFile(t, filepath.Join(filepath.Dir(m.ConfPath), "private/auth.json"), 0o600, "the namespace's")
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, m *machine)
		// env is what the caller's environment names: those of a session on the same
		// sysroot ("same"), on another ("other"), or neither.
		env, want string
	}{
		{name: "none", want: "{}"},
		{name: "bootc's", want: bootcs},
		{name: "the user's before bootc's", make: named, want: own},
		{name: "in the namespace of the store", make: inside, env: "same", want: "the namespace's"},
		{name: "in the namespace of the store, the user's", make: func(t *testing.T, m *machine) {
			inside(t, m)
			named(t, m)
		}, env: "same", want: own},
		{name: "in the namespace of another store", make: inside, env: "other", want: bootcs},
		{name: "in the namespace, without its environment", make: inside, want: bootcs},
		{name: "with the environment, outside of the namespace", env: "same", want: bootcs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			if tt.want != "{}" {
				writeFile(t, filepath.Join(m.Sysroot, "etc/ostree/auth.json"), 0o600, bootcs)
			}
			switch s := m.open(t); tt.env {
			case "same":
				m.Env = append(m.Env, s.Change.Set...)
			case "other":
				m.Env = append(m.Env, "REGISTRY_AUTH_FILE="+s.authPath(), "CONTAINERS_STORAGE_CONF="+m.ConfPath)
			}
			if tt.make != nil {
				tt.make(t, m)
			}
			s := m.open(t)
			if got := string(s.Auth.Bytes()); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			equalStrings(t, "variable", values(s.Change.apply(s.host.Env), "REGISTRY_AUTH_FILE"),
				[]string{"REGISTRY_AUTH_FILE=" + filepath.Join(filepath.Dir(m.ConfPath), "private/auth.json")})
		})
	}
	t.Run("a file of the user's that is missing", func(t *testing.T) {
		m := newMachine(t)
		m.AuthFile = filepath.Join(m.dir, "missing")
		if _, err := m.Open(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	})
}

func TestReadOnlyErrorSaysWhatIsMountedThere(t *testing.T) {
	err := ReadOnlyError{Path: "/sysroot/ostree/bootc", Mountpoint: "/sysroot", Source: "/dev/vda3", FSType: "xfs"}
	want := `open "/sysroot/ostree/bootc" for writing: filesystem is mounted read-only (/dev/vda3, xfs, on "/sysroot")`
	if got := err.Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	err.Medium = true
	want = `open "/sysroot/ostree/bootc" for writing: read-only medium (/dev/vda3, xfs, on "/sysroot")`
	if got := err.Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
