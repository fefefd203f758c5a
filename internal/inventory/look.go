// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Look reads a host as far as that is possible, without the images of its ostree
// repository, and starts no program. The problems are what could not be read, but for those
// of single images: see Damaged. The survey is nil where there is no host; else it has to be
// closed.
func Look(o Options) (*Survey, []error) {
	if o.inContainer() {
		return nil, []error{ErrNotOnHost}
	}
	o.Type, o.AllStores = Logical, true
	inv := newInventory(o)
	inv.readAll()
	if inv.located == (storageconf.Store{}) {
		return nil, inv.problems
	}
	inv.describeUsers()
	inv.users = inv.findUsers()
	problems := grave(slices.Concat(inv.problems, inv.runningProblems))
	if inv.located.Physical != "." {
		problems = append(problems, inv.boundProblems...)
	}
	return &Survey{
		Host: inv.host, Store: inv.located, Bootc: inv.bootc, Default: inv.podman, Own: inv.own,
		inv: inv, keepers: findKeepers(inv.host, inv.bound, inv.hostRead && inv.boundRead),
	}, problems
}

// Bound is a bound image of a root.
type Bound struct {
	// Name is spelled as in the unit.
	Name, Unit string
	// Image is the one of the bootc store, nil if that does not have it.
	Image *cstorage.Image
}

// Bound are the bound images of the running root and of all deployments, without those of
// which it is not known whether the bootc store has them.
func (s *Survey) Bound() (list []Bound) {
	all := slices.Clone(s.inv.running)
	for _, d := range s.Host.Deployments {
		for _, b := range s.inv.bound[d.ID()] {
			if !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
	}
	for _, b := range all {
		if img, known := s.inv.findBound(b); known {
			list = append(list, Bound{b.Image, b.Unit, img})
		}
	}
	return list
}

// BoundTo are the bound images of a deployment; of the booted one also those of the running
// root, which need not be as it was made. known is false where it cannot be said what is
// bound, or what the bootc store has: a composefs deployment has a root only while it is
// booted.
func (s *Survey) BoundTo(d host.Deployment) (list []Bound, known bool) {
	root, err := s.inv.Sysroot.OpenRoot(d)
	if err != nil {
		return nil, false
	}
	root.Close()
	all := s.inv.bound[d.ID()]
	if d.Role == host.Booted {
		all = slices.Clone(all)
		for _, b := range s.inv.running {
			if !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
	}
	known = true
	for _, b := range all {
		img, ok := s.inv.findBound(b)
		list, known = append(list, Bound{b.Image, b.Unit, img}), known && ok
	}
	return list, known
}

// Unified reports whether bootc looks into the bootc store when it upgrades, as Status does,
// but not whether skopeo then finds the image: see Hidden and LookedUp.
func (s *Survey) Unified() Unification { return s.inv.stored() }

// NotLooked are the parts of a status that could not be looked at.
func (s *Survey) NotLooked() []NotLooked {
	return s.inv.notLooked(&Status{Unified: s.inv.stored(), Filesystem: &Filesystem{}, Rollback: &Deployment{}})
}

// UsedBy are the deployments that boot an image of the bootc store or have it bound.
func (s *Survey) UsedBy(img *cstorage.Image) []DeploymentRef {
	return deploymentsOf(s.inv.users[img])
}

// KeptBy is what keeps bootc from removing an image of the bootc store; decided is false
// where bootc collects nothing.
func (s *Survey) KeptBy(img *cstorage.Image) (keepers []Keeper, decided bool) {
	return s.keepers.of(img.Names), s.keepers.namesDecided
}

// Target is the deployment whose image bootc looks for in the bootc store first, nil for
// none.
func (s *Survey) Target() *host.Deployment {
	if targets := UpgradeTargets(s.Host); len(targets) > 0 && targets[0].Image != nil {
		return targets[0]
	}
	return nil
}

// Usage is what the containers-storages that exist hold, of a survey by NewSurvey also the
// ostree repository.
func (s *Survey) Usage() []StoreUsage { return s.inv.usage() }

// Uses are the containers and the images of other stores that have files in the bootc
// store, and the containers of the bootc store.
func (s *Survey) Uses() ([]Use, []error) {
	if s.Bootc == nil {
		return nil, nil
	}
	return s.inv.readUses(nil)
}
