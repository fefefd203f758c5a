// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReadTool has the command lines of bootc 1.16.9 (crates/lib/src/podstorage.rs,
// podman_client.rs, image.rs, podman.rs, crates/ostree-ext/src/container/skopeo.rs, and
// containers-image-proxy), and others.
func TestReadTool(t *testing.T) {
	const store = "--root /run/bootc/storage --runroot /proc/self/fd/3 "
	for _, tt := range []struct {
		line   string
		skopeo bool
	}{
		{line: ""},
		{line: store + "images"},
		{line: store + "image list --format=json"},
		{line: store + "image exists quay.io/x/y:1"},
		{line: store + "image pull copy"},
		{line: store + "image rm 0123 4567"},
		{line: store + "image build -t copy ."},
		{line: store + "pull oci:/srv/image"},
		{line: store + "system service --time=0 unix:///run/bootc/podman-api.sock"},
		{line: "image exists sync"},
		{line: "image push --remove-signatures a containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]a"},
		{line: "system info"},
		{line: "inspect 0123456789ab"},
		{line: "inspect localhost:5000/docker:1"},
		{line: "inspect --type image copy"},
		{line: "cp a:/copy b"},
		{line: "pull docker://quay.io/x/y"},
		{line: "--version"},
		{line: "--help"},
		{line: "help copy"},
		{line: "login quay.io"},
		{line: "--log-level debug copy"},
		{line: "--tmpdir copy images"},
		{line: "unknown copy"},
		{line: "-- copy"},
		{line: "copy --digestfile /tmp/x oci:/proc/self/fd/3 containers-storage:localhost/bootc", skopeo: true},
		{line: "experimental-image-proxy --sockfd 0", skopeo: true},
		{line: "--user-agent-prefix bootc/1.16.9 experimental-image-proxy --sockfd 0", skopeo: true},
		{line: "--user-agent-prefix=bootc/1.16.9 experimental-image-proxy --sockfd 0", skopeo: true},
		{line: "--debug --policy /etc/p copy a b", skopeo: true},
		{line: "--override-os linux --override-arch arm64 inspect docker://quay.io/x/y", skopeo: true},
		{line: "inspect containers-storage:localhost/x", skopeo: true},
		{line: "inspect --raw oci-archive:/srv/x.tar", skopeo: true},
		{line: "list-tags docker://quay.io/x/y", skopeo: true},
		{line: "manifest-digest /srv/manifest.json", skopeo: true},
		{line: "sync --src yaml --dest dir a b", skopeo: true},
		{line: "delete docker://quay.io/x/y:1", skopeo: true},
		{line: "standalone-verify a b c d", skopeo: true},
	} {
		args := strings.Fields(tt.line)
		got := ReadTool(append([]string{"/usr/libexec/bootc-podman/bootc-tool"}, args...))
		want := Tool{Skopeo: tt.skopeo, Args: append([]string{"podman"}, args...)}
		if tt.skopeo {
			want.Args[0] = "skopeo"
		}
		if got.Skopeo != want.Skopeo || !slices.Equal(got.Args, want.Args) {
			t.Errorf("%q: got %+v", tt.line, got)
		}
	}
	equalStrings(t, "another argv[0]", ReadTool([]string{"bootc", "inspect", "x"}).Args, []string{"bootc", "inspect", "x"})
	equalStrings(t, "no arguments at all", ReadTool(nil).Args, []string{"podman"})
}

func TestPassOnFindsTheRealProgram(t *testing.T) {
	dir := programs(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	tool := in("self/bootc-podman")
	link := EnvBootcTool + "=" + in("hard/podman")
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{name: "the first in PATH", env: []string{pathOf(dir, "bin", "other"), link}, want: "bin/podman"},
		{name: "ourselves by a symbolic link are passed over", env: []string{pathOf(dir, "symbolic", "bin"), link}, want: "bin/podman"},
		{name: "ourselves by a hard link are passed over", env: []string{pathOf(dir, "hard", "other"), link}, want: "other/podman"},
		{name: "a script that called us is passed over", env: []string{pathOf(dir, "bin", "other"), envBecame + "=" + in("to-bin/podman")}, want: "other/podman"},
		{name: "our variable", env: []string{pathOf(dir, "bin"), EnvPodman + "=other/podman"}, want: "other/podman"},
		{name: "our variable that names ourselves", env: []string{pathOf(dir, "bin"), EnvPodman + "=symbolic/podman"}, want: "bin/podman"},
		{name: "our variable that is damaged", env: []string{pathOf(dir, "bin"), EnvPodman + "=podman 'x"}, want: "bin/podman"},
		{name: "our variable that called us", env: []string{pathOf(dir, "other", "bin"), EnvPodman + "=other/podman", envBecame + "=" + in("other/podman")}, want: "bin/podman"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			execer := &recordingExecer{}
			h := Host{Env: tt.env, Self: tool, Execer: execer}
			if err := h.PassOn(Tool{Args: []string{"podman", "", "a b"}}, EnvChange{}); err != nil {
				t.Fatal(err)
			}
			got := execer.cmds[0]
			want := in(tt.want)
			if tt.want == "other/podman" && Getenv(tt.env, EnvPodman) != "" {
				want = tt.want
			}
			if got.Path != want {
				t.Errorf("got %q, want %q", got.Path, want)
			}
			equalStrings(t, "arguments", got.Args, []string{"podman", "", "a b"})
			equalStrings(t, "environment", got.Env, tt.env)
			if !got.Podman { // these programs are scripts
				t.Error("the script would not be seen when it calls us")
			}
		})
	}
	t.Run("nothing but ourselves and who called us", func(t *testing.T) {
		h := Host{Env: []string{pathOf(dir, "symbolic", "bin"), envBecame + "=" + in("bin/podman")}, Self: tool, Execer: &recordingExecer{}}
		err := h.PassOn(Tool{Args: []string{"podman"}}, EnvChange{})
		var lookup *LookupError
		if !errors.As(err, &lookup) || lookup.Code != ExitNotFound {
			t.Errorf("got %v", err)
		}
	})
}

func TestPassOnKeepsTheWordsOfOurVariable(t *testing.T) {
	dir := programs(t)
	execer := &recordingExecer{}
	h := Host{Env: []string{pathOf(dir, "bin"), EnvPodman + "=podman --log-level=debug"}, Execer: execer}
	if err := h.PassOn(ReadTool([]string{"/x/bootc-tool", "images"}), EnvChange{}); err != nil {
		t.Fatal(err)
	}
	equalStrings(t, "arguments", execer.cmds[0].Args, []string{"podman", "--log-level=debug", "images"})
}

func TestAProgramGetsNoVariableOfOurs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(testBinary(t), filepath.Join(dir, "skopeo")); err != nil {
		t.Fatal(err)
	}
	execer := &recordingExecer{}
	h := Host{Env: []string{"PATH=" + dir, "A=1", "A=2", "odd"}, Execer: execer}
	if err := h.PassOn(ReadTool([]string{"bootc-tool", "copy", "a"}), EnvChange{}); err != nil {
		t.Fatal(err)
	}
	equalStrings(t, "environment", execer.cmds[0].environ(), h.Env)
}

func TestRepair(t *testing.T) {
	proxy := []string{"bootc-tool", "experimental-image-proxy", "--sockfd", "0"}
	for _, tt := range []struct {
		name string
		args []string
		opts string
		env  []string
		conf bool
		want bool
	}{
		{name: "skopeo that looks for the store", args: proxy, opts: "additionalimagestore=", want: true},
		{name: "in another spelling", args: proxy, opts: "overlay.imagestore=", want: true},
		{name: "a host with a storage.conf", args: proxy, opts: "additionalimagestore=", conf: true},
		{name: "a storage.conf that is named", args: proxy, opts: "additionalimagestore=", env: []string{"CONTAINERS_STORAGE_CONF=/x"}},
		{name: "another option", args: proxy, opts: "mountopt="},
		{name: "another store", args: proxy, opts: "additionalimagestore=/x"},
		{name: "no option", args: proxy},
		{name: "podman", args: []string{"bootc-tool", "images"}, opts: "additionalimagestore="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.Root, m.Sysroot = m.dir, filepath.Join(m.dir, "sysroot")
			if tt.conf {
				m.configure(t, "[storage]\n")
			}
			m.Env = append(m.Env, tt.env...)
			if tt.opts != "" {
				m.Env = append(m.Env, "STORAGE_OPTS="+tt.opts+"/sysroot/ostree/bootc/storage")
			}
			change, err := m.Repair(ReadTool(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if tt.want {
				want = []string{"CONTAINERS_STORAGE_CONF=" + filepath.Join(m.dir, "run/apps.conf")}
			}
			equalStrings(t, "variables", change.Set, want)
			if len(change.Unset) > 0 {
				t.Errorf("removed %q", change.Unset)
			}
		})
	}
}
