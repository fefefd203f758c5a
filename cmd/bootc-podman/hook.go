// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
)

// hookCommand is for help and completion: dispatch runs hooks without the command tree.
func (a *app) hookCommand() *cli.Command {
	return passthrough(&cli.Command{
		Name:      "hook",
		Usage:     "be an OCI hook; podman calls this, see hooks",
		UsageText: "bootc-podman hook " + strings.Join(hooks.Names(), "|") + " [options]",
		Hidden:    true,
		Action: func(c *cli.Context) error {
			if word := c.Args().First(); word == "" || strings.HasPrefix(word, "-") {
				return a.printHelp(c.App, c.Command)
			}
			return a.runHook(c.Args().Slice())
		},
	})
}

// isHook reports whether args run a hook. The command tree is not built for it, as a hook
// runs whenever a container starts.
func isHook(args []string) bool {
	return len(args) > 2 && args[1] == "hook" && !strings.HasPrefix(args[2], "-")
}

// runHook runs the hook that args name. Its only result is the exit status.
func (a *app) runHook(args []string) error {
	hook := hooks.OnHost(a.stdin, a.stdout)
	hook.Root = a.root
	if code := hook.Run(args); code != 0 {
		return &exitError{code: code}
	}
	return nil
}
