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

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// demand is how many bytes come into a directory at least, which need not exist yet.
type demand struct {
	// what is what they are there, for messages.
	what, dir string
	bytes     int64
}

// filesystem is what there is to know of one here. Two with the same id are the
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
			return fmt.Errorf("%s: %w: %d bytes are needed on %s, for %s, and %d are free",
				what, ErrNoSpace, d.bytes, d.mountpoint, strings.Join(d.whats, " and "), d.free)
		}
	}
	return nil
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
	free, err := inventory.FreeOf(f)
	if err != nil {
		return filesystem{}, err
	}
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return filesystem{}, fmt.Errorf("look at filesystem of %q: %w", f.Name(), err)
	}
	// Subvolumes of Btrfs have numbers of their own, except in the mount table.
	on := filesystem{id: fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor), mountpoint: f.Name(), free: free}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return uint64(m.ID) != st.Mnt_id, false })
	if err == nil && len(mounts) == 1 {
		on.id, on.mountpoint = fmt.Sprintf("%d:%d", mounts[0].Major, mounts[0].Minor), mounts[0].Mountpoint
	}
	return on, nil
}

// sharing tells whether a file in one directory can share extents with one in another,
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

// destination is a store that images come into.
type destination struct {
	name, dir string
	// bootc reports that it is the bootc-owned store.
	bootc bool
	// store is what it has, nil for nothing.
	store *cstorage.Store
}

// bootcDestination is the bootc-owned store; store is what was read of it.
func (o Options) bootcDestination(store *cstorage.Store) (destination, error) {
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if err != nil {
		return destination{}, err
	}
	config, err := storageconf.HostConfig(o.Root)
	if err != nil {
		return destination{}, err
	}
	p := destination{name: "the bootc-owned store", bootc: true, dir: located.Path(), store: store}
	if config.ImageStore != "" {
		p.dir = filepath.Join(o.Root, config.ImageStore)
	}
	return p, nil
}

// defaultDestination is podman's own store; store is what was read of it.
func (o Options) defaultDestination(store *cstorage.Store) (destination, error) {
	dirs, err := storageconf.OwnStores(o.Root, o.Euid)
	if err != nil {
		return destination{}, err
	}
	return destination{name: "podman's own store", dir: filepath.Join(o.Root, dirs[0]), store: store}, nil
}

// openBootcDestination reads the bootc-owned store; done closes it.
func (o Options) openBootcDestination() (p destination, done func(), err error) {
	if p, err = o.bootcDestination(nil); err != nil {
		return p, nil, err
	}
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if err != nil {
		return p, nil, err
	}
	var problems []error
	if p.store, problems = inventory.OpenBootcStore(located, o.Root); p.store == nil {
		return p, func() {}, errors.Join(problems...)
	}
	return p, p.store.Close, nil
}

// has reports whether a destination has an image, whole, under a name. ByDigest leaves out
// what is damaged.
func (d destination) has(img *cstorage.Image, name string) bool {
	return d.store != nil && img.Digest != "" && slices.ContainsFunc(d.store.ByDigest(img.Digest), func(own *cstorage.Image) bool {
		return own.ID == img.ID && slices.Contains(own.Names, name)
	})
}

// missing is the sum of the layers' sizes that a destination does not have.
func (d destination) missing(layers []host.Descriptor) int64 {
	return sizes(layers[storedLayers(d.store, layers):])
}

func sizes(layers []host.Descriptor) (n int64) {
	for _, l := range layers {
		n += max(l.Size, 0)
	}
	return n
}

// storedLayers counts the lowest of an image's layers that a store has, each on the
// other: a layer that lies on others is stored again.
func storedLayers(store *cstorage.Store, layers []host.Descriptor) int {
	if store == nil {
		return 0
	}
	stored, _ := store.Layers()
	below := ""
	for n, wanted := range layers {
		i := slices.IndexFunc(stored, func(l cstorage.Layer) bool {
			return wanted.Digest != "" && l.Parent == below && (l.Blob == wanted.Digest || l.DiffID == wanted.Digest)
		})
		if i < 0 || !store.HasFiles(stored[i].ID) {
			return n
		}
		below = stored[i].ID
	}
	return len(layers)
}

// pulled are the sizes in a manifest of the layers that a pull fetches, and of those
// that it, and the clone of a loan before it, write. shared tells whether that clone
// shares extents.
func (d destination) pulled(layers []host.Descriptor, loan *loan, shared inventory.Capability) (fetched, written int64) {
	have := storedLayers(d.store, layers)
	fetched, written = sizes(layers[have:]), sizes(layers[have:])
	if loan != nil && len(loan.blobs) > have {
		fetched = sizes(layers[len(loan.blobs):])
		if shared != inventory.No {
			written = fetched
		}
	}
	return fetched, written
}

// descriptors are the layers of an image in a store.
func descriptors(store *cstorage.Store, img *cstorage.Image) (layers []host.Descriptor) {
	for _, l := range store.LayersOf(img) {
		layers = append(layers, host.Descriptor{Digest: l.DiffID, Size: l.Size})
	}
	return layers
}

// written is the sum of the sizes of the layers of an image that a clone to a
// destination writes: those that it lacks, and whose files cannot share extents with its
// own. An image may have layers of several directories: of an additional image store on
// another filesystem, for example. Where it takes trying to know, a layer is taken to
// share; share is the function sharing. counted, if not nil, has the layers that were
// counted before, and gets those that are now.
func (d destination) written(from source, share func(from, to string) inventory.Capability, counted map[string]bool) (bytes int64) {
	layers := from.store.LayersOf(from.Image)
	shared := map[string]inventory.Capability{}
	for _, l := range layers[storedLayers(d.store, descriptors(from.store, from.Image)):] {
		dir := from.store.DirOf(l.ID)
		if _, known := shared[dir]; !known {
			shared[dir] = share(dir, d.dir)
		}
		if shared[dir] != inventory.No || counted[l.ID] {
			continue
		}
		if bytes += max(l.Size, 0); counted != nil {
			counted[l.ID] = true
		}
	}
	return bytes
}

// copyNeeds are those of a copy between stores, by a clone or by podman.
func (o Options) copyNeeds(ctx context.Context, to destination, from source, cloned bool) []demand {
	if cloned {
		return []demand{{to.name, to.dir, to.written(from, sharing, nil)}}
	}
	return o.podmanNeeds(ctx, to, descriptors(from.store, from.Image))
}

// podmanNeeds are those of a copy by podman.
func (o Options) podmanNeeds(ctx context.Context, to destination, layers []host.Descriptor) []demand {
	bytes := to.missing(layers)
	return []demand{{to.name, to.dir, bytes}, o.spoolNeed(ctx, bytes)}
}

// checkAll refuses copies that would not fit together; podman has the temporary files of
// one at a time. What they are cloned or copied by is seen with each.
func (o Options) checkAll(ctx context.Context, to destination, sources []source) error {
	if len(sources) < 2 {
		return nil
	}
	counted := map[string]bool{}
	var bytes, most int64
	for _, from := range sources {
		if o.Method != ByPodman {
			bytes += to.written(from, sharing, counted)
			continue
		}
		bytes += to.written(from, func(_, _ string) inventory.Capability { return inventory.No }, counted)
		most = max(most, to.missing(descriptors(from.store, from.Image)))
	}
	return o.checkSpace(fmt.Sprintf("copy %d images to %s", len(sources), to.name), demand{to.name, to.dir, bytes}, o.spoolNeed(ctx, most))
}

// spoolNeed is that of podman, which has layers in temporary files before it has them
// in a store.
func (o Options) spoolNeed(ctx context.Context, bytes int64) demand {
	dir, _ := o.tmpDir(ctx)
	return demand{fmt.Sprintf("podman's temporary files in %q", dir), dir, bytes}
}

// checkPlan refuses a plan that would not fit, as far as that is known beforehand. An
// export by podman is checked once its layers are known.
func (o Options) checkPlan(ctx context.Context, p *Plan) error {
	if p.Write == nil || p.Method == Reexport {
		return nil
	}
	to, err := o.bootcDestination(nil)
	if err != nil {
		return err
	}
	return o.checkSpace(fmt.Sprintf("bring %s into %s", p.Name, to.name), demand{to.name, to.dir, *p.Write}, o.spoolNeed(ctx, p.spooled))
}

// exportedBytes is the sum of the sizes of the files in the layers of an image in the
// ostree repository, by its commit. None of them is read.
func (o Options) exportedBytes(ctx context.Context, checksum string) (n int64, err error) {
	repo, err := o.Sysroot.OpenRepo(o.Runner, o.Env)
	if err != nil {
		return 0, err
	}
	defer repo.Close()
	u, err := export.Open(ctx, repo, checksum)
	if err != nil {
		return 0, err
	}
	return u.FileBytes(ctx)
}
