// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

// Keeper is one reason why bootc's garbage collection keeps an image.
type Keeper struct {
	// Deployment is the ID of the deployment that needs the image.
	Deployment string `json:"deployment"`
	By         Reason `json:"by"`
}

// Reason is how a deployment comes to keep an image.
type Reason string

// The reasons to keep an image.
const (
	// ByOrigin is the image that the deployment follows.
	ByOrigin Reason = "origin"
	// ByBinding is an image bound to the deployment.
	ByBinding Reason = "bound-image"
)

// keepers are the names that bootc's garbage collection finds in deployments. It
// compares them with those of images character for character (bootc's deploy.rs,
// prune_container_store, and bootc_composefs/gc.rs), so "quay.io/os" does not
// keep the image that podman calls "quay.io/os:latest".
type keepers struct {
	// names are those without a transport, for the bootc-owned store; refs are
	// image references, for the ostree repository.
	names, refs map[string][]Keeper
	// namesDecided and refsDecided are false where bootc collects nothing, or
	// what it keeps is not all known.
	namesDecided, refsDecided bool
}

// findKeepers collects what keeps images. complete reports that all deployments
// and their bound images were read; where they were not, bootc gives up.
func findKeepers(h *host.Host, bound map[string][]host.BoundImage, complete bool) keepers {
	k := keepers{
		names: map[string][]Keeper{}, refs: map[string][]Keeper{},
		namesDecided: complete, refsDecided: complete && h.Kind == host.OSTree,
	}
	for _, d := range h.Deployments {
		keeper := Keeper{Deployment: d.ID(), By: ByOrigin}
		switch {
		case d.Image != nil:
			k.names[d.Image.Image.Name] = append(k.names[d.Image.Image.Name], keeper)
			ref := d.Image.Image.String()
			k.refs[ref] = append(k.refs[ref], keeper)
		// ostree-ext, unlike bootc, does not mind layered packages.
		case d.Layered != nil:
			ref := d.Layered.Image.String()
			k.refs[ref] = append(k.refs[ref], keeper)
		case d.Incompatible:
			k.refsDecided = false
		}
		// On composefs hosts bootc does not look at bound images.
		if h.Kind != host.OSTree {
			continue
		}
		for _, b := range bound[d.ID()] {
			// Two units can bind one image.
			if keeper := (Keeper{Deployment: d.ID(), By: ByBinding}); !slices.Contains(k.names[b.Image], keeper) {
				k.names[b.Image] = append(k.names[b.Image], keeper)
			}
		}
	}
	// And nothing is collected there that no deployment is known for.
	if h.Kind != host.OSTree && len(k.names) == 0 {
		k.namesDecided = false
	}
	return k
}

// of returns what keeps an image that has these names in the bootc-owned store.
func (k keepers) of(names []string) (all []Keeper) {
	for _, name := range names {
		for _, keeper := range k.names[name] {
			if !slices.Contains(all, keeper) {
				all = append(all, keeper)
			}
		}
	}
	return all
}
