// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// warnOneStore warns where the host's storage.conf puts the images of podman's own store
// and of the bootc-owned store into one directory: what is removed from one is gone from
// the other. A configuration that cannot be read is for the command to report.
func (a *app) warnOneStore() {
	config, err := storageconf.HostConfig(a.root)
	if err != nil || config.ImageStore == "" {
		return
	}
	fmt.Fprintf(a.stderr, "Warning: %s\n", printable(fmt.Sprintf(
		"imagestore in storage.conf: podman's own store and the bootc-owned store keep their images in one directory, %q", config.ImageStore)))
}

// removesImages reports whether the arguments "image" and so on are of a command that
// removes images or names.
func removesImages(args []string) bool {
	return len(args) > 1 && args[0] == "image" && slices.Contains([]string{"rm", "prune", "untag"}, args[1])
}
