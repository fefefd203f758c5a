// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// Exit statuses of verbs that answer a question, as of podman image exists.
const (
	exitNo      = 1
	exitUnknown = 125
)

func (a *app) existsCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "exists",
		Usage:     "report by the exit status whether a store has an image, without podman",
		UsageText: "bootc-podman [options] exists [options] image",
		ArgsUsage: "image",
		Flags: []cli.Flag{
			choice("store", "look into `STORE`: %s", string(inventory.BootcStore), []inventory.StoreName{inventory.BootcStore, inventory.DefaultStore, inventory.OSTreeStore}),
		},
		Action: func(c *cli.Context) error {
			found, err := inventory.Exists(c.Context, a.query(o), inventory.StoreName(c.String("store")), c.Args().First())
			if err == nil && !found {
				return &exitError{code: exitNo}
			}
			return orCode(err, exitUnknown)
		},
	})
}
