// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestProgramsThatCannotWorkInsideAreRefused(t *testing.T) {
	const (
		runs   = "containers cannot run"
		logins = "a copy that ends with it"
		scp    = "cannot open the bootc store"
	)
	for _, tt := range []struct{ line, want string }{
		{line: "podman run x", want: runs},
		{line: "/usr/bin/podman run --rm -it x sh", want: runs},
		{line: "podman --log-level debug run x", want: runs},
		{line: "podman --log-level=debug --storage-opt x run x", want: runs},
		{line: "podman --root /run/bootc/storage run x", want: runs},
		{line: "podman container run x", want: runs},
		{line: "podman start x", want: runs},
		{line: "podman kube play x.yaml", want: runs},
		{line: "podman run -h name x", want: runs},
		{line: "podman login registry.example", want: logins},
		{line: "podman logout --all", want: logins},
		{line: "buildah login registry.example", want: logins},
		{line: "skopeo login -u a registry.example", want: logins},
		{line: "podman --root LINK/bootc/storage run x", want: runs},
		// Options that are not in our list, or come later.

		{line: "podman image scp x user@localhost::", want: scp},
		{line: "podman image scp -q root@localhost::x user@localhost::", want: scp},

		{line: "podman --root /x image scp x user@localhost::"},
		{line: "podman image scp x host.example::"},
		{line: "podman image inspect user@localhost::"},
		{line: "podman --root /x run x"},
		{line: "podman --root=/x system reset -f"},
		{line: "podman system reset --root /x"},
		{line: "podman --remote run x"},
		{line: "podman -r run x"},
		{line: "podman --url unix:///x run x"},
		{line: "podman -c other system reset"},
		{line: "podman run --help"},
		{line: "podman system reset --help"},
		{line: "podman system prune -af"},
		{line: "podman tag system reset"},
		{line: "podman system info reset"},
		{line: "podman system"},
		{line: "podman create x"},
		{line: "podman container create x"},
		{line: "podman images run"},
		{line: "podman --log-level run images"},
		{line: "podman login --get-login registry.example"},
		{line: "podman login --authfile /x registry.example"},
		{line: "podman login --authfile=/x registry.example"},
		{line: "podman login --compat-auth-file /x registry.example"},
		{line: "podman"},
		{line: "podman -- run"},
		{line: "podman - run"},
		{line: "buildah run c true"},
		{line: "buildah system reset"},
		{line: "run podman run x"},
		{line: "sh -c run"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			m := newMachine(t)
			link := filepath.Join(m.dir, "link")
			if err := os.Symlink("/run", link); err != nil {
				t.Fatal(err)
			}
			argv := strings.Fields(strings.ReplaceAll(tt.line, "LINK", link))
			got := ""
			if err := m.open(t).refuse(argv); err != nil {
				got = err.Error()
			}
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLoginsNameTheFileThatLasts(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, m *machine)
		want string
	}{
		{name: "none", want: "sysroot/etc/ostree/auth.json"},
		{name: "bootc's", want: "sysroot/run/ostree/auth.json", make: func(t *testing.T, m *machine) {
			writeFile(t, filepath.Join(m.Sysroot, "run/ostree/auth.json"), 0o600, "{}")
		}},
		{name: "the user's", want: "auth.json", make: func(t *testing.T, m *machine) {
			m.AuthFile = filepath.Join(m.dir, "auth.json")
			writeFile(t, m.AuthFile, 0o600, "{}")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			if tt.make != nil {
				tt.make(t, m)
			}
			err := m.BecomeProgram(t.Context(), []string{"podman", "login", "x"})
			var login *LoginError
			if !errors.As(err, &login) || login.File != filepath.Join(m.dir, tt.want) {
				t.Errorf("got %v, %+v, want a *LoginError with %s", err, login, tt.want)
			}
		})
	}
}

func TestPodmanIsAskedForItsDatabaseOnce(t *testing.T) {
	m := newMachine(t)
	s := m.open(t)
	state := func() (string, bool) {
		t.Helper()
		got, all, err := s.databases([]string{m.podman})
		if err != nil {
			t.Fatal(err)
		}
		return got, all
	}
	none, all := state()
	if all {
		t.Error("a store without databases is complete")
	}
	if again, _ := state(); again != none {
		t.Errorf("got %q, then %q", none, again)
	}
	writeFile(t, filepath.Join(m.store(), "db.sql"), 0o600, "")
	one, all := state()
	if one == none || all {
		t.Errorf("got %q with one, %q with none; complete %v", one, none, all)
	}
	// Another podman may use another.
	if err := os.Remove(m.podman); err != nil {
		t.Fatal(err)
	}
	writeFile(t, m.podman, 0o755, "#!/bin/false another\n")
	if other, _ := state(); other == one {
		t.Errorf("got %q for another podman", other)
	}
	writeFile(t, filepath.Join(m.store(), "libpod/bolt_state.db"), 0o600, "")
	if _, all := state(); !all {
		t.Error("a store with both databases is not complete")
	}
}

// TestIsStoreComparesDirectories: by whatever path a command line names the store.
func TestIsStoreComparesDirectories(t *testing.T) {
	m := newMachine(t)
	makeDir(t, m.dir, "other")
	writeFile(t, filepath.Join(m.dir, "file"), 0o644, "")
	for link, target := range map[string]string{"link": m.store(), "to-root": storageconf.GraphRoot, "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(m.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(m.dir)
	for root, want := range map[string]bool{
		storageconf.GraphRoot: true, storageconf.GraphRoot + "/.": true, "to-root": true, m.store(): true, "link": true, "sysroot/ostree/bootc/storage": true,
		"loop": true, "other": false, "missing": false, "file": false, m.dir: false, "/": false,
	} {
		if got := m.IsStore(root); got != want {
			t.Errorf("%s: got %t, want %t", root, got, want)
		}
	}
	m.removeStore(t)
	if m.IsStore("other") || !m.IsStore(storageconf.GraphRoot) {
		t.Error("without a store, only its graph root is one")
	}
	if err := os.RemoveAll(m.Sysroot); err != nil {
		t.Fatal(err)
	}
	if !m.IsStore("other") {
		t.Error("without a host, a graph root may be that of the store")
	}
}
