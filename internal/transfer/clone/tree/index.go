// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// index is the tree that podman makes of an archive, by the archive's headers: see
// Unpack in pkg/archive of the storage library, and for whiteouts archive_linux.go there.
// Trees have 100,000s of entries, so it is kept small: some 150 bytes for each.
type index struct {
	nodes []node
	attrs []attr
	// names has the names of all nodes.
	names []byte
	// table finds nodes by parent and name, with linear probing; 0 is none.
	table []int32
	seed  maphash.Seed
	// lastDir is the path that lastNode was found by.
	lastDir  string
	lastNode int32

	// removals is how many names remove has looked at, which a test bounds.
	removals int

	// found are the nodes that are in the tree, each set by one goroutine.
	found []bool

	mu sync.Mutex
	// inodes are the attributes that files of several names were found to have.
	inodes map[rooted.ID]int32
}

// rootNode is the index of the root.
const rootNode = 0

// node is a name.
type node struct {
	parent int32
	name   uint32
	length uint16
	flags  nodeFlags
	// attr is the index of what the name is of, for the names of one file the same.
	attr int32
	// below is a name in the directory, and beside the next one in the same directory; 0
	// is none. Removed names are in no such list.
	below, beside int32
}

type nodeFlags uint8

const (
	// implicit directories have no header.
	implicit nodeFlags = 1 << iota
	whiteout
	// removed names were replaced by others later in the archive.
	removed
	// opaque directories hide what is below them.
	opaque
)

// attr is what a header says of a file.
type attr struct {
	kind     uint32
	mode     uint32
	uid, gid uint32
	nsec     int32
	// names is the number of names of the file.
	names int32
	sec   int64
	size  int64
	rdev  uint64
	// vague: headers of hard links differ. Some versions of podman take those of the
	// first name, others those of the last.
	vague  bool
	target string
	xattrs []xattr
	file   rooted.ID
}

type xattr struct{ name, value string }

// newIndex is that of an archive without entries.
func newIndex() *index {
	return &index{
		nodes: []node{{parent: -1, flags: implicit}}, attrs: []attr{{kind: unix.S_IFDIR}},
		table: make([]int32, 1<<10), seed: maphash.MakeSeed(), lastNode: rootNode, inodes: map[rooted.ID]int32{},
	}
}

// readIndex reads the headers in an open tar-split file. The error wraps
// clonejob.ErrNotVerified.
func readIndex(f *os.File, stop func() error) (*index, error) {
	x := newIndex()
	err := headers(f, func(hdr *tar.Header) error {
		if err := stop(); err != nil {
			return err
		}
		if err := x.add(hdr); err != nil {
			return fmt.Errorf("%q: %w", hdr.Name, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: read its headers: %w", clonejob.ErrNotVerified, err)
	}
	x.found = make([]bool, len(x.nodes))
	return x, nil
}

func (x *index) hash(parent int32, name []byte) uint64 {
	return maphash.Bytes(x.seed, name) + uint64(uint32(parent))*0x9e3779b97f4a7c15
}

func (x *index) nameOf(n int32) []byte {
	at := &x.nodes[n]
	return x.names[at.name : at.name+uint32(at.length)]
}

// find returns the node of a name in a directory, -1 if there is none.
func (x *index) find(parent int32, name []byte) int32 {
	mask := uint64(len(x.table) - 1)
	for i := x.hash(parent, name) & mask; x.table[i] != 0; i = (i + 1) & mask {
		n := x.table[i]
		if x.nodes[n].parent == parent && bytes.Equal(x.nameOf(n), name) {
			if x.nodes[n].flags&removed != 0 {
				return -1
			}
			return n
		}
	}
	return -1
}

// insert returns the node of a name in a directory, a new one if there is none.
func (x *index) insert(parent int32, name string) (int32, error) {
	mask := uint64(len(x.table) - 1)
	i := x.hash(parent, []byte(name)) & mask
	for ; x.table[i] != 0; i = (i + 1) & mask {
		n := x.table[i]
		if x.nodes[n].parent == parent && string(x.nameOf(n)) == name {
			return n, nil
		}
	}
	if len(name) > 255 || len(x.names) > 1<<31 || len(x.nodes) > 1<<28 {
		return 0, errors.New("name too long, or too many")
	}
	n := int32(len(x.nodes))
	x.nodes = append(x.nodes, node{parent: parent, name: uint32(len(x.names)), length: uint16(len(name)), flags: removed})
	x.names = append(x.names, name...)
	x.table[i] = n
	if 2*len(x.nodes) > len(x.table) {
		x.grow()
	}
	return n, nil
}

func (x *index) grow() {
	x.table = make([]int32, 2*len(x.table))
	mask := uint64(len(x.table) - 1)
	for n := 1; n < len(x.nodes); n++ {
		i := x.hash(x.nodes[n].parent, x.nameOf(int32(n))) & mask
		for x.table[i] != 0 {
			i = (i + 1) & mask
		}
		x.table[i] = int32(n)
	}
}

func (x *index) isDir(n int32) bool {
	return x.nodes[n].flags&whiteout == 0 && x.attrs[x.nodes[n].attr].kind == unix.S_IFDIR
}

var errNoDirectory = errors.New("not a directory")

// directory returns the node of a directory, which is made as podman makes it if it has
// no header. Links in the path lead on, never out of the tree.
func (x *index) directory(dir string) (int32, error) {
	if dir == x.lastDir {
		return x.lastNode, nil
	}
	rest, at, links := dir, int32(rootNode), 0
	for rest != "" {
		name, after, _ := strings.Cut(rest, "/")
		rest = after
		switch name {
		case "", ".":
			continue
		case "..":
			at = max(x.nodes[at].parent, rootNode)
			continue
		}
		n, err := x.insert(at, name)
		if err != nil {
			return 0, err
		}
		next := &x.nodes[n]
		if next.flags&removed != 0 {
			x.set(n, implicit, x.newAttr(attr{kind: unix.S_IFDIR}))
		}
		switch a := &x.attrs[next.attr]; {
		case x.isDir(n):
			at = n
		case next.flags&whiteout == 0 && a.kind == unix.S_IFLNK && links < 40:
			links++
			if path.IsAbs(a.target) {
				at = rootNode
			}
			rest = a.target + "/" + rest
		default:
			return 0, errNoDirectory
		}
	}
	x.lastDir, x.lastNode = strings.Clone(dir), at
	return at, nil
}

func (x *index) newAttr(a attr) int32 {
	a.names = 1
	x.attrs = append(x.attrs, a)
	return int32(len(x.attrs) - 1)
}

// add does what podman does with an entry.
func (x *index) add(hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := strings.TrimPrefix(path.Clean("/"+hdr.Name), "/")
	if name == "" {
		return x.addRoot(hdr)
	}
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	parent, err := x.directory(dir)
	switch of, isWhiteout := strings.CutPrefix(base, whiteoutPrefix); {
	case err != nil && errors.Is(err, errNoDirectory) && isWhiteout:
		return nil // the directory is hidden itself
	case err != nil:
		return err
	case base == opaqueWhiteout:
		x.nodes[parent].flags |= opaque
		return nil
	case isWhiteout:
		return x.replace(parent, of, whiteout, attr{kind: unix.S_IFCHR})
	case hdr.Typeflag == tar.TypeLink:
		return x.link(parent, base, hdr)
	}
	a, err := attrOf(hdr)
	if err != nil {
		return err
	}
	if n := x.find(parent, []byte(base)); n >= 0 && a.kind == unix.S_IFDIR && x.isDir(n) {
		at := &x.nodes[n]
		at.flags &^= implicit
		a.xattrs, a.names = merge(x.attrs[at.attr].xattrs, a.xattrs), 1
		x.attrs[at.attr] = a
		return nil
	}
	return x.replace(parent, base, 0, a)
}

// addRoot keeps that the root has a header.
func (x *index) addRoot(hdr *tar.Header) error {
	a, err := attrOf(hdr)
	if err == nil && a.kind != unix.S_IFDIR {
		err = errNoDirectory
	}
	a.names = 1
	x.attrs[rootNode] = a
	return err
}

// replace makes a name anew.
func (x *index) replace(parent int32, name string, flags nodeFlags, a attr) error {
	n, err := x.insert(parent, name)
	if err != nil {
		return err
	}
	x.set(n, flags, x.newAttr(a))
	return nil
}

// set gives a name what it is of, in place of all that it was before. So each name is
// removed at most once for each time that it was set.
func (x *index) set(n int32, flags nodeFlags, attr int32) {
	at := &x.nodes[n]
	if at.flags&removed == 0 {
		x.remove(n)
	} else {
		dir := &x.nodes[at.parent]
		at.beside, dir.below = dir.below, n
	}
	at.flags, at.attr = flags, attr
}

// remove removes a name, and those below it. It does not recurse: a path may have 1 MiB.
func (x *index) remove(n int32) {
	if x.isDir(n) {
		x.lastDir, x.lastNode = "", rootNode
	}
	for doomed := []int32{n}; len(doomed) > 0; {
		at := &x.nodes[doomed[len(doomed)-1]]
		doomed = doomed[:len(doomed)-1]
		x.removals++
		x.attrs[at.attr].names--
		for below := at.below; below != 0; below = x.nodes[below].beside {
			doomed = append(doomed, below)
		}
		at.flags, at.below = removed, 0
	}
}

// link makes a further name of a file.
func (x *index) link(parent int32, name string, hdr *tar.Header) error {
	target := strings.TrimPrefix(path.Clean("/"+hdr.Linkname), "/")
	dir, err := x.directory(strings.TrimPrefix(path.Dir("/"+target), "/"))
	if err != nil {
		return err
	}
	of := x.find(dir, []byte(path.Base(target)))
	if of < 0 || x.isDir(of) || x.nodes[of].flags&whiteout != 0 {
		return fmt.Errorf("link to %q: %w", hdr.Linkname, unix.ENOENT)
	}
	n, err := x.insert(parent, name)
	if err != nil {
		return err
	}
	at := x.nodes[of].attr
	a := &x.attrs[at]
	a.names++
	a.vague = a.vague || a.mode != uint32(hdr.Mode)&0o7777 || int(a.uid) != hdr.Uid || int(a.gid) != hdr.Gid ||
		a.sec != hdr.ModTime.Unix() || int(a.nsec) != hdr.ModTime.Nanosecond()
	a.xattrs = merge(a.xattrs, xattrsOf(hdr))
	x.set(n, 0, at)
	return nil
}

// attrOf is what a header says.
func attrOf(hdr *tar.Header) (a attr, err error) {
	switch hdr.Typeflag {
	case tar.TypeReg:
		a.kind, a.size = unix.S_IFREG, hdr.Size
	case tar.TypeDir:
		a.kind = unix.S_IFDIR
	case tar.TypeSymlink:
		a.kind, a.target = unix.S_IFLNK, strings.Clone(hdr.Linkname)
	case tar.TypeFifo:
		a.kind = unix.S_IFIFO
	case tar.TypeBlock:
		a.kind, a.rdev = unix.S_IFBLK, unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	case tar.TypeChar:
		a.kind, a.rdev = unix.S_IFCHR, unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	default:
		return a, fmt.Errorf("entry of type %q", hdr.Typeflag)
	}
	a.mode, a.uid, a.gid = uint32(hdr.Mode)&0o7777, uint32(hdr.Uid), uint32(hdr.Gid)
	a.sec, a.nsec = hdr.ModTime.Unix(), int32(hdr.ModTime.Nanosecond())
	a.xattrs = xattrsOf(hdr)
	return a, nil
}

func xattrsOf(hdr *tar.Header) (xattrs []xattr) {
	for record, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(record, xattrRecord)
		if ok && isCompared(name) {
			xattrs = append(xattrs, xattr{strings.Clone(name), strings.Clone(value)})
		}
	}
	return xattrs
}

// isCompared reports whether an extended attribute is the same wherever a layer is.
func isCompared(name string) bool {
	// The kernel makes it for this one file.
	return treat(name) != drop && name != "security.evm"
}

// merge returns the extended attributes that a file has after both were set.
func merge(before, after []xattr) []xattr {
	for _, a := range before {
		if !slices.ContainsFunc(after, func(b xattr) bool { return a.name == b.name }) {
			after = append(after, a)
		}
	}
	return after
}

// path is the path of a node, for messages.
func (x *index) path(n int32) string {
	if n <= rootNode {
		return ""
	}
	return path.Join(x.path(x.nodes[n].parent), string(x.nameOf(n)))
}
