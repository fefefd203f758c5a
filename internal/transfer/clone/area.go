// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// stagingName is the directory below the graph root in which layers are staged. It is
// not overlay/staging, which podman before version 5 removes at the end of each of its
// commands, whatever process is at work there; below overlay, podman's repair of links takes any
// other directory for a layer.
const stagingName = "bootc-podman.staging"

// area is the staging directory of one destination.
type area struct {
	graphRoot string
	// root is the graph root and overlay the directory of the layers in it, as they are
	// below all mounts: podman mounts the latter on itself, and no file can be renamed
	// from one mount to another.
	root, overlay *os.File
}

// open opens the staging directory of a store and removes from it what killed processes
// left there. The error wraps clonejob.ErrUnsupported if layers cannot be renamed from
// there to their places.
func (a *area) open() error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, a.graphRoot, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if rooted.IsOneOf(err, unix.ENOSYS, unix.EPERM, unix.EINVAL) {
		fd, err = unix.Open(a.graphRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: a.graphRoot, Err: err}
	}
	a.root = os.NewFile(uintptr(fd), a.graphRoot)
	path := filepath.Join(a.graphRoot, "overlay")
	if fd, err = tree.Open(fd, "overlay", unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return clonejob.Unsupportedf("open %q: %v", path, err)
	}
	a.overlay = os.NewFile(uintptr(fd), path)
	if same, err := a.isOneFilesystem(path); err != nil {
		return err
	} else if !same {
		return clonejob.Unsupportedf("%q is not on the filesystem of %q", path, a.graphRoot)
	}
	var st unix.Stat_t
	err = unix.Fstatat(int(a.root.Fd()), stagingName, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return clonejob.Unsupportedf("%q is not a directory", filepath.Join(a.graphRoot, stagingName))
	}
	if err := prune(filepath.Join(a.graphRoot, stagingName)); err != nil {
		return err
	}
	// Where earlier versions staged layers.
	return prune(filepath.Join(a.graphRoot, "overlay/staging"))
}

// isOneFilesystem reports whether files can be renamed between the two directories, and
// whether path leads to the second of them: another filesystem may be mounted there.
func (a *area) isOneFilesystem(path string) (bool, error) {
	const mask = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_MNT_ID
	var root, overlay, seen unix.Statx_t
	err := unix.Statx(int(a.root.Fd()), "", unix.AT_EMPTY_PATH, mask, &root)
	if err == nil {
		err = unix.Statx(int(a.overlay.Fd()), "", unix.AT_EMPTY_PATH, mask, &overlay)
	}
	if err == nil {
		err = unix.Statx(unix.AT_FDCWD, path, 0, mask, &seen)
	}
	if err != nil {
		return false, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	isOn := func(st *unix.Statx_t) bool { return st.Dev_major == root.Dev_major && st.Dev_minor == root.Dev_minor }
	return isOn(&overlay) && isOn(&seen) && overlay.Ino == seen.Ino && overlay.Mnt_id == root.Mnt_id, nil
}

// close removes the staging directory unless another process is at work there.
func (a *area) close() {
	if a.root != nil {
		_ = unix.Unlinkat(int(a.root.Fd()), stagingName, unix.AT_REMOVEDIR)
		a.root.Close()
	}
	if a.overlay != nil {
		a.overlay.Close()
	}
}

// place is a directory in the staging directory. It is locked while its owner is alive.
type place struct {
	area *area
	name string
	lock *os.File
}

// path is that of a file in the place, as it is below the graph root.
func (p *place) path(name string) string { return path.Join(stagingName, p.name, name) }

// treeName is the directory in a place that becomes the layer's.
const treeName = "dir"

// newPlace makes a directory. Another process that removes what is left may be faster.
func (a *area) newPlace() (*place, error) {
	var err error
	for range 100 {
		p := &place{area: a, name: strconv.FormatUint(rand.Uint64(), 36)}
		if err = p.make(); err == nil {
			return p, nil
		}
		if !rooted.IsOneOf(err, unix.ENOENT, unix.EEXIST, unix.EAGAIN, unix.EACCES, unix.ESTALE) {
			break
		}
	}
	return nil, fmt.Errorf("make directory in %q: %w", filepath.Join(a.graphRoot, stagingName), err)
}

func (p *place) make() error {
	root := int(p.area.root.Fd())
	if err := unix.Mkdirat(root, stagingName, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	base, err := tree.Open(root, stagingName, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = tree.Inherit(base, int(p.area.overlay.Fd()))
	unix.Close(base)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(root, p.path(""), 0o700); err != nil {
		return err
	}
	fd, err := tree.Open(root, p.path(lockName), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	p.lock = os.NewFile(uintptr(fd), p.path(lockName))
	err = unix.FcntlFlock(p.lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil && st.Nlink == 0 {
		err = unix.ESTALE
	}
	if err != nil {
		p.lock.Close()
	}
	return err
}

// remove removes the place with all that is in it.
func (p *place) remove() {
	dir := filepath.Join(p.area.graphRoot, p.path(""))
	empty(dir) // else the next to clean up does
	_ = os.Remove(filepath.Join(dir, lockName))
	_ = os.Remove(dir)
	p.lock.Close()
}

// stagedTree is the tree of a layer in its place, open, with the number of entries below
// it that were made.
type stagedTree struct {
	root    *os.File
	entries int64
}

// commit renames the staged tree to its place in the layer of that ID, where there is an
// empty directory. The error wraps clonejob.ErrChanged if the tree is not what was made
// any more: something that was removed meanwhile is missing without any other error.
func (p *place) commit(staged *stagedTree, id string) error {
	root, overlay := int(p.area.root.Fd()), int(p.area.overlay.Fd())
	from, to := p.path(treeName), path.Join(id, "diff")
	if err := staged.isAt(root, from); err != nil {
		return err
	}
	n, err := tree.Count(staged.root)
	if err != nil {
		return fmt.Errorf("count staged files: %w", clonejob.Gone(err))
	}
	if n != staged.entries {
		return fmt.Errorf("%d of %d staged files: %w", n, staged.entries, clonejob.ErrChanged)
	}
	err = unix.Renameat(root, from, overlay, to)
	if errors.Is(err, unix.EXDEV) { // between subvolumes or projects, which another process made
		return clonejob.Unsupportedf("rename %q to overlay/%s: %v", from, to, err)
	}
	if err != nil {
		return fmt.Errorf("rename %q to overlay/%s: %w", from, to, clonejob.Gone(err))
	}
	return staged.isAt(overlay, to)
}

// hasModeOf gives the root of the tree the mode of a directory.
func (t *stagedTree) hasModeOf(dir int, path string) error {
	var st unix.Stat_t
	err := clonejob.Gone(unix.Fstatat(dir, path, &st, unix.AT_SYMLINK_NOFOLLOW))
	if err == nil {
		err = unix.Fchmod(int(t.root.Fd()), st.Mode&0o7777)
	}
	if err != nil {
		return fmt.Errorf("give the layer the mode of %q: %w", path, err)
	}
	return nil
}

// isAt returns an error unless the tree is the directory of that path.
func (t *stagedTree) isAt(dir int, path string) error {
	var want, got unix.Stat_t
	err := unix.Fstat(int(t.root.Fd()), &want)
	if err == nil {
		err = clonejob.Gone(unix.Fstatat(dir, path, &got, unix.AT_SYMLINK_NOFOLLOW))
	}
	if err == nil && (got.Dev != want.Dev || got.Ino != want.Ino) {
		err = clonejob.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("staged files at %q: %w", path, err)
	}
	return nil
}

// has reports whether there is a place of that name.
func (a *area) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(int(a.root.Fd()), path.Join(stagingName, name), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}
