// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// maxRecords bounds the mount table and other lists of the kernel.
const maxRecords = 64 << 20

// errForeign reports that a container is not podman's.
var errForeign = errors.New("not in a containers-storage")

// Image is what a container runs.
type Image struct {
	ID string `json:"id"`
	// Name is the name that podman was given, and Digest that of the manifest. Both
	// are "" when not known.
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Layer is a layer of an image, and where it lies.
type Layer struct {
	ID    string    `json:"id"`
	Store StoreKind `json:"store"`
	// Path is the graph root it lies in.
	Path string `json:"path"`
}

// StoreKind says whose a store is.
type StoreKind string

// The kinds of stores.
const (
	BootcStore   StoreKind = "bootc"
	DefaultStore StoreKind = "default"
	OtherStore   StoreKind = "other"
)

// graph is a containers-storage that a container is in.
type graph struct {
	cstorage.Graph
	path string
}

// graphOfBundle finds the store by the bundle of a container.
func (v *Invocation) graphOfBundle(bundle, id string) (*graph, error) {
	root, driver, ok := cstorage.ParseBundle(bundle, id)
	if !ok {
		return nil, fmt.Errorf("bundle %q: %w", bundle, errForeign)
	}
	return v.openGraph(root, driver)
}

// graphOfRoot finds the store, and the layer, by the root directory of a container.
func (v *Invocation) graphOfRoot(rootfs string) (g *graph, layer string, err error) {
	root, driver, layer, ok := cstorage.ParseRootfs(rootfs)
	if !ok {
		return nil, "", fmt.Errorf("root %q: %w", rootfs, errForeign)
	}
	g, err = v.openGraph(root, driver)
	return g, layer, err
}

func (v *Invocation) openGraph(root string, driver cstorage.Driver) (*graph, error) {
	root = filepath.Clean(root)
	dir, err := v.open(root, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &graph{cstorage.Graph{Dir: dir, Driver: driver}, root}, nil
}

func (g *graph) close() { g.Dir.Close() }

// containerOfRoot finds a container, and its store, by the root directory in its
// configuration.
func (v *Invocation) containerOfRoot(d *document) (*graph, cstorage.Container, error) {
	own, layer, err := v.graphOfRoot(d.rootfs)
	if err != nil {
		return nil, cstorage.Container{}, fmt.Errorf("find its image: %w", err)
	}
	match := func(r cstorage.ContainerRecord) bool { return r.Layer == layer }
	c, err := own.container(match)
	if errors.Is(err, cstorage.ErrNoRecord) {
		if volatile, ok := v.transientContainer(own, d, match); ok {
			c, err = volatile, nil
		}
	}
	if err != nil {
		own.close()
		return nil, c, fmt.Errorf("find its image: %w", err)
	}
	return own, c, nil
}

// isOfImage reports whether a container has an annotation, or could have it, from its
// image: some releases of podman pass on those of an image's manifest.
func (v *Invocation) isOfImage(d *document, annotation string) (bool, error) {
	own, c, err := v.containerOfRoot(d)
	if errors.Is(err, errForeign) {
		return false, nil // there is none
	}
	if err != nil {
		return false, err
	}
	defer own.close()
	all := v.openStores(own)
	defer all.close()
	for _, g := range all.all {
		if !cstorage.IsID(c.Image) {
			break
		}
		has, err := g.HasAnnotation(c.Image, annotation)
		if !errors.Is(err, fs.ErrNotExist) {
			return has, err
		}
	}
	return false, nil
}

// container finds a container of the store by its record.
func (g *graph) container(match func(cstorage.ContainerRecord) bool) (cstorage.Container, error) {
	c, err := g.Container(match)
	if err != nil {
		err = fmt.Errorf("find container in %q: %w", g.path, err)
	}
	return c, err
}

// transientContainer finds a container of a transient store, whose record is below the
// run root.
func (v *Invocation) transientContainer(g *graph, d *document, match func(cstorage.ContainerRecord) bool) (cstorage.Container, bool) {
	for _, root := range d.runRoots(g.Driver) {
		run, err := v.openGraph(root, g.Driver)
		if err != nil {
			continue
		}
		c, err := run.VolatileContainer(match)
		run.close()
		if err == nil {
			return c, true
		}
	}
	return cstorage.Container{}, false
}

// stores are those that a container's layers may lie in.
type stores struct {
	v   *Invocation
	all []*graph
	// kinds are by the place of the graph root in the file system.
	kinds map[rooted.ID]StoreKind
}

// openStores opens the store of a container, the bootc-owned one and those of the
// host's configuration, as far as they exist.
func (v *Invocation) openStores(own *graph) *stores {
	s := v.ownAndBootc(own)
	configured, _ := storageconf.DefaultStores(v.Root, os.Geteuid())
	for i, path := range configured {
		kind := OtherStore
		if i == 0 {
			kind = DefaultStore
		}
		s.add(path, kind)
	}
	return s
}

// ownAndBootc opens the bootc-owned store, if there is one, beside that of a container.
func (v *Invocation) ownAndBootc(own *graph) *stores {
	s := &stores{v: v, all: []*graph{own}, kinds: map[rooted.ID]StoreKind{}}
	if located, err := storageconf.Locate(v.Root); err == nil && located.Exists {
		s.add(strings.TrimPrefix(located.Path(), strings.TrimSuffix(v.Root, "/")), BootcStore)
	}
	return s
}

// add adds the store with a graph root of the host, if it can be opened and is not there
// already.
func (s *stores) add(path string, kind StoreKind) {
	g, err := s.v.openGraph(path, cstorage.Overlay)
	if err != nil {
		return
	}
	id, err := rooted.Identify(g.Dir)
	_, known := s.kinds[id]
	if !known && err == nil {
		s.kinds[id] = kind
		if own, err := rooted.Identify(s.all[0].Dir); err != nil || own != id {
			s.all = append(s.all, g)
			return
		}
	}
	g.close()
}

func (s *stores) close() {
	for _, g := range s.all[1:] { // the first is the caller's
		g.close()
	}
}

func (s *stores) kind(g *graph) StoreKind {
	id, _ := rooted.Identify(g.Dir)
	if kind, ok := s.kinds[id]; ok {
		return kind
	}
	return OtherStore
}

// bootc is the bootc-owned store, nil when there is none.
func (s *stores) bootc() *graph {
	for _, g := range s.all {
		if s.kind(g) == BootcStore {
			return g
		}
	}
	return nil
}

// digest finds the manifest digest of an image, "" when no store has it.
func (s *stores) digest(id string) string {
	for _, g := range s.all {
		if img, err := g.Image(func(r cstorage.ImageRecord) bool { return r.ID == id }); err == nil {
			return img.Digest
		}
	}
	return ""
}

// layers lists the layers below one of the store g, from the topmost down, by their
// links or else by what is mounted.
func (s *stores) layers(g *graph, layer string, mounted func(*graph, string) ([]string, error)) ([]Layer, error) {
	links, err := g.Lower(layer)
	if errors.Is(err, cstorage.ErrNoLinks) {
		err = fmt.Errorf("read layers in %q: %w", g.path, err)
	}
	if links == nil {
		return nil, err
	}
	var layers []Layer
	for _, link := range links {
		layers = append(layers, s.follow(link))
	}
	if !slices.ContainsFunc(layers, func(l Layer) bool { return l.ID == "" }) {
		return layers, nil
	}
	dirs, err := mounted(g, layer)
	for i, dir := range dirs {
		if i < len(layers) && layers[i].ID == "" {
			layers[i].ID, layers[i].Path = cstorage.MountedLayer(dir)
		}
	}
	return layers, err
}

// follow finds the layer that a link stands for in the open stores.
func (s *stores) follow(link string) Layer {
	for _, g := range s.all {
		if id := g.Linked(link); id != "" {
			return Layer{ID: id, Store: s.kind(g), Path: g.path}
		}
	}
	return Layer{Store: OtherStore}
}

// lowerDirs are the lower directories in the options of an overlay mount, of
// either interface to make one.
func lowerDirs(options string) (dirs []string) {
	for option := range strings.SplitSeq(options, ",") {
		if dir, ok := strings.CutPrefix(option, "lowerdir+="); ok {
			dirs = append(dirs, dir)
		} else if list, ok := strings.CutPrefix(option, "lowerdir="); ok {
			dirs = append(dirs, strings.Split(list, ":")...)
		}
	}
	return dirs
}

// mounts reads the mount table of this process.
func (v *Invocation) mounts() ([]*mountinfo.Info, error) {
	f, err := v.open("proc/self/mountinfo", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.GetMountsFromReader(io.LimitReader(f, maxRecords), nil)
}
