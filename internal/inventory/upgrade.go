// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// HiddenError says that skopeo, when bootc upgrades a host through the bootc store, does
// not find the image as it is there, because of what podman's own store has.
type HiddenError struct {
	// Name is the full name that skopeo looks for, ID the image of this name in the bootc
	// store.
	Name, ID string
	// Named is that an image of podman's own store has the name.
	Named bool
	// Other is the manifest digest that skopeo finds in podman's own store instead, ""
	// where that has the same image. Same is that only the manifest is another: podman
	// writes a manifest of its own when it copies an image between stores.
	Other string
	Same  bool
}

func (e *HiddenError) Error() string {
	does := "names it"
	switch {
	case e.Same:
		does = "removes it"
	case e.Other != "":
		does = "takes the name from it"
	}
	return fmt.Sprintf("%s; %q %s", e.What(), e.Fix(), does)
}

// What is the reason without the command that removes it.
func (e *HiddenError) What() string {
	const own = "podman's own store, where skopeo looks first, has "
	switch {
	case e.Same:
		return own + "this image with another manifest, " + e.Other
	case e.Other != "":
		return own + "another image of this name, " + e.Other
	}
	return own + "this image without the name " + e.Name
}

// Fix is the command that removes the reason.
func (e *HiddenError) Fix() string {
	switch {
	case e.Same:
		return "podman rmi --force " + e.ID
	case e.Other != "":
		return "podman untag " + e.Name + " " + e.Name
	}
	return "podman tag " + e.ID + " " + e.Name
}

// errTagAndDigest says that skopeo reads no name with both.
var errTagAndDigest = errors.New("skopeo refuses a name with a tag and a digest")

// upgradeFinds returns nil if skopeo finds the image of a reference as the bootc store
// has it, with podman's own store and the bootc store as an additional image store. own is
// podman's own store without additional ones, nil for none. The error is a *HiddenError
// where podman's own store is the reason.
//
// A name is looked for in podman's own store first. Where it is in the additional store
// only, it counts unless podman's own store has a record with the ID of the image:
// go.podman.io/storage, (*store).Image. A name with a digest is then any image with this
// digest that has a name of the same repository, podman's own store first:
// go.podman.io/image, (*storageReference).resolveImage. What is read of the image comes
// from the first store that has its ID.
func upgradeFinds(bootc, own *cstorage.Store, image host.ImageReference) error {
	parsed, err := cstorage.ParseName(image.Name)
	if err != nil {
		return err
	}
	if parsed.Tag != "" && parsed.Digest != "" {
		return errTagAndDigest
	}
	full, err := StoredName(image)
	if err != nil {
		return err
	}
	name := full.String()
	img := bootc.Named(name)
	if img == nil && full.Digest != "" {
		img = bootc.ByFullName(full)
	}
	if img == nil {
		return fmt.Errorf("the bootc store has no image of the name %s", name)
	}
	// Of a name with a digest, the bootc store's own record will do.
	if full.Digest != "" {
		return nil
	}
	var found *cstorage.Image
	hidden := &HiddenError{Name: name, ID: img.ID}
	if own != nil {
		found = own.Named(name)
		if hidden.Named = found != nil; !hidden.Named {
			found = own.ByID(img.ID)
		}
	}
	switch {
	case found == nil && img.Shown() != img.Digest:
		return fmt.Errorf("its manifest is the one that podman wrote when it copied the image, %s", img.Shown())
	case found == nil:
		return nil
	case found.ID != img.ID || found.Shown() != img.Digest:
		hidden.Other, hidden.Same = found.Shown(), found.ID == img.ID
		return hidden
	case !hidden.Named:
		return hidden
	}
	return nil
}

// hidingSince is the release of skopeo since which an image without the name hides the
// one of the additional store: that of version 1.46 of the storage library.
var hidingSince = [2]int{1, 12}

// hides returns whether this host's skopeo is hindered by what podman's own store has.
// Where its version is not known, it is taken for a recent one.
func (inv *inventory) hides(ctx context.Context, e *HiddenError) bool {
	if e.Other != "" {
		return true
	}
	skopeo, err := wrapper.LookPath("skopeo", inv.Env)
	if err != nil {
		return true
	}
	out, err := inv.Runner.Output(ctx, wrapper.Cmd{Path: skopeo, Args: []string{"skopeo", "--version"}, Env: inv.Env})
	if err != nil {
		return true
	}
	var version [2]int
	if _, err := fmt.Sscanf(string(out), "skopeo version %d.%d", &version[0], &version[1]); err != nil {
		return true
	}
	return slices.Compare(version[:], hidingSince[:]) >= 0
}

// UpgradeNames are the names under which skopeo looks for an image when bootc upgrades,
// because the bootc store has it under them, and which no image of podman's own store
// has: those of the origins of the deployments. There are none on composefs hosts.
func (s *Survey) UpgradeNames(id string) (names []string) {
	if s.Host == nil || s.Host.Kind != host.OSTree || s.Bootc == nil {
		return nil
	}
	for _, d := range s.Host.Deployments {
		if d.Image == nil {
			continue
		}
		full, err := StorableName(d.Image.Image)
		name := full.String()
		if err != nil || full.Digest != "" || slices.Contains(names, name) {
			continue
		}
		img := s.Bootc.Named(name)
		if img != nil && img.ID == id && (s.Own == nil || s.Own.Named(name) == nil) {
			names = append(names, name)
		}
	}
	return names
}

// Hidden are the images of the bootc store that deployments follow and that skopeo does
// not find when bootc upgrades, because of what podman's own store has. There are none on
// composefs hosts, where bootc reads the bootc store by itself.
func (s *Survey) Hidden(h *host.Host) (hidden []*HiddenError) {
	if h == nil || h.Kind != host.OSTree || s.Bootc == nil || s.Own == nil {
		return nil
	}
	for _, d := range h.Deployments {
		if d.Image == nil || !d.Image.Image.NamesInRegistry() {
			continue
		}
		var e *HiddenError
		if errors.As(upgradeFinds(s.Bootc, s.Own, d.Image.Image), &e) && !slices.ContainsFunc(hidden, func(have *HiddenError) bool { return *have == *e }) {
			hidden = append(hidden, e)
		}
	}
	return hidden
}
