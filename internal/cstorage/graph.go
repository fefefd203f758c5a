// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Limits of what is read.
const (
	// maxStream bounds a list of records that is read one record at a time.
	maxStream = 64 << 20
	// maxLower bounds the list of lower layers of a layer; 500 layers have 14 kB.
	maxLower = 1 << 20
)

// Errors about one record or one layer of a graph root.
var (
	ErrNoRecord = errors.New("no record")
	ErrNoLinks  = errors.New("storage driver without lower links")
	errUnlikely = errors.New("not a name that the storage library makes")
)

// Graph is one of the directories that a store consists of. Its functions read no more
// of a file than the answer takes, as suits a hook, which runs at each start of a
// container.
type Graph struct {
	// Dir is closed with the store.
	Dir *os.File
	// Driver is "" for a directory that podman made nothing in yet.
	Driver Driver
}

// ContainerRecord is a record of containers.json, see Container in the storage library.
// Metadata is JSON of podman's own.
type ContainerRecord struct {
	ID       string   `json:"id"`
	Names    []string `json:"names"`
	Image    string   `json:"image"`
	Layer    string   `json:"layer"`
	Metadata string   `json:"metadata"`
}

// Container is a container of podman's.
type Container struct {
	ID, Name string
	// Image is the ID of the image, and ImageName the name that podman was given, both "" when
	// not known. Layer is the container's own.
	Image, ImageName, Layer string
}

// Container returns the first container whose record matches. The error is ErrNoRecord if
// there is none.
func (g Graph) Container(match func(ContainerRecord) bool) (Container, error) {
	c, err := find(g.Dir, g.Driver.Containers("containers.json"), match)
	if errors.Is(err, ErrNoRecord) {
		return g.VolatileContainer(match)
	}
	return c.container(), err
}

// VolatileContainer is Container for those that end with the boot. In a transient store,
// transient_store in containers-storage.conf(5), their records are below the run root, and
// everything else of them is below the graph root.
func (g Graph) VolatileContainer(match func(ContainerRecord) bool) (Container, error) {
	c, err := find(g.Dir, g.Driver.Containers("volatile-containers.json"), match)
	return c.container(), err
}

// Containers returns all containers of the graph root, those that end with the boot, too,
// where their records are below it.
func (g Graph) Containers() (list []Container, err error) {
	for _, file := range []string{"containers.json", "volatile-containers.json"} {
		_, err := find(g.Dir, g.Driver.Containers(file), func(r ContainerRecord) bool {
			list = append(list, r.container())
			return false
		})
		if !errors.Is(err, ErrNoRecord) {
			return list, err
		}
	}
	return list, nil
}

func (r ContainerRecord) container() Container {
	var meta struct {
		ImageName string `json:"image-name"`
		Name      string `json:"name"`
	}
	_ = json.Unmarshal([]byte(r.Metadata), &meta) // names are not needed
	return Container{ID: r.ID, Name: cmp.Or(meta.Name, cmp.Or(r.Names...)), Image: r.Image, ImageName: meta.ImageName, Layer: r.Layer}
}

// ImageRecord is the part of a record of images.json by which an image is found.
type ImageRecord struct {
	ID     string   `json:"id"`
	Digest string   `json:"digest"`
	Names  []string `json:"names"`
	// TopLayer is the ID of the topmost layer, which another graph root may have.
	TopLayer string `json:"layer"`
}

// Images returns the records of the images of the graph root.
func (g Graph) Images() ([]ImageRecord, error) {
	return readAll(g.Dir, g.Driver.images("images.json"), list((*ImageRecord).scan))
}

// scan reads what encoding/json would.
func (r *ImageRecord) scan(s *scanner) {
	s.object(func(name string) { r.member(s, name) })
}

// member reads one member of a record.
func (r *ImageRecord) member(s *scanner, name string) {
	switch name {
	case "id":
		r.ID = s.str()
	case "digest":
		r.Digest = s.str()
	case "names":
		r.Names = s.strs()
	case "layer":
		r.TopLayer = s.str()
	default:
		s.other(name)
	}
}

// readAll reads a JSON list with scan, nil for a missing file.
func readAll[T any](dir *os.File, path string, scan func(*[]T, *scanner)) (records []T, err error) {
	f, err := openRegular(dir, path)
	if f == nil || err != nil {
		return nil, err
	}
	return records, decodeFile(f, &records, scan)
}

// FindGraph returns the graph root that a directory is. The driver is "" for a directory
// that podman made nothing in yet. dir is not taken over.
func FindGraph(dir *os.File) (Graph, error) {
	driver, err := findDriver(dir)
	return Graph{Dir: dir, Driver: driver}, err
}

// TopForeign returns the ID of the topmost layer of a chain that is in another graph root,
// one of others, and "" for a chain that is all in this one. layer is the top of the chain.
// Layers below one of another graph root are there, too. Of drivers without lower links,
// only the top itself can be determined.
func (g Graph) TopForeign(layer string, others []*Graph) string {
	if !IsID(layer) {
		return ""
	}
	if g.Driver.Dir(layer) == "" || !rooted.Exists(g.Dir, g.Driver.Dir(layer)) {
		for _, other := range others {
			if path := other.Driver.Dir(layer); path != "" && rooted.Exists(other.Dir, path) {
				return layer
			}
		}
		return ""
	}
	links, err := g.Lower(layer)
	if err != nil || len(links) == 0 || g.Linked(links[len(links)-1]) != "" {
		return "" // the lowest is here, and so are those above it
	}
	for _, link := range links {
		if g.Linked(link) != "" {
			continue
		}
		for _, other := range others {
			if id := other.Linked(link); id != "" {
				return id
			}
		}
	}
	return ""
}

// Image returns the first record of an image that matches. The error is ErrNoRecord if
// there is none.
func (g Graph) Image(match func(ImageRecord) bool) (ImageRecord, error) {
	return find(g.Dir, g.Driver.images("images.json"), match)
}

// find reads a JSON list, one element after the other, until one matches. The library
// replaces files as a whole; one that it was truncated or written in place for is read
// twice.
func find[T any](dir *os.File, path string, match func(T) bool) (record T, err error) {
	for range 2 {
		var f *os.File
		if f, err = openRegular(dir, path); err != nil {
			return record, err
		}
		if f == nil {
			return record, ErrNoRecord
		}
		record, err = scan(f, match)
		f.Close()
		if err == nil || errors.Is(err, ErrNoRecord) {
			return record, err
		}
	}
	return record, fmt.Errorf("decode %q: %w", path, err)
}

func scan[T any](f *os.File, match func(T) bool) (none T, err error) {
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(f, maxStream)))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		if errors.Is(err, io.EOF) {
			return none, ErrNoRecord // an empty file is like an empty list
		}
		return none, errors.New("not a list")
	}
	for dec.More() {
		var record T
		if err := dec.Decode(&record); err != nil {
			return none, err
		}
		if match(record) {
			return record, nil
		}
	}
	if _, err := dec.Token(); err != nil {
		return none, err
	}
	return none, ErrNoRecord
}

// HasAnnotation reports whether one of the manifests of an image has an annotation. The
// error is fs.ErrNotExist where the image is not in this directory.
func (g Graph) HasAnnotation(image, annotation string) (bool, error) {
	dir, err := rooted.Open(g.Dir, g.Driver.images(image), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if !strings.HasPrefix(bigDataKey(name), manifestKey) {
			continue
		}
		var m struct {
			Annotations map[string]string `json:"annotations"`
		}
		content, err := rooted.ReadFile(dir, name, maxBlob)
		if err == nil {
			err = json.Unmarshal(content, &m)
		}
		if err != nil {
			return false, fmt.Errorf("read manifest: %w", err)
		}
		if _, ok := m.Annotations[annotation]; ok {
			return true, nil
		}
	}
	return false, nil
}

// bigDataKey returns the key of a file of BigData, "" for another file.
func bigDataKey(file string) string {
	encoded, ok := strings.CutPrefix(file, "=")
	if !ok {
		return file
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	return string(key)
}

// Lower returns the links of the layers below one, the topmost first, as the overlay driver
// writes them: "l/LINK" in the driver's directory of this graph root, or of another one
// that its layers are built upon. The error is ErrNoLinks for other drivers.
func (g Graph) Lower(layer string) ([]string, error) {
	if g.Driver != Overlay {
		return nil, ErrNoLinks
	}
	if !IsID(layer) {
		return nil, fmt.Errorf("read layer %q: %w", layer, errUnlikely)
	}
	lower, err := rooted.ReadFile(g.Dir, g.Driver.Dir(layer, "lower"), maxLower)
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

// Linked returns the layer that a link of Lower stands for, "" if there is no such link
// in this graph root.
func (g Graph) Linked(link string) string {
	return readLink(g.Dir, Overlay.Dir(link))
}

// readLink returns the layer of a link to "../LAYER/diff", "" for any other.
func readLink(dir *os.File, path string) string {
	target := make([]byte, 256)
	n, err := unix.Readlinkat(int(dir.Fd()), path, target)
	if err != nil {
		return ""
	}
	id := strings.TrimSuffix(strings.TrimPrefix(string(target[:n]), "../"), "/diff")
	if !IsID(id) {
		return ""
	}
	return id
}

// MountedLayer returns the layer, and the graph root, of a lower directory of an overlay
// mount: GRAPHROOT/overlay/l/LINK or GRAPHROOT/overlay/LAYER/diff. Both are "" for any
// other.
func MountedLayer(lower string) (layer, graphRoot string) {
	root, link, ok := strings.Cut(lower, "/overlay/l/")
	if ok {
		f, err := rooted.OpenRoot(root)
		if err != nil {
			return "", ""
		}
		defer f.Close()
		layer = Graph{Dir: f}.Linked("l/" + link)
	} else if root, link, ok = strings.Cut(lower, "/overlay/"); ok {
		layer = strings.TrimSuffix(link, "/diff")
	}
	if !IsID(layer) {
		return "", ""
	}
	return layer, root
}
