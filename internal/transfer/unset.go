// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

var (
	// ErrNotOnboarded says that SetUnified brought nothing to this host.
	ErrNotOnboarded = errors.New("set-unified brought no image to this host")
	// ErrNeeded says that a deployment needs an image.
	ErrNeeded = errors.New("a deployment needs it")
)

// Removal is what UnsetUnified did.
type Removal struct {
	// Name is that of the image which was brought, ID the image that had it last, ""
	// for none.
	Name, ID string
	// Replaced is the ID of the image that had the name before and has it again, ""
	// for none.
	Replaced string
}

// UnsetUnified takes the image that SetUnified brought out of the bootc-owned store
// again, by its name, and gives the name back to what had it before. bootc then
// upgrades as it did before. Errors are ErrNotOnboarded, ErrNeeded, ErrBusy and
// those of podman.
func UnsetUnified(ctx context.Context, o Options) (*Removal, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	record, err := o.readRecord()
	if err != nil {
		return nil, err
	}
	if record == nil {
		return nil, ErrNotOnboarded
	}
	s, at, err := o.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer at.close()
	img, err := s.Find(s.Bootc, record.Name)
	if err != nil {
		return nil, err
	}
	r := &Removal{Name: record.Name}
	// A run that was killed may not have got to bringing anything.
	if img != nil && img.ID != record.Replaced {
		if err := needed(s.Survey, record.Name); err != nil {
			return nil, fmt.Errorf("remove image %s: %w", record.Name, err)
		}
		r.ID = img.ID
		if record.Replaced != "" && record.Replaced != img.ID && s.Bootc.ByID(record.Replaced) != nil {
			r.Replaced = record.Replaced
		}
		if err := at.takeOut(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, o.remember(nil)
}

// takeOut takes the name away, and the image with it if that was its last.
func (p *places) takeOut(ctx context.Context, r *Removal) error {
	if err := p.openBootc(); err != nil {
		return err
	}
	if r.Replaced == "" {
		return p.bootc.image(ctx, "rm", "--", r.Name)
	}
	if err := p.bootc.tag(ctx, r.Replaced, r.Name); err != nil {
		return err
	}
	// What lost the name may have others.
	if names, err := p.bootc.names(); err != nil || len(names[r.ID]) > 0 {
		return err
	}
	return p.bootc.image(ctx, "rm", "--", r.ID)
}

// needed reports whether a deployment would lack an image of the bootc-owned store: it
// has it bound, or follows it by the name of a local image that podman's own store
// does not have.
func needed(s *inventory.Survey, name string) error {
	keepers, _ := s.Keepers(name)
	for _, k := range keepers {
		if k.By == inventory.ByBinding {
			return fmt.Errorf("%w: %s has it bound", ErrNeeded, k.Deployment)
		}
	}
	for _, d := range s.Host.Deployments {
		if d.Image == nil || d.Image.Image.Transport != host.ContainersStorage {
			continue
		}
		stored, err := inventory.StoredName(d.Image.Image)
		if err != nil || stored.String() != name {
			continue
		}
		img, err := s.Find(s.Own, name)
		if err != nil {
			return err
		}
		if img == nil {
			return fmt.Errorf("%w: %s follows %s, which podman's own store does not have", ErrNeeded, d.ID(), d.Image.Image)
		}
	}
	return nil
}
