// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

func (a *app) runCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "run",
		Usage:     "run an image of the bootc-owned store in podman's own",
		UsageText: "bootc-podman [options] run podman-run-arguments",
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if s := inventory.FindShadow(a.query(o), args); s != nil {
				fmt.Fprintf(a.stderr, "Warning: image %s of podman's own store, %.12s, runs instead of %.12s of the bootc-owned store\n",
					printable(s.Name), s.Runs, s.ID)
			}
			return a.host(o).BecomeRun(podmanOptions(o), args)
		},
	})
}
