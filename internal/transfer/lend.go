// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// lend clones the layers of a loan. A failure is reported only: podman fetches more then.
func (x *execution) lend(ctx context.Context) error {
	err := x.cloneIn(ctx, x.session, x.Loan.Image, x.Loan.Blobs, "")
	if err != nil && ctx.Err() == nil {
		x.Events.NotLent(err)
		return nil
	}
	x.lent = err == nil && x.Host.DryRun == nil
	return err
}

// errPruned is why layers that were lent are not used.
var errPruned = errors.New("another process removed the image that has them, as podman image prune does")

// isPruned reports whether another process removed the layers that were lent. An image
// without a name is removed by "podman image prune", and a pull that relies on its layers
// fails then.
func (x *execution) isPruned() bool {
	if !x.lent {
		return false
	}
	stored, err := x.storedImages()
	_, there := stored[x.Loan.ID()]
	return err == nil && !there
}

// returnLoan removes what was lent, unless another process did.
func (x *execution) returnLoan(ctx context.Context) error {
	remove := func() error { return x.podman(context.WithoutCancel(ctx), nil, "rm", "--", x.Loan.ID()) }
	isThere := func() (bool, error) {
		stored, err := x.storedImages()
		_, there := stored[x.Loan.ID()]
		return there, err
	}
	if x.Host.DryRun != nil {
		return remove()
	}
	return returnLoan(isThere, remove)
}

func returnLoan(isThere func() (bool, error), remove func() error) error {
	if there, err := isThere(); err != nil || !there {
		return err
	}
	err := remove()
	if err == nil {
		return nil
	}
	if there, _ := isThere(); !there {
		return nil
	}
	return err
}

// ownHas reports whether podman's own store has the image with this ID. A dry run would
// have made it.
func (o Options) ownHas(id string) (bool, error) {
	if o.Host.DryRun != nil {
		return true, nil
	}
	store, errs := inventory.OpenDefaultStore(o.Root, o.Euid)
	if store == nil {
		return false, errors.Join(errs...)
	}
	defer store.Close()
	return slices.ContainsFunc(store.Images, func(img *cstorage.Image) bool { return img.ID == id }), nil
}

// tidy removes what a transfer left in the stores that was killed: layers that were
// lent, and an image on its way from a composefs deployment. What cannot be removed is
// in nobody's way.
func (o Options) tidy(ctx context.Context) {
	if err := errors.Join(o.tidyOwn(ctx), o.tidyBootc(ctx)); err != nil {
		logrus.Warnf("Removing what an earlier transfer left: %v", err)
	}
}

func (o Options) tidyOwn(ctx context.Context) error {
	store, _ := inventory.OpenOwnStore(o.Root, o.Euid)
	if store == nil {
		return nil
	}
	left := lent(store)
	for _, img := range store.Images {
		if slices.Contains(img.Names, plan.ExportName) {
			left = append(left, plan.ExportName)
		}
	}
	store.Close()
	for _, name := range left {
		if err := o.removeOwn(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) tidyBootc(ctx context.Context) error {
	store, _ := o.openStore()
	if store == nil {
		return nil
	}
	left := lent(store)
	store.Close()
	if len(left) == 0 {
		return nil
	}
	session, err := o.Host.Open()
	if err != nil {
		return err
	}
	for _, id := range left {
		cmd, err := session.Podman(ctx, "image", "rm", "--", id)
		if err != nil {
			return err
		}
		cmd.Stderr = o.Stderr
		if err := session.Run(ctx, cmd); err != nil {
			return err
		}
	}
	return nil
}

// lent are the IDs of the images that are in a store only while others are pulled.
func lent(store *cstorage.Store) (ids []string) {
	for _, img := range store.Images {
		if _, ours := img.Annotations()[clonejob.Lent]; ours && len(img.Names) == 0 {
			ids = append(ids, img.ID)
		}
	}
	return ids
}

// removeOwn removes an image from podman's own store.
func (o Options) removeOwn(ctx context.Context, name string) error {
	cmd, err := o.ownPodman("image", "rm", "--", name)
	if err != nil {
		return err
	}
	return o.runPlain(ctx, cmd)
}
