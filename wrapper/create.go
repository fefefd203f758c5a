// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Names inside the bootc root, from bootc's crates/lib/src/podstorage.rs.
const (
	storeName = "storage"
	// bootcTmpName is where bootc fills a new store, unlocked.
	bootcTmpName = "storage.tmp"
)

// storeTmpName is where we fill one: bootc removes a directory of its own name at any time.
const storeTmpName = "storage.bootc-podman.tmp"

// abandoned is how long bootc's directory must have been unchanged to be removed.
const abandoned = time.Hour

// create makes the store the way bootc does: podman initialises a temporary directory,
// bound on GraphRoot and called with bootc's own options, then it is renamed. It
// can be killed at any time: a store that exists is complete, and the next run removes
// a stale directory. It sets s.created unless another process was faster.
func (s *Session) create(ctx context.Context, ns *namespace) error {
	cmd, err := s.createCmd()
	if err != nil {
		return err
	}
	parent, err := s.openBootcRoot()
	if err != nil {
		return err
	}
	defer parent.Close()
	root, err := os.OpenRoot(procFD(parent))
	if err != nil {
		return err
	}
	defer root.Close()
	// bootc takes no lock here; this one is for two processes of ours.
	if err := unix.Flock(int(parent.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %q: %w", parent.Name(), err)
	}
	if _, err := root.Lstat(storeName); err == nil {
		return nil
	}
	if err := removeTemporary(parent, root); err != nil {
		return err
	}
	if err := rooted.MakeDirs(parent, storeTmpName, nil); err != nil {
		return err
	}
	err = s.initialise(ctx, ns, parent, cmd)
	if err == nil {
		err = root.Rename(storeTmpName, storeName)
		// bootc, which takes no lock, was faster.
		if errors.Is(err, fs.ErrExist) {
			return root.RemoveAll(storeTmpName)
		}
	}
	if err != nil {
		return errors.Join(err, root.RemoveAll(storeTmpName))
	}
	s.created = true
	return parent.Sync()
}

// removeTemporary removes what an interrupted run of ours left, and what bootc left if it has
// not changed for long: bootc may be filling it.
func removeTemporary(parent *os.File, root *os.Root) error {
	for _, name := range []string{storeTmpName, bootcTmpName} {
		if name == bootcTmpName && !isAbandoned(root, name) {
			continue
		}
		if err := refuseMounts(parent, name); err != nil {
			return err
		}
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// isAbandoned reports whether nothing in a directory, or in those in it, has changed for
// long.
func isAbandoned(root *os.Root, name string) bool {
	old := func(path string) bool {
		fi, err := root.Lstat(path)
		return err == nil && time.Since(fi.ModTime()) > abandoned
	}
	dir, err := root.Open(name)
	if err != nil {
		return false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return err == nil && old(name) && !slices.ContainsFunc(names, func(entry string) bool {
		return !old(filepath.Join(name, entry))
	})
}

// openBootcRoot opens the directory the store is made in, making it if need be,
// on composefs hosts with the link ostree/bootc that bootc expects.
func (s *Session) openBootcRoot() (*os.File, error) {
	phys, err := s.Store.OpenPhysical()
	if err != nil {
		return nil, err
	}
	defer phys.Close()
	if err := ensureWritable(phys); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(procFD(phys))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := rooted.MakeDirs(phys, s.Store.BootcRoot, nil); err != nil {
		return nil, err
	}
	if link := "ostree/bootc"; s.Store.BootcRoot != link {
		if err := rooted.MakeDirs(phys, filepath.Dir(link), nil); err != nil {
			return nil, err
		}
		if err := root.Symlink("../"+s.Store.BootcRoot, link); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	dir, err := rooted.Open(phys, s.Store.BootcRoot, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if err := ensureWritable(dir); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// createCmd is the command that initialises a new store. bootc names no driver
// and no options in it. Podman records those of its command line in the new database, so
// this command has none either.
func (s *Session) createCmd() (Cmd, error) {
	return s.host.podman(s.podmanChange(), "--root", storageconf.GraphRoot, "--runroot", storageconf.RunRoot, "images")
}

// initialise makes podman fill the temporary directory, and syncs it.
func (s *Session) initialise(ctx context.Context, ns *namespace, parent *os.File, cmd Cmd) error {
	tmp, err := rooted.Open(parent, storeTmpName, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer tmp.Close()
	if err := ns.bind(tmp); err != nil {
		return err
	}
	cmd.Files = []*os.File{ns.runRoot}
	if err := errors.Join(s.host.Runner.Run(ctx, cmd), ns.unbind()); err != nil {
		return err
	}
	if err := unix.Syncfs(int(tmp.Fd())); err != nil {
		return fmt.Errorf("sync %q: %w", tmp.Name(), err)
	}
	return nil
}
