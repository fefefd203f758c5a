// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Reasons to need an image that bootc's garbage collection does not see.
const (
	// ByContainer is a container of any store of the host.
	ByContainer Reason = "container"
	// ByName is a deployment that follows the name of the image and boots another one.
	ByName Reason = "origin-name"
	// ByImage is an image of another store, of which layers are in the bootc store.
	ByImage Reason = "image"
)

// Need is one reason why an image must stay in the bootc store.
type Need struct {
	By Reason `json:"by"`
	// Deployment is the one that follows or binds the image, nil for other reasons.
	Deployment *DeploymentRef `json:"deployment"`
	// Name is the image as the deployment spells it, with a transport for an origin; the
	// name of the container; a name of the other image.
	Name string `json:"name"`
	// ID is that of the container or the other image, Store its graph root. Both are ""
	// for a deployment.
	ID    string `json:"id"`
	Store string `json:"store"`
}

// String returns who needs the image, to stand after "needed by the".
func (n Need) String() string {
	switch n.By {
	case ByName:
		return fmt.Sprintf("%s, which follows the name %s and boots another image", n.Deployment, n.Name)
	case ByOrigin:
		return fmt.Sprintf("%s, which follows %s", n.Deployment, n.Name)
	case ByBinding:
		return fmt.Sprintf("%s, which has %s bound", n.Deployment, n.Name)
	case ByContainer:
		return fmt.Sprintf("container %s (%.12s) in %s", cmp.Or(n.Name, "without a name"), n.ID, n.Store)
	}
	return fmt.Sprintf("image %s (%.12s) in %s, which has layers of it", cmp.Or(n.Name, "without a name"), n.ID, n.Store)
}

// String returns the role and the name of a deployment.
func (d DeploymentRef) String() string {
	if d.Role == host.Other {
		return "deployment " + d.ID
	}
	return fmt.Sprintf("%s deployment %s", d.Role, d.ID)
}

// Use is a container, or an image of another store, that has files in the bootc store.
type Use struct {
	// By is ByContainer or ByImage.
	By              Reason
	ID, Name, Store string
	// Image is the ID of the image of the bootc store, "" where the other store has an
	// image of this ID itself.
	Image string
	// Layer is the ID of the topmost layer that is in the bootc store, "" for none.
	Layer string
}

func (u Use) need() Need { return Need{By: u.By, Name: u.Name, ID: u.ID, Store: u.Store} }

// originNeed is the need of a deployment that follows an image, boundNeed of one that has it
// bound.
func originNeed(d host.Deployment, name string) Need {
	return Need{By: ByOrigin, Deployment: new(ref(d)), Name: name}
}

func boundNeed(d host.Deployment, name string) Need {
	return Need{By: ByBinding, Deployment: new(ref(d)), Name: name}
}

// Ledger is what a caller found about containers that run.
type Ledger struct {
	// Uses are containers that need images of the bootc store.
	Uses []Use
	// GraphRoots are the stores of containers.
	GraphRoots []string
}

// Needs is what a host needs of its bootc store: which image, and who. Deployments of
// every role count, and their bound images, by whatever name podman would find the image;
// what a deployment boots also by its manifest digest; and the containers of the bootc
// store and of every other graph root that is known. Names are compared as podman does,
// not literally as bootc's garbage collection does: see Keeper.
type Needs struct {
	// Host is what boots, Bootc the store, nil for none.
	Host  *host.Host
	Bootc *cstorage.Store

	inv    *inventory
	claims []claim
	// originals are the results of originalOf by the IDs of images.
	originals map[string]string
}

// claim is a Need with how its image is found in the store.
type claim struct {
	Need
	find func(*cstorage.Store) []*cstorage.Image
	// any is true if one of the images is enough.
	any bool
	// found is what find returned for the store as it was read.
	found []*cstorage.Image
}

// ReadNeeds reads what a host needs; Needs is never nil, and has to be closed. It reads
// records only, no content of images. ledger has containers that hooks recorded, as package
// hooks stands above this one. Each problem is about something that could not be read, so
// that there may be further needs; a host without a bootc store has none. In a container,
// the one problem is ErrNotOnHost.
func ReadNeeds(_ context.Context, o Options, ledger Ledger) (*Needs, []error) {
	o.Type, o.AllStores = Unified, false
	inv := newInventory(o)
	n := &Needs{Host: inv.host, inv: inv, originals: map[string]string{}}
	if o.inContainer() {
		return n, []error{fmt.Errorf("read host: %w", ErrNotOnHost)}
	}
	var err error
	if inv.located, err = storageconf.Locate(inv.Sysroot.Dir); err != nil {
		return n, []error{err}
	}
	if !inv.located.Exists {
		return n, nil
	}
	var wg sync.WaitGroup
	var hostProblems, storeProblems []error
	wg.Go(func() {
		hostProblems = inv.readHost()
		inv.hostRead = inv.hostRead && inv.readDigests(&hostProblems)
	})
	wg.Go(func() {
		inv.bootc, storeProblems = settle(func() (*cstorage.Store, []error) { return openBootcStore(inv.read, inv.located, inv.Root) },
			func(*cstorage.Store) []error { return nil })
	})
	wg.Wait()
	n.Host = inv.host
	problems := slices.Concat(hostProblems, inv.boundProblems, inv.runningProblems, grave(storeProblems))
	if inv.bootc == nil {
		return n, problems
	}
	uses, bad := inv.readUses(ledger.GraphRoots)
	for _, use := range ledger.Uses {
		if !slices.ContainsFunc(uses, func(have Use) bool { return have.By == use.By && have.ID == use.ID }) {
			uses = append(uses, use)
		}
	}
	n.addAll(uses, &bad)
	return n, append(problems, bad...)
}

// Needs returns what the host needs, by what has been read of it, with uses as of Uses. It
// is closed with the survey. The problems are those about the rules for short names.
func (s *Survey) Needs(uses []Use) (n *Needs, problems []error) {
	n = &Needs{Host: s.Host, inv: s.inv, originals: map[string]string{}}
	if s.Bootc != nil {
		n.addAll(uses, &problems)
	}
	return n, problems
}

// addAll adds all claims of a host whose bootc store has been read.
func (n *Needs) addAll(uses []Use, problems *[]error) {
	n.Bootc = n.inv.bootc
	n.inv.shortNames = remembered(n.inv.shortNames, problems)
	n.addDeployments()
	for _, use := range uses {
		n.addUse(use)
	}
	for i := range n.claims {
		n.claims[i].found = n.claims[i].find(n.Bootc)
	}
}

// remembered returns short with its error as a problem, once.
func remembered(short func() (cstorage.ShortNames, error), problems *[]error) func() (cstorage.ShortNames, error) {
	reported := false
	return func() (cstorage.ShortNames, error) {
		names, err := short()
		if err != nil && !reported {
			reported = true
			*problems = append(*problems, err)
		}
		return names, err
	}
}

// readDigests adds to ostree deployments the digests of what they boot, and reports whether
// that was possible.
func (inv *inventory) readDigests(problems *[]error) bool {
	if inv.host.Kind != host.OSTree {
		return true
	}
	repo, err := inv.Sysroot.OpenRepo()
	if errors.Is(err, ostree.ErrNoRepo) {
		return true
	}
	if err != nil {
		*problems = append(*problems, err)
		return false
	}
	defer repo.Close()
	before := len(*problems)
	for i := range inv.host.Deployments {
		d := &inv.host.Deployments[i]
		if d.Image == nil || d.Commit == "" || d.ManifestDigest != "" {
			continue
		}
		if d.ManifestDigest, err = repo.ManifestDigest(d.Commit); err != nil {
			*problems = append(*problems, fmt.Errorf("describe deployment %s: %w", d.ID(), err))
		}
	}
	return len(*problems) == before
}

// Close closes the stores.
func (n *Needs) Close() { n.inv.close() }

// ShortNames returns the rules for names without a registry, as of cstorage.ReadShortNames.
func (n *Needs) ShortNames() (cstorage.ShortNames, error) { return n.inv.shortNames() }

func (n *Needs) addDeployments() {
	for _, d := range n.Host.Deployments {
		by := ref(d)
		if image := followed(d); image != nil {
			need := Need{By: ByOrigin, Deployment: &by, Name: image.String()}
			if image.NamesInRegistry() {
				n.claims = append(n.claims, claim{Need: need, find: n.byName(image.InStore())})
			}
			if digest := d.ManifestDigest; digest != "" {
				n.claims = append(n.claims, claim{Need: need, find: n.byDigest(digest)})
			}
		}
		n.addBound(by, n.inv.bound[d.ID()])
	}
	// What runs need not be a deployment as it was made.
	if b := n.Host.Booted(); b != nil {
		n.addBound(ref(*b), n.inv.running)
	}
}

// followed is the image that a deployment follows, nil for none.
func followed(d host.Deployment) *host.ImageReference {
	switch {
	case d.Image != nil:
		return &d.Image.Image
	case d.Layered != nil:
		return &d.Layered.Image
	}
	return nil
}

func (n *Needs) addBound(by DeploymentRef, bound []host.BoundImage) {
	for _, b := range bound {
		need := Need{By: ByBinding, Deployment: &by, Name: b.Image}
		if !slices.ContainsFunc(n.claims, func(c claim) bool {
			return c.By == ByBinding && c.Deployment.ID == by.ID && c.Name == b.Image
		}) {
			// podman also runs an image by a name with this transport.
			n.claims = append(n.claims, claim{Need: need, find: n.byName(strings.TrimPrefix(b.Image, "docker://"))})
		}
	}
}

// byDigest finds the images with a manifest digest or, if the store has none, the same image
// exported, whose digest is another.
func (n *Needs) byDigest(digest string) func(*cstorage.Store) []*cstorage.Image {
	has := func(img *cstorage.Image) bool { return img.Has(digest) }
	if !slices.ContainsFunc(n.Bootc.Images, has) {
		has = func(img *cstorage.Image) bool { return n.originalOf(img) == digest }
	}
	return func(s *cstorage.Store) []*cstorage.Image {
		return slices.DeleteFunc(slices.Clone(s.Images), func(img *cstorage.Image) bool { return !has(img) })
	}
}

// originalOf returns the digest that an image had before it was exported, "" for any other.
// The manifest is read once: most deployments are not in the store under any digest.
func (n *Needs) originalOf(img *cstorage.Image) string {
	original, read := n.originals[img.ID]
	if !read {
		original = img.Original()
		n.originals[img.ID] = original
	}
	return original
}

// byName finds what podman means by a name: of a manifest list, the record and the image
// in it for this machine.
func (n *Needs) byName(name string) func(*cstorage.Store) []*cstorage.Image {
	return func(s *cstorage.Store) (found []*cstorage.Image) {
		for _, lookup := range []func(string, func() (cstorage.ShortNames, error)) (cstorage.Match, error){s.LookupRecord, s.LookupMatch} {
			if m, err := lookup(name, n.inv.shortNames); err == nil && !slices.Contains(found, m.Image) {
				found = append(found, m.Image)
			}
		}
		return found
	}
}

func (n *Needs) addUse(use Use) {
	need := use.need()
	if use.Image != "" && n.Bootc.ByID(use.Image) != nil {
		n.claims = append(n.claims, claim{Need: need, find: func(s *cstorage.Store) []*cstorage.Image {
			if img := s.ByID(use.Image); img != nil {
				return []*cstorage.Image{img}
			}
			return nil
		}})
		return
	}
	if use.Layer != "" {
		n.claims = append(n.claims, claim{Need: need, any: true, find: func(s *cstorage.Store) []*cstorage.Image { return s.ImagesWith(use.Layer) }})
	}
}

// Of returns who needs an image of Bootc. It is empty for an image that nothing needs,
// unless ReadNeeds returned problems.
func (n *Needs) Of(img *cstorage.Image) (needs []Need) {
	for _, c := range n.claims {
		if slices.Contains(c.found, img) {
			needs = addNeed(needs, c.Need)
		}
	}
	return needs
}

func addNeed(needs []Need, n Need) []Need {
	if slices.ContainsFunc(needs, n.same) {
		return needs
	}
	return append(needs, n)
}

func (n Need) same(m Need) bool {
	if (n.Deployment == nil) != (m.Deployment == nil) || n.Deployment != nil && *n.Deployment != *m.Deployment {
		return false
	}
	n.Deployment, m.Deployment = nil, nil
	return n == m
}

// Loss is a need that a change of the store would leave without its image.
type Loss struct {
	Image *cstorage.Image
	Need  Need
}

// Lost returns what the host would lose if Bootc became after, which cstorage.Store.After
// makes of it: an image may lose one of its names, and others stay that the host goes by.
func (n *Needs) Lost(after *cstorage.Store) (lost []Loss) {
	for _, c := range n.claims {
		left := c.find(after)
		if c.any && len(left) > 0 {
			continue
		}
		for _, img := range c.found {
			if slices.ContainsFunc(left, func(l *cstorage.Image) bool { return l.ID == img.ID }) {
				continue
			}
			if !slices.ContainsFunc(lost, func(l Loss) bool { return l.Image == img && l.Need.same(c.Need) }) {
				lost = append(lost, Loss{Image: img, Need: c.Need})
			}
		}
	}
	return lost
}
