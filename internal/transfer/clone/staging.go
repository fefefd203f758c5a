// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// prune removes from a staging directory, the library's or ours, what processes left
// there that were killed: the locks of the others' directories are held. The library does
// so with its own, too, but only where it unmounts the directory of the driver as well, on
// which somebody's mounts may be.
//
// What else the library leaves when it is killed is left to it, as podman does: it
// removes its tempdirs itself, and never its trials of the filesystem beside the layers
// (compat*, metacopy-check*, opaque-bug-check*), on which something may be mounted.
func prune(staging string) error {
	dirs, err := os.ReadDir(staging)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, dir := range dirs {
		if err == nil && dir.IsDir() {
			err = pruneOne(filepath.Join(staging, dir.Name()))
		}
	}
	return err
}

// tooOldToBeNew is the age at which a staging directory without a lock is not a new one
// any more, the maker of which is about to take it.
const tooOldToBeNew = time.Minute

func pruneOne(dir string) error {
	path := filepath.Join(dir, lockName)
	lock, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	remove := os.RemoveAll
	if errors.Is(err, fs.ErrNotExist) && isLeft(dir) {
		// From here on its maker, should there be one, cannot have the lock.
		lock, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|os.O_CREATE, 0o600)
		remove = unix.Rmdir
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // too new to be locked, or removed meanwhile
	}
	if rooted.IsOneOf(err, unix.ELOOP, unix.EISDIR) {
		return nil // no lock, so no staging directory
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	err = unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if rooted.IsOneOf(err, unix.EAGAIN, unix.EACCES) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: lock.Name(), Err: err}
	}
	// The lock goes last: who is killed here leaves what the next one removes.
	for _, name := range stagedNames {
		if err == nil {
			err = remove(filepath.Join(dir, name))
		}
		if rooted.IsOneOf(err, unix.ENOENT, unix.ENOTEMPTY) { // of Rmdir: somebody is at work there
			err = nil
		}
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = remove(dir)
	}
	if errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// stagedNames are what is in a staging directory besides its lock: the tree of the layer,
// and our hub of hard links.
var stagedNames = []string{treeName, linksName}

const (
	linksName = "links"
	// lockName is that of the lock, which a process has while it is alive. The library
	// has its lock by the same name and in the same way.
	lockName = "staging.lock"
)

// empty removes what is in a staging directory of ours but for the lock, which has to go
// last: without it, no process can see that the directory is left.
func empty(dir string) {
	for _, name := range stagedNames {
		_ = os.RemoveAll(filepath.Join(dir, name)) // else the next to clean up does
	}
}

// isLeft reports a staging directory without a lock that somebody left who was killed
// when he made it or had removed what was in it. One that has files is podman's before
// version 5, which takes no locks, and may be at work.
func isLeft(dir string) bool {
	st, err := os.Stat(dir)
	if err != nil || time.Since(st.ModTime()) < tooOldToBeNew {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if !slices.Contains(stagedNames, e.Name()) || !e.IsDir() {
			return false
		}
		if in, err := os.ReadDir(filepath.Join(dir, e.Name())); err != nil || len(in) > 0 {
			return false
		}
	}
	return true
}

// openStaged opens an empty directory of ours in the staging directory, and takes from
// it what it got of the store's directories and would pass on: a group by its
// set-group-ID bit, and access control lists. So new files are root's, with the mode
// that they are made with but for the umask, which needs no look.
func openStaged(path string) (dir *os.File, err error) {
	if dir, err = os.Open(path); err != nil {
		return nil, err
	}
	fd := int(dir.Fd())
	for _, name := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		if err == nil {
			err = unix.Fremovexattr(fd, name)
		}
		if rooted.IsOneOf(err, unix.ENODATA, unix.EOPNOTSUPP) {
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
