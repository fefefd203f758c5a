// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// hubs keep hard links: the first worker that comes across a file of several names
// makes it in a directory of its own, the hub, from where each name is linked. So no
// path has to be found again, and no file stays open.
type hubs struct {
	dir *os.File

	mu    sync.Mutex
	files map[rooted.ID]*hub
}

// hub is a file that has several names.
type hub struct {
	mu   sync.Mutex
	name string
	// left is how many names it has not got yet.
	left uint64
}

func newHubs(dir *os.File) *hubs { return &hubs{dir: dir, files: map[rooted.ID]*hub{}} }

// place puts a file, of which st is the status in the source, into the directory dir.
// create makes it, in that directory or in the hub's.
func (h *hubs) place(dir int, name string, st *unix.Stat_t, create func(dir int, name string) error) error {
	if st.Nlink <= 1 {
		return create(dir, name)
	}
	f := h.file(st)
	f.mu.Lock()
	defer f.mu.Unlock()
	hub := int(h.dir.Fd())
	if f.name == "" {
		made := strconv.FormatUint(st.Dev, 36) + "-" + strconv.FormatUint(st.Ino, 36)
		if err := create(hub, made); err != nil {
			return err
		}
		f.name = made
	}
	if f.left--; f.left == 0 {
		return unix.Renameat(hub, f.name, dir, name)
	}
	return unix.Linkat(hub, f.name, dir, name, 0)
}

func (h *hubs) file(st *unix.Stat_t) *hub {
	id := rooted.ID{Dev: st.Dev, Ino: st.Ino}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.files[id]
	if f == nil {
		f = &hub{left: uint64(st.Nlink)} //nolint:unconvert // of another type on some machines
		h.files[id] = f
	}
	return f
}

// clear removes what is in the hub still: files that have names outside of the tree.
func (h *hubs) clear() error {
	for _, f := range h.files {
		if f.left == 0 {
			continue
		}
		if err := unix.Unlinkat(int(h.dir.Fd()), f.name, 0); err != nil {
			return fmt.Errorf("remove hard link: %w", err)
		}
	}
	return nil
}
