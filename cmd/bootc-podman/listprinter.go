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
	"github.com/bootc-podman/bootc-podman/internal/progress"
)

// listPrinter prints images as the options of list say.
type listPrinter struct {
	format                  string
	whole, noHeading, quiet bool
	// columns is the width of the terminal, 0 for none.
	columns int
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
		Deployments: []inventory.DeploymentRef{{ID: "default/" + hex + ".0", Role: host.Booted}}, WillBePruned: true,
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
	if p.format == "" || strings.HasPrefix(p.format, "table") {
		list = onePerPlace(list)
	}
	rows := make([]imageRow, len(list))
	now := time.Now()
	for i, img := range list {
		rows[i] = p.row(img, now)
	}
	if p.columns > 0 && (p.format == "" || p.format == "table") {
		return printFitting(w, rows, p.noHeading, p.columns)
	}
	return printRows(w, "list", "images", p.format, rows, p.noHeading)
}

// onePerPlace returns a list without the bound images that it has as images of the bootc
// store, too: bootc lists both.
func onePerPlace(list []inventory.Image) []inventory.Image {
	stored := map[string]bool{}
	for _, img := range list {
		stored[img.ID] = stored[img.ID] || img.Type == inventory.Unified
	}
	return slices.DeleteFunc(slices.Clone(list), func(img inventory.Image) bool {
		return img.Type == inventory.Logical && img.ID != "" && stored[img.ID]
	})
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
	Store        string `heading:"STORE" table:""`
	Digest       string `heading:"DIGEST" table:"narrow"`
	Created      string `heading:"CREATED" table:"narrow"`
	Size         string `heading:"SIZE" table:"narrow"`
	State        string `heading:"STATE" table:""`
	Type         string `heading:"TYPE"`
	Architecture string `heading:"ARCHITECTURE"`
	CreatedAt    string `heading:"CREATED AT"`
	CreatedSince string `heading:"CREATED"`
	Deployments  words  `heading:"DEPLOYMENTS"`
	ID           string `heading:"IMAGE ID"`
	// Image is the name in bootc's spelling.
	Image string `heading:"IMAGE"`
}

// MarshalJSON is for the function json of templates.
func (r imageRow) MarshalJSON() ([]byte, error) { return json.Marshal(r.image) }

const none = "<none>"

func (p listPrinter) row(img inventory.Image, now time.Time) imageRow {
	repository, tag := img.Split()
	r := imageRow{
		image: img, Repository: printable(cmp.Or(repository, none)), Tag: printable(cmp.Or(tag, none)), Type: string(img.Type),
		Digest: none, State: state(img), Architecture: printable(img.Architecture), ID: p.cut(img.ID, 12),
		Image: printable(img.Name), Store: string(img.Place()),
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
		r.Size = progress.Size(*img.Size)
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

// state returns what a user may do with the image: who needs it, and whether it stays.
func state(img inventory.Image) string {
	switch {
	case img.Present != nil && !*img.Present:
		return "missing"
	case img.Present == nil && img.Type == inventory.Logical:
		return "not looked at"
	}
	var all words
	add := func(word string) {
		if !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	for _, n := range img.NeededBy {
		if n.By == inventory.ByOrigin {
			add(roleWord(n.Deployment.Role))
		}
	}
	if img.Bound() || img.Type == inventory.Logical {
		add("bound")
	}
	for _, n := range img.NeededBy {
		switch {
		case n.Deployment == nil:
			add("needed by " + printable(cmp.Or(n.Name, fmt.Sprintf("%.12s", n.ID))))
		case n.By == inventory.ByName:
			add("needed by " + roleWord(n.Deployment.Role) + " deployment")
		}
	}
	if img.WillBePruned {
		add("will be removed by bootc's next cleanup")
	}
	return strings.Join(all, ", ")
}

// roleWord is the role of a deployment as a state of its image.
func roleWord(role host.Role) string {
	if role == host.Other {
		return "deployed"
	}
	return string(role)
}
