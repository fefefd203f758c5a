// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newBareRepo makes a physical root with a repository as hosts have it, and the
// tree that commitTree commits.
func newBareRepo(t testing.TB) (phys string) {
	t.Helper()
	needOSTree(t)
	if os.Getuid() != 0 {
		t.Skip("needs root, for owners and attributes of files")
	}
	phys = t.TempDir()
	makeDirs(t, phys, "ostree/repo", "ostree/deploy", "tree")
	ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "init", "--mode=bare")
	return phys
}

func commitTree(t testing.TB, phys string) (commit string) {
	t.Helper()
	return ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "commit", "--no-bindings", "--orphan", "--add-metadata-string=x="+strings.Repeat("y", 300), "--tree=dir="+filepath.Join(phys, "tree"))
}

func ok(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestObjectsAreReadAsOSTreeWroteThem(t *testing.T) {
	phys := newBareRepo(t)
	tree := filepath.Join(phys, "tree")
	var wantFiles, wantDirs []string
	// Enough for offsets of one, two and four bytes.
	for _, n := range []int{0, 5, 300, 3000} {
		dir := filepath.Join(tree, fmt.Sprintf("files-%04d", n))
		ok(t, os.Mkdir(dir, 0o755))
		for i := range n {
			ok(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), fmt.Append(nil, i%100), 0o644))
		}
	}
	sub := filepath.Join(tree, "sub")
	ok(t, os.Mkdir(sub, 0), unix.Chmod(sub, 0o3751), os.Chown(sub, 7, 4_000_000_000),
		unix.Setxattr(sub, "user.b", []byte("of\x00b"), 0), unix.Setxattr(sub, "user.a", []byte("a"), 0))
	for _, size := range []int{0, 1, 200, 300, 3000} {
		path := filepath.Join(tree, fmt.Sprintf("xattr-%04d", size))
		ok(t, os.WriteFile(path, bytes.Repeat([]byte("c"), size), 0o600), unix.Chmod(path, 0o4711),
			unix.Setxattr(path, "user.x", bytes.Repeat([]byte{0xff}, size), 0))
	}
	link := filepath.Join(tree, "link")
	ok(t, os.Symlink(strings.Repeat("/t", 500), link), os.Lchown(link, 8, 9), unix.Lsetxattr(link, "trusted.x", []byte("y"), 0))
	commit := commitTree(t, phys)
	repo := openRepo(t, phys)
	ok(t, repo.CheckMode())
	// Attributes without a value do not count in what was committed of a directory.
	files, err := filepath.Glob(filepath.Join(phys, "ostree/repo/objects/0*/*.file"))
	for _, file := range files {
		if fi, statErr := os.Lstat(file); statErr == nil && fi.Mode().IsRegular() {
			ok(t, unix.Setxattr(file, "user.empty", nil, 0))
		}
	}
	ok(t, err)
	root, err := repo.CommitTree(commit)
	ok(t, err)

	var walk func(path string, sum Checksum)
	walk = func(path string, sum Checksum) {
		dir, err := repo.Tree(sum)
		ok(t, err)
		for _, f := range dir.Files {
			wantFiles = append(wantFiles, filepath.Join(path, f.Name))
			obj, err := repo.OpenFile(f.File, true)
			ok(t, err)
			content, err := "", error(nil)
			if obj.Mode&unix.S_IFMT == unix.S_IFREG {
				var data []byte
				data, err = io.ReadAll(obj)
				content = string(data)
			}
			ok(t, err, obj.Close())
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
			ok(t, err)
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
	phys := newBareRepo(t)
	archive := filepath.Join(phys, "layer.tar")
	f, err := os.OpenFile(archive, os.O_CREATE|os.O_WRONLY, 0o600)
	ok(t, err)
	w := tar.NewWriter(f)
	ok(t, w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "file", Size: 7, Mode: 0o644, Format: tar.FormatPAX,
		PAXRecords: map[string]string{"SCHILY.xattr.user.empty": ""},
	}))
	_, err = w.Write([]byte("content"))
	ok(t, err, w.Close(), f.Close())
	commit := ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "commit", "--no-bindings", "--orphan", "--tar-autocreate-parents", "--tree=tar="+archive)
	repo := openRepo(t, phys)
	root, err := repo.CommitTree(commit)
	ok(t, err)
	dir, err := repo.Tree(root.Tree)
	ok(t, err)
	name := dir.Files[0].File.String()
	object := filepath.Join(phys, "ostree/repo/objects", name[:2], name[2:]+".file")
	read := func() error {
		file, err := repo.OpenFile(dir.Files[0].File, true)
		ok(t, err)
		_, err = io.ReadAll(file)
		return errors.Join(err, file.Close())
	}
	if n, err := unix.Listxattr(object, nil); n == 0 || err != nil {
		t.Fatalf("the object has no attributes: %v", err)
	}
	ok(t, read())
	// With a label that the kernel shows, and with damage.
	ok(t, unix.Setxattr(object, selinuxXattr, []byte("a_u:b_r:c_t:s0"), 0), read())
	ok(t, unix.Setxattr(object, "user.empty", []byte("x"), 0))
	if err := read(); !errors.Is(err, ErrCorruptObject) {
		t.Errorf("got %v", err)
	}
}

func TestCheckModeAcceptsOnlyWhatHostsHave(t *testing.T) {
	needOSTree(t)
	for mode, good := range map[string]bool{"bare": true, "bare-user": false, "bare-user-only": false, "archive": false} {
		phys := t.TempDir()
		makeDirs(t, phys, "ostree/repo", "ostree/deploy")
		ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "init", "--mode="+mode)
		if err := openRepo(t, phys).CheckMode(); (err == nil) != good || !good && !errors.Is(err, ErrRepoMode) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestLayerCommitsNamesAMissingRef(t *testing.T) {
	phys := newRepo(t)
	repo := openRepo(t, phys)
	commit := commitImage(t, phys, LayerRefPrefix+"sha256_3A_1", nil)
	got, err := repo.LayerCommits(t.Context(), []string{"sha256:1", "sha256:1"})
	if err != nil || !slices.Equal(got, []string{commit, commit}) {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = repo.LayerCommits(t.Context(), []string{"sha256:1", "sha256:2"})
	if err == nil || !strings.Contains(err.Error(), "sha256_3A_2") {
		t.Errorf("got %v", err)
	}
	if _, err := repo.LayerCommits(t.Context(), []string{""}); err == nil {
		t.Error("no digest, no error")
	}
}

func TestImageDocumentsAreThoseOfTheCommit(t *testing.T) {
	phys := newRepo(t)
	repo := openRepo(t, phys)
	for config, want := range map[string]string{`{"x": "é'\"<\\"}`: `{"x": "é'\"<\\"}`, "null": ""} {
		commit, err := repo.Commit(t.Context(), commitImage(t, phys, "test", map[string]string{
			"ostree.manifest": `{ "a": 1 }`, "ostree.manifest-digest": "sha256:1", "ostree.container.image-config": config,
		}))
		if err != nil || commit.ManifestText != `{ "a": 1 }` || commit.ConfigText != want {
			t.Errorf("got %q, %q, %v, want %q", commit.ManifestText, commit.ConfigText, err, want)
		}
	}
}

func TestObjectsAreReadOnlyInTheRepository(t *testing.T) {
	phys := newBareRepo(t)
	tree := filepath.Join(phys, "tree")
	ok(t, os.WriteFile(filepath.Join(tree, "file"), []byte("x"), 0o644))
	commit := commitTree(t, phys)
	repo := openRepo(t, phys)
	root, err := repo.CommitTree(commit)
	ok(t, err)
	name := root.Tree.String()
	object := filepath.Join(phys, "ostree/repo/objects", name[:2], name[2:]+".dirtree")
	outside := filepath.Join(t.TempDir(), "outside")
	ok(t, os.Rename(object, outside), os.Symlink(outside, object))
	if _, err := repo.Tree(root.Tree); !errors.Is(err, unix.ELOOP) {
		t.Errorf("got %v", err)
	}
}

// seedObjects are serialised objects of real repositories.
func seedObjects(f *testing.F) {
	f.Add([]byte{})
	phys := f.TempDir()
	if os.Getuid() == 0 {
		if _, err := os.Stat("/usr/bin/ostree"); err == nil {
			phys = newBareRepo(f)
			tree := filepath.Join(phys, "tree")
			makeDirs(f, tree, "a/b", "c")
			ok(f, os.WriteFile(filepath.Join(tree, "file"), nil, 0o644), unix.Setxattr(filepath.Join(tree, "c"), "user.x", []byte("y"), 0))
			commitTree(f, phys)
		}
	}
	files, _ := filepath.Glob(filepath.Join(phys, "ostree/repo/objects/*/*.*[ate]*"))
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
}

func FuzzParseObjects(f *testing.F) {
	seedObjects(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if tree, err := parseTree(data); err == nil {
			for _, file := range tree.Files {
				if file.Name != filepath.Base(file.Name) || file.Name == ".." || file.Name == "." {
					t.Errorf("file name %q", file.Name)
				}
			}
			for _, dir := range tree.Dirs {
				if dir.Name != filepath.Base(dir.Name) || dir.Name == ".." || dir.Name == "." {
					t.Errorf("directory name %q", dir.Name)
				}
			}
		}
		if meta, err := parseDirMeta(data); err == nil && meta.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("mode %o", meta.Mode)
		}
		if root, err := parseCommitTree(data); err == nil && root.Name != "/" {
			t.Errorf("root %q", root.Name)
		}
	})
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

// TestManifestDigestIsTheOneThatOstreeShows, for commits whose offsets take one, two and four
// bytes.
func TestManifestDigestIsTheOneThatOstreeShows(t *testing.T) {
	phys := newRepo(t)
	repo := openRepo(t, phys)
	for _, size := range []int{1, 100, 400, 70_000} {
		checksum := commitImage(t, phys, "test", map[string]string{
			"a": "before", "ostree.manifest": `{"x": "` + strings.Repeat("y", size) + `"}`, "ostree.manifest-digest": "sha256:1", "zzz": "after",
		})
		commit, err := repo.Commit(t.Context(), checksum)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := repo.ManifestDigest(checksum); err != nil || got != commit.ManifestDigest || got == "" {
			t.Errorf("size %d: got %q, %v, want %q", size, got, err, commit.ManifestDigest)
		}
	}
	without := commitImage(t, phys, "test", map[string]string{"a": "b"})
	path := "ostree/repo/objects/" + without[:2] + "/" + without[2:] + ".commit"
	if got, err := repo.ManifestDigest(without); err == nil {
		t.Errorf("without a digest: got %q", got)
	}
	if err := os.Remove(filepath.Join(phys, path)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, phys, path, "damaged")
	for _, checksum := range []string{without, "", strings.Repeat("1", 64)} {
		if got, err := repo.ManifestDigest(checksum); err == nil {
			t.Errorf("%q: got %q", checksum, got)
		}
	}
}
