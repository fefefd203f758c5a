// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// OpenObjects opens the directory of the objects. In it are directories with objects, whose
// names IsObject returns true for.
func (r *Repo) OpenObjects() (*os.File, error) {
	return rooted.Open(r.dir, "objects", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

// IsObject reports whether the name of a file in a directory of objects is that of an object.
func (r *Repo) IsObject(name string) bool { return len(name) == r.algorithm.digits()-2 && isHex(name) }
