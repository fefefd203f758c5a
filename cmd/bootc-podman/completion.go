// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed" // for the scripts
	"io"

	"github.com/urfave/cli/v2"
)

// The scripts are here too, and not only installed, for who has but the program.
var (
	//go:embed completions/bootc-podman.bash
	bashCompletion string
	//go:embed completions/bootc-podman.fish
	fishCompletion string
	//go:embed completions/bootc-podman.zsh
	zshCompletion string
)

func shells() []string { return []string{"bash", "fish", "zsh"} }

func (a *app) completionCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "completion",
		Usage:     "print the script that completes our command lines in bash, fish or zsh",
		UsageText: "bootc-podman completion bash|fish|zsh",
		ArgsUsage: "shell",
		Action: func(c *cli.Context) error {
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "fish":
				script = fishCompletion
			case "zsh":
				script = zshCompletion
			default:
				return usageErrorf("completion: unknown shell %q: want bash, fish or zsh", shell)
			}
			_, err := io.WriteString(a.stdout, script)
			return err
		},
	})
}
