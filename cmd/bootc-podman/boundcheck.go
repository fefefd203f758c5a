// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// listBound prints the bound images of deployments.
func (a *app) listBound(o *options, c *cli.Context) error {
	survey, problems := inventory.Look(a.query(o))
	if survey == nil {
		return errors.Join(problems...)
	}
	defer survey.Close()
	list, findings := bound.List(survey, bound.Which(c.String("deployment")))
	for _, f := range findings {
		if f.Severity == health.Unknown {
			problems = append(problems, errors.New(f.String()))
		}
	}
	return a.settle(c, problems, len(list) > 0, func() error {
		if c.String("format") == "json" {
			return printJSON(a.stdout, list)
		}
		return printBound(a.stdout, list, nil)
	})
}

// checkBound prints the state of bound images, and what is wrong with them.
func (a *app) checkBound(o *options, c *cli.Context) error {
	survey, problems := inventory.Look(a.query(o))
	if survey == nil {
		return orCode(errors.Join(problems...), exitUnknown)
	}
	defer survey.Close()
	var locked map[string]string
	if host.At(o.sysroot).Running != "" {
		lock, err := hooks.ReadLock(a.root)
		if err == nil {
			locked = lock.Images
		} else if !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	report := bound.Check(survey, bound.Which(c.String("deployment")), locked)
	report.Findings = slices.Concat(health.Unread(problems), report.Findings)
	if err := a.printCheck(c.String("format"), report); err != nil {
		return fmt.Errorf("print findings: %w", err)
	}
	return lintStatus(report.Findings, c.Bool("strict"))
}

func (a *app) printCheck(format string, report bound.Report) error {
	if format == "json" {
		if report.Findings == nil {
			report.Findings = []health.Finding{}
		}
		return printJSON(a.stdout, report)
	}
	var list []bound.Entry
	for _, img := range report.Images {
		list = append(list, img.Entry)
	}
	if err := printBound(a.stdout, list, report.Images); err != nil {
		return err
	}
	for _, f := range report.Findings {
		fmt.Fprintf(a.stdout, "%s: %s [%s]\n", f.Severity, printable(f.String()), f.Rule)
	}
	return nil
}

// printBound prints a table. checked are the states of the images in list, nil for a list.
func printBound(w io.Writer, list []bound.Entry, checked []bound.Checked) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "IMAGE\tUNIT\tDEPLOYMENT\tDIGEST\tSTATE")
	for i, img := range list {
		state := presence(img)
		if checked != nil {
			state = stateOf(checked[i])
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", cmp.Or(printable(img.Image), none), printable(img.Unit), img.Deployment.Role, shortDigest(img.Digest), state)
	}
	return tw.Flush()
}

func presence(img bound.Entry) string {
	switch {
	case img.Present == nil:
		return "unknown"
	case *img.Present:
		return "present"
	}
	return "missing"
}

// stateOf returns the state of an image in a few words.
func stateOf(c bound.Checked) string {
	state := presence(c.Entry)
	if state != "present" {
		return state
	}
	words := []string{"whole"}
	if c.Damage != "" {
		words = []string{"damaged"}
	}
	if c.Shadow != "" {
		words = append(words, "shadowed")
	}
	if c.WillBePruned {
		words = append(words, "pruned next")
	}
	return strings.Join(words, ", ")
}
