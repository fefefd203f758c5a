// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Settled opens a store and reads the configurations of its images. A writer that
// is at work removes what was just named elsewhere, so anything wrong is looked at
// until it stays as it is.
func Settled(open func() (*cstorage.Store, []error)) (store *cstorage.Store, problems []error) {
	return settle(open, (*cstorage.Store).ReadConfigs)
}

// settle is Settled with what is read of each store beside its records.
func settle(open func() (*cstorage.Store, []error), read func(*cstorage.Store) []error) (store *cstorage.Store, problems []error) {
	const tries = 5
	var before string
	for range tries {
		if store != nil {
			store.Close()
		}
		if store, problems = open(); store != nil {
			problems = append(problems, read(store)...)
		}
		now := fmt.Sprint(problems)
		if len(problems) == 0 || now == before {
			break
		}
		before = now
	}
	return store, problems
}

// reader reads the directories of a store: cstorage.Read, or what counts its calls.
type reader func(dirs ...*os.File) (*cstorage.Store, []error)

// OpenBootcStore reads the bootc-owned store, nil when there is none. root is
// where the host's storage.conf is looked for. Problems are those of cstorage.Read.
func OpenBootcStore(located storageconf.Store, root string) (*cstorage.Store, []error) {
	return openBootcStore(cstorage.Read, located, root)
}

func openBootcStore(read reader, located storageconf.Store, root string) (*cstorage.Store, []error) {
	dir, err := located.Open()
	if errors.Is(err, storageconf.ErrNoStore) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("open bootc-owned store: %w", err)}
	}
	config, err := storageconf.HostConfig(root)
	var dirs []*os.File
	if err == nil && config.ImageStore != "" {
		dirs, err = openStoreDirs(nil, root, config.ImageStore)
	}
	if err != nil {
		dir.Close()
		return nil, []error{err}
	}
	return read(append(dirs, dir)...)
}

// OpenDefaultStore reads the store of plain podman when user uid runs it on the
// host whose root is root, nil when there is none. Problems are those of
// cstorage.Read and of storageconf.DefaultStores.
func OpenDefaultStore(root string, uid int) (*cstorage.Store, []error) {
	return openPaths(root, uid, storageconf.DefaultStores)
}

// OpenOwnStore is OpenDefaultStore without the additional image stores: what is in
// podman's own store. An image of it whose layers are in an additional one is damaged.
func OpenOwnStore(root string, uid int) (*cstorage.Store, []error) {
	return openPaths(root, uid, storageconf.OwnStores)
}

func openPaths(root string, uid int, find func(root string, uid int) ([]string, error)) (*cstorage.Store, []error) {
	paths, err := find(root, uid)
	if err != nil {
		return nil, []error{err}
	}
	store, _, problems := openDirs(cstorage.Read, root, paths, nil)
	return store, problems
}

// openDirs reads a store in the directories own and additional, nil where podman made
// no store yet; its first n directories are of own.
func openDirs(read reader, root string, own, additional []string) (store *cstorage.Store, n int, problems []error) {
	dirs, err := openStoreDirs(nil, root, own...)
	n = len(dirs)
	if err == nil {
		dirs, err = openStoreDirs(dirs, root, additional...)
	}
	if err != nil {
		return nil, 0, []error{err}
	}
	if len(dirs) == 0 {
		return nil, 0, nil
	}
	store, problems = read(dirs...)
	return store, n, problems
}

// openStoreDirs adds to dirs those of the directories that podman made already. An error
// closes all of dirs.
func openStoreDirs(dirs []*os.File, root string, paths ...string) ([]*os.File, error) {
	in, err := rooted.OpenRoot(root)
	if errors.Is(err, fs.ErrNotExist) {
		return dirs, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	for _, path := range paths {
		dir, err := rooted.Open(in, path, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			for _, dir := range dirs {
				dir.Close()
			}
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}
