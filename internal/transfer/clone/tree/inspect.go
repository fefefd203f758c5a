// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Inspect compares all entries of a tree with their headers, where it is. The error wraps
// clonejob.ErrNotVerified for one that differs.
func Inspect(root *os.File, headers *Headers) error {
	fd, err := openSubdirectory(int(root.Fd()), ".")
	if err != nil {
		return err
	}
	i := inspector{headers: headers, dirents: make([]byte, 32<<10)}
	if err := i.directory(&directory{name: ".", src: fd}); err != nil {
		return err
	}
	return headers.complete()
}

type inspector struct {
	headers *Headers
	dirents []byte
}

// directory closes the directory.
func (i *inspector) directory(d *directory) error {
	defer unix.Close(d.src)
	if err := i.entry(d.parent, d.name, d.src, ".", unix.S_IFDIR); err != nil {
		return err
	}
	var entries []dirent
	for {
		n, err := unix.Getdents(d.src, i.dirents)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n <= 0 {
			break
		}
		if entries, err = parseDirents(entries, i.dirents[:n]); err != nil {
			return err
		}
	}
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Fstatat(d.src, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err := i.entry(d, e.name, d.src, e.name, st.Mode&unix.S_IFMT); err != nil {
				return err
			}
			continue
		}
		fd, err := openSubdirectory(d.src, e.name)
		if err != nil {
			return err
		}
		if err := i.directory(&directory{parent: d, name: e.name, src: fd}); err != nil {
			return err
		}
	}
	return nil
}

// entry compares an entry of a directory, which is at a name in the open directory at.
func (i *inspector) entry(dir *directory, name string, at int, atName string, kind uint32) error {
	var st unix.Stat_t
	if err := unix.Fstatat(at, atName, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	o := observe(dir, name, &st)
	o.made = true
	if kind == unix.S_IFLNK {
		target := make([]byte, st.Size+1)
		n, err := unix.Readlinkat(at, atName, target)
		if err != nil {
			return err
		}
		o.target = string(target[:n])
	}
	attributes := attributesAt(at, atName)
	names, err := grow(attributes.list)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" || !isCompared(name) {
			continue
		}
		value, err := grow(func(buf []byte) (int, error) { return attributes.get(name, buf) })
		if err != nil {
			return err
		}
		o.xattrs = append(o.xattrs, xattr{name, string(value)})
	}
	return i.headers.compare([]observed{o})
}
