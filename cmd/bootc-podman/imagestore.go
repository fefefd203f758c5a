// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// warnOneStore warns if the host's storage.conf puts the images of podman's own store and
// of the bootc-owned store into one directory: an image removed from one is removed from
// the other. The command reports a configuration that cannot be read.
func (a *app) warnOneStore() { a.readOneStore()() }

// readOneStore is warnOneStore that reads beside other work; what it returns waits, and
// writes the warning.
func (a *app) readOneStore() (warn func()) {
	found := make(chan string, 1)
	go func() {
		config, err := storageconf.HostConfig(a.root)
		if err != nil {
			config.ImageStore = ""
		}
		found <- config.ImageStore
	}()
	return func() {
		if store := <-found; store != "" {
			fmt.Fprintf(a.stderr, "Warning: %s\n", printable(fmt.Sprintf(
				"imagestore in storage.conf: podman's own store and the bootc-owned store keep their images in one directory, %q", store)))
		}
	}
}

// removesImages reports whether args, "image" and what follows, remove images or names.
func removesImages(args []string) bool {
	return len(args) > 1 && args[0] == "image" && slices.Contains([]string{"rm", "prune", "untag"}, args[1])
}
