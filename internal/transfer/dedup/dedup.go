// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package dedup makes equal files of a host share their extents: those of its stores, and of
// the repository that it boots from.
//
// The kernel compares two ranges and shares them in one step (FIDEDUPERANGE,
// ioctl_fideduperange(2)), so that only the place of bytes on the disk changes:
// no lock of a store is needed, a layer may be removed meanwhile, and a run that is
// killed leaves every file complete.
//
// The files of the stores get the extents of the repository, whose objects are only read,
// and those of podman's own store get the extents of the bootc-owned one. The file that
// changes must be on a writable mount; where the mount of a store is read-only, a writable
// copy of it is made that no other process sees.
package dedup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

var (
	// ErrFilesystems reports that the stores lie on two filesystems.
	ErrFilesystems = errors.New("different filesystems share nothing")
	// ErrNoReflink reports that a filesystem cannot share extents.
	ErrNoReflink = errors.New("the filesystem cannot share extents between files")
	// ErrDriver reports that a store does not use the overlay driver.
	ErrDriver = errors.New("only stores of the overlay driver are supported")
	// ErrMounts reports that no mount has both stores, which kernels before 5.18 need, or
	// that no such mount is writable, which every kernel needs.
	ErrMounts = errors.New("no mount has both stores")
)

// Scope is which files are shared.
type Scope string

// The scopes. Stores has the layers that both stores have. Host has all layers of both
// stores, and the objects of the repositories of ostree and composefs.
const (
	Stores Scope = "stores"
	Host   Scope = "host"
)

// Options name the host, and how its files are shared.
type Options struct {
	inventory.Options
	// Scope is Stores unless it is Host.
	Scope Scope
	// MaxRate is how many bytes are read in a second at most, 0 for no bound.
	MaxRate int64
	// DryRun compares sizes and extents only, and changes nothing.
	DryRun   bool
	Progress *progress.Reporter
	// Warn is called for each file that differs, or that cannot be read. Calls do not
	// overlap.
	Warn func(error)
}

// Result describes a run.
type Result struct {
	Scope  Scope `json:"scope"`
	DryRun bool  `json:"dry_run"`
	// Complete is false when the run was stopped.
	Complete bool `json:"complete"`
	// Layers is how many layers of podman's own store the bootc-owned one has too; for
	// Host, how many layers the stores have. Objects is the number of files in the
	// repositories of the host.
	Layers  int64 `json:"layers"`
	Objects int64 `json:"objects"`
	// Files is how many regular files of the layers have an equal one, hard links counted
	// once: in the other store, and for Host in the repository or in a layer that was
	// looked at before.
	Files int64 `json:"files"`
	// Bytes is the size of these files on the disk; Shared is how much of it was shared
	// with the other one before. Neither counts content that the filesystem keeps with its
	// metadata.
	Bytes  int64 `json:"bytes"`
	Shared int64 `json:"bytes_shared"`
	// Saved is how many bytes of the disk were freed. Where a filesystem
	// compresses, they are those before compression. Extents that a third file shares,
	// in a snapshot for example, are not counted, since they are not freed.
	// After a dry run it is the most that a run would free.
	Saved int64 `json:"bytes_saved"`
	// Different is the number of files whose content is not that of the other
	// store, though the layer is the same: one of them is damaged. They are left
	// unchanged, as are those that could not be shared: Failed.
	Different int64 `json:"files_different"`
	Failed    int64 `json:"files_failed"`
	// UsedBefore and UsedAfter are the bytes that are used of the filesystems with the
	// stores (statfs(2)), of all that is on them. 0 unless files were looked at for Host.
	UsedBefore int64 `json:"used_before"`
	UsedAfter  int64 `json:"used_after"`

	// changes is how many ranges of files got other extents.
	changes int64
}

// Changed reports whether the run changed where files lie on the disk.
func (r *Result) Changed() bool { return atomic.LoadInt64(&r.changes) > 0 }

// Run shares the files of all layers that podman's own store and the bootc-owned
// one have both. A store that does not exist has no layers. It can be repeated, and
// continues where a run before it was stopped.
//
// The result is nil only if nothing was begun. Errors are inventory.ErrNotOnHost,
// wrapper.ErrNotRoot, storageconf.ErrNotBootcHost, ErrFilesystems, ErrNoReflink,
// ErrDriver, ErrMounts, those of reading the stores, of the kernel, and that of ctx.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Sysroot.Running != "" && wrapper.InContainer(o.Sysroot.Running, o.Env) != "" {
		return nil, fmt.Errorf("share files of both stores: %w", inventory.ErrNotOnHost)
	}
	if o.Euid != 0 && !o.DryRun {
		return nil, fmt.Errorf("share files of both stores: %w", wrapper.ErrNotRoot)
	}
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if err != nil {
		return nil, err
	}
	if o.Scope == Host {
		return runHost(ctx, o, located)
	}
	o.Scope = Stores
	bootc, problems := inventory.OpenBootcStore(located, o.Root)
	if bootc == nil {
		return &Result{Scope: Stores, DryRun: o.DryRun, Complete: len(problems) == 0}, errors.Join(problems...)
	}
	defer bootc.Close()
	podman, problems := inventory.OpenDefaultStore(o.Root, o.Euid)
	if podman == nil {
		return &Result{Scope: Stores, DryRun: o.DryRun, Complete: len(problems) == 0}, errors.Join(problems...)
	}
	defer podman.Close()
	return share(ctx, o, bootc, podman, func(pair) bool { return false })
}

// share shares files of the store to with those of the store from, but for layers that skip
// returns true for.
func share(ctx context.Context, o Options, from, to *cstorage.Store, skip func(pair) bool) (*Result, error) {
	common, err := pairs(from, to)
	if err != nil {
		return nil, err
	}
	common = slices.DeleteFunc(common, skip)
	result := &Result{Scope: o.Scope, DryRun: o.DryRun}
	if len(common) == 0 {
		result.Complete = true
		return result, nil
	}
	routes, err := newRoutes(from, to, o.DryRun)
	if err != nil {
		return nil, err
	}
	defer routes.close()
	p := &pass{Options: o, result: result, rate: newRate(o.MaxRate)}
	var work []layerPair
	var refused error
	var total int64
	for _, c := range common {
		r, err := routes.find(c.from, c.to)
		switch {
		case err != nil:
			refused = cmp.Or(refused, err)
		case r != nil:
			work = append(work, layerPair{pair: c, route: r})
			total += max(c.size, 0)
		}
	}
	// One of several directories, such as an additional image store, may lie elsewhere.
	if refused != nil && len(work) == 0 {
		return nil, refused
	}
	if refused != nil {
		p.warn(refused)
	}
	if err := routes.sync(); err != nil {
		return nil, err
	}
	job := o.Progress.Transfer(progress.Task{
		Name: "deduplicating", Description: "Sharing files of both stores", Steps: int64(len(work)), Bytes: total,
	})
	defer job.Stop()
	if err = p.run(ctx, job, work, workers()); err == nil {
		job.Done()
		result.Complete = true
	}
	if result.Saved > 0 && !o.DryRun {
		err = errors.Join(err, routes.sync())
	}
	return result, err
}

// maxWorkers is how many files are compared at a time: more only make a disk
// seek.
const maxWorkers = 8

func workers() int { return min(max(runtime.NumCPU(), 2), maxWorkers) }

// pair is a layer that both stores have.
type pair struct {
	// from and to are its IDs in either store.
	from, to string
	diffID   string
	// size is that of the tar stream, -1 when not known.
	size int64
}

// pairs returns the layers of the store to that the store from has too. Where that
// one has a layer several times, the one on top of the same layers is taken: the one
// that a copy between the stores shares its files with already.
func pairs(from, to *cstorage.Store) (list []pair, err error) {
	have, err := from.Layers()
	if err != nil {
		return nil, err
	}
	wanted, err := to.Layers()
	if err != nil {
		return nil, err
	}
	byContent, byChain := map[string]string{}, map[string]string{}
	chain := chains(have)
	for _, l := range have {
		if key := contentKey(l); key != "" {
			byContent[key] = cmp.Or(byContent[key], l.ID)
			byChain[chain(l.ID)] = cmp.Or(byChain[chain(l.ID)], l.ID)
		}
	}
	chain = chains(wanted)
	for _, l := range wanted {
		if id := cmp.Or(byChain[chain(l.ID)], byContent[contentKey(l)]); id != "" {
			list = append(list, pair{from: id, to: l.ID, diffID: cmp.Or(l.DiffID, l.TOCDigest), size: l.Size})
		}
	}
	return list, nil
}

// contentKey is equal for layers of equal content, "" where that is unknown.
func contentKey(l cstorage.Layer) string {
	if l.DiffID == "" && l.TOCDigest != "" {
		return "toc " + l.TOCDigest
	}
	return l.DiffID
}

// chains returns a function that identifies a layer, by its ID, with all those below
// it.
func chains(layers []cstorage.Layer) func(id string) string {
	byID, known := map[string]cstorage.Layer{}, map[string]string{}
	for _, l := range layers {
		byID[l.ID] = l
	}
	var chain func(id string) string
	chain = func(id string) string {
		if sum, ok := known[id]; ok || id == "" {
			return sum
		}
		known[id] = id // should it be its own parent
		l := byID[id]
		sum := sha256.Sum256([]byte(chain(l.Parent) + " " + contentKey(l)))
		known[id] = string(sum[:])
		return known[id]
	}
	return chain
}
