// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// optionsFirst moves the options that follow a command's operands before them, as podman
// accepts them; the command line library stops at the first operand. It leaves the
// arguments of a passthrough unchanged.
func optionsFirst(tree *cli.App, args []string) []string {
	i, c := findCommand(tree, args)
	if c == nil || c.SkipFlagParsing {
		return args
	}
	options, operands := slices.Clone(args[:i+1]), []string(nil)
	for rest := args[i+1:]; len(rest) > 0; {
		n := length(c.Flags, rest)
		switch {
		case rest[0] == "--":
			operands = append(operands, rest[1:]...)
			n = len(rest)
		case len(rest[0]) < 2 || rest[0][0] != '-':
			operands = append(operands, rest[0])
			n = 1
		case n > len(rest): // The value is missing: the library reports that.
			return append(options, rest...)
		default:
			options = append(options, rest[:n]...)
		}
		rest = rest[n:]
	}
	// With an operand, the library looks for help on that.
	if len(operands) == 0 || slices.Contains(options[i+1:], "--help") || slices.Contains(options[i+1:], "-h") {
		return options
	}
	return slices.Concat(options, []string{"--"}, operands)
}

// findCommand returns the command that args name, and its index in them.
func findCommand(tree *cli.App, args []string) (int, *cli.Command) {
	i := 1
	for i < len(args) && strings.HasPrefix(args[i], "-") && args[i] != "--" {
		i += length(tree.Flags, args[i:])
	}
	if i >= len(args) {
		return i, nil
	}
	return i, tree.Command(args[i])
}

// becomesAnother reports whether args name a command with another program's exit status.
func becomesAnother(tree *cli.App, args []string) bool {
	_, c := findCommand(tree, args)
	return c != nil && slices.Contains([]string{"exec", "image", "images", "run"}, c.Name)
}

// length returns the number of words of the option args[0], its value included.
func length(flags []cli.Flag, args []string) int {
	name := strings.TrimLeft(args[0], "-")
	for _, flag := range flags {
		if f, ok := flag.(cli.DocGenerationFlag); ok && slices.Contains(flag.Names(), name) && f.TakesValue() {
			return 2
		}
	}
	return 1
}
