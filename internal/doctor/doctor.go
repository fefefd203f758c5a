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
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
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
	// Registry is the one whose credentials are looked for, "" for none.
	Registry string
	// Deep has the storage library check all layers of both stores.
	Deep bool
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
		{"places", false, (*patient).places},
		{"names", false, (*patient).imageNames},
		{"borrowed layers", false, (*patient).borrowed},
		{"containers", false, (*patient).containers},
		{"cleanup", false, (*patient).cleanup},
		{"layers", false, (*patient).layers},
		{"leftovers", false, (*patient).leftovers},
		{"labels", false, (*patient).labels},
		{"credentials", false, (*patient).credentials},
		{"filesystem", false, (*patient).filesystem},
		{"content", false, (*patient).content},
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
	// found are the uses of the bootc store, once read.
	found *[]inventory.Use
}

// uses are the containers and images of other stores that have files in the bootc store.
func (p *patient) uses() []inventory.Use {
	if p.found == nil {
		uses, problems := p.survey.Uses()
		p.found = &uses
		p.problems = append(p.problems, problems...)
	}
	return *p.found
}

// stores are the two containers-storages that exist, the bootc store first.
func (p *patient) stores() (list []store) {
	if p.survey.Bootc != nil && p.survey.Bootc.Err() == nil {
		list = append(list, store{p.survey.Bootc, true, "the bootc-owned store"})
	}
	if p.survey.Own != nil && p.survey.Own.Err() == nil {
		list = append(list, store{p.survey.Own, false, "podman's own store"})
	}
	return list
}

// store is one of the two.
type store struct {
	*cstorage.Store
	bootc bool
	name  string
}

// Glance returns what is wrong on a host as far as a few small files show it.
func Glance(ctx context.Context, o Options) []health.Finding {
	var findings []health.Finding
	for _, p := range examine(ctx, o, true) {
		findings = health.Add(findings, p.Finding)
	}
	return findings
}

// Examine returns all that is wrong on a host, and how it can be fixed. It changes nothing.
func Examine(ctx context.Context, o Options) []Problem {
	var list []Problem
	for _, p := range examine(ctx, o, false) {
		if !slices.ContainsFunc(list, func(have Problem) bool { return have.Finding == p.Finding }) {
			list = append(list, p)
		}
	}
	return list
}

// Fix does what Examine found to be safe. starting is called before each, and failed after one
// that did not succeed; the others are done all the same.
func Fix(ctx context.Context, list []Problem, starting func(does string), failed func(does string, err error)) {
	done := map[string]bool{}
	for _, p := range list {
		if p.Do == nil || done[p.Does] || ctx.Err() != nil {
			continue
		}
		done[p.Does] = true
		starting(p.Does)
		if err := p.Do(ctx); err != nil {
			failed(p.Does, err)
		}
	}
}

// Findings are those of problems.
func Findings(list []Problem) (findings []health.Finding) {
	for _, p := range list {
		findings = append(findings, p.Finding)
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
