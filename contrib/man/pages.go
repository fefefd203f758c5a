// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package man has the sources of the manual pages, for the examples in --help.
package man

import (
	"embed"
	"strings"
)

//go:embed *.8.md
var pages embed.FS

// Page returns the source of the manual page of a command, of bootc-podman(8) for "";
// "" where there is none.
func Page(command string) string {
	text, err := pages.ReadFile(strings.TrimSuffix("bootc-podman-"+command, "-") + ".8.md")
	if err != nil {
		return ""
	}
	return string(text)
}

// Examples returns the commands in the section EXAMPLES of a page, each with the lines in which
// it goes on. What a command prints is left out.
func Examples(page string) (commands [][]string) {
	_, section, _ := strings.Cut(page, "\n## EXAMPLES\n")
	section, _, _ = strings.Cut(section, "\n## ")
	more := false
	for line := range strings.SplitSeq(section, "\n") {
		line, indented := strings.CutPrefix(line, "    ")
		prompt := strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "$ ")
		switch {
		case !indented:
			more = false
			continue
		case more:
			last := len(commands) - 1
			commands[last] = append(commands[last], line)
		case prompt:
			commands = append(commands, []string{line[len("# "):]})
		default:
			continue
		}
		more = strings.HasSuffix(line, "|") || strings.HasSuffix(line, `\`) || strings.HasSuffix(line, "&&")
	}
	return commands
}
