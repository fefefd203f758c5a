// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package diskuse measures what the stores of a host take on the disk. Extents that files
// share, in one store or between stores, are counted once, by their places on the disk.
//
// It reads directories, the status of files and where their extents are, but no content. It
// follows no link, crosses no mount point, and writes nothing.
package diskuse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Report is what the stores of a host take on the disk. Its JSON form is described by
// docs/df-v1.schema.json.
type Report struct {
	// Schema is the version of the JSON form.
	Schema int `json:"schema"`
	// Extents is false where extents were not read, so that what shared ones take is not
	// known.
	Extents bool `json:"extents"`
	// Stores are those that exist.
	Stores []Store `json:"stores"`
	// Total counts what several stores share once.
	Total       Size         `json:"total"`
	Filesystems []Filesystem `json:"filesystems"`
	// Problems are what could not be read, so that the rest may be incomplete.
	Problems []string `json:"problems"`
}

// Store is what one store takes.
type Store struct {
	Store inventory.StoreName `json:"store"`
	Paths []string            `json:"paths"`
	Size
	// Estimate is true if what can be freed is an upper bound.
	Estimate bool `json:"estimate"`
}

// Size is what files take, in bytes. A pointer is nil where the number is not known.
type Size struct {
	// Files are regular files, links and others, but not directories; hard links to a file
	// are one.
	Files int64 `json:"files"`
	// Logical is the size of the content, Allocated what stat(2) reports in blocks of each
	// file, with directories: shared extents count in each file.
	Logical   int64 `json:"logical_bytes"`
	Allocated int64 `json:"allocated_bytes"`
	// Disk is what is taken of the disk: each extent counts once.
	Disk *int64 `json:"disk_bytes"`
	// Shared is the part of Disk that belongs to several files, of whatever place, SharedStores
	// that of which another store has a part.
	Shared       *int64 `json:"shared_bytes"`
	SharedStores *int64 `json:"shared_with_stores_bytes"`
	// Compressed is the size before compression of what the filesystem compressed, of which
	// the size on the disk is not known: Disk is an upper bound if it is not 0.
	Compressed int64 `json:"compressed_bytes"`
	// Reclaimable is what removing the images that nothing needs would free, Upgrade what
	// bootc's next cleanup frees.
	Reclaimable *int64 `json:"reclaimable_bytes"`
	Upgrade     *int64 `json:"reclaimable_at_upgrade_bytes"`
}

// Filesystem is one that stores lie on.
type Filesystem struct {
	inventory.Filesystem
	Stores []inventory.StoreName `json:"stores"`
}

// Options say what to measure.
type Options struct {
	inventory.Options
	// Needs is what the host needs, nil if that could not be determined: what can be freed is
	// not known then.
	Needs *inventory.Needs
	// NoExtents leaves out the extents.
	NoExtents bool
}

// place is a store to be measured.
type place struct {
	name  inventory.StoreName
	dirs  []*os.File
	known bool // what can be freed
	// estimate is that this is an upper bound.
	estimate bool
}

// Read measures the stores of a host. Problems are what could not be read; the report is nil
// where there is no host to describe: inventory.ErrNotOnHost, the errors of
// storageconf.Locate, and that of ctx.
func Read(ctx context.Context, o Options) (*Report, []error) {
	if o.Sysroot.Running != "" && wrapper.InContainer(o.Sysroot.Running, o.Env) != "" {
		return nil, []error{fmt.Errorf("measure stores: %w", inventory.ErrNotOnHost)}
	}
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if errors.Is(err, storageconf.ErrNotBootcHost) || located.Physical == "" {
		return nil, []error{err}
	}
	m := &measure{Options: o}
	m.problem(err)
	defer m.close()
	m.open(located, err == nil)
	m.walker = newWalker(len(m.places), !o.NoExtents)
	m.decide()
	for i := range m.places {
		m.places[i].dirs = slices.DeleteFunc(m.places[i].dirs, func(dir *os.File) bool { return !m.add(i, dir) })
	}
	if err := m.walker.run(ctx); err != nil {
		return nil, []error{fmt.Errorf("measure stores: %w", err)}
	}
	m.problems = append(m.problems, m.walker.errors()...)
	return m.report(), m.problems
}

// measure is one run of Read.
type measure struct {
	Options
	places   []place
	walker   *walker
	opened   []*os.File
	problems []error
	// fates are the classes of the layers of the bootc store by their paths below a graph
	// root; unneeded objects of the repository have the class repo.
	fates map[string]int
	repo  int
}

func (m *measure) problem(err error) {
	if err != nil {
		m.problems = append(m.problems, err)
	}
}

func (m *measure) close() {
	for _, dir := range m.opened {
		dir.Close()
	}
}

// open opens the directories of all stores that exist.
func (m *measure) open(located storageconf.Store, bootc bool) {
	add := func(name inventory.StoreName, dirs ...*os.File) {
		m.opened = append(m.opened, dirs...)
		if len(dirs) > 0 {
			m.places = append(m.places, place{name: name, dirs: dirs})
		}
	}
	phys, err := located.OpenPhysical()
	if err != nil {
		m.problem(fmt.Errorf("open sysroot: %w", err))
	} else {
		defer phys.Close()
		add(inventory.OSTreeStore, m.openAll(phys, "ostree/repo")...)
		add(inventory.ComposefsStore, m.openAll(phys, "composefs")...)
	}
	if bootc && located.Exists {
		dir, err := located.Open()
		if err != nil {
			m.problem(fmt.Errorf("open bootc-owned store: %w", err))
		} else {
			add(inventory.BootcStore, dir)
		}
	}
	own, err := storageconf.OwnStores(m.Root, m.Euid)
	m.problem(err)
	root, err := rooted.OpenRoot(m.Root)
	if err != nil {
		m.problem(err)
		return
	}
	defer root.Close()
	add(inventory.DefaultStore, m.openAll(root, own...)...)
}

// openAll opens those directories below root that exist.
func (m *measure) openAll(root *os.File, paths ...string) (dirs []*os.File) {
	for _, path := range paths {
		dir, err := rooted.Open(root, path, unix.O_RDONLY|unix.O_DIRECTORY)
		switch {
		case err == nil:
			dirs = append(dirs, dir)
		case !errors.Is(err, fs.ErrNotExist):
			m.problem(err)
		}
	}
	return dirs
}

// decide determines what nothing needs, and what bootc's next cleanup removes.
func (m *measure) decide() {
	if m.Needs == nil {
		return
	}
	forecast, problems := m.Needs.Forecast()
	m.problems = append(m.problems, problems...)
	for i := range m.places {
		p := &m.places[i]
		switch p.name {
		case inventory.BootcStore:
			p.known = m.Needs.Bootc != nil
		case inventory.OSTreeStore:
			p.known = forecast.Kind == host.OSTree && forecast.CollectsRefs
			p.estimate = p.known
		}
	}
	if len(forecast.Refs)+len(forecast.Layers) > 0 {
		m.repo = unneeded | removed
	}
	if m.Needs.Bootc == nil {
		return
	}
	fates := map[string]int{}
	for _, u := range forecast.Unneeded {
		fates[u.ID] |= unneeded
	}
	for _, d := range forecast.Images {
		fates[d.ID] |= removed
	}
	m.fates = map[string]int{}
	layers := map[string]int{}
	for _, img := range m.Needs.Bootc.Images {
		fate := fates[img.ID]
		for _, l := range m.Needs.Bootc.LayersOf(img) {
			if before, met := layers[l.ID]; met {
				layers[l.ID] = before & fate
			} else {
				layers[l.ID] = fate
			}
		}
	}
	for id, fate := range layers {
		for _, g := range m.Needs.Bootc.Graphs() {
			m.fates[g.Driver.Dir(id)] = fate
		}
	}
}

// add adds a directory of a store to the walk, and reports whether it is new: both stores
// may be one.
func (m *measure) add(store int, dir *os.File) bool {
	base := store * classes
	d := directory{top: dir, class: base}
	switch m.places[store].name {
	case inventory.BootcStore:
		d.classOf = func(path string, _ *unix.Statx_t) (int, bool) {
			fate, ok := m.fates[path]
			return base + fate, ok
		}
	case inventory.OSTreeStore:
		// An object that no deployment has checked out has one name. Deployments do not
		// have files that a layer replaces or removes, though their image needs them.
		d.classOf = func(at string, st *unix.Statx_t) (int, bool) {
			return base + m.repo, st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 && path.Ext(at) == ".file" && strings.HasPrefix(at, "objects/")
		}
	}
	return m.walker.add(d)
}

// report makes the report of what was counted.
func (m *measure) report() *Report {
	n := len(m.places)
	r := &Report{Schema: 1, Extents: !m.NoExtents, Stores: []Store{}, Filesystems: m.filesystems(), Problems: []string{}}
	disk := make([]counts, 0, len(m.walker.known))
	units := make([]int64, 0, len(m.walker.known))
	for _, f := range m.walker.known {
		disk = append(disk, count(f.classes))
		units = append(units, int64(f.unit))
	}
	blocks := func(of func(counts) int64) (bytes int64) {
		for i, c := range disk {
			bytes += of(c) * units[i]
		}
		return bytes
	}
	size := func(store int, known bool, has func(class int) bool) (s Size) {
		var rest int64
		var free [2]int64
		for class, sum := range m.walker.sums {
			if !has(class) {
				continue
			}
			s.Files, s.Logical = s.Files+sum.files, s.Logical+sum.logical
			s.Allocated, s.Compressed = s.Allocated+sum.allocated, s.Compressed+sum.compressed
			rest += sum.rest
			for when := range free {
				if class>>when&1 != 0 {
					free[when] += sum.rest
				}
			}
		}
		if !m.NoExtents {
			s.Disk = new(rest + blocks(func(c counts) int64 { return c.disk[store] }))
			s.Shared = new(blocks(func(c counts) int64 { return c.shared[store] }))
			s.SharedStores = new(blocks(func(c counts) int64 { return c.between[store] }))
		}
		if known {
			s.Reclaimable = new(free[0] + blocks(func(c counts) int64 { return c.freed[0][store] }))
			s.Upgrade = new(free[1] + blocks(func(c counts) int64 { return c.freed[1][store] }))
		}
		return s
	}
	known := false
	for i, p := range m.places {
		if len(p.dirs) == 0 {
			continue
		}
		s := Store{Store: p.name, Estimate: p.estimate}
		for _, dir := range p.dirs {
			s.Paths = append(s.Paths, dir.Name())
		}
		s.Size = size(i, p.known, func(class int) bool { return class/classes == i })
		r.Stores = append(r.Stores, s)
		known = known || p.known
	}
	r.Total = size(n, known, func(int) bool { return true })
	for _, err := range m.problems {
		r.Problems = append(r.Problems, err.Error())
	}
	return r
}

// filesystems returns what the stores lie on.
func (m *measure) filesystems() (list []Filesystem) {
	list = []Filesystem{}
	index := map[string]int{}
	for _, p := range m.places {
		for _, dir := range p.dirs {
			st, err := statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH)
			if err != nil {
				continue
			}
			key, _ := identify(int(dir.Fd()), idOf(&st).Dev)
			i, met := index[key]
			if !met {
				fs, err := inventory.FilesystemOf(dir)
				if err != nil {
					m.problem(err)
					continue
				}
				i, index[key] = len(list), len(list)
				list = append(list, Filesystem{Filesystem: *fs})
			}
			if !slices.Contains(list[i].Stores, p.name) {
				list[i].Stores = append(list[i].Stores, p.name)
			}
		}
	}
	return list
}
