// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Directories of boot loader entries relative to a root: libostree and bootc
// with GRUB use the first one, bootc with systemd-boot the EFI partition, which
// is mounted in one of these places if at all.
var entryDirs = [...]string{"boot/loader/entries", "boot/efi/loader/entries", "efi/loader/entries"}

// loaderEntry is a file of the Boot Loader Specification ("Type #1").
type loaderEntry struct {
	// file is its name for messages.
	file             string
	version, sortKey string
	// options is the kernel command line.
	options string
	// uki is the path of a unified kernel image, whose options are inside it.
	uki string
}

// parseLoaderEntry reads what we need of an entry. Keys end at a space or tab, lines that
// start with "#" are comments. Several lines of options are one command line, in their
// order; of other keys the last line counts. So the Boot Loader Specification and
// systemd-boot have it, and libostree reads its own entries in the same way.
func parseLoaderEntry(file, text string) loaderEntry {
	entry := loaderEntry{file: file}
	var options []string
	for line := range strings.Lines(text) {
		line = strings.Trim(line, " \t\r\n")
		end := strings.IndexAny(line, " \t")
		if end < 0 || line[0] == '#' {
			continue
		}
		key, value := line[:end], strings.Trim(line[end:], " \t")
		switch key {
		case "version":
			entry.version = value
		case "sort-key":
			entry.sortKey = value
		case "options":
			options = append(options, value)
		case "efi", "uki":
			entry.uki = value
		}
	}
	entry.options = strings.Join(options, " ")
	return entry
}

// readLoaderEntries reads the entries in dir, ordered by file name. match reports
// by a file's name whether it is one.
func readLoaderEntries(root *os.File, dir string, match func(name string) bool) (entries []loaderEntry, problems []error, err error) {
	names, err := rooted.Names(root, dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if !match(name) {
			continue
		}
		file := filepath.Join(root.Name(), dir, name)
		data, err := readFile(root, path.Join(dir, name))
		if err != nil {
			problems = append(problems, fmt.Errorf("read boot entry %q: %w", file, err))
			continue
		}
		entries = append(entries, parseLoaderEntry(file, string(data)))
	}
	return entries, problems, nil
}

// unavailable reports that an error is normal for boot entries: /boot is
// not mounted, or only root may read it.
func unavailable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOTDIR)
}

// kernelArg returns the first value of a kernel argument in a command line, "" for
// none.
func kernelArg(cmdline, name string) string {
	for _, arg := range strings.Fields(cmdline) {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return ""
}

// compareVersions compares as strverscmp(3) does, which libostree orders its
// entries with: numbers in the text by their value.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		numA, restA := leadingDigits(a)
		numB, restB := leadingDigits(b)
		if numA == "" || numB == "" {
			if a[0] != b[0] {
				return cmp.Compare(a[0], b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		numA, numB = strings.TrimLeft(numA, "0"), strings.TrimLeft(numB, "0")
		if c := cmp.Or(cmp.Compare(len(numA), len(numB)), cmp.Compare(numA, numB)); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) (digits, rest string) {
	rest = strings.TrimLeft(s, "0123456789")
	return s[:len(s)-len(rest)], rest
}
