// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/urfave/cli/v2"

func (a *app) envCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "env",
		Usage:     "print shell lines for scripts that compose their own podman commands",
		UsageText: "eval \"$(bootc-podman [options] env)\"",
		Action:    func(*cli.Context) error { return a.host(o).WriteEnv(a.stdout, o.words()) },
	})
}
