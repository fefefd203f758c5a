// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package transfer moves images between the stores of a host.
package transfer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Options say for which host images are moved, and by which means.
type Options struct {
	inventory.Options
	// Host runs podman. Its environment, user and sysroot are those of Options.
	Host wrapper.Host
	// Dir is a directory for a lock and for short-lived files, /run/bootc-podman.
	Dir string
	// Stderr gets what podman prints while it works, Progress how far it is.
	Stderr   io.Writer
	Progress *progress.Reporter
	Events   Events
	// NoWait fails rather than wait for another transfer.
	NoWait bool
	// Method is how copies between stores are made: Auto, Clone or ByPodman. Verify is how
	// thoroughly clones are compared.
	Method plan.Method
	Verify clonejob.Verify
	// Force skips the check of free space, SkipUpgradeCheck the check whether bootc can
	// upgrade the host afterwards.
	Force, SkipUpgradeCheck bool
	// Retry is how often a pull that failed for a passing reason is tried again.
	Retry int
}

var (
	// ErrBusy says that another transfer is at work.
	ErrBusy = errors.New("another transfer is at work")
	// ErrNoSpace says that an image would not fit.
	ErrNoSpace = errors.New("not enough free space")
	// ErrNoTag says that an image has no name to copy it under.
	ErrNoTag = errors.New("it has no name with a tag")
	// ErrNotVerified says that an image is not what it was to be.
	ErrNotVerified = errors.New("not what was to be there")
)

// PlanUnified plans what SetUnified would do, and changes nothing.
func PlanUnified(ctx context.Context, o Options, choice plan.Choice) (*plan.Plan, error) {
	v, err := o.look(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	choice.Method = o.Method
	return plan.New(v, choice)
}

// look reads the host and its stores, and reports damaged images. The view has to be
// closed.
func (o Options) look(ctx context.Context) (*plan.View, error) {
	s, err := inventory.NewSurvey(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	o.reportDamage(s)
	record, err := o.readRecord()
	if err != nil {
		s.Close()
		return nil, err
	}
	_, noProgram := clonejob.FindProgram(o.Host.Self)
	return &plan.View{
		Survey: s, Record: record, NoProgram: noProgram, Repo: o.Sysroot.RepoPath(), Sharing: sharing,
		ExportedBytes: func(commit string) (int64, error) { return o.exportedBytes(ctx, commit) },
		ArchiveDigest: func(image host.ImageReference) (string, error) { return lookAt(s.Root(), image) },
	}, nil
}

// reportDamage reports the damaged images of a host.
func (o Options) reportDamage(s *inventory.Survey) {
	for _, damage := range s.Damaged() {
		o.Events.Damaged(damage)
	}
}

// SetUnified brings the booted image into the bootc-owned store, so that bootc
// upgrades through it, and returns what was done. It can be repeated, and a run
// after one that was killed completes it. Where the host is told to explain
// (wrapper.Host.DryRun), it prints the commands and changes nothing. Errors are
// those of NewPlan, *inventory.IgnoredError, ErrBusy, ErrNoSpace, ErrNotVerified, and those
// of podman.
func SetUnified(ctx context.Context, o Options, choice plan.Choice) (*plan.Plan, error) {
	if o.Host.DryRun == nil {
		unlock, err := o.lock(ctx)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	choice.Method = o.Method
	for {
		p, err := o.setUnified(ctx, choice)
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
func (o Options) setUnified(ctx context.Context, choice plan.Choice) (*plan.Plan, error) {
	v, err := o.look(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	p, err := plan.New(v, choice)
	if err != nil {
		return nil, err
	}
	if p.Ignored != nil && !o.SkipUpgradeCheck {
		return p, &refusedError{fmt.Errorf("onboard %s: bootc upgrade would fail: %w", p.Image, p.Ignored)}
	}
	if p.Method == plan.Nothing {
		o.journal(v, p, alreadyUnified)
		return p, errors.Join(o.settled(v, p), o.nameOwn(ctx, v.Host))
	}
	if err := o.checkDamage(v, p); err != nil {
		return p, &refusedError{err}
	}
	if err := o.checkPlan(ctx, p); err != nil {
		return p, &refusedError{err}
	}
	o.journal(v, p, unifying)
	if err := o.run(ctx, v, p); err != nil {
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
// store may be another with options that we do not know, or be damaged; and what an
// archive holds is not known before it is read.
func nextMayDo(p *plan.Plan, err error) bool {
	var clone *clonejob.Failure
	switch {
	case p == nil, errors.As(err, new(*refusedError)), p.Method == plan.Nothing, p.Source == plan.FromOSTree, p.Source == plan.FromComposefs:
		return false
	case p.Source == plan.FromDefault && errors.As(err, &clone):
		return clone.Kind != clonejob.NoSpace && clone.Kind != clonejob.Canceled && clone.Kind != clonejob.Damaged
	case p.Source == plan.FromTransport && errors.Is(err, ErrNotVerified):
		return true
	}
	return errors.As(err, new(*wrapper.ExitError)) || errors.Is(err, errPull)
}

// execution is a plan being carried out.
type execution struct {
	Options
	*plan.Plan
	view    *plan.View
	session *wrapper.Session
	// before are the images that were there, with their names.
	before map[string][]string
	record plan.Record
	// pulled is the ID of the image that came without a name of its own.
	pulled string
	// discarded is how many of Discards are gone.
	discarded int
	// lent reports that the layers of the loan were cloned.
	lent bool
}

// run takes the steps of a plan.
func (o Options) run(ctx context.Context, v *plan.View, p *plan.Plan) (err error) {
	before, old := namesByID(v.Bootc), v.Record
	session, err := o.Host.Open()
	if err != nil {
		return err
	}
	if err := session.ExplainStore(); err != nil {
		return err
	}
	x := &execution{Options: o, Plan: p, view: v, session: session, before: before}
	x.record = x.newRecord(old)
	if err := x.remember(&x.record); err != nil {
		return err
	}
	defer func() {
		if now, _ := o.storedImages(); err != nil && maps.EqualFunc(before, now, slices.Equal) {
			err = errors.Join(err, o.remember(old)) // nothing was brought
		}
	}()
	job := o.Progress.Sequence(progress.Task{
		Name: "unifying", Description: "Bringing " + p.Name + " into the bootc-owned store", ID: p.Digest, Steps: int64(len(p.Steps)),
	})
	defer job.Stop()
	for _, step := range p.Steps {
		part := job.Start(progress.Subtask{Name: string(step.Name), Description: step.Description, ID: string(step.Name)})
		if err := x.take(ctx, step.Name); err != nil {
			return errors.Join(err, x.cleanUp(ctx, step.Name))
		}
		part.Done()
	}
	job.Done()
	return x.nameOwn(ctx, x.view.Host)
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
		if x.Plan.Method == plan.ByBootc {
			return x.copyNamed(ctx, plan.ExportName)
		}
		return x.push(ctx, x.session, x.Take, x.Name, x.Spooled)
	case plan.StepClone:
		if x.Source != plan.FromOSTree {
			return x.copyNamed(ctx, x.Take)
		}
		return x.cloneOr(ctx, func() error {
			_, err := x.cloneCommit(ctx, x.session.Run, x.Commit, clonejob.BootcStore(x.session.Config), x.Name)
			return err
		}, func() error { return x.exportIn(ctx) })
	case plan.StepLend:
		return x.lend(ctx)
	case plan.StepPull:
		return x.pull(ctx)
	case plan.StepReturn:
		return x.returnLoan(ctx)
	case plan.StepExport:
		return x.exportIn(ctx)
	case plan.StepBootc:
		if err := x.initDefaultStore(ctx); err != nil {
			return err
		}
		return x.bootcExport(ctx, x.Take, strings.TrimSuffix(plan.ExportName, ":latest"))
	case plan.StepVerify:
		return x.verify(ctx)
	case plan.StepRemove:
		return x.removeOwn(ctx, plan.ExportName)
	case plan.StepNameOwn:
		if x.Host.DryRun != nil {
			return x.tagOwn(ctx, x.Hiding, x.Stored.String())
		}
		return x.nameOwn(ctx, x.view.Host)
	}
	return fmt.Errorf("take step %q: %w", step, errors.ErrUnsupported)
}

// discard removes the next image that is damaged. It is no image that was there before any more.
func (x *execution) discard(ctx context.Context) error {
	id := x.Discards[x.discarded]
	x.discarded++
	delete(x.before, id)
	return x.podman(ctx, nil, "rm", "--force", id)
}

// exportIn has podman pull the booted commit.
func (x *execution) exportIn(ctx context.Context) error {
	to, done, err := x.openBootcDestination()
	if err != nil {
		return err
	}
	defer done()
	_, err = x.export(ctx, x.Commit, x.Stored.String(), to, func(args, env []string) error { return x.podman(ctx, env, args...) })
	return err
}

// copyNamed copies an image of podman's own store.
func (x *execution) copyNamed(ctx context.Context, name string) error {
	if x.Host.DryRun != nil && x.Plan.Method == plan.ByBootc { // it is not there yet
		return x.push(ctx, x.session, name, x.Name, 0)
	}
	store, img, err := x.inDefaultStore(name)
	if err != nil {
		return err
	}
	defer store.Close()
	return x.copyIn(ctx, x.session, plan.Held{Store: store, Image: img, Name: name}, x.Name)
}

// podman runs "podman image" on the bootc-owned store with more variables in its
// environment.
func (x *execution) podman(ctx context.Context, env []string, args ...string) error {
	cmd, err := x.session.Podman(ctx, append([]string{"image"}, args...)...)
	if err != nil {
		return err
	}
	cmd.Env, cmd.Stderr = append(cmd.Env, env...), x.Stderr
	return x.runSpooled(ctx, cmd, func(cmd wrapper.Cmd) error { return x.session.Run(ctx, cmd) })
}

// runSpooled runs a podman that may put layers into temporary files.
func (o Options) runSpooled(ctx context.Context, cmd wrapper.Cmd, run func(wrapper.Cmd) error) error {
	if o.Host.DryRun == nil {
		remove, err := o.spool(ctx, &cmd)
		if err != nil {
			return err
		}
		defer remove()
	}
	return run(cmd)
}

// pullsAgain is how often an image is pulled again that another process removed.
const pullsAgain = 2

// tag gives the image that was pulled its name. podman 4 records an image before it gives
// it the name by which it was pulled, so that "podman image prune" of another process may
// remove it although the pull succeeds: it is pulled again then.
func (x *execution) tag(ctx context.Context) error {
	for again := 0; ; again++ {
		err := x.podman(ctx, nil, "tag", cmp.Or(x.pulled, x.Take), x.Stored.String())
		if err == nil || x.Plan.Method != plan.Pull || x.pulled != "" || again == pullsAgain || ctx.Err() != nil {
			return err
		}
		stored, storedErr := x.storedImages()
		for _, names := range stored {
			if slices.Contains(names, x.Take) {
				return err
			}
		}
		if storedErr != nil {
			return err
		}
		if err := x.pull(ctx); err != nil {
			return err
		}
	}
}

// pull pulls from a registry, or from an archive, which has no name for the store
// that we would know beforehand.
func (x *execution) pull(ctx context.Context) error {
	if x.Source != plan.FromTransport {
		layers := x.Layers
		if !x.Exact {
			layers = nil
		}
		err := x.pullFromRegistry(ctx, x.session, x.Take, layers)
		if err != nil && ctx.Err() == nil && x.isPruned() {
			x.Events.NotLent(errPruned)
			err = x.pullFromRegistry(ctx, x.session, x.Take, layers)
		}
		return err
	}
	cmd, err := x.session.Podman(ctx, "image", "pull", "--quiet", "--", x.Take)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, x.Stderr
	if err := x.runSpooled(ctx, cmd, func(cmd wrapper.Cmd) error { return x.session.Run(ctx, cmd) }); err != nil {
		return err
	}
	if x.pulled = strings.TrimSpace(out.String()); x.Host.DryRun != nil {
		x.pulled = "IMAGE"
	}
	return nil
}

// untag takes away the names that came with what was pulled. Those that other images
// had go back to them.
func (x *execution) untag(ctx context.Context) error {
	if x.Host.DryRun != nil {
		if x.Source == plan.FromRegistry {
			return x.podman(ctx, nil, "untag", x.Stored.String(), x.Take)
		}
		_, err := fmt.Fprintln(x.Host.DryRun, "# podman image untag of the names that the pull gave it, if any")
		return err
	}
	store, err := x.openStore()
	if store == nil {
		return err
	}
	defer store.Close()
	img, err := store.Lookup(x.Stored.String(), x.shortNames)
	if err != nil {
		return err
	}
	for _, name := range x.record.Gained(img, x.Plan) {
		args := []string{"untag", x.Stored.String(), name}
		if owner := x.record.Names[name]; owner != "" && store.ByID(owner) != nil {
			args = []string{"tag", owner, name}
		}
		if err := x.podman(ctx, nil, args...); err != nil {
			return err
		}
	}
	return nil
}

// initDefaultStore lets podman make its own store before another program writes there:
// podman takes one that others made for that of an older podman.
func (o Options) initDefaultStore(ctx context.Context) error {
	store, problems := inventory.OpenOwnStore(o.Root, o.Euid)
	if store == nil && problems != nil {
		return errors.Join(problems...)
	}
	if store != nil {
		defer store.Close()
		if store.Graphs()[0].Driver != "" {
			return nil
		}
	}
	cmd, err := o.Host.DefaultPodman("system", "info", "--format", "{{.Store.GraphRoot}}")
	if err != nil {
		return err
	}
	cmd.Stderr = o.Stderr
	return o.runPlain(ctx, cmd)
}

// bootcExport lets bootc export the image of a composefs deployment to podman's own
// store.
func (o Options) bootcExport(ctx context.Context, source, target string) error {
	bootc, err := wrapper.LookPath("bootc", o.Env)
	if err != nil {
		return err
	}
	args := []string{"bootc", "image", "copy-to-storage", "--source", source, "--target", target}
	return o.runPlain(ctx, wrapper.Cmd{Path: bootc, Args: args, Env: o.Env, Stderr: o.Stderr})
}

// runPlain runs a program that works on podman's own store. env is what in its
// environment is not the caller's.
func (o Options) runPlain(ctx context.Context, cmd wrapper.Cmd, env ...string) error {
	if o.Host.DryRun != nil {
		return wrapper.Explain(o.Host.DryRun, cmd, env...)
	}
	return o.runSpooled(ctx, cmd, func(cmd wrapper.Cmd) error { return o.Host.Runner.Run(ctx, cmd) })
}

// cleanUp leaves nothing on its way after a step failed.
func (x *execution) cleanUp(ctx context.Context, failed plan.StepName) (err error) {
	switch {
	case x.Loan != nil:
		err = x.returnLoan(ctx)
	case x.Plan.Method == plan.ByBootc && failed != plan.StepBootc && failed != plan.StepRemove:
		err = x.removeOwn(context.WithoutCancel(ctx), plan.ExportName)
	}
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// PullFromDefault copies images from podman's own store to the bootc-owned one,
// as bootc image pull-from-default-storage does.
func PullFromDefault(ctx context.Context, o Options, names []string) error {
	if o.Host.DryRun == nil {
		unlock, err := o.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	store, problems := inventory.OpenDefaultStore(o.Root, o.Euid)
	if store == nil {
		return errors.Join(append(problems, fmt.Errorf("copy image %q: %w", names[0], cstorage.ErrNotFound))...)
	}
	defer store.Close()
	// Before anything is written, a store made or a lock taken.
	wanted := make([]plan.Held, len(names))
	for i, name := range names {
		img, as, err := o.named(store, name)
		if err != nil {
			return err
		}
		if err := store.Damage(img); err != nil && !plan.OnlyTarSplit(err) {
			return fmt.Errorf("copy image %q: it is damaged: %w", name, err)
		}
		wanted[i] = plan.Held{Store: store, Image: img, Name: as}
	}
	session, err := o.Host.Open()
	if err != nil {
		return err
	}
	to, done, err := o.openBootcDestination()
	if err != nil {
		return err
	}
	defer done()
	if err := session.ExplainStore(); err != nil {
		return err
	}
	var sources []plan.Held
	var targets []string
	for _, from := range wanted {
		as := from.Name
		// A clone looks at the files of layers that are there, too, if it is asked to.
		if to.Has(from.Image, as) && (o.Verify != clonejob.VerifyFull || o.Method == plan.ByPodman) {
			continue
		}
		if !slices.Contains(from.Image.Names, as) {
			from.Name = from.Image.ID
		}
		sources, targets = append(sources, from), append(targets, as)
	}
	if err := o.checkAll(ctx, to, sources); err != nil {
		return err
	}
	for i, from := range sources {
		names, err := o.discardDamaged(ctx, session, from.Image, targets[i])
		if err != nil {
			return err
		}
		before, err := o.storedImages()
		if err != nil {
			return err
		}
		if err := o.copyIn(ctx, session, from, targets[i]); err != nil {
			return err
		}
		if failed := o.verifyCopy(from.Image, targets[i]); failed != nil {
			return undo(failed, before, o.storedImages, targets[i:i+1], func(args ...string) error {
				return o.bootcImage(context.WithoutCancel(ctx), session, args...)
			})
		}
		for _, name := range names {
			if err := o.bootcImage(context.WithoutCancel(ctx), session, "tag", targets[i], name); err != nil {
				return err
			}
		}
	}
	h, _ := host.ReadSysroot(o.Sysroot) // for the names of what can be read
	return o.nameOwn(ctx, h)
}

// verifyCopy checks that the bootc-owned store has an image of podman's own under a
// name.
func (o Options) verifyCopy(img *cstorage.Image, as string) error {
	if o.Host.DryRun != nil {
		return nil
	}
	store, err := o.openStore()
	if err != nil {
		return fmt.Errorf("verify %s: %w", as, err)
	}
	if store == nil {
		return fmt.Errorf("verify %s: %w: the bootc-owned store is gone", as, ErrNotVerified)
	}
	defer store.Close()
	copied := store.ByID(img.ID)
	if copied == nil || !slices.Contains(copied.Names, as) {
		return fmt.Errorf("verify %s: %w: the store has no image %.12s of this name", as, ErrNotVerified, img.ID)
	}
	if err := plan.Whole(store, true, copied); err != nil {
		return fmt.Errorf("verify %s: %w: %w", as, ErrNotVerified, err)
	}
	return nil
}

// named finds an image of podman's own store, and what to call it in the other: the name
// that was meant, character for character where it is a full one. An image that lost its
// names is found by its digest, where podman finds none.
func (o Options) named(store *cstorage.Store, meant string) (img *cstorage.Image, as string, err error) {
	m, err := store.LookupMatch(meant, o.shortNames)
	if errors.Is(err, cstorage.ErrNotFound) {
		if name, parseErr := cstorage.ParseName(meant); parseErr == nil && name.Digest != "" {
			for _, found := range store.ByDigest(name.Digest) {
				if name.Tag != "" || len(found.Names) == 0 {
					m, err = cstorage.Match{Image: found, Names: found.Names}, nil
				}
			}
		}
	}
	if err != nil {
		return nil, "", err
	}
	if as, err = nameOf(m, meant); err != nil {
		return nil, "", err
	}
	name, err := storable(as)
	if err != nil {
		return nil, "", fmt.Errorf("copy image %q: %w", meant, err)
	}
	// A name with a digest is that of an image which has it, or podman does not find it.
	if name.Digest != "" && !slices.Contains(m.Image.Digests, name.Digest) {
		return nil, "", fmt.Errorf("copy image %q: image %.12s does not have the digest", meant, m.Image.ID)
	}
	return m.Image, name.String(), nil
}

// storable is the name as podman stores it. The error is that of inventory.StorableName, or
// that the next clone would remove an image of this name.
func storable(name string) (cstorage.Name, error) {
	stored, err := inventory.StorableName(host.ImageReference{Transport: host.ContainersStorage, Name: name})
	if err == nil && strings.HasPrefix(stored.String(), clonejob.Unfinished) {
		err = fmt.Errorf("image name %q is kept for unfinished clones, which are removed", name)
	}
	return stored, err
}

// nameOf is the name that was meant by a name which may be short, or by an ID.
// NAME:TAG@DIGEST means NAME:TAG, whatever the image is called. The error is ErrNoTag
// for an image without a name that will do.
func nameOf(m cstorage.Match, meant string) (string, error) {
	if m.Name != "" {
		return m.Name, nil
	}
	short, digest, digested := strings.Cut(meant, "@")
	given, err := cstorage.ParseName(short)
	full := err == nil && given.String() == short
	if digested && full && given.Tag != "" {
		return short, nil
	}
	if digested && full {
		return meant, nil
	}
	if digested {
		for _, name := range m.Names {
			repository, _, _ := strings.Cut(name, "@")
			tagged, err := cstorage.ParseName(repository)
			if err == nil && (name == short || strings.HasSuffix(name, "/"+short)) {
				return name, nil
			}
			if err == nil && strings.HasSuffix(tagged.Repository(), "/"+short) {
				return tagged.Repository() + "@" + digest, nil
			}
		}
		return "", fmt.Errorf("copy image %q: %w", meant, ErrNoTag)
	}
	for _, tag := range []bool{true, false} {
		var first string
		for _, name := range m.Names {
			switch {
			case strings.Contains(name, "@") == tag:
			case strings.HasSuffix("/"+name, "/"+short) || strings.HasSuffix("/"+name, "/"+short+":latest"):
				return name, nil
			case first == "":
				first = name
			}
		}
		if first != "" {
			return first, nil
		}
	}
	return "", fmt.Errorf("copy image %q: %w", meant, ErrNoTag)
}

// push copies an image of podman's own store to the bootc-owned one, in the words
// of bootc (crates/lib/src/podstorage.rs).
// bytes are those of the layers that are copied, 0 when not known.
func (o Options) push(ctx context.Context, session *wrapper.Session, name, as string, bytes int64) error {
	to := fmt.Sprintf("containers-storage:[%s@%s+%s]%s", session.Config.Driver, storageconf.GraphRoot, storageconf.RunRoot, as)
	cmd, err := o.Host.DefaultPodman("image", "push", "--remove-signatures", "--", name, to)
	if err != nil {
		return err
	}
	cmd.Stderr = o.Stderr
	return o.runPush(ctx, cmd, as, bytes, session.Run)
}

// runPush runs a podman that copies an image, and tells how the layers grow that it
// puts into temporary files, where they are whole before they are stored.
func (o Options) runPush(ctx context.Context, cmd wrapper.Cmd, as string, bytes int64, run runner) error {
	if o.Host.DryRun != nil {
		return run(ctx, cmd)
	}
	job := o.Progress.Transfer(progress.Task{Name: "copying", Description: "Copying " + as, ID: as, Bytes: bytes})
	defer job.Stop()
	var most int64
	err := o.runSpooled(ctx, cmd, func(cmd wrapper.Cmd) error {
		defer watchBlobs(ctx, wrapper.Getenv(cmd.Env, "TMPDIR"), func(files map[string]int64) {
			most = max(most, min(sum(files), cmp.Or(bytes, math.MaxInt64)))
			job.Set(most)
		})()
		return run(ctx, cmd)
	})
	if err == nil {
		job.Set(cmp.Or(bytes, most))
		job.Done()
	}
	return err
}

// export serves the image of a commit in the ostree repository under a name, and
// calls pull with what podman has to be told to pull it into a store. It returns the manifest digest that the image has then.
func (o Options) export(ctx context.Context, commit, name string, into plan.Destination, pull func(args, env []string) error) (string, error) {
	if o.Host.DryRun != nil {
		fmt.Fprintf(o.Host.DryRun, "# serve commit %s as %s on the loopback interface\n", commit, name)
		args, env := export.PullCommand(filepath.Join(o.Dir, exportDir), name)
		return "", pull(args, env)
	}
	repo, err := o.Sysroot.OpenRepo()
	if err != nil {
		return "", err
	}
	defer repo.Close()
	found, err := repo.ImageCommit(commit)
	if err != nil {
		return "", err
	}
	reading := o.Progress.Transfer(progress.Task{Name: "reading", Description: "Reading " + name, ID: found.ManifestDigest})
	defer reading.Stop()
	image, err := export.New(ctx, repo, found, layerProgress(reading, nil))
	if err != nil {
		return "", err
	}
	reading.Done()
	layers := make([]host.Descriptor, len(image.Layers))
	for i, l := range image.Layers {
		layers[i] = host.Descriptor{Digest: l.Digest, Size: l.Size}
	}
	if err := into.Damaged(fmt.Sprintf("export %s to %s", name, into.Name), layers, false); err != nil {
		return "", err
	}
	if err := o.checkSpace(fmt.Sprintf("export %s to %s", name, into.Name), o.podmanNeeds(ctx, into, layers)...); err != nil {
		return "", err
	}
	dir := filepath.Join(o.Dir, exportDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // else the next transfer does
	exporting := o.Progress.Transfer(progress.Task{
		Name: "exporting", Description: "Exporting " + name, ID: found.ManifestDigest,
		Bytes: image.Size, Steps: int64(len(image.Layers)),
	})
	defer exporting.Stop()
	registry, err := image.Serve(ctx, dir, name, layerProgress(exporting, image.Layers))
	if err != nil {
		return "", err
	}
	if err = pull(registry.PullCmd()); err == nil {
		exporting.Done()
	}
	// Where the registry failed, podman knows only that it ended.
	switch served := registry.Close(); {
	case ctx.Err() != nil:
		return "", fmt.Errorf("export %s: %w", name, context.Cause(ctx))
	case served != nil:
		return "", served
	}
	return image.ManifestDigest, err
}

// layerProgress tells a job how far its layers are; where these are not known yet,
// their sizes are not either.
func layerProgress(job *progress.Job, layers []export.Layer) export.Progress {
	parts := map[int]*progress.Part{}
	return func(i int, n int64) {
		part := parts[i]
		if part == nil {
			sub := progress.Subtask{Name: "layer", Description: fmt.Sprintf("layer %d", i+1), ID: strconv.Itoa(i)}
			if i < len(layers) {
				sub.ID, sub.Bytes = layers[i].Digest, layers[i].Size
			}
			part = job.Start(sub)
			parts[i] = part
		}
		part.Set(n)
		if i < len(layers) && n == layers[i].Size {
			part.Done()
		}
	}
}

// verify looks at what is there now and, if that is not what the plan says, removes
// what was not there before.
func (x *execution) verify(ctx context.Context) error {
	if x.Host.DryRun != nil {
		_, err := fmt.Fprintf(x.Host.DryRun, "# compare the manifest digest of %s with %s\n", x.Name, x.Digest)
		return err
	}
	s, err := inventory.SurveyStores(x.Options.Options)
	if err != nil {
		return err
	}
	defer s.Close()
	img, err := s.Find(s.Bootc, x.Name)
	if err != nil {
		return fmt.Errorf("verify %s: %w", x.Name, err)
	}
	wanted, same := x.Digest, img != nil && (img.Is(x.Digest) || x.Newer)
	var damage error
	if img != nil {
		damage = plan.Whole(s.Bootc, true, img)
	}
	if x.Plan.Method == plan.ByBootc {
		exported, err := s.Find(s.Default, plan.ExportName)
		if err == nil && exported == nil {
			err = fmt.Errorf("%w: podman's own store does not have %s", ErrNotVerified, plan.ExportName)
		}
		if err != nil {
			return fmt.Errorf("verify %s: %w", x.Name, err)
		}
		// The ID is the digest of the configuration, which names all layers.
		wanted, same = exported.Digest, img != nil && img.ID == exported.ID
	}
	if same && damage == nil {
		return x.verified(x.record, img.ID)
	}
	found := "nothing"
	if img != nil {
		found = img.Digest
	}
	failed := fmt.Errorf("verify %s: %w: %s instead of %s", x.Name, ErrNotVerified, found, wanted)
	if damage != nil {
		failed = fmt.Errorf("verify %s: %w: %w", x.Name, ErrNotVerified, damage)
	}
	return undo(failed, x.before, x.storedImages, []string{x.Stored.String()}, func(args ...string) error {
		return x.podman(context.WithoutCancel(ctx), nil, args...)
	})
}

// openStore reads the bootc-owned store; it is nil when there is none.
func (o Options) openStore() (*cstorage.Store, error) {
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if err != nil {
		return nil, err
	}
	store, problems := inventory.OpenBootcStore(located, o.Root)
	if store == nil {
		return nil, errors.Join(problems...)
	}
	return store, nil
}

// storedImages are the IDs of the images of the bootc-owned store, with their names.
func (o Options) storedImages() (map[string][]string, error) {
	store, err := o.openStore()
	if store == nil {
		return nil, err
	}
	defer store.Close()
	return namesByID(store), nil
}

func namesByID(store *cstorage.Store) map[string][]string {
	found := map[string][]string{}
	if store == nil {
		return found
	}
	for _, img := range store.Images {
		found[img.ID] = img.Names
	}
	return found
}

// shortNames are the names that podman completes short ones to.
func (o Options) shortNames() (cstorage.ShortNames, error) { return cstorage.ReadShortNames(o.Root) }
