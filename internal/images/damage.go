// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
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

// Damage tells why an image cannot be used, nil if nothing is known: a record of a
// layer is missing, or its directory, or the configuration is not what it was. podman
// image exists does not look at the latter two. What may not be read is not damaged.
func (s *Store) Damage(img *StoreImage) error {
	if img.damage != nil && s.layersErr == nil {
		return img.damage
	}
	if img.configErr != nil {
		return img.configErr
	}
	for id, n := img.topLayer, 0; id != "" && n <= len(s.layers); n++ {
		l := s.layers[id]
		if l == nil {
			break
		}
		if !s.hasDir(l) {
			return fmt.Errorf("directory of layer %q is missing", id)
		}
		id = l.Parent
	}
	return nil
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
	return l != nil && s.hasDir(l)
}

// hasDir tells whether a layer has a directory with its files, as far as that can be
// seen. It is looked for once.
func (s *Store) hasDir(l *layer) bool {
	if l.dir == unknownDir {
		l.dir = missingDir
		for _, h := range s.homes {
			if h.mayHave(l.ID) {
				l.dir = presentDir
				break
			}
		}
	}
	return l.dir == presentDir
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
	for _, path := range paths {
		f, err := storageconf.OpenIn(h.dir, path, unix.O_PATH)
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}
