// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package health has one form for what is wrong on a host, whichever command finds it.
package health

import (
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// Severity says how soon a finding matters.
type Severity string

// The severities.
const (
	// Failing is something that fails now, or does not protect what it should.
	Failing Severity = "failing"
	// Unknown is something that could not be read.
	Unknown Severity = "unknown"
	// Risk is something that works, and fails when more goes wrong.
	Risk Severity = "risk"
	// Information is a fact, and nothing wrong.
	Information Severity = "information"
)

// Severities are all, the gravest first.
func Severities() []Severity { return []Severity{Failing, Unknown, Risk, Information} }

// Finding is one thing that is wrong.
type Finding struct {
	Rule     Rule     `json:"rule"`
	Severity Severity `json:"severity"`
	// Where is a file, or an image and its store. "" is for what names them itself.
	Where string `json:"where"`
	What  string `json:"what"`
	// Why is what follows from it, "" where What says so.
	Why string `json:"why"`
	// Fix is the command that fixes it, "" where none does.
	Fix string `json:"fix"`
}

// String returns the finding as a line without its end.
func (f Finding) String() string {
	text := f.What
	if f.Where != "" {
		text = f.Where + ": " + text
	}
	if f.Why != "" {
		text += ", so that " + f.Why
	}
	if f.Fix != "" {
		text += fmt.Sprintf("; %q fixes it", f.Fix)
	}
	return text
}

// Add adds a finding to a list that does not have it.
func Add(list []Finding, f Finding) []Finding {
	if slices.Contains(list, f) {
		return list
	}
	return append(list, f)
}

// Unread are the findings about what could not be read, each once: several errors may
// come from one file.
func Unread(problems []error) (list []Finding) {
	for _, err := range problems {
		list = Add(list, Finding{Rule: Unreadable, Severity: Unknown, What: err.Error()})
	}
	return list
}

// Damaged is the finding about a damaged image.
func Damaged(d inventory.Damage) Finding {
	name := "without a name"
	if len(d.Image.Names) > 0 {
		name = d.Image.Names[0]
	}
	store, fix := "podman's own store", "podman image rm "+d.Image.ID[:min(12, len(d.Image.ID))]
	if d.Store == inventory.BootcStore {
		// Removing an image that the host needs is refused.
		if store, fix = "the bootc-owned store", "bootc-"+fix; len(d.Image.Names) > 0 {
			fix = "bootc-podman repair " + name
		}
	}
	return Finding{
		Rule:     ImageDamaged,
		Severity: Failing,
		Where:    fmt.Sprintf("image %.12s, %s, of %s", d.Image.ID, name, store),
		What:     fmt.Sprintf("damaged and not used: %v", d.Err),
		Fix:      fix,
	}
}
