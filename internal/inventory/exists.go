// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Exists reports whether a store has the image that podman would mean by name. In
// the ostree repository, which podman does not read, an image is also found by
// the name it has there ("docker://quay.io/os:42"). A store that does not exist
// has no images; an error means that this could not be determined.
func Exists(_ context.Context, o Options, in StoreName, name string) (bool, error) {
	inv := newInventory(o)
	defer inv.close()
	var problems []error
	switch {
	case in == DefaultStore:
		var own, additional []string
		var err error
		if own, additional, err = storageconf.Stores(o.Root, o.Euid); err != nil {
			return false, err
		}
		inv.podman, _, problems = openDirs(inv.read, o.Root, own, additional)
		return inv.existsIn(inv.podman, problems, name)
	case o.inContainer():
		return false, fmt.Errorf("look into %s store: %w", in, ErrNotOnHost)
	case in == OSTreeStore:
		return inv.existsInRepo(name)
	}
	located, err := storageconf.Locate(inv.Sysroot.Dir)
	if err != nil {
		return false, err
	}
	inv.bootc, problems = openBootcStore(inv.read, located, o.Root)
	return inv.existsIn(inv.bootc, problems, name)
}

// existsIn looks into a store that was read. What is wrong with other images than
// the one asked for does not matter.
func (inv *inventory) existsIn(store *cstorage.Store, problems []error, name string) (bool, error) {
	if store == nil {
		return false, first(problems)
	}
	return store.Exists(name, inv.shortNames)
}

// first is the first of the problems: an error is one line.
func first(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return problems[0]
}

func (inv *inventory) existsInRepo(name string) (bool, error) {
	problems := inv.readRepo()
	wanted, err := host.ParseImageReference(name)
	withTransport := err == nil
	var images []*cstorage.Image
	for _, img := range inv.repo {
		if withTransport && img.Image.Transport == wanted.Transport && fullName(img.Image) == fullName(wanted) {
			return true, nil
		}
		record := &cstorage.Image{
			ID: hexOf(img.Manifest.Config.Digest), Digest: img.ManifestDigest, Digests: []string{img.ManifestDigest},
		}
		if img.Image.NamesInRegistry() {
			record.Names = []string{fullName(img.Image)}
		}
		images = append(images, record)
	}
	if !withTransport {
		_, err = cstorage.New(images...).Lookup(name, inv.shortNames)
		if err == nil || !errors.Is(err, cstorage.ErrNotFound) {
			return err == nil, err
		}
	}
	// A ref that cannot be read may be the one.
	return false, first(problems)
}

// fullName is the name of an image as podman would store it, or as it is where
// podman would not take it.
func fullName(image host.ImageReference) string {
	name, err := StoredName(image)
	if err != nil {
		return image.Name
	}
	return name.String()
}

// StoredName is the name that podman gives an image of this reference in a
// containers-storage: with a registry, and a tag or a digest. The error says that
// there is none, as of an image in a directory.
func StoredName(image host.ImageReference) (cstorage.Name, error) {
	return storedName(image, cstorage.ParseName)
}

// StorableName is StoredName for a name that is to be written. The error is
// cstorage.ErrUnreadable for one that podman could not read back.
func StorableName(image host.ImageReference) (cstorage.Name, error) {
	return storedName(image, cstorage.ParseStorable)
}

func storedName(image host.ImageReference, parse func(string) (cstorage.Name, error)) (cstorage.Name, error) {
	if !image.NamesInRegistry() {
		return cstorage.Name{}, fmt.Errorf("image of transport %s has no name in a store", image.Transport)
	}
	name, err := parse(image.Name)
	if err != nil {
		return cstorage.Name{}, err
	}
	return name.Stored(), nil
}
