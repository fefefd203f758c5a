// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package ini reads the dialects of INI files that a bootc host has: that of GLib, that
// of bootc, and that of podman's quadlets.
package ini

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// File holds the values of a file by section and key. In both dialects sections
// of the same name are one, and the last of several values for a key counts.
type File map[string]map[string]string

// LineError is a line that cannot be parsed.
type LineError struct {
	// Line counts from 1.
	Line int
	err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.err) }

func (e *LineError) Unwrap() error { return e.err }

// ParseKeyFile reads the dialect of GKeyFile, which ostree uses for origin files and the
// configuration of a repository. Values are as in the file, without their leading white
// space. Errors name the line but not the file.
//
// The rules are what libglib 2.74 was seen to do. It also refuses control
// characters in names and brackets in keys, and hides translated keys
// ("key[de]"), which makes no difference to these files.
func ParseKeyFile(data []byte) (File, error) {
	return parse(data, File{}, keyFileLine)
}

// ParseTini reads the dialect of the Rust crate tini, which bootc uses for
// composefs origins and, although they are systemd units, for bound images: a
// reader of units would read other values than bootc. Errors name the line but not the
// file.
//
// The rules are those of tini 1.3.0, src/parser.rs: no quotes, no
// continued lines, and a comment may start anywhere. bootc refuses files that
// are not UTF-8 before tini reads them.
func ParseTini(data []byte) (File, error) {
	// Unlike a GKeyFile, keys may stand before the first section.
	return parse(data, File{"": {}}, tiniLine)
}

// Entry is a key with its value, where it stands in a file.
type Entry struct {
	Section, Key, Value string
	// Line counts from 1: for a continued line, it is the first.
	Line int
}

// TiniEntries returns the entries that ParseTini reads before the first line that it
// cannot parse, in their order.
func TiniEntries(data []byte) (entries []Entry) {
	section, number := "", 0
	for text := range strings.Lines(string(data)) {
		number++
		line, err := tiniLine(text)
		switch {
		case err != nil:
			return entries
		case line.isSection:
			section = line.section
		case line.key != "":
			entries = append(entries, Entry{section, line.key, line.value, number})
		}
	}
	return entries
}

// UnitEntries returns the entries of a quadlet as podman's generator of units reads them
// (podman-systemd.unit(5)): a line is a comment only if it begins as one, a backslash at
// the end continues a line, also past comments, and quotes are a part of the value. Lines
// that the generator refuses are left out. The rules are what podman 5.4.2 and 5.8.6 were
// seen to do.
func UnitEntries(data []byte) (entries []Entry) {
	section, begun, start, number := "", "", 0, 0
	for text := range strings.Lines(string(data)) {
		number++
		line := strings.TrimRight(text, "\r\n")
		comment := strings.TrimLeft(line, " \t")
		if comment != "" && strings.ContainsRune("#;", rune(comment[0])) {
			continue
		}
		if start == 0 {
			start = number
		}
		var more bool
		if line, more = strings.CutSuffix(line, `\`); more {
			begun += line
			continue
		}
		whole := strings.TrimSpace(begun + line)
		first := start
		begun, start = "", 0
		if name, ok := strings.CutPrefix(whole, "["); ok {
			section = strings.TrimSuffix(name, "]")
		} else if key, value, ok := strings.Cut(whole, "="); ok {
			entries = append(entries, Entry{section, strings.TrimSpace(key), strings.TrimSpace(value), first})
		}
	}
	return entries
}

// content of one line: the name of a section, or a key and its value, or nothing.
type content struct {
	section    string
	isSection  bool
	key, value string
}

// parse adds the values in data to file, whose section "" takes the keys before
// the first header; they are an error when there is no such section.
func parse(data []byte, file File, parseLine func(string) (content, error)) (File, error) {
	section := file[""]
	number := 0
	for text := range strings.Lines(string(data)) {
		number++
		line, err := parseLine(text)
		switch {
		case err != nil:
			return nil, &LineError{Line: number, err: err}
		case line.isSection:
			if file[line.section] == nil {
				file[line.section] = map[string]string{}
			}
			section = file[line.section]
		case line.key == "":
		case section == nil:
			return nil, &LineError{Line: number, err: errors.New("key outside of any group")}
		default:
			section[line.key] = line.value
		}
	}
	return file, nil
}

func keyFileLine(line string) (content, error) {
	// What C calls white space, without the vertical tab.
	const space = " \t\n\f\r"
	if text, ok := strings.CutSuffix(line, "\n"); ok {
		// Without the line's end, at that of the file, it belongs to the value.
		line = strings.TrimSuffix(text, "\r")
	}
	line = strings.TrimLeft(line, space)
	if line == "" || line[0] == '#' {
		return content{}, nil
	}
	if line[0] == '[' {
		name, ok := strings.CutSuffix(strings.TrimRight(line[1:], " \t"), "]")
		if !ok || name == "" || strings.ContainsAny(name, "[]") {
			return content{}, errors.New("malformed group header")
		}
		return content{section: name, isSection: true}, nil
	}
	key, value, err := keyValue(line, func(s string) string { return strings.Trim(s, space) })
	// Only a value's end is kept as it is.
	return content{key: key, value: strings.TrimLeft(value, space)}, err
}

func tiniLine(line string) (content, error) {
	if !utf8.ValidString(line) {
		return content{}, errors.New("not UTF-8")
	}
	if i := strings.IndexAny(line, ";#"); i >= 0 {
		line = line[:i]
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return content{}, nil
	}
	if line[0] == '[' {
		if !strings.HasSuffix(line, "]") {
			return content{}, errors.New("malformed section header")
		}
		return content{section: strings.Trim(line, "[]"), isSection: true}, nil
	}
	key, value, err := keyValue(line, strings.TrimSpace)
	return content{key: key, value: strings.TrimSpace(value)}, err
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
