// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// choiceFlag is an option whose value is one of a list. The list stands here once: the
// help text, the completion and the check of the value are made from it, and a test
// compares the heading of the manual page with it.
type choiceFlag struct {
	*cli.StringFlag
	values []string
	// fields returns the names of the fields of a Go template, which is allowed in place of
	// a value; nil where none is.
	fields func() []string
	// dirs begins values that go on with the path of a directory, "" for none.
	dirs string
}

// choice returns an option with these values. The usage text has the name of the value in
// backquotes, and the list of the values in the place of %s; standard is the default value,
// "" for none.
func choice[T ~string](name, usage, standard string, values []T) *choiceFlag {
	list := valuesOf(values)
	return &choiceFlag{StringFlag: &cli.StringFlag{Name: name, Usage: fmt.Sprintf(usage, orList(list)), Value: standard}, values: list}
}

// orDirs returns an option that also takes the path of a directory after prefix.
func orDirs(f *choiceFlag, prefix string) *choiceFlag {
	list := orList(f.values)
	f.Usage, f.dirs = strings.Replace(f.Usage, list, orList(append(slices.Clone(f.values), prefix+"DIR")), 1), prefix
	return f
}

// formatChoice returns --format with the values first, which is the default, and json.
func formatChoice(usage, first string) *choiceFlag {
	return choice("format", usage, first, []string{first, "json"})
}

// formatTemplate returns --format with the values first, which is the default, json, and
// a Go template for rows of type T.
func formatTemplate[T any](usage, first string) *choiceFlag {
	f := formatChoice("%s", first)
	f.Usage, f.fields = fmt.Sprintf(usage, orList([]string{first, "json", "a Go template"})), templateFields[T]
	return f
}

// check refuses a value that is not in the list. A template without an action is a mistyped word.
func (f *choiceFlag) check(c *cli.Context) error {
	value := c.String(f.Name)
	if !c.IsSet(f.Name) || value == f.Value || slices.Contains(f.values, value) {
		return nil
	}
	values := f.values
	if f.fields != nil {
		if value == "" || strings.Contains(value, "{{") {
			return nil
		}
		values = append(slices.Clone(values), "a Go template")
	}
	if f.dirs != "" {
		if dir, ok := strings.CutPrefix(value, f.dirs); ok && dir != "" {
			return nil
		}
		values = append(slices.Clone(values), f.dirs+"DIR")
	}
	noun := strings.ToLower(strings.Split(f.Usage, "`")[1])
	return usageErrorf("%s: unknown %s %q: use %s", c.Command.Name, noun, value, orList(values))
}

// keysFlag is an option whose value begins with one of a list of keys and "=", and that can
// be given more than once. What follows is checked where it is read.
type keysFlag struct {
	*cli.StringSliceFlag
	keys []string
}

// filterFlag returns --filter with these keys, which stand in the usage text in the place of %s.
func filterFlag(usage string, keys []string) *keysFlag {
	return &keysFlag{&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: fmt.Sprintf(usage, orList(keys))}, keys}
}

// orList returns words as they stand in a sentence: "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func valuesOf[T ~string](values []T) (list []string) {
	for _, value := range values {
		list = append(list, string(value))
	}
	return list
}
