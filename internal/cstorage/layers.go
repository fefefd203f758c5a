// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
)

// Layer is a record of layers.json, see Layer in the storage library.
type Layer struct {
	ID string `json:"id"`
	// Parent is the ID of the layer below, "" for none.
	Parent string `json:"parent"`
	// DiffID is the digest of the layer's uncompressed tar stream. A layer that was
	// put together from a zstd:chunked blob may have only the digest of the table of
	// contents, TOCDigest.
	DiffID    string `json:"diff-digest"`
	TOCDigest string `json:"toc-digest"`
	// Blob is the digest of the blob that the layer was pulled as, "" when not known.
	Blob string `json:"compressed-diff-digest"`
	// Size is the length of the uncompressed tar stream in bytes, -1 when not known:
	// layers made by other means than unpacking a tar stream are without a size.
	Size int64 `json:"diff-size"`
}

// layer is a record with what was found out about it.
type layer struct {
	Layer
	Flags *layerFlags `json:"flags"`

	// graph is the index of the directory with the record.
	graph int

	state layerState
	// damage is what layerDamage found, once examined.
	examined bool
	damage   *LayerError
	// link is the layer's name in lists of lower layers, once linkRead, "" when not known.
	linkRead bool
	link     string
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

// scan reads what encoding/json would.
func (l *layer) scan(s *scanner) {
	s.object(func(name string) {
		switch name {
		case "id":
			l.ID = s.str()
		case "parent":
			l.Parent = s.str()
		case "diff-digest":
			l.DiffID = s.str()
		case "toc-digest":
			l.TOCDigest = s.str()
		case "compressed-diff-digest":
			l.Blob = s.str()
		case "diff-size":
			l.Size = s.number()
		case "flags":
			if json.Unmarshal([]byte(s.skip()), &l.Flags) != nil {
				s.fail()
			}
		default:
			s.other(name)
		}
	})
}

// readLayers reads the records of layers, from the files of each directory.
func (s *Store) readLayers(files [][]*os.File) {
	for graph, files := range files {
		for _, f := range files {
			var records []layer
			if err := decodeFile(f, &records, list((*layer).scan)); err != nil {
				s.layersErr = cmp.Or(s.layersErr, err)
			} else {
				s.addLayers(graph, records)
			}
		}
	}
}

func (s *Store) addLayers(graph int, records []layer) {
	for i := range records {
		l := &records[i]
		if l.Flags != nil && l.Flags.Incomplete == true {
			continue
		}
		if l.DiffID == "" && l.TOCDigest == "" || l.Size < 0 {
			l.Size = -1
		}
		if _, known := s.layers[l.ID]; !known {
			l.graph = graph
			s.layers[l.ID] = l
		}
	}
}

// Layers returns the layers of the store in the order of their IDs, without those
// that were being made or removed. The error says why they are not all.
func (s *Store) Layers() ([]Layer, error) {
	list := make([]Layer, 0, len(s.layers))
	for _, id := range slices.Sorted(maps.Keys(s.layers)) {
		list = append(list, s.layers[id].Layer)
	}
	return list, s.layersErr
}

// LayersOf returns the layers of an image, lowest first, nil if some are missing.
func (s *Store) LayersOf(img *Image) (list []Layer) {
	for id := img.topLayer; id != ""; {
		l := s.layers[id]
		if l == nil || len(list) > len(s.layers) {
			return nil
		}
		list, id = append(list, l.Layer), l.Parent
	}
	slices.Reverse(list)
	return list
}

// TopLayer is the ID of the topmost layer of an image, "" for an image of no layers.
func (img *Image) TopLayer() string { return img.topLayer }

// DirOf is the directory of the store that has a layer's files, "" if none has.
func (s *Store) DirOf(layer string) string {
	if g := s.graphOf(layer); g != nil {
		return g.Dir.Name()
	}
	return ""
}

// graphOf is the first graph root that has a layer's files, or may have, nil if none has.
func (s *Store) graphOf(layer string) *Graph {
	for _, g := range s.graphs {
		if g.mayHave(layer) {
			return g
		}
	}
	return nil
}

// Graphs returns the directories of the store, in the order of precedence. A layer
// lies in the first that has it.
func (s *Store) Graphs() []*Graph { return s.graphs }

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
		own := l.Size
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
