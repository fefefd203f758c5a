// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// imageError is a problem of one image of a store. The others are as good as before.
type imageError struct {
	img *StoreImage
	err error
}

func (e *imageError) Error() string { return e.err.Error() }

func (e *imageError) Unwrap() error { return e.err }

// Damage is an image of a host that is no good.
type Damage struct {
	// Store is BootcStore or DefaultStore.
	Store StoreName
	Image *StoreImage
	Err   error
}

// LayerError reports that a part of a layer with a record is missing.
type LayerError struct {
	// Layer is the ID of the layer, Part what is missing: TarSplit or another.
	Layer, Part string
}

func (e *LayerError) Error() string { return fmt.Sprintf("%s of layer %q is missing", e.Part, e.Layer) }

// The parts of a layer. Without its tar-split file, an image can be mounted, but podman
// may not be able to copy it: it makes archives with another digest then.
const (
	directoryPart = "directory"
	linkPart      = "link"
	lowerPart     = "list of lower layers"
	TarSplit      = "tar-split file"
)

// Damage tells why an image cannot be used, nil if nothing is known: a record of a
// layer is missing, or a part of a layer (a *LayerError), or the configuration is not
// what it was. podman image exists does not look at the latter two. What may not be read
// is not damaged. A missing tar-split file is reported if nothing else is missing.
func (s *Store) Damage(img *StoreImage) error {
	if img.damage != nil && s.layersErr == nil {
		return img.damage
	}
	if img.configErr != nil {
		return img.configErr
	}
	var found *LayerError
	for _, l := range s.LayersOf(img) {
		err := s.layerDamage(s.layers[l.ID])
		if err != nil && (found == nil || found.Part == TarSplit && err.Part != TarSplit) {
			found = err
		}
	}
	if found == nil {
		return nil
	}
	return found
}

// LayerDamage returns a *LayerError if a part of a layer of the store is missing.
func (s *Store) LayerDamage(id string) error {
	if l := s.layers[id]; l != nil {
		if err := s.layerDamage(l); err != nil {
			return err
		}
	}
	return nil
}

// ImagesWith are the images that a layer is part of.
func (s *Store) ImagesWith(layer string) (list []*StoreImage) {
	for _, img := range s.Images {
		if slices.ContainsFunc(s.LayersOf(img), func(l Layer) bool { return l.ID == layer }) {
			list = append(list, img)
		}
	}
	return list
}

// damaged are the images of a store, nil for none, that Damage tells of.
func (s *Store) damaged(name StoreName) (list []Damage) {
	if s == nil {
		return nil
	}
	for _, img := range s.Images {
		if err := s.Damage(img); err != nil {
			list = append(list, Damage{Store: name, Image: img, Err: err})
		}
	}
	return list
}

// HasFiles tells whether the files of a layer are there, as far as that can be seen.
func (s *Store) HasFiles(layer string) bool {
	l := s.layers[layer]
	return l != nil && s.layerDamage(l) == nil
}

// layerDamage returns what is missing of a layer, as far as that can be seen. It is
// looked for once.
func (s *Store) layerDamage(l *layer) *LayerError {
	if !l.examined {
		l.examined, l.damage = true, &LayerError{l.ID, directoryPart}
		for _, h := range s.homes {
			if !h.mayHave(l.ID) {
				continue
			}
			l.damage = nil
			if part := h.missing(l); part != "" {
				l.damage = &LayerError{l.ID, part}
			}
			break
		}
	}
	return l.damage
}

// mayHave tells whether the files of a layer are in a directory of a store, or may be.
func (h *home) mayHave(layer string) bool {
	var paths []string
	switch h.driver {
	case "overlay":
		// The second names the directory of an additional layer store.
		paths = []string{"overlay/" + layer + "/diff", "overlay/" + layer + "/additionallayer"}
	case "vfs":
		paths = []string{"vfs/dir/" + layer}
	case "btrfs":
		paths = []string{"btrfs/subvolumes/" + layer}
	default: // zfs has them elsewhere
		return h.driver != ""
	}
	return slices.ContainsFunc(paths, h.mayHaveFile)
}

// mayHaveFile reports whether a file of a store is there, or may be.
func (h *home) mayHaveFile(path string) bool {
	f, err := rooted.Open(h.dir, path, unix.O_PATH)
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// missing returns the part of a layer that is missing beside its directory, "" for none.
func (h *home) missing(l *layer) string {
	if h.driver == "overlay" {
		// The store of an additional layer keeps the rest.
		if h.mayHaveFile("overlay/" + l.ID + "/additionallayer") {
			return ""
		}
		// A layer upon this one would be made of the link. The one in overlay/l is
		// made again by podman.
		if !h.mayHaveFile("overlay/" + l.ID + "/link") {
			return linkPart
		}
		if l.Parent != "" && !h.mayHaveFile("overlay/"+l.ID+"/lower") {
			return lowerPart
		}
	}
	// Layers without a digest were not made of an archive.
	if l.DiffDigest != "" && !h.mayHaveFile(h.driver+"-layers/"+l.ID+".tar-split.gz") {
		return TarSplit
	}
	return ""
}
