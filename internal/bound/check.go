// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package bound

import (
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Which says of which deployments bound images are meant: those of a role, or all.
type Which string

// The choices of deployments.
const (
	Booted         = Which(host.Booted)
	Staged         = Which(host.Staged)
	Rollback       = Which(host.Rollback)
	All      Which = "all"
)

// Entry is a bound image of a deployment. Its JSON form is described by
// docs/bound-list-v1.schema.json.
type Entry struct {
	// Image is spelled as in the unit.
	Image      string                  `json:"image"`
	Unit       string                  `json:"unit"`
	Deployment inventory.DeploymentRef `json:"deployment"`
	// ID and Digest are "" for an image that is not present.
	ID     string `json:"id"`
	Digest string `json:"digest"`
	// Present is nil where that is not known.
	Present *bool `json:"present"`

	image *cstorage.Image
}

// Checked is a bound image with its state. Its JSON form is described by
// docs/bound-check-v1.schema.json.
type Checked struct {
	Entry
	// Damage is why it cannot be used, "" for nothing.
	Damage string `json:"damage"`
	// Shadow is the ID of another image of the name in podman's own store, which podman
	// runs in its place; "" for none.
	Shadow string `json:"shadow"`
	// WillBePruned reports that bootc's cleanup removes it.
	WillBePruned bool `json:"will_be_pruned"`
}

// Report is what Check finds.
type Report struct {
	Images   []Checked        `json:"images"`
	Findings []health.Finding `json:"findings"`
}

// List returns the bound images of deployments, in the order of the deployments and of
// their units; findings are about deployments whose bound images are not known.
func List(s *inventory.Survey, which Which) (images []Entry, findings []health.Finding) {
	images = []Entry{}
	for _, d := range s.Host.Deployments {
		if which != All && Which(d.Role) != which {
			continue
		}
		list, known := s.BoundTo(d)
		if !known {
			findings = append(findings, unknown(d, which))
		}
		for _, b := range list {
			img := Entry{Image: b.Name, Unit: b.Unit, Deployment: inventory.DeploymentRef{ID: d.ID(), Role: d.Role}, image: b.Image}
			if b.Image != nil {
				img.ID, img.Digest = b.Image.ID, b.Image.Digest
			}
			if known || b.Image != nil {
				img.Present = new(b.Image != nil)
			}
			images = append(images, img)
		}
	}
	return images, findings
}

// unknown is the finding about a deployment whose bound images cannot be checked. That is
// always so for composefs deployments that are not booted, and matters if the user names one.
func unknown(d host.Deployment, which Which) health.Finding {
	f := health.Finding{
		Rule: health.Unreadable, Severity: health.Unknown, Where: fmt.Sprintf("%s deployment %s", d.Role, d.ID()),
		What: "its bound images cannot be checked",
	}
	if d.Verity != "" && d.Role != host.Booted {
		f.What = "its bound images are not known before it is booted"
		if which == All {
			f.Severity = health.Information
		}
	}
	return f
}

// Check checks the bound images of deployments against the stores, by reading files. locked
// has digests by the names in units, nil for no lock; it counts for the booted deployment.
func Check(s *inventory.Survey, which Which, locked map[string]string) Report {
	entries, findings := List(s, which)
	r := Report{Images: []Checked{}, Findings: append([]health.Finding{}, findings...)}
	for _, e := range entries {
		c := Checked{Entry: e}
		switch {
		case e.image != nil:
			r.check(s, &c)
			want, ok := locked[e.Image]
			if locked != nil && e.Deployment.Role == host.Booted && (!ok || !e.image.Is(want)) {
				r.find(e, health.BoundLocked, health.Failing, "is not the one in bound.lock", "the hook bound-gate does not let its containers start", "bootc-podman bound lock")
			}
		case e.Present != nil:
			r.find(e, health.BoundMissing, health.Failing, "is not in the bootc-owned store", "its containers do not start, or pull it into podman's own store", "bootc-podman bound fetch")
		}
		r.Images = append(r.Images, c)
	}
	return r
}

// check compares an image that is there with the stores.
func (r *Report) check(s *inventory.Survey, c *Checked) {
	img := c.image
	if err := s.Bootc.Damage(img); err != nil {
		c.Damage = err.Error()
		r.Findings = health.Add(r.Findings, health.Damaged(inventory.Damage{Store: inventory.BootcStore, Image: img, Err: err}))
	}
	for _, name := range img.Names {
		if s.Own == nil {
			break
		}
		if other := s.Own.Named(name); other != nil && other.ID != img.ID {
			c.Shadow = other.ID
			r.find(c.Entry, health.BoundShadowed, health.Risk, fmt.Sprintf("podman's own store has another image of its name, %.12s", other.ID), "containers run that one", wrapper.Quote("podman", "untag", other.ID[:min(12, len(other.ID))], name))
		}
	}
	keepers, decided := s.KeptBy(img)
	if c.WillBePruned = decided && len(keepers) == 0; c.WillBePruned {
		why := "bootc does not recognise the name"
		if s.Host.Kind == host.Composefs {
			why = "on composefs bootc keeps no bound images"
		}
		r.find(c.Entry, health.BoundPruned, health.Risk, "bootc's next cleanup deletes it: "+why, "", "")
	}
}

// find adds a finding, once for the image of several deployments.
func (r *Report) find(e Entry, rule health.Rule, severity health.Severity, what, why, fix string) {
	r.Findings = health.Add(r.Findings, health.Finding{
		Rule: rule, Severity: severity, Where: "bound image " + e.Image, What: what, Why: why, Fix: fix,
	})
}
