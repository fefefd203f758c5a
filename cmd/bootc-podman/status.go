// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
)

func (a *app) statusCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "status",
		Usage:     "report what the host boots, and whether its images are where they should be",
		UsageText: "bootc-podman [options] status [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "print only what is wrong, one line each, and report it by the exit status"},
			formatTemplate[*inventory.Status]("print as `FORMAT`: %s", "text"),
			lenientFlag(),
		},
		Action: func(c *cli.Context) error {
			collectLess()
			if c.Bool("check") {
				return a.checkStatus(c, o)
			}
			show, err := statusPrinter(c.String("format"), columnsOf(a.stdout))
			if err != nil {
				return err
			}
			warn := a.readOneStore()
			status, bad := inventory.ReadStatus(c.Context, a.query(o))
			warn()
			if status == nil {
				return errors.Join(bad...)
			}
			a.noteIdentity(o, status)
			status.Hooks, err = a.hookStatus(o)
			if errors.Is(err, fs.ErrPermission) { // only root can read them
				status.NotLooked, err = append(status.NotLooked, inventory.NotHooks), nil
			}
			if err != nil {
				bad = append(bad, err)
				status.Problems = append(status.Problems, err.Error())
			}
			return a.settle(c, bad, true, func() error { return show(a.stdout, status) })
		},
	})
}

// hookStatus describes the hooks of the running host.
func (a *app) hookStatus(o *options) (found []inventory.HookStatus, err error) {
	found = []inventory.HookStatus{}
	if host.At(o.sysroot).Running == "" {
		return found, nil
	}
	effects, err := setup.Effects(a.root)
	for _, e := range effects {
		found = append(found, inventory.HookStatus{Name: e.Hook, Installed: e.Installed, Problem: e.Problem})
	}
	return found, err
}

// statusPrinter returns the function that prints a status in a format, as text for a
// terminal with so many columns, 0 for none.
func statusPrinter(format string, columns int) (func(io.Writer, *inventory.Status) error, error) {
	switch format {
	case "", "text":
		return func(w io.Writer, s *inventory.Status) error { return printStatus(w, s, columns) }, nil
	case "json":
		return func(w io.Writer, s *inventory.Status) error { return printJSON(w, s) }, nil
	}
	// The sample has all fields, so that a field that does not exist is reported on every
	// host, also where the part that has it is missing.
	some := &inventory.Deployment{Created: &inventory.Time{}, Base: &inventory.Base{}}
	full := &inventory.Status{
		Booted: some, Staged: some, Rollback: some, Others: []inventory.Deployment{*some},
		Stores: make([]inventory.StoreUsage, 3), Bound: inventory.BoundStatus{Missing: []string{"x"}}, Filesystem: &inventory.Filesystem{},
		Hooks: make([]inventory.HookStatus, 3), NotLooked: make([]inventory.NotLooked, 8),
	}
	return func(w io.Writer, s *inventory.Status) error {
		escapeAll(reflect.ValueOf(s))
		return printRows(w, "status", "status", format, []*inventory.Status{s}, true)
	}, checkTemplate("status", format, full, true)
}

func printStatus(w io.Writer, s *inventory.Status, columns int) error {
	escapeAll(reflect.ValueOf(s))
	var lines [][2]string
	line := func(label, format string, args ...any) {
		lines = append(lines, [2]string{label, fmt.Sprintf(format, args...)})
	}
	notLooked := func(part inventory.NotLooked) bool { return slices.Contains(s.NotLooked, part) }
	kind := string(s.Kind)
	if kind == "" {
		kind = "no deployments"
	}
	line("Host:", "%s (read from %s: %s)", kind, s.Source, s.SourceReason)
	for _, d := range []struct {
		label string
		*inventory.Deployment
	}{{"Booted:", s.Booted}, {"Staged:", s.Staged}, {"Rollback:", s.Rollback}} {
		switch {
		case d.Deployment != nil:
			printDeployment(line, d.label, *d.Deployment)
		case d.label == "Rollback:" && notLooked(inventory.NotRollback):
			line(d.label, "not looked at")
		default:
			line(d.label, "none")
		}
	}
	for _, d := range s.Others {
		printDeployment(line, "Other:", d)
	}
	if s.RollbackQueued {
		line("", "the rollback deployment boots next")
	}
	on := onOff(s.Unified.On)
	if notLooked(inventory.NotUnified) {
		on = "not looked at"
	}
	line("Unified:", "%s: %s", on, s.Unified.Reason)
	for _, u := range s.Stores {
		line("Store:", "%s, %s in %s, %s", u.Store, progress.Size(u.Size), count(u.Images, "image"), u.Path)
	}
	for _, store := range []inventory.StoreName{inventory.OSTreeStore, inventory.BootcStore, inventory.DefaultStore} {
		if notLooked(inventory.NotLooked(store)) {
			line("Store:", "%s, not looked at", store)
		}
	}
	if notLooked(inventory.NotBound) {
		line("Bound:", "%s, not looked at", count(s.Bound.Total, "image"))
	} else {
		line("Bound:", "%d of %s present", s.Bound.Present, count(s.Bound.Total, "image"))
	}
	for _, name := range s.Bound.Missing {
		line("", "missing: %s", cmp.Or(name, "an image with an empty name"))
	}
	if fs := s.Filesystem; fs != nil {
		line("Filesystem:", "%s, %s of %s free, reflinks: %s", fs.Type, progress.Size(int64(fs.Available)), progress.Size(int64(fs.Size)), fs.Reflink)
	}
	if notLooked(inventory.NotFilesystem) {
		line("Filesystem:", "not looked at")
	}
	if notLooked(inventory.NotHooks) {
		line("Hooks:", "not looked at")
	}
	printHooks(line, s.Hooks)
	return printLabelled(w, lines, columns)
}

// printLabelled prints texts beside their labels, wrapped for a terminal with so many columns,
// 0 for none.
func printLabelled(w io.Writer, lines [][2]string, columns int) error {
	indent := 0
	for _, line := range lines {
		indent = max(indent, len(line[0])+gap)
	}
	var out strings.Builder
	for _, line := range lines {
		parts := []string{line[1]}
		if columns > 0 {
			parts = wrapStatus(line[1], max(columns-indent, leastWidth))
		}
		for i, part := range parts {
			label := ""
			if i == 0 {
				label = line[0]
			}
			out.WriteString(strings.TrimRight(fmt.Sprintf("%-*s%s", indent, label, part), " ") + "\n")
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// wrapStatus returns text as lines for a terminal. Digests and IDs that are too wide are cut
// as in a table.
func wrapStatus(text string, width int) []string {
	for _, word := range strings.Fields(text) {
		if utf8.RuneCountInString(word) > width {
			return wrap(shortHex(text), width)
		}
	}
	return wrap(text, width)
}

// shortHex returns text with the first 12 of 64 or more hexadecimal digits in a row.
func shortHex(text string) string {
	var out strings.Builder
	for text != "" {
		n := len(text) - len(strings.TrimLeft(text, "0123456789abcdef"))
		shown := n
		if n >= 64 {
			shown = 12
		}
		out.WriteString(text[:shown])
		if text = text[n:]; text != "" {
			out.WriteByte(text[0])
			text = text[1:]
		}
	}
	return out.String()
}

// printHooks prints one line where no hook runs for the same reason, else also a line for
// each that does not run.
func printHooks(line func(label, format string, args ...any), all []inventory.HookStatus) {
	var running, missing []string
	for _, h := range all {
		if h.Installed {
			running = append(running, h.Name)
		} else {
			missing = append(missing, h.Name+": "+h.Problem)
		}
	}
	switch {
	case len(all) == 0:
	case len(running) == 0 && !slices.ContainsFunc(all, func(h inventory.HookStatus) bool { return h.Problem != all[0].Problem }):
		line("Hooks:", "none runs: %s", all[0].Problem)
	default:
		line("Hooks:", "%s", cmp.Or(strings.Join(running, ", "), "none runs"))
		for _, m := range missing {
			line("", "does not run: %s", m)
		}
	}
}

func printDeployment(line func(label, format string, args ...any), label string, d inventory.Deployment) {
	image := d.Image
	switch {
	case d.Base != nil:
		image = "packages layered locally on " + d.Base.Image
	case d.Incompatible:
		image = "packages were layered on the image locally"
	case image == "":
		image = "not from a container image"
	}
	line(label, "%s", image)
	if d.Digest != "" {
		line("", "%s", d.Digest)
	}
	if d.Base != nil && d.Base.Digest != "" {
		line("", "%s", d.Base.Digest)
	}
	var facts []string
	if d.Version != "" {
		facts = append(facts, "version "+d.Version)
	}
	if d.Created != nil {
		facts = append(facts, "built "+units.HumanDuration(time.Since(d.Created.Time))+" ago")
	}
	if d.Pinned {
		facts = append(facts, "pinned")
	}
	line("", "%s", strings.Join(slices.Concat([]string{d.ID}, facts), ", "))
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// count returns a number and a noun, in the plural for other numbers than 1.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
