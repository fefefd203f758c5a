// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import "github.com/bootc-podman/bootc-podman/internal/extents"

type extent = extents.Extent

// places appends to list the extents of the first size bytes of a file, without content that
// is kept among metadata.
func places(r *extents.Reader, fd int, size uint64, list []extent) ([]extent, error) {
	err := r.Read(fd, size, func(e extent) {
		if e.Flags&extents.Inline == 0 {
			list = append(list, e)
		}
	})
	return list, err
}

// apart appends to list the parts of the extents of to that do not lie where those
// of from do. Both are in the order of their files.
func apart(from, to, list []extent) []extent {
	for _, t := range to {
		for len(from) > 0 && from[0].End() <= t.Logical {
			from = from[1:]
		}
		// The source of one extent may be in several.
		for rest := from; t.Length > 0 && len(rest) > 0 && rest[0].Logical < t.End(); rest = rest[1:] {
			s := rest[0]
			if !samePlace(s, t) {
				continue
			}
			if s.Logical > t.Logical {
				list = append(list, cut(t, t.Logical, s.Logical))
			}
			t = cut(t, min(s.End(), t.End()), t.End())
		}
		if t.Length > 0 {
			list = append(list, t)
		}
	}
	return list
}

// samePlace reports whether a and b lie at the same place where they overlap in the
// file.
func samePlace(a, b extent) bool {
	switch {
	case (a.Flags|b.Flags)&extents.Unknown != 0 || a.Flags&extents.Encoded != b.Flags&extents.Encoded:
		return false
	case a.Flags&extents.Encoded != 0:
		return a.Physical == b.Physical
	}
	return a.Physical-a.Logical == b.Physical-b.Logical
}

// cut is the part of e from start to end.
func cut(e extent, start, end uint64) extent {
	if e.Flags&extents.Encoded == 0 {
		e.Physical += start - e.Logical
	}
	e.Logical, e.Length = start, end-start
	return e
}

// within returns how many bytes of the extents lie between start and end of the
// file, and how many of these belong to this file alone.
func within(list []extent, start, end uint64) (all, own int64) {
	for _, e := range list {
		n := int64(min(e.End(), end)) - int64(max(e.Logical, start))
		if n <= 0 {
			continue
		}
		all += n
		if e.Flags&(extents.Shared|extents.Unknown) == 0 {
			own += n
		}
	}
	return all, own
}
