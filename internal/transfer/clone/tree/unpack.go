// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"cmp"
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
	// made are the directories that had no entry when they were made.
	made map[string]bool
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
	name := inTree(hdr.Name)
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
		err := unix.Mkdirat(dir, base, 0o700)
		if errors.Is(err, unix.EEXIST) && u.made[name] {
			err = nil
		}
		return err
	case tar.TypeReg:
		return u.regular(dir, base, hdr, src)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.special(dir, base, hdr)
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

// inTree is a name in an archive as a path in the tree, "." for the root.
func inTree(name string) string {
	return cmp.Or(strings.TrimPrefix(path.Clean(name), "/"), ".")
}

// implicit makes a directory that has no entry, or none yet, as podman does.
func (u *unpacker) implicit(name string) error {
	dir, err := u.enter(path.Dir(name))
	if err == nil {
		err = unix.Mkdirat(dir, path.Base(name), 0o755)
	}
	if err != nil {
		return fmt.Errorf("make directory %q: %w", name, err)
	}
	if u.made == nil {
		u.made = map[string]bool{}
	}
	u.made[name] = true
	return nil
}

// special makes a device or a FIFO.
func (u *unpacker) special(dir int, name string, hdr *tar.Header) error {
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[hdr.Typeflag]
	device := 0
	if kind != unix.S_IFIFO {
		device = int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor)))
	}
	err := unix.Mknodat(dir, name, kind|0o600, device)
	if err == nil {
		err = unix.Fchownat(dir, name, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Fchmodat(dir, name, uint32(hdr.Mode)&0o7777, 0)
	}
	if err == nil {
		err = setXattrs(attributesAt(dir, name), hdr)
	}
	if err == nil {
		err = unix.UtimesNanoAt(dir, name, times(hdr), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("make %q: %w", hdr.Name, err)
	}
	return nil
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
	target := inTree(hdr.Linkname)
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

func (u *unpacker) regular(dir int, name string, hdr *tar.Header, src File) error {
	dst, err := Open(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(hdr.Mode&0o777))
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if m, inMemory := src.(memory); inMemory {
		err = writeAll(dst, m)
		u.counts.copied(int(hdr.Size))
	} else {
		err = u.clone(dst, int(src.Fd()))
	}
	if err != nil {
		return err
	}
	return setHeader(dst, hdr, uint32(hdr.Mode)&0o777&^u.umask)
}

// clone copies the content of a file.
func (u *unpacker) clone(dst, src int) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	return u.copier.copy(dst, src, &st, u.counts)
}

func writeAll(dst int, m memory) error {
	data := make([]byte, m.Len())
	if _, err := m.ReadAt(data, 0); err != nil && len(data) > 0 {
		return err
	}
	for len(data) > 0 {
		n, err := unix.Write(dst, data)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		data = data[max(n, 0):]
	}
	return nil
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
		fd, err := u.enter(inTree(hdr.Name))
		if err == nil {
			err = setHeader(fd, hdr, ^uint32(0))
		}
		if err != nil {
			return fmt.Errorf("finish %q: %w", hdr.Name, err)
		}
	}
	return nil
}
