// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Loan is the lowest layers of an image of one store to the other, where podman is
// about to pull an image that has them, too: it then fetches the others only. The
// layers are an image there, without a name, until the pull is done.
type Loan struct {
	// Image is the ID of the image whose layers they are, Blobs are their descriptors in
	// the manifest of the image that is pulled.
	Image string
	Blobs []clonejob.Blob
}

// ID is that of the image in the store that they are lent to.
func (l *Loan) ID() string { return clonejob.LentImage(l.Image, len(l.Blobs)) }

// NewLoan finds the image of a store that has the most of the lowest layers of an image
// in the ostree repository, and more than the store has that the image is pulled into.
// It returns nil for none.
func NewLoan(from, to *cstorage.Store, repo []host.RepoCommit, manifestDigest string) *Loan {
	i := slices.IndexFunc(repo, func(img host.RepoCommit) bool { return img.ManifestDigest == manifestDigest })
	if i < 0 {
		return nil
	}
	layers, diffIDs := repo[i].Manifest.Layers, repo[i].Config.RootFS.DiffIDs
	if len(diffIDs) != len(layers) {
		diffIDs = nil
	}
	return LoanOf(from, to, layers, diffIDs)
}

// LoanOf is NewLoan for an image with the layers of a manifest. diffIDs are theirs, nil where
// they are not known; from and to are nil for stores that do not exist.
func LoanOf(from, to *cstorage.Store, layers []host.Descriptor, diffIDs []string) *Loan {
	if from == nil {
		return nil
	}
	have := 0
	if to != nil {
		for _, img := range to.Images {
			have = max(have, common(to, img, layers, nil)) // podman finds no others
		}
	}
	var best *Loan
	most := have
	for _, img := range from.Images {
		if from.Damage(img) != nil {
			continue
		}
		if n := common(from, img, layers, diffIDs); n > most {
			best, most = &Loan{Image: img.ID}, n
		}
	}
	if best == nil {
		return nil
	}
	for _, l := range layers[:most] {
		best.Blobs = append(best.Blobs, clonejob.Blob{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
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
