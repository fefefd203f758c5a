// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// gcPercent bounds how much garbage there is beside the index, which takes most of the
// memory and is none.
const gcPercent = 10

// hostRun is a run for Host.
type hostRun struct {
	Options
	result        *Result
	bootc, podman *cstorage.Store
	repos         []*repository
	mounts        []*mountinfo.Info
	places        []*place
}

// repository is the objects of a repository.
type repository struct {
	name string
	dir  *os.File
	skip func(name string) bool
}

// runHost is Run for Host.
func runHost(ctx context.Context, o Options, located storageconf.Store) (*Result, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	r := &hostRun{Options: o, result: &Result{Scope: Host, DryRun: o.DryRun}}
	defer r.close()
	var problems []error
	if r.bootc, problems = inventory.OpenBootcStore(located, o.Root); r.bootc == nil && len(problems) > 0 {
		return r.result, errors.Join(problems...)
	}
	if r.podman, problems = inventory.OpenDefaultStore(o.Root, o.Euid); r.podman == nil && len(problems) > 0 {
		return r.result, errors.Join(problems...)
	}
	if r.bootc == nil && r.podman == nil {
		r.result.Complete = true
		return r.result, nil
	}
	r.openRepos()
	if err := r.openPlaces(); err != nil {
		return nil, err
	}
	return r.result, r.run(ctx)
}

func (r *hostRun) close() {
	for _, p := range r.places {
		if p.dir != p.tree.dir {
			p.dir.Close()
		}
		p.tree.dir.Close()
	}
	for _, s := range []*cstorage.Store{r.bootc, r.podman} {
		if s != nil {
			s.Close()
		}
	}
}

// openRepos finds the objects of the host's repositories. One of another kind than that of a
// host has none to share.
func (r *hostRun) openRepos() {
	for _, open := range []func() (*repository, error){r.openOSTree, r.openComposefs} {
		repo, err := open()
		switch {
		case err == nil:
			r.repos = append(r.repos, repo)
		case errors.Is(err, ostree.ErrNoRepo), errors.Is(err, composefs.ErrNoRepo), errors.Is(err, ostree.ErrMode), errors.Is(err, fs.ErrNotExist):
		default:
			// The stores can still be looked at.
			r.warn(err)
		}
	}
}

func (r *hostRun) openOSTree() (*repository, error) {
	repo, err := r.Sysroot.OpenRepo()
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	dir, err := repo.OpenObjects()
	return &repository{"objects of " + repo.Path(), dir, func(name string) bool { return !ostree.IsFileObject(name) }}, err
}

func (r *hostRun) openComposefs() (*repository, error) {
	repo, err := r.Sysroot.OpenComposefs()
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	dir, err := repo.OpenObjects()
	return &repository{"objects of " + repo.Path(), dir, func(name string) bool { return !repo.IsObject(name) }}, err
}

// openPlaces finds the places that have files to share: objects first, whose extents the
// other files get, then the bootc-owned store, then podman's own.
func (r *hostRun) openPlaces() (err error) {
	if r.mounts, err = mountinfo.GetMounts(nil); err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	finder := routes{mounts: r.mounts}
	for _, repo := range r.repos {
		t := &tree{name: repo.name, dir: repo.dir}
		p := &place{tree: t, dir: t.dir, skip: repo.skip}
		if t.mount, err = finder.mountOf(t.dir); err != nil {
			t.dir.Close()
			return err
		}
		r.places = append(r.places, p)
	}
	for _, store := range []*cstorage.Store{r.bootc, r.podman} {
		if store == nil {
			continue
		}
		if err := r.addStore(store, finder.trees(store)); err != nil {
			return err
		}
	}
	return r.keepShareable()
}

// addStore adds the layers of a store.
func (r *hostRun) addStore(store *cstorage.Store, trees []*tree) error {
	layers, err := store.Layers()
	if err != nil {
		return err
	}
	written, err := writable(store)
	if err != nil {
		return err
	}
	places := map[*tree]*place{}
	for _, t := range trees {
		known := slices.ContainsFunc(r.places, func(p *place) bool { return p.home != nil && t.dir != nil && same(p.tree.dir, t.dir) })
		switch {
		case errors.Is(t.err, unix.ENOENT): // no layer yet
		case t.err != nil:
			r.warn(t.err)
		// The bootc-owned store may be an additional image store of podman's.
		case known:
			t.dir.Close()
		default:
			places[t] = &place{tree: t, dir: t.dir}
			r.places = append(r.places, places[t])
		}
	}
	for _, l := range layers {
		if contentKey(l) == "" || written[l.ID] {
			continue
		}
		t, err := holder(trees, l.ID)
		if err != nil || t == nil || places[t] == nil {
			continue
		}
		name := "layer " + cmp.Or(l.DiffID, l.TOCDigest)
		places[t].layers = append(places[t].layers, &part{at: places[t], id: l.ID, path: l.ID + "/diff", name: name, size: l.Size})
	}
	return nil
}

// writable returns the layers that containers write to.
func writable(store *cstorage.Store) (map[string]bool, error) {
	layers := map[string]bool{}
	for _, g := range store.Graphs() {
		if g.Driver == "" {
			continue
		}
		containers, err := g.Containers()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		for _, c := range containers {
			layers[c.Layer] = true
		}
	}
	return layers, nil
}

// keepShareable leaves out the places that cannot share files with any other, and opens
// the rest. The error is ErrNoReflink when there is a layer but no place is left.
func (r *hostRun) keepShareable() error {
	var refused error
	kept := r.places[:0]
	layers := 0
	for _, p := range r.places {
		layers += len(p.layers)
		var err error
		if p.block, err = p.canShare(); err == nil {
			kept = append(kept, p)
			continue
		}
		if refused == nil && p.home != nil && len(p.layers) > 0 {
			refused = fmt.Errorf("share files of %s: %w", p, err)
		}
		p.tree.dir.Close()
	}
	r.places = kept
	left := 0
	for _, p := range kept {
		left += len(p.layers)
	}
	switch {
	case left == 0:
		// Nothing to look at, or nothing that could be shared.
		return refused
	case refused != nil:
		r.warn(refused)
	}
	if r.DryRun {
		return nil
	}
	for _, group := range r.filesystems() {
		if err := r.reach(group); err != nil {
			return err
		}
	}
	return nil
}

// filesystems returns the places of each filesystem.
func (r *hostRun) filesystems() (groups [][]*place) {
	for _, p := range r.places {
		// The subvolumes of a Btrfs have numbers of their own; their mounts do not.
		i := slices.IndexFunc(groups, func(g []*place) bool {
			return g[0].mount.Major == p.mount.Major && g[0].mount.Minor == p.mount.Minor
		})
		if i < 0 {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

// reach opens the places of a filesystem on a mount that has all of them, or else each on
// one that is writable: only kernels before 5.18 need one mount.
func (r *hostRun) reach(group []*place) error {
	trees := make([]*tree, len(group))
	for i, p := range group {
		trees[i] = p.tree
	}
	if dirs, err := openTogether(r.mounts, trees...); err == nil {
		for i, p := range group {
			p.dir = dirs[i]
		}
		return nil
	}
	for _, p := range group {
		dirs, err := openTogether(r.mounts, p.tree)
		if err != nil {
			return fmt.Errorf("share files of %s: %w", p, err)
		}
		p.dir = dirs[0]
	}
	return nil
}

func (r *hostRun) warn(err error) {
	if r.Warn != nil {
		r.Warn(err)
	}
}

// run shares the files of all places, and then looks for files that differ though their
// layers are the same: these two stores have.
func (r *hostRun) run(ctx context.Context) error {
	var steps, bytes int64
	for _, p := range r.places {
		steps += int64(max(len(p.layers), 1))
		for _, l := range p.layers {
			bytes += max(l.size, 0)
		}
	}
	var err error
	if r.result.UsedBefore, err = r.used(); err != nil {
		return err
	}
	limit := newRate(r.MaxRate)
	job := r.Progress.Transfer(progress.Task{Name: "deduplicating", Description: "Sharing equal files", Steps: steps, Bytes: bytes})
	defer job.Stop()
	for _, group := range r.filesystems() {
		p := &pool{pass: pass{Options: r.Options, result: r.result, rate: limit}, index: newIndex()}
		if err = p.run(ctx, job, group, workers()); err != nil {
			break
		}
	}
	if err == nil {
		job.Done()
		err = r.compareStores(ctx)
	}
	r.result.Complete = err == nil
	after, usedErr := r.used()
	r.result.UsedAfter = after
	return errors.Join(err, usedErr)
}

// compareStores compares the layers that both stores have. Their files are shared already,
// unless they differ. Layers in which each file was equal to another one are left out.
func (r *hostRun) compareStores(ctx context.Context) error {
	if r.bootc == nil || r.podman == nil {
		return nil
	}
	o := r.Options
	o.Progress = nil
	known := map[string]bool{}
	for _, p := range r.places {
		for _, l := range p.layers {
			// Both stores may give it the same ID.
			other, twice := known[l.id]
			known[l.id] = l.known && (other || !twice)
		}
	}
	found, err := share(ctx, o, r.bootc, r.podman, func(p pair) bool { return known[p.from] && known[p.to] })
	if found != nil {
		r.result.Different += found.Different
		r.result.Failed += found.Failed
		r.result.changes += found.changes
		if !r.DryRun {
			r.result.Saved += found.Saved
		}
	}
	// The stores may lie on two filesystems, each with files to share. What could not be
	// shared there was warned of.
	for _, apart := range []error{ErrFilesystems, ErrNoReflink, ErrMounts, ErrDriver} {
		if errors.Is(err, apart) {
			return nil
		}
	}
	return err
}

// used makes the kernel write earlier data to the disk, which has no place there until
// then, and returns how many bytes of the filesystems are used.
func (r *hostRun) used() (bytes int64, err error) {
	for _, group := range r.filesystems() {
		fd := int(group[0].dir.Fd())
		var stat unix.Statfs_t
		err := unix.Syncfs(fd)
		if err == nil {
			err = unix.Fstatfs(fd, &stat)
		}
		if err != nil {
			return 0, fmt.Errorf("read filesystem of %q: %w", group[0].name, err)
		}
		bytes += int64(stat.Blocks-stat.Bfree) * stat.Frsize
	}
	return bytes, nil
}
