// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.podman.io/common/pkg/report"
)

// words is a list that templates print with commas, join, or range over.
type words []string

func (w words) String() string { return strings.Join(w, ",") }

// checkTemplate returns why a template fails on a row that has all fields: it fails on any
// row then.
func checkTemplate[T any](verb, format string, sample T, noHeading bool) error {
	if _, err := render(verb, format, []T{sample}, noHeading); err != nil {
		return usageErrorf("%s: read --format: %w", verb, unknownField[T](err))
	}
	return nil
}

// printRows prints what render returns; what they are stands in the error.
func printRows[T any](w io.Writer, verb, what, format string, rows []T, noHeading bool) error {
	out, err := render(verb, format, rows, noHeading)
	if err == nil {
		_, err = w.Write(out)
	}
	if err != nil {
		return fmt.Errorf("print %s: %w", what, err)
	}
	return nil
}

// render returns what a template prints of rows. In a struct, the tag heading is the heading of
// a field as a column; those with the tag table, too, are the table that is printed for the
// formats "" and "table". noHeading leaves out the headings. A terminal that is too narrow
// has no columns with the tag table:"narrow", see printFitting.
func render[T any](verb, format string, rows []T, noHeading bool) ([]byte, error) {
	// A heading has the type of its field, so that a template that works for a field works
	// for its heading.
	headings := map[string]any{}
	var shown []string
	if row := reflect.TypeFor[T](); row.Kind() == reflect.Struct {
		for field := range row.Fields() {
			heading, ok := field.Tag.Lookup("heading")
			if !ok {
				continue
			}
			headings[field.Name] = heading
			if field.Type == reflect.TypeFor[words]() {
				headings[field.Name] = words{heading}
			}
			if _, ok := field.Tag.Lookup("table"); ok {
				shown = append(shown, "{{."+field.Name+"}}")
			}
		}
	}
	origin := report.OriginUser
	if len(shown) > 0 && (format == "" || format == "table") {
		origin, format = report.OriginPodman, "{{range .}}"+strings.Join(shown, "\t")+"\n{{end -}}"
	}
	var out bytes.Buffer
	f, err := report.New(&out, verb).Parse(origin, format)
	if err != nil {
		return nil, err
	}
	if f.RenderHeaders && !noHeading && len(headings) > 0 {
		if err := f.Execute([]map[string]any{headings}); err != nil {
			return nil, err
		}
	}
	if err := f.Execute(rows); err != nil {
		return nil, err
	}
	err = f.Flush()
	return out.Bytes(), err
}
