// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command bootc-podman is podman for the bootc-owned containers-storage.
package main

import (
	"context"
	"os"

	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func main() {
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: os.Environ(), euid: os.Geteuid(), self: self, root: "/", confPath: storageconf.ConfPath,
		execer: wrapper.System{}, runner: wrapper.System{},
	}
	os.Exit(a.run(context.Background(), os.Args))
}
