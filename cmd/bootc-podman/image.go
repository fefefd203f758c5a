// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/urfave/cli/v2"
)

func (a *app) imageCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "image",
		Usage:     "run a podman image command on the bootc-owned store",
		UsageText: "bootc-podman [options] image podman-image-arguments",
		Action:    func(c *cli.Context) error { return a.passOn(c, o) },
	})
}

func (a *app) rmiCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "rmi",
		Usage:     "remove images of the bootc-owned store, short for image rm",
		UsageText: "bootc-podman [options] rmi podman-rmi-arguments",
		Action: func(c *cli.Context) error {
			return a.becomePodman(c.Context, o, append([]string{"image", "rm"}, c.Args().Slice()...))
		},
	})
}

func (a *app) imagesCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "images",
		Usage:     "list the images of the bootc-owned store, short for image ls",
		UsageText: "bootc-podman [options] images podman-images-arguments",
		Action:    func(c *cli.Context) error { return a.passOn(c, o) },
	})
}

func (a *app) passOn(c *cli.Context, o *options) error {
	return a.becomePodman(c.Context, o, append([]string{c.Command.Name}, c.Args().Slice()...))
}

// becomePodman passes args, "image" or "images" and what follows, on to podman.
func (a *app) becomePodman(ctx context.Context, o *options, args []string) error {
	if removesImages(args) {
		a.warnOneStore()
	}
	args, done, err := a.guard(ctx, o, args)
	if done || err != nil {
		return passthroughStatus(err)
	}
	return passthroughStatus(a.host(o).BecomePodman(ctx, podmanOptions(o), args))
}

// podmanOptions are the global options that podman has, too.
func podmanOptions(o *options) []string {
	if o.logLevel == "" {
		return nil
	}
	return []string{"--log-level", o.logLevel}
}
