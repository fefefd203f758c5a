// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command bootc-podman is podman for the bootc-owned containers-storage.
package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func main() {
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	env := os.Environ()
	// A relative path in it is to be ignored (XDG base directory specification);
	// the storage library would read a storage.conf below the working directory.
	if dir := os.Getenv("XDG_CONFIG_HOME"); !filepath.IsAbs(dir) {
		_ = os.Unsetenv("XDG_CONFIG_HOME") // fails for an invalid name only
	}
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: env, euid: os.Geteuid(), self: self, root: "/", confPath: storageconf.ConfPath,
		execer: wrapper.System{}, runner: wrapper.System{},
	}
	os.Exit(a.run(context.Background(), os.Args))
}
