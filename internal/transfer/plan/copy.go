// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// CopyChoice is what the user chooses about a copy to podman's own store.
type CopyChoice struct {
	// Image is the reference of an image that a deployment follows or the ostree
	// repository has, with its transport; "" is the booted one.
	Image string
	// Target is what the image is called in podman's own store, as podman stores the name.
	Target string
	// From is the only source to consider, "" for any on this host.
	From Source
	// Method is how copies between stores are to be made: Auto, Clone or ByPodman.
	Method Method
	// NoAssembly leaves out images of which a store has the layers only.
	NoAssembly bool
	// Alternatives has Describe also look at the other sources.
	Alternatives bool
}

// CopyPlan is how an image of a deployment is copied to podman's own store. It is made
// before anything is changed.
type CopyPlan struct {
	// Image is the reference of what is copied, Digest its manifest digest, "" when not known.
	Image, Digest string
	Source        Source
	// Take is what is taken from the source: the ID of an image in a store, a name in a
	// registry, a commit of the ostree repository, Digest, which is cloned out of the composefs
	// repository, or Image, which bootc exports.
	Take string
	// Names are what the image is called in podman's own store, Target first. An image that
	// has Target there already needs the others only.
	Names []string
	// Written are the names that podman's own store gets, also those that a step removes.
	Written []string
	// Held is the image in the bootc-owned store, where that is the source.
	Held Held
	// Assembly is what the image is made of, where the source has its layers only.
	Assembly *Assembly
	// Layers are those of a pull or of a clone out of the composefs repository, nil when not
	// known, and Loan what the bootc-owned store
	// lends to it, nil for nothing.
	Layers []host.Descriptor
	Loan   *Loan
	// Accepted are the manifest digests that the copy may have, nil for any. What an export
	// from the ostree repository has is known after it only.
	Accepted []string
	// Stored is the manifest digest of the image that has Target already, and is not
	// verified, "" for none.
	Stored string
	// Steps are what is done, in order. StepCopy and StepExport clone where Method allows.
	Steps []StepName

	reference host.ImageReference
	// commit has the image in the ostree repository, "" on composefs hosts.
	commit string
}

// NewCopy decides how an image is copied to podman's own store: from the first source that
// has it. Errors are ErrNotBooted, ErrNotFromImage, cstorage.ErrNotFound and ErrNoSource.
func NewCopy(v *View, choice CopyChoice) (*CopyPlan, error) {
	p := &CopyPlan{Names: []string{choice.Target}, Written: []string{choice.Target}}
	if err := p.find(v, choice.Image); err != nil {
		return nil, err
	}
	var refused []string
	for _, try := range copyTries {
		switch {
		case choice.From != "" && try.source != choice.From:
			continue
		case choice.From == "" && try.source == FromRegistry: // of this host only, as bootc does
			continue
		}
		p.Source = try.source
		err := try.decide(p, v, choice)
		if errors.Is(err, ErrNotThere) || choice.From != "" && errors.Is(err, ErrNotSuch) {
			refused = append(refused, fmt.Sprintf("%s: %v", p.Source, err))
		} else if !errors.Is(err, ErrNotSuch) {
			return p, err
		}
	}
	return nil, fmt.Errorf("copy %s, %s: %w: %s", p.Image, p.Digest, ErrNoSource, strings.Join(refused, "; "))
}

// copyTries are the sources in their order, and how a plan decides about each.
var copyTries = []struct {
	source Source
	decide func(*CopyPlan, *View, CopyChoice) error
}{
	{FromDefault, (*CopyPlan).fromDefault},
	{FromBootc, (*CopyPlan).fromBootc},
	{FromDefault, (*CopyPlan).fromLayers},
	{FromBootc, (*CopyPlan).fromLayers},
	{FromRegistry, (*CopyPlan).fromRegistry},
	{FromOSTree, (*CopyPlan).fromOSTree},
	{FromComposefs, (*CopyPlan).fromComposefs},
}

// find finds what is to be copied. What is booted is found by its commit, since a
// ref of its name can be older.
func (p *CopyPlan) find(v *View, image string) error {
	if image == "" {
		booted := v.Host.Booted()
		switch {
		case booted == nil:
			return ErrNotBooted
		case booted.Layered != nil:
			return fmt.Errorf("copy deployment %s: %w", booted.ID(), &LayeredError{booted.Layered.Image})
		case booted.Image == nil:
			return fmt.Errorf("copy deployment %s: %w", booted.ID(), ErrNotFromImage)
		}
		p.reference, p.Digest, p.commit = booted.Image.Image, booted.ManifestDigest, booted.Commit
		p.Image = p.reference.String()
		return nil
	}
	ref, err := host.ParseImageReference(image)
	if err != nil {
		return err
	}
	p.reference, p.Image = ref, ref.String()
	// As of what is booted, a ref of the base can be newer.
	if b := v.Host.Booted(); b != nil && b.Layered != nil && b.Layered.Image == ref && b.Base != nil {
		p.Digest, p.commit = b.Base.ManifestDigest, b.Base.Checksum
		return nil
	}
	for _, img := range v.Repo {
		if img.Image == ref {
			p.Digest, p.commit = img.ManifestDigest, img.Checksum
			return nil
		}
	}
	for _, d := range v.Host.Deployments {
		if v.Host.Kind == host.Composefs && d.Image != nil && d.Image.Image == ref {
			p.Digest = d.ManifestDigest
			return nil
		}
	}
	return fmt.Errorf("find %s on this host: %w", ref, cstorage.ErrNotFound)
}

// fromDefault looks whether podman's own store has the image already, under another
// name perhaps.
func (p *CopyPlan) fromDefault(v *View, choice CopyChoice) error {
	named, err := v.Find(v.Own, choice.Target)
	if named != nil && v.Own.Damage(named) != nil {
		named = nil
	}
	switch {
	case err != nil:
		return err
	case named != nil && p.Digest != "" && named.Is(p.Digest):
		p.Take, p.Stored, p.Names, p.Steps = named.ID, named.Digest, nil, []StepName{StepTag}
		p.nameForBootc(v, choice.Target)
		return nil
	case v.Own == nil, p.Digest == "":
		return ErrNotThere
	}
	found := finished(v.Own.ByDigest(p.Digest))
	if len(found) == 0 {
		return ErrNotThere
	}
	p.Take, p.Accepted, p.Steps = found[0].ID, []string{p.Digest}, []StepName{StepTag, StepVerify}
	p.nameForBootc(v, choice.Target)
	return nil
}

// nameForBootc adds the names that the image has to have in podman's own store besides the
// target, for bootc to find it in the bootc store.
func (p *CopyPlan) nameForBootc(v *View, target string) {
	names := slices.DeleteFunc(v.UpgradeNames(p.Take), func(name string) bool { return name == target })
	p.Names, p.Written = append(p.Names, names...), append(p.Written, names...)
}

// fromBootc takes the image from the bootc-owned store, where it may be an export.
func (p *CopyPlan) fromBootc(v *View, choice CopyChoice) error {
	if v.Bootc == nil || p.Digest == "" {
		return ErrNotThere
	}
	found := finished(v.Bootc.ByDigest(p.Digest))
	if named, err := v.Find(v.Bootc, p.reference.Name); err == nil && named != nil && named.Is(p.Digest) && v.Bootc.Damage(named) == nil {
		found = append(found, named)
	}
	if len(found) == 0 {
		return ErrNotThere
	}
	p.Take, p.Held, p.Accepted = found[0].ID, Held{Store: v.Bootc, Image: found[0]}, found[0].Digests
	p.Steps = []StepName{StepCopy, StepVerify}
	p.nameForBootc(v, choice.Target)
	return nil
}

// fromLayers makes the image of layers of another image in the store that is the source.
func (p *CopyPlan) fromLayers(v *View, choice CopyChoice) error {
	store := v.Own
	if p.Source == FromBootc {
		store = v.Bootc
	}
	if choice.NoAssembly {
		return ErrNotSuch
	}
	if p.Assembly = v.assembly(store, p.Digest, choice.Method); p.Assembly == nil {
		return ErrNotSuch
	}
	p.Take, p.Accepted, p.Steps = p.Assembly.Image, []string{p.Digest}, []StepName{StepClone, StepVerify}
	return nil
}

// fromRegistry pulls the exact image.
func (p *CopyPlan) fromRegistry(v *View, choice CopyChoice) error {
	if p.reference.Transport != host.Registry {
		return fmt.Errorf("pull %s: image is of transport %s", p.Image, p.reference.Transport)
	}
	name, err := inventory.StorableName(p.reference)
	if err != nil {
		return err
	}
	name.Tag, name.Digest = "", p.Digest
	p.Take, p.Accepted = name.String(), []string{p.Digest}
	p.Written = append(p.Written, p.Take)
	if choice.Method != ByPodman {
		p.Loan = NewLoan(v.Bootc, v.Own, v.Commits, p.Digest)
	}
	if i := slices.IndexFunc(v.Commits, func(img host.RepoCommit) bool { return img.ManifestDigest == p.Digest }); i >= 0 {
		p.Layers = v.Commits[i].Manifest.Layers
	}
	p.Steps = []StepName{StepPull, StepTag}
	// It may have been pulled by its digest before.
	if own, err := v.Find(v.Own, p.Take); err != nil || own == nil || !slices.Contains(own.Names, p.Take) {
		p.Steps = append(p.Steps, StepUntag)
	}
	p.Steps = append(p.Steps, StepVerify)
	if p.Loan != nil {
		p.Steps = append(append([]StepName{StepLend}, p.Steps...), StepReturn)
	}
	return nil
}

// fromOSTree makes the image of a commit, or has podman pull it.
func (p *CopyPlan) fromOSTree(*View, CopyChoice) error {
	if p.commit == "" {
		return ErrNotSuch
	}
	p.Take, p.Steps = p.commit, []StepName{StepExport, StepVerify}
	return nil
}

// fromComposefs clones the image out of the composefs repository, or lets bootc export the
// deployment.
func (p *CopyPlan) fromComposefs(v *View, choice CopyChoice) error {
	if v.Host.Kind != host.Composefs {
		return ErrNotSuch
	}
	if layers, err := v.composefs(p.Digest, choice.Method, "podman's own store", v.Own); err == nil {
		p.Take, p.Accepted, p.Layers, p.Steps = p.Digest, []string{p.Digest}, layers, []StepName{StepClone, StepVerify}
		return nil
	}
	p.Steps = []StepName{StepBootc, StepVerify}
	return p.ByBootc(v)
}

// ByBootc changes a plan into one by which bootc exports the deployment. The error says why it
// cannot.
func (p *CopyPlan) ByBootc(v *View) error {
	p.Take, p.Accepted, p.Layers = p.Image, nil, nil
	return BootcFinds(v, p.reference, p.Digest)
}
