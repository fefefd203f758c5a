// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/contrib/man"
)

const manDir = "../../contrib/man"

// manualOptions returns the options that have a heading of their own in a
// manual page: "#### **--name**=*value*".
func manualOptions(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manDir, page))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^####.*$`).FindAll(text, -1) {
		for _, option := range regexp.MustCompile(`\*\*--?([a-z0-9-]+)\*\*`).FindAllSubmatch(heading, -1) {
			names = append(names, string(option[1]))
		}
	}
	return names
}

// flagsOfPages returns the options by the manual pages that describe them.
func flagsOfPages(t *testing.T) map[string][]cli.Flag {
	t.Helper()
	tree := newTestApp(t).command(&options{})
	pages := map[string][]cli.Flag{"bootc-podman.8.md": tree.Flags}
	for _, c := range tree.Commands {
		if c.Name != "__complete" {
			pages["bootc-podman-"+c.Name+".8.md"] = c.Flags
		}
	}
	return pages
}

func TestManualPagesListTheValuesOfOptions(t *testing.T) {
	found := 0
	for page, flags := range flagsOfPages(t) {
		text, err := os.ReadFile(filepath.Join(manDir, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range flags {
			f, ok := flag.(*choiceFlag)
			if !ok {
				continue
			}
			found++
			heading := "#### **--" + f.Name + "**=**" + strings.Join(f.values, "**|**") + "**"
			if f.fields != nil {
				heading += "|*TEMPLATE*"
			}
			if f.dirs != "" {
				heading += "|**" + f.dirs + "***DIR*"
			}
			if !slices.Contains(strings.Split(string(text), "\n"), heading) {
				t.Errorf("%s has no line %q", page, heading)
			}
		}
	}
	if found == 0 {
		t.Error("no option has a list of values")
	}
}

func TestManualPagesHaveTheOptionsOfTheirCommands(t *testing.T) {
	for page, flags := range flagsOfPages(t) {
		t.Run(page, func(t *testing.T) {
			documented := manualOptions(t, page)
			known := []string{"help", "h"} // Every command's, if it is not podman's.
			for _, flag := range flags {
				known = append(known, flag.Names()...)
				for _, name := range flag.Names() {
					if !slices.Contains(documented, name) {
						t.Errorf("option %s has no heading", name)
					}
				}
			}
			for _, name := range documented {
				if !slices.Contains(known, name) {
					t.Errorf("there is no option %s", name)
				}
			}
		})
	}
}

// TestBlocksFitTheTerminal: man does not break the lines of a block, and indents them by 7. A
// longer line of an example is one word.
func TestBlocksFitTheTerminal(t *testing.T) {
	for page := range flagsOfPages(t) {
		text, err := os.ReadFile(filepath.Join(manDir, page))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if block, found := strings.CutPrefix(line, "    "); found && len(block) > 80-7-1 {
				t.Errorf("%s has a line that is too long: %s", page, block)
			}
		}
		for _, example := range man.Examples(string(text)) {
			for _, line := range example {
				if len(line) > 60-7-1 && lastBlank(line, len(line)) >= 0 {
					t.Errorf("%s has an example that is too long: %s", page, line)
				}
			}
		}
	}
}
