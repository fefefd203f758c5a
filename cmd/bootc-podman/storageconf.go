// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func (a *app) storageConfCommand(o *options) *cli.Command {
	var check string
	return plainVerb(&cli.Command{
		Name:      "storage-conf",
		Usage:     "print the private storage.conf of the bootc-owned store",
		UsageText: "bootc-podman [options] storage-conf [--check FILE]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "check", Usage: "print how `FILE` differs from it; exit status 0 if it does not, 1 if it does", Destination: &check},
		},
		Action: func(c *cli.Context) error {
			conf, err := storageconf.Effective(a.root, o.sysroot)
			if !c.IsSet("check") {
				if err == nil {
					_, err = a.stdout.Write(conf)
				}
				return err
			}
			same := false
			if err == nil {
				same, err = storageconf.Diff(a.stdout, check, conf)
			}
			if err == nil && !same {
				return &exitError{code: 1}
			}
			return orCode(err, wrapper.ExitFailed)
		},
	})
}
