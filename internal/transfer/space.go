// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// demand is how many bytes are written to a directory at least, which need not exist yet.
type demand struct {
	// what is what they are there, for messages.
	what, dir string
	bytes     int64
}

// filesystem describes a filesystem. Two with the same id are the
// same.
type filesystem struct {
	id, mountpoint string
	free           uint64
}

// checkSpace refuses to do what would not fit.
func (o Options) checkSpace(what string, needs ...demand) error {
	if o.Force {
		return nil
	}
	return fit(what, needs, filesystemOf)
}

// fit compares needs with the filesystems of their directories. Those that lie on the
// same filesystem are summed.
func fit(what string, needs []demand, of func(dir string) (filesystem, error)) error {
	type total struct {
		filesystem
		bytes int64
		whats []string
	}
	var totals []*total
	for _, n := range needs {
		if n.bytes <= 0 {
			continue
		}
		on, err := of(n.dir)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(totals, func(d *total) bool { return d.id == on.id })
		if i < 0 {
			i = len(totals)
			totals = append(totals, &total{filesystem: on})
		}
		d := totals[i]
		d.bytes, d.free, d.whats = d.bytes+n.bytes, min(d.free, on.free), append(d.whats, n.what)
	}
	for _, d := range totals {
		if uint64(d.bytes) > d.free {
			return &SpaceError{d.mountpoint, fmt.Errorf("%s: %w: %d bytes are needed on %s, for %s, and %d are free",
				what, ErrNoSpace, d.bytes, d.mountpoint, strings.Join(d.whats, " and "), d.free)}
		}
	}
	return nil
}

// SpaceError is ErrNoSpace, or clonejob.ErrNoSpace, with the mount point of the filesystem
// that has not enough space.
type SpaceError struct {
	Mountpoint string
	Err        error
}

func (e *SpaceError) Error() string { return e.Err.Error() }

// Unwrap returns the error without the mount point.
func (e *SpaceError) Unwrap() error { return e.Err }

// full adds the mount point of the place to an error about its full filesystem.
func (p *place) full(err error) error {
	if !errors.Is(err, clonejob.ErrNoSpace) {
		return err
	}
	to, destErr := p.destination()
	if destErr != nil {
		return err
	}
	on, statErr := filesystemOf(to.Dir)
	if statErr != nil {
		return err
	}
	return &SpaceError{on.mountpoint, err}
}

// openNearest opens a directory or, where it does not exist, the nearest one above it.
func openNearest(dir string, flags int) (*os.File, error) {
	for {
		f, err := os.OpenFile(dir, flags|unix.O_DIRECTORY, 0)
		if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent
			continue
		}
		return f, err
	}
}

// filesystemOf looks at the filesystem that a directory lies on, or will.
func filesystemOf(dir string) (filesystem, error) {
	f, err := openNearest(dir, unix.O_PATH)
	if err != nil {
		return filesystem{}, err
	}
	defer f.Close()
	fs, err := inventory.FilesystemOf(f)
	if err != nil {
		return filesystem{}, err
	}
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return filesystem{}, fmt.Errorf("look at filesystem of %q: %w", f.Name(), err)
	}
	// Subvolumes of Btrfs have numbers of their own, except in the mount table.
	on := filesystem{id: fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), mountpoint: f.Name(), free: fs.Free}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return uint64(m.ID) != st.Mnt_id, false })
	if err == nil && len(mounts) == 1 {
		on.id, on.mountpoint = fmt.Sprintf("%d:%d", mounts[0].Major, mounts[0].Minor), mounts[0].Mountpoint
	}
	return on, nil
}

// sharing reports whether a file in one directory can share extents with one in another,
// either of which need not exist.
func sharing(from, to string) inventory.Capability {
	var devices [2]uint64
	var systems [2]*inventory.Filesystem
	for i, dir := range []string{from, to} {
		f, err := openNearest(dir, unix.O_RDONLY)
		if err != nil {
			return inventory.Unknown
		}
		defer f.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return inventory.Unknown
		}
		if systems[i], err = inventory.FilesystemOf(f); err != nil {
			return inventory.Unknown
		}
		devices[i] = st.Dev
	}
	switch {
	case devices[0] == devices[1]:
		return systems[1].Reflink
	case systems[0].Type == "btrfs" && systems[1].Type == "btrfs":
		return inventory.Unknown // they may be subvolumes of one
	}
	return inventory.No
}

// podmanNeeds are those of a copy by podman.
func (a *arrival) podmanNeeds(ctx context.Context, to plan.Destination, layers []host.Descriptor) []demand {
	bytes := to.Missing(layers)
	return []demand{{to.Name, to.Dir, bytes}, a.to.spoolNeed(ctx, bytes)}
}

// checkAll refuses copies that would not fit together; podman has the temporary files of
// one at a time. What they are cloned or copied by is seen with each.
func (o *Options) checkAll(ctx context.Context, to plan.Destination, at *place, sources []plan.Held) error {
	if len(sources) < 2 {
		return nil
	}
	counted := map[string]bool{}
	var bytes, most int64
	for _, from := range sources {
		if o.Method != plan.ByPodman {
			bytes += to.Written(from, sharing, counted)
			continue
		}
		bytes += to.Written(from, func(_, _ string) inventory.Capability { return inventory.No }, counted)
		most = max(most, to.Missing(plan.Descriptors(from.Store, from.Image)))
	}
	return o.checkSpace(fmt.Sprintf("copy %d images to %s", len(sources), to.Name), demand{to.Name, to.Dir, bytes}, at.spoolNeed(ctx, most))
}

// spoolNeed is that of podman, which has layers in temporary files before it has them
// in a store.
func (p *place) spoolNeed(ctx context.Context, bytes int64) demand {
	dir := p.TmpDir(ctx)
	return demand{"podman's temporary files in " + dir.String(), dir.Path, bytes}
}

// checkPlan refuses a plan that would not fit, as far as that is known beforehand. An
// export by podman is checked once its layers are known.
func (o *Options) checkPlan(ctx context.Context, into *place, p *plan.Plan) error {
	if p.Write == nil || p.Method == plan.Reexport {
		return nil
	}
	to, err := into.destination()
	if err != nil {
		return err
	}
	return o.checkSpace(fmt.Sprintf("bring %s into %s", p.Name, to.Name), demand{to.Name, to.Dir, *p.Write}, into.spoolNeed(ctx, p.Spooled))
}

// checkDamage refuses a plan that would share a damaged layer, before anything is
// changed. What an export consists of is not known before it is read.
func (o *Options) checkDamage(v *plan.View, into *place, p *plan.Plan) error {
	var layers []host.Descriptor
	switch {
	case p.Method == plan.Pull, isClonedOut(p), p.Assembly != nil:
		layers = p.Layers
	case (p.Method == plan.Clone || p.Method == plan.Copy) && p.Source == plan.FromDefault:
		img, err := v.Default.Lookup(p.Take, o.shortNames)
		if err != nil {
			return err
		}
		layers = plan.Descriptors(v.Default, img)
	default:
		return nil
	}
	to, err := into.destination()
	if err != nil {
		return err
	}
	return to.Damaged(fmt.Sprintf("bring %s into %s", p.Name, to.Name), layers, p.Method == plan.Clone, p.Discards...)
}

// exportedBytes is the sum of the sizes of the files in the layers of an image in the
// ostree repository, by its commit. The files are not read.
func (o Options) exportedBytes(ctx context.Context, checksum string) (n int64, err error) {
	repo, err := o.Sysroot.OpenRepo()
	if err != nil {
		return 0, err
	}
	defer repo.Close()
	image, err := export.Open(ctx, repo, checksum)
	if err != nil {
		return 0, err
	}
	return image.FileBytes(ctx)
}
