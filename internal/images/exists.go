// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"

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
	store, problems := inv.open(ctx, in)
	if store == nil {
		return false, errors.Join(problems...)
	}
	return store.Exists(name, inv.shortNames)
}

// open reads one store; what is wrong with other images than the one asked for
// does not matter.
func (inv *inventory) open(ctx context.Context, in StoreName) (*Store, []error) {
	if in == DefaultStore {
		return inv.podman, inv.readDefaultStore()
	}
	var err error
	if inv.located, err = storageconf.Locate(inv.Sysroot.Dir); err != nil {
		return nil, []error{err}
	}
	if in == BootcStore {
		problems := inv.readBootcStore()
		return inv.bootc, problems
	}
	problems := inv.readRepo(ctx)
	return nil, problems
}
