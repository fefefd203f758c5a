// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/images"
)

// Exit statuses of verbs that answer a question, as of podman image exists.
const (
	exitNo      = 1
	exitUnknown = 125
)

func (a *app) existsCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "exists",
		Usage:     "tell by the exit status whether a store has an image, without podman",
		UsageText: "bootc-podman [options] exists [options] image",
		ArgsUsage: "image",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "look into `STORE`: bootc, default or ostree", Value: string(images.BootcStore)},
		},
		Action: func(c *cli.Context) error {
			store := images.StoreName(c.String("store"))
			if !slices.Contains([]images.StoreName{images.BootcStore, images.DefaultStore, images.OSTreeStore}, store) {
				return usageErrorf("exists: unknown store %q: want bootc, default or ostree", store)
			}
			found, err := images.Exists(c.Context, a.query(o), store, c.Args().First())
			if err == nil && !found {
				return &exitError{code: exitNo}
			}
			return orCode(err, exitUnknown)
		},
	})
}
