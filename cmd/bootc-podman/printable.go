// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
)

// printable returns s with everything escaped as in Go but visible characters and plain
// spaces: a newline becomes the two characters "\n". Names come from files that any user
// may have written, and a terminal interprets control characters.
func printable(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			out.WriteString(s[:n])
		} else {
			quoted := strconv.Quote(s[:n])
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return out.String()
}

// logFormatter is that of logrus, which on a terminal prints messages as they are, with their
// control characters escaped there, too.
type logFormatter struct {
	logrus.TextFormatter
	terminal bool
}

// Format implements logrus.Formatter.
func (f *logFormatter) Format(entry *logrus.Entry) ([]byte, error) {
	if f.terminal {
		entry.Message = printable(entry.Message)
	}
	return f.TextFormatter.Format(entry)
}

// printLines prints lines, made printable, to standard output.
func (a *app) printLines(lines ...string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.stdout, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

// escapeAll makes all strings in the value that v points to printable.
func escapeAll(v reflect.Value) {
	// Unexported fields belong to other packages, such as time.
	if v.Kind() != reflect.Pointer && !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			escapeAll(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			escapeAll(field)
		}
	case reflect.Slice:
		for i := range v.Len() {
			escapeAll(v.Index(i))
		}
	case reflect.String:
		v.SetString(printable(v.String()))
	}
}
