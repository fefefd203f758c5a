// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package rooted_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// tree makes files below a directory: "name" with content, "name -> target" a link,
// "name/" a directory, "name|" a FIFO.
func tree(t *testing.T, dir string, names ...string) *os.File {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		at := filepath.Join(dir, strings.TrimSuffix(link, "|"))
		must(os.MkdirAll(filepath.Dir(at), 0o755))
		switch {
		case isLink:
			must(os.Symlink(target, at))
		case strings.HasSuffix(name, "/"):
			must(os.MkdirAll(at, 0o755))
		case strings.HasSuffix(name, "|"):
			must(unix.Mkfifo(at, 0o644))
		default:
			must(os.WriteFile(at, []byte(filepath.Base(name)), 0o644))
		}
	}
	root, err := rooted.OpenRoot(dir)
	must(err)
	t.Cleanup(func() { root.Close() })
	return root
}

func TestLinksAreResolvedInsideTheRoot(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "root")
	root := tree(t, dir, "usr/lib/x", "abs -> /usr/lib", "rel -> usr/lib", "climbs -> ../../../usr/lib", "../secret",
		"out -> "+outside+"/secret", "up -> ../secret", "loop -> loop", "usr/far/", "usr/link -> /usr/far")
	for path, want := range map[string]string{
		"usr/lib/x": "x", "/usr/lib/x": "x", "abs/x": "x", "rel/x": "x", "climbs/x": "x", "../../usr/lib/x": "x",
		"usr/link/../lib/x": "x", "out": "", "up": "", "../secret": "", "loop": "",
	} {
		content, err := rooted.ReadFile(root, path, 100)
		if string(content) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", path, content, err, want)
		}
		if rooted.Exists(root, path) != (want != "") {
			t.Errorf("%s: exists %v", path, want == "")
		}
	}
}

func TestReadFileReadsRegularFilesOnly(t *testing.T) {
	root := tree(t, t.TempDir(), "large", "fifo|", "dir/", "to-fifo -> fifo")
	for path, want := range map[string]error{
		"fifo": rooted.ErrNotRegular, "to-fifo": rooted.ErrNotRegular, "dir": rooted.ErrNotRegular, "missing": fs.ErrNotExist,
	} {
		if _, err := rooted.ReadFile(root, path, 100); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if _, err := rooted.ReadFile(root, "large", 4); err == nil {
		t.Error("a file above the limit is read")
	}
	if content, err := rooted.ReadFile(root, "large", 5); string(content) != "large" {
		t.Errorf("%q, %v", content, err)
	}
	proc, err := rooted.OpenRoot("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	// Regular files of size 0, one of which never ends and has to be waited for.
	if content, err := rooted.ReadFile(proc, "self/stat", 4096); len(content) == 0 {
		t.Errorf("self/stat: %v", err)
	}
	if content, err := rooted.ReadFile(proc, "kmsg", 1<<30); err == nil {
		t.Errorf("kmsg has an end: %d bytes", len(content))
	}
}

func TestWriteFollowsDirectoriesOnly(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "root")
	root := tree(t, dir, "usr/etc/", "etc -> /usr/etc", "../secret", "usr/etc/out -> "+outside+"/secret", "usr/etc/gone -> /usr/gone")
	defer unix.Umask(unix.Umask(0o077))
	var made []string
	if err := rooted.MakeDirs(root, "/etc/a/b", func(dir string) { made = append(made, dir) }); err != nil {
		t.Fatal(err)
	}
	if strings.Join(made, " ") != "/etc/a /etc/a/b" {
		t.Errorf("made %q", made)
	}
	for _, name := range []string{"/etc/a/b/f", "etc/out", "f"} {
		for range 2 {
			if err := rooted.WriteFile(root, name, []byte("new")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path, want := range map[string]string{"root/usr/etc/a/b/f": "new", "root/usr/etc/out": "new", "root/f": "new", "secret": "secret"} {
		path := filepath.Join(outside, path)
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(path); string(content) != want || fi.Mode() != 0o644 {
			t.Errorf("%s: %q, %v, %v", path, content, fi.Mode(), err)
		}
	}
	if fi, err := os.Stat(dir + "/usr/etc/a/b"); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if names, err := rooted.Names(root, "etc/a/b"); len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
	if err := rooted.MakeDirs(root, "etc/gone/x", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a dangling link: %v", err)
	}
	for _, name := range []string{"etc/a/b/f", "etc/a/b", "etc/out"} {
		if err := rooted.Remove(root, name); err != nil {
			t.Error(err)
		}
	}
	if err := rooted.Remove(root, "etc/a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := os.Lstat(outside + "/secret"); err != nil {
		t.Error(err)
	}
}

func TestAbsMeansWhatTheShellMeans(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree(t, dir, "far/away/", "link -> far/away", "auth.json", "far/auth.json")
	t.Chdir(dir)
	for path, want := range map[string]string{
		"auth.json": "auth.json", "./auth.json": "auth.json", "link/../auth.json": "far/auth.json",
		"link/../../auth.json": "auth.json", "link/new": "link/new", dir + "/link/../auth.json": "far/auth.json", "link/..": "far",
		"link/../new": "far/new",
	} {
		if got, err := rooted.Abs(path); got != filepath.Join(dir, want) || err != nil {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	if got, err := rooted.Abs("missing/../auth.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWalkPassesWhatTheKernelPasses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	root := tree(t, dir, "usr/lib/x", "abs -> /usr/lib", "climbs -> ../../abs", "usr/far/", "usr/link -> /usr/far", "loop -> loop", "gone -> nothing")
	for path, want := range map[string]string{
		"usr/lib/x":         "/ /usr /usr/lib /usr/lib/x",
		"/abs//./x":         "/ /abs /usr /usr/lib /usr/lib/x",
		"climbs/x":          "/ /climbs /abs /usr /usr/lib /usr/lib/x",
		"usr/link/../lib/x": "/ /usr /usr/link /usr /usr/far /usr/lib /usr/lib/x",
		"../..":             "/",
		"loop":              "ELOOP", "gone": "ENOENT", "usr/lib/x/y": "ENOTDIR",
	} {
		var passed []string
		var last unix.Stat_t
		err := rooted.Walk(root, path, func(name string, st unix.Stat_t) error {
			passed, last = append(passed, name), st
			return nil
		})
		got := strings.Join(passed, " ")
		if errno := unix.Errno(0); errors.As(err, &errno) {
			got = unix.ErrnoName(errno)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		st, statErr := rooted.Stat(root, path, 0)
		if (err == nil) != (statErr == nil) || err == nil && st.Ino != last.Ino && path != "../.." {
			t.Errorf("%s: ends at %d, %v, and the kernel at %d, %v", path, last.Ino, err, st.Ino, statErr)
		}
	}
}
