// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"fmt"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// discardDamaged removes an image from the bootc-owned store that is to come there again,
// if it is damaged there. It returns the names, besides as, that it had. Where another
// image has a damaged layer, or podman could not give it its names again, nothing is
// removed, and the error is a *DamagedError.
func (o Options) discardDamaged(ctx context.Context, session *wrapper.Session, img *cstorage.Image, as string) (names []string, err error) {
	to, done, err := o.openBootcDestination()
	if err != nil || to.Store == nil {
		return nil, err
	}
	defer done()
	own := to.Store.ByID(img.ID)
	if own == nil {
		return nil, nil
	}
	damage := to.Store.Damage(own)
	if damage == nil {
		return nil, nil
	}
	what := fmt.Sprintf("copy %s to %s", as, to.Name)
	for _, l := range to.Store.LayersOf(own) {
		err, users := to.Store.LayerDamage(l.ID), to.Store.ImagesWith(l.ID)
		if err != nil && len(users) > 1 {
			return nil, &plan.DamagedError{What: what, Bootc: true, Err: err, Users: users}
		}
	}
	for _, name := range own.Names {
		switch {
		case name == as:
		case strings.Contains(name, "@"):
			return nil, &plan.DamagedError{What: what, Bootc: true, Err: damage, Users: []*cstorage.Image{own}}
		default:
			names = append(names, name)
		}
	}
	o.Events.Damaged(inventory.Damage{Store: inventory.BootcStore, Image: own, Err: damage})
	return names, o.bootcImage(ctx, session, "rm", "--force", own.ID)
}

// bootcImage runs "podman image" on the bootc-owned store.
func (o Options) bootcImage(ctx context.Context, session *wrapper.Session, args ...string) error {
	cmd, err := session.Podman(ctx, append([]string{"image"}, args...)...)
	if err != nil {
		return err
	}
	cmd.Stderr = o.Stderr
	return session.Run(ctx, cmd)
}

// checkDamage refuses a plan that would share a damaged layer, before anything is
// changed. What an export consists of is not known before it is read.
func (o Options) checkDamage(v *plan.View, p *plan.Plan) error {
	var layers []host.Descriptor
	switch {
	case p.Method == plan.Pull:
		layers = p.Layers
	case (p.Method == plan.Clone || p.Method == plan.Copy) && p.Source == plan.FromDefault:
		img, err := v.Default.Lookup(p.Take, o.shortNames)
		if err != nil {
			return err
		}
		layers = plan.Descriptors(v.Default, img)
	default:
		return nil
	}
	to, err := o.bootcDestination(v.Bootc)
	if err != nil {
		return err
	}
	return to.Damaged(fmt.Sprintf("bring %s into %s", p.Name, to.Name), layers, p.Method == plan.Clone, p.Discards...)
}
