// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
	"go.podman.io/common/pkg/report"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
)

func (a *app) usageCommand() *cli.Command {
	var ledger setup.Effect
	return plainVerb(&cli.Command{
		Name:      "usage",
		Usage:     "list the containers that run, of any store, and the stores they need",
		UsageText: "bootc-podman usage [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "add stale records of containers that have exited"},
			formatTemplate("print each container as `FORMAT`: %s", "table"),
			lenientFlag(),
		},
		Action: func(c *cli.Context) error {
			format := c.String("format")
			show, err := leasePrinter(format, &ledger)
			if err != nil {
				return err
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
			return a.settle(c, bad, len(leases) > 0, func() error {
				ledger = a.ledger(format)
				return show(a.stdout, leases)
			})
		},
	})
}

const leaseTable = "{{range .}}{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Stores}}\t{{.PID}}\t{{.Started}}\t{{.State}}\n{{end -}}"

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

// leasePrinter returns the function that prints leases in a format. JSON contains the state
// of the ledger at that time.
func leasePrinter(format string, ledger *setup.Effect) (func(io.Writer, []hooks.Lease) error, error) {
	if format == "json" {
		return func(w io.Writer, leases []hooks.Lease) error {
			out := usageOutput{Schema: 1, Containers: append([]hooks.Lease{}, leases...)}
			out.Ledger = ledgerOutput{Installed: ledger.Installed, Problem: ledger.Problem}
			if ledger.Installed {
				out.Ledger.Since = &ledger.Since
			}
			return printJSON(w, out)
		}, nil
	}
	sample := hooks.Lease{Layers: []hooks.Layer{{Store: hooks.BootcStore}}}
	if err := executeLeases(io.Discard, format, []hooks.Lease{sample}); err != nil {
		return nil, usageErrorf("usage: read --format: %w", err)
	}
	return func(w io.Writer, leases []hooks.Lease) error {
		if err := executeLeases(w, format, leases); err != nil {
			return fmt.Errorf("print containers: %w", err)
		}
		return nil
	}, nil
}

func executeLeases(w io.Writer, format string, leases []hooks.Lease) (err error) {
	var out bytes.Buffer
	f := report.New(&out, "usage")
	if format == "" || format == "table" {
		f, err = f.Parse(report.OriginPodman, leaseTable)
	} else {
		f, err = f.Parse(report.OriginUser, format)
	}
	if err != nil {
		return err
	}
	if f.RenderHeaders {
		if err := f.Execute([]map[string]any{{
			"ID": "CONTAINER ID", "Name": "NAME", "Image": "IMAGE", "ImageID": "IMAGE ID", "Digest": "DIGEST", "Stores": "STORES",
			"GraphRoot": "GRAPH ROOT", "PID": "PID", "Started": "STARTED", "State": "STATE", "BootedDigest": "BOOTED DIGEST",
		}}); err != nil {
			return err
		}
	}
	rows := make([]leaseRow, len(leases))
	now := time.Now()
	for i, lease := range leases {
		rows[i] = leaseRow{lease: lease, now: now}
	}
	if err := f.Execute(rows); err != nil {
		return err
	}
	if err := f.Flush(); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

// leaseRow is a lease as templates see it: its methods are the fields.
type leaseRow struct {
	lease hooks.Lease
	now   time.Time
}

// MarshalJSON is for the function json of templates.
func (r leaseRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.lease) }

// ID is the container's, as podman ps shows it.
func (r leaseRow) ID() string { return printable(r.lease.ID[:min(len(r.lease.ID), 12)]) }

// Name is the container's.
func (r leaseRow) Name() string { return printable(r.lease.Name) }

// Image is the name of the image, or its ID.
func (r leaseRow) Image() string {
	if r.lease.Image.Name == "" {
		return r.ImageID()
	}
	return printable(r.lease.Image.Name)
}

// ImageID is the whole ID of the image.
func (r leaseRow) ImageID() string { return printable(r.lease.Image.ID) }

// Digest is the manifest digest of the image.
func (r leaseRow) Digest() string { return printable(r.lease.Image.Digest) }

// Stores are the kinds of stores that the image's layers lie in.
func (r leaseRow) Stores() string {
	var kinds []string
	for _, kind := range r.lease.Stores() {
		kinds = append(kinds, printable(string(kind)))
	}
	return strings.Join(kinds, ",")
}

// GraphRoot is the container's own store.
func (r leaseRow) GraphRoot() string { return printable(r.lease.Store) }

// PID is the container's first process.
func (r leaseRow) PID() int { return r.lease.PID }

// Started is how long ago the container started.
func (r leaseRow) Started() string {
	return units.HumanDuration(r.now.Sub(r.lease.Started)) + " ago"
}

// State is running, gone or rebooted.
func (r leaseRow) State() string { return string(r.lease.State) }

// BootedDigest is that of the host's image when the container started.
func (r leaseRow) BootedDigest() string { return printable(r.lease.BootedDigest) }
