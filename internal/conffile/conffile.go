// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package conffile guards the reading of the configuration files that podman has at
// several places, such as storage.conf with its drop-ins.
package conffile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage/pkg/configfile"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// MaxSize is the size in bytes of the largest configuration file that is read.
const MaxSize = 1 << 20

// Check returns an error that names the file if the storage library, which opens and reads
// without a bound, could wait for one of the files that where describes, or read more than
// MaxSize of it. Regular files, directories, which the library refuses, and /dev/null, an
// empty file, are no error, and neither is a file that cannot be looked at: the library
// reports it.
func Check(where *configfile.File) error {
	paths, err := configfile.GetSearchPaths(where)
	if err != nil {
		return err
	}
	for _, file := range paths.MainFiles {
		if info, err := os.Stat(file); err == nil {
			if err := check(file, info); err != nil {
				return err
			}
			break // the library reads the first one only
		}
	}
	seen := map[string]bool{} // a drop-in replaces those of its name in later directories
	for _, dir := range paths.DropInDirectories {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			name := entry.Name()
			if seen[name] || entry.IsDir() || !strings.HasSuffix(name, "."+where.Extension) {
				continue
			}
			seen[name] = true
			if err := CheckFile(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if paths.ExtraOverrideFile == "" {
		return nil
	}
	return CheckFile(paths.ExtraOverrideFile)
}

// CheckFile is Check for one file.
func CheckFile(file string) error {
	if info, err := os.Stat(file); err == nil {
		return check(file, info)
	}
	return nil
}

func check(file string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		if info.Size() > MaxSize {
			return &fs.PathError{Op: "read", Path: file, Err: fmt.Errorf("more than %d bytes", MaxSize)}
		}
	default:
		if null, err := os.Stat(os.DevNull); err != nil || !os.SameFile(info, null) {
			return &fs.PathError{Op: "read", Path: file, Err: rooted.ErrNotRegular}
		}
	}
	return nil
}
