// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// PodmanDB is what podman recorded about a store when it first opened it. On
// every later open podman compares these with its own settings and refuses to
// run when they differ ("database configuration mismatch").
type PodmanDB struct {
	// Path is the database file.
	Path string
	// GraphRoot and RunRoot are as podman wrote them.
	GraphRoot, RunRoot string
}

// podmanDB is where podman may keep its database in a store, and its names of the settings.
type podmanDB struct {
	path                      string
	read                      func(file io.ReaderAt, table string) (map[string]string, error)
	table, graphRoot, runRoot string
}

// podmanDBs returns all of them: SQLite, podman 4.8 and later, and BoltDB. The file layouts
// are those of podman's libpod/sqlite_state_internal.go and libpod/boltdb_state_internal.go.
func podmanDBs() []podmanDB {
	return []podmanDB{
		{"db.sql", firstRow, "DBConfig", "graphroot", "runroot"},
		{"libpod/bolt_state.db", boltBucket, "runtime-config", "graph-root", "run-root"},
	}
}

// CheckPodmanDB returns a *MismatchError when podman, started as bootc starts it,
// would refuse the store in dir for its database. If both databases exist, the release of
// podman decides which one it uses (BoltDB for 4.3 and 5.4, SQLite for 5.8), so one that
// agrees is enough. A missing database is not an error; one that cannot be read is.
func CheckPodmanDB(dir *os.File) error {
	var refused error
	for _, file := range podmanDBs() {
		db, err := file.open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = db.Check()
		}
		if err == nil || !errors.As(err, new(*MismatchError)) {
			return err
		}
		if refused == nil {
			refused = err
		}
	}
	return refused
}

// PodmanDatabases returns the databases that the store in dir has, and whether these are
// all that any podman uses.
func PodmanDatabases(dir *os.File) (names []string, all bool) {
	for _, db := range podmanDBs() {
		if rooted.Exists(dir, db.path) {
			names = append(names, db.path)
		}
	}
	return names, len(names) == len(podmanDBs())
}

// open reads the database inside the store in dir. The error is fs.ErrNotExist when
// podman has made none there.
func (p podmanDB) open(dir *os.File) (PodmanDB, error) {
	f, err := rooted.Open(dir, p.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return PodmanDB{}, fmt.Errorf("read podman database: %w", err)
	}
	defer f.Close()
	settings, err := p.read(f, p.table)
	if err != nil {
		return PodmanDB{}, fmt.Errorf("read podman database %q: %w", f.Name(), err)
	}
	return PodmanDB{Path: f.Name(), GraphRoot: settings[p.graphRoot], RunRoot: settings[p.runRoot]}, nil
}

// MismatchError reports that podman's database was made with a path that is not
// the one by which bootc opens the store.
type MismatchError struct {
	// Database is the file, Name the setting as podman calls it.
	Database, Name string
	// Recorded is the path in the database, Canonical the one bootc uses.
	Recorded, Canonical string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("podman's database %q was made with %s %q, bootc opens the store with %q",
		e.Database, e.Name, e.Recorded, e.Canonical)
}

// Check returns a *MismatchError when podman, started as bootc starts it, would
// refuse this database. As for podman, an unset value agrees, and paths are
// compared with their symbolic links resolved. The static directory and the volume path,
// which it has, too, are not checked: a containers.conf can name others, for bootc, too.
func (db PodmanDB) Check() error {
	for _, field := range []struct{ name, recorded, canonical string }{
		{"graph root", db.GraphRoot, GraphRoot},
		{"run root", db.RunRoot, RunRoot},
	} {
		if field.recorded == "" || filepath.Clean(field.recorded) == field.canonical {
			continue
		}
		// Inside the namespace descriptor 3 is the directory GraphRoot.
		resolved, err := filepath.EvalSymlinks(field.recorded)
		if err == nil && (resolved == field.canonical || field.canonical == RunRoot && resolved == GraphRoot) {
			continue
		}
		return &MismatchError{Database: db.Path, Name: field.name, Recorded: field.recorded, Canonical: field.canonical}
	}
	return nil
}
