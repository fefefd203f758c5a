// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// maxAuthFile is the documented bound, 4 MiB.
const maxAuthFile = 4 << 20

func TestFindAuthTakesTheFirstFile(t *testing.T) {
	for _, tc := range []struct {
		name     string
		tree     []string
		wantPath string // below the tree, "" for none
		want     string
	}{
		{name: "no file", want: "{}"},
		{name: "directories without the file", tree: []string{"run/ostree/", "etc/ostree/"}, want: "{}"},
		{
			name:     "run before etc",
			tree:     []string{"run/ostree/auth.json = run", "etc/ostree/auth.json = etc", "usr/lib/ostree/auth.json = usr"},
			wantPath: "run/ostree/auth.json", want: "run",
		},
		{
			name:     "etc before usr",
			tree:     []string{"etc/ostree/auth.json = etc", "usr/lib/ostree/auth.json = usr"},
			wantPath: "etc/ostree/auth.json", want: "etc",
		},
		{
			name:     "usr",
			tree:     []string{"usr/lib/ostree/auth.json = usr"},
			wantPath: "usr/lib/ostree/auth.json", want: "usr",
		},
		{
			name:     "absolute link stays below the root",
			tree:     []string{"etc/ostree/auth.json -> /usr/lib/container-auth.json", "usr/lib/container-auth.json = vendor"},
			wantPath: "etc/ostree/auth.json", want: "vendor",
		},
		{
			name:     "link that climbs stays below the root",
			tree:     []string{"etc/ostree/auth.json -> ../../../../../usr/auth.json", "usr/auth.json = vendor"},
			wantPath: "etc/ostree/auth.json", want: "vendor",
		},
		{
			name:     "dangling link is passed over",
			tree:     []string{"run/ostree/auth.json -> /run/missing.json", "etc/ostree/auth.json = etc"},
			wantPath: "etc/ostree/auth.json", want: "etc",
		},
		{
			name:     "file instead of a directory is passed over",
			tree:     []string{"run/ostree = ", "etc/ostree/auth.json = etc"},
			wantPath: "etc/ostree/auth.json", want: "etc",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeTree(t, tc.tree...)
			wantPath := ""
			if tc.wantPath != "" {
				wantPath = filepath.Join(root, tc.wantPath)
			}
			got, err := storageconf.FindAuth(root)
			if err != nil || got.Path != wantPath || string(got.Bytes()) != tc.want {
				t.Errorf("want %q from %q, got %q from %q, %v", tc.want, wantPath, got.Bytes(), got.Path, err)
			}
		})
	}
}

func TestFindAuthReportsWhatItCannotRead(t *testing.T) {
	for _, tc := range []struct {
		name string
		tree []string
		want error
	}{
		{name: "directory instead of the file", tree: []string{"run/ostree/auth.json/", "etc/ostree/auth.json = etc"}, want: unix.EISDIR},
		{name: "link to itself", tree: []string{"etc/ostree/auth.json -> auth.json"}, want: unix.ELOOP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := storageconf.FindAuth(makeTree(t, tc.tree...))
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), "ostree/auth.json") {
				t.Errorf("want %v with the file's name, got %q, %v", tc.want, got.Bytes(), err)
			}
		})
	}
	if _, err := storageconf.FindAuth(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing root: want %v, got %v", fs.ErrNotExist, err)
	}
}

func TestReadAuthReadsTheNamedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.json")
	writeFile(t, path, `{"auths":{}}`)
	got, err := storageconf.ReadAuth(path)
	if want := `{"auths":{}}`; err != nil || string(got.Bytes()) != want || got.Path != path {
		t.Errorf("want %q from %q, got %q from %q, %v", want, path, got.Bytes(), got.Path, err)
	}
}

func TestReadAuthReportsAMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.json")
	if _, err := storageconf.ReadAuth(path); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("want %v with %q, got %v", fs.ErrNotExist, path, err)
	}
}

func TestReadAuthBoundsWhatItReads(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int64
		ok   bool
	}{
		{name: "as large as allowed", size: maxAuthFile, ok: true},
		{name: "a byte too large", size: maxAuthFile + 1},
		{name: "larger than memory", size: 1 << 40},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "auth.json")
			writeFile(t, path, "")
			if err := os.Truncate(path, tc.size); err != nil {
				t.Skipf("the filesystem of the temporary directory takes no file of %d bytes: %v", tc.size, err)
			}
			got, err := storageconf.ReadAuth(path)
			switch {
			case tc.ok && (err != nil || int64(len(got.Bytes())) != tc.size):
				t.Errorf("want %d bytes, got %d, %v", tc.size, len(got.Bytes()), err)
			case !tc.ok && (err == nil || !strings.Contains(err.Error(), path)):
				t.Errorf("want an error with %q, got %d bytes, %v", path, len(got.Bytes()), err)
			}
		})
	}
}

// TestReadAuthReadsAPipe is for --authfile <(command). The content is several
// times what a pipe holds, so that the reader has to wait for the writer.
func TestReadAuthReadsAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(want)
		written <- errors.Join(err, w.Close())
	}()
	got, err := storageconf.ReadAuth(procFD(r))
	// The writer fails, and ends, if not everything was read.
	r.Close()
	if err != nil || !bytes.Equal(want, got.Bytes()) {
		t.Errorf("want %d bytes, got %d, %v", len(want), len(got.Bytes()), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// TestReadAuthNeverGivesPodmanAnEmptyFile is for --authfile /dev/null and the
// like, which say "no credentials".
func TestReadAuthNeverGivesPodmanAnEmptyFile(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "auth.json")
	writeFile(t, empty, "")
	for _, path := range []string{empty, os.DevNull} {
		got, err := storageconf.ReadAuth(path)
		if want := "{}"; err != nil || string(got.Bytes()) != want {
			t.Errorf("%s: want %q, got %q, %v", path, want, got.Bytes(), err)
		}
	}
}

func TestPrintingAnAuthShowsNoSecret(t *testing.T) {
	const secret = "hunter2!"
	path := filepath.Join(t.TempDir(), "auth.json")
	writeFile(t, path, secret)
	auth, err := storageconf.ReadAuth(path)
	must(t, err)
	// A slice of bytes can be printed in several ways that give it away.
	forms := []string{
		secret,
		strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"),
		fmt.Sprintf("%x", secret),
		fmt.Sprintf("%X", secret),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", []byte(secret)), "[]byte{"), "}"),
	}
	type session struct{ Auth storageconf.Auth }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		t.Run(verb, func(t *testing.T) {
			got := fmt.Sprintf(verb+verb+verb, auth, &auth, session{auth})
			for _, form := range forms {
				if strings.Contains(got, form) {
					t.Errorf("want no secret, got %s", got)
				}
			}
		})
	}
}
