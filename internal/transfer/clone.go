// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// copyIn copies an image of podman's own store to the bootc-owned one under a name: by
// cloning it, or with podman where that cannot be.
func (o Options) copyIn(ctx context.Context, session *wrapper.Session, from plan.Held, as string) error {
	to, done, err := o.openBootcDestination()
	if err != nil {
		return err
	}
	defer done()
	layers := plan.Descriptors(from.Store, from.Image)
	var without []string
	if o.Host.DryRun != nil { // it would be removed before
		without = []string{from.Image.ID}
	}
	check := func(cloned bool) error {
		if err := to.Damaged(fmt.Sprintf("copy %s to %s", as, to.Name), layers, cloned, without...); err != nil {
			return err
		}
		return o.checkSpace(fmt.Sprintf("copy %s to %s", as, to.Name), o.copyNeeds(ctx, to, from, cloned)...)
	}
	return o.cloneOr(
		ctx,
		func() error {
			if err := check(true); err != nil {
				return err
			}
			return o.cloneIn(ctx, session, from.Image.ID, nil, as)
		}, func() error {
			if strings.Contains(as, "@") {
				return fmt.Errorf("copy %s: podman copies to no name with a digest, only a clone does", as)
			}
			if err := check(false); err != nil {
				return err
			}
			return o.push(ctx, session, from.Name, as, to.Missing(layers))
		},
	)
}

// cloneIn clones an image of podman's own store, or those of its layers that are blobs,
// to the bootc-owned one.
func (o Options) cloneIn(ctx context.Context, session *wrapper.Session, id string, blobs []clonejob.Blob, as string) error {
	own, err := storageconf.ReadDefaultStore(o.Root)
	if err != nil {
		return err
	}
	_, err = o.clone(ctx, session.Run, clonejob.Job{
		Source: clonejob.DefaultStore(own), Destination: clonejob.BootcStore(session.Config), Image: id, Blobs: blobs,
	}, as)
	return err
}

// podmanMayCopy reports whether a copy with podman can succeed after this failure of a
// clone: an archive that podman makes has what the tar-split file says, and podman reads
// a source that changes under its own locks. A full disk stays full, and podman trusts
// the records of a damaged destination.
func podmanMayCopy(err error) bool {
	for _, can := range []error{clonejob.ErrUnsupported, clonejob.ErrChanged, clonejob.ErrNotVerified, fs.ErrNotExist} {
		if errors.Is(err, can) {
			return !errors.Is(err, clonejob.ErrDamaged) && !errors.Is(err, clonejob.ErrNoSpace)
		}
	}
	return false
}

// cloneOr clones, or lets podman copy, as o.Method says.
func (o Options) cloneOr(ctx context.Context, clone, podman func() error) error {
	if o.Method == plan.ByPodman {
		return podman()
	}
	err := clone()
	if o.Method != plan.Clone && ctx.Err() == nil && podmanMayCopy(err) {
		o.Events.Fallback(err)
		return podman()
	}
	return err
}

// runner runs a program where the stores of a job are at the paths that it says:
// wrapper.Session.Run does, if one is the bootc-owned store.
type runner func(context.Context, wrapper.Cmd) error

// plainly is the runner for podman's own store.
func (o Options) plainly(ctx context.Context, cmd wrapper.Cmd) error {
	if o.Host.DryRun != nil {
		return wrapper.Explain(o.Host.DryRun, cmd, append([]string{"-i"}, cmd.Env...)...)
	}
	return o.Host.Runner.Run(ctx, cmd)
}

// clone does a job, under a name and others, or none.
func (o Options) clone(ctx context.Context, run runner, job clonejob.Job, as string, also ...string) (*clonejob.Result, error) {
	program, err := clonejob.FindProgram(o.Host.Self)
	if err != nil {
		return nil, err
	}
	job.Names, job.Verify = []string{}, cmp.Or(o.Verify, clonejob.VerifyMetadata)
	what := fmt.Sprintf("%.12s", job.Image)
	if as != "" {
		name, err := inventory.StorableName(host.ImageReference{Transport: host.ContainersStorage, Name: as})
		if err != nil {
			return nil, err
		}
		what = name.String()
		job.Names = append([]string{what}, also...)
	}
	if o.Host.DryRun != nil {
		cmd, text, err := clonejob.Command(program, job)
		if err == nil {
			_, err = fmt.Fprintf(o.Host.DryRun, "# its standard input: %s\n", strings.TrimSpace(string(text)))
		}
		if err != nil {
			return nil, err
		}
		return &clonejob.Result{}, run(ctx, cmd)
	}
	task := o.Progress.Transfer(progress.Task{Name: "cloning", Description: "Cloning " + what, ID: what})
	defer task.Stop()
	parts := map[int]*progress.Part{}
	result, err := clonejob.Run(ctx, run, program, job, o.Stderr, func(p clonejob.Progress) {
		part := parts[p.Layer]
		if part == nil {
			part = task.Start(progress.Subtask{
				Name: "layer", Description: fmt.Sprintf("layer %d of %d", p.Layer+1, p.Layers),
				ID: cmp.Or(p.DiffID, strconv.Itoa(p.Layer)), Bytes: p.Size,
			})
			parts[p.Layer] = part
		}
		if part.Set(p.Bytes); p.Done {
			part.SetTotal(p.Size)
			part.Set(p.Size)
			part.Done()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("clone %s: %w", what, err)
	}
	task.Done()
	return result, nil
}

// cloneCommit makes the image of a commit in the ostree repository in a store, from the
// repository's files, and returns its manifest digest.
func (o Options) cloneCommit(ctx context.Context, run runner, commit string, to clonejob.Store, as string) (string, error) {
	result, err := o.clone(ctx, run, clonejob.Job{
		OSTree: &clonejob.OSTree{Sysroot: o.Sysroot.Dir, Commit: commit}, Destination: to,
	}, as)
	if err != nil || len(result.Digests) == 0 {
		return "", err
	}
	return result.Digests[0], nil
}

// inDefaultStore finds an image of podman's own store, which has to be closed.
func (o Options) inDefaultStore(name string) (store *cstorage.Store, img *cstorage.Image, err error) {
	return o.inStore(inventory.OpenDefaultStore, name)
}

// ownPodman is a podman that writes to podman's own store, and sees no other one.
func (o Options) ownPodman(args ...string) (wrapper.Cmd, error) {
	own, err := storageconf.ReadDefaultStore(o.Root)
	if err != nil {
		return wrapper.Cmd{}, err
	}
	return o.Host.DefaultPodman(append(own.WithoutImageStores(), args...)...)
}

func (o Options) inStore(open func(root string, uid int) (*cstorage.Store, []error), name string) (store *cstorage.Store, img *cstorage.Image, err error) {
	store, problems := open(o.Root, o.Euid)
	if store == nil {
		return nil, nil, errors.Join(append(problems, fmt.Errorf("copy image %q: %w", name, cstorage.ErrNotFound))...)
	}
	img, err = store.Lookup(name, o.shortNames)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return store, img, nil
}
