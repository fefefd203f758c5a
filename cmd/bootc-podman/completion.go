// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed" // for the scripts
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts are embedded for users who have only the binary.
var (
	//go:embed completions/bootc-podman.bash
	bashCompletion string
	//go:embed completions/bootc-podman.fish
	fishCompletion string
	//go:embed completions/bootc-podman.zsh
	zshCompletion string
)

// completionScripts returns the scripts by the names of their shells.
func completionScripts() map[string]string {
	return map[string]string{"bash": bashCompletion, "fish": fishCompletion, "zsh": zshCompletion}
}

func shells() []string { return slices.Sorted(maps.Keys(completionScripts())) }

func (a *app) completionCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "completion",
		Usage:     "print the script that completes our command lines in " + orList(shells()),
		UsageText: "bootc-podman completion " + strings.Join(shells(), "|"),
		ArgsUsage: "shell",
		Action: func(c *cli.Context) error {
			script, ok := completionScripts()[c.Args().First()]
			if !ok {
				return usageErrorf("completion: unknown shell %q: use %s", c.Args().First(), orList(shells()))
			}
			_, err := io.WriteString(a.stdout, script)
			return err
		},
	})
}
