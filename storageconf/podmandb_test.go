// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const (
	sqliteName = "db.sql"
	boltName   = "libpod/bolt_state.db"
)

var fixtures = []struct{ name, file, path string }{
	{name: "SQLite", file: "podman-5.8.6.db.sql", path: sqliteName},
	{name: "BoltDB", file: "podman-4.3.1.bolt_state.db", path: boltName},
}

// canonical is what podman records when bootc starts it.
var canonical = PodmanDB{
	GraphRoot: "/run/bootc/storage",
	RunRoot:   "/proc/self/fd/3",
}

// storeWith is a store's directory with a database in it.
func storeWith(t testing.TB, path string, content []byte) *os.File {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "libpod"), 0o700); err != nil {
		t.Fatal(err)
	}
	if path != "" {
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestReadPodmanDBReadsWhatPodmanRecorded(t *testing.T) {
	for _, fx := range fixtures {
		t.Run(fx.name, func(t *testing.T) {
			dir := storeWith(t, fx.path, fixture(t, fx.file))
			want := canonical
			want.Path = filepath.Join(dir.Name(), fx.path)
			got, err := readPodmanDB(dir)
			if err != nil || got != want {
				t.Fatalf("want %+v, got %+v, %v", want, got, err)
			}
			if err := got.Check(); err != nil {
				t.Errorf("want a store that bootc can open, got %v", err)
			}
		})
	}
}

// readPodmanDB reads the first database that is there.
func readPodmanDB(dir *os.File) (db PodmanDB, err error) {
	for _, file := range podmanDBs() {
		if db, err = file.open(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return db, err
}

func TestCheckPodmanDBTakesOneThatAgrees(t *testing.T) {
	good, other := []any{1, GraphRoot, RunRoot}, []any{1, "/other", "/run"}
	for name, c := range map[string]struct {
		bolt    bool // made by bootc's command line
		sqlite  []any
		refused bool
	}{
		"none":                      {},
		"BoltDB alone":              {bolt: true},
		"SQLite alone":              {sqlite: good},
		"SQLite alone, of another":  {sqlite: other, refused: true},
		"SQLite of another, BoltDB": {bolt: true, sqlite: other},
	} {
		dir := storeWith(t, "", nil)
		if c.bolt {
			dir = storeWith(t, boltName, fixture(t, "podman-4.3.1.bolt_state.db"))
		}
		if c.sqlite != nil {
			if err := os.WriteFile(filepath.Join(dir.Name(), sqliteName), newSQLite(sqliteTable{rows: [][]any{c.sqlite}}), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := CheckPodmanDB(dir)
		var mismatch *MismatchError
		if errors.As(err, &mismatch) != c.refused || err != nil && !c.refused {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestReadPodmanDBSaysThatThereIsNone(t *testing.T) {
	dir := storeWith(t, "", nil)
	if got, err := readPodmanDB(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("want %v, got %+v, %v", fs.ErrNotExist, got, err)
	}
	if err := os.Remove(filepath.Join(dir.Name(), "libpod")); err != nil {
		t.Fatal(err)
	}
	if got, err := readPodmanDB(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without libpod: want %v, got %+v, %v", fs.ErrNotExist, got, err)
	}
}

func TestReadPodmanDBFollowsNoLink(t *testing.T) {
	for _, fx := range fixtures {
		t.Run(fx.name, func(t *testing.T) {
			dir := storeWith(t, "real", fixture(t, fx.file))
			if err := os.Symlink("/real", filepath.Join(dir.Name(), fx.path)); err != nil {
				t.Fatal(err)
			}
			if got, err := readPodmanDB(dir); !errors.Is(err, syscall.ELOOP) {
				t.Errorf("want %v, got %+v, %v", syscall.ELOOP, got, err)
			}
		})
	}
}

func TestReadPodmanDBDoesNotWaitForAPipe(t *testing.T) {
	for _, fx := range fixtures {
		t.Run(fx.name, func(t *testing.T) {
			dir := storeWith(t, "", nil)
			if err := syscall.Mkfifo(filepath.Join(dir.Name(), fx.path), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := readPodmanDB(dir); err == nil {
				t.Errorf("want an error, got %+v", got)
			}
		})
	}
}

// TestReadPodmanDBDoesNotWaitForPodman holds the lock that a running podman has
// on its BoltDB.
func TestReadPodmanDBDoesNotWaitForPodman(t *testing.T) {
	dir := storeWith(t, boltName, fixture(t, "podman-4.3.1.bolt_state.db"))
	f, err := os.Open(filepath.Join(dir.Name(), boltName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if got, err := readPodmanDB(dir); err != nil || got.GraphRoot != GraphRoot {
		t.Errorf("want the graph root, got %+v, %v", got, err)
	}
}

func TestReadPodmanDBLeavesTheStoreAsItIs(t *testing.T) {
	for _, fx := range fixtures {
		t.Run(fx.name, func(t *testing.T) {
			content := fixture(t, fx.file)
			dir := storeWith(t, fx.path, content)
			path := filepath.Join(dir.Name(), fx.path)
			if err := os.Chmod(path, 0o400); err != nil {
				t.Fatal(err)
			}
			before := list(t, dir.Name())
			if _, err := readPodmanDB(dir); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(content, got) {
				t.Errorf("want the database unchanged, got %d bytes, %v", len(got), err)
			}
			if after := list(t, dir.Name()); !slices.Equal(before, after) {
				t.Errorf("want no other file than %q, got %q", before, after)
			}
		})
	}
}

func list(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestReadPodmanDBSurvivesACutFile cuts each database shorter and shorter. What
// podman asks for may still be whole, but it is all there or an error.
func TestReadPodmanDBSurvivesACutFile(t *testing.T) {
	for _, fx := range fixtures {
		t.Run(fx.name, func(t *testing.T) {
			content := fixture(t, fx.file)
			dir := storeWith(t, fx.path, content)
			path := filepath.Join(dir.Name(), fx.path)
			want := canonical
			want.Path = path
			successes := 0
			for size := len(content) - 1; size >= 0; size -= 509 {
				if err := os.Truncate(path, int64(size)); err != nil {
					t.Fatal(err)
				}
				got, err := readPodmanDB(dir)
				if err == nil && (got != want || size < 8192) {
					t.Errorf("%d bytes: want an error, got %+v", size, got)
				}
				if err == nil {
					successes++
				}
			}
			if successes == 0 {
				t.Error("want success with only the end cut, got errors alone")
			}
		})
	}
}

func TestReadPodmanDBRefusesGarbage(t *testing.T) {
	random := make([]byte, 1<<16)
	chacha := rand.NewChaCha8([32]byte{})
	_, _ = chacha.Read(random) // never fails
	for _, tc := range []struct {
		name    string
		content []byte
	}{
		{name: "empty file"},
		{name: "one byte", content: []byte{0}},
		{name: "text", content: []byte(strings.Repeat("no database\n", 1000))},
		{name: "zeros", content: make([]byte, 1<<16)},
		{name: "ones", content: bytes.Repeat([]byte{0xff}, 1<<16)},
		{name: "random bytes", content: random},
		{name: "SQLite header before random bytes", content: append(newSQLite(sqliteTable{pageSize: 4096})[:100:100], random...)},
		{name: "BoltDB header before random bytes", content: append(fixture(t, "podman-4.3.1.bolt_state.db")[:8192:8192], random...)},
		{name: "BoltDB header before zeros", content: append(fixture(t, "podman-4.3.1.bolt_state.db")[:8192:8192], make([]byte, 1<<16)...)},
		{name: "BoltDB header before ones", content: append(fixture(t, "podman-4.3.1.bolt_state.db")[:8192:8192], bytes.Repeat([]byte{0xff}, 1<<16)...)},
	} {
		for _, path := range []string{sqliteName, boltName} {
			t.Run(tc.name+" as "+path, func(t *testing.T) {
				got, err := readPodmanDB(storeWith(t, path, tc.content))
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
					t.Errorf("want an error that names the file, got %+v, %v", got, err)
				}
			})
		}
	}
}

func TestReadPodmanDBNamesTheTableItMisses(t *testing.T) {
	for _, tc := range []struct {
		name, path, want string
		content          []byte
	}{
		{
			name: "SQLite", path: sqliteName, want: "DBConfig",
			content: newSQLite(sqliteTable{schema: [][]any{{"table", "Other", "Other", 2, createTable}}}),
		},
		{
			name: "BoltDB", path: boltName, want: "runtime-config",
			content: bytes.Replace(fixture(t, "podman-4.3.1.bolt_state.db"), []byte("runtime-config"), []byte("runtime-copper"), 1),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := readPodmanDB(storeWith(t, tc.path, tc.content))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error with %q, got %+v, %v", tc.want, got, err)
			}
		})
	}
}

// TestReadPodmanDBSurvivesATreeThatNeverEnds makes BoltDB's root page a branch
// whose only child is the page itself.
func TestReadPodmanDBSurvivesATreeThatNeverEnds(t *testing.T) {
	const root, pageSize = 2, 4096
	file := fixture(t, "podman-4.3.1.bolt_state.db")
	putBranch(file[root*pageSize:], root)
	dir := storeWith(t, boltName, file)
	inChild(t, func() error {
		_, err := readPodmanDB(dir)
		return err
	})
}

// TestReadPodmanDBReadsNothingBeyondTheFile makes a value larger than the whole
// file. BoltDB maps the file, so what follows is other memory of this process,
// or nothing.
func TestReadPodmanDBReadsNothingBeyondTheFile(t *testing.T) {
	file := fixture(t, "podman-4.3.1.bolt_state.db")
	// The key of the element that says how long its value is.
	at := bytes.Index(file, []byte("graph-root/run/bootc/storage"))
	size := bytes.LastIndex(file[:at], binary.NativeEndian.AppendUint32(nil, uint32(len("/run/bootc/storage"))))
	binary.NativeEndian.PutUint32(file[size:], 1<<20)
	got, err := readPodmanDB(storeWith(t, boltName, file))
	if err == nil {
		t.Errorf("want an error, got a graph root of %d bytes, %.60q...", len(got.GraphRoot), got.GraphRoot)
	}
}

// putBranch makes a BoltDB page a branch with one child, by the empty key.
func putBranch(page []byte, child uint64) {
	const branch, header = 1, 16
	binary.NativeEndian.PutUint16(page[8:], branch)
	binary.NativeEndian.PutUint16(page[10:], 1) // children
	binary.NativeEndian.PutUint32(page[header:], header)
	binary.NativeEndian.PutUint32(page[header+4:], 0)
	binary.NativeEndian.PutUint64(page[header+8:], child)
}

func TestCheckComparesAsPodmanDoes(t *testing.T) {
	with := func(edit func(*PodmanDB)) PodmanDB {
		db := canonical
		db.Path = "/store/db.sql"
		edit(&db)
		return db
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/run/bootc/storage", link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		db   PodmanDB
		want *MismatchError
	}{
		{name: "canonical", db: with(func(*PodmanDB) {})},
		{name: "nothing recorded", db: PodmanDB{Path: "/store/db.sql"}},
		{
			name: "canonical in other words",
			db: with(func(db *PodmanDB) {
				db.GraphRoot, db.RunRoot = "/run/bootc/storage/", "/proc/self//fd/3"
			}),
		},
		{
			name: "store made by its real path",
			db:   with(func(db *PodmanDB) { db.GraphRoot = "/sysroot/ostree/bootc/storage" }),
			want: &MismatchError{"/store/db.sql", "graph root", "/sysroot/ostree/bootc/storage", "/run/bootc/storage"},
		},
		{
			name: "another run root",
			db:   with(func(db *PodmanDB) { db.RunRoot = "/run/containers/storage" }),
			want: &MismatchError{"/store/db.sql", "run root", "/run/containers/storage", "/proc/self/fd/3"},
		},
		{
			name: "another descriptor",
			db:   with(func(db *PodmanDB) { db.RunRoot = "/proc/self/fd/33" }),
			want: &MismatchError{"/store/db.sql", "run root", "/proc/self/fd/33", "/proc/self/fd/3"},
		},
		{
			name: "parent of the graph root",
			db:   with(func(db *PodmanDB) { db.GraphRoot = "/run/bootc" }),
			want: &MismatchError{"/store/db.sql", "graph root", "/run/bootc", "/run/bootc/storage"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.db.Check()
			if tc.want == nil {
				if err != nil {
					t.Errorf("want no error, got %v", err)
				}
				return
			}
			var got *MismatchError
			if !errors.As(err, &got) || *got != *tc.want {
				t.Fatalf("want %+v, got %v", tc.want, err)
			}
			for _, want := range []string{tc.want.Database, tc.want.Name, tc.want.Recorded, tc.want.Canonical} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want a message with %q, got %v", want, err)
				}
			}
		})
	}
}

// FuzzBolt looks for panics and hangs. Without a file of its own it patches
// podman's, a few bytes at a time. Repairing the checksums of the two meta pages
// lets changes of these have an effect.
func FuzzBolt(f *testing.F) {
	f.Add([]byte{}, []byte{}, false)
	f.Add([]byte{}, []byte{0, 0, 32, 1, 3}, true)        // root page
	f.Add([]byte{}, []byte{0, 0, 24, 1, 1}, true)        // page size
	f.Add([]byte{}, []byte{0, 0x20, 8, 1, 16}, false)    // kind of the root page
	f.Add([]byte{}, []byte{0, 0x20, 11, 1, 0xff}, false) // elements of the root page
	f.Add(bytes.Repeat([]byte{1}, 100), []byte{}, true)
	podman := fixture(f, "podman-4.3.1.bolt_state.db")
	// One database for all: making directories would take most of the time.
	dir := storeWith(f, boltName, nil)
	path := filepath.Join(dir.Name(), boltName)
	f.Fuzz(func(t *testing.T, file, patches []byte, repair bool) {
		if len(file) >= 1<<16 {
			t.Skip("larger than anything to learn from")
		}
		watch(t)
		if len(file) == 0 {
			file = podman
		}
		file = patch(file, patches)
		if repair {
			repairMeta(file, 0)
			repairMeta(file, 4096)
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPodmanDB(dir); err == nil && len(file) < 8192 {
			t.Errorf("want an error for %d bytes", len(file))
		}
	})
}

// repairMeta makes the checksum of the meta page at offset right.
func repairMeta(file []byte, offset int) {
	const header, summed = 16, 56
	if len(file) < offset+header+summed+8 {
		return
	}
	meta := file[offset+header:]
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:summed]) // never fails
	binary.NativeEndian.PutUint64(meta[summed:], sum.Sum64())
}
