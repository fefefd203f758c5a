// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func (a *app) initCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "init",
		Usage:     "make the bootc-owned store if it is missing, as bootc does",
		UsageText: "bootc-podman [options] init",
		Action: func(c *cli.Context) error {
			s, err := a.host(o).Open()
			if err != nil {
				return err
			}
			created, err := s.Create(c.Context)
			if created {
				fmt.Fprintf(a.stderr, "Created the bootc-owned store %q\n", s.Store.Path())
			}
			return err
		},
	})
}
