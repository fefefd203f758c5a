// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
)

// outdatedBound prints how bound images compare with their registries. The exit status is 0 if
// all are current, 1 if one is not, 125 if that cannot be determined of one.
func (a *app) outdatedBound(o *options, c *cli.Context) error {
	if o.dryRun {
		return usageErrorf("bound outdated: there is no option --dry-run: it changes nothing")
	}
	var list []*transfer.Compared
	var problems []error
	err := a.transfer(c, o, func(t transfer.Options) (err error) {
		list, problems, err = bound.Outdated(c.Context, t, bound.Which(c.String("deployment")), c.Int("jobs"))
		return err
	})
	if err != nil {
		return orCode(errors.Join(append(problems, err)...), exitUnknown)
	}
	if len(list) == 0 && len(problems) > 0 {
		return orCode(errors.Join(problems...), exitUnknown)
	}
	if c.String("format") == "json" {
		err = printJSON(a.stdout, append([]*transfer.Compared{}, list...))
	} else {
		err = a.printOutdated(list)
	}
	if err != nil {
		return err
	}
	is := func(states ...transfer.State) bool {
		return slices.ContainsFunc(list, func(c *transfer.Compared) bool { return slices.Contains(states, c.State) })
	}
	switch {
	case is(transfer.Outdated, transfer.Missing):
		return &exitError{err: errors.Join(problems...), code: exitNo}
	case is(transfer.Unclear), len(problems) > 0:
		return &exitError{err: errors.Join(problems...), code: exitUnknown}
	}
	return nil
}

func (a *app) printOutdated(list []*transfer.Compared) error {
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "IMAGE\tSTATE\tDIGEST\tAVAILABLE")
	for _, img := range list {
		_, _ = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", cmp.Or(printable(img.Image), none), img.State, shortDigest(img.Digest), shortDigest(img.Available))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, img := range list {
		if img.Reason != "" {
			fmt.Fprintf(a.stderr, "Warning: %s: %s\n", printable(img.Image), printable(img.Reason))
		}
	}
	return nil
}

// shortDigest returns a digest as a table has it.
func shortDigest(digest string) string {
	algorithm, hex, found := strings.Cut(digest, ":")
	if !found {
		return none
	}
	return fmt.Sprintf("%s:%.12s", algorithm, hex)
}

// refreshBound brings bound images again that their registries have replaced.
func (a *app) refreshBound(o *options, c *cli.Context) error {
	names := c.Args().Tail()
	if c.Bool("all") == (len(names) > 0) {
		return usageErrorf("bound refresh: name images or use --all")
	}
	var list []transfer.Refreshed
	err := a.transfer(c, o, func(t transfer.Options) (err error) {
		list, err = bound.Refresh(c.Context, t, bound.Which(c.String("deployment")), names, c.Int("jobs"))
		return err
	})
	if o.dryRun {
		return err
	}
	for _, r := range list {
		line := fmt.Sprintf("%s: %s", r.Image, r.State)
		if r.New != r.Digest {
			line = fmt.Sprintf("%s: refreshed, %s", r.Image, r.New)
		}
		if r.Digest != "" && r.New != r.Digest {
			line += ", before " + r.Digest
		}
		if r.Kept != "" && r.New != r.Digest {
			line += ", kept as " + r.Kept
		}
		if printErr := a.printLines(printable(line)); printErr != nil {
			return errors.Join(err, printErr)
		}
	}
	a.noteLock(o, list)
	return err
}

// noteLock warns of images that bound.lock has with the digest that they had.
func (a *app) noteLock(o *options, list []transfer.Refreshed) {
	if host.At(o.sysroot).Running == "" {
		return
	}
	lock, err := hooks.ReadLock(a.root)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(a.stderr, "Warning: %s\n", printable(err.Error()))
		}
		return
	}
	for _, r := range list {
		if digest, locked := lock.Images[r.Image]; locked && r.New != r.Digest && digest != r.New {
			fmt.Fprintf(a.stderr, "Warning: bound.lock has another image for %s: \"bootc-podman bound lock\" locks the new one\n", printable(r.Image))
		}
	}
}
