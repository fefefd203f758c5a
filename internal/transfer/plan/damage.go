// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// DamagedError reports a layer of the destination that is damaged, and that the image
// would share: podman looks at its record only. It is a clonejob.ErrDamaged.
type DamagedError struct {
	// What names the copy and its destination, "" where the error it is a part of does;
	// Bootc reports that this is the bootc-owned store.
	What  string
	Bootc bool
	// verified reports that the image, of the ID image, came there all the same, and was
	// removed again, unless it was there before under another name.
	verified bool
	image    string
	// Err is a *cstorage.LayerError, Users are the images that have the layer.
	Err   error
	Users []*cstorage.Image
}

func (e *DamagedError) Error() string {
	text := e.Err.Error()
	if e.What != "" {
		text = fmt.Sprintf("%s: %v there", e.What, e.Err)
	}
	var names []string
	for _, img := range e.Users {
		names = append(names, imageLabel(img))
	}
	switch {
	case len(names) > 1:
		return fmt.Sprintf("%s, and the images %s have the layer", text, strings.Join(names, ", "))
	case len(names) == 1:
		return fmt.Sprintf("%s, and the image %s has the layer", text, names[0])
	case e.verified:
		return text
	}
	return text + ", and no image has the layer"
}

// Unwrap is what errors.Is and errors.As look at.
func (e *DamagedError) Unwrap() []error { return []error{clonejob.ErrDamaged, e.Err} }

// Advice is what to do about it.
func (e *DamagedError) Advice() string {
	command, check := []string{"podman", "image", "rm"}, "podman system check --repair"
	if e.Bootc {
		command, check = []string{"bootc-podman", "image", "rm"}, "bootc-podman exec -- podman system check --repair"
	}
	switch {
	case len(e.Users) == 0 && e.verified:
		return fmt.Sprintf("run this again; if it fails in the same way, run %q before", wrapper.Quote(append(command, e.image)...))
	case len(e.Users) == 0:
		return fmt.Sprintf("a clone makes the layer again (--method auto or clone), or %q of podman 5 or later removes it", check)
	}
	for _, img := range e.Users {
		if len(img.Names) == 0 {
			command = append(command, img.ID)
		}
		command = append(command, img.Names...)
	}
	advice := fmt.Sprintf("%q removes the damaged layer; then run this again, and bring back these images", wrapper.Quote(command...))
	// repair refuses a layer that several images have.
	if e.Bootc && len(e.Users) == 1 && len(e.Users[0].Names) > 0 {
		advice = fmt.Sprintf("%q brings that image again, or ", wrapper.Quote("bootc-podman", "repair", e.Users[0].Names[0])) + advice
	}
	return advice
}

// Whole returns why an image that was brought into a store cannot be used, a
// *DamagedError if podman took a damaged layer of the store for a good one. bootc reports
// that it is the bootc-owned store.
func Whole(store *cstorage.Store, bootc bool, img *cstorage.Image) error {
	err := store.Damage(img)
	var layer *cstorage.LayerError
	if !errors.As(err, &layer) {
		return err
	}
	users := slices.DeleteFunc(store.ImagesWith(layer.Layer), func(other *cstorage.Image) bool { return other.ID == img.ID })
	return &DamagedError{Bootc: bootc, verified: true, image: img.ID, Err: err, Users: users}
}

// imageLabel names an image for people.
func imageLabel(img *cstorage.Image) string {
	if len(img.Names) == 0 {
		return fmt.Sprintf("%.12s", img.ID)
	}
	return img.Names[0]
}

// Damaged returns a *DamagedError for the lowest layer of an image that a destination
// has, and that is damaged there. cloned reports that a clone is to be made, which makes
// a layer again that no image has. Images that are removed before are in without.
func (d Destination) Damaged(what string, layers []host.Descriptor, cloned bool, without ...string) error {
	if d.Store == nil {
		return nil
	}
	stored, _ := d.Store.Layers()
	below := map[string]bool{"": true}
	for _, wanted := range layers {
		above := map[string]bool{}
		for _, l := range stored {
			if wanted.Digest == "" || !below[l.Parent] || l.Blob != wanted.Digest && l.DiffID != wanted.Digest {
				continue
			}
			above[l.ID] = true
			err := d.Store.LayerDamage(l.ID)
			if err == nil {
				continue
			}
			all := d.Store.ImagesWith(l.ID)
			users := slices.DeleteFunc(slices.Clone(all), func(img *cstorage.Image) bool { return slices.Contains(without, img.ID) })
			// What is removed with its last image is no longer there.
			if len(users) > 0 || len(all) == 0 && !cloned {
				return &DamagedError{What: what, Bootc: d.Bootc, Err: err, Users: users}
			}
		}
		below = above
	}
	return nil
}

// OnlyTarSplit reports that nothing but a tar-split file is missing, without which podman
// may still be able to copy an image; with an empty one it is not.
func OnlyTarSplit(damage error) bool {
	var layer *cstorage.LayerError
	return errors.As(damage, &layer) && layer.Part == cstorage.TarSplit && !layer.Empty
}
