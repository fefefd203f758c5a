// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
)

// Inspection is an image in all places of a host. Its JSON form is described by
// docs/inspect-v1.schema.json.
type Inspection struct {
	// Name is the name, ID or digest that was looked for.
	Name string `json:"name"`
	// Places are those that have the image, or another image of its name.
	Places []Placed `json:"places"`
	// NotLooked are the stores that could not be looked at.
	NotLooked []StoreName `json:"not_looked_at"`
}

// Placed is an image in one place.
type Placed struct {
	Store StoreName `json:"store"`
	// Path is the graph root or the repository.
	Path string `json:"path"`
	// Names are spelled as in Image.Name.
	Names  []string `json:"names"`
	ID     string   `json:"id"`
	Digest string   `json:"digest"`
	// Digests are all manifest digests that the place has of the image, Original is the one
	// that it had before it was exported, "" for an image that was not.
	Digests  []string `json:"digests"`
	Original string   `json:"original_digest"`
	// Relation is how the image relates to the first of the places.
	Relation     Relation `json:"relation"`
	Size         *int64   `json:"size"`
	Created      *Time    `json:"created"`
	Architecture string   `json:"architecture"`
	// Layers is their number, 0 when not known.
	Layers int `json:"layers"`
	// State says whether all of the image is there, Damage what is missing or damaged.
	State  Wholeness `json:"state"`
	Damage string    `json:"damage"`
	// Shared are the layers that other places and other images have, too.
	Shared []Shared `json:"shared"`
	// The rest is as in Image.
	Deployments  []DeploymentRef `json:"deployments"`
	KeptBy       []Keeper        `json:"kept_by"`
	WillBePruned bool            `json:"will_be_pruned"`
	NeededBy     []Need          `json:"needed_by"`

	diffIDs []string `json:"-"`
}

// Wholeness is whether all parts of an image are there.
type Wholeness string

// The values of Wholeness. Unchecked is an image that could not be looked at.
const (
	Whole     Wholeness = "whole"
	Damaged   Wholeness = "damaged"
	Missing   Wholeness = "missing"
	Unchecked Wholeness = "unchecked"
)

// Relation is how an image relates to another one.
type Relation string

// The relations. An exported image has the files of the other, and another manifest.
const (
	First      Relation = "first"
	Same       Relation = "same"
	Exported   Relation = "exported"
	OtherImage Relation = "other"
)

// Shared are layers that an image has in common with another place, or with other images of
// its own store. Size is the sum of their sizes in bytes, uncompressed, as far as a store has
// it recorded: where they lie on the disk once is not determined.
type Shared struct {
	Store  StoreName `json:"store"`
	Layers int       `json:"layers"`
	Size   int64     `json:"size"`
}

// Inspect finds the images that each of names means in any place, a name, an ID or a digest,
// and in the other places those that are the same. Problems are as those of List; for a name
// that no place has, also an error that is ErrNotKnown. In a container nothing is known.
func Inspect(_ context.Context, o Options, names []string) (found []Inspection, problems []error) {
	if o.inContainer() {
		return nil, []error{fmt.Errorf("inspect images: %w", ErrNotOnHost)}
	}
	o.Type, o.AllStores = "", true
	inv := newInventory(o)
	defer inv.close()
	inv.withUses = true
	inv.readAll()
	problems = inv.problems
	if inv.located.Physical == "" {
		return nil, problems
	}
	inv.problems = nil
	inv.describe()
	inv.keepers = findKeepers(inv.host, inv.bound, inv.hostRead && inv.boundRead)
	inv.users = inv.findUsers()
	inv.addUses()
	places := inv.places()
	for _, name := range names {
		in := Inspection{Name: name, NotLooked: inv.storesNotLooked()}
		in.Places = inv.inspect(places, name)
		if len(in.Places) == 0 {
			problems = append(problems, fmt.Errorf("inspect %s: %w", cmp.Or(name, `""`), ErrNotKnown))
			continue
		}
		found = append(found, in)
	}
	return found, problems
}

func (inv *inventory) storesNotLooked() []StoreName {
	list := []StoreName{}
	for _, part := range inv.notLooked(&Status{Filesystem: &Filesystem{}, Rollback: &Deployment{}}) {
		if name := StoreName(part); slices.Contains([]StoreName{OSTreeStore, BootcStore, DefaultStore}, name) {
			list = append(list, name)
		}
	}
	return list
}

// places returns every image of every place, without what takes reading further files.
func (inv *inventory) places() (all []Placed) {
	all = inv.repoPlaces()
	for _, d := range inv.host.Deployments {
		if d.Verity != "" && d.Image != nil {
			all = append(all, Placed{
				Store: ComposefsStore, Path: inv.located.Physical, Names: []string{d.Image.Image.String()}, Digest: d.ManifestDigest,
				Digests: nonEmpty(d.ManifestDigest), Created: knownTime(d.Created), Architecture: d.Architecture, Deployments: []DeploymentRef{ref(d)},
				KeptBy: []Keeper{{Deployment: d.ID(), By: ByOrigin}}, NeededBy: []Need{originNeed(d, d.Image.Image.String())},
			})
		}
	}
	all = append(all, inv.storePlaces(inv.bootc, BootcStore)...)
	for _, b := range inv.running {
		if img, known := inv.findBound(b); img == nil && known {
			needs := inv.binding(b.Image)
			all = append(all, Placed{
				Store: BootcStore, Path: inv.located.Path(), Names: []string{b.Image}, Digests: []string{}, State: Missing,
				Deployments: deploymentsOf(needs), NeededBy: needs,
			})
		}
	}
	return append(all, inv.storePlaces(inv.podman, DefaultStore)...)
}

func nonEmpty(s string) []string {
	if s == "" {
		return []string{}
	}
	return []string{s}
}

// repoPlaces returns the commits of images in the ostree repository: those of refs, and those
// of deployments whose refs have moved on.
func (inv *inventory) repoPlaces() (all []Placed) {
	for _, c := range inv.allCommits() {
		p := Placed{
			Store: OSTreeStore, Path: inv.Sysroot.RepoPath(), Names: []string{}, ID: hexOf(c.Manifest.Config.Digest),
			Digest: c.ManifestDigest, Digests: []string{c.ManifestDigest}, Size: known(c.Size), Created: knownTime(c.Created),
			Architecture: c.Config.Architecture, Layers: len(c.Manifest.Layers), diffIDs: c.Config.RootFS.DiffIDs,
		}
		for _, img := range inv.repo {
			if img.Checksum == c.Checksum {
				p.Names = append(p.Names, img.Image.String())
				p.KeptBy = append(p.KeptBy, inv.keepers.refs[img.Image.String()]...)
			}
		}
		for _, d := range inv.host.Deployments {
			image := followed(d)
			if image == nil || d.Commit != c.Checksum && (d.Base == nil || d.Base.Checksum != c.Checksum) {
				continue
			}
			if d.Commit == c.Checksum {
				p.Deployments = append(p.Deployments, ref(d))
			}
			p.NeededBy = append(p.NeededBy, originNeed(d, image.String()))
			if !slices.Contains(p.Names, image.String()) {
				p.Names = append(p.Names, image.String())
			}
		}
		p.NeededBy = inv.addKeepers(p.NeededBy, p.KeptBy)
		p.WillBePruned = inv.keepers.refsDecided && len(p.KeptBy) == 0
		all = append(all, p)
	}
	return all
}

func (inv *inventory) storePlaces(s *cstorage.Store, name StoreName) (all []Placed) {
	if s == nil {
		return nil
	}
	for _, img := range s.Images {
		row := inv.storeImage(img, name)
		all = append(all, Placed{
			Store: name, Path: img.Dir(), Names: append([]string{}, img.Names...), ID: img.ID, Digest: img.Digest,
			Digests: append([]string{}, img.Digests...), Size: row.Size, Created: row.Created, Architecture: row.Architecture,
			Deployments: row.Deployments, KeptBy: row.KeptBy, WillBePruned: row.WillBePruned, NeededBy: row.NeededBy,
		})
	}
	return all
}

// inspect returns the images among all that a name means, and those that are the same.
func (inv *inventory) inspect(all []Placed, name string) (found []Placed) {
	chosen := make([]bool, len(all))
	for i := range all {
		chosen[i] = inv.means(&all[i], name)
	}
	// What is exported has the digest of the original in its manifest.
	original := func(p *Placed) string {
		if img := inv.imageOf(p); img != nil && p.Original == "" {
			p.Original = img.Original()
		}
		return p.Original
	}
	for i := range all {
		for j := range all {
			if chosen[i] && !chosen[j] && all[i].relates(&all[j], original) != OtherImage {
				chosen[j] = true
			}
		}
	}
	for i := range all {
		if chosen[i] {
			p := all[i]
			original(&p)
			found = append(found, p)
		}
	}
	for i := range found {
		found[i].Relation = First
		if i > 0 {
			found[i].Relation = found[0].relates(&found[i], original)
		}
		inv.complete(&found[i])
	}
	for i := range found {
		found[i].Shared = inv.shared(&found[i], found)
		found[i].fill()
	}
	return found
}

// imageOf is the image of a place that is a store, nil for another.
func (inv *inventory) imageOf(p *Placed) *cstorage.Image {
	if store := inv.storeOf(p.Store); store != nil {
		return store.ByID(p.ID)
	}
	return nil
}

func (inv *inventory) storeOf(name StoreName) *cstorage.Store {
	switch name {
	case BootcStore:
		return inv.bootc
	case DefaultStore:
		return inv.podman
	}
	return nil
}

// relates returns how q relates to p.
func (p *Placed) relates(q *Placed, original func(*Placed) string) Relation {
	has := func(digests []string, digest string) bool { return digest != "" && slices.Contains(digests, digest) }
	switch {
	case slices.ContainsFunc(q.Digests, func(d string) bool { return has(p.Digests, d) }):
		return Same
	case has(p.Digests, original(q)), has(q.Digests, original(p)), p.ID != "" && p.ID == q.ID:
		return Exported
	}
	return OtherImage
}

// means reports whether podman would mean this image by a name, in the store or, for the other
// places, if these were one.
func (inv *inventory) means(p *Placed, name string) bool {
	hex := strings.TrimPrefix(name, "sha256:")
	switch {
	case slices.Contains(p.Names, name), slices.Contains(p.Digests, name), p.ID != "" && hex == p.ID:
		return true
	case name == "":
		return false
	}
	bare := strings.TrimPrefix(name, "docker://")
	if store := inv.storeOf(p.Store); store != nil && p.ID != "" {
		for _, lookup := range []func(string, func() (cstorage.ShortNames, error)) (cstorage.Match, error){store.LookupRecord, store.LookupMatch} {
			if m, err := lookup(bare, inv.shortNames); err == nil && m.Image.ID == p.ID {
				return true
			}
		}
		return false
	}
	record := &cstorage.Image{ID: cmp.Or(p.ID, strings.Repeat("-", 64)), Digest: p.Digest, Digests: p.Digests}
	for _, have := range p.Names {
		image, err := host.ParseImageReference(have)
		if err != nil { // as of a bound image
			image = host.ImageReference{Transport: host.Registry, Name: have}
		}
		if image.NamesInRegistry() {
			record.Names = append(record.Names, fullName(image))
		}
	}
	_, err := cstorage.New(record).Lookup(bare, inv.shortNames)
	if err == nil || errors.Is(err, cstorage.ErrNotFound) {
		return err == nil
	}
	// The rules for short names may not be readable without root.
	return slices.ContainsFunc(p.Names, func(have string) bool {
		candidates := Image{Name: have, Type: Host}.candidates()
		return slices.Contains(candidates, bare) && strings.Contains(bare, ":") || slices.Contains(candidates, bare+":latest")
	})
}

// complete adds whether the image is whole, and its layers.
func (inv *inventory) complete(p *Placed) {
	var err error
	switch p.Store {
	case OSTreeStore:
		err = inv.checkCommit(p)
	case ComposefsStore:
		err = inv.checkComposefs(p)
	default:
		img := inv.imageOf(p)
		if img == nil {
			return // it is missing
		}
		store := inv.storeOf(p.Store)
		for _, l := range store.LayersOf(img) {
			p.diffIDs = append(p.diffIDs, l.DiffID)
		}
		p.Layers = len(p.diffIDs)
		err = store.Damage(img)
	}
	switch {
	case err == nil:
		p.State = Whole
	case errors.Is(err, fs.ErrPermission):
		p.State = Unchecked
	default:
		p.State, p.Damage = Damaged, err.Error()
	}
}

// checkCommit returns why the layers of an image are not all in the ostree repository.
func (inv *inventory) checkCommit(p *Placed) error {
	repo, err := inv.Sysroot.OpenRepo()
	if err != nil {
		return err
	}
	defer repo.Close()
	for _, c := range inv.allCommits() {
		if c.ManifestDigest != p.Digest {
			continue
		}
		var digests []string
		for _, l := range c.Manifest.Layers {
			digests = append(digests, l.Digest)
		}
		_, err = repo.LayerCommits(digests)
	}
	return err
}

// checkComposefs returns why the image of a deployment is not in the composefs repository.
func (inv *inventory) checkComposefs(p *Placed) error {
	repo, err := inv.Sysroot.OpenComposefs()
	if err != nil {
		return err
	}
	defer repo.Close()
	p.Path = repo.Path()
	manifest, config, err := host.ComposefsImage(repo, p.Digest)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	p.ID, p.diffIDs, p.Layers = hexOf(manifest.Config.Digest), config.RootFS.DiffIDs, len(manifest.Layers)
	var size int64
	for _, l := range manifest.Layers {
		size += max(l.Size, 0)
	}
	p.Size = &size
	for _, diffID := range p.diffIDs {
		if _, err := repo.Layer(diffID); err != nil {
			return fmt.Errorf("find layer %s: %w", diffID, err)
		}
	}
	return nil
}

// shared returns the layers that a place has in common with the other places of the image,
// and with other images of its store.
func (inv *inventory) shared(p *Placed, found []Placed) []Shared {
	all := []Shared{}
	add := func(name StoreName, has func(diffID string) bool) {
		s := Shared{Store: name}
		for _, diffID := range p.diffIDs {
			if diffID != "" && has(diffID) {
				s.Layers++
				s.Size += inv.layerSize(diffID)
			}
		}
		if s.Layers > 0 {
			all = append(all, s)
		}
	}
	if store := inv.storeOf(p.Store); store != nil {
		others := map[string]bool{}
		for _, img := range store.Images {
			if img.ID == p.ID {
				continue
			}
			for _, l := range store.LayersOf(img) {
				others[l.DiffID] = true
			}
		}
		add(p.Store, func(diffID string) bool { return others[diffID] })
	}
	for _, q := range found {
		if q.Store != p.Store {
			add(q.Store, func(diffID string) bool { return slices.Contains(q.diffIDs, diffID) })
		}
	}
	return all
}

// layerSize is the size of a layer, uncompressed, that one of the stores has, 0 when not
// known.
func (inv *inventory) layerSize(diffID string) int64 {
	for _, store := range []*cstorage.Store{inv.bootc, inv.podman} {
		if store == nil {
			continue
		}
		layers, _ := store.Layers()
		for _, l := range layers {
			if l.DiffID == diffID && l.Size > 0 {
				return l.Size
			}
		}
	}
	return 0
}

// fill makes lists that are empty so in JSON, rather than null.
func (p *Placed) fill() {
	if p.Deployments == nil {
		p.Deployments = []DeploymentRef{}
	}
	if p.KeptBy == nil {
		p.KeptBy = []Keeper{}
	}
	if p.NeededBy == nil {
		p.NeededBy = []Need{}
	}
}
