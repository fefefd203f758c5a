// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor examines a host and its stores, and fixes what can be fixed without a
// decision of the user.
package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Options say which host is examined, and how thoroughly.
type Options struct {
	transfer.Options
	// Words are the global options of the command line, for the commands of findings.
	Words []string
	// Podman is what hooks are verified for.
	Podman setup.Podman
}

// Problem is a finding, and how it is fixed.
type Problem struct {
	health.Finding
	// Does describes what Do does, "" where there is no safe fix.
	Does string
	// Do fixes it. It can be killed at any moment, and done again.
	Do func(context.Context) error
}

// check looks for one kind of problem. A new check is an entry of checks.
type check struct {
	name string
	// glance reports that the check is one of Glance's: it reads a few small files, and
	// starts no program.
	glance bool
	look   func(*patient) []Problem
}

// checks are those of Examine, in the order in which findings are reported and fixed.
func checks() []check {
	return []check{
		{"unread", true, (*patient).unread},
		{"additional stores", true, (*patient).additionalStores},
		{"database", true, (*patient).database},
		{"bound images", true, (*patient).boundImages},
		{"damaged images", true, (*patient).damagedImages},
		{"upgrade", true, (*patient).upgrade},
		{"hooks", true, (*patient).hooks},
	}
}

// patient is a host while it is examined.
type patient struct {
	*Options
	ctx    context.Context
	survey *inventory.Survey
	// root is the root directory of the machine.
	root *os.File
	// problems are what could not be read.
	problems []error
	glance   bool
}

// Glance returns what is wrong on a host as far as a few small files show it.
func Glance(ctx context.Context, o Options) []health.Finding {
	var findings []health.Finding
	for _, p := range examine(ctx, o, true) {
		findings = health.Add(findings, p.Finding)
	}
	return findings
}

// examine does the checks.
func examine(ctx context.Context, o Options, glance bool) (found []Problem) {
	root, err := rooted.OpenRoot(o.Root)
	if err != nil {
		return unread(err)
	}
	defer root.Close()
	survey, problems := inventory.Look(o.Options.Options)
	if survey == nil {
		return unread(problems...)
	}
	defer survey.Close()
	p := &patient{Options: &o, ctx: ctx, survey: survey, root: root, problems: problems, glance: glance}
	for _, c := range checks() {
		if !glance || c.glance {
			found = append(found, c.look(p)...)
		}
	}
	return found
}

// unread are the problems of what could not be read.
func unread(problems ...error) (list []Problem) {
	for _, f := range health.Unread(problems) {
		list = append(list, Problem{Finding: f})
	}
	return list
}

// unread reports what could not be read: files without permission leave a question open,
// while damaged ones also keep podman or bootc from working.
func (p *patient) unread() (list []Problem) {
	for _, f := range unread(p.problems...) {
		if slices.ContainsFunc(p.problems, func(err error) bool {
			return err.Error() == f.What && !errors.Is(err, fs.ErrPermission)
		}) {
			f.Severity = health.Failing
		}
		list = append(list, f)
	}
	return list
}

// command returns a command line of this program, with the global options of the caller.
func (p *patient) command(words ...string) string {
	return wrapper.Quote(slices.Concat([]string{"bootc-podman"}, p.Words, words)...)
}

// Verdict is what findings come to.
type Verdict int

// The verdicts.
const (
	// Healthy is a host without findings, but for information.
	Healthy Verdict = iota
	// Ill is one with findings.
	Ill
	// Unclear is one of which something that matters could not be read.
	Unclear
)

// VerdictOf returns what findings come to.
func VerdictOf(findings []health.Finding) (v Verdict) {
	for _, f := range findings {
		switch f.Severity {
		case health.Information:
		case health.Unknown:
			v = Unclear
		default:
			return Ill
		}
	}
	return v
}

// short is an ID as podman prints it.
func short(id string) string { return id[:min(len(id), 12)] }

// one is a list of one problem.
func one(f health.Finding) []Problem { return []Problem{{Finding: f}} }

// isComment reports whether a line of a unit file is a comment.
func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";")
}
