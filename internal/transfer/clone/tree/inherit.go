// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// What a directory passes on to what is made in it, from include/uapi/linux/fs.h of the
// kernel.
const (
	flagCompressed     = 0x00000004 // FS_COMPR_FL
	flagNoCopyOnWrite  = 0x00800000 // FS_NOCOW_FL
	flagProjectInherit = 0x00000200 // FS_XFLAG_PROJINHERIT

	ioctlRead  = unix.FS_IOC_GETFLAGS & 0xc0000000 // the bits differ between architectures
	ioctlWrite = ioctlRead ^ 0xc0000000
	fsxGet     = ioctlRead | 28<<16 | 'X'<<8 | 31  // FS_IOC_FSGETXATTR
	fsxSet     = ioctlWrite | 28<<16 | 'X'<<8 | 32 // FS_IOC_FSSETXATTR
)

// fsxattr is struct fsxattr.
type fsxattr struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

// Inherit gives the open staging directory dir what things made in it would have
// inherited, had they been made in the open directory like: the SELinux label, the project
// of a quota, and how Btrfs keeps files. Without the project no file can be renamed from
// one to the other. The error wraps clonejob.ErrUnsupported if the kernel refuses.
func Inherit(dir, like int) error {
	for _, name := range []string{"security.selinux", "btrfs.compression"} {
		want, err := grow(func(buf []byte) (int, error) { return unix.Fgetxattr(like, name, buf) })
		if err != nil {
			continue // has none
		}
		got, err := grow(func(buf []byte) (int, error) { return unix.Fgetxattr(dir, name, buf) })
		if err == nil && bytes.Equal(got, want) {
			continue
		}
		if err := unix.Fsetxattr(dir, name, want, 0); err != nil {
			return clonejob.Unsupportedf("set extended attribute %s of the staging directory: %v", name, err)
		}
	}
	if err := inheritFlags(dir, like); err != nil {
		return err
	}
	return inheritProject(dir, like)
}

func inheritFlags(dir, like int) error {
	const flags = flagCompressed | flagNoCopyOnWrite
	want, err := unix.IoctlGetInt(like, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return nil //nolint:nilerr // the filesystem has none
	}
	got, err := unix.IoctlGetInt(dir, unix.FS_IOC_GETFLAGS)
	if err != nil || got&flags == want&flags {
		return err
	}
	if err := unix.IoctlSetPointerInt(dir, unix.FS_IOC_SETFLAGS, got&^flags|want&flags); err != nil {
		return clonejob.Unsupportedf("set flags of the staging directory: %v", err)
	}
	return nil
}

func inheritProject(dir, like int) error {
	var want, got fsxattr
	if err := ioctlFsx(like, fsxGet, &want); err != nil {
		return nil //nolint:nilerr // the filesystem has none
	}
	if err := ioctlFsx(dir, fsxGet, &got); err != nil {
		return err
	}
	if got.project == want.project && (got.flags^want.flags)&flagProjectInherit == 0 {
		return nil
	}
	got.project, got.flags = want.project, got.flags&^flagProjectInherit|want.flags&flagProjectInherit
	if err := ioctlFsx(dir, fsxSet, &got); err != nil {
		return clonejob.Unsupportedf("set the project of the staging directory: %v", err)
	}
	return nil
}

func ioctlFsx(fd int, request uintptr, value *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(value)))
	if errno != 0 {
		return errors.Join(errno)
	}
	return nil
}
