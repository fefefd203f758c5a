// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package cstorage reads what a containers-storage holds, without podman and
// without the storage library's store object, which takes locks and writes.
//
// It opens files for reading only, so it works on a read-only mount and for any
// user whom the file modes allow. No lock is needed: the storage library
// replaces images.json and layers.json by rename, so each is a snapshot.
package cstorage

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

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

// Image is one record of images.json.
type Image struct {
	// ID is the digest of the image configuration in hex, mostly.
	ID string
	// Names are normalised references, with a tag or a digest each.
	Names []string
	// Digest is the manifest digest that podman shows, "" when none is recorded.
	Digest string
	// Digests are all manifest digests, Digest among them; an image pulled by a
	// manifest list has that of the list, too.
	Digests []string
	// Created is when the image was built.
	Created time.Time
	// Size is what podman images shows: the bytes of all layers, uncompressed,
	// and of the big data items (manifests, configuration, signatures). It is
	// -1 when not known.
	Size int64
	// Written is the digest of the manifest that was written last.
	Written string

	// home is nil for an image that is none of a containers-storage.
	home     *home
	topLayer string
	// configKey names the big data item with the configuration, "" where only the
	// manifest tells. config is its content, nil if it was not read or there is none.
	configKey string
	config    *Config
	// bigData holds the size of each item.
	bigData int64
	// damage is why the layers of the image are no good, configErr why its
	// configuration is, once configRead.
	damage, configErr error
	configRead        bool
}

// Dir is the directory of the store that the image is in.
func (img *Image) Dir() string { return img.home.dir.Name() }

// Store is what a store held when it was read.
type Store struct {
	// Images are in the order of the directories, and in each of images.json, the
	// oldest record first.
	Images []*Image

	homes  []*home
	layers map[string]*layer
	// unreadable says why Images or layers are not all there is.
	imagesErr, layersErr error
	byID, byName         map[string]*Image
	byDigest             map[string][]*Image
}

// home is a directory of a store. driver is the storage driver, "" for a
// directory that is no store yet.
type home struct {
	dir    *os.File
	driver string
}

// layer is a record of layers.json, see Layer in the storage library.
type layer struct {
	ID         string      `json:"id"`
	Parent     string      `json:"parent"`
	DiffDigest string      `json:"diff-digest"`
	Blob       string      `json:"compressed-diff-digest"`
	TOCDigest  string      `json:"toc-digest"`
	DiffSize   int64       `json:"diff-size"`
	Flags      *layerFlags `json:"flags"`

	state layerState
	// damage is what layerDamage found, once examined.
	examined bool
	damage   *LayerError
	// sum is the size of the layer and all below it, -1 when not known.
	sum int64
	err error
}

// layerFlags are the flags that matter here. A layer that is incomplete was
// being made or removed when its writer died, or still is.
type layerFlags struct {
	Incomplete any `json:"incomplete"`
}

type layerState uint8

const (
	unseen layerState = iota
	visiting
	summed
)

// record is a record of images.json, see Image in the storage library.
type record struct {
	ID             string            `json:"id"`
	Digest         string            `json:"digest"`
	Names          []string          `json:"names"`
	TopLayer       string            `json:"layer"`
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
			imageFiles[i], err = openRegular(dir, driver+"-images/images.json")
		}
		s.imagesErr = cmp.Or(s.imagesErr, err)
		s.homes = append(s.homes, &home{dir: dir, driver: driver})
	}
	var layerFiles []*os.File
	for _, h := range s.homes {
		if h.driver == "" {
			continue
		}
		files, err := openAll(h.dir, h.driver+"-layers/layers.json", h.driver+"-layers/volatile-layers.json")
		layerFiles = append(layerFiles, files...)
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
			s.imagesErr = cmp.Or(s.imagesErr, decodeFile(f, &records[i]))
		}
	}
	<-layersDone
	problems := append(some(s.imagesErr), some(s.layersErr)...)
	if s.imagesErr != nil {
		return s, problems
	}
	for i, h := range s.homes {
		problems = append(problems, s.addImages(h, records[i])...)
	}
	return s, problems
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
	for _, h := range s.homes {
		h.dir.Close()
	}
}

// Blobs are the digests of what the layers of the store were made from, as manifests
// name them.
func (s *Store) Blobs() map[string]bool {
	blobs := make(map[string]bool, 2*len(s.layers))
	for _, l := range s.layers {
		blobs[l.Blob], blobs[l.DiffDigest] = true, true
	}
	return blobs
}

// Err is why some or all images of the store, or their sizes, are not known.
func (s *Store) Err() error { return cmp.Or(s.imagesErr, s.layersErr) }

// Path is the first directory of the store.
func (s *Store) Path() string { return s.homes[0].dir.Name() }

func some(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// findDriver returns the storage driver by the directory <driver>-images, "" if
// there is none.
func findDriver(dir *os.File) (string, error) {
	// What an earlier driver left is mostly empty.
	for _, records := range []string{"-images/images.json", "-images"} {
		for _, driver := range []string{"overlay", "btrfs", "zfs", "vfs"} {
			f, err := rooted.Open(dir, driver+records, unix.O_PATH)
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
		err = &fs.PathError{Op: "open", Path: f.Name(), Err: errors.New("not a regular file")}
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
		if openErr != nil && err == nil {
			err = openErr
		}
		if f != nil {
			files = append(files, f)
		}
	}
	return files, err
}

// readAll reads f, which it closes, up to limit bytes.
func readAll(f *os.File, limit int64) ([]byte, error) {
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("%d bytes are more than the limit of %d", fi.Size(), limit)}
	}
	content := make([]byte, fi.Size())
	n, err := io.ReadFull(f, content)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return content[:n], err
}

// decodeFile decodes a JSON file, which it closes, into v. An empty file is like
// an empty list to the storage library.
func decodeFile(f *os.File, v any) error {
	content, err := readAll(f, maxJSON)
	if err != nil || len(content) == 0 {
		return err
	}
	err = json.Unmarshal(content, v)
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

func (s *Store) readLayers(files []*os.File) {
	for _, f := range files {
		var records []layer
		if err := decodeFile(f, &records); err != nil {
			if s.layersErr == nil {
				s.layersErr = err
			}
			continue
		}
		for i := range records {
			l := &records[i]
			if l.Flags != nil && l.Flags.Incomplete == true {
				continue
			}
			if _, known := s.layers[l.ID]; !known {
				s.layers[l.ID] = l
			}
		}
	}
}

// addImages fills in the images of a directory and tells what is wrong with them.
// Those of directories before it take precedence.
func (s *Store) addImages(h *home, records []record) (problems []error) {
	for i := range records {
		r := &records[i]
		img := &Image{ID: r.ID, Names: r.Names, Digest: r.Digest, Created: r.Created, home: h, topLayer: r.TopLayer, Written: r.BigDataDigests[manifestKey]}
		img.Digests = manifestDigests(r)
		if key := "sha256:" + r.ID; r.BigDataDigests[key] == key {
			img.configKey = key
		}
		if img.Digest == "" && len(img.Digests) > 0 {
			img.Digest = img.Digests[0]
		}
		s.add(img)
		var err error
		if img.Size, err = s.size(img, r); err != nil {
			img.damage = err
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
		if other != nil && other.home != img.home {
			continue
		}
		if other != nil && other != img {
			other.Names = slices.DeleteFunc(other.Names, func(n string) bool { return n == name })
		}
		s.byName[name] = img
	}
	s.Images = append(s.Images, img)
	if other := s.byID[img.ID]; other == nil || other.home == img.home {
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

// size is the size of an image as the storage library computes it (ImageSize),
// -1 when not known.
func (s *Store) size(img *Image, r *record) (int64, error) {
	for _, name := range r.BigDataNames {
		size, known := r.BigDataSizes[name]
		if !known {
			// Records of old versions of the library are without sizes.
			var err error
			if size, err = img.blobSize(name); err != nil {
				return -1, err
			}
		}
		img.bigData += size
	}
	var sum int64
	if img.topLayer != "" {
		var err error
		if sum, err = s.chainSize(img.topLayer); sum < 0 {
			return -1, err
		}
	}
	// Copies of the top layer for other user namespaces have the same parent.
	for _, id := range r.MappedLayers {
		l, ok := s.layers[id]
		if !ok {
			return -1, fmt.Errorf("layer %q is missing", id)
		}
		if id == img.topLayer {
			continue
		}
		own := l.size()
		if own < 0 {
			return -1, nil
		}
		sum += own
	}
	return sum + img.bigData, nil
}

// size is the number of bytes of the layer's own tar stream, -1 when not known:
// layers made by other means than unpacking a tar stream are without a size.
func (l *layer) size() int64 {
	if l.DiffDigest == "" && l.TOCDigest == "" {
		return -1
	}
	return max(l.DiffSize, -1)
}

// chainSize is the size of a layer and of all below it, -1 when not known. The
// error says that a layer is missing, or that the layers go round in circles.
// Sums are remembered in the layers, so that images of common descent cost no
// more than their own layers.
func (s *Store) chainSize(top string) (int64, error) {
	var path []*layer
	var sum int64
	var err error
	for id := top; id != ""; {
		l, ok := s.layers[id]
		if !ok {
			sum, err = -1, fmt.Errorf("layer %q is missing", id)
			break
		}
		if l.state == visiting {
			sum, err = -1, fmt.Errorf("layer %q is its own parent", id)
			break
		}
		if l.state == summed {
			sum, err = l.sum, l.err
			break
		}
		l.state = visiting
		path = append(path, l)
		id = l.Parent
	}
	for _, l := range slices.Backward(path) {
		own := l.size()
		if sum >= 0 && own >= 0 {
			sum += own
		} else {
			sum = -1
		}
		// podman takes such an image for corrupted.
		if err == nil && own < 0 && l.TOCDigest == "" {
			err = fmt.Errorf("size of layer %q is not recorded", l.ID)
		}
		l.state, l.sum, l.err = summed, sum, err
	}
	return sum, err
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
		sum += max(l.size(), 0)
	}
	for _, img := range s.Images {
		sum += img.bigData
	}
	return sum
}

// Config is the part of an image configuration that is of use here, in the
// words of the OCI image specification.
type Config struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Config       struct {
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
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

// Config reads the configuration of the image. The error is ErrNotImage for a
// manifest list, and for an image of Docker's first schema, which has none.
func (img *Image) Config() (*Config, error) {
	key := img.configKey
	if key == "" {
		m, err := img.manifest()
		if err != nil {
			return nil, err
		}
		key = m.Config.Digest
		if m.isList() || key == "" {
			return nil, fmt.Errorf("read configuration of image %q: %w", img.ID, ErrNotImage)
		}
	}
	blob, err := img.blob(key)
	if err != nil {
		return nil, fmt.Errorf("read configuration of image %q: %w", img.ID, err)
	}
	if want, ok := strings.CutPrefix(key, "sha256:"); ok {
		if sum := sha256.Sum256(blob); hex.EncodeToString(sum[:]) != want {
			return nil, fmt.Errorf("read configuration of image %q: content does not match digest %s", img.ID, key)
		}
	}
	c := &Config{}
	if err := json.Unmarshal(blob, c); err != nil {
		return nil, fmt.Errorf("decode configuration of image %q: %w", img.ID, err)
	}
	return c, nil
}

// Architecture is that of the configuration, "" where it was not read.
func (img *Image) Architecture() string {
	if img.config == nil {
		return ""
	}
	return img.config.Architecture
}

// Shown is the digest of the manifest that skopeo reads of an image when its name has
// no digest.
func (img *Image) Shown() string {
	if img.Written != "" {
		return img.Written
	}
	return img.Digest
}

// Annotations of the manifest of an image that was exported from elsewhere: the
// digest of the manifest it had there, and that of its configuration here. Images
// built upon it inherit annotations, but have configurations of their own.
const (
	OriginalDigest = "io.bootc-podman.original-digest"
	ExportedConfig = "io.bootc-podman.exported-config"
)

// Has returns whether img has a manifest digest.
func (img *Image) Has(digest string) bool { return slices.Contains(img.Digests, digest) }

// Is tells whether img has a manifest digest, or is the same image exported, whose
// digest is another.
func (img *Image) Is(digest string) bool {
	if slices.Contains(img.Digests, digest) {
		return true
	}
	annotations := img.Annotations()
	return digest != "" && annotations[OriginalDigest] == digest && annotations[ExportedConfig] == "sha256:"+img.ID
}

// Annotations are those of the image's manifest, as far as it can be read.
func (img *Image) Annotations() map[string]string {
	blob, err := img.blob(manifestKey)
	if err != nil {
		return nil
	}
	var m struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(blob, &m) != nil {
		return nil
	}
	return m.Annotations
}

// manifest is an image manifest or a manifest list, of either the OCI or the
// Docker kind.
type manifest struct {
	SchemaVersion int    `json:"schemaVersion"`
	MediaType     string `json:"mediaType"`
	Config        struct {
		Digest string `json:"digest"`
	} `json:"config"`
	Manifests []struct {
		Digest   string    `json:"digest"`
		Platform *platform `json:"platform"`
	} `json:"manifests"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
}

func (m *manifest) isList() bool {
	switch m.MediaType {
	case "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json":
		return true
	// The OCI specification does not ask for a media type.
	case "":
		return m.Config.Digest == "" && m.Manifests != nil
	default:
		return false
	}
}

// isImage tells whether podman can read it as the manifest of an image. Docker's
// first schema has no configuration blob.
func (m *manifest) isImage() bool {
	return m.Config.Digest != "" || m.SchemaVersion == 1
}

// manifest reads the manifest of an image that was written last.
func (img *Image) manifest() (*manifest, error) {
	return img.manifestAt(manifestKey)
}

func (img *Image) manifestAt(key string) (*manifest, error) {
	blob, err := img.blob(key)
	if err != nil {
		return nil, fmt.Errorf("read manifest of image %q: %w", img.ID, err)
	}
	m := &manifest{}
	if err := json.Unmarshal(blob, m); err != nil {
		return nil, fmt.Errorf("decode manifest of image %q: %w", img.ID, err)
	}
	return m, nil
}

// blob reads a big data item of the image.
func (img *Image) blob(key string) ([]byte, error) {
	if img.home == nil {
		return nil, fs.ErrNotExist
	}
	path, err := BigDataPath(img.home.driver, img.ID, key)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(img.home.dir, path)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(img.home.dir.Name(), path), Err: fs.ErrNotExist}
	}
	return readAll(f, maxBlob)
}

// blobSize is the size of a big data item of the image.
func (img *Image) blobSize(key string) (int64, error) {
	path, err := BigDataPath(img.home.driver, img.ID, key)
	if err != nil {
		return 0, err
	}
	f, err := rooted.Open(img.home.dir, path, unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// BigDataPath returns the file of a big data item of an image, below the graph root of a
// store with that driver: the storage library encodes keys with other characters than
// lower case letters, digits and the full stop (makeBigDataBaseName in its store.go).
func BigDataPath(driver, id, key string) (string, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsRune(id, '/') {
		return "", fmt.Errorf("image ID %q cannot be a file name", id)
	}
	plain := func(r rune) bool { return r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' }
	if strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }) {
		key = "=" + base64.StdEncoding.EncodeToString([]byte(key))
	}
	return filepath.Join(driver+"-images", id, key), nil
}
