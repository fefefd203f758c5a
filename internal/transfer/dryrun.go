// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// A dry run yields the commands of the steps of a plan, with comments for what is no
// command. Package podman prints each command in place of running it; nothing is changed.

// dryRun reports that commands are printed in place of being run.
func (o Options) dryRun() bool { return o.Host.DryRun != nil }

// change does what is no command. A dry run leaves it out.
func (o Options) change(do func() error) error {
	if o.dryRun() {
		return nil
	}
	return do()
}

// comment prints a line about what is no command.
func (o Options) comment(format string, args ...any) error {
	_, err := fmt.Fprintf(o.Host.DryRun, "# "+format+"\n", args...)
	return err
}

// explain yields the commands of a step of set-unified. Where they depend on what steps
// before it bring, they are as the plan expects that.
func (x *execution) explain(ctx context.Context, step plan.StepName) error {
	switch {
	case step == plan.StepCopy && x.Method == plan.ByBootc:
		return x.to.PushIn(ctx, plan.ExportName, x.Name, 0)
	case step == plan.StepUntag && x.Source == plan.FromRegistry:
		return x.to.image(ctx, "untag", x.Stored.String(), x.Take)
	case step == plan.StepUntag:
		return x.comment("podman image untag of the names that the pull gave it, if any")
	case step == plan.StepVerify:
		return x.comment("compare the manifest digest of %s with %s", x.Name, x.Digest)
	case step == plan.StepNameOwn:
		return x.own.tag(ctx, x.Hiding, x.Stored.String())
	}
	return x.take(ctx, step)
}

// explainClone yields the command of a job of the private program in a place.
func (a *arrival) explainClone(ctx context.Context, in *place, program string, job clonejob.Job) error {
	cmd, text, err := clonejob.Command(program, job)
	if err != nil {
		return err
	}
	if err := a.comment("its standard input: %s", strings.TrimSpace(string(text))); err != nil {
		return err
	}
	return in.RunPrivate(ctx, cmd)
}

// explainExport yields the command of the pull of an exported commit.
func (a *arrival) explainExport(ctx context.Context, commit, name string) error {
	if err := a.comment("serve commit %s as %s on the loopback interface", commit, name); err != nil {
		return err
	}
	args, env := export.PullCommand(filepath.Join(a.Dir, exportDir), name)
	return a.to.ImagePull(ctx, env, args...)
}
