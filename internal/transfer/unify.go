// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// SetUnified brings the booted image into the bootc-owned store, so that bootc
// upgrades through it, and returns what was done. It can be repeated, and a run
// after one that was killed completes it. In a dry run
// (wrapper.Host.DryRun), it prints the commands and changes nothing. Errors are
// those of NewPlan, *inventory.IgnoredError, ErrBusy, ErrNoSpace, ErrNotVerified, and those
// of podman.
func SetUnified(ctx context.Context, o Options, choice plan.Choice) (*plan.Plan, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	choice.Method = o.Method
	changed := false
	for {
		p, err := o.setUnified(ctx, choice)
		if p != nil {
			changed = changed || p.Changed
			p.Changed = changed
		}
		if isClonedOut(p) && o.bootcMayExport(ctx, err) {
			o.Events.Missed(p.Source, err)
			choice.NotCloned = err
			continue
		}
		if err == nil || choice.From != "" || ctx.Err() != nil || !nextMayDo(p, err) {
			return p, err
		}
		o.Events.Missed(p.Source, err)
		choice.Without = append(choice.Without, p.Source)
	}
}

// refusedError is why a plan is not carried out. No other source is tried then.
type refusedError struct{ error }

// Unwrap is what errors.Is looks at.
func (e *refusedError) Unwrap() error { return e.error }

// setUnified takes the image from the nearest source.
func (o *Options) setUnified(ctx context.Context, choice plan.Choice) (*plan.Plan, error) {
	v, places, err := o.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	defer places.close()
	o.reportDamage(v)
	p, err := plan.New(v, choice)
	if err != nil {
		return nil, err
	}
	logPlan(p)
	before := places.state()
	defer func() { p.Changed = places.changedSince(before) }()
	if p.Ignored != nil && !o.SkipUpgradeCheck {
		return p, &refusedError{fmt.Errorf("onboard %s: bootc upgrade would fail: %w", p.Image, p.Ignored)}
	}
	if p.Method == plan.Nothing {
		o.journal(v, p, alreadyUnified)
		return p, errors.Join(o.settled(v, p), places.nameOwnAsRead(ctx, v.Host))
	}
	if err := o.checkDamage(v, places.bootc, p); err != nil {
		return p, &refusedError{err}
	}
	if err := o.checkPlan(ctx, places.bootc, p); err != nil {
		return p, &refusedError{err}
	}
	o.journal(v, p, unifying)
	if err := o.run(ctx, v, places, p); err != nil {
		return p, err
	}
	o.journal(v, p, unified)
	return p, nil
}

// settled completes the record of a run that was killed just before its end.
func (o Options) settled(v *plan.View, p *plan.Plan) error {
	if !v.Record.Unfinished(p) {
		return nil
	}
	return o.verified(*v.Record, p.Take)
}

// nextMayDo reports whether another source may have the image after one failed: a
// registry may be out of reach, or not have the exact image any more; podman's own
// store may be another with unknown options, or be damaged; and what an
// archive holds is not known before it is read.
func nextMayDo(p *plan.Plan, err error) bool {
	var clone *clonejob.Failure
	switch {
	case p == nil, errors.As(err, new(*refusedError)), p.Method == plan.Nothing, p.Source == plan.FromOSTree, p.Method == plan.ByBootc:
		return false
	case (p.Source == plan.FromDefault || isClonedOut(p)) && errors.As(err, &clone):
		return clone.Kind != clonejob.NoSpace && clone.Kind != clonejob.Canceled && clone.Kind != clonejob.Damaged
	case p.Source == plan.FromTransport && errors.Is(err, ErrNotVerified):
		return true
	}
	return errors.As(err, new(*wrapper.ExitError)) || errors.Is(err, podman.ErrPull)
}

// isClonedOut reports a plan that clones the image out of the composefs repository.
func isClonedOut(p *plan.Plan) bool {
	return p != nil && p.Source == plan.FromComposefs && p.Method == plan.Clone
}

// execution is a plan being carried out.
type execution struct {
	arrival
	*plan.Plan
	view *plan.View
	// before are the images that were there, with their names.
	before map[string][]string
	record plan.Record
	// pulled is the ID of the image that came without a name of its own.
	pulled string
	// discarded is how many of Discards are gone.
	discarded int
}

// run takes the steps of a plan.
func (o *Options) run(ctx context.Context, v *plan.View, at *places, p *plan.Plan) (err error) {
	before, err := at.bootc.names()
	if err != nil {
		return err
	}
	if err := at.openBootc(); err != nil {
		return err
	}
	x := &execution{
		arrival: arrival{Options: o, places: at, to: at.bootc, from: at.own, what: p.Name, as: p.Name},
		Plan:    p, view: v, before: maps.Clone(before),
	}
	x.record = x.newRecord(v.Record)
	if err := x.remember(&x.record); err != nil {
		return err
	}
	defer func() {
		if now, _ := at.bootc.names(); err != nil && maps.EqualFunc(before, now, slices.Equal) {
			err = errors.Join(err, o.remember(v.Record)) // nothing was brought
		}
	}()
	job := o.Progress.Sequence(progress.Task{
		Name: "unifying", Description: "Bringing " + p.Name + " into the bootc-owned store", ID: p.Digest, Steps: int64(len(p.Steps)),
	})
	defer job.Stop()
	take := x.take
	if x.dryRun() {
		take = x.explain
	}
	for _, step := range p.Steps {
		part := job.Start(progress.Subtask{Name: string(step.Name), Description: step.Description, ID: string(step.Name)})
		if err := take(ctx, step.Name); err != nil {
			return errors.Join(err, x.cleanUp(ctx, step.Name))
		}
		part.Done()
	}
	job.Done()
	return x.nameOwn(ctx, v.Host)
}

func (x *execution) take(ctx context.Context, step plan.StepName) error {
	switch step {
	case plan.StepDiscard:
		return x.discard(ctx)
	case plan.StepTag:
		return x.tag(ctx)
	case plan.StepUntag:
		return x.untag(ctx)
	case plan.StepCopy:
		if x.Method == plan.ByBootc {
			return x.copyExport(ctx)
		}
		defer x.to.changed()
		return x.to.PushIn(ctx, x.Take, x.Name, x.Spooled)
	case plan.StepClone:
		return x.cloneTaken(ctx)
	case plan.StepLend:
		return x.lend(ctx, x.Loan)
	case plan.StepPull:
		return x.pull(ctx)
	case plan.StepReturn:
		return x.returnLoan(ctx, x.Loan)
	case plan.StepExport:
		return x.exportTaken(ctx)
	case plan.StepBootc:
		if err := x.own.makeOwn(ctx); err != nil {
			return err
		}
		defer x.own.changed()
		return x.own.BootcExport(ctx, x.Take, plan.ExportName)
	case plan.StepVerify:
		return x.verify(ctx)
	case plan.StepRemove:
		return x.own.image(ctx, "rm", "--", plan.ExportName)
	case plan.StepNameOwn:
		return x.nameOwnAsRead(ctx, x.view.Host)
	}
	return fmt.Errorf("take step %q: %w", step, errors.ErrUnsupported)
}

// discard removes the next image that is damaged. It no longer counts as one that was
// there before.
func (x *execution) discard(ctx context.Context) error {
	id := x.Discards[x.discarded]
	x.discarded++
	delete(x.before, id)
	return x.to.image(ctx, "rm", "--force", id)
}

// cloneTaken clones what the plan takes.
func (x *execution) cloneTaken(ctx context.Context) error {
	if x.Source == plan.FromOSTree {
		return x.cloneOr(ctx, func() error {
			_, err := x.cloneCommit(ctx, x.Commit)
			return err
		}, func() error { return x.exportTaken(ctx) })
	}
	if x.Source == plan.FromComposefs {
		return x.cloneComposefs(ctx, x.Take)
	}
	if x.Assembly != nil {
		return x.assemble(ctx, x.from, x.Assembly)
	}
	img, err := x.view.Default.Lookup(x.Take, x.shortNames)
	if err != nil {
		return err
	}
	return x.copy(ctx, plan.Held{Store: x.view.Default, Image: img, Name: x.Take})
}

// exportTaken has podman pull the booted commit.
func (x *execution) exportTaken(ctx context.Context) error {
	_, err := x.export(ctx, x.Commit, x.Digest, x.Stored.String())
	return err
}

// copyExport copies what bootc exported.
func (x *execution) copyExport(ctx context.Context) error {
	store, err := x.own.now()
	if store == nil {
		return errors.Join(err, fmt.Errorf("copy image %q: %w", plan.ExportName, cstorage.ErrNotFound))
	}
	img, err := store.Lookup(plan.ExportName, x.shortNames)
	if err != nil {
		return err
	}
	return x.copy(ctx, plan.Held{Store: store, Image: img, Name: plan.ExportName})
}

// pullsAgain is how often an image is pulled again that another process removed.
const pullsAgain = 2

// tag gives the image that was pulled its name. podman 4 records an image before it gives
// it the name by which it was pulled, so that "podman image prune" of another process may
// remove it although the pull succeeds: it is pulled again then.
func (x *execution) tag(ctx context.Context) error {
	for again := 0; ; again++ {
		err := x.to.tag(ctx, cmp.Or(x.pulled, x.Take), x.Stored.String())
		if err == nil || x.Method != plan.Pull || x.pulled != "" || again == pullsAgain || ctx.Err() != nil {
			return err
		}
		store, readErr := x.to.now()
		if readErr != nil || store != nil && store.Named(x.Take) != nil {
			return err
		}
		if err := x.pull(ctx); err != nil {
			return err
		}
	}
}

// pull pulls from a registry, or from an archive, whose image has no name for the store
// that is known beforehand.
func (x *execution) pull(ctx context.Context) (err error) {
	if x.Source == plan.FromTransport {
		defer x.to.changed()
		x.pulled, err = x.to.PullUnnamed(ctx, x.Take)
		return err
	}
	layers := x.Layers
	if !x.Exact {
		layers = nil
	}
	return x.pulling(ctx, x.Loan, func() error { return x.to.Pull(ctx, x.Take, layers, x.blobs) })
}

// blobs are those that the bootc-owned store has layers of, as far as can be read.
func (x *execution) blobs() map[string]bool {
	defer x.to.changed() // podman may be at work
	store, _ := x.to.now()
	if store == nil {
		return nil
	}
	return store.Blobs()
}

// untag takes away the names that came with what was pulled. Those that other images
// had go back to them.
func (x *execution) untag(ctx context.Context) error {
	store, err := x.to.now()
	if store == nil {
		return err
	}
	img, err := store.Lookup(x.Stored.String(), x.shortNames)
	if err != nil {
		return err
	}
	for _, name := range x.record.Gained(img, x.Plan) {
		args := []string{"untag", x.Stored.String(), name}
		if owner := x.record.Names[name]; owner != "" && store.ByID(owner) != nil {
			args = []string{"tag", owner, name}
		}
		if err := x.to.image(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// cleanUp removes what is not the image after a step failed.
func (x *execution) cleanUp(ctx context.Context, failed plan.StepName) (err error) {
	switch {
	case x.Loan != nil:
		err = x.returnLoan(ctx, x.Loan)
	case x.Method == plan.ByBootc && failed != plan.StepBootc && failed != plan.StepRemove:
		err = x.own.image(context.WithoutCancel(ctx), "rm", "--", plan.ExportName)
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// verify compares what is there now with the plan and, if it differs, removes what was
// not there before.
func (x *execution) verify(ctx context.Context) error {
	store, err := x.to.now()
	var img *cstorage.Image
	if err == nil {
		img, err = x.view.Find(store, x.Name)
	}
	wanted, same := x.Digest, img != nil && (img.Is(x.Digest) || x.Newer)
	if err == nil && x.Method == plan.ByBootc {
		var exported *cstorage.Image
		if exported, err = x.exported(); err == nil {
			// The ID is the digest of the configuration, which names all layers.
			wanted, same = exported.Digest, img != nil && img.ID == exported.ID
		}
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", x.Name, err)
	}
	var damage error
	found := "nothing"
	if img != nil {
		damage, found = plan.Whole(store, true, img), img.Digest
	}
	if same && damage == nil {
		x.Arrived(manifestDigest(img, x.Digest))
		return x.verified(x.record, img.ID)
	}
	failed := fmt.Errorf("verify %s: %w: %s instead of %s", x.Name, ErrNotVerified, found, wanted)
	if damage != nil {
		failed = fmt.Errorf("verify %s: %w: %w", x.Name, ErrNotVerified, damage)
	}
	return x.to.undo(ctx, failed, x.before, []string{x.Stored.String()})
}

// manifestDigest returns the wanted one of the manifest digests of an image, or else the first.
func manifestDigest(img *cstorage.Image, wanted string) string {
	if slices.Contains(img.Digests, wanted) {
		return wanted
	}
	return img.Digest
}

// exported is what bootc exported to podman's own store.
func (x *execution) exported() (*cstorage.Image, error) {
	own, err := x.own.now()
	if err != nil {
		return nil, err
	}
	img, err := x.view.Find(own, plan.ExportName)
	if err == nil && img == nil {
		err = fmt.Errorf("%w: podman's own store does not have %s", ErrNotVerified, plan.ExportName)
	}
	return img, err
}
