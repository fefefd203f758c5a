// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/urfave/cli/v2"

func (a *app) imageCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "image",
		Usage:     "run a podman image command on the bootc-owned store",
		UsageText: "bootc-podman [options] image podman-image-arguments",
		Action:    func(c *cli.Context) error { return a.becomePodman(c, o, "image") },
	})
}

func (a *app) imagesCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "images",
		Usage:     "list the images of the bootc-owned store, short for image ls",
		UsageText: "bootc-podman [options] images podman-images-arguments",
		Action:    func(c *cli.Context) error { return a.becomePodman(c, o, "images") },
	})
}

func (a *app) becomePodman(c *cli.Context, o *options, verb string) error {
	var global []string
	if o.logLevel != "" {
		global = []string{"--log-level", o.logLevel}
	}
	return a.host(o).BecomePodman(c.Context, global, append([]string{verb}, c.Args().Slice()...))
}
