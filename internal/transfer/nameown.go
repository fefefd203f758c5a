// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"

	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

// nameOwn gives images of podman's own store the names by which skopeo looks for them
// when bootc upgrades the host, see inventory.HiddenError. A name that another image of
// podman's own store has is left to it, and Events.Hidden is called.
func (o Options) nameOwn(ctx context.Context, h *host.Host) error {
	if o.Host.DryRun != nil || h == nil {
		return nil
	}
	s, err := inventory.SurveyStores(o.Options)
	if err != nil {
		return err
	}
	hidden := s.Hidden(h)
	s.Close()
	for _, image := range hidden {
		if image.Other != "" {
			o.Events.Hidden(image)
		}
		if image.Named {
			continue
		}
		if err := o.tagOwn(ctx, image.ID, image.Name); err != nil {
			return err
		}
	}
	return nil
}

// tagOwn names an image of podman's own store.
func (o Options) tagOwn(ctx context.Context, id string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	cmd, err := o.ownPodman(append([]string{"image", "tag", id}, names...)...)
	if err != nil {
		return err
	}
	cmd.Stderr = o.Stderr
	return o.runPlain(ctx, cmd)
}
