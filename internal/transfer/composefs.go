// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// composefsLayers returns the layers of an image in the composefs repository by its manifest
// digest, with the sizes that their streams have. The error says why it is not there as a
// whole. No layer is read.
func (o Options) composefsLayers(digest string) ([]host.Descriptor, error) {
	repo, err := o.Sysroot.OpenComposefs()
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	layers, err := layersOf(repo, digest)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("composefs repository %q does not have it", repo.Path())
	}
	return layers, err
}

func layersOf(repo *composefs.Repo, digest string) (layers []host.Descriptor, err error) {
	_, config, err := host.ComposefsImage(repo, digest)
	if err != nil {
		return nil, err
	}
	for _, diffID := range config.RootFS.DiffIDs {
		id, err := repo.Layer(diffID)
		if err != nil {
			return nil, err
		}
		stream, err := repo.OpenStream(id)
		if err != nil {
			return nil, err
		}
		layers = append(layers, host.Descriptor{Digest: diffID, Size: stream.Size})
		stream.Close()
	}
	return layers, nil
}

// cloneComposefs clones an image out of the composefs repository by its manifest digest.
func (a *arrival) cloneComposefs(ctx context.Context, digest string) error {
	_, err := a.clone(ctx, a.to, clonejob.Job{Composefs: &clonejob.Composefs{Sysroot: a.Sysroot.Dir, Digest: digest}}, a.as)
	return err
}

// bootcMayExport reports whether bootc may export what could not be cloned out of the
// composefs repository. It would take a damaged layer for a good one.
func (o *Options) bootcMayExport(ctx context.Context, err error) bool {
	return o.Method != plan.Clone && ctx.Err() == nil && errors.Is(err, clonejob.ErrUnsupported)
}

// cloneTaken clones the image out of the composefs repository, or lets bootc export it.
func (c *copying) cloneTaken(ctx context.Context) error {
	to, err := c.to.destination()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("copy %s to %s", c.Image, to.Name)
	if err := to.Damaged(what, c.Layers, true); err != nil {
		return err
	}
	if sharing(c.view.ComposefsPath, to.Dir) == inventory.No {
		if err := c.checkSpace(what, demand{to.Name, to.Dir, to.Missing(c.Layers)}); err != nil {
			return err
		}
	}
	if err := c.to.makeOwn(ctx); err != nil {
		return err
	}
	if err = c.cloneComposefs(ctx, c.Take); !c.bootcMayExport(ctx, err) {
		return err
	}
	c.Events.Missed(c.Source, err)
	if why := c.ByBootc(c.view); why != nil {
		return errors.Join(err, why)
	}
	return c.take(ctx, plan.StepBootc)
}
