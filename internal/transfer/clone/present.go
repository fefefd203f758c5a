// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// lacks returns which of the files of a layer with a record are not there, "" if all
// are. The link in overlay/l is not one of them: podman makes it again.
func (d *destination) lacks(id, parent string) (string, error) {
	overlay := int(d.area.overlay.Fd())
	for _, f := range []struct {
		dir        int
		path, name string
		kind       uint32
		needed     bool
	}{
		{overlay, id, "directory", unix.S_IFDIR, true},
		{overlay, filepath.Join(id, "diff"), "diff", unix.S_IFDIR, true},
		{overlay, filepath.Join(id, "link"), "link", unix.S_IFREG, true},
		{overlay, filepath.Join(id, "lower"), "lower", unix.S_IFREG, parent != ""},
		{unix.AT_FDCWD, tarSplitPath(d.layers, id), "tar-split", unix.S_IFREG, true},
	} {
		if !f.needed {
			continue
		}
		var st unix.Stat_t
		err := unix.Fstatat(f.dir, f.path, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case isOneOf(err, unix.ENOENT, unix.ENOTDIR):
			return f.name, nil
		case err != nil:
			return "", &fs.PathError{Op: "stat", Path: f.path, Err: err}
		case st.Mode&unix.S_IFMT != f.kind, f.kind == unix.S_IFREG && st.Size == 0:
			return f.name, nil
		}
	}
	return "", nil
}

// damaged says what is wrong with a layer that has a record, and which images and
// containers use it; the error wraps clonejob.ErrDamaged. A layer that nothing uses is
// removed, with the layers upon it: then the error is nil.
func (d *destination) damaged(id, what string) error {
	layers, err := d.Layers()
	if err != nil {
		return err
	}
	parents, children := map[string]string{}, map[string][]string{}
	for _, l := range layers {
		parents[l.ID] = l.Parent
		children[l.Parent] = append(children[l.Parent], l.ID)
	}
	users, err := d.users(id, parents)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return fmt.Errorf("%w: layer %s of %s: %s", clonejob.ErrDamaged, id, strings.Join(users, ", "), what)
	}
	return d.removeLayers(id, children, 0)
}

// users returns the images and containers that a layer is of, by their names.
func (d *destination) users(id string, parents map[string]string) (users []string, err error) {
	uses := func(top string) bool {
		for range maxLayers {
			if top == "" || top == id {
				break
			}
			top = parents[top]
		}
		return top == id
	}
	images, err := d.Images()
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if uses(image.TopLayer) {
			users = append(users, "image "+cmp.Or(strings.Join(image.Names, " "), image.ID))
		}
	}
	containers, err := d.Containers()
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		if uses(c.LayerID) {
			users = append(users, "container "+cmp.Or(strings.Join(c.Names, " "), c.ID))
		}
	}
	return users, nil
}

// removeLayers removes a layer and those upon it. The library refuses if one is used by
// now.
func (d *destination) removeLayers(id string, children map[string][]string, depth int) error {
	if depth > maxLayers {
		return fmt.Errorf("layer %s: more than %d layers upon each other", id, maxLayers)
	}
	for _, child := range children[id] {
		if err := d.removeLayers(child, children, depth+1); err != nil {
			return err
		}
	}
	if err := d.DeleteLayer(id); err != nil && !errors.Is(err, storage.ErrLayerUnknown) && !errors.Is(err, storage.ErrNotALayer) {
		return fmt.Errorf("remove damaged layer %s: %w", id, err)
	}
	return nil
}

// inspect compares the layers of a plan that the destination has with their archives, and
// returns the first that differs, and how.
func (d *destination) inspect(ctx context.Context, plan []*planned) (differs *planned, how error, err error) {
	lock, err := openLock(d.layers, false)
	if err != nil {
		return nil, nil, err
	}
	if err := take(ctx, lock, lock.RLock); err != nil {
		return nil, nil, err
	}
	defer lock.Unlock()
	for _, p := range plan {
		if !p.there {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		err := d.inspectLayer(p)
		if errors.Is(err, clonejob.ErrNotVerified) {
			return p, err, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("verify layer %s: %w", p.id, gone(err))
		}
	}
	return nil, nil, nil
}

func (d *destination) inspectLayer(p *planned) error {
	fd, err := openat(int(d.area.overlay.Fd()), filepath.Join(p.id, "diff"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	root := os.NewFile(uintptr(fd), "diff")
	defer root.Close()
	tarSplit, err := os.Open(tarSplitPath(d.layers, p.id))
	if err != nil {
		return err
	}
	defer tarSplit.Close()
	headers := startComparison(func(stop func() error) (*index, error) { return readIndex(tarSplit, stop) })
	defer headers.stop()
	if err := inspectTree(root, headers); err != nil {
		return err
	}
	return verifyArchive(p.from, root, tarSplit)
}

// inspectTree compares a tree with its headers where it is.
func inspectTree(root *os.File, headers *comparison) error {
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
	headers *comparison
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
