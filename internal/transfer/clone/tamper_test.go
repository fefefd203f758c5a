// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// tamperLayers are the archives of an image that tampers change: lower, upper.
func tamperLayers(t *testing.T) [][]byte {
	t.Helper()
	lower := newArchive(t)
	for name, content := range map[string]string{"a": "aaaa", "b": "bbbb", "setuid": "x", "capable": "y", "dir/in": "z", "gone": ""} {
		h := tar.Header{Name: name}
		switch name {
		case "setuid":
			h.Mode = 0o4755
		case "capable":
			h.PAXRecords = map[string]string{
				"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
				"SCHILY.xattr.user.some":           "value",
			}
		case "dir/in":
			lower.add(tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
		}
		lower.add(h, content)
	}
	lower.add(tar.Header{Name: "empty/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	lower.add(tar.Header{Name: "a2", Typeflag: tar.TypeLink, Linkname: "a"}, "")
	lower.add(tar.Header{Name: "b2", Typeflag: tar.TypeLink, Linkname: "b"}, "")
	lower.add(tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "a", Mode: 0o777}, "")
	lower.add(tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}, "")
	lower.add(tar.Header{Name: "device", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, "")
	upper := newArchive(t)
	upper.add(tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	upper.add(tar.Header{Name: "dir/.wh..wh..opq"}, "")
	upper.add(tar.Header{Name: "dir/new"}, "new")
	upper.add(tar.Header{Name: ".wh.gone"}, "")
	return [][]byte{lower.bytes(), upper.bytes()}
}

// keepingTime is do, after which the file has the times that it had before.
func keepingTime(path string, do func() error) func() error {
	return func() error {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
}

// tampers are changes to the trees of the two layers, by the words of the manual page.
func tampers(lower, upper string) map[string]func() error {
	low := func(name string) string { return filepath.Join(lower, name) }
	up := func(name string) string { return filepath.Join(upper, name) }
	again := func(path string, make func() error) func() error {
		return keepingTime(path, func() error {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return make()
		})
	}
	all := func(do ...func() error) func() error {
		return func() error {
			for _, do := range do {
				if err := do(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	changes := map[string]func() error{
		"a whiteout is missing":                 func() error { return os.Remove(up("gone")) },
		"a whiteout is added":                   func() error { return unix.Mknod(up("b"), unix.S_IFCHR, 0) },
		"an opaque directory is so no more":     func() error { return unix.Removexattr(up("dir"), "trusted.overlay.opaque") },
		"a directory is made opaque":            func() error { return unix.Setxattr(low("dir"), "trusted.overlay.opaque", []byte("y"), 0) },
		"a file is missing":                     func() error { return os.Remove(low("capable")) },
		"an empty file is missing":              func() error { return os.Remove(low("gone")) },
		"a symbolic link is missing":            func() error { return os.Remove(low("link")) },
		"an empty directory is missing":         func() error { return os.Remove(low("empty")) },
		"a directory is missing with all in it": func() error { return os.RemoveAll(low("dir")) },
		"a device is missing":                   func() error { return os.Remove(low("device")) },
		"a name of a hard link is missing":      func() error { return os.Remove(low("a2")) },
		"a file is added":                       func() error { return os.WriteFile(low("added"), []byte("x"), 0o600) },
		"an empty file is added":                func() error { return os.WriteFile(low("added"), nil, 0o600) },
		"an empty directory is added":           func() error { return os.Mkdir(low("added"), 0o755) },
		"a hard link is added":                  func() error { return os.Link(low("setuid"), low("added")) },
		"a symbolic link leads elsewhere":       again(low("link"), func() error { return os.Symlink("b", low("link")) }),
		"a hard link is one to another file":    all(again(low("a2"), func() error { return os.Link(low("b"), low("a2")) }), again(low("b2"), func() error { return os.Link(low("a"), low("b2")) })),
		"a hard link is a copy":                 again(low("a2"), func() error { return os.WriteFile(low("a2"), []byte("aaaa"), 0o644) }),
		"a file is a directory":                 again(low("setuid"), func() error { return os.Mkdir(low("setuid"), 0o755) }),
		"a file is a symbolic link":             again(low("setuid"), func() error { return os.Symlink("b", low("setuid")) }),
		"a device has another number": again(low("device"), func() error {
			return errors.Join(unix.Mknod(low("device"), unix.S_IFCHR, int(unix.Mkdev(1, 5))), unix.Chmod(low("device"), 0o666))
		}),
		"a device is a fifo":                      again(low("device"), func() error { return unix.Mknod(low("device"), unix.S_IFIFO|0o644, 0) }),
		"the set-user-ID bit is missing":          func() error { return unix.Chmod(low("setuid"), 0o755) },
		"the mode is another":                     func() error { return unix.Chmod(low("dir"), 0o777) },
		"the owner is another":                    func() error { return unix.Lchown(low("link"), 7, 0) },
		"the group is another":                    func() error { return unix.Lchown(low("b"), 0, 7) },
		"the modification time is another":        func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, low("b"), []unix.Timespec{{}, {Sec: 7}}, 0) },
		"a capability is missing":                 func() error { return unix.Removexattr(low("capable"), "security.capability") },
		"an extended attribute is missing":        func() error { return unix.Removexattr(low("capable"), "user.some") },
		"an extended attribute is added":          func() error { return unix.Setxattr(low("b"), "user.added", []byte("x"), 0) },
		"an extended attribute has another value": func() error { return unix.Setxattr(low("capable"), "user.some", []byte("VALUE"), 0) },
		"a file is shorter":                       keepingTime(low("b"), func() error { return os.Truncate(low("b"), 2) }),
		"a file is longer":                        keepingTime(low("b"), func() error { return os.Truncate(low("b"), 9) }),
		"a file has other content of that size":   keepingTime(low("b"), func() error { return os.WriteFile(low("b"), []byte("BBBB"), 0o644) }),
		"two files have each other's content": all(
			keepingTime(low("a"), func() error { return os.WriteFile(low("a"), []byte("bbbb"), 0o644) }),
			keepingTime(low("b"), func() error { return os.WriteFile(low("b"), []byte("aaaa"), 0o644) })),
	}
	// What is done in a directory changes its time, too: that must not be what is seen.
	for name, do := range changes {
		changes[name] = keepingTime(lower, keepingTime(upper, do))
	}
	return changes
}

// verificationTable is the table of the manual page: what each level detects, none nothing.
func verificationTable(t *testing.T) map[string]map[clonejob.Verify]bool {
	t.Helper()
	text, err := os.ReadFile("../../../contrib/man/bootc-podman-pull-from-default-storage.8.md")
	must(t, err)
	table := map[string]map[clonejob.Verify]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || !slices.Contains([]string{"yes", "no"}, strings.TrimSpace(cells[1])) {
			continue
		}
		row := map[clonejob.Verify]bool{clonejob.VerifyNone: false}
		for i, level := range []clonejob.Verify{clonejob.VerifyMetadata, clonejob.VerifyFull} {
			row[level] = strings.TrimSpace(cells[i+1]) == "yes"
		}
		table[strings.TrimSpace(cells[0])] = row
	}
	return table
}

// copyAll copies a store.
func copyAll(t *testing.T, from, to string) {
	t.Helper()
	must(t, exec.Command("cp", "-a", "--reflink=auto", from, to).Run())
}

// TestVerificationDetectsWhatTheManualSays changes source layers in each way of the table.
func TestVerificationDetectsWhatTheManualSays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	dir := testfs.New(t, "xfs")
	table := verificationTable(t)
	if want, got := slices.Sorted(maps.Keys(tampers("", ""))), slices.Sorted(maps.Keys(table)); !slices.Equal(got, want) {
		t.Fatalf("the manual has the rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	layers := tamperLayers(t)
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", layers...)
	lower := layerID("", digest.FromBytes(layers[0]))
	upper := layerID(lower, digest.FromBytes(layers[1]))
	a.Free()
	original := dir + "/original"
	must(t, os.Rename(dir+"/a", original))
	n := 0
	for name, levels := range table {
		for level, want := range levels {
			n++
			must(t, os.RemoveAll(dir+"/a"))
			copyAll(t, original, dir+"/a")
			must(t, tampers(a.diff(lower), a.diff(upper))[name]())
			b := &testStore{dir: dir + "/b", job: clonejob.Store{GraphRoot: dir + "/b/root", RunRoot: dir + "/b/run", Driver: "overlay"}}
			_, err := Image(t.Context(), clonejob.Job{Source: a.job, Destination: b.job, Image: id, Verify: level}, nil)
			if got := errors.Is(err, clonejob.ErrNotVerified); got != want || err != nil && !got {
				t.Errorf("%s, at level %s: %v", name, level, err)
			}
			if want && level == clonejob.VerifyMetadata && err != nil {
				t.Logf("%s: %v", name, err)
				if !strings.Contains(err.Error(), digest.FromBytes(layers[0]).String()) && !strings.Contains(err.Error(), digest.FromBytes(layers[1]).String()) {
					t.Errorf("%s: no layer in %v", name, err)
				}
			}
			if err != nil {
				b.check(t)
				b.has(t, 0, 0)
				b.Free()
			}
			must(t, os.RemoveAll(b.dir))
		}
	}
	t.Logf("%d clones", n)
}
