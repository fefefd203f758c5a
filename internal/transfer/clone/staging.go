// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// prune removes from the staging directory of a store what processes left there that
// were killed: the locks of the others' directories are held. The library does so, too,
// but only where it unmounts the directory of the driver as well, on which somebody's
// mounts may be.
func prune(staging string) error {
	dirs, err := os.ReadDir(staging)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, dir := range dirs {
		if err == nil {
			err = pruneOne(filepath.Join(staging, dir.Name()))
		}
	}
	return err
}

func pruneOne(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, "staging.lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // too new to be locked, or removed meanwhile
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	err = unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if isOneOf(err, unix.EAGAIN, unix.EACCES) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: lock.Name(), Err: err}
	}
	return os.RemoveAll(dir)
}

// openStaged opens an empty directory of ours in the staging directory, and takes from
// it what it got of the store's directories and would pass on: a group by its
// set-group-ID bit, and access control lists. So new files are root's, with the mode
// that they are made with but for the umask, which nobody has to look at.
func openStaged(path string) (dir *os.File, err error) {
	if dir, err = os.Open(path); err != nil {
		return nil, err
	}
	fd := int(dir.Fd())
	for _, name := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		if err == nil {
			err = unix.Fremovexattr(fd, name)
		}
		if isOneOf(err, unix.ENODATA, unix.EOPNOTSUPP) {
			err = nil
		}
	}
	if err == nil {
		err = unix.Fchown(fd, 0, 0)
	}
	if err == nil {
		err = unix.Fchmod(fd, 0o700)
	}
	if err != nil {
		dir.Close()
		return nil, &fs.PathError{Op: "prepare", Path: path, Err: err}
	}
	return dir, nil
}
