// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (a *app) helpCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "help",
		Usage:     "list the commands, or explain one",
		UsageText: "bootc-podman help [command]",
		ArgsUsage: "...",
		Action: func(c *cli.Context) error {
			switch word := c.Args().First(); {
			case word == "":
				return cli.ShowAppHelp(c)
			case c.NArg() > 1:
				err := fmt.Errorf("help: unexpected argument %q", c.Args().Get(1))
				if c.App.Command(word) == nil {
					word = c.Command.Name
				}
				return &exitError{code: exitUsage, err: err, advice: helpAdvice(word)}
			case c.App.Command(word) == nil:
				return unknownCommand(c.App, word)
			default:
				return cli.ShowCommandHelp(c, word)
			}
		},
	})
}
