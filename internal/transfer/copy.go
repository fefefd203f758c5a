// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// copying is a plan of a copy to podman's own store being carried out.
type copying struct {
	arrival
	*plan.CopyPlan
	view *plan.View
	// digest is that of the manifest in podman's own store.
	digest string
}

// PlanCopy plans what CopyToStorage would do, and changes nothing.
func PlanCopy(ctx context.Context, o Options, choice plan.CopyChoice) (*plan.Plan, error) {
	v, err := o.look(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	at := o.places(v.Survey)
	defer at.close()
	o.reportDamage(v)
	_, p, err := o.planCopy(v, at, choice)
	return p, err
}

// planCopy decides how an image is copied, also in the form of set-unified's plan.
func (o *Options) planCopy(v *plan.View, at *places, choice plan.CopyChoice) (*plan.CopyPlan, *plan.Plan, error) {
	named, err := storable(choice.Target)
	if err != nil {
		return nil, nil, err
	}
	choice.Target, choice.Method = named.String(), o.Method
	if store := at.own.found; store != nil && store.Err() != nil {
		return nil, nil, store.Err()
	}
	p, err := plan.NewCopy(v, choice)
	if err != nil {
		return nil, nil, err
	}
	to, on, err := at.own.whereTo()
	if err != nil {
		return nil, nil, err
	}
	described, err := p.Describe(v, choice, to, *on)
	if err == nil {
		logPlan(described)
	}
	return p, described, err
}

// CopyToStorage copies the image of a deployment to podman's own store, and returns what was
// done. Podman's own store, the bootc-owned one and the composefs repository may have it with
// its digest; what the ostree repository or bootc exports has another. Errors are those of
// plan.NewCopy, ErrNotVerified and those of an export.
func CopyToStorage(ctx context.Context, o Options, choice plan.CopyChoice) (*plan.Plan, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	v, at, err := o.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	defer at.close()
	o.reportDamage(v)
	state := at.state()
	before, err := at.own.names()
	if err != nil {
		return nil, err
	}
	p, described, err := o.planCopy(v, at, choice)
	if err != nil {
		return nil, err
	}
	c := &copying{
		arrival:  arrival{Options: &o, places: at, to: at.own, from: at.bootc, as: described.Name, what: p.Image},
		CopyPlan: p, view: v, digest: p.Stored,
	}
	err = c.run(ctx)
	if err != nil && p.Assembly != nil && o.Method != plan.Clone && ctx.Err() == nil && nextMayCopy(err) {
		// Nothing was changed: another source may have it.
		o.Events.Missed(p.Source, err)
		choice.NoAssembly = true
		if c.CopyPlan, described, err = o.planCopy(v, at, choice); err == nil {
			err = c.run(ctx)
		}
	}
	if err != nil {
		if o.dryRun() {
			return nil, err
		}
		return nil, c.to.undo(ctx, err, before, c.Written)
	}
	if c.digest != "" {
		described.Arrived(c.digest)
	}
	err = c.nameOwn(ctx, v.Host)
	described.Changed = at.changedSince(state)
	return described, err
}

// run takes the steps of a plan.
func (c *copying) run(ctx context.Context) error {
	if err := c.checkPull(ctx); err != nil {
		return err
	}
	for _, step := range c.Steps {
		if err := c.take(ctx, step); err != nil {
			if c.Loan != nil && step != plan.StepReturn {
				err = errors.Join(err, c.returnLoan(ctx, c.Loan))
			}
			return err
		}
	}
	return nil
}

func (c *copying) take(ctx context.Context, step plan.StepName) error {
	switch step {
	case plan.StepTag:
		return c.to.tag(ctx, c.Take, c.Names...)
	case plan.StepCopy:
		c.also = c.Names[1:]
		return c.copy(ctx, c.Held)
	case plan.StepLend:
		return c.lend(ctx, c.Loan)
	case plan.StepPull:
		return c.pulling(ctx, c.Loan, func() error { return c.to.ImagePull(ctx, nil, "pull", "--", c.Take) })
	case plan.StepUntag:
		return c.to.image(ctx, "untag", c.as, c.Take)
	case plan.StepReturn:
		return c.returnLoan(ctx, c.Loan)
	case plan.StepExport:
		return c.exportTaken(ctx)
	case plan.StepClone:
		if c.Assembly != nil {
			from := c.to
			if c.Source == plan.FromBootc {
				from = c.from
			}
			return c.assemble(ctx, from, c.Assembly)
		}
		return c.cloneTaken(ctx)
	case plan.StepBootc:
		if err := c.to.makeOwn(ctx); err != nil {
			return err
		}
		defer c.to.changed()
		return c.to.BootcExport(ctx, c.Take, c.as)
	case plan.StepVerify:
		return c.change(c.verify)
	}
	return fmt.Errorf("take step %q: %w", step, errors.ErrUnsupported)
}

// checkPull refuses a pull that would not fit, as far as that is known: by the sizes in
// the manifest, which are those of compressed layers mostly.
func (c *copying) checkPull(ctx context.Context) error {
	if c.Layers == nil || c.Source != plan.FromRegistry {
		return nil
	}
	to, err := c.to.destination()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("copy %s to %s", c.Image, to.Name)
	if err := to.Damaged(what, c.Layers, false); err != nil {
		return err
	}
	var shared inventory.Capability
	if c.Loan != nil {
		shared = sharing(c.view.Bootc.Path(), to.Dir)
	}
	fetched, written := to.Pulled(c.Layers, c.Loan, shared)
	return c.checkSpace(what, demand{to.Name, to.Dir, written}, c.to.spoolNeed(ctx, fetched))
}

// checkClone refuses an export by a clone that would not fit: all its files are made
// before it is known which layers are there.
func (c *copying) checkClone() error {
	to, err := c.to.destination()
	if err != nil {
		return err
	}
	if c.Force || sharing(c.Sysroot.RepoPath(), to.Dir) != inventory.No {
		return nil
	}
	bytes, err := c.view.ExportedBytes(c.Take)
	if err != nil {
		return err
	}
	return c.checkSpace(fmt.Sprintf("export %s to %s", c.Image, to.Name), demand{to.Name, to.Dir, bytes})
}

// exportTaken makes the image of the commit, or has podman pull it.
func (c *copying) exportTaken(ctx context.Context) error {
	var digest string
	err := c.cloneOr(ctx, func() (err error) {
		if err := c.checkClone(); err != nil {
			return err
		}
		if err := c.to.makeOwn(ctx); err != nil {
			return err
		}
		digest, err = c.cloneCommit(ctx, c.Take)
		return err
	}, func() (err error) {
		digest, err = c.export(ctx, c.Take, c.Digest, c.as)
		return err
	})
	c.Accepted = []string{digest}
	return err
}

// verify compares what podman's own store has under the name now with the manifest
// digests that it may have. A registries.conf of the host may have led podman elsewhere.
func (c *copying) verify() error {
	store, err := c.to.now()
	if err == nil && store == nil {
		err = fmt.Errorf("copy image %q: %w", c.as, cstorage.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	img, err := store.Lookup(c.as, c.shortNames)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if err := plan.Whole(store, false, img); err != nil {
		return fmt.Errorf("verify %s: %w: %w", c.as, ErrNotVerified, err)
	}
	if c.Accepted != nil && !slices.ContainsFunc(c.Accepted, img.Has) {
		return fmt.Errorf("verify %s: %w: %s instead of %s", c.as, ErrNotVerified, img.Digest, c.Accepted[0])
	}
	c.digest = manifestDigest(img, c.Digest)
	return nil
}
