// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package transfer moves images between the stores of a host.
package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
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
	// ErrNotVerified reports that the verification after a transfer failed.
	ErrNotVerified = errors.New("image does not match the expected one")
)

// PlanUnified plans what SetUnified would do, and changes nothing.
func PlanUnified(ctx context.Context, o Options, choice plan.Choice) (*plan.Plan, error) {
	v, err := o.look(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	o.reportDamage(v)
	choice.Method = o.Method
	p, err := plan.New(v, choice)
	if err == nil {
		logPlan(p)
	}
	return p, err
}

// logPlan logs what was decided.
func logPlan(p *plan.Plan) {
	logrus.Debugf("Planned for %s: source %q, method %q: %s", p.Image, p.Source, p.Method, p.Reason)
}

// look reads the host and its stores. The view has to be closed.
func (o Options) look(ctx context.Context) (*plan.View, error) {
	s, err := inventory.NewSurvey(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	record, err := o.readRecord()
	if err != nil {
		s.Close()
		return nil, err
	}
	_, noProgram := clonejob.FindProgram(o.Host.Self)
	return &plan.View{
		Survey: s, Record: record, NoProgram: noProgram, RepoPath: o.Sysroot.RepoPath(), ComposefsPath: o.Sysroot.ComposefsPath(), Sharing: sharing,
		ComposefsLayers: o.composefsLayers,
		ExportedBytes:   func(commit string) (int64, error) { return o.exportedBytes(ctx, commit) },
		ArchiveDigest:   func(image host.ImageReference) (string, error) { return lookAt(s.Root(), image) },
	}, nil
}

// reportDamage reports the damaged images of a host.
func (o Options) reportDamage(v *plan.View) {
	for _, damage := range v.Damaged() {
		o.Events.Damaged(damage)
	}
}

// begin reads a host for a transfer that holds the lock, without what an earlier one left
// that was killed. The view and the places have to be closed.
func (o *Options) begin(ctx context.Context) (*plan.View, *places, error) {
	for cleaned := false; ; cleaned = true {
		v, err := o.look(ctx)
		if err != nil {
			return nil, nil, err
		}
		p := o.places(v.Survey)
		if !cleaned && o.tidy(ctx, p) {
			p.close()
			v.Close()
			continue
		}
		p.tidied = cleaned
		return v, p, nil
	}
}

// tidy removes what an earlier transfer left in the stores, and reports whether there was
// any. What cannot be removed does no harm. A dry run leaves it.
func (o *Options) tidy(ctx context.Context, p *places) bool {
	if o.dryRun() {
		return false
	}
	found, err := p.tidy(ctx)
	if err != nil {
		logrus.Warnf("Removing what an earlier transfer left: %v", err)
	}
	return found
}

// shortNames are the names that podman completes short ones to.
func (o Options) shortNames() (cstorage.ShortNames, error) { return cstorage.ReadShortNames(o.Root) }

// nameOwn gives names as nameOwnAsRead does. It reads both stores again first: other
// processes may have changed them during the transfer.
func (p *places) nameOwn(ctx context.Context, h *host.Host) error {
	p.bootc.changed()
	p.own.changed()
	return p.nameOwnAsRead(ctx, h)
}

// nameOwnAsRead gives images of podman's own store the names by which skopeo looks for
// them when bootc upgrades the host, see inventory.HiddenError. A name that another image
// of podman's own store has is left to it, and Events.Hidden is called.
func (p *places) nameOwnAsRead(ctx context.Context, h *host.Host) error {
	if p.own.o.dryRun() || h == nil {
		return nil
	}
	bootc, err := p.bootc.now()
	if err != nil {
		return err
	}
	own, err := p.own.now()
	if err != nil {
		return err
	}
	for _, image := range (&inventory.Survey{Bootc: bootc, Own: own}).Hidden(h) {
		if image.Other != "" {
			p.own.o.Events.Hidden(image)
		}
		if image.Named {
			continue
		}
		if err := p.own.tag(ctx, image.ID, image.Name); err != nil {
			return err
		}
	}
	return nil
}
