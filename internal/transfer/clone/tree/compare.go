// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// observed is an entry of a tree as it was copied.
type observed struct {
	// dir is the directory that the entry is in, nil for the root.
	dir       *directory
	name      string
	mode      uint32
	uid, gid  uint32
	names     uint64
	size      int64
	rdev      uint64
	sec, nsec int64
	file      rooted.ID
	// target and xattrs are known only if the file was made for this name, not for
	// another one of it.
	made   bool
	target string
	xattrs []xattr
}

func observe(dir *directory, name string, st *unix.Stat_t) observed {
	return observed{
		dir: dir, name: name, mode: st.Mode, uid: st.Uid, gid: st.Gid, names: uint64(st.Nlink), size: st.Size, //nolint:unconvert // of another type on some machines
		rdev: st.Rdev, sec: st.Mtim.Sec, nsec: st.Mtim.Nsec, file: rooted.ID{Dev: st.Dev, Ino: st.Ino},
	}
}

// Headers are those of a layer's archive. They are read while a copy begins.
type Headers struct {
	ready   chan struct{}
	stopped atomic.Bool
	index   *index
	err     error
}

// maxWaiting is how many entries a worker keeps until the index is there.
const maxWaiting = 20000

// ReadHeaders begins to read the headers in an open tar-split file, which has to stay open
// until Stop has returned. An error is one of what is compared with them.
func ReadHeaders(tarSplit *os.File) *Headers {
	c := &Headers{ready: make(chan struct{})}
	go func() {
		defer close(c.ready)
		c.index, c.err = readIndex(tarSplit, func() error {
			if c.stopped.Load() {
				return unix.ECANCELED
			}
			return nil
		})
	}()
	return c
}

// Stop ends the reading, and returns when it has ended.
func (c *Headers) Stop() {
	c.stopped.Store(true)
	<-c.ready
}

// isReady reports whether the index is there.
func (c *Headers) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// compare compares entries with their headers.
func (c *Headers) compare(entries []observed) error {
	<-c.ready
	if c.err != nil {
		return c.err
	}
	for i := range entries {
		if err := c.index.check(&entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// complete returns an error if there are headers without an entry.
func (c *Headers) complete() error {
	<-c.ready
	if c.err != nil {
		return c.err
	}
	x := c.index
	for n := rootNode + 1; n < len(x.nodes); n++ {
		if !x.found[n] && x.nodes[n].flags&(removed|implicit) == 0 {
			return differs(x.path(int32(n)), "is missing")
		}
	}
	return nil
}

// differs says that the entry of a path is not that of its header.
func differs(path, format string, args ...any) error {
	return fmt.Errorf("%w: %q %s", clonejob.ErrNotVerified, path, fmt.Sprintf(format, args...))
}

// nodeOf returns the node of a directory, -1 if it has none.
func (x *index) nodeOf(d *directory) int32 {
	if d.parent == nil {
		return rootNode
	}
	if n := d.node.Load(); n != 0 {
		return n
	}
	n := int32(-1)
	if parent := x.nodeOf(d.parent); parent >= 0 {
		n = x.find(parent, []byte(d.name))
	}
	d.node.Store(n)
	return n
}

// check compares an entry with its header. The error wraps clonejob.ErrNotVerified.
func (x *index) check(o *observed) error {
	n := int32(rootNode)
	if o.dir != nil {
		n = -1
		if parent := x.nodeOf(o.dir); parent >= 0 {
			n = x.find(parent, []byte(o.name))
		}
		if n < 0 {
			return o.differs("is not in its archive")
		}
	}
	x.found[n] = true
	at := &x.nodes[n]
	a := &x.attrs[at.attr]
	if o.mode&unix.S_IFMT != a.kind {
		return o.differs("has type %s instead of %s", kindName(o.mode), kindName(a.kind))
	}
	switch {
	case at.flags&whiteout != 0:
		// The kernel links whiteouts, and gives them other owners and times.
		if o.rdev != 0 {
			return o.differs("has device number %s instead of 0:0", deviceName(o.rdev))
		}
		return nil
	case n == rootNode || at.flags&implicit != 0:
		// podman before version 5 does not give the root what its header says.
	default:
		if err := x.checkStatus(o, at.attr); err != nil {
			return err
		}
	}
	if o.made {
		return x.checkXattrs(o, n)
	}
	return nil
}

// checkStatus compares what stat(2) says, and the target of a link.
func (x *index) checkStatus(o *observed, at int32) error {
	a := &x.attrs[at]
	switch {
	case a.kind != unix.S_IFLNK && o.mode&0o7777 != a.mode && !a.vague:
		return o.differs("has mode %04o instead of %04o", o.mode&0o7777, a.mode)
	case (o.uid != a.uid || o.gid != a.gid) && !a.vague:
		return o.differs("has owner %d:%d instead of %d:%d", o.uid, o.gid, a.uid, a.gid)
	case a.kind == unix.S_IFREG && o.size != a.size:
		return o.differs("has size %d instead of %d", o.size, a.size)
	case a.kind == unix.S_IFLNK && o.made && o.target != a.target:
		return o.differs("has link target %q instead of %q", o.target, a.target)
	case (a.kind == unix.S_IFCHR || a.kind == unix.S_IFBLK) && o.rdev != a.rdev:
		return o.differs("has device number %s instead of %s", deviceName(o.rdev), deviceName(a.rdev))
	case !a.hasTime(o.sec, o.nsec) && !a.vague:
		return o.differs("has modification time %d.%09d instead of %d.%09d", o.sec, o.nsec, a.sec, a.nsec)
	case a.kind != unix.S_IFDIR && (o.names > 1 || a.names > 1):
		return x.checkLinks(o, at)
	}
	return nil
}

// hasTime reports whether a file may have a time that is that of its header.
func (a *attr) hasTime(sec, nsec int64) bool {
	switch {
	case sec == a.sec && nsec == int64(a.nsec):
		return true
	case a.sec < 0: // podman sets 0
		return sec == 0 && nsec == 0
	case a.sec >= 1<<31: // older filesystems have no such time
		return sec == 1<<31-1
	}
	return false
}

// checkLinks compares which names are of one file. A file may have others elsewhere.
func (x *index) checkLinks(o *observed, at int32) error {
	a := &x.attrs[at]
	x.mu.Lock()
	defer x.mu.Unlock()
	of, ok := x.inodes[o.file]
	switch {
	case o.names < uint64(a.names):
		return o.differs("has %d names instead of %d", o.names, a.names)
	case a.file != rooted.ID{} && a.file != o.file:
		return o.differs("is not linked to the file of its other names")
	case ok && of != at:
		return o.differs("is linked to another file")
	}
	a.file, x.inodes[o.file] = o.file, at
	return nil
}

// checkXattrs compares extended attributes.
func (x *index) checkXattrs(o *observed, n int32) error {
	at := &x.nodes[n]
	want := x.attrs[at.attr].xattrs
	if len(want) == 0 && len(o.xattrs) == 0 && at.flags&opaque == 0 {
		return nil
	}
	if at.flags&opaque != 0 {
		want = merge(want, []xattr{{overlayXattr + "opaque", "y"}})
	}
	for _, w := range want {
		value, ok := lookup(o.xattrs, w.name)
		switch {
		case ok && value == w.value:
		case ok:
			return o.differs("has another value of the extended attribute %s", w.name)
		case n == rootNode && w.name != overlayXattr+"opaque", isMode(w):
		case w.value == "": // which podman 4 leaves out when it unpacks
		default:
			return o.differs("lacks the extended attribute %s", w.name)
		}
	}
	for _, has := range o.xattrs {
		if _, ok := lookup(want, has.name); !ok && has.name != "security.ima" { // which the kernel adds
			return o.differs("has the extended attribute %s, which its archive has not", has.name)
		}
	}
	return nil
}

func lookup(xattrs []xattr, name string) (string, bool) {
	for _, x := range xattrs {
		if x.name == name {
			return x.value, true
		}
	}
	return "", false
}

// isMode reports whether an access control list says no more than the mode: the kernel
// does not keep such a list. It has a version of 4 bytes and 3 entries of 8.
func isMode(x xattr) bool {
	return strings.HasPrefix(x.name, "system.posix_acl_") && len(x.value) <= 4+3*8
}

func (o *observed) differs(format string, args ...any) error {
	if o.dir == nil {
		return differs(".", format, args...)
	}
	return differs(path.Join(o.dir.path(), o.name), format, args...)
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	case unix.S_IFIFO:
		return "fifo"
	}
	return "socket"
}

func deviceName(rdev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev)) }
