// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// Here the plans of copy-to-storage and pull-from-default-storage get the form that the one of
// set-unified has.

// Describe returns a plan in the form of set-unified's. to is podman's own store, on the given
// filesystem. With choice.Alternatives it has the other sources, too.
func (p *CopyPlan) Describe(v *View, choice CopyChoice, to Destination, on inventory.Filesystem) (*Plan, error) {
	d, err := p.describe(v, choice, to, on)
	if err != nil || !choice.Alternatives {
		return d, err
	}
	choice.From = ""
	for _, try := range copyTries {
		listed := func(a Alternative) bool { return a.Source == try.source }
		if try.source == p.Source || slices.ContainsFunc(d.Alternatives, listed) {
			continue
		}
		other := &CopyPlan{Image: p.Image, Digest: p.Digest, Source: try.source, Names: []string{choice.Target}, reference: p.reference, commit: p.commit}
		err := try.decide(other, v, choice)
		var o *Plan
		if err == nil {
			o, err = other.describe(v, choice, to, on)
		}
		switch {
		case errors.Is(err, ErrNotSuch):
		case err != nil:
			d.Refused = append(d.Refused, Refusal{try.source, err.Error()})
		default:
			d.Refused = slices.DeleteFunc(d.Refused, func(r Refusal) bool { return r.Source == try.source })
			d.Alternatives = append(d.Alternatives, Alternative{
				Source: try.source, Choose: "--from " + string(try.source), Digest: o.ResultDigest, Exact: o.Exact, Identity: o.Identity,
				Method: o.Method, MethodReason: o.MethodReason, Fetch: o.Fetch, Write: o.Write, WriteReason: o.WriteReason, Time: o.Time,
			})
		}
	}
	return d, nil
}

func (p *CopyPlan) describe(v *View, choice CopyChoice, to Destination, on inventory.Filesystem) (*Plan, error) {
	d := &Plan{
		Schema: 1, Image: p.Image, Name: choice.Target, Role: v.roleOf(p.reference, p.Digest), Destination: FromDefault, Digest: p.Digest,
		Source: p.Source, Reason: "no nearer source has it", Take: p.Take, Available: on.Free, Reflink: on.Reflink,
		Exact: true, Kept: true, Upgrade: NotExamined, Discards: []string{}, Alternatives: []Alternative{}, Refused: []Refusal{},
	}
	if named, err := v.Find(v.Own, choice.Target); err == nil && named != nil && !named.Is(p.Digest) {
		d.Replaces = named.ID
	}
	if choice.From != "" {
		d.Reason = "as asked for"
	}
	cost := map[Source]func() error{
		FromDefault:   func() error { return p.tagged(d, v) },
		FromBootc:     func() error { return p.copied(d, v, choice, to) },
		FromRegistry:  func() error { return p.pulled(d, v, to) },
		FromOSTree:    func() error { return p.exported(d, v, choice, to) },
		FromComposefs: func() error { return p.cloned(d, v, choice, to) },
	}
	decide := cost[p.Source]
	if p.Assembly != nil {
		decide = func() error { return p.assembled(d, v, to) }
	}
	if err := decide(); err != nil {
		return nil, err
	}
	d.identify(v.Host.Kind)
	d.Time = d.time()
	d.Steps = p.explain(d)
	return d, nil
}

// roleOf is the role of the deployment that has an image, "" for none.
func (v *View) roleOf(image host.ImageReference, digest string) host.Role {
	for _, d := range v.Host.Deployments {
		if d.Image != nil && d.Image.Image == image && d.ManifestDigest == digest {
			return d.Role
		}
	}
	return ""
}

// tagged is the plan where podman's own store has the image.
func (p *CopyPlan) tagged(d *Plan, v *View) error {
	d.Method, d.Write, d.Reason = Tag, new(int64), "podman's own store has it"
	if len(p.Names) == 0 {
		d.Method = Nothing
	}
	d.has(v.Own.ByID(p.Take))
	return nil
}

// has sets what it means for the digest that img is what is copied.
func (p *Plan) has(img *cstorage.Image) {
	p.Exact, p.ResultDigest = p.Digest == "" || img.Has(p.Digest), img.Digest
	if p.Exact && p.Digest != "" {
		p.ResultDigest = p.Digest
	}
}

// assembled is the plan of an image whose layers another image has.
func (p *CopyPlan) assembled(d *Plan, v *View, to Destination) error {
	d.Method, d.MethodReason, d.Layers = Clone, "another image has its layers", p.Assembly.Layers
	if p.Source == FromDefault {
		d.Write = new(int64)
		return nil
	}
	d.writeUnlessShared(v.Sharing(v.Bootc.Path(), to.Dir), func() (int64, error) { return to.Missing(d.Layers), nil })
	return nil
}

// copied is the plan of a copy out of the bootc-owned store.
func (p *CopyPlan) copied(d *Plan, v *View, choice CopyChoice, to Destination) (err error) {
	d.has(p.Held.Image)
	d.Method, d.MethodReason, err = Choice{Method: choice.Method}.method(v, Copy, "both stores have overlay layers",
		map[string]*cstorage.Store{"podman's own store": v.Own, "the bootc-owned store": v.Bootc})
	d.writesOf(v, p.Held, to)
	return err
}

// writesOf sets what a copy between stores writes.
func (p *Plan) writesOf(v *View, from Held, to Destination) {
	bytes := to.Missing(Descriptors(from.Store, from.Image))
	if p.Method != Clone {
		p.Write, p.Spooled = &bytes, bytes
		return
	}
	known := inventory.Yes
	copied := to.Written(from, func(from, to string) inventory.Capability {
		shared := v.Sharing(from, to)
		if shared != inventory.Yes && known != inventory.Unknown {
			known = shared
		}
		return shared
	}, nil)
	p.writeUnlessShared(known, func() (int64, error) { return copied, nil })
}

// pulled is the plan of a pull from a registry.
func (p *CopyPlan) pulled(d *Plan, v *View, to Destination) error {
	d.Method = Pull
	d.WriteReason = "this host does not keep the manifest of the image, which has the sizes of its layers"
	if p.Layers == nil {
		return nil
	}
	var shared inventory.Capability
	if p.Loan != nil {
		shared = v.Sharing(v.Bootc.Path(), to.Dir)
	}
	fetched, written := to.Pulled(p.Layers, p.Loan, shared)
	d.Fetch, d.Spooled = fetched, fetched
	d.write(written, nil)
	return nil
}

// exported is the plan of an export out of the ostree repository.
func (p *CopyPlan) exported(d *Plan, v *View, choice CopyChoice, to Destination) (err error) {
	d.Exact = false
	if err := v.noProgram(); err != nil {
		return err
	}
	d.Method, d.MethodReason, err = Choice{Method: choice.Method}.method(v, Reexport, "podman's own store has overlay layers",
		map[string]*cstorage.Store{"podman's own store": v.Own})
	bytes := func() (int64, error) { return v.ExportedBytes(p.commit) }
	if d.Method == Clone {
		d.writeUnlessShared(v.Sharing(v.RepoPath, to.Dir), bytes)
	} else {
		d.write(bytes())
	}
	return err
}

// cloned is the plan of a copy out of the composefs repository.
func (p *CopyPlan) cloned(d *Plan, v *View, choice CopyChoice, to Destination) error {
	if slices.Contains(p.Steps, StepBootc) {
		d.Method, d.Exact = ByBootc, false
		d.WriteReason = "bootc does not report what its export takes"
		if _, err := v.composefs(p.Digest, choice.Method, "podman's own store", v.Own); err != nil {
			d.MethodReason = err.Error()
		}
		return nil
	}
	d.Method, d.MethodReason = Clone, "the composefs repository has its layers"
	d.writeUnlessShared(v.Sharing(v.ComposefsPath, to.Dir), func() (int64, error) { return to.Missing(p.Layers), nil })
	return nil
}

// explain returns the steps of the plan with what they do.
func (p *CopyPlan) explain(d *Plan) []Step {
	steps := []Step{}
	if d.Method == Nothing {
		return steps
	}
	from := map[Source]string{FromDefault: "podman's own store", FromBootc: "the bootc-owned store", FromOSTree: "the ostree repository", FromComposefs: "the composefs repository"}[p.Source]
	for _, name := range p.Steps {
		step := Step{name, ""}
		switch name {
		case StepTag:
			step.Description = fmt.Sprintf("name it %s in podman's own store", p.Names[0])
		case StepCopy:
			step.Description = fmt.Sprintf("copy %.12s from %s", p.Take, from)
			if d.Method == Clone {
				step = Step{StepClone, fmt.Sprintf("clone %.12s from %s", p.Take, from)}
			}
		case StepLend:
			step.Description = fmt.Sprintf("clone layers of image %.12s, %d of the image's, from the bootc-owned store", p.Loan.Image, len(p.Loan.Blobs))
		case StepPull:
			step.Description = "pull " + p.Take
		case StepUntag:
			step.Description = "take away the name " + p.Take
		case StepReturn:
			step.Description = "remove what keeps only these layers"
		case StepExport:
			step.Description = "export the commit from " + from
			if d.Method == Clone {
				step = Step{StepClone, "make it of the commit's files in " + from}
			}
		case StepClone:
			step.Description = "clone it out of " + from
			if p.Assembly != nil {
				step.Description = fmt.Sprintf("make it of %d layers of image %.12s in %s", len(d.Layers), p.Take, from)
			}
		case StepBootc:
			step.Description = "let bootc export " + p.Take
		case StepVerify:
			step.Description = "verify that it is what was copied"
		}
		steps = append(steps, step)
	}
	return steps
}

// NewPull returns the plan of a copy of an image of podman's own store to the bootc-owned one,
// under a name. there reports that nothing is to be done.
func NewPull(v *View, from Held, as string, there bool, to Destination, on inventory.Filesystem, method Method) (*Plan, error) {
	p := &Plan{
		Schema: 1, Image: "containers-storage:" + as, Name: as, Destination: FromBootc, Digest: from.Image.Digest,
		Source: FromDefault, Reason: "podman's own store has it", Take: from.Image.ID, Available: on.Free, Reflink: on.Reflink,
		Exact: true, Identity: SameImage, Upgrade: NotExamined, ResultDigest: from.Image.Digest,
		Discards: []string{}, Steps: []Step{}, Alternatives: []Alternative{}, Refused: []Refusal{},
	}
	if v.Survey != nil {
		keepers, _ := v.Keepers(as)
		p.Kept = len(keepers) > 0
		for _, d := range v.Host.Deployments {
			if p.Role == "" && d.Image != nil && d.ManifestDigest == p.Digest {
				p.Role = d.Role
			}
		}
	}
	if to.Store != nil {
		if named := to.Store.Named(as); named != nil && named.ID != from.Image.ID {
			p.Replaces = named.ID
		}
	}
	if there {
		p.Method, p.Write, p.Reason, p.Time = Nothing, new(int64), "the bootc-owned store has it", TimeInstant
		return p, nil
	}
	var err error
	if p.Method, p.MethodReason, err = (Choice{Method: method}).method(v, Copy, "both stores have overlay layers",
		map[string]*cstorage.Store{"podman's own store": from.Store, "the bootc-owned store": to.Store}); err != nil {
		return nil, err
	}
	p.writesOf(v, from, to)
	p.Time = p.time()
	step := Step{StepCopy, fmt.Sprintf("copy %s from podman's own store", from.Name)}
	if p.Method == Clone {
		step = Step{StepClone, fmt.Sprintf("clone %s from podman's own store", from.Name)}
	}
	p.Steps = []Step{step, {StepVerify, "verify that it is what was copied"}}
	return p, nil
}
