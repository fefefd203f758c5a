// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"slices"

	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// State is what an examined host boots and holds, for figures over time. What could not be
// read is left out, and a finding says so.
type State struct {
	// Deployments are the booted, the staged and the rollback one, those that exist, each once.
	Deployments []host.Deployment
	// Unified reports that bootc upgrades through the bootc store. It is nil where no
	// deployment is booted from an image, and where the store cannot be read.
	Unified *bool
	// BoundPresent and BoundMissing count the bound images of all deployments, each unit once;
	// BoundUnknown reports that the store cannot be read.
	BoundPresent, BoundMissing int
	BoundUnknown               bool
	// Stores are the two containers-storages that exist.
	Stores []inventory.StoreUsage
	// Filesystem is the one that the bootc store lies on, or would lie on.
	Filesystem *inventory.Filesystem
	// Hooks are empty where they cannot be read.
	Hooks []setup.Effect
}

// ExamineState is Examine, and returns also the state of the host that it read. The state is
// nil where there is no host.
func ExamineState(ctx context.Context, o Options) ([]Problem, *State) {
	var state *State
	found := examine(ctx, o, false, func(ex *examination) { state = ex.state() })
	return withoutDuplicates(found), state
}

// state is what the survey shows of the host.
func (ex *examination) state() *State {
	s := &State{Stores: ex.survey.Usage()}
	for _, role := range []host.Role{host.Booted, host.Staged, host.Rollback} {
		for _, d := range ex.survey.Host.Deployments {
			if d.Role == role {
				s.Deployments = append(s.Deployments, d)
				break
			}
		}
	}
	notLooked := ex.survey.NotLooked()
	if ex.survey.Target() != nil && !slices.Contains(notLooked, inventory.NotUnified) {
		on := ex.survey.Unified().On
		s.Unified = &on
	}
	s.BoundUnknown = slices.Contains(notLooked, inventory.NotBound)
	for _, b := range ex.survey.Bound() {
		if b.Image != nil {
			s.BoundPresent++
		} else {
			s.BoundMissing++
		}
	}
	dir, err := ex.survey.Store.Open()
	if err != nil {
		dir, err = ex.survey.Store.OpenPhysical()
	}
	if err == nil {
		s.Filesystem, _ = inventory.FilesystemOf(dir) // the check of the filesystem reports the error
		dir.Close()
	}
	if ex.Sysroot.Running != "" {
		s.Hooks, _ = setup.Effects(ex.Root) // the check of hooks reports the error
	}
	return s
}
