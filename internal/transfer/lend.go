// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// loan is of the lowest layers of an image of one store to the other, where podman is
// about to pull an image that has them, too: it then fetches the others only. The
// layers are an image there, without a name, until the pull is done.
type loan struct {
	// image is the ID of the image whose layers they are, blobs what they are in the
	// manifest of the image that is pulled.
	image string
	blobs []clonejob.Blob
}

// id is that of the image in the store that they are lent to.
func (l *loan) id() string { return clonejob.LentImage(l.image, len(l.blobs)) }

// newLoan finds the image of a store that has the most of the lowest layers of an image
// in the ostree repository, and more than the store has that the image is pulled into.
// It returns nil for none.
func newLoan(from, to *cstorage.Store, repo []host.RepoCommit, manifestDigest string) *loan {
	i := slices.IndexFunc(repo, func(img host.RepoCommit) bool { return img.ManifestDigest == manifestDigest })
	if from == nil || i < 0 {
		return nil
	}
	layers, diffIDs := repo[i].Manifest.Layers, repo[i].Config.RootFS.DiffIDs
	if len(diffIDs) != len(layers) {
		diffIDs = nil
	}
	have := 0
	if to != nil {
		for _, img := range to.Images {
			have = max(have, common(to, img, layers, nil)) // podman finds no others
		}
	}
	var best *loan
	most := have
	for _, img := range from.Images {
		if from.Damage(img) != nil {
			continue
		}
		if n := common(from, img, layers, diffIDs); n > most {
			best, most = &loan{image: img.ID}, n
		}
	}
	if best == nil {
		return nil
	}
	for _, l := range layers[:most] {
		best.blobs = append(best.blobs, clonejob.Blob{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
	}
	return best
}

// common counts the lowest layers of an image that are those of a manifest, too, or,
// where diffIDs are known, were made of the same archives.
func common(store *cstorage.Store, img *cstorage.Image, layers []host.Descriptor, diffIDs []string) (n int) {
	for i, l := range store.LayersOf(img) {
		switch {
		case i == len(layers):
			return i
		case l.Blob == layers[i].Digest, l.DiffID == layers[i].Digest:
		case diffIDs != nil && l.DiffID == diffIDs[i]:
		default:
			return i
		}
		n = i + 1
	}
	return n
}

// lend clones the layers of a loan. A failure is reported only: podman fetches more then.
func (x *execution) lend(ctx context.Context) error {
	err := x.cloneIn(ctx, x.session, x.loan.image, x.loan.blobs, "")
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
	_, there := stored[x.loan.id()]
	return err == nil && !there
}

// returnLoan removes what was lent, unless another process did.
func (x *execution) returnLoan(ctx context.Context) error {
	remove := func() error { return x.podman(context.WithoutCancel(ctx), nil, "rm", "--", x.loan.id()) }
	isThere := func() (bool, error) {
		stored, err := x.storedImages()
		_, there := stored[x.loan.id()]
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
		if slices.Contains(img.Names, exportName) {
			left = append(left, exportName)
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
