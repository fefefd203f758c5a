// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// compare prints how the tree GOT differs from TREE. The root directory itself is
// the storage library's and is left out, and so are times and SELinux labels. links says
// whether the numbers of hard links count.
func compare(stdout io.Writer, want, got string, links bool) error {
	wanted, err := describe(want, links)
	if err != nil {
		return err
	}
	have, err := describe(got, links)
	if err != nil {
		return err
	}
	differences := 0
	all := maps.Clone(wanted)
	maps.Copy(all, have)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if w, h := cmp.Or(wanted[path], "nothing"), cmp.Or(have[path], "nothing"); w != h {
			differences++
			if _, err := fmt.Fprintf(stdout, "%q\n  expected %s\n  got      %s\n", path, w, h); err != nil {
				return err
			}
		}
	}
	if differences > 0 {
		return fmt.Errorf("%d of %d paths differ", differences, len(all))
	}
	if len(all) == 0 {
		return errors.New("compare: both trees are empty")
	}
	_, err = fmt.Fprintf(stdout, "%d paths are equal\n", len(all))
	return err
}

// describe says in a line all that counts of each path below a directory.
func describe(root string, links bool) (map[string]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		line, err := describeFile(path, links)
		paths[strings.TrimPrefix(path, root+"/")] = line
		return err
	})
	return paths, err
}

func describeFile(path string, links bool) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", fmt.Errorf("look at %q: %w", path, err)
	}
	xattrs, err := readXattrs(path)
	if err != nil {
		return "", fmt.Errorf("read extended attributes of %q: %w", path, err)
	}
	line := fmt.Sprintf("mode %06o, owner %d:%d, xattrs %q", st.Mode, st.Uid, st.Gid, xattrs)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && links {
		line += fmt.Sprintf(", links %d", st.Nlink)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return line, nil
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return fmt.Sprintf("%s, target %q", line, target), err
	case unix.S_IFREG:
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		return fmt.Sprintf("%s, %d bytes %x", line, n, sum.Sum(nil)), err
	}
	return fmt.Sprintf("%s, device %#x", line, st.Rdev), nil
}

// readXattrs returns "NAME=VALUE" of each extended attribute, in order.
func readXattrs(path string) ([]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n == 0 {
		return nil, err
	}
	var xattrs []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		// Neither ostree's copies nor layers of podman 4 have those without a value.
		if n > 0 {
			xattrs = append(xattrs, name+"="+string(value[:n]))
		}
	}
	slices.Sort(xattrs)
	return xattrs, nil
}
