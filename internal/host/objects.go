// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	sha2 "crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

var (
	// ErrRepoMode says that a repository does not keep its objects as the files
	// of a host are kept: its mode is not "bare".
	ErrRepoMode = errors.New(`not the repository of a host, whose mode is "bare"`)
	// ErrCorruptObject says that an object is not what its name says.
	ErrCorruptObject = errors.New("checksum does not match, object is corrupt")
)

// maxMetadata is libostree's own bound for metadata, OSTREE_MAX_METADATA_SIZE.
const maxMetadata = 128 << 20

// maxXattrs bounds the names, and each value, of extended attributes, as the
// kernel does (XATTR_LIST_MAX, XATTR_SIZE_MAX in xattr(7)).
const maxXattrs = 64 << 10

// Checksum is the SHA-256 that names an object.
type Checksum [sha2.Size]byte

func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// ParseChecksum reads a checksum in hexadecimal.
func ParseChecksum(s string) (c Checksum, err error) {
	if !isHex(s, commitDigits) {
		return c, fmt.Errorf("parse checksum %.80q: not %d lower-case digits", s, commitDigits)
	}
	_, err = hex.Decode(c[:], []byte(s))
	return c, err
}

// Tree is a directory: an object of type "dirtree". Both lists are in the order
// of the object, by name, which is neither empty, "." nor "..", and without "/".
type Tree struct {
	Files []TreeFile
	Dirs  []TreeDir
}

// TreeFile is a file or symbolic link in a Tree.
type TreeFile struct {
	Name string
	File Checksum
}

// TreeDir is a directory in a Tree. Meta is an object of type "dirmeta".
type TreeDir struct {
	Name       string
	Tree, Meta Checksum
}

// DirMeta is what an object of type "dirmeta" says of a directory. Mode is that
// of stat(2), with the type.
type DirMeta struct {
	UID, GID, Mode uint32
	Xattrs         []Xattr
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// CheckMode returns ErrRepoMode when Tree, DirMeta and OpenFile cannot read the
// repository.
func (r *Repo) CheckMode() error {
	path := filepath.Join(r.dir.Name(), "config")
	data, err := readIn(r.dir, "config")
	if err != nil {
		return fmt.Errorf("read %q: %w", path, err)
	}
	config, err := parseKeyFile(data)
	if err != nil {
		return fmt.Errorf("read %q: %w", path, err)
	}
	if mode := config["core"]["mode"]; mode != "bare" {
		return fmt.Errorf("read %q: mode %q: %w", path, mode, ErrRepoMode)
	}
	return nil
}

// LayerCommits returns the commits that hold the layers of an image, by their
// refs. A missing one is an error that names the ref.
func (r *Repo) LayerCommits(ctx context.Context, digests []string) ([]string, error) {
	args := make([]string, len(digests))
	for i, digest := range digests {
		escaped, err := EscapeRef(digest)
		if err != nil {
			return nil, err
		}
		args[i] = LayerRefPrefix + escaped
	}
	out, err := r.ostree(ctx, "rev-parse", args...)
	if err != nil {
		return nil, fmt.Errorf("find layers in %q: %w", r.dir.Name(), err)
	}
	commits := strings.Fields(string(out))
	if len(commits) != len(digests) {
		return nil, fmt.Errorf("find layers in %q: %d commits for %d refs", r.dir.Name(), len(commits), len(digests))
	}
	return commits, nil
}

// ManifestDigest returns the manifest digest of the image that a commit was made of, without
// ostree, which takes as long to start as all else that a list reads.
func (r *Repo) ManifestDigest(commit string) (string, error) {
	sum, err := ParseChecksum(commit)
	if err != nil {
		return "", err
	}
	return readObject(r, sum, "commit", func(data []byte) (string, error) {
		// A commit is a GVariant of type (a{sv}aya(say)sstayay). Where its first member
		// ends is written at its own end.
		width := offsetWidth(len(data))
		end, ok := readOffset(data, len(data)-width, width)
		if !ok {
			return "", errVariant
		}
		meta, err := parseVardict(data[:end])
		if err != nil {
			return "", err
		}
		return meta["ostree.manifest-digest"].text()
	})
}

// CommitTree returns the root directory of a commit.
func (r *Repo) CommitTree(commit string) (TreeDir, error) {
	sum, err := ParseChecksum(commit)
	if err != nil {
		return TreeDir{}, err
	}
	root, err := readObject(r, sum, "commit", parseCommitTree)
	return root, err
}

// Tree reads a directory.
func (r *Repo) Tree(sum Checksum) (Tree, error) {
	return readObject(r, sum, "dirtree", parseTree)
}

// DirMeta reads the metadata of a directory.
func (r *Repo) DirMeta(sum Checksum) (DirMeta, error) {
	return readObject(r, sum, "dirmeta", parseDirMeta)
}

// readObject reads an object of metadata. It is checked against its name.
func readObject[T any](r *Repo, sum Checksum, kind string, parse func([]byte) (T, error)) (T, error) {
	var zero T
	f, err := r.openObject(sum, kind, readFlags)
	if err != nil {
		return zero, err
	}
	defer f.Close()
	data, err := readRegular(f)
	if err == nil && sha2.Sum256(data) != sum {
		err = ErrCorruptObject
	}
	if err != nil {
		return zero, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	v, err := parse(data)
	if err != nil {
		return zero, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	return v, nil
}

func readRegular(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case !fi.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case fi.Size() > maxMetadata:
		return nil, fmt.Errorf("object of %d bytes is larger than %d", fi.Size(), maxMetadata)
	}
	data := make([]byte, fi.Size())
	_, err = io.ReadFull(f, data)
	return data, withoutPath(err)
}

// readFlags keep anything but a regular file from being waited for.
const readFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY

func (r *Repo) openObject(sum Checksum, kind string, flags int) (*os.File, error) {
	name := sum.String()
	return rooted.Open(r.dir, "objects/"+name[:2]+"/"+name[2:]+"."+kind, flags|unix.O_NOFOLLOW)
}

// File is an open file object of a repository of mode "bare": its metadata is
// that of the file itself.
type File struct {
	// UID, GID and Mode are those of stat(2).
	UID, GID, Mode uint32
	// Size is in bytes, 0 for a symbolic link.
	Size int64
	// Target is that of a symbolic link.
	Target string
	// Xattrs is ordered by name.
	Xattrs []Xattr

	sum   Checksum
	file  *os.File
	check hash.Hash // nil when unchecked
}

// OpenFile opens a file object: a regular file or a symbolic link. When check is
// set, the object is compared with its name: a link at once, the content of a
// file when all of it was read.
func (r *Repo) OpenFile(sum Checksum, check bool) (*File, error) {
	f, err := r.openObject(sum, "file", readFlags)
	if errors.Is(err, unix.ELOOP) {
		f, err = r.openObject(sum, "file", unix.O_PATH)
	}
	if err != nil {
		return nil, err
	}
	obj := &File{sum: sum, file: f}
	if err := obj.stat(); err != nil {
		f.Close()
		return nil, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	if check {
		obj.check = sha2.New()
		obj.check.Write(obj.header(obj.committed()[0]))
		if obj.Mode&unix.S_IFMT == unix.S_IFLNK {
			if err := obj.verify(); err != nil {
				f.Close()
				return nil, fmt.Errorf("read %q: %w", f.Name(), err)
			}
		}
	}
	return obj, nil
}

// FileSize is the size of a file object in bytes, 0 for a symbolic link. It is not read.
func (r *Repo) FileSize(sum Checksum) (int64, error) {
	f, err := r.openObject(sum, "file", unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("read %q: %w", f.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, nil
	}
	return st.Size, nil
}

// Fd is the file's descriptor: of a symbolic link, one that cannot be read.
func (f *File) Fd() uintptr { return f.file.Fd() }

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Read reads the content of a regular file. The error is ErrCorruptObject in
// place of io.EOF when the object is not what its name says.
func (f *File) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	if f.check != nil {
		f.check.Write(p[:n])
		if errors.Is(err, io.EOF) {
			if bad := f.verify(); bad != nil {
				err = fmt.Errorf("read %q: %w", f.file.Name(), bad)
			}
		}
	}
	return n, err
}

// ReadAt reads the content of a regular file as io.ReaderAt, unchecked.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// stat reads all but the content.
func (f *File) stat() error {
	var st unix.Stat_t
	fd := int(f.file.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	f.UID, f.GID, f.Mode = st.Uid, st.Gid, st.Mode
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.Size = st.Size
		f.Xattrs, err = readXattrs(
			func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) },
			func(name string, buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) })
	case unix.S_IFLNK:
		if f.Target, err = readTarget(fd); err != nil {
			return err
		}
		// A descriptor of a link itself has no such calls of its own.
		link := fmt.Sprintf("/proc/self/fd/%d", fd)
		f.Xattrs, err = readXattrs(
			func(buf []byte) (int, error) { return unix.Listxattr(link, buf) },
			func(name string, buf []byte) (int, error) { return unix.Getxattr(link, name, buf) })
	default:
		return errors.New("neither a regular file nor a symbolic link")
	}
	return err
}

func readTarget(fd int) (string, error) {
	// One more than the longest, to see that it is whole.
	buf := make([]byte, unix.PathMax+1)
	n, err := unix.Readlinkat(fd, "", buf)
	if err == nil && n == len(buf) {
		err = unix.ENAMETOOLONG
	}
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) ([]Xattr, error) {
	// Most files have none: one call without a buffer tells.
	size, err := list(nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	buf := make([]byte, maxXattrs)
	n, err := list(buf)
	if err != nil {
		return nil, err
	}
	var xattrs []Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		n, err := get(name, buf)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		xattrs = append(xattrs, Xattr{Name: name, Value: slices.Clone(buf[:n])})
	}
	slices.SortFunc(xattrs, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return xattrs, nil
}

const selinuxXattr = "security.selinux"

// committed returns the extended attributes that the object may have been committed
// with: of those that the file has now, without the ones that
//   - have no value: libostree does not see them in a directory, but in an archive;
//   - are labels of SELinux: the kernel of a host with it shows one on files that
//     were committed without.
func (f *File) committed() [][]Xattr {
	without := func(xattrs []Xattr, drop func(Xattr) bool) []Xattr {
		return slices.DeleteFunc(slices.Clone(xattrs), drop)
	}
	empty := func(x Xattr) bool { return len(x.Value) == 0 }
	label := func(x Xattr) bool { return x.Name == selinuxXattr }
	valued := without(f.Xattrs, empty)
	candidates := [][]Xattr{valued}
	for _, c := range [][]Xattr{f.Xattrs, without(valued, label), without(f.Xattrs, label)} {
		same := func(x, y Xattr) bool { return x.Name == y.Name }
		if !slices.ContainsFunc(candidates, func(have []Xattr) bool { return slices.EqualFunc(have, c, same) }) {
			candidates = append(candidates, c)
		}
	}
	return candidates
}

// verify compares what was read with the name of the object.
func (f *File) verify() error {
	if Checksum(f.check.Sum(nil)) == f.sum {
		return nil
	}
	for _, xattrs := range f.committed()[1:] {
		f.check.Reset()
		f.check.Write(f.header(xattrs))
		if f.Mode&unix.S_IFMT == unix.S_IFREG {
			if _, err := io.Copy(f.check, io.NewSectionReader(f.file, 0, f.Size)); err != nil {
				return err
			}
		}
		if Checksum(f.check.Sum(nil)) == f.sum {
			return nil
		}
	}
	return ErrCorruptObject
}

// header is what the checksum of a file object covers before the content: a
// GVariant of type (uuuusa(ayay)) after its size, from _ostree_file_header_new
// and _ostree_write_variant_with_size in libostree's ostree-core.c.
func (f *File) header(xattrs []Xattr) []byte {
	var variant []byte
	for _, n := range []uint32{f.UID, f.GID, f.Mode, 0} {
		variant = binary.BigEndian.AppendUint32(variant, n)
	}
	variant = append(append(variant, f.Target...), 0)
	end := len(variant)
	variant = appendOffsets(append(variant, packXattrs(xattrs)...), end)
	header := binary.BigEndian.AppendUint32(nil, uint32(len(variant)))
	// The variant starts at a multiple of eight bytes.
	return append(append(header, 0, 0, 0, 0), variant...)
}

// packXattrs serialises a GVariant of type a(ayay).
func packXattrs(xattrs []Xattr) []byte {
	var array []byte
	var ends []int
	for _, x := range xattrs {
		pair := append([]byte(x.Name), 0)
		end := len(pair)
		array = append(array, appendOffsets(append(pair, x.Value...), end)...)
		ends = append(ends, len(array))
	}
	return appendOffsets(array, ends...)
}

// appendOffsets ends a GVariant container with the table of its offsets, whose
// width depends on the size with the table.
func appendOffsets(data []byte, offsets ...int) []byte {
	width := 1
	for width < 4 && offsetWidth(len(data)+len(offsets)*width) > width {
		width *= 2
	}
	for _, offset := range offsets {
		var le [4]byte
		binary.LittleEndian.PutUint32(le[:], uint32(offset))
		data = append(data, le[:width]...)
	}
	return data
}

// parseCommitTree reads where the root of a commit is, in a GVariant of type
// (a{sv}aya(say)sstayay), from OSTREE_COMMIT_GVARIANT_FORMAT in libostree's
// ostree-core.h.
func parseCommitTree(data []byte) (TreeDir, error) {
	// The last two members are behind a number at a multiple of eight bytes, and
	// before the ends of all members that have one: six of them.
	width := offsetWidth(len(data))
	textEnd, ok1 := readOffset(data, len(data)-5*width, width)
	treeEnd, ok2 := readOffset(data, len(data)-6*width, width)
	tree := align8(textEnd) + 8
	metaEnd := len(data) - 6*width
	if !ok1 || !ok2 || tree > treeEnd || treeEnd > metaEnd {
		return TreeDir{}, errVariant
	}
	root := TreeDir{Name: "/"}
	if !copyChecksum(&root.Tree, data[tree:treeEnd]) || !copyChecksum(&root.Meta, data[treeEnd:metaEnd]) {
		return TreeDir{}, errVariant
	}
	return root, nil
}

// parseTree reads a GVariant of type (a(say)a(sayay)), from
// OSTREE_TREE_GVARIANT_FORMAT in libostree's ostree-core.h.
func parseTree(data []byte) (Tree, error) {
	members, err := splitTuple(data, 2)
	if err != nil {
		return Tree{}, err
	}
	files, err := splitArray(members[0])
	if err != nil {
		return Tree{}, err
	}
	dirs, err := splitArray(members[1])
	if err != nil {
		return Tree{}, err
	}
	tree := Tree{Files: make([]TreeFile, len(files)), Dirs: make([]TreeDir, len(dirs))}
	for i, data := range files {
		f := &tree.Files[i]
		fields, err := splitTuple(data, 2)
		if err != nil {
			return Tree{}, err
		}
		if f.Name, err = fileName(fields[0]); err != nil {
			return Tree{}, err
		}
		if !copyChecksum(&f.File, fields[1]) {
			return Tree{}, errVariant
		}
	}
	for i, data := range dirs {
		d := &tree.Dirs[i]
		fields, err := splitTuple(data, 3)
		if err != nil {
			return Tree{}, err
		}
		if d.Name, err = fileName(fields[0]); err != nil {
			return Tree{}, err
		}
		if !copyChecksum(&d.Tree, fields[1]) || !copyChecksum(&d.Meta, fields[2]) {
			return Tree{}, errVariant
		}
	}
	return tree, nil
}

// fileName reads a name in a directory.
func fileName(data []byte) (string, error) {
	name, err := variant{kind: "s", data: data}.text()
	if err == nil && (name == "" || name == "." || name == ".." || strings.Contains(name, "/")) {
		err = fmt.Errorf("%w: file name %q", errVariant, name)
	}
	return name, err
}

func copyChecksum(c *Checksum, data []byte) bool {
	return copy(c[:], data) == len(data) && len(data) == len(c)
}

// parseDirMeta reads a GVariant of type (uuua(ayay)) with the numbers in big
// endian, from OSTREE_DIRMETA_GVARIANT_FORMAT in libostree's ostree-core.h.
func parseDirMeta(data []byte) (DirMeta, error) {
	if len(data) < 12 {
		return DirMeta{}, errVariant
	}
	m := DirMeta{
		UID:  binary.BigEndian.Uint32(data),
		GID:  binary.BigEndian.Uint32(data[4:]),
		Mode: binary.BigEndian.Uint32(data[8:]),
	}
	pairs, err := splitArray(data[12:])
	if err != nil {
		return DirMeta{}, err
	}
	if m.Mode&unix.S_IFMT != unix.S_IFDIR {
		return DirMeta{}, fmt.Errorf("%w: mode %#o of a directory", errVariant, m.Mode)
	}
	for _, data := range pairs {
		fields, err := splitTuple(data, 2)
		if err != nil {
			return DirMeta{}, err
		}
		name, err := variant{kind: "s", data: fields[0]}.text()
		if err != nil {
			return DirMeta{}, err
		}
		m.Xattrs = append(m.Xattrs, Xattr{Name: name, Value: fields[1]})
	}
	return m, nil
}

// splitTuple splits a GVariant tuple of n members, all of varying size and none
// aligned. It ends in where each but the last of them ends, backwards.
func splitTuple(data []byte, n int) ([][]byte, error) {
	width := offsetWidth(len(data))
	body := len(data) - (n-1)*width
	members := make([][]byte, n)
	start := 0
	for i := range members {
		end := body
		if i < n-1 {
			var ok bool
			if end, ok = readOffset(data, len(data)-(i+1)*width, width); !ok {
				return nil, errVariant
			}
		}
		if end < start || end > body {
			return nil, errVariant
		}
		members[i], start = data[start:end:end], end
	}
	return members, nil
}

// splitArray splits a GVariant array whose elements vary in size and are not
// aligned. It ends in where each of them ends.
func splitArray(data []byte) ([][]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	width := offsetWidth(len(data))
	table, ok := readOffset(data, len(data)-width, width)
	if !ok || table >= len(data) || (len(data)-table)%width != 0 {
		return nil, errVariant
	}
	elements := make([][]byte, 0, (len(data)-table)/width)
	start := 0
	for at := table; at < len(data); at += width {
		end, ok := readOffset(data, at, width)
		if !ok || end < start || end > table {
			return nil, errVariant
		}
		elements, start = append(elements, data[start:end:end]), end
	}
	return elements, nil
}
