// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const createTable = "CREATE TABLE DBConfig(\n\tID INTEGER PRIMARY KEY NOT NULL,\n\tGraphRoot TEXT NOT NULL, RunRoot TEXT, CHECK (ID IN (1)))"

// sqliteTable describes a database of two pages: the schema, and one table. The
// files that newSQLite makes of it were compared with sqlite3(1) once.
type sqliteTable struct {
	pageSize int
	reserved int
	schema   [][]any
	rows     [][]any
}

func newSQLite(table sqliteTable) []byte {
	if table.pageSize == 0 {
		table.pageSize = 512
	}
	if table.schema == nil {
		table.schema = [][]any{{"table", "DBConfig", "DBConfig", 2, createTable}}
	}
	file := make([]byte, 2*table.pageSize)
	copy(file, sqliteMagic)
	// A page of 65536 bytes is written as 1, which is its upper half.
	binary.BigEndian.PutUint16(file[16:], uint16(table.pageSize|table.pageSize>>16))
	copy(file[18:], []byte{1, 1, byte(table.reserved), 64, 32, 32})
	binary.BigEndian.PutUint32(file[28:], 2) // size in pages
	binary.BigEndian.PutUint32(file[44:], 4) // schema format
	binary.BigEndian.PutUint32(file[56:], 1) // UTF-8
	putLeaf(file[:table.pageSize], sqliteHeader, table.reserved, table.schema)
	putLeaf(file[table.pageSize:], 0, table.reserved, table.rows)
	return file
}

// putLeaf writes rows as a leaf of a table whose page header is at head.
func putLeaf(page []byte, head, reserved int, rows [][]any) {
	end := len(page) - reserved
	for i, row := range rows {
		record := sqliteRecord(row)
		cell := append(appendVarint(appendVarint(nil, len(record)), i+1), record...)
		end -= len(cell)
		copy(page[end:], cell)
		binary.BigEndian.PutUint16(page[head+8+2*i:], uint16(end))
	}
	page[head] = leafTable
	binary.BigEndian.PutUint16(page[head+3:], uint16(len(rows)))
	binary.BigEndian.PutUint16(page[head+5:], uint16(end))
}

func sqliteRecord(row []any) []byte {
	var types, body []byte
	for _, value := range row {
		switch value := value.(type) {
		case nil:
			types = append(types, 0)
		case int:
			switch {
			case value == 0:
				types = append(types, 8)
			case value == 1:
				types = append(types, 9)
			case value < 1<<7:
				types, body = append(types, 1), append(body, byte(value))
			default:
				types, body = append(types, 5), append(body, binary.BigEndian.AppendUint64(nil, uint64(value))[2:]...)
			}
		case string:
			types, body = appendVarint(types, 13+2*len(value)), append(body, value...)
		}
	}
	// One byte is enough for the size of every header made here.
	return slices.Concat([]byte{byte(len(types) + 1)}, types, body)
}

func appendVarint(b []byte, n int) []byte {
	for shift := 21; shift > 0; shift -= 7 {
		if n >= 1<<shift {
			b = append(b, byte(n>>shift)|0x80)
		}
	}
	return append(b, byte(n&0x7f))
}

var podmanRow = map[string]string{
	"id": "", "schemaversion": "", "os": "linux", "graphdriver": "", "tmpdir": "/run/libpod",
	"staticdir": "/run/bootc/storage/libpod", "volumedir": "/run/bootc/storage/volumes",
	"graphroot": "/run/bootc/storage", "runroot": "/proc/self/fd/3",
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestFirstRowReadsWhatSQLiteWrites(t *testing.T) {
	long := strings.Repeat("x", 300)
	row := [][]any{{nil, "/graph", "/run"}}
	want := map[string]string{"id": "", "graphroot": "/graph", "runroot": "/run"}
	// The first row of this schema claims 600 bytes, more than a page has.
	overflow := newSQLite(sqliteTable{rows: row, schema: [][]any{
		{"table", "Other", "Other", 9, "CREATE TABLE Other (" + strings.Repeat("x", 120) + ")"},
		{"table", "DBConfig", "DBConfig", 2, createTable},
	}})
	copy(overflow[binary.BigEndian.Uint16(overflow[sqliteHeader+8:]):], []byte{0x84, 0x58})
	for _, tc := range []struct {
		name string
		file []byte
		want map[string]string
	}{
		{name: "podman's database", file: fixture(t, "podman-5.8.6.db.sql"), want: podmanRow},
		{name: "smallest page", file: newSQLite(sqliteTable{rows: row}), want: want},
		{name: "largest page", file: newSQLite(sqliteTable{pageSize: 65536, rows: row}), want: want},
		{name: "page with reserved bytes", file: newSQLite(sqliteTable{reserved: 32, rows: row}), want: want},
		{
			name: "first of several rows",
			file: newSQLite(sqliteTable{rows: [][]any{row[0], {nil, "/other", "/other"}}}), want: want,
		},
		{
			name: "text longer than a byte can say",
			file: newSQLite(sqliteTable{rows: [][]any{{nil, long, "größe"}}}),
			want: map[string]string{"id": "", "graphroot": long, "runroot": "größe"},
		},
		{
			name: "numbers are no text",
			file: newSQLite(sqliteTable{rows: [][]any{{100, 1 << 40, "/run"}}}),
			want: map[string]string{"id": "", "graphroot": "", "runroot": "/run"},
		},
		{
			// SQLite leaves out the columns that ALTER TABLE added later.
			name: "row shorter than the table",
			file: newSQLite(sqliteTable{rows: [][]any{{nil, "/graph"}}}),
			want: map[string]string{"id": "", "graphroot": "/graph"},
		},
		{
			name: "indexes and other tables before it",
			file: newSQLite(sqliteTable{rows: row, schema: [][]any{
				{"index", "DBConfig", "DBConfig", 9, nil},
				{"table", "Other", "Other", 9, "CREATE TABLE Other (ID)"},
				{"view", "DBConfig", "DBConfig", 0, ""},
				{"table", "DBConfig", "DBConfig", 2, createTable},
			}}),
			want: want,
		},
		{name: "row that continues on other pages before it", file: overflow, want: want},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := firstRow(bytes.NewReader(tc.file), "DBConfig")
			if err != nil || !maps.Equal(tc.want, got) {
				t.Errorf("want %q, got %q, %v", tc.want, got, err)
			}
		})
	}
}

func TestFirstRowRefusesWhatIsNoReadableTable(t *testing.T) {
	valid := newSQLite(sqliteTable{rows: [][]any{{nil, "/graph", "/run"}}})
	// edit returns the valid file with bytes at an offset replaced.
	edit := func(offset int, replacement ...byte) []byte {
		file := bytes.Clone(valid)
		copy(file[offset:], replacement)
		return file
	}
	const schema, table = sqliteHeader, 512 // page headers
	cell := int(binary.BigEndian.Uint16(valid[table+8:]))
	for _, tc := range []struct {
		name string
		file []byte
		want string // errSQLite if empty
	}{
		{name: "empty file"},
		{name: "text", file: []byte(strings.Repeat("no database\n", 100))},
		{name: "zeros", file: make([]byte, 1<<16)},
		{name: "magic alone", file: valid[:16]},
		{name: "header alone", file: valid[:100]},
		{name: "half a page", file: valid[:256]},
		{name: "page of the table missing", file: valid[:512]},
		{name: "page of the table cut", file: valid[:1023]},
		{name: "other magic", file: edit(0, 'X')},
		{name: "UTF-16 text", file: edit(56, 0, 0, 0, 2)},
		{name: "page size zero", file: edit(16, 0, 0)},
		{name: "page size that is no power of two", file: newSQLite(sqliteTable{pageSize: 768, rows: [][]any{{nil, "/graph"}}})},
		{name: "page size too small", file: edit(16, 1, 0)},
		{name: "page of an index", file: edit(schema, 0x0a)},
		{name: "more cells than fit", file: edit(table+3, 0xff, 0xff)},
		{name: "cell beyond the page", file: edit(table+8, 0xff, 0xff)},
		{name: "cell at the end of the page", file: edit(table+8, 1, 0xfe)},
		{name: "payload beyond the page", file: edit(table+cell, 0x82, 0x00)},
		{name: "row header beyond the payload", file: edit(table+cell+2, 0x7f)},
		{name: "row header of no size", file: edit(table+cell+2, 0)},
		{name: "value beyond the payload", file: edit(table+cell+4, 0x7f)},
		{name: "type cut in its middle", file: edit(table+cell+5, 0xff)},
		{name: "page that is its own child", file: edit(schema, interiorTable, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)},
		{name: "child page zero", file: edit(schema, interiorTable, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{name: "child page of the highest number", file: edit(schema, interiorTable, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)},
		{name: "no such table", file: newSQLite(sqliteTable{schema: [][]any{{"table", "dbconfig", "DBConfig", 2, createTable}}}), want: "no table DBConfig"},
		{name: "no table at all", file: newSQLite(sqliteTable{schema: [][]any{}}), want: "no table DBConfig"},
		{name: "table without rows", file: newSQLite(sqliteTable{}), want: "table DBConfig is empty"},
		{
			// Podman's own row is far shorter; one that continues on other pages
			// is passed over.
			name: "table whose only row does not fit a page",
			file: edit(table+cell, 0x84, 0x00), want: "table DBConfig is empty",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := firstRow(bytes.NewReader(tc.file), "DBConfig")
			want := cmp.Or(tc.want, errSQLite.Error())
			if got != nil || err == nil || err.Error() != want {
				t.Errorf("want error %q, got %q, %v", want, got, err)
			}
		})
	}
}

// TestFirstRowGivesUpOnASlowFile reads 64 KiB whose every page is valid: the
// schema's root has thousands of children, all the same page, with thousands of
// cells, all the same long row.
func TestFirstRowGivesUpOnASlowFile(t *testing.T) {
	const size, cells = 32768, 8000
	file := newSQLite(sqliteTable{pageSize: size})
	root := file[sqliteHeader:]
	root[0] = interiorTable
	binary.BigEndian.PutUint16(root[3:], cells)
	binary.BigEndian.PutUint32(root[8:], 2)
	for i := range cells {
		binary.BigEndian.PutUint16(root[12+2*i:], size-8)
	}
	binary.BigEndian.PutUint32(file[size-8:], 2)

	leaf := file[size:]
	binary.BigEndian.PutUint16(leaf[3:], cells)
	cell := 8 + 2*cells
	for i := range cells {
		binary.BigEndian.PutUint16(leaf[8+2*i:], uint16(cell))
	}
	payload := size - cell - 10
	row := append(appendVarint(nil, payload), 1)
	row = appendVarint(row, payload)
	copy(leaf[cell:], row)
	for i := cell + len(row); i < cell+4+payload; i++ {
		leaf[i] = 8 // a zero, which takes no byte of the body
	}
	inChild(t, func() error {
		_, err := firstRow(bytes.NewReader(file), "DBConfig")
		return err
	})
}

const childEnv = "STORAGECONF_TEST_CHILD"

// inChild runs read, which must return an error, in a process of its own: a
// stack overflow cannot be recovered from and an endless loop not be stopped.
func inChild(t *testing.T, read func() error) {
	t.Helper()
	if result := os.Getenv(childEnv); result != "" {
		if err := os.WriteFile(result, fmt.Append(nil, read()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	result := filepath.Join(dir, "result")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	// A child that crashes cannot clean up after itself.
	cmd.Env = append(os.Environ(), childEnv+"="+result, "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatal("want an error, still reading after 10 seconds")
	}
	if err != nil {
		t.Fatalf("want an error, got a crash: %v: %.120s", err, out)
	}
	if got, err := os.ReadFile(result); err != nil || string(got) == fmt.Sprint(error(nil)) {
		t.Errorf("want an error, got %s, %v", got, err)
	}
}

// FuzzSQLite looks for panics and hangs. Without a file of its own it patches
// podman's, a few bytes at a time.
func FuzzSQLite(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{}, []byte{0, 0, sqliteHeader, 1, 13})
	f.Add([]byte{}, []byte{0, 0xb0, 3, 2, 0, 2, 0, 0xb0, 8, 2, 0, 16})
	f.Add(newSQLite(sqliteTable{rows: [][]any{{1, "/graph", "/run"}}}), []byte{})
	f.Add(newSQLite(sqliteTable{reserved: 8, rows: [][]any{{1, "/graph", "/run"}}}), []byte{0, 0, sqliteHeader, 1, interiorTable})
	podman := fixture(f, "podman-5.8.6.db.sql")
	f.Fuzz(func(t *testing.T, file, patches []byte) {
		watch(t)
		if len(file) == 0 {
			file = podman
		}
		row, err := firstRow(bytes.NewReader(patch(file, patches)), "DBConfig")
		if (err == nil) != (row != nil) {
			t.Errorf("want a row or an error, got %q, %v", row, err)
		}
	})
}

// patch returns a copy of file with patches made: each is three bytes of offset,
// one of length, and the bytes to put there. A fuzzer that changes these instead
// of a large file gets much further.
func patch(file, patches []byte) []byte {
	file = bytes.Clone(file)
	for len(file) > 0 && len(patches) >= 4 {
		offset := int(patches[0])<<16 | int(patches[1])<<8 | int(patches[2])
		length := min(int(patches[3]), len(patches)-4)
		copy(file[offset%len(file):], patches[4:4+length])
		patches = patches[4+length:]
	}
	return file
}

// watch crashes a test that takes too long, so that the fuzzer keeps its input.
func watch(t *testing.T) {
	t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { panic("hangs") })
	t.Cleanup(func() { timer.Stop() })
}
