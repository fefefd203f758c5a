// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

const (
	// What names a whiteout, and the one that hides all of a directory, from the
	// OCI image specification, layer.md.
	whiteoutPrefix = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
	// xattrRecord is what the names of extended attributes begin with in the records
	// of a header.
	xattrRecord = "SCHILY.xattr."
)

// unpacker makes the tree of a layer from the headers of its archive, in which each
// directory comes before what is in it.
type unpacker struct {
	root   *os.File
	copier *Copier
	counts *Counts
	umask  uint32
	// dirs are finished last: they get their times, and until then nothing is made by
	// their modes. hasRoot reports that the root is one of them.
	dirs    []*tar.Header
	hasRoot bool
	// dir is the directory of the last entry, open.
	dir     int
	dirName string
}

// newUnpacker makes a tree in the empty directory root, which passes nothing on.
func newUnpacker(root *os.File, c *Copier, n *Counts) (*unpacker, error) {
	umask, err := readUmask()
	return &unpacker{root: root, copier: c, counts: n, umask: umask, dir: -1}, err
}

// add makes what an entry is of; src has the content of a regular file.
func (u *unpacker) add(hdr *tar.Header, src File) error {
	u.counts.Files.Add(1)
	name := path.Clean(hdr.Name)
	dir, err := u.enter(path.Dir(name))
	if err != nil {
		return err
	}
	base := path.Base(name)
	switch {
	case base == opaqueWhiteout:
		return unix.Fsetxattr(dir, overlayXattr+"opaque", []byte("y"), 0)
	case strings.HasPrefix(base, whiteoutPrefix):
		base = strings.TrimPrefix(base, whiteoutPrefix)
		if err := unix.Mknodat(dir, base, unix.S_IFCHR, 0); err != nil {
			return err
		}
		return unix.Fchownat(dir, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		u.dirs = append(u.dirs, hdr)
		if name == "." {
			u.hasRoot = true
			return nil
		}
		return unix.Mkdirat(dir, base, 0o700)
	case tar.TypeReg:
		return u.regular(dir, base, hdr, int(src.Fd()))
	case tar.TypeSymlink:
		if err := unix.Symlinkat(hdr.Linkname, dir, base); err != nil {
			return err
		}
		if err := unix.Fchownat(dir, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if err := setXattrs(attributesAt(dir, base), hdr); err != nil {
			return err
		}
		return unix.UtimesNanoAt(dir, base, times(hdr), unix.AT_SYMLINK_NOFOLLOW)
	case tar.TypeLink:
		return u.link(dir, base, hdr)
	}
	return fmt.Errorf("make entry of type %q: %w", hdr.Typeflag, errors.ErrUnsupported)
}

// enter opens a directory of the tree. Every part of the path is our own, no link.
func (u *unpacker) enter(name string) (int, error) {
	if u.dir >= 0 && name == u.dirName {
		return u.dir, nil
	}
	fd, err := openBeneath(u.root, name)
	if err != nil {
		return -1, err
	}
	u.close()
	u.dir, u.dirName = fd, name
	return fd, nil
}

func (u *unpacker) close() {
	if u.dir >= 0 {
		unix.Close(u.dir)
	}
	u.dir = -1
}

// link adds a name to a file of the tree, which has the metadata in hdr.
func (u *unpacker) link(dir int, name string, hdr *tar.Header) error {
	target := path.Clean(hdr.Linkname)
	from, err := openBeneath(u.root, path.Dir(target))
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, path.Base(target), dir, name, 0); err != nil {
		return fmt.Errorf("link %q to %q: %w", hdr.Name, hdr.Linkname, err)
	}
	return nil
}

// openBeneath opens a directory of the tree.
func openBeneath(root *os.File, name string) (int, error) {
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", name, err)
	}
	return fd, nil
}

func (u *unpacker) regular(dir int, name string, hdr *tar.Header, src int) error {
	dst, err := Open(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(hdr.Mode&0o777))
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	copied, err := u.copier.copy(dst, src, &st)
	if err != nil {
		return err
	}
	u.counts.Bytes.Add(st.Size)
	u.counts.Copied.Add(copied)
	return setHeader(dst, hdr, uint32(hdr.Mode)&0o777&^u.umask)
}

// setHeader gives an open file or directory what its header says. mode is what it has
// now. The order counts, as in setMetadata.
func setHeader(fd int, hdr *tar.Header, mode uint32) error {
	if hdr.Uid != 0 || hdr.Gid != 0 {
		if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
			return fmt.Errorf("change owner: %w", err)
		}
	}
	if want := uint32(hdr.Mode) & 0o7777; want != mode {
		if err := unix.Fchmod(fd, want); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	if err := setXattrs(fileAttributes(fd), hdr); err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, "", times(hdr), unix.AT_EMPTY_PATH)
}

func setXattrs(dst attributes, hdr *tar.Header) error {
	for record, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(record, xattrRecord)
		if !ok || treat(name) == drop {
			continue
		}
		if treat(name) == refuse {
			return clonejob.Unsupportedf("a file has the extended attribute %s", name)
		}
		if err := setXattr(dst, name, []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

func times(hdr *tar.Header) []unix.Timespec {
	t := unix.NsecToTimespec(hdr.ModTime.UnixNano())
	return []unix.Timespec{t, t}
}

// rootMode is the mode that the storage library gives to the root of a layer whose archive
// has no entry for it, and that lies on no other.
const rootMode = 0o555

// finish gives the directories their metadata, the deepest first.
func (u *unpacker) finish() error {
	if err := unix.Fchmod(int(u.root.Fd()), rootMode); err != nil {
		return fmt.Errorf("finish root: %w", err)
	}
	for i := len(u.dirs) - 1; i >= 0; i-- {
		hdr := u.dirs[i]
		fd, err := u.enter(path.Clean(hdr.Name))
		if err == nil {
			err = setHeader(fd, hdr, ^uint32(0))
		}
		if err != nil {
			return fmt.Errorf("finish %q: %w", hdr.Name, err)
		}
	}
	return nil
}
