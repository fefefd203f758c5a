// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Incomplete are the IDs of layers that a process was making or removing.
func (s *Store) Incomplete() []string { return s.incomplete }

// MissingBelow is the ID of the first layer without a record in the store, of a layer and
// those below it; "" for none.
func (s *Store) MissingBelow(layer string) string {
	for n := 0; layer != "" && n <= len(s.layers); n++ {
		l := s.layers[layer]
		if l == nil {
			return layer
		}
		layer = l.Parent
	}
	return ""
}

// MissingOf is MissingBelow the topmost layer of an image.
func (s *Store) MissingOf(img *Image) string { return s.MissingBelow(img.topLayer) }

// Unrecorded are the directories of layers of a graph root that have no record, of a
// complete or an incomplete layer.
func (s *Store) Unrecorded(g *Graph) (ids []string, err error) {
	if g.Driver != Overlay {
		return nil, nil
	}
	dir, err := rooted.Open(g.Dir, g.Driver.Dir(""), unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		if IsID(name) && s.layers[name] == nil && !slices.Contains(s.incomplete, name) {
			ids = append(ids, name)
		}
	}
	slices.Sort(ids)
	return ids, err
}

// Interrupted are the files that a killed process of the storage library left where it
// replaces records, below the graph root.
func (g *Graph) Interrupted() (paths []string) {
	for _, records := range []string{g.Driver.images(), g.Driver.layers(), g.Driver.Containers()} {
		dir, err := rooted.Open(g.Dir, records, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		names, _ := dir.Readdirnames(-1) // reading the store reports errors
		dir.Close()
		for _, name := range names {
			if len(name) > len(temporary) && name[:len(temporary)] == temporary {
				paths = append(paths, records+"/"+name)
			}
		}
	}
	slices.Sort(paths)
	return paths
}

// temporary is what the names of files begin with that the library renames when they are
// whole (AtomicFileWriter in its pkg/ioutils).
const temporary = ".tmp-"

// LayersLocked reports whether a process changes the layers of a graph root. It takes no
// lock.
func (g *Graph) LayersLocked() (bool, error) { return Locked(g.Dir, g.Driver.layers("layers.lock")) }

// Locked reports whether a process has a lock to write on a file below a directory (see
// fcntl_locking(2)). A file that does not exist has none.
func Locked(dir *os.File, path string) (bool, error) {
	// O_NONBLOCK: opening a FIFO would wait for a process that writes to it.
	f, err := rooted.Open(dir, path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return false, &fs.PathError{Op: "look at lock", Path: f.Name(), Err: err}
	}
	return lock.Type != unix.F_UNLCK, nil
}
