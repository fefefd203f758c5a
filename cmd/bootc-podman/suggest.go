// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// unknownCommandError is about the word in the place of a command. Its meaning is the
// command that is meant, with ours before podman's for images; "" if none is alike.
type unknownCommandError struct{ word, meaning string }

func (e *unknownCommandError) Error() string { return fmt.Sprintf("unknown command %q", e.word) }

func (e *unknownCommandError) advice() string {
	if e.meaning != "" {
		return fmt.Sprintf("did you mean \"bootc-podman %s\"?", e.meaning)
	}
	return `"bootc-podman help" lists the commands; podman's others are not for this store`
}

// unknownCommand returns the error about a word that is no command of the tree.
func unknownCommand(tree *cli.App, word string) error {
	const imageCommands = "build diff exists history import inspect list load ls mount prune pull push rm save scp search sign tag tree trust umount unmount untag"
	images := strings.Fields(imageCommands)
	var verbs []string
	for _, c := range tree.VisibleCommands() {
		verbs = append(verbs, c.Name)
	}
	meaning := nearest(word, append(verbs, images...))
	if meaning != "" && !slices.Contains(verbs, meaning) {
		meaning = "image " + meaning
	}
	return &exitError{code: exitUsage, err: &unknownCommandError{word, meaning}}
}

// flagMessage returns what is wrong with an option in podman's words: the library has the
// words of Go's package flag, with one dash. The name of the option comes without dashes.
func flagMessage(message string) (words, name string) {
	if _, name, found := strings.Cut(message, "flag provided but not defined: -"); found {
		if len(name) == 1 {
			return fmt.Sprintf("unknown shorthand flag: '%s' in -%s", name, name), name
		}
		return "unknown flag: " + dashed(name), name
	}
	if _, name, found := strings.Cut(message, "flag needs an argument: -"); found {
		return "flag needs an argument: " + dashed(name), name
	}
	for _, phrase := range [][2]string{{"invalid value ", " for flag -"}, {"invalid boolean value ", " for -"}} {
		rest, found := strings.CutPrefix(message, phrase[0])
		value, rest, cut := strings.Cut(rest, phrase[1])
		if found && cut {
			name, cause, _ := strings.Cut(rest, ": ")
			return fmt.Sprintf("invalid argument %s for %q flag: %s", value, dashed(name), cause), name
		}
	}
	return message, ""
}

// dashed returns the name of an option as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// nearest returns that of words which is so much like word that it is meant; "" for none.
func nearest(word string, words []string) string {
	const alike = 0.88 // found by trying: a swapped, a missing, a wrong and a repeated letter
	best, found := alike, ""
	for _, w := range words {
		if likeness := smetrics.JaroWinkler(word, w, 0.7, 4); likeness > best {
			best, found = likeness, w
		}
	}
	return found
}

// templateFields returns the names of the fields that a template may use for a row of type
// T; none for a type that is no structure.
func templateFields[T any]() (names []string) {
	row := reflect.TypeFor[T]()
	if row.Kind() == reflect.Pointer {
		row = row.Elem()
	}
	if row.Kind() != reflect.Struct {
		return nil
	}
	for field := range row.Fields() {
		if field.IsExported() {
			names = append(names, field.Name)
		}
	}
	slices.Sort(names)
	return names
}

// unknownField returns the error of a template about a field that a row of type T does not
// have, with those that it has; err itself for any other error.
func unknownField[T any](err error) error {
	_, rest, found := strings.Cut(err.Error(), "can't evaluate field ")
	name, of, _ := strings.Cut(rest, " in type ")
	if fields := templateFields[T](); found && of == reflect.TypeFor[T]().String() {
		return fmt.Errorf("no field .%s: use .%s", name, strings.Join(fields, ", ."))
	}
	return err
}
