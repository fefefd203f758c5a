// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestEffectiveDescribesTheStoreOfTheSysroot(t *testing.T) {
	plain := readFile(t, "testdata/plain.conf")
	for _, tc := range []struct {
		name    string
		sysroot []string
		want    string
	}{
		{name: "no bootc host", want: plain},
		{name: "no store", sysroot: []string{"ostree/repo/"}, want: plain},
		{name: "store without a driver", sysroot: []string{"ostree/bootc/storage/"}, want: plain},
		{name: "overlay store", sysroot: []string{"ostree/bootc/storage/overlay-images/"}, want: plain},
		{name: "vfs store", sysroot: []string{"ostree/bootc/storage/vfs-images/"}, want: strings.Replace(plain, "overlay", "vfs", 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, nil)
			got, err := storageconf.Effective(root, makeTree(t, tc.sysroot...))
			if err != nil || string(got) != tc.want {
				t.Errorf("want\n%s\ngot\n%s\n%v", tc.want, got, err)
			}
		})
	}
}

func TestEffectiveHasTheOptionsOfTheHost(t *testing.T) {
	root := makeHost(t, map[string]string{adminFile: mountOpt("nodev")})
	// The sysroot's own configuration is that of another host.
	sysroot := makeTree(t, "ostree/bootc/storage/overlay-images/")
	writeFile(t, filepath.Join(sysroot, adminFile), mountOpt("other"))
	got, err := storageconf.Effective(root, sysroot)
	must(t, err)
	want := readFile(t, "testdata/plain.conf") + "[storage.options]\n" + mountOpt("nodev")
	if string(got) != want {
		t.Errorf("want\n%s\ngot\n%s", want, got)
	}
}

func TestEffectiveReportsWhatIsWrong(t *testing.T) {
	t.Run("malformed configuration", func(t *testing.T) {
		root := makeHost(t, map[string]string{adminFile: "="})
		if got, err := storageconf.Effective(root, makeTree(t)); err == nil || !strings.Contains(err.Error(), adminFile) {
			t.Errorf("want an error with %q, got %q, %v", adminFile, got, err)
		}
	})
	for _, tc := range []struct {
		name    string
		sysroot string
		want    error
	}{
		{name: "missing sysroot", sysroot: "missing", want: fs.ErrNotExist},
		{name: "store that is a file", sysroot: "host", want: unix.ENOTDIR},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, top := makeHost(t, nil), makeTree(t, "host/ostree/bootc/storage = ")
			if got, err := storageconf.Effective(root, filepath.Join(top, tc.sysroot)); !errors.Is(err, tc.want) {
				t.Errorf("want %v, got %q, %v", tc.want, got, err)
			}
		})
	}
}

func TestDiffShowsWhatHasToChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "storage.conf")
	for _, tc := range []struct {
		name     string
		have     string
		want     string
		wantSame bool
		wantDiff string // below the hunk's header
	}{
		{name: "equal", have: "a\nb\n", want: "a\nb\n", wantSame: true},
		{name: "both empty", wantSame: true},
		{name: "changed line", have: "a\nb\n", want: "a\nc\n", wantDiff: " a\n-b\n+c\n"},
		{name: "missing line", have: "a\n", want: "a\nb\n", wantDiff: " a\n+b\n"},
		{name: "line too many", have: "a\nb\n", want: "a\n", wantDiff: " a\n-b\n"},
		{name: "empty file", have: "", want: "a\n", wantDiff: "+a\n"},
		{name: "last newline missing", have: "a", want: "a\n", wantDiff: "-a\n\\ No newline at end of file\n+a\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			writeFile(t, path, tc.have)
			var out strings.Builder
			same, err := storageconf.Diff(&out, path, []byte(tc.want))
			head, got, _ := strings.Cut(out.String(), " @@\n")
			if err != nil || same != tc.wantSame || got != tc.wantDiff {
				t.Errorf("want %v and\n%s\ngot %v, %v and\n%s", tc.wantSame, tc.wantDiff, same, err, &out)
			}
			if want := "--- " + path + "\n+++ bootc-podman storage-conf\n@@ "; !same && !strings.Contains(head, want) {
				t.Errorf("want a diff with\n%s\ngot\n%s", want, head)
			}
			if same && out.Len() != 0 {
				t.Errorf("want no diff, got\n%s", &out)
			}
		})
	}
}

func TestDiffReportsErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "storage.conf")
	if same, err := storageconf.Diff(&strings.Builder{}, path, nil); same || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: want %v, got %v, %v", fs.ErrNotExist, same, err)
	}
	writeFile(t, path, "a\n")
	closed := open(t, path)
	must(t, closed.Close())
	if same, err := storageconf.Diff(closed, path, []byte("b\n")); same || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("broken output: want %v, got %v, %v", fs.ErrClosed, same, err)
	}
}
