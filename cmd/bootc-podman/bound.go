// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
)

func (a *app) boundCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "bound",
		Usage:     "pin the images that are bound to the booted deployment",
		UsageText: "bootc-podman bound lock [--dry-run]",
		ArgsUsage: "action",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "print the lock instead of writing it"}},
		Action: func(c *cli.Context) error {
			if action := c.Args().First(); action != "lock" {
				return usageErrorf("bound: unknown action %q: use lock", action)
			}
			if c.NArg() > 1 {
				return usageErrorf("bound lock: unexpected argument %q", c.Args().Get(1))
			}
			lock, err := hooks.MakeLock(a.root)
			if err != nil {
				return err
			}
			if o.dryRun || c.Bool("dry-run") {
				return printJSON(a.stdout, lock)
			}
			return lock.Write(a.root)
		},
	})
}
