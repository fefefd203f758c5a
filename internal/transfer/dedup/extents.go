// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Constants of linux/fiemap.h and linux/fs.h. The number of the ioctl is the same on
// all architectures.
const (
	ioctlFiemap = 0xc020660b

	extentLast    = 0x1
	extentUnknown = 0x2   // not on the disk yet
	extentEncoded = 0x8   // compressed: it lies at one place as a whole
	extentInline  = 0x200 // among the metadata
	extentShared  = 0x2000
)

// extent is one of struct fiemap_extent: length bytes of a file from logical on lie
// at physical.
type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

func (e extent) end() uint64 { return e.logical + e.length }

// fiemap is struct fiemap with room for extents.
type fiemap struct {
	start, length           uint64
	flags, mapped, count, _ uint32
	found                   [64]extent
}

// extents appends to list where the first size bytes of a file lie, in the order of the
// file, without holes and content that is kept among metadata.
func (m *fiemap) extents(fd int, size uint64, list []extent) ([]extent, error) {
	for start := uint64(0); start < size; {
		m.start, m.length, m.flags, m.mapped, m.count = start, size-start, 0, 0, uint32(len(m.found))
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlFiemap, uintptr(unsafe.Pointer(m)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return nil, fmt.Errorf("read extents: %w", errno)
		case m.mapped == 0:
			return list, nil
		}
		for _, e := range m.found[:min(m.mapped, m.count)] {
			start = max(start, e.end())
			last := e.flags&extentLast != 0 || e.length == 0
			if e.length = min(e.end(), size) - min(e.logical, size); e.length > 0 && e.flags&extentInline == 0 {
				list = append(list, e)
			}
			if last {
				return list, nil
			}
		}
	}
	return list, nil
}

// apart appends to list the parts of the extents of to that do not lie where those
// of from do. Both are in the order of their files.
func apart(from, to, list []extent) []extent {
	for _, t := range to {
		for len(from) > 0 && from[0].end() <= t.logical {
			from = from[1:]
		}
		// The source of one extent may be in several.
		for rest := from; t.length > 0 && len(rest) > 0 && rest[0].logical < t.end(); rest = rest[1:] {
			s := rest[0]
			if !samePlace(s, t) {
				continue
			}
			if s.logical > t.logical {
				list = append(list, t.cut(t.logical, s.logical))
			}
			t = t.cut(min(s.end(), t.end()), t.end())
		}
		if t.length > 0 {
			list = append(list, t)
		}
	}
	return list
}

// samePlace reports whether a and b lie at the same place where they overlap in the
// file.
func samePlace(a, b extent) bool {
	switch {
	case (a.flags|b.flags)&extentUnknown != 0 || a.flags&extentEncoded != b.flags&extentEncoded:
		return false
	case a.flags&extentEncoded != 0:
		return a.physical == b.physical
	}
	return a.physical-a.logical == b.physical-b.logical
}

// cut is the part of e from start to end.
func (e extent) cut(start, end uint64) extent {
	if e.flags&extentEncoded == 0 {
		e.physical += start - e.logical
	}
	e.logical, e.length = start, end-start
	return e
}

// within returns how many bytes of the extents lie between start and end of the
// file, and how many of these belong to this file alone.
func within(list []extent, start, end uint64) (all, own int64) {
	for _, e := range list {
		n := int64(min(e.end(), end)) - int64(max(e.logical, start))
		if n <= 0 {
			continue
		}
		all += n
		if e.flags&(extentShared|extentUnknown) == 0 {
			own += n
		}
	}
	return all, own
}
