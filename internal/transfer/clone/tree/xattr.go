// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// overlayXattr is what the names of overlayfs's own attributes begin with, see
// Documentation/filesystems/overlayfs.rst of the kernel.
const overlayXattr = "trusted.overlay."

// treatment is what becomes of an extended attribute.
type treatment int

const (
	keep treatment = iota
	drop
	refuse
)

// treat says what becomes of the extended attribute name of a file in a layer.
func treat(name string) treatment {
	switch name {
	case "security.selinux":
		return drop // the destination labels its files
	case "user.containers.override_stat":
		return refuse // owner and mode of the file itself are made up (force_mask)
	}
	if strings.HasPrefix(name, "btrfs.") {
		return drop // how that filesystem keeps the file
	}
	own, ok := strings.CutPrefix(name, overlayXattr)
	switch {
	case !ok, own == "opaque", own == "whiteout", own == "whiteouts", strings.HasPrefix(own, "overlay."):
		return keep
	case own == "origin", own == "impure", own == "nlink", own == "uuid", own == "upper":
		return drop // say what only the source's mounts knew
	}
	return refuse // the file is made of one in another layer
}

// attributes are where the extended attributes of one file are: on an open file, or
// on what a path names, without following a link.
type attributes interface {
	list(buf []byte) (int, error)
	get(name string, buf []byte) (int, error)
	set(name string, value []byte) error
}

type fileAttributes int

func (fd fileAttributes) list(buf []byte) (int, error) { return unix.Flistxattr(int(fd), buf) }
func (fd fileAttributes) get(name string, buf []byte) (int, error) {
	return unix.Fgetxattr(int(fd), name, buf)
}

func (fd fileAttributes) set(name string, value []byte) error {
	return unix.Fsetxattr(int(fd), name, value, 0)
}

type pathAttributes string

// attributesAt are those of what cannot be opened, a symbolic link or a device.
func attributesAt(dir int, name string) pathAttributes {
	return pathAttributes(fmt.Sprintf("/proc/self/fd/%d/%s", dir, name))
}

func (p pathAttributes) list(buf []byte) (int, error) { return unix.Llistxattr(string(p), buf) }
func (p pathAttributes) get(name string, buf []byte) (int, error) {
	return unix.Lgetxattr(string(p), name, buf)
}

func (p pathAttributes) set(name string, value []byte) error {
	return unix.Lsetxattr(string(p), name, value, 0)
}

// copyXattrs gives dst the extended attributes of src, but for those that are its own
// affair, and returns those that are compared. scratch is a buffer.
func copyXattrs(dst, src attributes, scratch []byte) (copied []xattr, err error) {
	n, err := src.list(scratch)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	names := scratch[:max(n, 0)]
	if errors.Is(err, unix.ERANGE) {
		names, err = grow(src.list)
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", clonejob.Gone(err))
	}
	for len(names) > 0 {
		end := bytes.IndexByte(names, 0)
		name := string(names[:end])
		names = names[end+1:]
		switch treat(name) {
		case drop:
			continue
		case refuse:
			return nil, clonejob.Unsupportedf("a file has the extended attribute %s", name)
		}
		value, err := grow(func(buf []byte) (int, error) { return src.get(name, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, clonejob.Gone(err))
		}
		if err := setXattr(dst, name, value); err != nil {
			return nil, err
		}
		if isCompared(name) {
			copied = append(copied, xattr{name, string(value)})
		}
	}
	return copied, nil
}

func setXattr(dst attributes, name string, value []byte) error {
	err := dst.set(name, value)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return clonejob.Unsupportedf("the destination's filesystem has no extended attribute %s", name)
	}
	if err != nil {
		return fmt.Errorf("set extended attribute %s: %w", name, err)
	}
	return nil
}

// grow calls get with a buffer that is large enough for what it has to say.
func grow(get func(buf []byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := get(buf)
		if err == nil {
			return buf[:n], nil
		}
		// 64 KiB is the kernel's limit of each.
		if !errors.Is(err, unix.ERANGE) || size >= 64<<10 {
			return nil, err
		}
	}
}
