// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

// Destination is a store that images are copied to.
type Destination struct {
	Name, Dir string
	// Bootc reports that it is the bootc-owned store.
	Bootc bool
	// Store is what it has, nil for nothing.
	Store *cstorage.Store
}

// Held is an image and the store that holds it.
type Held struct {
	Store *cstorage.Store
	Image *cstorage.Image
	// Name is the name or the ID by which podman finds the image.
	Name string
}

// Has reports whether a destination has an image, whole, under a name. ByDigest leaves out
// what is damaged.
func (d Destination) Has(img *cstorage.Image, name string) bool {
	return d.Store != nil && img.Digest != "" && slices.ContainsFunc(d.Store.ByDigest(img.Digest), func(own *cstorage.Image) bool {
		return own.ID == img.ID && slices.Contains(own.Names, name)
	})
}

// Missing is the sum of the layers' sizes that a destination does not have.
func (d Destination) Missing(layers []host.Descriptor) int64 {
	return sizes(layers[storedLayers(d.Store, layers):])
}

func sizes(layers []host.Descriptor) (n int64) {
	for _, l := range layers {
		n += max(l.Size, 0)
	}
	return n
}

// storedLayers counts the lowest of an image's layers that a store has, each on the
// other: a layer that lies on others is stored again.
func storedLayers(store *cstorage.Store, layers []host.Descriptor) int {
	if store == nil {
		return 0
	}
	stored, _ := store.Layers()
	below := ""
	for n, wanted := range layers {
		i := slices.IndexFunc(stored, func(l cstorage.Layer) bool {
			return wanted.Digest != "" && l.Parent == below && (l.Blob == wanted.Digest || l.DiffID == wanted.Digest)
		})
		if i < 0 || !store.HasFiles(stored[i].ID) {
			return n
		}
		below = stored[i].ID
	}
	return len(layers)
}

// Pulled are the sizes in a manifest of the layers that a pull fetches, and of those
// that it, and the clone of a loan before it, write. shared reports whether that clone
// shares extents.
func (d Destination) Pulled(layers []host.Descriptor, loan *Loan, shared inventory.Capability) (fetched, written int64) {
	have := storedLayers(d.Store, layers)
	fetched, written = sizes(layers[have:]), sizes(layers[have:])
	if loan != nil && len(loan.Blobs) > have {
		fetched = sizes(layers[len(loan.Blobs):])
		if shared != inventory.No {
			written = fetched
		}
	}
	return fetched, written
}

// Descriptors are the layers of an image in a store.
func Descriptors(store *cstorage.Store, img *cstorage.Image) (layers []host.Descriptor) {
	for _, l := range store.LayersOf(img) {
		layers = append(layers, host.Descriptor{Digest: l.DiffID, Size: l.Size})
	}
	return layers
}

// Written is the sum of the sizes of the layers of an image that a clone to a
// destination writes: those that it lacks, and whose files cannot share extents with its
// own. An image may have layers of several directories: of an additional image store on
// another filesystem, for example. Where only a test would show it, a layer is taken to
// share; share is the function sharing. counted, if not nil, has the layers that were
// counted before, and gets those that are now.
func (d Destination) Written(from Held, share func(from, to string) inventory.Capability, counted map[string]bool) (bytes int64) {
	layers := from.Store.LayersOf(from.Image)
	shared := map[string]inventory.Capability{}
	for _, l := range layers[storedLayers(d.Store, Descriptors(from.Store, from.Image)):] {
		dir := from.Store.DirOf(l.ID)
		if _, known := shared[dir]; !known {
			shared[dir] = share(dir, d.Dir)
		}
		if shared[dir] != inventory.No || counted[l.ID] {
			continue
		}
		if bytes += max(l.Size, 0); counted != nil {
			counted[l.ID] = true
		}
	}
	return bytes
}
