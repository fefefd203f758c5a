// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

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

// LayerError reports that a part of a layer with a record is missing, or is not that of the
// layer.
type LayerError struct {
	// Layer is the ID of the layer, Part what is missing: TarSplit or another.
	Layer, Part string
	// Empty reports that there is a file, with nothing in it.
	Empty bool
	// Wrong reports that the part does not match the record.
	Wrong bool
}

func (e *LayerError) Error() string {
	switch {
	case e.Empty:
		return fmt.Sprintf("%s of layer %q is empty", e.Part, e.Layer)
	case e.Wrong:
		return fmt.Sprintf("%s of layer %q does not match its parents", e.Part, e.Layer)
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

// Damage returns why an image cannot be used, nil if no reason was found: a record of a
// layer is missing, a part of a layer is missing or wrong (a *LayerError), the
// configuration does not have its digest, or the layers are not those that it names.
// podman image exists looks at the first only. What may not be read is not damaged. A
// missing tar-split file is reported if nothing else is wrong.
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
	layers := s.LayersOf(img)
	var found *LayerError
	for _, l := range layers {
		err := s.layerDamage(s.layers[l.ID])
		if err != nil && (found == nil || found.Part == TarSplit && err.Part != TarSplit) {
			found = err
		}
	}
	if found == nil || found.Part == TarSplit {
		if err := img.otherLayers(layers); err != nil {
			return err
		}
	}
	if found == nil {
		return nil
	}
	return found
}

// otherLayers returns why the layers of an image are not those of its configuration. An
// image without a configuration, or whose configuration names no layers, is not compared,
// nor is a layer without a diff ID.
func (img *Image) otherLayers(layers []Layer) error {
	want := img.config.diffIDs()
	if len(want) == 0 || len(layers) == 0 {
		return nil
	}
	if len(layers) != len(want) {
		return fmt.Errorf("image %q has %d layers, and %d in its configuration", img.ID, len(layers), len(want))
	}
	for i, l := range layers {
		// Both are digests of one algorithm, or they say nothing about each other.
		if have, _, _ := strings.Cut(l.DiffID, ":"); strings.HasPrefix(want[i], have+":") && l.DiffID != want[i] {
			return fmt.Errorf("layer %q has the diff ID %s, and %s in the configuration of image %q", l.ID, l.DiffID, want[i], img.ID)
		}
	}
	return nil
}

// diffIDs are those of the layers, lowest first, nil if there are none.
func (c *Config) diffIDs() []string {
	var rootfs struct {
		DiffIDs []string `json:"diff_ids"`
	}
	if c == nil || json.Unmarshal(c.RootFS, &rootfs) != nil {
		return nil
	}
	return rootfs.DiffIDs
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

// HasFiles reports whether the files of a layer are there, as far as that can be seen.
func (s *Store) HasFiles(layer string) bool {
	l := s.layers[layer]
	return l != nil && s.layerDamage(l) == nil
}

// layerDamage returns what is wrong with a layer, as far as that can be seen. It is
// looked for once.
func (s *Store) layerDamage(l *layer) *LayerError {
	if l.examined {
		return l.damage
	}
	l.examined = true
	g := s.graphOf(l.ID)
	switch {
	case g == nil:
		l.damage = &LayerError{Layer: l.ID, Part: directoryPart}
	case g.isAdditional(l.ID): // its own store has the rest
	default:
		l.damage = g.missing(l)
		if l.damage == nil && s.hasOtherLower(g, l) {
			l.damage = &LayerError{Layer: l.ID, Part: lowerPart, Wrong: true}
		}
	}
	return l.damage
}

// hasOtherLower reports whether a list of lower layers of a layer is not that of its
// parents. The driver writes the link of the parent and then the list of the parent to the
// file lower. Newer versions also write the IDs of the parents to lower-layers, and prefer
// it (getLowerForParent and getLowerLayerIDs in drivers/overlay of the storage library).
// One of two links to a layer is as good as the other. A layer whose parents are not all
// known is not compared.
func (s *Store) hasOtherLower(g *Graph, l *layer) bool {
	parents, missing := s.chain(l.Parent)
	if missing != "" {
		return false
	}
	var ids []string
	for _, parent := range parents {
		ids = append(ids, parent.ID)
	}
	list, err := rooted.ReadFile(g.Dir, g.Driver.Dir(l.ID, "lower-layers"), maxLower)
	if err == nil && strings.TrimSpace(string(list)) != strings.Join(ids, ":") {
		return true
	}
	links, err := g.Lower(l.ID)
	if err != nil {
		return errors.Is(err, errUnlikely)
	}
	for i, parent := range parents {
		link := s.link(parent)
		switch {
		case link == "":
			return false
		case i >= len(links):
			return true
		case links[i] != link && !slices.ContainsFunc(s.graphs, func(g *Graph) bool { return g.Linked(links[i]) == parent.ID }):
			return true
		}
	}
	return len(links) > len(parents)
}

// link is the name of a layer in lists of lower layers, "" when not known.
func (s *Store) link(l *layer) string {
	if !l.linkRead {
		l.linkRead = true
		if g := s.graphOf(l.ID); g != nil && g.Driver == Overlay && !g.isAdditional(l.ID) {
			if link, err := rooted.ReadFile(g.Dir, g.Driver.Dir(l.ID, "link"), maxLower); err == nil && len(link) > 0 {
				l.link = "l/" + strings.TrimSpace(string(link))
			}
		}
	}
	return l.link
}

// mayHave reports whether the files of a layer are in a graph root, or may be.
func (g *Graph) mayHave(layer string) bool {
	files := g.Driver.Files(layer)
	if files == "" {
		return g.Driver != "" // zfs has them elsewhere
	}
	st, err := rooted.Stat(g.Dir, files, 0)
	return !isGone(err) && (err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR) || g.isAdditional(layer)
}

// isAdditional reports whether the files of a layer are in an additional layer store,
// or may be.
func (g *Graph) isAdditional(layer string) bool {
	if g.Driver != Overlay {
		return false
	}
	_, err := rooted.Stat(g.Dir, g.Driver.Dir(layer, "additionallayer"), 0)
	return !isGone(err)
}

// isGone reports whether there is no file, as opposed to one that may not be read.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// missing returns which part of a layer is missing beside its directory, nil for none. A
// file that is empty was not written out when the machine went down.
func (g *Graph) missing(l *layer) *LayerError {
	type part struct{ path, name string }
	var parts []part
	if g.Driver == Overlay {
		// A layer upon this one would be made of the link. The one in overlay/l is
		// made again by podman.
		parts = append(parts, part{g.Driver.Dir(l.ID, "link"), linkPart})
		if l.Parent != "" {
			parts = append(parts, part{g.Driver.Dir(l.ID, "lower"), lowerPart})
		}
	}
	// Layers without a digest were not made of an archive.
	if l.DiffID != "" {
		parts = append(parts, part{g.Driver.layers(l.ID + ".tar-split.gz"), TarSplit})
	}
	for _, p := range parts {
		st, err := rooted.Stat(g.Dir, p.path, 0)
		if isGone(err) || err == nil && st.Size == 0 {
			return &LayerError{Layer: l.ID, Part: p.name, Empty: err == nil}
		}
	}
	return nil
}
