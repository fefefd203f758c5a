// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"slices"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Shadow is a name of an image in the bootc-owned store by which podman, with that store as
// an additional image store, finds another image or none: podman looks into its own stores
// first, and where these have the image itself, only at the names that they have for it.
type Shadow struct {
	// Name is the full name, ID the image of the bootc-owned store. Runs is the other
	// image, "" for none.
	Name, ID, Runs string
}

// FindShadow returns what is special of a name, nil for nothing. Stores that cannot be read
// have no images.
func FindShadow(o Options, name string) *Shadow {
	inv := newInventory(o)
	defer inv.close()
	located, err := storageconf.Locate(inv.Sysroot.Dir)
	if err != nil {
		return nil
	}
	own, additional, err := storageconf.Stores(o.Root, o.Euid)
	if err != nil {
		return nil
	}
	inv.bootc, _ = openBootcStore(inv.read, located, o.Root)
	inv.podman, _, _ = openDirs(inv.read, o.Root, own, additional)
	if inv.bootc == nil || inv.podman == nil {
		return nil
	}
	here, err := inv.bootc.LookupMatch(name, inv.shortNames)
	if err != nil || here.Name == "" {
		return nil
	}
	there, err := inv.podman.LookupMatch(name, inv.shortNames)
	if err == nil && there.Image.ID != here.Image.ID {
		return &Shadow{Name: there.Name, ID: here.Image.ID, Runs: there.Image.ID}
	}
	// An image that is in several stores has the names of the first.
	if first := inv.podman.ByID(here.Image.ID); first != nil && !slices.Contains(first.Names, here.Name) {
		return &Shadow{Name: here.Name, ID: here.Image.ID}
	}
	return nil
}
