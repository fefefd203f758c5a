// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
)

func (a *app) usageCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "usage",
		Usage:     "list the containers that run, of any store, and the stores they need",
		UsageText: "bootc-podman usage [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "add stale records of containers that have exited"},
			formatTemplate[leaseRow]("print each container as `FORMAT`: %s", "table"),
			lenientFlag(),
		},
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if format != "json" {
				sample := hooks.Lease{Layers: []hooks.Layer{{Store: hooks.BootcStore}}}
				if err := checkTemplate("usage", format, rowOf(sample, time.Now()), false); err != nil {
					return err
				}
			}
			leases, bad := hooks.Leases(a.root)
			bad = slices.DeleteFunc(bad, func(err error) bool {
				isNone := errors.Is(err, hooks.ErrBadLease)
				if isNone { // the record of a container cannot be restored
					fmt.Fprintf(a.stderr, "Warning: %s\n", printable(err.Error()))
				}
				return isNone
			})
			if !c.Bool("all") {
				leases = slices.DeleteFunc(leases, func(l hooks.Lease) bool { return l.State != hooks.LeaseRunning })
			}
			slices.SortStableFunc(leases, func(x, y hooks.Lease) int { return x.Started.Compare(y.Started) })
			return a.settle(c, bad, len(leases) > 0, func() error { return a.printLeases(format, leases) })
		},
	})
}

// ledger returns the state of the hook that writes leases, and prints it to standard error:
// without the hook no running container is listed.
func (a *app) ledger(format string) setup.Effect {
	effects, err := setup.Effects(a.root)
	if err != nil {
		fmt.Fprintf(a.stderr, "Warning: %s\n", printable(err.Error()))
		return setup.Effect{Problem: err.Error()}
	}
	ledger := effects[slices.IndexFunc(effects, func(e setup.Effect) bool { return e.Hook == hooks.Ledger })]
	switch {
	case !ledger.Installed:
		fmt.Fprintf(a.stderr, "Warning: the hook ledger does not run, containers are not recorded: %s\nHint: bootc-podman hooks install\n",
			printable(ledger.Problem))
	case format == "" || format == "table":
		fmt.Fprintf(a.stderr, "Containers are recorded since %s.\n", ledger.Since.Local().Format(time.RFC3339))
	}
	return ledger
}

// usageOutput is the JSON form, which docs/usage-v1.schema.json describes.
type usageOutput struct {
	Schema int          `json:"schema"`
	Ledger ledgerOutput `json:"ledger"`
	// Containers are those that run, or all with --all.
	Containers []hooks.Lease `json:"containers"`
}

type ledgerOutput struct {
	Installed bool   `json:"installed"`
	Problem   string `json:"problem"`
	// Since is null where the hook is not installed.
	Since *time.Time `json:"since"`
}

// printLeases prints leases in a format. JSON contains the state of the ledger.
func (a *app) printLeases(format string, leases []hooks.Lease) error {
	ledger := a.ledger(format)
	if format == "json" {
		out := usageOutput{Schema: 1, Containers: append([]hooks.Lease{}, leases...)}
		out.Ledger = ledgerOutput{Installed: ledger.Installed, Problem: ledger.Problem}
		if ledger.Installed {
			out.Ledger.Since = &ledger.Since
		}
		return printJSON(a.stdout, out)
	}
	rows := make([]leaseRow, len(leases))
	now := time.Now()
	for i, lease := range leases {
		rows[i] = rowOf(lease, now)
	}
	return printRows(a.stdout, "usage", "containers", format, rows, false)
}

// leaseRow is a lease as templates see it.
type leaseRow struct {
	lease hooks.Lease

	// ID is cut as by podman ps.
	ID   string `heading:"CONTAINER ID" table:""`
	Name string `heading:"NAME" table:""`
	// Image is the name of the image, or its ID.
	Image string `heading:"IMAGE" table:""`
	// Stores are the kinds of stores that the image's layers lie in.
	Stores string `heading:"STORES" table:""`
	// PID is the container's first process.
	PID     int    `heading:"PID" table:""`
	Started string `heading:"STARTED" table:""`
	State   string `heading:"STATE" table:""`
	ImageID string `heading:"IMAGE ID"`
	Digest  string `heading:"DIGEST"`
	// GraphRoot is the container's own store.
	GraphRoot string `heading:"GRAPH ROOT"`
	// BootedDigest is that of the host's image when the container started.
	BootedDigest string `heading:"BOOTED DIGEST"`
}

// MarshalJSON is for the function json of templates.
func (r leaseRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.lease) }

func rowOf(l hooks.Lease, now time.Time) leaseRow {
	var stores words
	for _, kind := range l.Stores() {
		stores = append(stores, printable(string(kind)))
	}
	return leaseRow{
		lease: l, ID: printable(l.ID[:min(len(l.ID), 12)]), Name: printable(l.Name), Image: printable(cmp.Or(l.Image.Name, l.Image.ID)),
		Stores: stores.String(), PID: l.PID, Started: units.HumanDuration(now.Sub(l.Started)) + " ago", State: string(l.State),
		ImageID: printable(l.Image.ID), Digest: printable(l.Image.Digest),
		GraphRoot: printable(l.Store), BootedDigest: printable(l.BootedDigest),
	}
}
