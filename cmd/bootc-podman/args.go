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
	line := readCommandLine(tree, args[min(1, len(args)):])
	if line.command == nil || line.command.SkipFlagParsing || line.dashes {
		return args
	}
	options := slices.Concat(args[:line.at+2], line.options)
	// A value that is missing is reported by the library. With an operand, it looks for help
	// on that.
	if len(line.operands) == 0 || line.option != "" || slices.Contains(line.options, "--help") || slices.Contains(line.options, "-h") {
		return options
	}
	return slices.Concat(options, []string{"--"}, line.operands)
}

// becomesAnother reports whether args name a command with another program's exit status.
func becomesAnother(tree *cli.App, args []string) bool {
	line := readCommandLine(tree, args[min(1, len(args)):])
	return line.command != nil && !line.dashes && slices.Contains([]string{"exec", "image", "images", "rmi", "run"}, line.command.Name)
}

// commandLine is what the words after our name come to.
type commandLine struct {
	// command is nil when it is still to come, at its index; flags are those that may follow.
	command *cli.Command
	at      int
	unknown bool
	flags   []cli.Flag
	// options are those that follow the command, with their values.
	options []string
	// values are those of options, by name; option is one whose value is still
	// to come, "" for none.
	values map[string]string
	option string
	// dashes is that two dashes are before the command, onlyOperands that they are before
	// what comes next.
	dashes, onlyOperands bool
	operands             []string
}

func readCommandLine(tree *cli.App, words []string) commandLine {
	line := commandLine{flags: tree.Flags, values: map[string]string{}}
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case line.command != nil && line.command.SkipFlagParsing:
			line.operands = slices.Clone(words[i:])
			return line
		case line.onlyOperands && line.command != nil:
			line.operands = append(line.operands, word)
		case word == "--":
			line.onlyOperands = true
		case len(word) > 1 && word[0] == '-' && !line.onlyOperands:
			first := i
			name, value, found := strings.Cut(strings.TrimLeft(word, "-"), "=")
			if !found && takesValue(line.flags, name) {
				if i++; i == len(words) {
					line.option = name
				} else {
					value = words[i]
				}
			}
			line.values[name] = value
			if line.command != nil {
				line.options = append(line.options, words[first:min(i+1, len(words))]...)
			}
		case line.command == nil:
			if line.command = tree.Command(word); line.command == nil {
				line.unknown = true
				return line
			}
			line.flags = append(slices.Clone(line.command.Flags), cli.HelpFlag)
			line.at, line.dashes, line.onlyOperands = i, line.onlyOperands, false
		default:
			line.operands = append(line.operands, word)
		}
	}
	return line
}

func takesValue(flags []cli.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(flag cli.Flag) bool {
		f, ok := flag.(cli.DocGenerationFlag)
		return ok && f.TakesValue() && slices.Contains(flag.Names(), name)
	})
}
