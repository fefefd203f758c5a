// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Exists tells whether a store has the image that podman would mean by name. In
// the ostree repository, which podman does not know, an image is also found by
// the name it has there ("docker://quay.io/os:42"). A store that does not exist
// has no images; an error means that this cannot be told.
func Exists(ctx context.Context, o Options, in StoreName, name string) (bool, error) {
	if o.inContainer() {
		return false, fmt.Errorf("look into %s store: %w", in, ErrNotOnHost)
	}
	inv := newInventory(o)
	defer inv.close()
	switch in {
	case DefaultStore:
		return inv.existsIn(inv.readDefaultStore(), inv.podman, name)
	case OSTreeStore:
		return inv.existsInRepo(ctx, name)
	}
	var err error
	if inv.located, err = storageconf.Locate(inv.Sysroot.Dir); err != nil {
		return false, err
	}
	return inv.existsIn(inv.readBootcStore(), inv.bootc, name)
}

// existsIn looks into a store that was read. What is wrong with other images than
// the one asked for does not matter.
func (inv *inventory) existsIn(problems []error, store *Store, name string) (bool, error) {
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

func (inv *inventory) existsInRepo(ctx context.Context, name string) (bool, error) {
	problems := inv.readRepo(ctx)
	asStore := newStore()
	for _, img := range inv.repo {
		if img.Image.String() == name {
			return true, nil
		}
		record := &StoreImage{
			ID: hexOf(img.Manifest.Config.Digest), Digest: img.ManifestDigest, Digests: []string{img.ManifestDigest},
		}
		if parsed, err := host.ParseName(img.Image.Name); err == nil && img.Image.NamesInRegistry() {
			if parsed.Tag == "" && parsed.Digest == "" {
				parsed.Tag = "latest"
			}
			record.Names = []string{parsed.String()}
		}
		asStore.add(record)
	}
	_, err := asStore.Lookup(name, inv.shortNames)
	switch {
	case err == nil:
		return true, nil
	// A ref that cannot be read may be the one.
	case errors.Is(err, ErrNotFound):
		return false, first(problems)
	}
	return false, err
}
