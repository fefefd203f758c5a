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
	var apps bool
	return plainVerb(&cli.Command{
		Name:      "storage-conf",
		Usage:     "print the private storage.conf of the bootc-owned store",
		UsageText: "bootc-podman [options] storage-conf [--apps] [--check FILE]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "apps", Usage: "print podman's own storage.conf with the bootc-owned store as a further image store", Destination: &apps},
			&cli.StringFlag{Name: "check", Usage: "print how `FILE` differs from it; exit status 0 if it does not, 1 if it does", Destination: &check},
		},
		Action: func(c *cli.Context) error {
			conf, err := readConf(a.root, o.sysroot, apps)
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

// readConf returns the storage.conf that the verb is about.
func readConf(root, sysroot string, apps bool) ([]byte, error) {
	if !apps {
		return storageconf.Effective(root, sysroot)
	}
	st, err := storageconf.Locate(sysroot)
	if err != nil {
		return nil, err
	}
	return storageconf.ForApps(root, st)
}
