// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

func TestReadmeListsTheCommands(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range regexp.MustCompile("(?m)^\\| `bootc-podman ([a-z-]+)").FindAllSubmatch(text, -1) {
		rows = append(rows, string(row[1]))
	}
	var commands []string
	for _, c := range newTestApp(t).command(&options{}).VisibleCommands() {
		if c.Name != "help" && c.Name != "version" {
			commands = append(commands, c.Name)
		}
	}
	slices.Sort(rows)
	slices.Sort(commands)
	if !slices.Equal(rows, commands) {
		t.Errorf("README.md lists %q, the program has %q", rows, commands)
	}
}
