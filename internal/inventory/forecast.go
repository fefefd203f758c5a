// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
)

// Forecast is what bootc's next cleanup removes: of the bootc store when an upgrade or a
// switch has been staged, and of the ostree repository. Its JSON form is described by
// docs/gc-v1.schema.json.
type Forecast struct {
	// Schema is the version of the JSON form.
	Schema int       `json:"schema"`
	Kind   host.Kind `json:"kind"`
	// Collects reports that bootc removes images of the bootc store at all, CollectsRefs
	// that it removes those of the ostree repository.
	Collects     bool `json:"collects"`
	CollectsRefs bool `json:"collects_refs"`
	// Fails reports that podman refuses to remove one of Images, so that the cleanup fails,
	// and bootc switch and upgrade with it, after they have staged.
	Fails bool `json:"fails"`
	// Images are those of the bootc store that bootc removes.
	Images []Doomed `json:"images"`
	// Refs are the images of the ostree repository that it removes, by their references,
	// Layers the digests of the layers that no other image of it has.
	Refs   []string `json:"refs"`
	Layers []string `json:"layers"`
	// Unneeded are the images of the bootc store that nothing needs, which gc removes.
	Unneeded []Unneeded `json:"unneeded"`
}

// Doomed is an image of the bootc store that bootc's next cleanup removes.
type Doomed struct {
	ID     string   `json:"id"`
	Digest string   `json:"digest"`
	Names  []string `json:"names"`
	Size   *int64   `json:"size"`
	Why    Why      `json:"why"`
	// Needs are who needs the image all the same.
	Needs []Need `json:"needs"`
	// Blocked is why podman refuses to remove the image.
	Blocked Blocked `json:"blocked"`
}

// Unneeded is an image of the bootc store that nothing needs.
type Unneeded struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Size  *int64   `json:"size"`
}

// Why is why bootc does not keep an image.
type Why string

// The reasons, of which the first that applies counts.
const (
	// WithoutName is an image without a name: bootc keeps none.
	WithoutName Why = "no-name"
	// SpelledOtherwise is an image that a deployment follows or has bound by another spelling
	// than podman's, which bootc compares character for character.
	SpelledOtherwise Why = "other-spelling"
	// BoundOnComposefs is a bound image of a composefs host, where bootc does not look at them.
	BoundOnComposefs Why = "bound-on-composefs"
	// NotNamed is an image of which no deployment has a name.
	NotNamed Why = "no-deployment"
)

// Blocked is why podman image rm ID fails.
type Blocked string

// The reasons; "" is none.
const (
	// SeveralNames is an image with more than one name.
	SeveralNames Blocked = "several-names"
	// InUse is an image that a container of the bootc store uses.
	InUse Blocked = "in-use"
)

// Forecast returns what bootc's next cleanup removes. The problems are what could not be
// read of the ostree repository; its part of the forecast is left out then. Without a bootc
// store they are also what could not be read of the host. What ReadNeeds
// could not read makes bootc give up: nothing is collected.
func (n *Needs) Forecast() (f *Forecast, problems []error) {
	if inv := n.inv; n.Bootc == nil && inv.located.Physical != "" && !inv.located.Exists {
		// ReadNeeds reads nothing for a store that is not there.
		problems = slices.Concat(inv.readHost(), inv.boundProblems, inv.runningProblems)
		n.Host = inv.host
	}
	f, kept := n.forecastStore()
	if n.Host.Kind != host.OSTree {
		return f, problems
	}
	bad := n.inv.readRepo()
	if len(bad) == 0 && kept.refsDecided {
		f.CollectsRefs = true
		bad = n.forecastRefs(f, kept)
	}
	return f, append(problems, bad...)
}

// ForecastStore returns the part of the forecast that is about the bootc store.
func (n *Needs) ForecastStore() *Forecast {
	f, _ := n.forecastStore()
	return f
}

func (n *Needs) forecastStore() (*Forecast, keepers) {
	inv := n.inv
	f := &Forecast{Schema: 1, Kind: n.Host.Kind, Images: []Doomed{}, Refs: []string{}, Layers: []string{}, Unneeded: []Unneeded{}}
	complete := inv.hostRead && inv.boundRead && len(inv.runningProblems) == 0
	kept := findKeepers(n.Host, inv.bound, complete)
	if n.Bootc != nil {
		f.Collects = kept.namesDecided
		for _, img := range n.Bootc.Images {
			needs := n.Of(img)
			if f.Collects && len(kept.of(img.Names)) == 0 {
				f.Images = append(f.Images, n.doomed(img, needs))
			}
			if len(needs) == 0 {
				f.Unneeded = append(f.Unneeded, Unneeded{img.ID, append([]string{}, img.Names...), known(img.Size)})
			}
		}
	}
	f.Fails = slices.ContainsFunc(f.Images, func(d Doomed) bool { return d.Blocked != "" })
	return f, kept
}

func (n *Needs) doomed(img *cstorage.Image, needs []Need) Doomed {
	d := Doomed{
		ID: img.ID, Digest: img.Digest, Names: append([]string{}, img.Names...), Size: known(img.Size),
		Why: NotNamed, Needs: append([]Need{}, needs...),
	}
	by := func(reason Reason) bool {
		return slices.ContainsFunc(needs, func(need Need) bool { return need.By == reason })
	}
	switch {
	case len(img.Names) == 0:
		d.Why = WithoutName
	case by(ByBinding) && n.Host.Kind != host.OSTree:
		d.Why = BoundOnComposefs
	case by(ByBinding), n.followsByName(img):
		d.Why = SpelledOtherwise
	}
	switch {
	case slices.ContainsFunc(needs, func(need Need) bool { return need.By == ByContainer && need.Store == n.inv.located.Path() }):
		d.Blocked = InUse
	case len(img.Names) > 1:
		d.Blocked = SeveralNames
	}
	return d
}

// followsByName reports whether a deployment follows an image by a name, not by its digest
// alone.
func (n *Needs) followsByName(img *cstorage.Image) bool {
	return slices.ContainsFunc(n.Host.Deployments, func(d host.Deployment) bool {
		image := followed(d)
		return image != nil && image.NamesInRegistry() && slices.Contains(n.byName(image.InStore())(n.Bootc), img)
	})
}

// forecastRefs adds what is removed of the ostree repository: refs that no origin names, and
// then layers that neither the other refs nor the deployments have (gc_image_layers of
// ostree-ext, in its store.rs).
func (n *Needs) forecastRefs(f *Forecast, kept keepers) (problems []error) {
	repo, err := n.inv.Sysroot.OpenRepo()
	if errors.Is(err, ostree.ErrNoRepo) {
		return nil
	}
	if err != nil {
		return []error{err}
	}
	defer repo.Close()
	used := map[string]bool{}
	use := func(m host.Manifest) {
		for _, layer := range m.Layers {
			used[layer.Digest] = true
		}
	}
	for _, img := range n.inv.repo {
		if len(kept.refs[img.Image.String()]) > 0 {
			use(img.Manifest)
		} else {
			f.Refs = append(f.Refs, img.Image.String())
		}
	}
	commits, problems := host.Describe(repo, n.Host, n.inv.repo)
	for _, c := range commits {
		use(c.Manifest)
	}
	layers, err := repo.Refs(strings.TrimSuffix(ostree.LayerRefPrefix, "/"))
	if err != nil {
		return append(problems, err)
	}
	for _, ref := range layers {
		digest, err := ostree.UnescapeRef(strings.TrimPrefix(ref.Name, ostree.LayerRefPrefix))
		if err == nil && !used[digest] {
			f.Layers = append(f.Layers, digest)
		}
	}
	return problems
}
