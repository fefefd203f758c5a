// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenObjects opens the directory of the objects. In it are directories with objects, whose
// names IsObject returns true for.
func (r *Repo) OpenObjects() (*os.File, error) {
	full := filepath.Join(r.Path(), "objects")
	fd, err := r.openBeneath("objects", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

// IsObject reports whether the name of a file in a directory of objects is that of an object.
func (r *Repo) IsObject(name string) bool { return len(name) == r.algorithm.digits()-2 && isHex(name) }
