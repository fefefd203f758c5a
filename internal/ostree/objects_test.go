// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"archive/tar"
	"bytes"
	sha2 "crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestObjectsAreReadAsOSTreeWroteThem(t *testing.T) {
	s := newScratch(t, "bare")
	tree := s.tree
	var wantFiles, wantDirs []string
	// Enough for offsets of one, two and four bytes.
	for _, n := range []int{0, 5, 300, 3000} {
		dir := filepath.Join(tree, fmt.Sprintf("files-%04d", n))
		s.ok(os.Mkdir(dir, 0o755))
		for i := range n {
			s.ok(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), fmt.Append(nil, i%100), 0o644))
		}
	}
	sub := filepath.Join(tree, "sub")
	s.ok(os.Mkdir(sub, 0), unix.Chmod(sub, 0o3751), os.Chown(sub, 7, 4_000_000_000),
		unix.Setxattr(sub, "user.b", []byte("of\x00b"), 0), unix.Setxattr(sub, "user.a", []byte("a"), 0))
	for _, size := range []int{0, 1, 200, 300, 3000} {
		path := filepath.Join(tree, fmt.Sprintf("xattr-%04d", size))
		s.ok(os.WriteFile(path, bytes.Repeat([]byte("c"), size), 0o600), unix.Chmod(path, 0o4711),
			unix.Setxattr(path, "user.x", bytes.Repeat([]byte{0xff}, size), 0))
	}
	link := filepath.Join(tree, "link")
	s.ok(os.Symlink(strings.Repeat("/t", 500), link), os.Lchown(link, 8, 9), unix.Lsetxattr(link, "trusted.x", []byte("y"), 0))
	commit := s.commit("--add-metadata-string=x=" + strings.Repeat("y", 300))
	repo := s.open()
	s.ok(repo.CheckMode())
	// Attributes without a value do not count in what was committed of a directory.
	files, err := filepath.Glob(filepath.Join(s.repo, "objects/0*/*.file"))
	for _, file := range files {
		if fi, statErr := os.Lstat(file); statErr == nil && fi.Mode().IsRegular() {
			s.ok(unix.Setxattr(file, "user.empty", nil, 0))
		}
	}
	s.ok(err)
	root := repo.root(t, commit)

	var walk func(path string, sum Checksum)
	walk = func(path string, sum Checksum) {
		dir, err := repo.Tree(sum)
		s.ok(err)
		for _, f := range dir.Files {
			wantFiles = append(wantFiles, filepath.Join(path, f.Name))
			obj, err := repo.OpenFile(f.File, true)
			s.ok(err)
			content, err := "", error(nil)
			if obj.Mode&unix.S_IFMT == unix.S_IFREG {
				var data []byte
				data, err = io.ReadAll(obj)
				content = string(data)
			}
			s.ok(err, obj.Close())
			if f.Name == "link" && (obj.Target != strings.Repeat("/t", 500) || obj.UID != 8 || obj.GID != 9 || len(obj.Xattrs) != 1) {
				t.Errorf("link: %+v", obj)
			}
			if f.Name == "xattr-3000" && (obj.Mode != unix.S_IFREG|0o4711 || len(content) != 3000 || obj.Size != 3000 || len(obj.Xattrs[0].Value) != 3000) {
				t.Errorf("xattr-3000: mode %o, size %d, content of %d", obj.Mode, obj.Size, len(content))
			}
		}
		for _, d := range dir.Dirs {
			wantDirs = append(wantDirs, filepath.Join(path, d.Name))
			meta, err := repo.DirMeta(d.Meta)
			s.ok(err)
			if d.Name == "sub" {
				want := DirMeta{7, 4_000_000_000, unix.S_IFDIR | 0o3751, []Xattr{{"user.a", []byte("a")}, {"user.b", []byte("of\x00b")}}}
				if !reflect.DeepEqual(meta, want) {
					t.Errorf("sub: %+v, want %+v", meta, want)
				}
			}
			walk(filepath.Join(path, d.Name), d.Tree)
		}
	}
	walk("/", root.Tree)
	if len(wantFiles) != 3305+6 || len(wantDirs) != 5 || !slices.Contains(wantFiles, "/files-3000/2999") {
		t.Errorf("%d files, directories %q", len(wantFiles), wantDirs)
	}
}

func TestAttributesWithoutAValueCountInWhatCameFromAnArchive(t *testing.T) {
	s := newScratch(t, "bare")
	archive := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.OpenFile(archive, os.O_CREATE|os.O_WRONLY, 0o600)
	s.ok(err)
	w := tar.NewWriter(f)
	s.ok(w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "file", Size: 7, Mode: 0o644, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.empty": ""},
	}))
	_, err = w.Write([]byte("content"))
	s.ok(err, w.Close(), f.Close())
	commit := s.ostree("commit", "--no-bindings", "--orphan", "--tar-autocreate-parents", "--tree=tar="+archive)
	repo := s.open()
	root := repo.root(t, commit)
	dir, err := repo.Tree(root.Tree)
	s.ok(err)
	object := s.object(dir.Files[0].File, "file")
	read := func() error {
		file, err := repo.OpenFile(dir.Files[0].File, true)
		s.ok(err)
		_, err = io.ReadAll(file)
		return errors.Join(err, file.Close())
	}
	if n, err := unix.Listxattr(object, nil); n == 0 || err != nil {
		t.Fatalf("the object has no attributes: %v", err)
	}
	s.ok(read())
	// With a label that the kernel shows, and with damage.
	s.ok(unix.Setxattr(object, selinuxXattr, []byte("a_u:b_r:c_t:s0"), 0), read())
	s.ok(unix.Setxattr(object, "user.empty", []byte("x"), 0))
	if err := read(); !errors.Is(err, ErrCorruptObject) {
		t.Errorf("got %v", err)
	}
}

func TestObjectsAreReadOnlyInTheRepository(t *testing.T) {
	s := newScratch(t, "bare")
	tree := s.tree
	s.ok(os.WriteFile(filepath.Join(tree, "file"), []byte("x"), 0o644))
	commit := s.commit("--add-metadata-string=x=" + strings.Repeat("y", 300))
	repo := s.open()
	root := repo.root(t, commit)
	object := s.object(root.Tree, "dirtree")
	outside := filepath.Join(t.TempDir(), "outside")
	s.ok(os.Rename(object, outside), os.Symlink(outside, object))
	if _, err := repo.Tree(root.Tree); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), errLink.Error()) {
		t.Errorf("got %v", err)
	}
}

// TestMetadataThatOSTreeTakesIsPassedOver compares with ostree show.
func TestMetadataThatOSTreeTakesIsPassedOver(t *testing.T) {
	s := newScratch(t, "bare-user-only")
	long := s.commit("--add-metadata=long=("+strings.Repeat("byte 1,", 5000)+"byte 1)", "--add-metadata-string=key=value")
	repo := s.open()
	commit, err := repo.Commit(parse(t, long))
	s.ok(err)
	if text, err := commit.Metadata.Text("key"); text != "value" || err != nil {
		t.Errorf("long type: got %q, %v", text, err)
	}
	if _, err := commit.Metadata.Text("long"); err == nil {
		t.Error("the long type is read")
	}

	// A related commit whose checksum has three bytes, in OSTREE_COMMIT_GVARIANT_FORMAT.
	related := appendOffsets([]byte("x\x00abc"), 2)
	data := appendOffsets(related, len(related)) // after empty metadata and no parent
	ends := []int{0, 0, len(data)}
	for _, text := range []string{"subject\x00", "body\x00"} {
		data = append(data, text...)
		ends = append(ends, len(data))
	}
	data = append(data, make([]byte, align(len(data), 8)-len(data)+8)...) // the time
	data = append(data, commit.Root.Tree[:]...)
	ends = append(ends, len(data))
	slices.Reverse(ends)
	data = appendOffsets(append(data, commit.Root.Meta[:]...), ends...)
	sum := Checksum(sha2.Sum256(data))
	s.write(objectPath(sum, "commit"), string(data))
	if shown := s.ostree("show", sum.String()); !strings.Contains(shown, "subject") {
		t.Fatalf("ostree shows %q", shown)
	}
	if commit, err = repo.Commit(sum); err != nil || commit.Body != "body" {
		t.Errorf("related commit: got %+v, %v", commit, err)
	}
}

func FuzzXattrsAreReadBack(f *testing.F) {
	f.Add("user.a", []byte("x"), 1)
	f.Add("user.b", []byte{}, 100)
	f.Add("user.c", bytes.Repeat([]byte{0}, 254), 1)
	f.Add("user.d", bytes.Repeat([]byte{1}, 300), 300)
	f.Fuzz(func(t *testing.T, name string, value []byte, n int) {
		if strings.Contains(name, "\x00") {
			return
		}
		var xattrs []Xattr
		for range max(0, min(n, 300)) {
			xattrs = append(xattrs, Xattr{name, value})
		}
		meta := append([]byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0o100, 0}, packXattrs(xattrs)...)
		meta[8], meta[9], meta[10], meta[11] = 0, 0, 0x41, 0xed
		got, err := parseDirMeta(meta)
		if err != nil || got.UID != 1 || got.GID != 2 || len(got.Xattrs) != len(xattrs) {
			t.Fatalf("got %+v, %v", got, err)
		}
		for _, x := range got.Xattrs {
			if x.Name != name || !bytes.Equal(x.Value, value) {
				t.Fatalf("got %+v", x)
			}
		}
	})
}
