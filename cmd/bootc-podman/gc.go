// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/removal"
)

func (a *app) gcCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "gc",
		Usage:     "remove the images of this store that nothing needs; forecast bootc's cleanup",
		UsageText: "bootc-podman [options] gc [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "print what bootc's next cleanup removes, and what gc would; remove nothing"},
			formatChoice("print the forecast of --dry-run as `FORMAT`: %s", "text"),
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("format") && !o.dryRun {
				return usageErrorf("gc: --format is of --dry-run, and gc without it removes images")
			}
			view := removal.Look(c.Context, a.query(o))
			defer view.Close()
			if view.Err != nil {
				return unforced(view.Err)
			}
			if view.Absent != nil {
				return view.Absent
			}
			if !o.dryRun {
				return a.newPruner(o, removal.Command{}).collect(c.Context, view.Needs)
			}
			forecast, bad := view.Forecast()
			return a.settle(c, bad, true, func() error {
				if c.String("format") == "json" {
					return printJSON(a.stdout, forecast)
				}
				_, err := io.WriteString(a.stdout, forecastText(forecast, view.Bootc != nil))
				return err
			})
		},
	})
}

// unforced returns an error of removal.Look for a verb without the option --force-in-use, which
// the hint of an *removal.UnknownError names.
func unforced(err error) error {
	if unknown, ok := errors.AsType[*removal.UnknownError](err); ok {
		return fmt.Errorf("determine which images the host needs: %w", unknown.Err)
	}
	return err
}

// collect removes the images that nothing needs, and prints their IDs.
func (p *pruner) collect(ctx context.Context, n *inventory.Needs) error {
	if n.Bootc == nil {
		fmt.Fprintf(p.stderr, "There is no bootc-owned store; \"bootc-podman gc --dry-run\" prints what bootc removes of the host.\n")
		return nil
	}
	var unneeded []*cstorage.Image
	for _, img := range n.Bootc.Images {
		if len(n.Of(img)) == 0 {
			unneeded = append(unneeded, img)
		}
	}
	if len(unneeded) == 0 {
		return nil
	}
	args := append([]string{"image", "rm", "--no-prune", "--ignore", "--"}, removal.Operands(n, unneeded)...)
	return p.podman(ctx, p.stdout, args...)
}

// forecastText is a forecast for people; stored is whether there is a bootc-owned store.
func forecastText(f *inventory.Forecast, stored bool) string {
	var out strings.Builder
	line := func(format string, args ...any) { out.WriteString(printable(fmt.Sprintf(format, args...)) + "\n") }
	why := map[inventory.Why]string{
		inventory.WithoutName: "it has no name", inventory.SpelledOtherwise: "a deployment spells its name otherwise",
		inventory.BoundOnComposefs: "bootc does not look at bound images of composefs hosts", inventory.NotNamed: "no deployment names it",
	}
	if stored {
		line("bootc's next cleanup removes %s of the bootc-owned store.", count(len(f.Images), "image"))
	} else {
		line("There is no bootc-owned store.")
	}
	for _, d := range f.Images {
		line("  %.12s %s: %s", d.ID, strings.Join(d.Names, " "), why[d.Why])
		for _, need := range d.Needs {
			line("    needed by the %s", need)
		}
		switch d.Blocked {
		case inventory.SeveralNames:
			line("    it has several names: podman refuses, and the cleanup fails")
		case inventory.InUse:
			line("    a container uses it: podman refuses, and the cleanup fails")
		}
	}
	if f.Kind == host.OSTree {
		line("bootc's next cleanup removes %s and %s of the ostree repository.", count(len(f.Refs), "image"), count(len(f.Layers), "layer"))
	}
	for _, ref := range f.Refs {
		line("  %s", ref)
	}
	if stored {
		line("bootc-podman gc removes %s that nothing needs.", count(len(f.Unneeded), "image"))
	}
	for _, u := range f.Unneeded {
		line("  %.12s %s", u.ID, strings.Join(u.Names, " "))
	}
	return out.String()
}
