// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/removal"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// guard looks at a command line of podman before it removes what the host needs, and returns
// the arguments for podman, without our own options. done is true if there is nothing left
// for podman to do.
func (a *app) guard(ctx context.Context, o *options, args []string) (rest []string, done bool, err error) {
	c, ok := removal.Parse(args)
	if !ok {
		return args, false, nil
	}
	if c.Help || a.euid != 0 && !o.dryRun {
		return c.Args, false, nil // podman shows help; the wrapper refuses anybody but root
	}
	if c.Verb == removal.Prune {
		done, err = a.prune(ctx, o, c)
		return c.Args, done, err
	}
	if c.ForceInUse {
		return c.Args, false, nil
	}
	view := removal.Look(ctx, a.query(o))
	defer view.Close()
	if err = view.Err; err == nil {
		err = c.Check(view.Needs)
	}
	return c.Args, false, a.orWarn(o, err)
}

// orWarn makes what cannot be determined without root a warning in a dry run.
func (a *app) orWarn(o *options, err error) error {
	if a.euid != 0 && o.dryRun && errors.As(err, new(*removal.UnknownError)) {
		fmt.Fprintf(a.stderr, "Warning: %s\n", printable(err.Error()))
		return nil
	}
	return err
}

// guardProgram is guard for a command line that exec runs.
func (a *app) guardProgram(ctx context.Context, o *options, argv []string) (rest []string, err error) {
	c, ok := removal.ParseProgram(argv)
	if !ok || c.Remote || c.Root != "" && !a.host(o).IsStore(c.Root) {
		return argv, nil
	}
	rest = append([]string{argv[0]}, c.Args...)
	if c.ForceInUse || c.Help || a.euid != 0 && !o.dryRun {
		return rest, nil
	}
	view := removal.Look(ctx, a.query(o))
	defer view.Close()
	if c.Verb == removal.SystemReset {
		return rest, a.confirmReset(o, view)
	}
	if err = view.Err; err == nil {
		err = c.Check(view.Needs)
	}
	return rest, a.orWarn(o, err)
}

// prune does what podman image prune does where that would remove images that the host
// needs, and prints what it would do for --dry-run. done is false if podman can do it.
func (a *app) prune(ctx context.Context, o *options, c removal.Command) (done bool, err error) {
	view := removal.Look(ctx, a.query(o))
	defer view.Close()
	n := view.Needs
	switch {
	case c.ForceInUse && !c.DryRun, n.Bootc == nil && view.Err == nil:
		return false, nil
	case c.ForceInUse:
		n = &inventory.Needs{Bootc: n.Bootc} // as if nothing were needed
	case view.Err != nil:
		err := a.orWarn(o, view.Err)
		return err != nil, err
	case !c.DryRun && !c.MayLose(n):
		return false, nil
	}
	if o.dryRun && a.euid != 0 {
		fmt.Fprintf(a.stderr, "Warning: what podman prunes is not known without root\n")
		return false, nil
	}
	if len(c.Operands) > 0 {
		return false, nil // podman refuses them
	}
	p := a.newPruner(o, c)
	if o.dryRun || c.DryRun {
		return true, p.explain(ctx, n)
	}
	return true, p.run(ctx, n)
}

// pruner prunes images one by one.
type pruner struct {
	*app
	*options
	removal.Command
	// podman runs podman on the store. Its standard output goes to out, and its exit status
	// becomes ours.
	podman func(ctx context.Context, out io.Writer, args ...string) error
}

func (a *app) newPruner(o *options, c removal.Command) *pruner {
	p := &pruner{app: a, options: o, Command: c}
	p.podman = p.runPodman
	return p
}

func (p *pruner) runPodman(ctx context.Context, out io.Writer, args ...string) error {
	o := *p.options
	o.dryRun = false
	s, err := p.host(&o).Open()
	if err != nil {
		return err
	}
	cmd, err := s.Podman(ctx, args...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = out, p.stderr
	err = s.Run(ctx, cmd)
	var exit *wrapper.ExitError
	if errors.As(err, &exit) {
		return &exitError{code: exit.Code} // podman has printed why
	}
	return err
}

// choose asks podman for what it would prune, and divides that.
func (p *pruner) choose(ctx context.Context, n *inventory.Needs) ([]*cstorage.Image, []removal.Kept, error) {
	var listed bytes.Buffer
	if err := p.podman(ctx, &listed, p.Candidates()...); err != nil {
		return nil, nil, err
	}
	remove, keep := p.Choose(n, listed.String())
	return remove, keep, nil
}

// explain prints the images that would be removed, and those that would stay.
func (p *pruner) explain(ctx context.Context, n *inventory.Needs) error {
	remove, keep, err := p.choose(ctx, n)
	if err != nil {
		return err
	}
	for _, img := range p.WithParents(n, remove) {
		fmt.Fprintf(p.stdout, "%s\n", printable(strings.Join(append([]string{img.ID}, img.Names...), " ")))
	}
	p.showKept(keep)
	return nil
}

func (p *pruner) showKept(keep []removal.Kept) {
	for _, k := range keep {
		for _, need := range k.Needs {
			fmt.Fprintf(p.stderr, "Keeping %s: needed by the %s\n", printable(removal.Label(k.Image)), printable(need.String()))
		}
	}
}

// run removes what nothing needs. It prints the IDs of the images, as podman does.
func (p *pruner) run(ctx context.Context, n *inventory.Needs) error {
	_, keep, err := p.choose(ctx, n)
	if err != nil {
		return err
	}
	p.showKept(keep)
	if !p.Force {
		if yes, err := p.confirm(); !yes || err != nil {
			return err
		}
	}
	if p.BuildCache {
		// With a filter that no image passes, podman removes the build cache alone.
		if err := p.podman(ctx, p.stdout, "image", "prune", "--force", "--build-cache", "--filter", "label=io.bootc-podman.no-image"); err != nil {
			return err
		}
	}
	for {
		removed, err := p.round(ctx)
		if err != nil || !removed {
			return err
		}
	}
}

// confirm asks as podman does.
func (p *pruner) confirm() (bool, error) {
	kind := "all dangling images"
	if p.All {
		kind = "all images without at least one container associated with them"
	}
	fmt.Fprintf(p.stdout, "WARNING! This command removes %s, but for those that the host needs.\nAre you sure you want to continue? [y/N] ", kind)
	answer, err := readAnswer(p.stdin)
	if err != nil {
		return false, err
	}
	return strings.HasPrefix(strings.ToLower(answer), "y"), nil
}

// readAnswer is readLine, with the error of reading nothing.
func readAnswer(r io.Reader) (string, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil || first[0] == '\n' {
		return "", err
	}
	return string(first) + readLine(r), nil
}

// round removes the images that can be removed now, and reports whether there were any:
// parents without a name are only then without images upon them. It looks again at what the
// host needs, immediately before podman removes.
func (p *pruner) round(ctx context.Context) (removed bool, err error) {
	before := removal.Look(ctx, p.query(p.options))
	defer before.Close()
	if before.Err != nil {
		return false, before.Err
	}
	remove, _, err := p.choose(ctx, before.Needs)
	if err != nil || len(remove) == 0 {
		return false, err
	}
	failed := p.podman(ctx, io.Discard, append([]string{"image", "rm", "--no-prune", "--ignore", "--"}, removal.Operands(before.Needs, remove)...)...)
	after := removal.Look(ctx, p.query(p.options))
	defer after.Close()
	for _, img := range remove {
		if after.Err == nil && (after.Bootc == nil || after.Bootc.ByID(img.ID) == nil) {
			removed = true
			fmt.Fprintf(p.stdout, "%s\n", img.ID)
		}
	}
	return removed, errors.Join(failed, after.Err)
}
