// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// DamagedError reports a layer of the destination that is damaged, and that the image
// would share: podman looks at its record only. It is a clonejob.ErrDamaged.
type DamagedError struct {
	// what names the copy and its destination, "" where the error it is a part of does;
	// bootc reports that this is the bootc-owned store.
	what  string
	bootc bool
	// verified reports that the image, of the ID image, came there all the same, and was
	// removed again, unless it was there before under another name.
	verified bool
	image    string
	// err is a *cstorage.LayerError, users are the images that have the layer.
	err   error
	users []*cstorage.Image
}

func (e *DamagedError) Error() string {
	text := e.err.Error()
	if e.what != "" {
		text = fmt.Sprintf("%s: %v there", e.what, e.err)
	}
	var names []string
	for _, img := range e.users {
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
func (e *DamagedError) Unwrap() []error { return []error{clonejob.ErrDamaged, e.err} }

// Advice is what to do about it.
func (e *DamagedError) Advice() string {
	command, check := []string{"podman", "image", "rm"}, "podman system check --repair"
	if e.bootc {
		command, check = []string{"bootc-podman", "image", "rm"}, "bootc-podman exec -- podman system check --repair"
	}
	switch {
	case len(e.users) == 0 && e.verified:
		return fmt.Sprintf("run this again; if it fails in the same way, run %q before", wrapper.Quote(append(command, e.image)...))
	case len(e.users) == 0:
		return fmt.Sprintf("a clone makes the layer again (--method auto or clone), or %q of podman 5 or later removes it", check)
	}
	for _, img := range e.users {
		if len(img.Names) == 0 {
			command = append(command, img.ID)
		}
		command = append(command, img.Names...)
	}
	return fmt.Sprintf("%q removes the damaged layer; then run this again, and bring back these images", wrapper.Quote(command...))
}

// verifyWhole returns why an image that was brought into a store cannot be used, a
// *DamagedError if podman took a damaged layer of the store for a good one. bootc reports
// that it is the bootc-owned store.
func verifyWhole(store *cstorage.Store, bootc bool, img *cstorage.Image) error {
	err := store.Damage(img)
	var layer *cstorage.LayerError
	if !errors.As(err, &layer) {
		return err
	}
	users := slices.DeleteFunc(store.ImagesWith(layer.Layer), func(other *cstorage.Image) bool { return other.ID == img.ID })
	return &DamagedError{bootc: bootc, verified: true, image: img.ID, err: err, users: users}
}

// imageLabel names an image for people.
func imageLabel(img *cstorage.Image) string {
	if len(img.Names) == 0 {
		return fmt.Sprintf("%.12s", img.ID)
	}
	return img.Names[0]
}

// damaged returns a *DamagedError for the lowest layer of an image that a destination
// has, and that is damaged there. cloned reports that a clone is to be made, which makes
// a layer again that no image has. Images that are removed before are in without.
func (d destination) damaged(what string, layers []host.Descriptor, cloned bool, without ...string) error {
	if d.store == nil {
		return nil
	}
	stored, _ := d.store.Layers()
	below := map[string]bool{"": true}
	for _, wanted := range layers {
		above := map[string]bool{}
		for _, l := range stored {
			if wanted.Digest == "" || !below[l.Parent] || l.Blob != wanted.Digest && l.DiffID != wanted.Digest {
				continue
			}
			above[l.ID] = true
			err := d.store.LayerDamage(l.ID)
			if err == nil {
				continue
			}
			all := d.store.ImagesWith(l.ID)
			users := slices.DeleteFunc(slices.Clone(all), func(img *cstorage.Image) bool { return slices.Contains(without, img.ID) })
			// What is removed with its last image is no longer there.
			if len(users) > 0 || len(all) == 0 && !cloned {
				return &DamagedError{what: what, bootc: d.bootc, err: err, users: users}
			}
		}
		below = above
	}
	return nil
}

// discardDamaged removes an image from the bootc-owned store that is to come there again,
// if it is damaged there. It returns the names, besides as, that it had. Where another
// image has a damaged layer, or podman could not give it its names again, nothing is
// removed, and the error is a *DamagedError.
func (o Options) discardDamaged(ctx context.Context, session *wrapper.Session, img *cstorage.Image, as string) (names []string, err error) {
	to, done, err := o.openBootcDestination()
	if err != nil || to.store == nil {
		return nil, err
	}
	defer done()
	own := to.store.ByID(img.ID)
	if own == nil {
		return nil, nil
	}
	damage := to.store.Damage(own)
	if damage == nil {
		return nil, nil
	}
	what := fmt.Sprintf("copy %s to %s", as, to.name)
	for _, l := range to.store.LayersOf(own) {
		err, users := to.store.LayerDamage(l.ID), to.store.ImagesWith(l.ID)
		if err != nil && len(users) > 1 {
			return nil, &DamagedError{what: what, bootc: true, err: err, users: users}
		}
	}
	for _, name := range own.Names {
		switch {
		case name == as:
		case strings.Contains(name, "@"):
			return nil, &DamagedError{what: what, bootc: true, err: damage, users: []*cstorage.Image{own}}
		default:
			names = append(names, name)
		}
	}
	o.Events.Damaged(inventory.Damage{Store: inventory.BootcStore, Image: own, Err: damage})
	return names, o.bootcImage(ctx, session, "rm", "--force", own.ID)
}

// bootcImage runs "podman image" on the bootc-owned store.
func (o Options) bootcImage(ctx context.Context, session *wrapper.Session, args ...string) error {
	cmd, err := session.Podman(ctx, append([]string{"image"}, args...)...)
	if err != nil {
		return err
	}
	cmd.Stderr = o.Stderr
	return session.Run(ctx, cmd)
}

// checkDamage refuses a plan that would share a damaged layer, before anything is
// changed. What an export consists of is not known before it is read.
func (o Options) checkDamage(p *Plan) error {
	var layers []host.Descriptor
	switch p.Method {
	case Pull:
		layers = p.layers
	case Clone, Copy:
		if p.Source != FromDefault {
			return nil
		}
		from, img, err := o.inDefaultStore(p.Take)
		if err != nil {
			return err
		}
		defer from.Close()
		layers = descriptors(from, img)
	default:
		return nil
	}
	to, done, err := o.openBootcDestination()
	if err != nil {
		return err
	}
	defer done()
	return to.damaged(fmt.Sprintf("bring %s into %s", p.Name, to.name), layers, p.Method == Clone, p.Discards...)
}

// onlyTarSplit reports that nothing but a tar-split file is missing, without which podman
// may still be able to copy an image; with an empty one it is not.
func onlyTarSplit(damage error) bool {
	var layer *cstorage.LayerError
	return errors.As(damage, &layer) && layer.Part == cstorage.TarSplit && !layer.Empty
}
