// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/contrib/man"
)

// task is a group of commands in the help, and in the main manual page.
type task struct {
	title    string
	commands []string
}

// tasks returns all visible commands by what they are for; a test holds that none is missing.
func tasks() []task {
	return []task{
		{"See what is where", []string{"list", "inspect", "exists", "status", "df", "usage"}},
		{"Work with images", []string{"image", "images", "rmi", "init"}},
		{"Run", []string{"run", "exec", "env", "storage-conf"}},
		{"Copy", []string{"set-unified", "unset-unified", "copy-to-storage", "pull-from-default-storage"}},
		{"Keep, and free space", []string{"bound", "gc", "dedup"}},
		{"Find and fix what is wrong", []string{"doctor", "repair", "localize"}},
		{"Guard", []string{"hooks"}},
		{"Other", []string{"completion", "version", "help"}},
	}
}

func (a *app) helpCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "help",
		Usage:     "list the commands, or explain one",
		UsageText: "bootc-podman help [command]",
		ArgsUsage: "...",
		Action: func(c *cli.Context) error {
			switch word := c.Args().First(); {
			case word == "":
				return a.printHelp(c.App, nil)
			case c.NArg() > 1:
				err := fmt.Errorf("help: unexpected argument %q", c.Args().Get(1))
				if c.App.Command(word) == nil {
					word = c.Command.Name
				}
				return &exitError{code: exitUsage, err: err, advice: helpAdvice(word)}
			case c.App.Command(word) == nil:
				return unknownCommand(c.App, word)
			default:
				return a.printHelp(c.App, c.App.Command(word))
			}
		},
	})
}

// asksForHelp reports whether args have --help or -h where it is an option of ours, and
// returns the command that it is about, nil for all.
func asksForHelp(tree *cli.App, args []string) (about *cli.Command, asks bool) {
	if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-h") || strings.HasPrefix(arg, "--h") }) {
		return nil, false
	}
	line := readCommandLine(tree, args[min(1, len(args)):])
	for _, name := range cli.HelpFlag.Names() {
		value, given := line.values[name]
		asks = asks || given && value == ""
	}
	return line.command, asks && !line.unknown
}

// printHelp prints the help about a command, nil for all, in lines that fit the terminal.
func (a *app) printHelp(tree *cli.App, c *cli.Command) error {
	h := helpPage{width: a.width()}
	if c == nil {
		h.top(tree)
	} else {
		h.command(c)
	}
	_, err := io.WriteString(a.stdout, h.String())
	return err
}

// width returns how long a line may be: 80 characters where standard output is no terminal.
func (a *app) width() int {
	const standard, longest = 80, 100
	if columns := columnsOf(a.stdout); columns > 0 {
		return min(columns, longest)
	}
	return standard
}

// helpPage is a help text in the making.
type helpPage struct {
	strings.Builder
	width int
}

func (h *helpPage) top(tree *cli.App) {
	h.intro(tree.Usage, tree.UsageText)
	commands := tree.VisibleCommands()
	for _, t := range tasks() {
		var rows [][2]string
		for _, name := range t.commands {
			if i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == name }); i >= 0 {
				rows = append(rows, [2]string{name, commands[i].Usage})
			}
		}
		h.rows(t.title, rows)
	}
	h.rows("Options", optionRows(tree.Flags))
	h.examples("")
	h.WriteString("\n")
	h.paragraph("", "bootc-podman COMMAND --help explains a command, and so does the manual page bootc-podman-COMMAND(8).")
}

func (h *helpPage) command(c *cli.Command) {
	h.intro(c.Usage, c.UsageText)
	flags := c.Flags
	if !c.SkipFlagParsing && !slices.Contains(flagNames(flags), "help") {
		flags = append(slices.Clone(flags), cli.HelpFlag)
	}
	h.rows("Options", optionRows(flags))
	h.examples(c.Name)
	h.WriteString("\n")
	h.paragraph("", "The manual page is bootc-podman-"+c.Name+"(8).")
}

func (h *helpPage) intro(usage, usageText string) {
	h.paragraph("", usage)
	h.WriteString("\nUsage:\n")
	h.paragraph("  ", usageText)
}

// examples adds the examples of the manual page of a command, of the main one for "".
func (h *helpPage) examples(command string) {
	examples := man.Examples(man.Page(command))
	if len(examples) == 0 {
		return
	}
	h.WriteString("\nExamples:\n")
	for _, lines := range examples {
		for _, line := range lines {
			for _, part := range foldCommand("  "+line, h.width) {
				h.WriteString(part + "\n")
			}
		}
	}
}

// rows adds a table of names and their meaning.
func (h *helpPage) rows(title string, rows [][2]string) {
	const widest = 16 // a longer name has a line of its own
	if len(rows) == 0 {
		return
	}
	h.WriteString("\n" + title + ":\n")
	column := 0
	for _, row := range rows {
		if n := len(row[0]); n <= widest {
			column = max(column, n)
		}
	}
	if column == 0 {
		column = widest
	}
	for _, row := range rows {
		lines := fold(row[1], h.width-column-4)
		if len(row[0]) > column {
			h.WriteString("  " + row[0] + "\n")
			row[0] = ""
		}
		for _, line := range lines {
			fmt.Fprintf(h, "  %-*s  %s\n", column, row[0], line)
			row[0] = ""
		}
	}
}

// paragraph adds text with its first line at an indentation, and the others below it.
func (h *helpPage) paragraph(indent, text string) {
	for i, line := range fold(text, h.width-len(indent)-2) {
		if i > 0 && indent != "" {
			indent = "    "
		}
		h.WriteString(indent + line + "\n")
	}
}

// optionRows returns the table of options: the short name first, and the name of a value in
// place of its backquotes.
func optionRows(flags []cli.Flag) (rows [][2]string) {
	for _, flag := range flags {
		f, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		name := ""
		for _, n := range f.Names() {
			if name != "" && len(n) == 1 {
				name = dashed(n) + ", " + name
			} else {
				name += dashed(n)
			}
		}
		if before, rest, found := strings.Cut(f.GetUsage(), "`"); found && f.TakesValue() {
			value, after, _ := strings.Cut(rest, "`")
			rows = append(rows, [2]string{name + " " + value, before + value + after + standardValue(f)})
			continue
		}
		rows = append(rows, [2]string{name, f.GetUsage()})
	}
	return rows
}

// standardValue returns what stands behind the usage of an option that has a default value.
func standardValue(f cli.DocGenerationFlag) string {
	if value := f.GetValue(); value != "" && value != "0" {
		return " (default" + noBreak + value + ")"
	}
	return ""
}

// noBreak is a blank at which fold does not break a line.
const noBreak = "\u00a0"

// fold returns text in lines of a width; a longer word has a line of its own.
func fold(text string, width int) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		word = strings.ReplaceAll(word, noBreak, " ")
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// foldCommand returns a line of shell in lines of a width, which a backslash continues. It stays
// whole where it has no blank outside of quotes.
func foldCommand(line string, width int) (lines []string) {
	const indent, end = "      ", ` \`
	for len(line) > width {
		at := lastBlank(line, width-len(end))
		if at < 0 {
			break
		}
		lines = append(lines, line[:at]+end)
		line = indent + line[at+1:]
	}
	return append(lines, line)
}

// lastBlank returns the index of the last blank of a line that is not in quotes, nor within
// the indentation, below limit; -1 for none.
func lastBlank(line string, limit int) int {
	at, quote, begun := -1, byte(0), false
	for i := range min(limit+1, len(line)) {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c != ' ':
			begun = true
		case begun:
			at = i
		}
	}
	return at
}
