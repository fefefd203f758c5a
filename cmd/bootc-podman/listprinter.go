// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"go.podman.io/common/pkg/report"

	"github.com/bootc-podman/bootc-podman/internal/images"
)

// listPrinter prints images as the options of list say.
type listPrinter struct {
	format                  string
	whole, noHeading, quiet bool
}

const listTable = "table {{.Repository}}\t{{.Tag}}\t{{.Type}}\t{{.Digest}}\t{{.Created}}\t{{.Size}}\t{{.State}}"

// check refuses options that contradict each other, before anything is read.
func (p listPrinter) check() error {
	if p.quiet && p.format != "" {
		return usageErrorf("list: --quiet and --format exclude each other")
	}
	if p.isJSON() || p.quiet {
		return nil
	}
	if _, err := p.formatter(io.Discard); err != nil {
		return usageErrorf("list: read --format: %w", err)
	}
	return nil
}

func (p listPrinter) isJSON() bool { return p.format == "json" }

func (p listPrinter) formatter(w io.Writer) (*report.Formatter, error) {
	switch p.format {
	case "", "table":
		return report.New(w, "list").Parse(report.OriginPodman, "{{range .}}"+strings.TrimPrefix(listTable, "table ")+"\n{{end -}}")
	}
	return report.New(w, "list").Parse(report.OriginUser, p.format)
}

func (p listPrinter) print(w io.Writer, list []images.Image) error {
	switch {
	case p.isJSON():
		return printJSON(w, append([]images.Image{}, list...))
	case p.quiet:
		return p.printIDs(w, list)
	}
	f, err := p.formatter(w)
	if err != nil {
		return err
	}
	rows := make([]imageRow, len(list))
	now := time.Now()
	for i, img := range list {
		rows[i] = imageRow{image: img, whole: p.whole, now: now}
	}
	if f.RenderHeaders && !p.noHeading {
		if err := f.Execute([]map[string]string{headings()}); err != nil {
			return fmt.Errorf("print heading: %w", err)
		}
	}
	if err := f.Execute(rows); err != nil {
		return fmt.Errorf("print images: %w", err)
	}
	return f.Flush()
}

// printIDs prints each ID once.
func (p listPrinter) printIDs(w io.Writer, list []images.Image) error {
	var seen []string
	for _, img := range list {
		id := imageRow{image: img, whole: p.whole}.ID()
		if id == "" || slices.Contains(seen, id) {
			continue
		}
		seen = append(seen, id)
		if _, err := fmt.Fprintln(w, id); err != nil {
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

// imageRow is an image as templates see it: its methods are the fields.
type imageRow struct {
	image images.Image
	whole bool
	now   time.Time
}

// headings are the names of columns by the fields of templates.
func headings() map[string]string {
	h := map[string]string{"ID": "IMAGE ID", "CreatedAt": "CREATED AT", "CreatedSince": "CREATED"}
	for _, field := range []string{
		"Architecture", "Created", "Deployments", "Digest", "Image", "Repository", "Size", "State", "Store", "Tag", "Type",
	} {
		h[field] = strings.ToUpper(field)
	}
	return h
}

const none = "<none>"

// Image is the name in bootc's spelling.
func (r imageRow) Image() string { return r.image.Name }

// Type is the image type: host, unified, logical or default.
func (r imageRow) Type() string { return string(r.image.Type) }

// Repository is the name without tag and digest, nor the transport of a registry.
func (r imageRow) Repository() string {
	repository, _ := splitName(r.image.Name)
	return repository
}

// Tag is the tag, "<none>" for an image without one.
func (r imageRow) Tag() string {
	_, tag := splitName(r.image.Name)
	return tag
}

// ID is the image ID, truncated unless all of it is wanted.
func (r imageRow) ID() string { return r.cut(r.image.ID, 12) }

// Digest is the manifest digest, truncated unless all of it is wanted.
func (r imageRow) Digest() string {
	if r.image.Digest == "" {
		return none
	}
	return r.cut(r.image.Digest, len("sha256:")+12)
}

func (r imageRow) cut(s string, n int) string {
	if r.whole || len(s) <= n {
		return s
	}
	return s[:n]
}

// Created is CreatedSince.
func (r imageRow) Created() string { return r.CreatedSince() }

// CreatedSince is how long ago the image was built, in words.
func (r imageRow) CreatedSince() string {
	if r.image.Created == nil {
		return ""
	}
	return units.HumanDuration(r.now.Sub(*r.image.Created)) + " ago"
}

// CreatedAt is when the image was built.
func (r imageRow) CreatedAt() string {
	if r.image.Created == nil {
		return ""
	}
	return r.image.Created.String()
}

// Size is the size in decimal units.
func (r imageRow) Size() string {
	if r.image.Size == nil {
		return ""
	}
	return humanSize(*r.image.Size)
}

// Architecture is in the words of the image specification.
func (r imageRow) Architecture() string { return r.image.Architecture }

// Store is where the content is.
func (r imageRow) Store() string { return string(r.image.Store) }

// Deployments are the IDs of those that boot the image or have it bound.
func (r imageRow) Deployments() []string {
	var ids []string
	for _, d := range r.image.Deployments {
		ids = append(ids, d.ID)
	}
	return ids
}

// State is what matters most about the image: that a bound one is missing, that
// bootc's garbage collection will remove it, or else what it is used for.
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

// splitName splits a name as podman images shows it.
func splitName(name string) (repository, tag string) {
	name = strings.TrimPrefix(name, "docker://")
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
