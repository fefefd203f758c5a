// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
)

// hookCommand is what podman and OCI runtimes call; dispatch does not even come
// here for them.
func (a *app) hookCommand() *cli.Command {
	return passthrough(&cli.Command{
		Name:      "hook",
		Usage:     "be an OCI hook; podman calls this, see hooks",
		UsageText: "bootc-podman hook " + strings.Join(hooks.Names(), "|") + " [options]",
		Action: func(c *cli.Context) error {
			if word := c.Args().First(); word == "" || strings.HasPrefix(word, "-") {
				return cli.ShowSubcommandHelp(c)
			}
			return a.runHook(c.Args().Slice())
		},
	})
}

// isHook tells whether args are those of a hook at work, for which the command
// tree is not made: it is what runs whenever a container starts.
func isHook(args []string) bool {
	return len(args) > 2 && args[1] == "hook" && !strings.HasPrefix(args[2], "-")
}

// runHook is the hook that args name. The exit status is its whole answer.
func (a *app) runHook(args []string) error {
	hook := hooks.OnHost(a.stdin, a.stdout)
	hook.Root = a.root
	if code := hook.Run(args); code != 0 {
		return &exitError{code: code}
	}
	return nil
}
