// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/urfave/cli/v2"
)

func (a *app) runCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "run",
		Usage:     "run an image of the bootc-owned store in podman's own",
		UsageText: "bootc-podman [options] run podman-run-arguments",
		Action: func(c *cli.Context) error {
			return a.host(o).BecomeRun(podmanOptions(o), c.Args().Slice())
		},
	})
}
