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

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
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
		case rooted.IsOneOf(err, unix.ENOENT, unix.ENOTDIR):
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
			return nil, nil, fmt.Errorf("verify layer %s: %w", p.id, clonejob.Gone(err))
		}
	}
	return nil, nil, nil
}

func (d *destination) inspectLayer(p *planned) error {
	fd, err := tree.Open(int(d.area.overlay.Fd()), filepath.Join(p.id, "diff"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
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
	headers := tree.ReadHeaders(tarSplit)
	defer headers.Stop()
	if err := tree.Inspect(root, headers); err != nil {
		return err
	}
	return verifyArchive(p.from, root, tarSplit)
}
