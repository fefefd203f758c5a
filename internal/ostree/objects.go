// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	sha2 "crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

var (
	// ErrCorruptObject is the error for an object whose content does not match its name.
	ErrCorruptObject = errors.New("checksum does not match, object is corrupt")
	// ErrDeleted is the error for a commit that was deleted and left a tombstone.
	ErrDeleted = errors.New("commit was deleted")
)

// maxMetadata is libostree's own bound for metadata, OSTREE_MAX_METADATA_SIZE.
const maxMetadata = 128 << 20

// Checksum is the SHA-256 that names an object.
type Checksum [sha2.Size]byte

func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// ParseChecksum reads a checksum in hexadecimal.
func ParseChecksum(s string) (c Checksum, err error) {
	const digits = 2 * sha2.Size
	if len(s) != digits || strings.Trim(s, "0123456789abcdef") != "" {
		return c, fmt.Errorf("parse checksum %.80q: not %d lower-case digits", s, digits)
	}
	_, err = hex.Decode(c[:], []byte(s))
	return c, err
}

// Commit is an object of type "commit".
type Commit struct {
	Metadata Dict
	// Parent is the commit below, zero for none.
	Parent        Checksum
	Subject, Body string
	// Time is when it was made, in seconds since 1970.
	Time uint64
	// Root is the root directory.
	Root TreeDir
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

// DirMeta is an object of type "dirmeta", the metadata of a directory. Mode is that
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

// Commit reads a commit. The error is fs.ErrNotExist where the repository does not have it,
// and ErrDeleted, too, where it had it. As for ostree, a commit whose other objects were
// not all fetched (state/<checksum>.commitpartial) is one all the same: it is an object
// below that is missing then.
func (r *Repo) Commit(sum Checksum) (*Commit, error) {
	commit, err := readObject(r, sum, "commit", parseCommit)
	if errors.Is(err, fs.ErrNotExist) && rooted.Exists(r.dir, objectPath(sum, "tombstone-commit")) {
		err = fmt.Errorf("%w: %w", ErrDeleted, err)
	}
	return commit, err
}

// Tree reads a directory.
func (r *Repo) Tree(sum Checksum) (Tree, error) {
	return readObject(r, sum, "dirtree", parseTree)
}

// DirMeta reads the metadata of a directory.
func (r *Repo) DirMeta(sum Checksum) (DirMeta, error) {
	return readObject(r, sum, "dirmeta", parseDirMeta)
}

// objectPath is the path of an object in the repository, for metadata in every mode.
func objectPath(sum Checksum, kind string) string {
	name := sum.String()
	return "objects/" + name[:2] + "/" + name[2:] + "." + kind
}

// readObject reads an object of metadata. It is checked against its name.
func readObject[T any](r *Repo, sum Checksum, kind string, parse func([]byte) (T, error)) (T, error) {
	var zero T
	path := objectPath(sum, kind)
	data, err := r.read(path, maxMetadata)
	if err != nil {
		return zero, err
	}
	v, err := zero, error(nil)
	if sha2.Sum256(data) != sum {
		err = ErrCorruptObject
	} else {
		v, err = parse(data)
	}
	if err != nil {
		return zero, fmt.Errorf("read %q: %w", filepath.Join(r.dir.Name(), path), err)
	}
	return v, nil
}

// The types of metadata, in libostree's ostree-core.h: OSTREE_COMMIT_GVARIANT_FORMAT,
// OSTREE_TREE_GVARIANT_FORMAT, OSTREE_DIRMETA_GVARIANT_FORMAT. Numbers are in big endian.
var (
	commitKind  = lazyKind("(a{sv}aya(say)sstayay)")
	treeKind    = lazyKind("(a(say)a(sayay))")
	dirMetaKind = lazyKind("(uuua(ayay))")
)

// fields returns values one after the other and keeps the first error.
type fields struct {
	values []Value
	err    error
}

// membersOf returns the members of a tuple of a type.
func membersOf(k *kind, data []byte) *fields {
	values, err := Value{kind: k, data: data}.members()
	return &fields{values, err}
}

// next returns the next value, an invalid one after an error.
func (f *fields) next() Value {
	if f.err != nil {
		return Value{}
	}
	v := f.values[0]
	f.values = f.values[1:]
	return v
}

func read[T any](f *fields, get func(Value) (T, error)) (got T) {
	if v := f.next(); f.err == nil {
		got, f.err = get(v)
	}
	return got
}

// each calls do with the members of each tuple in an array.
func (f *fields) each(do func(*fields)) {
	for _, tuple := range read(f, Value.elements) {
		members, err := tuple.members()
		inner := &fields{members, err}
		do(inner)
		if f.err = inner.err; f.err != nil {
			return
		}
	}
}

// checksum returns the checksum in a value of type ay.
func (v Value) checksum() (c Checksum, err error) {
	if !v.is("ay") || copy(c[:], v.data) != len(c) || len(v.data) != len(c) {
		return Checksum{}, errVariant
	}
	return c, nil
}

// optional is checksum for one that may be missing.
func (v Value) optional() (Checksum, error) {
	if v.is("ay") && len(v.data) == 0 {
		return Checksum{}, nil
	}
	return v.checksum()
}

// bigEndian returns a number in big endian.
func (v Value) bigEndian() (uint64, error) {
	var b [8]byte
	if v.kind == nil || len(v.data) > len(b) {
		return 0, errVariant
	}
	copy(b[len(b)-len(v.data):], v.data)
	return binary.BigEndian.Uint64(b[:]), nil
}

func parseCommit(data []byte) (*Commit, error) {
	f := membersOf(commitKind(), data)
	c := &Commit{Metadata: read(f, Value.Dict), Parent: read(f, Value.optional)}
	f.next() // related commits, which ostree reads nowhere either
	c.Subject, c.Body = read(f, Value.Text), read(f, Value.Text)
	c.Time = read(f, Value.bigEndian)
	c.Root = TreeDir{Name: "/", Tree: read(f, Value.checksum), Meta: read(f, Value.checksum)}
	if f.err != nil {
		return nil, f.err
	}
	return c, nil
}

func parseTree(data []byte) (Tree, error) {
	var tree Tree
	f := membersOf(treeKind(), data)
	f.each(func(f *fields) {
		tree.Files = append(tree.Files, TreeFile{Name: read(f, fileName), File: read(f, Value.checksum)})
	})
	f.each(func(f *fields) {
		tree.Dirs = append(tree.Dirs, TreeDir{
			Name: read(f, fileName), Tree: read(f, Value.checksum), Meta: read(f, Value.checksum),
		})
	})
	if f.err != nil {
		return Tree{}, f.err
	}
	return tree, nil
}

// fileName returns a name in a directory.
func fileName(v Value) (string, error) {
	name, err := v.Text()
	if err == nil && (name == "" || name == "." || name == ".." || strings.Contains(name, "/")) {
		err = fmt.Errorf("%w: file name %.80q", errVariant, name)
	}
	return name, err
}

func parseDirMeta(data []byte) (DirMeta, error) {
	f := membersOf(dirMetaKind(), data)
	number := func() uint32 { return uint32(read(f, Value.bigEndian)) }
	m := DirMeta{UID: number(), GID: number(), Mode: number()}
	f.each(func(f *fields) {
		m.Xattrs = append(m.Xattrs, Xattr{Name: read(f, Value.byteString), Value: read(f, Value.bytes)})
	})
	if f.err == nil && m.Mode&unix.S_IFMT != unix.S_IFDIR {
		f.err = fmt.Errorf("%w: mode %#o of a directory", errVariant, m.Mode)
	}
	if f.err != nil {
		return DirMeta{}, f.err
	}
	return m, nil
}

// OpenObjects opens the directory of the objects. In it are directories with objects, among
// them those that IsFileObject returns true for. The error is ErrMode for a repository whose
// file objects do not have the content of the files.
func (r *Repo) OpenObjects() (*os.File, error) {
	core, err := r.config()
	if err != nil {
		return nil, err
	}
	if mode, ok := core["mode"]; ok && !slices.Contains([]string{"bare", "bare-user", "bare-user-only", "bare-split-xattrs"}, mode) {
		return nil, fmt.Errorf("read %q: mode %q: %w", r.configPath(), mode, ErrMode)
	}
	return rooted.Open(r.dir, "objects", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

// IsFileObject reports whether the name of an object in its directory is that of a file
// object.
func IsFileObject(name string) bool { return strings.HasSuffix(name, ".file") }
