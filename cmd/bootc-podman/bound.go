// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// boundActions are the words that follow "bound", with the options that each takes.
func boundActions() map[string][]string {
	return map[string][]string{
		"check": {"deployment", "format", "strict"}, "lint": {"format", "root", "strict"},
		"fetch": {"deployment", "force", "from", "jobs", "method", "no-wait", "progress-fd", "quiet", "q", "retry", "staged", "verify"},
		"list":  {"deployment", "format", "lenient"}, "lock": nil,
		"outdated": {"deployment", "format", "jobs"},
		"refresh":  {"all", "deployment", "force", "jobs", "method", "no-wait", "progress-fd", "quiet", "q", "retry", "verify"},
	}
}

func (a *app) boundCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "bound",
		Usage:     "check, fetch, refresh and pin the images that are bound to deployments",
		UsageText: "bootc-podman [options] bound check|fetch|lint|list|lock|outdated|refresh [options] [image...]",
		ArgsUsage: "action ...",
		Flags: append(
			copyFlags(),
			choice("deployment", "only images bound to this `DEPLOYMENT`: %s", string(bound.All), []bound.Which{bound.Booted, bound.Staged, bound.Rollback, bound.All}),
			choice("format", "print as `FORMAT`, lint all and others text or json: %s", string(lintText), lintFormats()),
			lenientFlag(),
			&cli.StringFlag{Name: "root", Usage: "lint the image in the making whose root directory is `DIR`"},
			&cli.BoolFlag{Name: "strict", Usage: "lint and check also fail on risks"},
			orDirs(fromFlag(plan.FromDefault, plan.FromRegistry), string(plan.FromOCI)),
			&cli.BoolFlag{Name: "all", Usage: "refresh all bound images"},
			&cli.IntFlag{Name: "jobs", Usage: "fetch or compare up to `N` images at a time", Value: 4},
			&cli.IntFlag{Name: "retry", Usage: "try a pull that fails again up to `N` times", Value: 3},
			&cli.BoolFlag{Name: "staged", Usage: "the same as --deployment staged"},
		),
		Action: func(c *cli.Context) error {
			action := c.Args().First()
			known, ok := boundActions()[action]
			if !ok {
				return usageErrorf("bound: unknown action %q: use %s", action, orList(slices.Sorted(maps.Keys(boundActions()))))
			}
			if c.NArg() > 1 && action != "refresh" {
				return usageErrorf("bound %s: unexpected argument %q", action, c.Args().Get(1))
			}
			for _, name := range c.LocalFlagNames() {
				if name != "dry-run" && !slices.Contains(known, name) {
					return usageErrorf("bound %s: there is no option --%s", action, name)
				}
			}
			if format := lintFormat(c.String("format")); action != "lint" && format != lintText && format != lintJSON {
				return usageErrorf("bound %s: unknown format %q: use text or json", action, format)
			}
			switch {
			case c.Int("jobs") < 1:
				return usageErrorf("bound %s: --jobs %d is less than 1", action, c.Int("jobs"))
			case c.Int("retry") < 0:
				return usageErrorf("bound %s: cannot retry %d times", action, c.Int("retry"))
			case action == "list":
				return a.listBound(o, c)
			case action == "check":
				return a.checkBound(o, c)
			case action == "fetch":
				return a.fetchBound(o, c)
			case action == "outdated":
				return a.outdatedBound(o, c)
			case action == "refresh":
				return a.refreshBound(o, c)
			case o.sysroot != "/":
				return a.refuseSysroot(o, action)
			case action == "lint":
				return a.lintBound(c)
			}
			return a.lockBound(o)
		},
	})
}

// fetchBound brings bound images into the bootc-owned store. The line that it prints is bootc's.
func (a *app) fetchBound(o *options, c *cli.Context) error {
	which := bound.Which(c.String("deployment"))
	switch {
	case c.Bool("staged") && c.IsSet("deployment") && which != bound.Staged:
		return usageErrorf("bound fetch: --staged and --deployment %s exclude each other", which)
	case c.Bool("staged"):
		which = bound.Staged
	}
	return a.transfer(c, o, func(t transfer.Options) error {
		n, err := bound.Fetch(c.Context, t, which, plan.Source(c.String("from")), c.Int("jobs"))
		if err == nil && n > 0 && !o.dryRun {
			_, err = fmt.Fprintf(a.stdout, "Bound images stored: %d\n", n)
		}
		return err
	})
}

// refuseSysroot refuses another host's root for an action.
func (a *app) refuseSysroot(o *options, action string) error {
	advice := "the command acts on the running host"
	if action == "lint" {
		advice = "use --root for another root directory"
	}
	return usageErrorf("bound %s: --sysroot %q is not supported: %s", action, o.sysroot, advice)
}

func (a *app) lockBound(o *options) error {
	lock, warnings, err := hooks.MakeLock(a.root)
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		fmt.Fprintf(a.stderr, "Warning: %s\n", printable(warning.Error()))
	}
	if o.dryRun {
		return printJSON(a.stdout, lock)
	}
	changed, err := lock.Write(a.root)
	if changed {
		fmt.Fprintf(a.stderr, "Locked %d bound images in %q\n", len(lock.Images), filepath.Join(a.root, hooks.LockPath))
	}
	return err
}
