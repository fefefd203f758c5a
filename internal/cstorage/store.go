// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package cstorage reads what a containers-storage holds, without podman and
// without the storage library's store object, which takes locks and writes.
//
// It opens files for reading only, so it works on a read-only mount and for any
// user with permission to read them. No lock is needed: the storage library
// replaces images.json and layers.json by rename, so each is a snapshot.
package cstorage

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

const (
	// maxJSON bounds images.json and layers.json, that of a store with ten
	// thousand images being some 20 MB.
	maxJSON = 512 << 20
	// maxBlob bounds manifests and image configurations; registries refuse
	// manifests of more than 4 MiB.
	maxBlob = 8 << 20
	// manifestKey names the big data item with the manifest written last; other
	// manifests of an image are named "manifest-<digest>".
	manifestKey = "manifest"
)

// ErrNotImage says that an image record has no configuration.
var ErrNotImage = errors.New("no image configuration")

// Store is what a store held when it was read.
type Store struct {
	// Images are in the order of the directories, and in each of images.json, the
	// oldest record first.
	Images []*Image

	graphs []*Graph
	layers map[string]*layer
	// incomplete are the IDs of layers that were being made or removed.
	incomplete []string
	// unreadable says why Images or layers are not all there is.
	imagesErr, layersErr error
	byID, byName         map[string]*Image
	byDigest             map[string][]*Image
}

// record is a record of images.json, see Image in the storage library.
type record struct {
	ImageRecord
	MappedLayers   []string          `json:"mapped-layers"`
	BigDataNames   []string          `json:"big-data-names"`
	BigDataSizes   map[string]int64  `json:"big-data-sizes"`
	BigDataDigests map[string]string `json:"big-data-digests"`
	Created        time.Time         `json:"created"`
}

// Read reads the store whose graph root is the first of dirs; images, and
// layers below theirs, may also be in those that follow, additional image stores
// for example. The store takes over dirs, to be closed with it. A directory that
// podman made nothing in yet is an empty store. Store is never nil; errors name
// the file, or the image, that something is wrong with:
//
//   - no images are there when an images.json cannot be read,
//   - sizes are not known when a layers.json cannot be read,
//   - the size of an image is not known when a layer of it is missing.
func Read(dirs ...*os.File) (*Store, []error) {
	s := newStore()
	// All images are opened before any layers, so that a layer which an image
	// names is there unless it was removed meanwhile.
	imageFiles := make([]*os.File, len(dirs))
	for i, dir := range dirs {
		driver, err := findDriver(dir)
		if err == nil && driver != "" {
			imageFiles[i], err = openRegular(dir, driver.images("images.json"))
		}
		s.imagesErr = cmp.Or(s.imagesErr, err)
		s.graphs = append(s.graphs, &Graph{Dir: dir, Driver: driver})
	}
	layerFiles := make([][]*os.File, len(dirs))
	for i, g := range s.graphs {
		if g.Driver == "" {
			continue
		}
		var err error
		layerFiles[i], err = openAll(g.Dir, g.Driver.layers("layers.json"), g.Driver.layers("volatile-layers.json"))
		s.layersErr = cmp.Or(s.layersErr, err)
	}
	layersDone := make(chan struct{})
	go func() {
		defer close(layersDone)
		s.readLayers(layerFiles)
	}()
	records := make([][]record, len(dirs))
	for i, f := range imageFiles {
		if f != nil {
			s.imagesErr = cmp.Or(s.imagesErr, decodeFile(f, &records[i], list((*record).scan)))
		}
	}
	<-layersDone
	problems := append(some(s.imagesErr), some(s.layersErr)...)
	if s.imagesErr != nil {
		return s, problems
	}
	for i, g := range s.graphs {
		problems = append(problems, s.addImages(g, records[i])...)
		logrus.Debugf("Read containers-storage %q: %d images", g.Dir.Name(), len(records[i]))
	}
	return s, problems
}

// First returns the part of a store that is in the first n of its directories, as Read of
// those would: an image of them whose layers are in another one is damaged. It is nil for
// no directories, and closed with the whole store.
func (s *Store) First(n int) *Store {
	if n == 0 {
		return nil
	}
	part := newStore()
	part.graphs, part.imagesErr, part.layersErr = s.graphs[:n], s.imagesErr, s.layersErr
	for id, l := range s.layers {
		if l.graph < n {
			part.layers[id] = &layer{Layer: l.Layer, graph: l.graph}
		}
	}
	for _, img := range s.Images {
		if slices.Contains(part.graphs, img.graph) {
			own := *img
			own.Size, own.damage = part.size(&own)
			part.add(&own)
		}
	}
	return part
}

// After returns the store as it would be with other names and fewer images, to be looked
// into and not to be closed. change returns the names of an image, and whether it stays.
func (s *Store) After(change func(img *Image) (names []string, stays bool)) *Store {
	after := newStore()
	after.graphs, after.layers, after.imagesErr, after.layersErr = s.graphs, s.layers, s.imagesErr, s.layersErr
	for _, img := range s.Images {
		changed := *img
		names, stays := change(img)
		if changed.Names = slices.Clone(names); stays {
			after.add(&changed)
		}
	}
	return after
}

// New returns a store of images that are in no directory.
func New(images ...*Image) *Store {
	s := newStore()
	for _, img := range images {
		s.add(img)
	}
	return s
}

func newStore() *Store {
	return &Store{
		layers: map[string]*layer{},
		byID:   map[string]*Image{}, byName: map[string]*Image{}, byDigest: map[string][]*Image{},
	}
}

// Close closes the directories of the store.
func (s *Store) Close() {
	for _, g := range s.graphs {
		g.Dir.Close()
	}
}

// Blobs are the digests of what the layers of the store were made from, as manifests
// name them.
func (s *Store) Blobs() map[string]bool {
	blobs := make(map[string]bool, 2*len(s.layers))
	for _, l := range s.layers {
		blobs[l.Blob], blobs[l.DiffID] = true, true
	}
	return blobs
}

// Err is why some or all images of the store, or their sizes, are not known.
func (s *Store) Err() error { return cmp.Or(s.imagesErr, s.layersErr) }

// Path is the first directory of the store.
func (s *Store) Path() string { return s.graphs[0].Dir.Name() }

func some(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// findDriver returns the storage driver by the directory <driver>-images, "" if
// there is none.
func findDriver(dir *os.File) (Driver, error) {
	// What an earlier driver left is mostly empty.
	for _, records := range []string{"-images/images.json", "-images"} {
		for _, driver := range drivers() {
			f, err := rooted.Open(dir, string(driver)+records, unix.O_PATH)
			if err == nil {
				f.Close()
				return driver, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("find image records: %w", err)
			}
		}
	}
	return "", nil
}

// openRegular opens a regular file below dir, nil when it does not exist.
func openRegular(dir *os.File, path string) (*os.File, error) {
	// A FIFO would else be waited for.
	f, err := rooted.Open(dir, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: rooted.ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openAll opens those of the files that exist.
func openAll(dir *os.File, paths ...string) (files []*os.File, err error) {
	for _, path := range paths {
		f, openErr := openRegular(dir, path)
		err = cmp.Or(err, openErr)
		if f != nil {
			files = append(files, f)
		}
	}
	return files, err
}

// scan reads what encoding/json would.
func (r *record) scan(s *scanner) {
	s.object(func(name string) {
		switch name {
		case "mapped-layers":
			r.MappedLayers = s.strs()
		case "big-data-names":
			r.BigDataNames = s.strs()
		case "big-data-sizes":
			members(s, &r.BigDataSizes, s.number)
		case "big-data-digests":
			members(s, &r.BigDataDigests, s.str)
		case "created":
			if r.Created.UnmarshalText([]byte(s.str())) != nil {
				s.fail()
			}
		default:
			r.member(s, name)
		}
	})
}

// decodeFile decodes a JSON file, which it closes, with decode. An empty file is like
// an empty list to the storage library.
func decodeFile[T any](f *os.File, into *T, scan func(*T, *scanner)) error {
	defer f.Close()
	content, err := rooted.ReadRegular(f, maxJSON)
	if err != nil || len(content) == 0 {
		return err
	}
	err = decode(content, into, scan)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("decode %q at byte %d: %w", f.Name(), syntax.Offset, err)
	case errors.As(err, &kind):
		return fmt.Errorf("decode %q at byte %d: %w", f.Name(), kind.Offset, err)
	default:
		return fmt.Errorf("decode %q: %w", f.Name(), err)
	}
}

// addImages fills in the images of a directory and returns what is wrong with them.
// Those of directories before it take precedence.
func (s *Store) addImages(g *Graph, records []record) (problems []error) {
	for i := range records {
		r := &records[i]
		img := &Image{ID: r.ID, Names: r.Names, Digest: r.Digest, Created: r.Created, graph: g, topLayer: r.TopLayer, mapped: r.MappedLayers, Written: r.BigDataDigests[manifestKey]}
		img.Digests = manifestDigests(r)
		if key := "sha256:" + r.ID; r.BigDataDigests[key] == key {
			img.configKey = key
		}
		if img.Digest == "" && len(img.Digests) > 0 {
			img.Digest = img.Digests[0]
		}
		s.add(img)
		if img.bigData, img.damage = img.sumBigData(r); img.damage == nil {
			img.Size, img.damage = s.size(img)
		}
		if err := img.damage; err != nil {
			img.Size = -1
			err = fmt.Errorf("sum up image %q: %w", img.ID, err)
			// That layers.json cannot be read is one problem, not one for each image.
			if s.layersErr == nil {
				problems = append(problems, &ImageError{img, err})
			}
		}
	}
	return problems
}

// add makes an image one of the store, after all that take precedence.
func (s *Store) add(img *Image) {
	for _, name := range img.Names {
		// A name belongs to one image only. Where an interrupted writer left
		// two, the storage library takes it from the first.
		other := s.byName[name]
		if other != nil && other.graph != img.graph {
			continue
		}
		if other != nil && other != img {
			other.Names = slices.DeleteFunc(other.Names, func(n string) bool { return n == name })
		}
		s.byName[name] = img
	}
	s.Images = append(s.Images, img)
	if other := s.byID[img.ID]; other == nil || other.graph == img.graph {
		s.byID[img.ID] = img
	}
	for _, digest := range img.Digests {
		s.byDigest[digest] = append(s.byDigest[digest], img)
	}
}

// manifestDigests lists the digests an image can be found by. The order is that
// of the big data names, with the digest of the record first.
func manifestDigests(r *record) (digests []string) {
	if r.Digest != "" {
		digests = append(digests, r.Digest)
	}
	add := func(name string) {
		if digest := r.BigDataDigests[name]; digest != "" && !slices.Contains(digests, digest) {
			digests = append(digests, digest)
		}
	}
	add(manifestKey)
	for _, name := range r.BigDataNames {
		if strings.HasPrefix(name, manifestKey) {
			add(name)
		}
	}
	return digests
}

// sumBigData is the size of all big data items of an image.
func (img *Image) sumBigData(r *record) (sum int64, err error) {
	for _, name := range r.BigDataNames {
		size, known := r.BigDataSizes[name]
		if !known {
			// Records of old versions of the library are without sizes.
			if size, err = img.blobSize(name); err != nil {
				return sum, err
			}
		}
		sum += size
	}
	return sum, nil
}

// size is the size of an image as the storage library computes it (ImageSize),
// -1 when not known.
func (s *Store) size(img *Image) (int64, error) {
	var sum int64
	if img.topLayer != "" {
		var err error
		if sum, err = s.chainSize(img.topLayer); sum < 0 {
			return -1, err
		}
	}
	// Copies of the top layer for other user namespaces have the same parent.
	for _, id := range img.mapped {
		l, ok := s.layers[id]
		if !ok {
			return -1, fmt.Errorf("layer %q is missing", id)
		}
		if id == img.topLayer {
			continue
		}
		own := l.Size
		if own < 0 {
			return -1, nil
		}
		sum += own
	}
	return sum + img.bigData, nil
}

// Usage is the number of bytes of all layers, uncompressed, and of all big data
// items of images in all directories, each counted once; layers whose size is not known are left
// out. It is -1 when images.json or layers.json could not be read.
func (s *Store) Usage() int64 {
	if s.imagesErr != nil || s.layersErr != nil {
		return -1
	}
	var sum int64
	for _, l := range s.layers {
		sum += max(l.Size, 0)
	}
	for _, img := range s.Images {
		sum += img.bigData
	}
	return sum
}

// ReadConfigs reads the configurations of the images that have a name: an image
// gets it last, when it is made.
func (s *Store) ReadConfigs() (problems []error) {
	errs := make([]error, len(s.Images))
	var wg sync.WaitGroup
	workers := runtime.NumCPU()
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < len(s.Images); i += workers {
				if len(s.Images[i].Names) > 0 {
					s.Images[i].config, errs[i] = s.Images[i].Config()
				}
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case err == nil, errors.Is(err, ErrNotImage):
		case errors.Is(err, fs.ErrPermission):
			problems = append(problems, err)
		default:
			s.Images[i].configErr = err
			problems = append(problems, &ImageError{s.Images[i], err})
		}
	}
	return problems
}
