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

	// damage is what layerDamage found, once examined.
	examined bool
	damage   *LayerError
	// link is the layer's name in lists of lower layers, once linkRead, "" when not known.
	linkRead bool
	link     string
	// sum is the size of the layer and all below it once summed, -1 when not known. visited
	// is set before those below are looked at.
	sum             int64
	err             error
	visited, summed bool
}

// layerFlags are the flags that matter here. A layer that is incomplete was
// being made or removed when its writer died, or still is.
type layerFlags struct {
	Incomplete any `json:"incomplete"`
}

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
			s.incomplete = append(s.incomplete, l.ID)
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
	chain, missing := s.chain(img.topLayer)
	if missing != "" {
		return nil
	}
	for _, l := range slices.Backward(chain) {
		list = append(list, l.Layer)
	}
	return list
}

// chain returns a layer and those below it, topmost first, as far as they have records.
// missing is the ID of the first that has none, or that is below itself.
func (s *Store) chain(top string) (chain []*layer, missing string) {
	for id := top; id != ""; id = chain[len(chain)-1].Parent {
		if s.layers[id] == nil || len(chain) >= len(s.layers) {
			return chain, id
		}
		chain = append(chain, s.layers[id])
	}
	return chain, ""
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
	if top == "" {
		return 0, nil
	}
	l := s.layers[top]
	switch {
	case l == nil:
		return -1, fmt.Errorf("layer %q is missing", top)
	case !l.visited:
		l.visited = true
		l.sum, l.err = s.chainSize(l.Parent)
		if l.sum >= 0 && l.Size >= 0 {
			l.sum += l.Size
		} else {
			l.sum = -1
		}
		// podman takes such an image for corrupted.
		if l.err == nil && l.Size < 0 && l.TOCDigest == "" {
			l.err = fmt.Errorf("size of layer %q is not recorded", l.ID)
		}
		l.summed = true
	case !l.summed:
		return -1, fmt.Errorf("layer %q is its own parent", l.ID)
	}
	return l.sum, l.err
}
