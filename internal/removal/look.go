// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package removal

import (
	"context"
	"errors"
	"slices"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// View is what a host needs. It has to be closed.
type View struct {
	*inventory.Needs
	// Err is an *UnknownError where that could not be determined, else nil.
	Err error
	// Absent is why there is no host to look at, else nil.
	Absent error
}

// Look reads what the host needs, with the containers that the hook ledger recorded. On a
// machine without a bootc store, and in a container, nothing is needed: podman reports why
// it does not run.
func Look(ctx context.Context, o inventory.Options) View {
	ledger, problems := readLedger(o.Root)
	n, bad := inventory.ReadNeeds(ctx, o, ledger)
	for _, err := range bad {
		for _, none := range []error{inventory.ErrNotOnHost, storageconf.ErrNotBootcHost, storageconf.ErrSysroot, storageconf.ErrDangling} {
			if errors.Is(err, none) {
				return View{Needs: n, Absent: err}
			}
		}
	}
	if problems = slices.Concat(bad, problems); len(problems) > 0 {
		return View{Needs: n, Err: &UnknownError{problems[0]}}
	}
	return View{Needs: n}
}

// readLedger returns the containers that the hook ledger recorded and that run.
func readLedger(root string) (ledger inventory.Ledger, problems []error) {
	leases, bad := hooks.Leases(root)
	for _, err := range bad {
		// Of a container whose record is damaged nothing is known.
		if !errors.Is(err, hooks.ErrBadLease) {
			problems = append(problems, err)
		}
	}
	for _, lease := range leases {
		if lease.State != hooks.LeaseRunning {
			continue
		}
		if lease.Store != "" {
			ledger.GraphRoots = append(ledger.GraphRoots, lease.Store)
		}
		use := inventory.Use{By: inventory.ByContainer, ID: lease.ID, Name: lease.Name, Store: lease.Store}
		for _, layer := range lease.Layers {
			if layer.Store == hooks.BootcStore {
				use.Image, use.Layer = lease.Image.ID, layer.ID
				ledger.Uses = append(ledger.Uses, use)
				break
			}
		}
	}
	return ledger, problems
}
