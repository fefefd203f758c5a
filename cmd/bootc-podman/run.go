// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func (a *app) runCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "run",
		Usage:     "run an image of the bootc-owned store in podman's own",
		UsageText: "bootc-podman [options] run podman-run-arguments",
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if i := wrapper.RunImage(args); i < len(args) {
				args[i] = a.runnable(o, args[i])
			}
			return a.host(o).BecomeRun(podmanOptions(o), args)
		},
	})
}

// runnable is the image that podman runs by a name: where podman's own store has it by other
// names only, podman finds it by its ID alone.
func (a *app) runnable(o *options, name string) string {
	s := inventory.FindShadow(a.query(o), name)
	switch {
	case s == nil:
		return name
	case s.Runs == "":
		return s.ID
	}
	fmt.Fprintf(a.stderr, "Warning: image %s of podman's own store, %.12s, runs instead of %.12s of the bootc-owned store\n",
		printable(s.Name), s.Runs, s.ID)
	return name
}
