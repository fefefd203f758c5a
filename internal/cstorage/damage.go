// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// ImageError is a problem of one image of a store. The others are as good as before.
type ImageError struct {
	img *Image
	err error
}

func (e *ImageError) Error() string { return e.err.Error() }

func (e *ImageError) Unwrap() error { return e.err }

// LayerError reports that a part of a layer with a record is missing.
type LayerError struct {
	// Layer is the ID of the layer, Part what is missing: TarSplit or another.
	Layer, Part string
	// Empty reports that there is a file, with nothing in it.
	Empty bool
}

func (e *LayerError) Error() string {
	if e.Empty {
		return fmt.Sprintf("%s of layer %q is empty", e.Part, e.Layer)
	}
	return fmt.Sprintf("%s of layer %q is missing", e.Part, e.Layer)
}

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
func (s *Store) Damage(img *Image) error {
	if img.damage != nil && s.layersErr == nil {
		return img.damage
	}
	if img.config == nil && img.configErr == nil && !img.configRead && img.configKey != "" {
		img.configRead = true
		if c, err := img.Config(); err == nil {
			img.config = c
		} else if !errors.Is(err, ErrNotImage) && !errors.Is(err, fs.ErrPermission) {
			img.configErr = err
		}
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
func (s *Store) ImagesWith(layer string) (list []*Image) {
	for _, img := range s.Images {
		if slices.ContainsFunc(s.LayersOf(img), func(l Layer) bool { return l.ID == layer }) {
			list = append(list, img)
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
		l.examined, l.damage = true, &LayerError{Layer: l.ID, Part: directoryPart}
		for _, h := range s.homes {
			if !h.mayHave(l.ID) {
				continue
			}
			l.damage = h.missing(l)
			break
		}
	}
	return l.damage
}

// mayHave tells whether the files of a layer are in a directory of a store, or may be.
func (h *home) mayHave(layer string) bool {
	switch h.driver {
	case "overlay":
		return h.mayHaveDir("overlay/"+layer+"/diff") || h.isAdditional(layer)
	case "vfs":
		return h.mayHaveDir("vfs/dir/" + layer)
	case "btrfs":
		return h.mayHaveDir("btrfs/subvolumes/" + layer)
	}
	return h.driver != "" // zfs has them elsewhere
}

// isAdditional reports whether the files of a layer are in an additional layer store,
// or may be.
func (h *home) isAdditional(layer string) bool {
	_, err := h.stat("overlay/" + layer + "/additionallayer")
	return !isGone(err)
}

// mayHaveDir reports whether a directory of a store is there, or may be.
func (h *home) mayHaveDir(path string) bool {
	st, err := h.stat(path)
	return !isGone(err) && (err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR)
}

// isGone reports whether there is no file, as opposed to one that may not be read.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// stat is stat(2) of a file of a store.
func (h *home) stat(path string) (st unix.Stat_t, err error) {
	f, err := rooted.Open(h.dir, path, unix.O_PATH)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fstat(int(f.Fd()), &st)
}

// missing returns which part of a layer is missing beside its directory, nil for none. A
// file that is empty was not written out when the machine went down.
func (h *home) missing(l *layer) *LayerError {
	var parts []struct{ path, name string }
	if h.driver == "overlay" {
		// The store of an additional layer keeps the rest.
		if h.isAdditional(l.ID) {
			return nil
		}
		// A layer upon this one would be made of the link. The one in overlay/l is
		// made again by podman.
		parts = append(parts, struct{ path, name string }{"overlay/" + l.ID + "/link", linkPart})
		if l.Parent != "" {
			parts = append(parts, struct{ path, name string }{"overlay/" + l.ID + "/lower", lowerPart})
		}
	}
	// Layers without a digest were not made of an archive.
	if l.DiffDigest != "" {
		parts = append(parts, struct{ path, name string }{h.driver + "-layers/" + l.ID + ".tar-split.gz", TarSplit})
	}
	for _, part := range parts {
		st, err := h.stat(part.path)
		if isGone(err) || err == nil && st.Size == 0 {
			return &LayerError{Layer: l.ID, Part: part.name, Empty: err == nil}
		}
	}
	return nil
}
