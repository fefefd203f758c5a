// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Shadow is a name that means one image in the bootc-owned store, and another for podman
// with that store as an additional image store: podman looks into its own stores first.
type Shadow struct {
	// Name is the full name, ID the image of the bootc-owned store, Runs the other.
	Name, ID, Runs string
}

// FindShadow returns the first of words that is the name of an image in the bootc-owned
// store and of another image in podman's own, nil for none. Words that are no names, and
// stores that cannot be read, count as none.
func FindShadow(o Options, words []string) *Shadow {
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
	for _, word := range words {
		here, err := inv.bootc.LookupMatch(word, inv.shortNames)
		if err != nil || here.Name == "" {
			continue
		}
		there, err := inv.podman.LookupMatch(word, inv.shortNames)
		if err == nil && there.Image.ID != here.Image.ID {
			return &Shadow{Name: there.Name, ID: here.Image.ID, Runs: there.Image.ID}
		}
	}
	return nil
}
