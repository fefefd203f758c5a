// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/images"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Means is how an image is copied between two stores.
type Means string

// The means. Auto clones, and leaves to podman what cannot be cloned.
const (
	Auto     Means = "auto"
	ByClone  Means = "clone"
	ByPodman Means = "podman"
)

// overlayDriver is the only storage driver whose layers are cloned.
const overlayDriver = "overlay"

// copyMethod decides whether an image of podman's own store is cloned, and says why.
func (c Choice) copyMethod(s *images.Survey) (method Method, why string, err error) {
	switch why := c.uncloneable(s); {
	case c.Means == ByPodman:
		return Copy, "as asked for", nil
	case why == nil:
		return Clone, "both stores have overlay layers", nil
	case c.Means == ByClone:
		return "", "", why
	default:
		return Copy, why.Error(), nil
	}
}

// uncloneable tells why nothing can be cloned, as far as that can be seen from outside.
func (c Choice) uncloneable(s *images.Survey) error {
	if errors.Is(c.noProgram, fs.ErrNotExist) {
		return fmt.Errorf("%s is not installed", clonejob.Program)
	}
	if c.noProgram != nil {
		return c.noProgram
	}
	for name, store := range map[string]*images.Store{"podman's own store": s.Default, "the bootc-owned store": s.Bootc} {
		if store == nil {
			continue
		}
		for _, home := range store.Homes() {
			if home.Driver != overlayDriver && home.Driver != "" {
				return fmt.Errorf("%s has the driver %s", name, home.Driver)
			}
		}
	}
	return nil
}

// copyIn copies an image of podman's own store to the bootc-owned one under a name: by
// cloning it, or with podman where that cannot be.
func (o Options) copyIn(ctx context.Context, session *wrapper.Session, img *images.StoreImage, from, as string) error {
	return o.cloneOr(
		ctx,
		func() error { return o.cloneIn(ctx, session, img, as) },
		func() error { return o.push(ctx, session, from, as) },
	)
}

// cloneIn clones an image of podman's own store to the bootc-owned one.
func (o Options) cloneIn(ctx context.Context, session *wrapper.Session, img *images.StoreImage, as string) error {
	own, err := storageconf.ReadDefaultStore(o.Root)
	if err != nil {
		return err
	}
	return o.clone(ctx, session, clonejob.DefaultStore(own), clonejob.BootcStore(session.Config), img.ID, as)
}

// cloneOr clones by the means of o, or lets podman copy.
func (o Options) cloneOr(ctx context.Context, clone, podman func() error) error {
	if o.Means == ByPodman {
		return podman()
	}
	err := clone()
	if o.Means != ByClone && ctx.Err() == nil && (errors.Is(err, clonejob.ErrUnsupported) || errors.Is(err, fs.ErrNotExist)) {
		if o.Fallback != nil {
			o.Fallback(err)
		}
		return podman()
	}
	return err
}

// clone clones an image under a name, or none.
func (o Options) clone(ctx context.Context, session *wrapper.Session, from, to clonejob.Store, id, as string) error {
	program, err := clonejob.FindProgram(o.Host.Self)
	if err != nil {
		return err
	}
	job := clonejob.Job{Source: from, Destination: to, Image: id, Names: []string{}, Verify: cmp.Or(o.Verify, clonejob.VerifyMetadata)}
	if as != "" {
		name, err := images.StoredName(host.ImageReference{Transport: host.ContainersStorage, Name: as})
		if err != nil {
			return err
		}
		job.Names = []string{name.String()}
	}
	if o.Host.DryRun != nil {
		cmd, text, err := clonejob.Command(program, job)
		if err == nil {
			_, err = fmt.Fprintf(o.Host.DryRun, "# its standard input: %s\n", strings.TrimSpace(string(text)))
		}
		if err != nil {
			return err
		}
		return session.Run(ctx, cmd)
	}
	task := o.Progress.Transfer(progress.Task{Name: "cloning", Description: "Cloning " + nameOr(as, id), ID: id})
	defer task.Stop()
	parts := map[int]*progress.Part{}
	_, err = clonejob.Run(ctx, session.Run, program, job, o.Stderr, func(p clonejob.Progress) {
		part := parts[p.Layer]
		if part == nil {
			part = task.Start(progress.Subtask{Name: "layer", Description: fmt.Sprintf("layer %d of %d", p.Layer+1, p.Layers), ID: p.DiffID, Bytes: p.Size})
			parts[p.Layer] = part
		}
		if part.Set(p.Bytes); p.Done {
			part.Set(p.Size)
			part.Done()
		}
	})
	if err != nil {
		return fmt.Errorf("clone %s: %w", nameOr(as, id), err)
	}
	task.Done()
	return nil
}

func nameOr(name, id string) string {
	if name == "" {
		return fmt.Sprintf("%.12s", id)
	}
	return name
}

// inDefaultStore finds an image of podman's own store.
func (o Options) inDefaultStore(name string) (img *images.StoreImage, done func(), err error) {
	store, problems := images.OpenDefaultStore(o.Root, o.Euid)
	if store == nil {
		return nil, nil, errors.Join(append(problems, fmt.Errorf("copy image %q: %w", name, images.ErrNotFound))...)
	}
	img, err = store.Lookup(name, func() (images.ShortNames, error) { return images.ReadShortNames(o.Root) })
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return img, store.Close, nil
}
