// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"maps"
	"os"
	"slices"
)

// Layer is a record of layers.json.
type Layer struct {
	ID string
	// Parent is the ID of the layer below, "" for none.
	Parent string
	// DiffID is the digest of the layer's uncompressed tar stream. A layer that was
	// put together from a zstd:chunked blob may have only the digest of the table of
	// contents, TOCDigest.
	DiffID, TOCDigest string
	// Blob is the digest of the blob that the layer was pulled as, "" when not known.
	Blob string
	// Size is the length of the uncompressed tar stream in bytes, -1 when not known.
	Size int64
}

// Layers returns the layers of the store in the order of their IDs, without those
// that were being made or removed. The error says why they are not all.
func (s *Store) Layers() ([]Layer, error) {
	list := make([]Layer, 0, len(s.layers))
	for _, id := range slices.Sorted(maps.Keys(s.layers)) {
		list = append(list, s.layers[id].public())
	}
	return list, s.layersErr
}

func (l *layer) public() Layer {
	return Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffDigest, TOCDigest: l.TOCDigest, Blob: l.Blob, Size: l.size()}
}

// LayersOf returns the layers of an image, lowest first, nil if some are missing.
func (s *Store) LayersOf(img *Image) (list []Layer) {
	for id := img.topLayer; id != ""; {
		l := s.layers[id]
		if l == nil || len(list) > len(s.layers) {
			return nil
		}
		list, id = append(list, l.public()), l.Parent
	}
	slices.Reverse(list)
	return list
}

// DirOf is the directory of the store that has a layer's files, "" if none has.
func (s *Store) DirOf(layer string) string {
	for _, h := range s.homes {
		if h.mayHave(layer) {
			return h.dir.Name()
		}
	}
	return ""
}

// Home is one of the directories that a store consists of.
type Home struct {
	// Dir is closed with the store.
	Dir *os.File
	// Driver is the storage driver, "" for a directory that podman made nothing in
	// yet.
	Driver string
}

// Homes returns the directories of the store, in the order of precedence. A layer
// lies in the first that has it.
func (s *Store) Homes() []Home {
	list := make([]Home, 0, len(s.homes))
	for _, h := range s.homes {
		list = append(list, Home{Dir: h.dir, Driver: h.driver})
	}
	return list
}
