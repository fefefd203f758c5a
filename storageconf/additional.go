// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"go.podman.io/storage/pkg/configfile"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// MinimalConf is the content of the shortest storage.conf with which skopeo reads an
// additional image store, in every version since 1.9: without runroot and graphroot some
// versions refuse to start. The values are the defaults of the storage library.
const MinimalConf = `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`

// AdminConf is the storage.conf of the administrator, vendorConf that of the
// distribution, which the former replaces.
const (
	AdminConf  = "/etc/containers/storage.conf"
	vendorConf = "/usr/share/containers/storage.conf"
)

// ErrNoConf reports that a host has no storage.conf.
var ErrNoConf = fmt.Errorf("neither %s nor %s exists", AdminConf, vendorConf)

// DriverError reports that the default store has a driver without additional image stores.
type DriverError struct{ Driver string }

func (e *DriverError) Error() string {
	return fmt.Sprintf("the storage driver %q of podman's configuration takes no additional image stores", e.Driver)
}

// CheckAdditional returns nil if skopeo on the host whose root is root reads the
// additional image store that bootc names in STORAGE_OPTS when it upgrades. The error is
// ErrNoConf or a *DriverError if it does not, and another one where this cannot be
// determined.
//
// The storage library reads STORAGE_OPTS only once it has found a main file: an empty
// one is enough, a drop-in is not (skopeo 1.9.3, 1.18.0 and 1.22.0). Only the overlay
// driver has additional image stores. CONTAINERS_STORAGE_CONF and XDG_CONFIG_HOME are
// ignored: the environment that bootc will run in is not known.
func CheckAdditional(root string) error {
	if err := findConf(root); err != nil {
		return err
	}
	conf, err := readDefaultConf(configfile.File{RootForImplicitAbsolutePaths: root})
	if err != nil {
		return err
	}
	driver := driverName(conf.Driver)
	if conf.Driver == "" { // the library takes the one that its store was made with
		if driver, err = madeWith(root, conf); err != nil {
			return err
		}
	}
	if driver != overlay {
		return &DriverError{Driver: driver}
	}
	return nil
}

// madeWith returns the driver that the default store of a host was made with, overlay for
// a missing store.
func madeWith(root string, conf storageTable) (string, error) {
	path, err := conf.graphRoot(0)
	if err != nil {
		return "", err
	}
	base, err := rooted.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer base.Close()
	dir, err := rooted.Open(base, path, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return overlay, nil
	}
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return Config{Driver: overlay}.ForStore(dir).Driver, nil
}

// findConf returns nil if there is a main storage.conf below root.
func findConf(root string) error {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("find storage.conf: %w", err)
	}
	defer dir.Close()
	for _, path := range []string{AdminConf, vendorConf} {
		_, err := rooted.Stat(dir, path, 0)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("find storage.conf: %w", err)
		}
	}
	return ErrNoConf
}

// IsImageStore reports whether STORAGE_OPTS with this value name the store as an additional
// image store, on the host whose root is root.
func (st Store) IsImageStore(root, options string) bool {
	dir, err := st.Open()
	if err != nil {
		return false
	}
	defer dir.Close()
	return slices.ContainsFunc(imageStoreOptions(options), func(path string) bool { return sameDir(root, path, dir) })
}
