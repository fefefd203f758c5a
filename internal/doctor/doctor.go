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

	"github.com/sirupsen/logrus"

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
	// Action describes what Apply does, "" where there is no safe fix.
	Action string
	// Apply fixes it. It can be killed at any moment, and repeated.
	Apply func(context.Context) error
}

// check looks for one kind of problem. A new check is an entry of checks.
type check struct {
	name string
	// quick reports that the check is one of QuickCheck, too: it reads a few small files, and
	// starts no program.
	quick bool
	run   func(*examination) []Problem
}

// checks are those of Examine, in the order in which findings are reported and fixed.
func checks() []check {
	return []check{
		{"additional stores", true, (*examination).additionalStores},
		{"database", true, (*examination).database},
		{"bound images", true, (*examination).boundImages},
		{"damaged images", true, (*examination).damagedImages},
		{"upgrade", true, (*examination).upgrade},
		{"hooks", true, (*examination).hooks},
		{"units of bound images", false, (*examination).boundUnits},
		{"places", false, (*examination).places},
		{"names", false, (*examination).imageNames},
		{"borrowed layers", false, (*examination).borrowed},
		{"containers", false, (*examination).containers},
		{"cleanup", false, (*examination).cleanup},
		{"layers", false, (*examination).layers},
		{"leftovers", false, (*examination).leftovers},
		{"labels", false, (*examination).labels},
		{"credentials", false, (*examination).credentials},
		{"filesystem", false, (*examination).filesystem},
		{"fs-verity", false, (*examination).verity},
		{"content", false, (*examination).content},
	}
}

// examination is a host that is examined, with what the checks share.
type examination struct {
	*Options
	ctx    context.Context
	survey *inventory.Survey
	// root is the root directory of the machine.
	root *os.File
	// problems are what could not be read.
	problems []error
	quick    bool
	// found are the uses of the bootc store, once read.
	found *[]inventory.Use
}

// uses are the containers and images of other stores that have files in the bootc store.
func (ex *examination) uses() []inventory.Use {
	if ex.found == nil {
		uses, problems := ex.survey.Uses()
		ex.found = &uses
		ex.problems = append(ex.problems, problems...)
	}
	return *ex.found
}

// stores are the two containers-storages that exist, the bootc store first.
func (ex *examination) stores() (list []store) {
	if ex.survey.Bootc != nil && ex.survey.Bootc.Err() == nil {
		list = append(list, store{ex.survey.Bootc, true, "the bootc-owned store"})
	}
	if ex.survey.Own != nil && ex.survey.Own.Err() == nil {
		list = append(list, store{ex.survey.Own, false, "podman's own store"})
	}
	return list
}

// store is one of the two.
type store struct {
	*cstorage.Store
	bootc bool
	name  string
}

// QuickCheck returns what is wrong on a host as far as a few small files show it.
func QuickCheck(ctx context.Context, o Options) []health.Finding {
	var findings []health.Finding
	for _, p := range examine(ctx, o, true, nil) {
		findings = health.Add(findings, p.Finding)
	}
	return findings
}

// Examine returns all that is wrong on a host, and how it can be fixed. It changes nothing.
func Examine(ctx context.Context, o Options) []Problem {
	return withoutDuplicates(examine(ctx, o, false, nil))
}

// withoutDuplicates are the problems with different findings.
func withoutDuplicates(found []Problem) (list []Problem) {
	seen := map[health.Finding]bool{}
	for _, p := range found {
		if !seen[p.Finding] {
			seen[p.Finding] = true
			list = append(list, p)
		}
	}
	return list
}

// Fix does what Examine found to be safe. starting is called before each, and failed after one
// that did not succeed; the others are done all the same.
func Fix(ctx context.Context, list []Problem, starting func(action string), failed func(action string, err error)) {
	done := map[string]bool{}
	for _, p := range list {
		if p.Apply == nil || done[p.Action] || ctx.Err() != nil {
			continue
		}
		done[p.Action] = true
		starting(p.Action)
		if err := p.Apply(ctx); err != nil {
			failed(p.Action, err)
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

// examine does the checks, and calls look, unless it is nil, with the host.
func examine(ctx context.Context, o Options, quick bool, look func(*examination)) (found []Problem) {
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
	ex := &examination{Options: &o, ctx: ctx, survey: survey, root: root, problems: problems, quick: quick}
	for _, c := range checks() {
		if !quick || c.quick {
			list := c.run(ex)
			logrus.Debugf("Checked %s: %d found", c.name, len(list))
			found = append(found, list...)
		}
	}
	if look != nil {
		look(ex)
	}
	return append(ex.unread(), found...) // the checks read more
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
func (ex *examination) unread() (list []Problem) {
	problems := ex.problems
	if !ex.quick {
		problems = withoutUnits(problems)
	}
	for _, f := range unread(causes(problems)...) {
		if slices.ContainsFunc(problems, func(err error) bool {
			return err.Error() == f.What && !errors.Is(err, fs.ErrPermission)
		}) {
			f.Severity = health.Failing
		}
		list = append(list, f)
	}
	return list
}

// causes are the problems without those that only add where another one came up.
func causes(problems []error) []error {
	return slices.DeleteFunc(slices.Clone(problems), func(err error) bool {
		return slices.ContainsFunc(problems, func(cause error) bool { return strings.HasSuffix(err.Error(), ": "+cause.Error()) })
	})
}

// command returns a command line of this program, with the global options of the caller.
func (ex *examination) command(words ...string) string {
	return wrapper.Quote(slices.Concat([]string{"bootc-podman"}, ex.Words, words)...)
}

// Result is what an examination comes to.
type Result int

// The results.
const (
	// Healthy is a host without findings, but for information.
	Healthy Result = iota
	// Faulty is one with findings.
	Faulty
	// Undetermined is one of which something that matters could not be read.
	Undetermined
)

// ResultOf returns what findings come to.
func ResultOf(findings []health.Finding) (r Result) {
	for _, f := range findings {
		switch f.Severity {
		case health.Information:
		case health.Unknown:
			r = Undetermined
		default:
			return Faulty
		}
	}
	return r
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
