// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

var errMisplaced = errors.New("options go before exec, those of the command after it")

func (a *app) execCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "exec",
		Usage:     "run any command where the bootc-owned store is podman's own",
		UsageText: "bootc-podman [options] exec [--] command [arguments]",
		Action: func(c *cli.Context) error {
			argv := c.Args().Slice()
			switch {
			case len(argv) > 0 && argv[0] == "--":
				argv = argv[1:]
			case len(argv) > 0 && (argv[0] == "--help" || argv[0] == "-h"):
				return cli.ShowSubcommandHelp(c)
			case len(argv) > 0 && strings.HasPrefix(argv[0], "-"):
				return fmt.Errorf("exec: unknown option %q: %w", argv[0], errMisplaced)
			}
			if len(argv) == 0 {
				return &exitError{code: exitUsage, err: errors.New("exec: no command given"), advice: helpAdvice("exec")}
			}
			return a.host(o).BecomeProgram(c.Context, argv)
		},
	})
}
