// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/images"
)

// lender finds the image of a store whose lowest layers are those of a manifest, as
// many as possible, and more than the other store has. It returns nil for none. podman
// then fetches the rest only, when that image is cloned before.
func lender(from, to *images.Store, layers []host.Descriptor) *images.StoreImage {
	if from == nil {
		return nil
	}
	have := 0
	if to != nil {
		for _, img := range to.Images {
			have = max(have, common(to, img, layers))
		}
	}
	var best *images.StoreImage
	for _, img := range from.Images {
		if n := common(from, img, layers); n > have {
			best, have = img, n
		}
	}
	return best
}

// common counts the lowest layers of an image that are those of a manifest, too.
func common(store *images.Store, img *images.StoreImage, layers []host.Descriptor) (n int) {
	for i, l := range store.LayersOf(img) {
		if i == len(layers) || l.Blob != layers[i].Digest && l.DiffID != layers[i].Digest {
			return i
		}
		n = i + 1
	}
	return n
}

// lend clones the image of podman's own store that has the most layers of what is to
// be pulled, where that takes no room. It has no name here, so that bootc's garbage
// collection removes it, should nobody else: giveBack does.
func (x *execution) lend(ctx context.Context) error {
	if x.Means == ByPodman || x.Host.DryRun != nil || x.layers == nil {
		return nil
	}
	s, err := images.NewSurvey(ctx, x.Options.Options)
	if err != nil {
		return err
	}
	defer s.Close()
	img := lender(s.Default, s.Bootc, x.layers)
	if img == nil || !s.SharesExtents() {
		return nil
	}
	if _, there := x.before[img.ID]; there {
		return nil
	}
	x.record.Lent = img.ID
	if err := x.remember(&x.record); err != nil {
		return err
	}
	return x.cloneIn(ctx, x.session, img, "")
}

// giveBack removes the image that was lent, by this run or one that was killed.
func (x *execution) giveBack(ctx context.Context) error {
	if x.record.Lent == "" {
		return nil
	}
	images, err := x.storedImages()
	if err != nil {
		return err
	}
	if names, there := images[x.record.Lent]; there && len(names) == 0 {
		if err := x.podman(context.WithoutCancel(ctx), nil, "rm", x.record.Lent); err != nil {
			return err
		}
	}
	x.record.Lent = ""
	return nil
}
