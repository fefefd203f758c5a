// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// version is the release; make dist and the packages read it from here.
const version = "0.1.0"

func (a *app) versionCommand() *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "version",
		Usage:     "print the version",
		UsageText: "bootc-podman version",
		Action:    func(*cli.Context) error { return a.version() },
	})
}

func (a *app) version() error {
	_, err := fmt.Fprintf(a.stdout, "bootc-podman version %s\n", version)
	return err
}
