// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Count returns how many entries a directory and all below it have. It reads
// directories only and no status of a file: other processes may wait meanwhile.
func Count(dir *os.File) (n int64, err error) {
	fd, err := openSubdirectory(int(dir.Fd()), ".")
	if err != nil {
		return 0, err
	}
	return countDirectory(fd, make([]byte, 64<<10))
}

// countDirectory closes the directory.
func countDirectory(fd int, buf []byte) (n int64, err error) {
	defer unix.Close(fd)
	var subdirectories []string
	for {
		size, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		if size <= 0 {
			break
		}
		for rest := buf[:size]; len(rest) > 0; {
			if len(rest) < direntHeader {
				return n, errDirent
			}
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			if size < direntHeader || size > len(rest) {
				return n, errDirent
			}
			entry, name := rest[:size], rest[direntHeader:size]
			rest = rest[size:]
			if name[0] == '.' && (name[1] == 0 || name[1] == '.' && name[2] == 0) {
				continue
			}
			n++
			if kind := entry[18]; kind == unix.DT_DIR || kind == unix.DT_UNKNOWN {
				subdirectories = append(subdirectories, unix.ByteSliceToString(name))
			}
		}
	}
	for _, name := range subdirectories {
		sub, err := openSubdirectory(fd, name)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) { // of an unknown kind
			continue
		}
		if err != nil {
			return n, err
		}
		below, err := countDirectory(sub, buf)
		if n += below; err != nil {
			return n, err
		}
	}
	return n, nil
}
