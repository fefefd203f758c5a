// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// printUnified prints what was done, and whether that makes storage unified, as status
// reports it. Where it does, the line is bootc's. quiet leaves out the note on another digest.
func (a *app) printUnified(p *plan.Plan, now inventory.Unification, quiet bool) error {
	if !p.Kept {
		fmt.Fprintf(a.stderr, "Warning: bootc will remove the image again, as podman stores it under another name than the deployment's, %s\n", printable(p.Image))
	}
	if p.Method != plan.Nothing && p.Replaces != "" {
		fmt.Fprintf(a.stderr, "Warning: image %.12s had this name, and lost it\n", p.Replaces)
	}
	if !quiet && p.Method != plan.Nothing && p.Identity != plan.SameImage {
		fmt.Fprintf(a.stderr, "Note: %s: %s\n", p.Identity, p.ResultDigest)
	}
	line := fmt.Sprintf("Unified storage enabled for %s.", p.Name)
	switch {
	case !now.On:
		line = fmt.Sprintf("Image %s is in bootc storage. Unified storage is off: %s.", p.Name, now.Reason)
	case p.Method == plan.Nothing:
		line = fmt.Sprintf("Image %s is already in bootc storage.", p.Name)
	}
	return a.printLines(line)
}

func (a *app) printRemoved(r *transfer.Removal) error {
	line := fmt.Sprintf("Unified storage disabled for %s.", r.Name)
	switch {
	case r.ID == "":
		line = fmt.Sprintf("Image %s is not in bootc storage any more.", r.Name)
	case r.Replaced != "":
		line += fmt.Sprintf(" The name is that of image %.12s again.", r.Replaced)
	}
	return a.printLines(line)
}

// printCopied prints what was copied; the line "Pushed" is bootc's.
func (a *app) printCopied(p *plan.Plan, target string) error {
	done := fmt.Sprintf("Copied %s from %s to containers-storage:%s: %s", p.Image, p.Source, target, p.Identity)
	if !p.Changed && p.Method == plan.Nothing {
		done = fmt.Sprintf("Image %s is already in containers-storage:%s: %s", p.Image, target, p.Identity)
	}
	return a.printLines(
		done,
		fmt.Sprintf("Pushed: containers-storage:%s %s", target, p.ResultDigest),
	)
}

// printPulled prints a line for each image that was copied to the bootc-owned store.
func (a *app) printPulled(plans []*plan.Plan, format string) error {
	if format == "json" {
		if plans == nil { // it failed before anything was decided
			return nil
		}
		return printJSON(a.stdout, plans)
	}
	var lines []string
	for _, p := range plans {
		if p.Changed && !p.Failed && p.Method != plan.Nothing {
			lines = append(lines, fmt.Sprintf("Copied %s to bootc storage: %s", p.Name, p.Identity))
		}
	}
	return a.printLines(lines...)
}

// timeOf describes what the time of a transfer depends on.
var timeOf = map[plan.TimeClass]string{
	plan.TimeInstant:  "instant",
	plan.TimeMetadata: "metadata: its files are made, and share their content",
	plan.TimeDisk:     "disk: its bytes are read and written",
	plan.TimeNetwork:  "network: its bytes are fetched",
}

// writes describes how many bytes are written.
func writes(bytes *int64) string {
	if bytes == nil {
		return "not known"
	}
	return progress.Size(*bytes) + " at least"
}

// alternativeLine describes what another source costs, and which digest it gives.
func alternativeLine(other plan.Alternative) string {
	fetch, identity := "no fetch", string(other.Identity)
	switch {
	case other.Fetch > 0:
		fetch = "fetch " + progress.Size(other.Fetch) + " at most"
	case other.Time == plan.TimeNetwork && other.Write == nil:
		fetch = "fetch not known"
	}
	if !other.Exact && other.Digest != "" {
		identity += ", " + other.Digest
	}
	return fmt.Sprintf("%s: %s, %s, write %s, time: %s, %s", other.Choose, other.Method, fetch, writes(other.Write), other.Time, identity)
}

// afterLine describes what is there after a plan.
func afterLine(p *plan.Plan) string {
	if p.Destination == plan.FromDefault {
		return fmt.Sprintf("After:   %s in podman's own store: %s", p.Name, p.Identity)
	}
	kept := "keeps it"
	switch {
	case p.Kept:
	case p.Upgrade == plan.NotExamined:
		kept = "will remove it: no deployment has it"
	default:
		kept = "will remove it: podman stores it under another name than the deployment's"
	}
	return fmt.Sprintf("After:   %s in the bootc-owned store: %s; bootc %s", p.Name, p.Identity, kept)
}

// upgradeLine describes how bootc upgrades the host after a plan.
func upgradeLine(p *plan.Plan) string {
	switch p.Upgrade {
	case plan.UpgradeFails:
		return "bootc upgrade fails" + because(p.UpgradeReason)
	case plan.UpgradeOrigin, plan.UpgradeHidden:
		return "not through the bootc store" + because(p.UpgradeReason)
	}
	return "through the bootc store"
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// printPlans prints plans, as JSON in one array.
func (a *app) printPlans(plans []*plan.Plan, format string) error {
	if format == "json" {
		return printJSON(a.stdout, plans)
	}
	for i, p := range plans {
		if i > 0 {
			if err := a.printLines(""); err != nil {
				return err
			}
		}
		if err := a.printPlan(p, format); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printPlan(p *plan.Plan, format string) error {
	if format == "json" {
		return printJSON(a.stdout, p)
	}
	lines := []string{
		"Image:   " + strings.TrimSuffix(fmt.Sprintf("%s, %s", p.Image, p.Role), ", "),
		"Digest:  " + p.Digest,
		fmt.Sprintf("Source:  %s: %s", p.Source, p.Reason),
		"Method:  " + string(p.Method) + because(p.MethodReason),
	}
	if p.Fetch > 0 {
		lines = append(lines, "Fetch:   "+progress.Size(p.Fetch)+" at most")
	}
	lines = append(lines, "Write:   "+writes(p.Write)+because(p.WriteReason), "Time:    "+timeOf[p.Time])
	lines = append(lines, fmt.Sprintf("Free:    %s, reflinks: %s", progress.Size(int64(p.Available)), p.Reflink))
	lines = append(lines, afterLine(p))
	if p.Upgrade != plan.NotExamined {
		lines = append(lines, "Upgrade: "+upgradeLine(p))
	}
	if p.Replaces != "" {
		lines = append(lines, fmt.Sprintf("Warning: image %.12s has this name now, and will lose it", p.Replaces))
	}
	for i, step := range p.Steps {
		lines = append(lines, fmt.Sprintf("Step %d:  %s", i+1, step.Description))
	}
	for _, other := range p.Alternatives {
		lines = append(lines, "Or:      "+alternativeLine(other))
	}
	for _, r := range p.Refused {
		lines = append(lines, fmt.Sprintf("Not:     %s: %s", r.Source, r.Reason))
	}
	return a.printLines(lines...)
}
