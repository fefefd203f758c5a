// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The part of SQLite that one small row needs. The pure-Go SQLite engines
// take a tenth of the start-up budget before main and far more to open a
// file, on every command; this reads two or three pages. Format:
// https://www.sqlite.org/fileformat2.html, sections 1.3, 1.6, 2.1 and 2.6.

var errSQLite = errors.New("not a readable SQLite 3 database")

const (
	sqliteMagic     = "SQLite format 3\x00"
	sqliteHeader    = 100 // bytes before the first page's b-tree header
	interiorTable   = 0x05
	leafTable       = 0x0d
	sqliteMaxDepth  = 8
	sqliteMaxPages  = 1000 // read in one walk: a damaged tree can point at itself
	sqliteMaxRows   = 1000 // decoded in one walk: podman has a dozen tables
	sqliteMaxValues = 64   // decoded of a row
)

// firstRow returns the first row of a table by lower-case column name, text
// columns only. Rows that do not fit a page are skipped.
func firstRow(r io.ReaderAt, table string) (map[string]string, error) {
	head := make([]byte, sqliteHeader)
	if _, err := r.ReadAt(head, 0); err != nil || string(head[:16]) != sqliteMagic || binary.BigEndian.Uint32(head[56:]) != 1 {
		return nil, errSQLite
	}
	db := &sqliteFile{r: r, pageSize: int64(binary.BigEndian.Uint16(head[16:])), reserved: int(head[20])}
	if db.pageSize == 1 {
		db.pageSize = 65536
	}
	if db.pageSize < 512 || db.pageSize&(db.pageSize-1) != 0 {
		return nil, errSQLite
	}
	var root uint64
	var columns []string
	err := db.walk(1, func(row []sqliteValue) bool {
		// type, name, tbl_name, rootpage, sql
		if len(row) >= 5 && row[0].text == "table" && row[1].text == table {
			root, columns = row[3].number, columnNames(row[4].text)
		}
		return root == 0
	})
	if err != nil {
		return nil, err
	}
	if root == 0 {
		return nil, fmt.Errorf("no table %s", table)
	}
	var found map[string]string
	err = db.walk(root, func(row []sqliteValue) bool {
		found = make(map[string]string, len(columns))
		for i, name := range columns[:min(len(columns), len(row))] {
			found[name] = row[i].text
		}
		return false
	})
	if err == nil && found == nil {
		err = fmt.Errorf("table %s is empty", table)
	}
	return found, err
}

// columnNames takes the column names, in lower case, from a CREATE TABLE
// statement without parentheses in its column definitions.
func columnNames(create string) []string {
	_, body, _ := strings.Cut(create, "(")
	var names []string
	for def := range strings.SplitSeq(body, ",") {
		if words := strings.Fields(def); len(words) > 1 {
			names = append(names, strings.ToLower(words[0]))
		}
	}
	return names
}

type sqliteFile struct {
	r        io.ReaderAt
	pageSize int64
	reserved int
	pages    int // left to read in this walk
	rows     int // left to decode in this walk
}

type sqliteValue struct {
	text   string
	number uint64
}

// walk calls visit for each row of the table b-tree rooted at page number
// root, in order, until visit returns false.
func (db *sqliteFile) walk(root uint64, visit func([]sqliteValue) bool) error {
	db.pages, db.rows = sqliteMaxPages, sqliteMaxRows
	_, err := db.walkPage(root, sqliteMaxDepth, visit)
	return err
}

func (db *sqliteFile) walkPage(number uint64, depth int, visit func([]sqliteValue) bool) (more bool, err error) {
	if number == 0 || number > 1<<31 || depth == 0 || db.pages == 0 {
		return false, errSQLite
	}
	db.pages--
	page := make([]byte, db.pageSize)
	if _, err := db.r.ReadAt(page, int64(number-1)*db.pageSize); err != nil {
		return false, errSQLite
	}
	head := 0
	if number == 1 {
		head = sqliteHeader
	}
	kind, cells, first := page[head], int(binary.BigEndian.Uint16(page[head+3:])), head+8
	if kind == interiorTable {
		first = head + 12
	} else if kind != leafTable {
		return false, errSQLite
	}
	if first+2*cells > len(page) {
		return false, errSQLite
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(page[first+2*i:]))
		if at+4 > len(page) {
			return false, errSQLite
		}
		if kind == interiorTable {
			more, err = db.walkPage(uint64(binary.BigEndian.Uint32(page[at:])), depth-1, visit)
		} else {
			more, err = db.visitCell(page[at:], visit)
		}
		if err != nil || !more {
			return false, err
		}
	}
	if kind == interiorTable {
		return db.walkPage(uint64(binary.BigEndian.Uint32(page[head+8:])), depth-1, visit)
	}
	return true, nil
}

func (db *sqliteFile) visitCell(cell []byte, visit func([]sqliteValue) bool) (bool, error) {
	size, n := varint(cell)
	_, m := varint(cell[n:]) // rowid
	if n == 0 || m == 0 {
		return false, errSQLite
	}
	// A larger payload continues on overflow pages; the row of podman's table is small.
	if size > uint64(db.pageSize)-uint64(db.reserved)-35 {
		return true, nil
	}
	if db.rows == 0 {
		return false, errSQLite
	}
	db.rows--
	payload := cell[n+m:]
	if size > uint64(len(payload)) {
		return false, errSQLite
	}
	row, err := record(payload[:size])
	if err != nil {
		return false, err
	}
	return visit(row), nil
}

// record decodes the record format: a header of serial types, then the values.
func record(b []byte) ([]sqliteValue, error) {
	size, n := varint(b)
	if n == 0 || size > uint64(len(b)) || size < uint64(n) {
		return nil, errSQLite
	}
	types, body := b[n:size], b[size:]
	var row []sqliteValue
	for len(types) > 0 && len(row) < sqliteMaxValues {
		serial, n := varint(types)
		if n == 0 {
			return nil, errSQLite
		}
		types = types[n:]
		width := uint64(0)
		switch {
		case serial <= 4:
			width = serial
		case serial == 5:
			width = 6
		case serial <= 7:
			width = 8
		case serial >= 12:
			width = (serial - 12) / 2
		}
		if width > uint64(len(body)) {
			return nil, errSQLite
		}
		var v sqliteValue
		if serial >= 12 {
			v.text = string(body[:width])
		} else if serial <= 6 {
			for _, c := range body[:width] {
				v.number = v.number<<8 | uint64(c)
			}
		} else if serial == 9 {
			v.number = 1
		}
		row, body = append(row, v), body[width:]
	}
	return row, nil
}

// varint decodes SQLite's big-endian variable-length integer and its width, 0
// when b ends too early.
func varint(b []byte) (uint64, int) {
	var v uint64
	for i := range min(len(b), 8) {
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	if len(b) < 9 {
		return 0, 0
	}
	return v<<8 | uint64(b[8]), 9
}
