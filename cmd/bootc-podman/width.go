// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// gap is the number of spaces between columns.
	gap = 2
	// leastWidth is the width of the last column below which others are left out.
	leastWidth = 20
)

// columnsOf returns the width of the terminal that w is, 0 where it is none.
func columnsOf(w io.Writer) int {
	if checked, ok := w.(*checkedWriter); ok {
		w = checked.Writer
	}
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// column is a column of a table with its heading and texts.
type column struct {
	texts []string
	width int
	// optional columns are left out where there is no room.
	optional bool
}

// printFitting prints the table of rows for a terminal with so many columns. Where it is too
// wide, optional columns are left out, the first one first; then the last column is wrapped
// at words; behind a cell that is too wide a line ends, and goes on below.
func printFitting[T any](w io.Writer, rows []T, noHeading bool, columns int) error {
	table := columnsIn(rows)
	for i := 1; i < len(table) && widthOf(table) > columns && leastWidthOf(table) > columns; {
		if table[i].optional {
			table = slices.Delete(table, i, i+1)
		} else {
			i++
		}
	}
	last := &table[len(table)-1]
	narrow := func(c *column, least int) {
		if over := leastWidthOf(table) - columns; over > 0 && c.width > least {
			c.width = max(c.width-over, least)
		}
	}
	for i := 1; i < len(table)-1; i++ {
		narrow(&table[i], leastWidth)
	}
	narrow(&table[0], len("REPOSITORY"))
	indent := 0
	for _, c := range table[:len(table)-1] {
		indent += c.width + gap
	}
	last.width = max(columns-indent, leastWidth)
	var out strings.Builder
	for i := range len(rows) + 1 {
		if i == 0 && noHeading {
			continue
		}
		line, width := "", 0
		for _, c := range table[:len(table)-1] {
			width += c.width + gap
			if utf8.RuneCountInString(c.texts[i]) > c.width {
				out.WriteString(line + c.texts[i] + "\n")
				line = strings.Repeat(" ", width)
				continue
			}
			line += fmt.Sprintf("%-*s", c.width+gap, c.texts[i])
		}
		for _, part := range wrap(last.texts[i], last.width) {
			out.WriteString(strings.TrimRight(line+part, " ") + "\n")
			line = strings.Repeat(" ", indent)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// columnsIn returns the columns of a table of rows, which begin with the heading.
func columnsIn[T any](rows []T) (table []column) {
	for field := range reflect.TypeFor[T]().Fields() {
		tag, ok := field.Tag.Lookup("table")
		if !ok {
			continue
		}
		c := column{texts: []string{field.Tag.Get("heading")}, optional: tag == "narrow"}
		for _, row := range rows {
			c.texts = append(c.texts, fmt.Sprint(reflect.ValueOf(row).FieldByIndex(field.Index)))
		}
		for _, text := range c.texts {
			c.width = max(c.width, utf8.RuneCountInString(text))
		}
		table = append(table, c)
	}
	return table
}

// widthOf is the width of a table, leastWidthOf that with the last column wrapped.
func widthOf(table []column) int {
	sum := (len(table) - 1) * gap
	for _, c := range table {
		sum += c.width
	}
	return sum
}

func leastWidthOf(table []column) int {
	last := table[len(table)-1].width
	return widthOf(table) - last + min(last, leastWidth)
}

// wrap returns text as lines that are no wider than width, one at least, broken at spaces. A
// word that is wider has a line of its own.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}
