// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"cmp"
	sha2 "crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// maxXattrs bounds the names, and each value, of extended attributes, as the
// kernel does (XATTR_LIST_MAX, XATTR_SIZE_MAX in xattr(7)).
const maxXattrs = 64 << 10

// openObject opens a file object. Neither a FIFO is waited for, nor a link followed.
func (r *Repo) openObject(sum Checksum, flags int) (*os.File, error) {
	return rooted.Open(r.dir, objectPath(sum, "file"), flags|unix.O_NOFOLLOW)
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
	f, err := r.openObject(sum, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ELOOP) {
		f, err = r.openObject(sum, unix.O_PATH)
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
	f, err := r.openObject(sum, unix.O_PATH)
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
	// Most files have none: one call without a buffer shows it.
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
	width := tableWidth(len(data), len(offsets))
	for _, offset := range offsets {
		var le [4]byte
		binary.LittleEndian.PutUint32(le[:], uint32(offset))
		data = append(data, le[:width]...)
	}
	return data
}
