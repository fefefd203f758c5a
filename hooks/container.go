// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

const (
	// maxRecords bounds the files of a store that a hook reads through.
	maxRecords = 64 << 20
	// maxManifest is what podman reads of a manifest.
	maxManifest = 4 << 20
)

var (
	// errForeign says that a container is none of podman's.
	errForeign   = errors.New("not in a containers-storage")
	errNoRecord  = errors.New("no record")
	errUnlikely  = errors.New("not a name that the storage library makes")
	errDiscarded = errors.New("storage driver without lower links")
)

// Image is what a container runs.
type Image struct {
	ID string `json:"id"`
	// Name is what podman was asked for, and Digest that of the manifest. Both
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

// container is what a store knows of a container.
type container struct {
	id, name string
	image    Image
	layer    string
}

// containerRecord is a record of containers.json, see Container in the storage
// library. Metadata is JSON of podman's own.
type containerRecord struct {
	ID       string   `json:"id"`
	Names    []string `json:"names"`
	Image    string   `json:"image"`
	Layer    string   `json:"layer"`
	Metadata string   `json:"metadata"`
}

type containerMetadata struct {
	ImageName string `json:"image-name"`
	Name      string `json:"name"`
}

// imageRecord is a record of images.json.
type imageRecord struct {
	ID     string   `json:"id"`
	Digest string   `json:"digest"`
	Names  []string `json:"names"`
}

// graph is a containers-storage that a container is in.
type graph struct {
	dir    *os.File
	path   string
	driver string
}

// graphOfBundle finds the store by the directory that podman makes for the
// runtime, GRAPHROOT/DRIVER-containers/ID/userdata.
func (v *Invocation) graphOfBundle(bundle, id string) (*graph, error) {
	rest, ok := strings.CutSuffix(filepath.Clean(bundle), "/"+id+"/userdata")
	root, containers := path.Split(rest)
	driver, isContainers := strings.CutSuffix(containers, "-containers")
	if !ok || !isContainers || !filepath.IsAbs(bundle) {
		return nil, fmt.Errorf("bundle %q: %w", bundle, errForeign)
	}
	return v.openGraph(root, driver)
}

// graphOfRoot finds the store, and the layer, by the root directory of a
// container: GRAPHROOT/overlay/LAYER/merged, GRAPHROOT/vfs/dir/LAYER,
// GRAPHROOT/btrfs/subvolumes/LAYER.
func (v *Invocation) graphOfRoot(rootfs string) (g *graph, layer string, err error) {
	parts := strings.Split(filepath.Clean(rootfs), "/")
	n := len(parts)
	if n < 4 || parts[0] != "" {
		return nil, "", fmt.Errorf("root %q: %w", rootfs, errForeign)
	}
	driver, layer := parts[n-3], parts[n-1]
	if layer == "merged" || driver == "zfs" {
		layer = parts[n-2]
	}
	if !slices.Contains([]string{"overlay", "vfs", "btrfs", "zfs"}, driver) || !isLayerID(layer) {
		return nil, "", fmt.Errorf("root %q: %w", rootfs, errForeign)
	}
	g, err = v.openGraph(strings.Join(parts[:n-3], "/"), driver)
	return g, layer, err
}

func (v *Invocation) openGraph(root, driver string) (*graph, error) {
	root = filepath.Clean(root)
	dir, err := v.open(root, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &graph{dir: dir, path: root, driver: driver}, nil
}

func (g *graph) close() { g.dir.Close() }

// is tells whether both are the same directory.
func (g *graph) is(other *graph) bool {
	id, err := rooted.Identify(g.dir)
	otherID, otherErr := rooted.Identify(other.dir)
	return err == nil && otherErr == nil && id == otherID
}

// containerOfRoot finds a container, and its store, by the root directory in its
// configuration.
func (v *Invocation) containerOfRoot(d *document) (*graph, container, error) {
	own, layer, err := v.graphOfRoot(d.rootfs)
	if err != nil {
		return nil, container{}, fmt.Errorf("find its image: %w", err)
	}
	match := func(r containerRecord) bool { return r.Layer == layer }
	c, err := own.container(match)
	if errors.Is(err, errNoRecord) {
		if volatile, ok := v.transientContainer(own, d, match); ok {
			c, err = volatile, nil
		}
	}
	if err != nil {
		own.close()
		return nil, container{}, fmt.Errorf("find its image: %w", err)
	}
	return own, c, nil
}

// isOfImage tells whether a container has an annotation, or could have it, from its
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
		if !isLayerID(c.image.ID) {
			break
		}
		dir, err := rooted.Open(g.dir, g.driver+"-images/"+c.image.ID, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		defer dir.Close()
		return manifestHas(dir, annotation)
	}
	return false, nil
}

// manifestHas tells whether one of the manifests of an image has an annotation.
func manifestHas(dir *os.File, annotation string) (bool, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		// A manifest's key is "manifest", or begins with it; one that has more than
		// letters is in base64.
		key := name
		if encoded, ok := strings.CutPrefix(name, "="); ok {
			decoded, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil {
				continue
			}
			key = string(decoded)
		}
		if !strings.HasPrefix(key, "manifest") {
			continue
		}
		var manifest struct {
			Annotations map[string]string `json:"annotations"`
		}
		content, err := rooted.ReadFile(dir, name, maxManifest)
		if err == nil {
			err = json.Unmarshal(content, &manifest)
		}
		if err != nil {
			return false, fmt.Errorf("read manifest: %w", err)
		}
		if _, ok := manifest.Annotations[annotation]; ok {
			return true, nil
		}
	}
	return false, nil
}

// isLayerID tells whether id is one that the storage library gives layers.
func isLayerID(id string) bool {
	return len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}

// container finds a container by its record, and then what is known of its image
// among the stores, which g is one of.
func (g *graph) container(match func(containerRecord) bool) (container, error) {
	var found containerRecord
	files := []string{"containers.json", "volatile-containers.json"}
	var err error
	for _, file := range files {
		err = findRecord(g.dir, g.driver+"-containers/"+file, &found, func() bool { return match(found) })
		if err == nil {
			return found.container(), nil
		}
		if !errors.Is(err, errNoRecord) {
			break
		}
	}
	return container{}, fmt.Errorf("find container in %q: %w", g.path, err)
}

// transientContainer finds a container of a transient store, transient_store in
// containers-storage.conf(5): its record is below the run root, everything else of it
// below the graph root.
func (v *Invocation) transientContainer(g *graph, d *document, match func(containerRecord) bool) (container, bool) {
	var found containerRecord
	for _, root := range d.runRoots(g.driver) {
		dir, err := v.open(root, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		err = findRecord(dir, g.driver+"-containers/volatile-containers.json", &found, func() bool { return match(found) })
		dir.Close()
		if err == nil {
			return found.container(), true
		}
	}
	return container{}, false
}

func (r containerRecord) container() container {
	c := container{id: r.ID, image: Image{ID: r.Image}, layer: r.Layer}
	var meta containerMetadata
	if json.Unmarshal([]byte(r.Metadata), &meta) == nil {
		c.name, c.image.Name = meta.Name, meta.ImageName
	}
	if c.name == "" && len(r.Names) > 0 {
		c.name = r.Names[0]
	}
	return c
}

// findRecord reads a JSON list into record, one element after the other, until
// it is the wanted one. The library replaces files as a whole; one that it was
// truncated or written in place for is read twice.
func findRecord[T any](dir *os.File, path string, record *T, wanted func() bool) error {
	var err error
	for range 2 {
		var f *os.File
		f, err = rooted.Open(dir, path, unix.O_RDONLY|unix.O_NONBLOCK)
		if errors.Is(err, fs.ErrNotExist) {
			return errNoRecord
		}
		if err != nil {
			return err
		}
		err = scanRecords(f, record, wanted)
		f.Close()
		if err == nil || errors.Is(err, errNoRecord) {
			return err
		}
	}
	return fmt.Errorf("decode %q: %w", path, err)
}

func scanRecords[T any](f *os.File, record *T, wanted func() bool) error {
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(f, maxRecords)))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		if errors.Is(err, io.EOF) {
			return errNoRecord // an empty file is like an empty list
		}
		return errors.New("not a list")
	}
	for dec.More() {
		*record = *new(T)
		if err := dec.Decode(record); err != nil {
			return err
		}
		if wanted() {
			return nil
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	return errNoRecord
}

// stores are those that a container's layers may lie in.
type stores struct {
	all []*graph
	// kinds are by the place of the graph root in the file system.
	kinds map[rooted.ID]StoreKind
}

// openStores opens the store of a container, the bootc-owned one and those of the
// host's configuration, as far as they exist.
func (v *Invocation) openStores(own *graph) *stores {
	s := v.ownAndBootc(own)
	configured, err := storageconf.DefaultStores(v.Root, os.Geteuid())
	if err != nil {
		configured = nil
	}
	for i, path := range configured {
		kind := OtherStore
		if i == 0 {
			kind = DefaultStore
		}
		s.add(v.openHostPath(path), kind)
	}
	return s
}

// ownAndBootc opens the bootc-owned store, if there is one, beside that of a container.
func (v *Invocation) ownAndBootc(own *graph) *stores {
	s := &stores{all: []*graph{own}, kinds: map[rooted.ID]StoreKind{}}
	if located, err := storageconf.Locate(v.Root); err == nil && located.Exists {
		s.add(v.openHostPath(strings.TrimPrefix(located.Path(), strings.TrimSuffix(v.Root, "/"))), BootcStore)
	}
	return s
}

// openHostPath opens a graph root whose links are to be followed in the host's
// root, nil when it cannot be.
func (v *Invocation) openHostPath(path string) *graph {
	dir, err := v.open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	return &graph{dir: dir, path: path, driver: "overlay"}
}

// add adds a store unless it is there already.
func (s *stores) add(g *graph, kind StoreKind) {
	if g == nil {
		return
	}
	id, err := rooted.Identify(g.dir)
	if _, known := s.kinds[id]; known || err != nil {
		g.close()
		return
	}
	s.kinds[id] = kind
	if g.is(s.all[0]) {
		g.close()
		return
	}
	s.all = append(s.all, g)
}

func (s *stores) close() {
	for _, g := range s.all[1:] { // the first is the caller's
		g.close()
	}
}

func (s *stores) kind(g *graph) StoreKind {
	id, _ := rooted.Identify(g.dir)
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

// digest finds the manifest digest of an image, "" when no store tells.
func (s *stores) digest(id string) string {
	for _, g := range s.all {
		var r imageRecord
		if err := findRecord(g.dir, g.driver+"-images/images.json", &r, func() bool { return r.ID == id }); err == nil {
			return r.Digest
		}
	}
	return ""
}

// lower lists the links of the layers below one of the store, from the topmost down,
// that the overlay driver of the storage library keeps: "l/LINK" in its directory of
// this store, or of another one that this one's layers are built upon.
func (g *graph) lower(layer string) ([]string, error) {
	if g.driver != "overlay" {
		return nil, fmt.Errorf("read layers in %q: %w", g.path, errDiscarded)
	}
	if !isLayerID(layer) {
		return nil, fmt.Errorf("read layer %q: %w", layer, errUnlikely)
	}
	lower, err := rooted.ReadFile(g.dir, "overlay/"+layer+"/lower", maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read layer %q: %w", layer, err)
	}
	links := strings.Split(strings.TrimSpace(string(lower)), ":")
	for _, link := range links {
		if name, ok := strings.CutPrefix(link, "l/"); !ok || strings.ContainsAny(name, "/.") || name == "" {
			return nil, fmt.Errorf("read link %q: %w", link, errUnlikely)
		}
	}
	return links, nil
}

// layers lists the layers below one of the store g, from the topmost down, by their
// links or else by what is mounted.
func (s *stores) layers(g *graph, layer string, mounted func(*graph, string) ([]string, error)) ([]Layer, error) {
	links, err := g.lower(layer)
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
			layers[i] = mountedLayer(dir)
		}
	}
	return layers, err
}

// follow finds the layer that a link stands for in the stores that we know of.
func (s *stores) follow(link string) Layer {
	for _, g := range s.all {
		if id := readLayerLink(g.dir, "overlay/"+link); id != "" {
			return Layer{ID: id, Store: s.kind(g), Path: g.path}
		}
	}
	return Layer{Store: OtherStore}
}

// mountedLayer tells which layer a lower directory of a container's mount is, by its
// link or by its own name: GRAPHROOT/overlay/l/LINK or GRAPHROOT/overlay/LAYER/diff.
func mountedLayer(lower string) Layer {
	l := Layer{Store: OtherStore}
	root, rest, ok := strings.Cut(lower, "/overlay/l/")
	if ok {
		f, err := rooted.OpenRoot(root)
		if err != nil {
			return l
		}
		defer f.Close()
		l.ID = readLayerLink(f, "overlay/l/"+rest)
	} else if root, rest, ok = strings.Cut(lower, "/overlay/"); ok {
		if id := strings.TrimSuffix(rest, "/diff"); isLayerID(id) {
			l.ID = id
		}
	}
	if l.ID != "" {
		l.Path = root
	}
	return l
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

// readLayerLink returns the layer of a link to "../LAYER/diff", "" when it is none.
func readLayerLink(dir *os.File, path string) string {
	target := make([]byte, 256)
	n, err := unix.Readlinkat(int(dir.Fd()), path, target)
	if err != nil {
		return ""
	}
	id := strings.TrimSuffix(strings.TrimPrefix(string(target[:n]), "../"), "/diff")
	if !isLayerID(id) {
		return ""
	}
	return id
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
