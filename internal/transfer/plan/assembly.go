// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Assembly is an image of the ostree repository that is made of the lowest layers of another
// image in a store, which was built on it, and of the documents in its commit. It keeps its
// digest: the store has the layers' archives, or makes them again by tar-split.
type Assembly struct {
	// Image is the ID of the other image.
	Image     string
	Blobs     []clonejob.Blob
	Documents clonejob.Documents
	// Layers are the diff IDs of its layers, and the sizes of their archives.
	Layers []host.Descriptor
}

// assembly is NewAssembly where both stores can be cloned, as the user chose, nil otherwise.
func (v *View) assembly(store *cstorage.Store, digest string, method Method) *Assembly {
	if v.Host.Kind != host.OSTree || method == ByPodman {
		return nil
	}
	if v.uncloneable(map[string]*cstorage.Store{"podman's own store": v.Default, "the bootc-owned store": v.Bootc}) != nil {
		return nil
	}
	return NewAssembly(store, v.Commits, digest)
}

// NewAssembly finds an image of a store that has all layers of an image in the ostree repository
// as its lowest ones. It returns nil for none, and where the commit does not have the documents
// byte for byte.
func NewAssembly(store *cstorage.Store, repo []host.RepoCommit, manifestDigest string) *Assembly {
	i := slices.IndexFunc(repo, func(img host.RepoCommit) bool { return img.ManifestDigest == manifestDigest })
	if store == nil || i < 0 {
		return nil
	}
	layers, diffIDs := repo[i].Manifest.Layers, repo[i].Config.RootFS.DiffIDs
	if len(layers) == 0 || len(diffIDs) != len(layers) {
		return nil
	}
	for _, img := range finished(store.Images) {
		if store.Damage(img) != nil {
			continue
		}
		found := store.LayersOf(img)
		same := func(n int) bool { return found[n].DiffID == diffIDs[n] }
		n := 0
		for n < len(layers) && n < len(found) && same(n) {
			n++
		}
		if n < len(layers) {
			continue
		}
		manifest, config, err := repo[i].Documents()
		if err != nil {
			return nil
		}
		a := &Assembly{Image: img.ID, Documents: clonejob.Documents{Manifest: manifest, Config: config}, Layers: Descriptors(store, img)[:n]}
		for _, l := range layers {
			a.Blobs = append(a.Blobs, clonejob.Blob{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
		}
		return a
	}
	return nil
}

// finished returns the images but for those that a clone left which was killed: their records
// may lack the manifest and the configuration, and the next clone into the store removes them.
func finished(images []*cstorage.Image) []*cstorage.Image {
	return slices.DeleteFunc(slices.Clone(images), func(img *cstorage.Image) bool {
		return slices.ContainsFunc(img.Names, func(name string) bool { return strings.HasPrefix(name, clonejob.Unfinished) })
	})
}
