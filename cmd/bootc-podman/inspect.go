// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

func (a *app) inspectCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "inspect",
		Usage:     "show an image in all places: who has it, whole or not, and who needs it",
		UsageText: "bootc-podman [options] inspect [options] image...",
		ArgsUsage: "image ...",
		Flags: []cli.Flag{
			formatTemplate[*inventory.Inspection]("print as `FORMAT`: %s", "text"),
			lenientFlag(),
		},
		Action: func(c *cli.Context) error {
			collectLess()
			show, err := inspectPrinter(c.String("format"), columnsOf(a.stdout))
			if err != nil {
				return err
			}
			found, bad := inventory.Inspect(c.Context, a.query(o), c.Args().Slice())
			unknown := slices.DeleteFunc(slices.Clone(bad), func(err error) bool { return !errors.Is(err, inventory.ErrNotKnown) })
			bad = slices.DeleteFunc(bad, func(err error) bool { return errors.Is(err, inventory.ErrNotKnown) })
			switch err = a.settle(c, bad, true, func() error { return show(a.stdout, found) }); {
			case len(unknown) == 0:
				return err
			case err != nil:
				unknown = append(unknown, err)
			}
			// As podman image inspect does.
			return orCode(errors.Join(unknown...), exitUnknown)
		},
	})
}

// inspectPrinter returns the function that prints images in a format, as text for a terminal
// with so many columns, 0 for none.
func inspectPrinter(format string, columns int) (func(io.Writer, []inventory.Inspection) error, error) {
	switch format {
	case "", "text":
		return func(w io.Writer, found []inventory.Inspection) error { return printInspections(w, found, columns) }, nil
	case "json":
		return func(w io.Writer, found []inventory.Inspection) error {
			return printJSON(w, append([]inventory.Inspection{}, found...))
		}, nil
	}
	size := int64(1)
	// A template may choose one of several places.
	sample := &inventory.Inspection{Name: "x", NotLooked: []inventory.StoreName{"x"}, Places: slices.Repeat([]inventory.Placed{{
		Names: []string{"x"}, Digests: []string{"x"}, Size: &size, Created: &inventory.Time{}, Shared: make([]inventory.Shared, 1),
		Deployments: make([]inventory.DeploymentRef, 1), KeptBy: make([]inventory.Keeper, 1),
		NeededBy: []inventory.Need{{Deployment: &inventory.DeploymentRef{}}},
	}}, 8)}
	return func(w io.Writer, found []inventory.Inspection) error {
		var rows []*inventory.Inspection
		for i := range found {
			escapeAll(reflect.ValueOf(&found[i]))
			rows = append(rows, &found[i])
		}
		return printRows(w, "inspect", "images", format, rows, true)
	}, checkTemplate("inspect", format, sample, true)
}

func printInspections(w io.Writer, found []inventory.Inspection, columns int) error {
	for i := range found {
		in := &found[i]
		escapeAll(reflect.ValueOf(in))
		var lines [][2]string
		line := func(label, format string, args ...any) {
			lines = append(lines, [2]string{label, fmt.Sprintf(format, args...)})
		}
		line("Image:", "%s", in.Name)
		for _, p := range in.Places {
			line("", "")
			printPlaced(line, p, &in.Places[0])
		}
		if len(in.NotLooked) > 0 {
			line("", "")
		}
		for _, store := range in.NotLooked {
			line("Store:", "%s, not looked at", store)
		}
		if i > 0 {
			lines = append([][2]string{{}}, lines...)
		}
		if err := printLabelled(w, lines, columns); err != nil {
			return err
		}
	}
	return nil
}

func printPlaced(line func(label, format string, args ...any), p inventory.Placed, first *inventory.Placed) {
	state := string(p.State)
	if p.Damage != "" {
		state += ": " + p.Damage
	}
	line("Store:", "%s, %s, %s", p.Store, p.Path, state)
	label := "Names:"
	for _, name := range p.Names {
		line(label, "%s", cmp.Or(name, "an empty name"))
		label = ""
	}
	if p.Digest != "" {
		line("Digest:", "%s", p.Digest)
		if word := relationWords(&p, first); word != "" {
			line("", "%s", word)
		}
	}
	for _, digest := range p.Digests {
		if digest != p.Digest {
			line("", "%s", digest)
		}
	}
	if p.Original != "" {
		line("", "exported from %s", p.Original)
	}
	if p.ID != "" {
		line("ID:", "%s", p.ID)
	}
	printFacts(line, p)
	label = "Needed by:"
	for _, need := range p.NeededBy {
		line(label, "%s", need)
		label = ""
	}
	if p.WillBePruned {
		if label != "" {
			label = "State:"
		}
		line(label, "will be removed by bootc's next cleanup")
	}
}

// relationWords are what the relation of an image to that of the first place means for a user.
func relationWords(p, first *inventory.Placed) string {
	switch {
	case p.Relation == inventory.Same:
		return string(plan.SameImage)
	case p.Relation == inventory.OtherImage:
		return "another image"
	case p.Relation != inventory.Exported:
		return ""
	// Layers that were compressed again.
	case p.ID != "" && p.ID == first.ID:
		return "same image ID, another manifest"
	case p.Store == inventory.ComposefsStore || first.Store == inventory.ComposefsStore:
		return string(plan.BootcsCopy)
	}
	return string(plan.FromFiles)
}

func printFacts(line func(label, format string, args ...any), p inventory.Placed) {
	var facts []string
	if p.Size != nil {
		facts = append(facts, progress.Size(*p.Size))
	}
	if p.Layers > 0 {
		facts = append(facts, count(p.Layers, "layer"))
	}
	if len(facts) > 0 {
		line("Size:", "%s", strings.Join(facts, " in "))
	}
	for _, s := range p.Shared {
		where := fmt.Sprintf("the store %s", s.Store)
		if s.Store == p.Store {
			where = "other images of this store"
		}
		line("", "%s (%s) also in %s", count(s.Layers, "layer"), progress.Size(s.Size), where)
	}
	facts = nil
	if p.Created != nil {
		facts = append(facts, units.HumanDuration(time.Since(p.Created.Time))+" ago")
	}
	if p.Architecture != "" {
		facts = append(facts, "for "+p.Architecture)
	}
	if len(facts) > 0 {
		line("Built:", "%s", strings.Join(facts, ", "))
	}
}
