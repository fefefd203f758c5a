// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package storageconf locates the bootc-owned containers-storage and describes it: its
// path below a sysroot, the private storage.conf that describes it to
// podman, the credentials that bootc uses with it, and what podman has recorded
// about it in its own database.
//
// It reads, renders and writes files. Package wrapper starts programs, mounts, and
// creates a store.
package storageconf

// The strings below are written by podman into its database inside the store
// and compared on every open, so they are part of the on-disk format: another
// spelling locks bootc out. They are those of bootc, crates/lib/src/podstorage.rs.
const (
	// GraphRoot is the only path by which podman may see the store.
	GraphRoot = "/run/bootc/storage"
	// RunRoot is the run root that goes with GraphRoot. Descriptor RunRootFD
	// must be a directory, open in the process that becomes podman.
	RunRoot = "/proc/self/fd/3"
	// RunRootFD is the descriptor that RunRoot names.
	RunRootFD = 3
)

// PrivateDir is an empty directory on the host. In the mount namespace of a store a
// filesystem in memory is mounted on it, for the files of that namespace alone, which end
// with it; only root can read it.
const PrivateDir = "/run/bootc-podman/private"

// OtherRunRoot is the run root of the private storage.conf. Podman uses RunRoot instead,
// from its database of the store; buildah and skopeo use this one, and so does podman when
// an option names another graph root. With RunRoot here that podman would share the bootc
// store's run root, and "system reset" of another store would empty it.
const OtherRunRoot = PrivateDir + "/run"

// Names in PrivateDir.
const (
	// PrivateAuth is the file of the registry credentials.
	PrivateAuth = "auth.json"
	// PrivateRunRoot is where the directory is mounted, too, that the mount on GraphRoot
	// covers: the one that RunRoot leads to.
	PrivateRunRoot = "run-root"
)

// ConfPath is the path of the private storage.conf. It is a stable path, not
// a temporary file: conmon keeps the environment of the podman that started it
// and opens the file again when the container ends.
const ConfPath = "/run/bootc-podman/storage.conf"
