// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Relative to the physical root of a host.
const (
	ostreeBootc    = "ostree/bootc"
	composefsBootc = "composefs/bootc"
	storeName      = "storage"
)

var (
	// ErrNotBootcHost reports that a sysroot holds neither an ostree nor a
	// composefs deployment tree.
	ErrNotBootcHost = errors.New("no ostree or composefs directory")
	// ErrSysroot reports that a sysroot cannot be opened.
	ErrSysroot = errors.New("open sysroot")
	// ErrNoStore reports that a bootc host has no bootc-owned store (yet).
	ErrNoStore = errors.New("no bootc-owned store")
	// ErrDangling reports a dangling link in the place of the store, or of the directory
	// that it lies in.
	ErrDangling = errors.New("symbolic link to nothing")
)

// Store is the place where the bootc-owned store of a sysroot is, or would be made.
// It holds names, not descriptors: a descriptor belongs to the mount namespace
// it was opened in, and the store is bind-mounted in another one.
type Store struct {
	// Sysroot is the directory the user named, "/" on a booted host.
	Sysroot string
	// Physical is the physical root relative to Sysroot: "sysroot" on a booted
	// host, "." when Sysroot is itself a physical root.
	Physical string
	// BootcRoot is the directory the store lies in, relative to the physical
	// root: "ostree/bootc" (which is a symbolic link on most composefs hosts)
	// or "composefs/bootc" where that link is missing.
	BootcRoot string
	// Exists reports whether the store exists.
	Exists bool
}

// Locate finds the store below sysroot. Symbolic links are followed as if the
// directory that the path starts from, sysroot or the physical root in it, were
// "/", so they never lead out of sysroot. A missing store is not an error: the
// result is where it belongs. The error is ErrNotBootcHost if sysroot is not a
// bootc host. The result is valid also with an error about the store alone.
func Locate(sysroot string) (Store, error) {
	st := Store{Sysroot: filepath.Clean(sysroot), Physical: "sysroot", BootcRoot: ostreeBootc}
	root, err := rooted.OpenRoot(st.Sysroot)
	if err != nil {
		return Store{}, fmt.Errorf("%w: %w", ErrSysroot, err)
	}
	defer root.Close()
	if !rooted.Exists(root, "sysroot/ostree") && !rooted.Exists(root, "sysroot/composefs") {
		st.Physical = "."
	}
	phys, err := rooted.Open(root, st.Physical, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return Store{}, fmt.Errorf("%w: %w", ErrSysroot, err)
	}
	defer phys.Close()
	if !rooted.Exists(phys, "ostree") && !rooted.Exists(phys, "composefs") {
		return Store{}, fmt.Errorf("locate bootc store in %q: %w", st.Sysroot, ErrNotBootcHost)
	}
	// bootc makes ostree/bootc a link to ../composefs/bootc on composefs hosts,
	// but hosts installed by an old bootc may lack it. Making a second real
	// directory there would give the host two stores.
	if !rooted.Exists(phys, ostreeBootc) && (rooted.Exists(phys, composefsBootc) || rooted.Exists(phys, "composefs") && (!rooted.Exists(phys, "ostree/repo") || isLink(phys, ostreeBootc))) {
		st.BootcRoot = composefsBootc
	}
	switch dir, err := rooted.Open(phys, filepath.Join(st.BootcRoot, storeName), unix.O_PATH|unix.O_DIRECTORY); {
	case err == nil:
		st.Exists = true
		logrus.Debugf("Located the bootc-owned store %q", dir.Name())
		dir.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return st, fmt.Errorf("open bootc store: %w", err)
	default:
		for _, path := range []string{st.BootcRoot, filepath.Join(st.BootcRoot, storeName)} {
			if isLink(phys, path) && !rooted.Exists(phys, path) {
				return st, fmt.Errorf("open %q: %w", filepath.Join(phys.Name(), path), ErrDangling)
			}
		}
	}
	return st, nil
}

// Path returns the store's absolute path below the sysroot that the user named, for
// messages. Symbolic links in it are not resolved.
func (st Store) Path() string {
	return filepath.Join(st.Sysroot, st.Physical, st.BootcRoot, storeName)
}

// OpenPhysical opens the physical root, relative to which every other path of
// this type is resolved.
func (st Store) OpenPhysical() (*os.File, error) {
	root, err := rooted.OpenRoot(st.Sysroot)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return rooted.Open(root, st.Physical, unix.O_RDONLY|unix.O_DIRECTORY)
}

// Open opens the store's directory in the mount namespace of the calling
// thread. The error is ErrNoStore when it does not exist.
func (st Store) Open() (*os.File, error) {
	phys, err := st.OpenPhysical()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSysroot, err)
	}
	defer phys.Close()
	dir, err := rooted.Open(phys, filepath.Join(st.BootcRoot, storeName), unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %q: %w", st.Path(), ErrNoStore)
	}
	return dir, err
}

func isLink(root *os.File, path string) bool { return rooted.Kind(root, path) == unix.S_IFLNK }
