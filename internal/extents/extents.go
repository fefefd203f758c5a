// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package extents reads where the content of files lies on the disk (FIEMAP, see
// Documentation/filesystems/fiemap.rst of Linux). It does not read the content, and does not
// make the kernel write to the disk what is not there yet.
package extents

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of an extent, from linux/fiemap.h.
const (
	last = 0x1
	// Unknown is content that has no place on the disk yet.
	Unknown = 0x2
	// Encoded is compressed content: Physical is the place of the whole, also for a part.
	Encoded = 0x8
	// Inline is content among the metadata of the filesystem.
	Inline = 0x200
	// Shared is content that belongs to more than one file, or to a file several times.
	Shared = 0x2000
)

// ioctlFiemap is FS_IOC_FIEMAP of linux/fs.h, the same number on all architectures.
const ioctlFiemap = 0xc020660b

// Extent is one of struct fiemap_extent: Length bytes of a file from Logical on lie at
// Physical. On Btrfs that is an address of the filesystem, which spans its devices.
type Extent struct {
	Logical, Physical, Length uint64
	_                         [2]uint64
	Flags                     uint32
	_                         [3]uint32
}

// End returns the offset in the file behind the extent.
func (e Extent) End() uint64 { return e.Logical + e.Length }

// Reader is struct fiemap with room for extents, to be used for many files.
type Reader struct {
	start, length           uint64
	flags, mapped, count, _ uint32
	found                   [64]Extent
}

// Read calls visit with the extents of the first size bytes of a file, in the order of the
// file, without holes.
func (r *Reader) Read(fd int, size uint64, visit func(Extent)) error {
	for start := uint64(0); start < size; {
		r.start, r.length, r.flags, r.mapped, r.count = start, size-start, 0, 0, uint32(len(r.found))
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlFiemap, uintptr(unsafe.Pointer(r)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return fmt.Errorf("read extents: %w", errno)
		case r.mapped == 0:
			return nil
		}
		for _, e := range r.found[:min(r.mapped, r.count)] {
			start = max(start, e.End())
			done := e.Flags&last != 0 || e.Length == 0
			if e.Length = min(e.End(), size) - min(e.Logical, size); e.Length > 0 {
				visit(e)
			}
			if done {
				return nil
			}
		}
	}
	return nil
}
