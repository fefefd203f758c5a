// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"errors"
	"io/fs"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Unprotected looks at the fs-verity of up to most objects, some of each directory of them,
// and returns how many it found, and the paths of those that have none, relative to the
// repository.
func (r *Repo) Unprotected(most int) (found int, without []string, err error) {
	dirs, err := rooted.Names(r.dir, "objects")
	if err != nil {
		return 0, nil, err
	}
	each := max(1, most/max(1, len(dirs)))
	for _, dir := range dirs {
		names, err := rooted.Names(r.dir, path.Join("objects", dir))
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, without, err
		}
		for _, name := range names[:min(each, len(names))] {
			at := path.Join("objects", dir, name)
			// A name that is no digest is that of a temporary file.
			if found >= most || r.parseID(dir+name) == "" {
				continue
			}
			protected, err := r.hasVerity(at)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return found, without, &fs.PathError{Op: "statx", Path: path.Join(r.Path(), at), Err: err}
			}
			if found++; !protected {
				without = append(without, at)
			}
		}
	}
	return found, without, nil
}

// hasVerity reports whether a file of the repository is protected by fs-verity.
func (r *Repo) hasVerity(name string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(int(r.dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_VERITY != 0, err
}

// measureVerity is FS_IOC_MEASURE_VERITY of linux/fsverity.h, _IOWR('f', 134, 4 bytes).
const measureVerity = 0xc0046686

// CanProtect reports whether kernel and filesystem of the repository have fs-verity: if they
// do, measuring meta.json without a digest fails with ENODATA.
func (r *Repo) CanProtect() bool {
	f, _, err := r.openFile("meta.json")
	if err != nil {
		return false
	}
	defer f.Close()
	// struct fsverity_digest: the algorithm and the size, each of 2 bytes, and the digest.
	var digest [4 + 64]byte
	*(*uint16)(unsafe.Pointer(&digest[2])) = 64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), measureVerity, uintptr(unsafe.Pointer(&digest)))
	return errno == 0 || errno == unix.ENODATA
}
