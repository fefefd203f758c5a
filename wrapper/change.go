// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Change calls do with the physical root of a host, where it can be written to: if it is
// mounted read-only, as /sysroot is, in a mount namespace of its own. Paths and descriptors of
// the caller are those of another namespace.
func Change(st storageconf.Store, do func(phys *os.File) error) error {
	phys, err := st.OpenPhysical()
	if err != nil {
		return err
	}
	defer phys.Close()
	if writable(procFD(phys)) {
		return do(phys)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		done <- changeHere(st, do)
	}()
	return <-done
}

// changeHere is Change in a namespace that it makes for the calling thread.
func changeHere(st storageconf.Store, do func(phys *os.File) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	phys, err := st.OpenPhysical()
	if err != nil {
		return err
	}
	defer phys.Close()
	if err := ensureWritable(phys); err != nil {
		return err
	}
	return do(phys)
}

// Leftovers are the directories that an interrupted making of a store left beside it. If the
// store does not exist, another process may be making it, and only what has not changed for an
// hour is left.
func Leftovers(st storageconf.Store) (names []string) {
	phys, err := st.OpenPhysical()
	if err != nil {
		return nil
	}
	defer phys.Close()
	parent, err := rooted.Open(phys, st.BootcRoot, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer parent.Close()
	root, err := os.OpenRoot(procFD(parent))
	if err != nil {
		return nil
	}
	defer root.Close()
	for _, name := range []string{storeTmpName, bootcTmpName} {
		if _, err := root.Lstat(name); err == nil && (st.Exists || isAbandoned(root, name)) {
			names = append(names, filepath.Join(st.BootcRoot, name))
		}
	}
	return names
}

// RemoveLeftovers removes what Leftovers returns.
func RemoveLeftovers(st storageconf.Store) error {
	return Change(st, func(phys *os.File) error {
		parent, err := rooted.Open(phys, st.BootcRoot, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer parent.Close()
		root, err := os.OpenRoot(procFD(parent))
		if err != nil {
			return err
		}
		defer root.Close()
		if err := unix.Flock(int(parent.Fd()), unix.LOCK_EX); err != nil {
			return fmt.Errorf("lock %q: %w", parent.Name(), err)
		}
		for _, path := range Leftovers(st) {
			name := filepath.Base(path)
			if err := refuseMounts(parent, name); err != nil {
				return err
			}
			if err := root.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return parent.Sync()
	})
}
