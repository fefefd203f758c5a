// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/doctor"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/metrics"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// findingsJSON is what doctor and "status --check" print as JSON. It is described by
// docs/doctor-v1.schema.json.
type findingsJSON struct {
	Schema int `json:"schema"`
	// Changed reports whether doctor fixed anything.
	Changed  bool             `json:"changed"`
	Findings []health.Finding `json:"findings"`
}

func (a *app) doctorCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "doctor",
		Usage:     "find what is wrong with the host and its stores, explain it, and fix what is safe to fix",
		UsageText: "bootc-podman [options] doctor [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "deep", Usage: "also compare the content of all layers with their digests"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --fix, print what would be fixed"},
			&cli.BoolFlag{Name: "fix", Usage: "fix what needs no decision, and look again"},
			formatChoice("print as `FORMAT`: %s", "text"),
			&cli.BoolFlag{Name: "journal", Usage: "also write a record of the result to the journal"},
			&cli.StringFlag{Name: "metrics", Usage: "also write the result to `FILE` as metrics for a node exporter"},
			&cli.StringFlag{Name: "registry", Usage: "report which credentials podman finds for the registry `NAME`"},
		},
		Action: func(c *cli.Context) error {
			on := a.examined(o)
			on.Host.DryRun = nil // examining changes nothing
			on.Podman, on.Deep, on.Registry = a.podmanOf(c.Context, a.root), c.Bool("deep"), c.String("registry")
			if _, err := metricsFile(c); err != nil {
				return err
			}
			started := time.Now()
			found, state := doctor.ExamineState(c.Context, on)
			changed := false
			switch {
			case !c.Bool("fix"):
			case o.dryRun:
				for _, p := range found {
					if p.Apply != nil {
						fmt.Fprintf(a.stderr, "Would %s\n", printable(p.Action))
					}
				}
			default:
				err := a.transfer(c, o, func(t transfer.Options) error {
					on.Options = t
					changed = a.fix(c, on)
					return c.Err()
				})
				if errors.Is(err, wrapper.ErrNotRoot) {
					return orCode(err, exitUnknown)
				}
				if err != nil {
					return err
				}
				found, state = doctor.ExamineState(c.Context, on)
			}
			check := metrics.Check{Version: version(), Ended: time.Now(), Took: time.Since(started), Findings: doctor.Findings(found), State: state}
			result := a.printFindings(check.Findings, c.String("format"), changed)
			return cmp.Or(a.report(c, o, check), result)
		},
	})
}

func (a *app) repairCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "repair",
		Usage:     "bring a damaged image of the bootc-owned store again, by its digest",
		UsageText: "bootc-podman [options] repair [options] image",
		ArgsUsage: "image",
		Flags: append(transferFlags(),
			&cli.BoolFlag{Name: "again", Usage: "also bring an image again that does not seem damaged"}),
		Action: func(c *cli.Context) error {
			return a.restore(c, o, "", func(t transfer.Options) (*transfer.Restored, error) {
				return transfer.Repair(c.Context, t, c.Args().First(), c.Bool("again"))
			})
		},
	})
}

func (a *app) localizeCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "localize",
		Usage:     "clone the layers of an image that lie in the bootc-owned store into podman's own store",
		UsageText: "bootc-podman [options] localize [options] image",
		ArgsUsage: "image",
		Flags:     transferFlags(),
		Action: func(c *cli.Context) error {
			return a.restore(c, o, " in podman's own store", func(t transfer.Options) (*transfer.Restored, error) {
				return transfer.Localize(c.Context, t, c.Args().First())
			})
		},
	})
}

// restore brings an image again, and prints that it is whole, with where in that line, and
// what it came from.
func (a *app) restore(c *cli.Context, o *options, where string, do func(transfer.Options) (*transfer.Restored, error)) error {
	var restored *transfer.Restored
	err := a.transfer(c, o, func(t transfer.Options) (err error) {
		restored, err = do(t)
		return err
	})
	if err != nil || o.dryRun {
		return err
	}
	line := fmt.Sprintf("Image %s is whole%s.", restored.Name, where)
	if restored.Source != "" {
		line = fmt.Sprintf("Image %s is whole%s now: it came from %s.", restored.Name, where, restored.Source)
	}
	_, err = fmt.Fprintln(a.stdout, printable(line))
	return err
}

// fix fixes what is safe to fix, prints each step, and reports whether it fixed anything.
func (a *app) fix(c *cli.Context, on doctor.Options) bool {
	fixed := 0
	doctor.Fix(c.Context, doctor.Examine(c.Context, on),
		func(action string) {
			fixed++
			fmt.Fprintf(a.stderr, "Fix: %s\n", printable(action))
		},
		func(action string, err error) {
			fixed--
			fmt.Fprintf(a.stderr, "Warning: %s: %s\n", printable(action), printable(err.Error()))
		})
	return fixed > 0
}

// checkStatus prints what is wrong with the host, one line each.
func (a *app) checkStatus(c *cli.Context, o *options) error {
	format := c.String("format")
	if format != "text" && format != "json" {
		return usageErrorf("status: --check prints text or json, no template")
	}
	found := doctor.QuickCheck(c.Context, a.examined(o))
	return a.printFindings(found, format, false)
}

// examined returns what package doctor needs of the host of the options.
func (a *app) examined(o *options) doctor.Options {
	return doctor.Options{Options: transfer.Options{Options: a.query(o), Host: a.host(o)}, Words: o.words()}
}

// printFindings prints findings, and as JSON whether anything was fixed. The error has the exit
// status that they come to.
func (a *app) printFindings(found []health.Finding, format string, changed bool) error {
	if format == "json" {
		if err := printJSON(a.stdout, findingsJSON{Schema: 1, Changed: changed, Findings: append([]health.Finding{}, found...)}); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			if _, err := fmt.Fprintf(a.stdout, "%s: %s\n", f.Severity, printable(f.String())); err != nil {
				return err
			}
		}
	}
	switch doctor.ResultOf(found) {
	case doctor.Faulty:
		return &exitError{code: exitNo}
	case doctor.Undetermined:
		return &exitError{code: exitUnknown}
	}
	return nil
}
