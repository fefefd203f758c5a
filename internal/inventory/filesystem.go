// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Filesystem is what a filesystem is and can.
type Filesystem struct {
	// Type is as in /proc/filesystems, or a number for one we have no name for.
	Type string `json:"type"`
	// Reflink reports whether files can share extents (FICLONE, ioctl_ficlone(2)):
	// yes, no, or unknown where only a test would show it.
	Reflink Capability `json:"reflink"`
	// Size and Available are in bytes; the latter is what root may still write.
	Size      uint64 `json:"size"`
	Available uint64 `json:"available"`
	ReadOnly  bool   `json:"read_only"`
	// Free is Available without what is kept for root, as df(1) shows it.
	Free uint64 `json:"-"`
}

// Capability is whether a filesystem can do something.
type Capability string

// The values of a Capability.
const (
	Yes     Capability = "yes"
	No      Capability = "no"
	Unknown Capability = "unknown"
)

// readFilesystem looks at the filesystem that the bootc-owned store lies on, or
// would lie on, without writing to it.
func readFilesystem(located storageconf.Store) (*Filesystem, error) {
	dir, err := located.Open()
	if err != nil {
		dir, err = located.OpenPhysical()
	}
	if err != nil {
		return nil, fmt.Errorf("open sysroot: %w", err)
	}
	defer dir.Close()
	return FilesystemOf(dir)
}

// FilesystemOf looks at the filesystem that dir lies on, without writing to it.
func FilesystemOf(dir *os.File) (*Filesystem, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look at filesystem of %q: %w", dir.Name(), err)
	}
	fs := &Filesystem{
		Size:      st.Blocks * uint64(st.Frsize),
		Available: st.Bfree * uint64(st.Frsize),
		Free:      st.Bavail * uint64(st.Frsize),
		ReadOnly:  st.Flags&unix.ST_RDONLY != 0,
	}
	fs.Type, fs.Reflink = identify(dir, uint32(st.Type))
	return fs, nil
}

func identify(dir *os.File, magic uint32) (string, Capability) {
	switch magic {
	case unix.XFS_SUPER_MAGIC:
		return "xfs", xfsReflink(dir)
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", Yes
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", No
	case unix.TMPFS_MAGIC:
		return "tmpfs", No
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay", Unknown
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs", No
	case unix.EROFS_SUPER_MAGIC_V1:
		return "erofs", No
	case bcachefsMagic:
		return "bcachefs", Yes
	}
	return fmt.Sprintf("%#x", magic), Unknown
}

const bcachefsMagic = 0xca451a4e

// See ioctl_xfs_fsgeometry(2): the structure of version 1 has 112 bytes, its
// flags at 92.
const (
	// The bits that say that something is read are others on POWER.
	ioctlRead          = unix.BLKGETSIZE64 & 0xc000_0000
	xfsGeometry        = ioctlRead | xfsGeometrySize<<16 | 'X'<<8 | 100
	xfsGeometrySize    = 112
	xfsGeometryFlags   = 92
	xfsGeometryReflink = 1 << 20
)

// xfsReflink asks XFS, which can be made without reflinks.
func xfsReflink(dir *os.File) Capability {
	var geometry [xfsGeometrySize]byte
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), xfsGeometry, uintptr(unsafe.Pointer(&geometry)))
	if errno != 0 {
		return Unknown
	}
	if binary.NativeEndian.Uint32(geometry[xfsGeometryFlags:])&xfsGeometryReflink != 0 {
		return Yes
	}
	return No
}
