// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// maxFile bounds the files of a host that are read whole, in bytes. Real ones
// hold a few lines.
const maxFile = 1 << 20

// ini holds the values of a file by section and key. In both dialects sections
// of the same name are one, and the last of several values for a key counts.
type ini map[string]map[string]string

// parseKeyFile reads the dialect of GKeyFile, which ostree keeps its origin
// files in. Values are as they stand in the file, without their leading white
// space. Errors tell the line but not the file.
//
// The rules are what libglib 2.74 was seen to do. That also refuses control
// characters in names and brackets in keys, and hides translated keys
// ("key[de]"), which no reader of an origin would notice.
func parseKeyFile(data []byte) (ini, error) {
	return parseINI(data, ini{}, keyFileLine)
}

// parseTini reads the dialect of the Rust crate tini, which bootc reads
// composefs origins and, though they are systemd units, bound images with: what
// bootc reads is what counts, so a proper reader of units would be wrong here.
// Errors tell the line but not the file.
//
// The rules are those of tini 1.3.0, src/parser.rs: it knows neither quotes nor
// continued lines, and a comment may start anywhere. bootc refuses files that
// are not UTF-8 before tini sees them.
func parseTini(data []byte) (ini, error) {
	// Unlike a GKeyFile, keys may stand before the first section.
	return parseINI(data, ini{"": {}}, tiniLine)
}

// iniLine is what one line says: the name of a section, or a key and its value,
// or nothing.
type iniLine struct {
	section    string
	isSection  bool
	key, value string
}

// parseINI adds what data says to file, whose section "" takes the keys before
// the first header; they are an error when there is no such section.
func parseINI(data []byte, file ini, parseLine func(string) (iniLine, error)) (ini, error) {
	section := file[""]
	number := 0
	for text := range strings.Lines(string(data)) {
		number++
		line, err := parseLine(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", number, err)
		case line.isSection:
			if file[line.section] == nil {
				file[line.section] = map[string]string{}
			}
			section = file[line.section]
		case line.key == "":
		case section == nil:
			return nil, fmt.Errorf("line %d: key outside of any group", number)
		default:
			section[line.key] = line.value
		}
	}
	return file, nil
}

func keyFileLine(line string) (iniLine, error) {
	// What C calls white space, without the vertical tab.
	const space = " \t\n\f\r"
	if text, ok := strings.CutSuffix(line, "\n"); ok {
		// Without the line's end, at that of the file, it belongs to the value.
		line = strings.TrimSuffix(text, "\r")
	}
	line = strings.TrimLeft(line, space)
	if line == "" || line[0] == '#' {
		return iniLine{}, nil
	}
	if line[0] == '[' {
		name, ok := strings.CutSuffix(strings.TrimRight(line[1:], " \t"), "]")
		if !ok || name == "" || strings.ContainsAny(name, "[]") {
			return iniLine{}, errors.New("malformed group header")
		}
		return iniLine{section: name, isSection: true}, nil
	}
	key, value, err := keyValue(line, func(s string) string { return strings.Trim(s, space) })
	// Only a value's end is kept as it is.
	return iniLine{key: key, value: strings.TrimLeft(value, space)}, err
}

func tiniLine(line string) (iniLine, error) {
	if !utf8.ValidString(line) {
		return iniLine{}, errors.New("not UTF-8")
	}
	if i := strings.IndexAny(line, ";#"); i >= 0 {
		line = line[:i]
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return iniLine{}, nil
	}
	if line[0] == '[' {
		if !strings.HasSuffix(line, "]") {
			return iniLine{}, errors.New("malformed section header")
		}
		return iniLine{section: strings.Trim(line, "[]"), isSection: true}, nil
	}
	key, value, err := keyValue(line, strings.TrimSpace)
	return iniLine{key: key, value: strings.TrimSpace(value)}, err
}

// keyValue splits line at the first "=" and trims the key.
func keyValue(line string, trim func(string) string) (key, value string, err error) {
	key, value, ok := strings.Cut(line, "=")
	key = trim(key)
	switch {
	case !ok:
		err = errors.New(`neither section, comment nor key with "="`)
	case key == "":
		err = errors.New(`nothing before "="`)
	}
	return key, value, err
}

// readIn returns the contents of the regular file that path leads to below
// root. It neither waits for nor reads anything else, and no more than maxFile
// bytes; files of size 0, as those below /proc, are empty to it. Errors do not
// name the file, so that the caller can do it in its own words.
func readIn(root *os.File, path string) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO would wait for a writer.
	f, err := rooted.Open(root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case !fi.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("file of %d bytes is larger than %d", fi.Size(), maxFile)
	}
	// Not to the end of the file: some below /proc are regular, of size 0, and
	// never end.
	data, err := io.ReadAll(io.LimitReader(f, fi.Size()))
	return data, withoutPath(err)
}

// withoutPath returns the cause in an error of package os.
func withoutPath(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
