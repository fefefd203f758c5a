// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// tree is the directory of all layers in one directory of a store.
type tree struct {
	name string
	home *cstorage.Graph
	// dir is nil after err.
	dir *os.File
	err error
	// mount is the mount that dir lies on.
	mount *mountinfo.Info
}

// route is how the files of two trees are reached: by the descriptors of both.
type route struct {
	from, to *os.File
	// block is the size of a block of the filesystem in bytes.
	block uint64
	err   error
}

// routes has the ways from the directories of one store to those of another.
type routes struct {
	from, to []*tree
	mounts   []*mountinfo.Info
	dryRun   bool
	known    map[[2]*tree]*route
}

func newRoutes(from, to *cstorage.Store, dryRun bool) (*routes, error) {
	// Read once: mounts change with every container, but not those of stores.
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	r := &routes{mounts: mounts, dryRun: dryRun, known: map[[2]*tree]*route{}}
	r.from, r.to = r.trees(from), r.trees(to)
	return r, nil
}

func (r *routes) trees(store *cstorage.Store) (list []*tree) {
	for _, home := range store.Graphs() {
		if home.Driver == "" {
			continue
		}
		t := &tree{name: home.Dir.Name(), home: home}
		if home.Driver != "overlay" {
			t.err = fmt.Errorf("share files of %q: it has the driver %s: %w", home.Dir.Name(), home.Driver, ErrDriver)
		} else if t.dir, t.err = rooted.Open(home.Dir, "overlay", unix.O_RDONLY|unix.O_DIRECTORY); t.err == nil {
			t.mount, t.err = r.mountOf(t.dir)
		}
		list = append(list, t)
	}
	return list
}

func (r *routes) mountOf(dir *os.File) (*mountinfo.Info, error) {
	var stat unix.Statx_t
	if err := unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &stat); err != nil {
		return nil, fmt.Errorf("find mount of %q: %w", dir.Name(), err)
	}
	for _, m := range r.mounts {
		if uint64(m.ID) == stat.Mnt_id {
			return m, nil
		}
	}
	return nil, fmt.Errorf("find mount of %q: %w", dir.Name(), unix.ENOENT)
}

func (r *routes) close() {
	for _, way := range r.known {
		if way != nil {
			way.from.Close()
			way.to.Close()
		}
	}
	for _, list := range [][]*tree{r.from, r.to} {
		for _, t := range list {
			t.dir.Close()
		}
	}
}

// sync makes the kernel write earlier data to the disk: until then the data has no place
// there.
func (r *routes) sync() error {
	for _, way := range r.known {
		if way != nil && way.err == nil {
			if err := unix.Syncfs(int(way.to.Fd())); err != nil {
				return fmt.Errorf("sync %q: %w", way.to.Name(), err)
			}
		}
	}
	return nil
}

// find returns the way from a layer of one store to one of the other, nil when a
// layer was removed, or when both are the same.
func (r *routes) find(from, to string) (*route, error) {
	a, errA := holder(r.from, from)
	b, errB := holder(r.to, to)
	if a == nil || b == nil {
		return nil, errors.Join(errA, errB)
	}
	// The bootc-owned store may be an additional image store of podman's.
	if same(a.dir, b.dir) {
		return nil, nil
	}
	key := [2]*tree{a, b}
	way, found := r.known[key]
	if !found {
		way = r.open(a, b)
		r.known[key] = way
	}
	return way, way.err
}

// holder returns the tree that a layer lies in, nil if none has it. The error names the
// tree that could not be read.
func holder(trees []*tree, id string) (*tree, error) {
	var failed error
	for _, t := range trees {
		if t.err != nil {
			failed = errors.Join(failed, t.err)
			continue
		}
		var stat unix.Stat_t
		if isName(id) && unix.Fstatat(int(t.dir.Fd()), id, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return t, nil
		}
	}
	return nil, failed
}

func isName(id string) bool { return id != "" && id != "." && id != ".." && !strings.Contains(id, "/") }

func same(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// open determines how the files of a and b can share extents.
func (r *routes) open(a, b *tree) *route {
	way := &route{from: a.dir, to: b.dir}
	// The subvolumes of a Btrfs have numbers of their own; their mounts do not.
	if a.mount.Major != b.mount.Major || a.mount.Minor != b.mount.Minor {
		way.err = fmt.Errorf("share files of %s with %s: %w", a, b, ErrFilesystems)
		return way
	}
	var err error
	if way.block, err = b.canShare(); errors.Is(err, ErrNoReflink) {
		err = fmt.Errorf("share files of %s with %s: %w", a, b, err)
	}
	switch {
	case err != nil:
		way.err = err
		return way
	case r.dryRun:
		return way
	}
	switch err := probe(a, b); {
	case err == nil:
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EROFS):
		way.from, way.to, way.err = r.onOneMount(a, b)
	default:
		way.err = fmt.Errorf("share files of %s with %s: %w", a, b, err)
	}
	return way
}

// canShare returns the size of a block of the tree's filesystem. The error is ErrNoReflink
// where its files cannot share extents.
func (t *tree) canShare() (block uint64, err error) {
	fs, err := inventory.FilesystemOf(t.dir)
	var stat unix.Statfs_t
	if err == nil {
		err = unix.Fstatfs(int(t.dir.Fd()), &stat)
	}
	if err != nil {
		return 0, fmt.Errorf("read filesystem of %q: %w", t.dir.Name(), err)
	}
	if fs.Reflink == inventory.No {
		return 0, ErrNoReflink
	}
	return uint64(stat.Bsize), nil
}

// String returns the tree with its filesystem, for messages.
func (t *tree) String() string {
	return fmt.Sprintf("%q (%s, %s, on %q)", t.name, t.mount.Source, t.mount.FSType, t.mount.Mountpoint)
}

// probe determines whether the mounts of a and b let files share extents. It calls the kernel
// with directories: the kernel checks both mounts first, and then fails with EISDIR, the error
// that means yes.
func probe(a, b *tree) error {
	f, err := rooted.Open(a.home.Dir, "overlay-layers/layers.json", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = shareRange(int(f.Fd()), int(b.dir.Fd()), 0, 1)
	if errors.Is(err, unix.EISDIR) {
		return nil
	}
	return err
}

// onOneMount opens two trees on one mount, see openTogether.
func (r *routes) onOneMount(a, b *tree) (from, to *os.File, err error) {
	dirs, err := openTogether(r.mounts, a, b)
	if err != nil {
		return nil, nil, fmt.Errorf("share files of %s with %s: %w", a, b, err)
	}
	return dirs[0], dirs[1], nil
}

// openTogether opens trees of one filesystem on a mount that has all of them and that is
// writable: a detached copy of a mount of the host (open_tree(2)). No other process sees it,
// it needs no mount namespace, and it ends with its descriptors. It does not contain mounts
// below it. The error is ErrMounts where no mount has them.
func openTogether(mounts []*mountinfo.Info, trees ...*tree) ([]*os.File, error) {
	paths := make([]string, len(trees))
	for i, t := range trees {
		var err error
		if paths[i], err = t.pathInFilesystem(); err != nil {
			return nil, err
		}
	}
	for _, m := range mounts {
		if m.Major != trees[0].mount.Major || m.Minor != trees[0].mount.Minor {
			continue
		}
		below, ok := allBelow(m.Root, paths)
		if !ok {
			continue
		}
		dirs, err := openClone(m.Mountpoint, below)
		if err != nil {
			continue
		}
		// Another filesystem may be mounted over it.
		found := true
		for i, t := range trees {
			found = found && same(dirs[i], t.dir)
		}
		if found {
			return dirs, nil
		}
		closeAll(dirs)
	}
	return nil, ErrMounts
}

// allBelow returns paths relative to dir, if they are all below it.
func allBelow(dir string, paths []string) (list []string, ok bool) {
	for _, path := range paths {
		rel, ok := below(dir, path)
		if !ok {
			return nil, false
		}
		list = append(list, rel)
	}
	return list, true
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// pathInFilesystem returns the path from the root of the filesystem.
func (t *tree) pathInFilesystem() (string, error) {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(t.dir.Fd())))
	if err != nil {
		return "", err
	}
	rel, ok := below(t.mount.Mountpoint, path)
	if !ok {
		return "", fmt.Errorf("find %q on the mount %q: %w", path, t.mount.Mountpoint, unix.ENOENT)
	}
	return filepath.Join(t.mount.Root, rel), nil
}

// below returns path relative to dir, if it is dir or below.
func below(dir, path string) (string, bool) {
	rel, err := filepath.Rel(dir, path)
	return rel, err == nil && filepath.IsLocal(rel)
}

// openClone opens directories on a writable copy of a mount.
func openClone(mountpoint string, paths []string) (dirs []*os.File, err error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, mountpoint, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return nil, err
	}
	for _, path := range paths {
		dir, err := openBeneath(fd, mountpoint, path)
		if err != nil {
			closeAll(dirs)
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// openBeneath opens a directory without following links or leaving the mount.
func openBeneath(dir int, name, path string) (*os.File, error) {
	fd, err := openPath(dir, path, unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(name, path), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(name, path)), nil
}

// openPath opens a path without following links or leaving the mount.
func openPath(dir int, path string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err = unix.Openat2(dir, path, &how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}
