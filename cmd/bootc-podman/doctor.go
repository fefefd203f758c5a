// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/doctor"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
)

// diagnosis is what doctor and "status --check" print as JSON. It is described by
// docs/doctor-v1.schema.json.
type diagnosis struct {
	Schema   int              `json:"schema"`
	Findings []health.Finding `json:"findings"`
}

// checkStatus prints what is wrong with the host, one line each.
func (a *app) checkStatus(c *cli.Context, o *options) error {
	format := c.String("format")
	if format != "text" && format != "json" {
		return usageErrorf("status: --check prints text or json, no template")
	}
	found := doctor.Glance(c.Context, a.patient(o))
	return a.printDiagnosis(found, format)
}

// patient returns what package doctor needs of the host of the options.
func (a *app) patient(o *options) doctor.Options {
	return doctor.Options{Options: transfer.Options{Options: a.query(o), Host: a.host(o)}, Words: o.words()}
}

// printDiagnosis prints findings. The error has the exit status that they come to.
func (a *app) printDiagnosis(found []health.Finding, format string) error {
	if format == "json" {
		if err := printJSON(a.stdout, diagnosis{Schema: 1, Findings: append([]health.Finding{}, found...)}); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			if _, err := fmt.Fprintf(a.stdout, "%s: %s\n", f.Severity, printable(f.String())); err != nil {
				return err
			}
		}
	}
	switch doctor.VerdictOf(found) {
	case doctor.Ill:
		return &exitError{code: exitNo}
	case doctor.Unclear:
		return &exitError{code: exitUnknown}
	}
	return nil
}
