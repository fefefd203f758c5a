// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/diskuse"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/removal"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func (a *app) dfCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "df",
		Usage:     "report what the stores take on the disk, shared extents counted once",
		UsageText: "bootc-podman [options] df [options]",
		Flags: []cli.Flag{
			formatChoice("print as `FORMAT`: %s", "table"),
			lenientFlag(),
			&cli.BoolFlag{Name: "no-extents", Usage: "leave out which extents are shared, which is faster"},
		},
		Action: func(c *cli.Context) error {
			query := diskuse.Options{Options: a.query(o), NoExtents: c.Bool("no-extents")}
			view := removal.Look(c.Context, query.Options)
			defer view.Close()
			if query.Needs = view.Needs; view.Err != nil {
				query.Needs = nil
			}
			report, bad := diskuse.Read(c.Context, query)
			if report != nil && view.Err != nil {
				bad = append(bad, unforced(view.Err))
				report.Problems = append(report.Problems, view.Err.Error())
			}
			return a.settle(c, bad, report != nil && len(report.Stores) > 0, func() error {
				if c.String("format") == "json" {
					return printJSON(a.stdout, report)
				}
				return printUse(a.stdout, report, isTerminal(a.stdout, wrapper.Getenv(a.env, "TERM")))
			})
		},
	})
}

// isTerminal reports whether w is a terminal; term is the environment's TERM.
func isTerminal(w io.Writer, term string) bool {
	if checked, ok := w.(*checkedWriter); ok {
		w = checked.Writer
	}
	f, ok := w.(*os.File)
	if !ok || term == "" || term == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// printUse prints a report as a table, on a terminal with bars.
func printUse(w io.Writer, r *diskuse.Report, bars bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading := "STORE\tFILES\tLOGICAL\tALLOCATED\tON DISK\tSHARED\tRECLAIMABLE\tAT UPGRADE"
	if bars = bars && r.Extents; bars {
		heading += "\tOF TOTAL"
	}
	fmt.Fprintf(tw, "%s\n", heading)
	bound := ""
	row := func(name string, s diskuse.Size, estimate bool) {
		mark := func(n *int64, upTo bool) string {
			switch {
			case n == nil:
				return "-"
			case upTo && *n > 0:
				bound = "* at most"
				return progress.Size(*n) + "*"
			}
			return progress.Size(*n)
		}
		estimate = estimate || !r.Extents
		fields := []string{
			name, fmt.Sprint(s.Files), progress.Size(s.Logical), progress.Size(s.Allocated), mark(s.Disk, s.Compressed > 0),
			mark(s.Shared, false), mark(s.Reclaimable, estimate), mark(s.Upgrade, estimate),
		}
		if bars {
			fields = append(fields, bar(*s.Disk, *s.Shared, *r.Total.Disk))
		}
		fmt.Fprintf(tw, "%s\n", strings.Join(fields, "\t"))
	}
	estimate := false
	for _, s := range r.Stores {
		row(string(s.Store), s.Size, s.Estimate)
		estimate = estimate || s.Estimate
	}
	row("total", r.Total, estimate)
	if err := tw.Flush(); err != nil {
		return err
	}
	var lines []string
	if bound != "" {
		lines = append(lines, bound)
	}
	for _, fs := range r.Filesystems {
		var names []string
		for _, name := range fs.Stores {
			names = append(names, string(name))
		}
		lines = append(lines, fmt.Sprintf("Filesystem of %s: %s, %s of %s available", strings.Join(names, ", "),
			fs.Type, progress.Size(int64(fs.Available)), progress.Size(int64(fs.Size))))
	}
	_, err := io.WriteString(w, strings.Join(append(lines, ""), "\n"))
	return err
}

// bar draws how much of the whole is used: = by what is shared, # by the rest.
func bar(used, shared, whole int64) string {
	const width = 20
	part := func(n int64) int { return int(min(n, whole) * width / max(whole, 1)) }
	return "[" + fmt.Sprintf("%-*s", width, strings.Repeat("=", part(shared))+strings.Repeat("#", part(used)-part(shared))) + "]"
}
