// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"go.podman.io/common/pkg/report"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// listPrinter prints images as the options of list say.
type listPrinter struct {
	format                  string
	whole, noHeading, quiet bool
}

// column is a field of templates, which is a method of imageRow, and its heading.
type column struct {
	field, heading string
	// shown is that the table has it which is printed without --format.
	shown bool
}

// columns lists the fields in the order of that table. A new column is a line here and a
// method; tests compare both with each other and with the manual page.
func columns() []column {
	return []column{
		{"Repository", "REPOSITORY", true},
		{"Tag", "TAG", true},
		{"Type", "TYPE", true},
		{"Digest", "DIGEST", true},
		{"Created", "CREATED", true},
		{"Size", "SIZE", true},
		{"State", "STATE", true},
		{"Architecture", "ARCHITECTURE", false},
		{"CreatedAt", "CREATED AT", false},
		{"CreatedSince", "CREATED", false},
		{"Deployments", "DEPLOYMENTS", false},
		{"ID", "IMAGE ID", false},
		{"Image", "IMAGE", false},
		{"Store", "STORE", false},
	}
}

// check refuses options that contradict each other, before anything is read.
func (p listPrinter) check() error {
	if p.quiet && p.format != "" {
		return usageErrorf("list: --quiet and --format exclude each other")
	}
	if p.isJSON() || p.quiet {
		return nil
	}
	// The sample has all fields: a template that fails on it fails on any image.
	hex := strings.Repeat("0", 64)
	sample := inventory.Image{
		Type: inventory.Host, Name: "docker://quay.io/example/os:42", ID: hex, Digest: "sha256:" + hex,
		Size: new(int64), Created: new(inventory.Time), Architecture: "amd64", Store: inventory.OSTreeStore,
		Deployments: []inventory.DeploymentRef{{ID: "default/" + hex + ".0", Role: host.Booted}},
	}
	if _, err := p.render([]inventory.Image{sample}); err != nil {
		return usageErrorf("list: read --format: %w", err)
	}
	return nil
}

func (p listPrinter) isJSON() bool { return p.format == "json" }

func (p listPrinter) formatter(w io.Writer) (*report.Formatter, error) {
	switch p.format {
	case "", "table":
		var shown []string
		for _, c := range columns() {
			if c.shown {
				shown = append(shown, "{{."+c.field+"}}")
			}
		}
		return report.New(w, "list").Parse(report.OriginPodman, "{{range .}}"+strings.Join(shown, "\t")+"\n{{end -}}")
	}
	return report.New(w, "list").Parse(report.OriginUser, p.format)
}

func (p listPrinter) printList(w io.Writer, list []inventory.Image) error {
	switch {
	case p.isJSON():
		return printJSON(w, append([]inventory.Image{}, list...))
	case p.quiet:
		return p.printIDs(w, list)
	}
	out, err := p.render(list)
	if err != nil {
		return fmt.Errorf("print images: %w", err)
	}
	_, err = w.Write(out)
	return err
}

// render makes the table, or what the template says, of a list.
func (p listPrinter) render(list []inventory.Image) ([]byte, error) {
	var out bytes.Buffer
	f, err := p.formatter(&out)
	if err != nil {
		return nil, err
	}
	rows := make([]imageRow, len(list))
	now := time.Now()
	for i, img := range list {
		rows[i] = imageRow{image: img, whole: p.whole, now: now}
	}
	if f.RenderHeaders && !p.noHeading {
		if err := f.Execute([]map[string]any{headings()}); err != nil {
			return nil, err
		}
	}
	if err := f.Execute(rows); err != nil {
		return nil, err
	}
	err = f.Flush()
	return out.Bytes(), err
}

// printIDs prints each ID once.
func (p listPrinter) printIDs(w io.Writer, list []inventory.Image) error {
	seen := map[string]bool{"": true}
	for _, img := range list {
		if seen[img.ID] {
			continue
		}
		seen[img.ID] = true
		if _, err := fmt.Fprintln(w, imageRow{image: img, whole: p.whole}.ID()); err != nil {
			return err
		}
	}
	return nil
}

// printJSON prints v with an indentation of two spaces, as bootc does.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// imageRow is an image as templates see it: its methods are the fields. They return no
// control characters: anyone may have written a name that a terminal would interpret.
type imageRow struct {
	image inventory.Image
	whole bool
	now   time.Time
}

// MarshalJSON is for the function json of templates.
func (r imageRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.image) }

// words is a list that templates print with commas, join, or range over.
type words []string

func (w words) String() string { return strings.Join(w, ",") }

// headings are those of the columns, by field. They have the types of the fields, so that a
// template that works for a field works for its heading.
func headings() map[string]any {
	h := map[string]any{}
	for _, c := range columns() {
		h[c.field] = c.heading
	}
	h["Deployments"] = words{"DEPLOYMENTS"}
	return h
}

const none = "<none>"

// Image is the name in bootc's spelling.
func (r imageRow) Image() string { return printable(r.image.Name) }

// Type is the image type: host, unified, logical or default.
func (r imageRow) Type() string { return string(r.image.Type) }

// Repository is the name without tag and digest, nor the transport of a registry.
func (r imageRow) Repository() string {
	repository, _ := r.splitName()
	return printable(cmp.Or(repository, none))
}

// Tag is the tag, "<none>" for an image without one.
func (r imageRow) Tag() string {
	_, tag := r.splitName()
	return printable(tag)
}

// ID is the image ID, truncated unless --no-trunc is given.
func (r imageRow) ID() string { return r.cut(r.image.ID, 12) }

// Digest is the manifest digest, truncated unless --no-trunc is given.
func (r imageRow) Digest() string {
	if r.image.Digest == "" {
		return none
	}
	return r.cut(r.image.Digest, len("sha256:")+12)
}

func (r imageRow) cut(s string, n int) string {
	if !r.whole && len(s) > n {
		s = s[:n]
	}
	return printable(s)
}

// Created is CreatedSince.
func (r imageRow) Created() string { return r.CreatedSince() }

// CreatedSince is how long ago the image was built, in words.
func (r imageRow) CreatedSince() string {
	if r.image.Created == nil {
		return ""
	}
	return units.HumanDuration(r.now.Sub(r.image.Created.Time)) + " ago"
}

// CreatedAt is when the image was built, to the second.
func (r imageRow) CreatedAt() string {
	if r.image.Created == nil {
		return ""
	}
	return r.image.Created.UTC().Truncate(time.Second).String()
}

// Size is the size in decimal units.
func (r imageRow) Size() string {
	if r.image.Size == nil {
		return ""
	}
	return humanSize(*r.image.Size)
}

// Architecture is the image's, as the image specification spells it.
func (r imageRow) Architecture() string { return printable(r.image.Architecture) }

// Store is the store that has the content.
func (r imageRow) Store() string { return string(r.image.Store) }

// Deployments are the IDs of the deployments that boot the image or have it bound.
func (r imageRow) Deployments() words {
	var ids words
	for _, d := range r.image.Deployments {
		ids = append(ids, printable(d.ID))
	}
	return ids
}

// State is "missing" for a bound image that is not there, "will be pruned" for one that
// bootc's garbage collection removes, else the roles of the deployments that use it.
func (r imageRow) State() string {
	if r.image.Present != nil && !*r.image.Present {
		return "missing"
	}
	if r.image.WillBePruned {
		return "will be pruned"
	}
	var roles []string
	for _, d := range r.image.Deployments {
		if role := string(d.Role); !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return strings.Join(roles, ",")
}

// splitName splits the name as podman images does.
func (r imageRow) splitName() (repository, tag string) {
	name, registry := strings.CutPrefix(r.image.Name, "docker://")
	if transport, rest, ok := strings.Cut(name, ":"); ok && !registry && r.image.Type == inventory.Host {
		repository, tag = splitName(rest)
		return transport + ":" + repository, tag
	}
	return splitName(name)
}

func splitName(name string) (repository, tag string) {
	if repository, _, digest := strings.Cut(name, "@"); digest {
		name = repository
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') && i > 0 {
		return name[:i], name[i+1:]
	}
	return name, none
}

func humanSize(size int64) string {
	s := units.HumanSizeWithPrecision(float64(size), 3)
	i := strings.LastIndexAny(s, "0123456789")
	return s[:i+1] + " " + s[i+1:]
}
