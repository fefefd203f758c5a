// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// listPrinter prints images as the options of list say.
type listPrinter struct {
	format                  string
	whole, noHeading, quiet bool
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
	return checkTemplate("list", p.format, p.row(sample, time.Now()), p.noHeading)
}

func (p listPrinter) isJSON() bool { return p.format == "json" }

func (p listPrinter) printList(w io.Writer, list []inventory.Image) error {
	switch {
	case p.isJSON():
		return printJSON(w, append([]inventory.Image{}, list...))
	case p.quiet:
		return p.printIDs(w, list)
	}
	rows := make([]imageRow, len(list))
	now := time.Now()
	for i, img := range list {
		rows[i] = p.row(img, now)
	}
	return printRows(w, "list", "images", p.format, rows, p.noHeading)
}

// printIDs prints each ID once.
func (p listPrinter) printIDs(w io.Writer, list []inventory.Image) error {
	seen := map[string]bool{"": true}
	for _, img := range list {
		if seen[img.ID] {
			continue
		}
		seen[img.ID] = true
		if _, err := fmt.Fprintln(w, p.cut(img.ID, 12)); err != nil {
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

// imageRow is an image as templates see it. Its fields have no control characters: anyone may
// have written a name that a terminal would interpret. A new column is a field here, and its
// value in row; a test compares them with the manual page.
type imageRow struct {
	image inventory.Image

	Repository   string `heading:"REPOSITORY" table:""`
	Tag          string `heading:"TAG" table:""`
	Type         string `heading:"TYPE" table:""`
	Digest       string `heading:"DIGEST" table:""`
	Created      string `heading:"CREATED" table:""`
	Size         string `heading:"SIZE" table:""`
	State        string `heading:"STATE" table:""`
	Architecture string `heading:"ARCHITECTURE"`
	CreatedAt    string `heading:"CREATED AT"`
	CreatedSince string `heading:"CREATED"`
	Deployments  words  `heading:"DEPLOYMENTS"`
	ID           string `heading:"IMAGE ID"`
	// Image is the name in bootc's spelling.
	Image string `heading:"IMAGE"`
	Store string `heading:"STORE"`
}

// MarshalJSON is for the function json of templates.
func (r imageRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.image) }

const none = "<none>"

func (p listPrinter) row(img inventory.Image, now time.Time) imageRow {
	repository, tag := splitName(img)
	r := imageRow{
		image: img, Repository: printable(cmp.Or(repository, none)), Tag: printable(tag), Type: string(img.Type),
		Digest: none, State: state(img), Architecture: printable(img.Architecture), ID: p.cut(img.ID, 12),
		Image: printable(img.Name), Store: string(img.Store),
	}
	if img.Digest != "" {
		r.Digest = p.cut(img.Digest, len("sha256:")+12)
	}
	if img.Created != nil {
		r.CreatedSince = units.HumanDuration(now.Sub(img.Created.Time)) + " ago"
		r.Created = r.CreatedSince
		r.CreatedAt = img.Created.UTC().Truncate(time.Second).String()
	}
	if img.Size != nil {
		r.Size = humanSize(*img.Size)
	}
	for _, d := range img.Deployments {
		r.Deployments = append(r.Deployments, printable(d.ID))
	}
	return r
}

// cut truncates a digest or an ID unless --no-trunc is given.
func (p listPrinter) cut(s string, n int) string {
	if !p.whole && len(s) > n {
		s = s[:n]
	}
	return printable(s)
}

// state is "missing" for a bound image that is not there, "will be pruned" for one that
// bootc's garbage collection removes, else the roles of the deployments that use it.
func state(img inventory.Image) string {
	if img.Present != nil && !*img.Present {
		return "missing"
	}
	if img.WillBePruned {
		return "will be pruned"
	}
	var roles words
	for _, d := range img.Deployments {
		if role := string(d.Role); !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles.String()
}

// splitName splits the name, without digest and the transport of a registry, as podman images
// does.
func splitName(img inventory.Image) (repository, tag string) {
	name, registry := strings.CutPrefix(img.Name, "docker://")
	transport := ""
	if before, rest, ok := strings.Cut(name, ":"); ok && !registry && img.Type == inventory.Host {
		transport, name = before+":", rest
	}
	name, _, _ = strings.Cut(name, "@")
	tag = none
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') && i > 0 {
		name, tag = name[:i], name[i+1:]
	}
	return transport + name, tag
}

func humanSize(size int64) string {
	s := units.HumanSizeWithPrecision(float64(size), 3)
	i := strings.LastIndexAny(s, "0123456789")
	return s[:i+1] + " " + s[i+1:]
}
