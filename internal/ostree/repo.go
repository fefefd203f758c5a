// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package ostree reads an ostree repository as files: refs, commits, directories and file
// objects. It starts no program and writes nothing.
//
// The format is that of libostree, see ostree-core.h and "Anatomy of an OSTree repository"
// in its documentation. Every object is compared with its checksum before it is used.
package ostree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/ini"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

var (
	// ErrNoRepo is the error for a missing repository.
	ErrNoRepo = errors.New("no ostree repository")
	// ErrParent is the error for a repository that takes objects from another one.
	ErrParent = errors.New("parent repositories are not supported")
	// ErrMode is the error for a repository whose file objects are not stored as the files
	// of a host: its mode is not "bare".
	ErrMode = errors.New(`not the repository of a host, whose mode is "bare"`)
	// errVersion is the error for a format that libostree does not read either.
	errVersion = errors.New("unknown version of the repository format")
	// errLink is the error for a link that ostree may follow out of the repository.
	errLink = errors.New("link to no file of the repository")
)

// maxSmall bounds refs and the configuration in bytes. Real ones have a few lines.
const maxSmall = 1 << 20

// Repo is an open repository.
type Repo struct{ dir *os.File }

// Open opens the repository at path below root. The error is ErrNoRepo where there is no
// directory, and ErrParent for a repository that is not complete by itself.
//
// Links in the repository are followed inside of it, but for its own directories: a
// repository whose objects are elsewhere would look empty.
func Open(root *os.File, path string) (*Repo, error) {
	dir, err := rooted.Open(root, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %q: %w", filepath.Join(root.Name(), path), ErrNoRepo)
	}
	if err != nil {
		return nil, err
	}
	r := &Repo{dir: dir}
	if err := r.check(); err != nil {
		dir.Close()
		return nil, err
	}
	logrus.Debugf("Opened ostree repository %q", dir.Name())
	return r, nil
}

// check reads the configuration and compares the layout.
func (r *Repo) check() error {
	for _, name := range []string{"objects", "refs", "refs/heads"} {
		fd, err := rooted.OpenFD(r.dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return &fs.PathError{Op: "open", Path: filepath.Join(r.dir.Name(), name), Err: err}
		}
		unix.Close(fd)
	}
	core, err := r.config()
	switch {
	case err != nil:
		return err
	case core["repo_version"] != "1":
		err = fmt.Errorf("%w: %q", errVersion, core["repo_version"])
	case core["parent"] != "":
		err = fmt.Errorf("%w: %q", ErrParent, core["parent"])
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", r.configPath(), err)
	}
	return nil
}

func (r *Repo) configPath() string { return filepath.Join(r.dir.Name(), "config") }

// config returns the section "core" of the configuration.
func (r *Repo) config() (map[string]string, error) {
	data, err := rooted.ReadFile(r.dir, "config", maxSmall)
	if err != nil {
		return nil, err
	}
	file, err := ini.ParseKeyFile(data)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", r.configPath(), err)
	}
	return file["core"], nil
}

// read reads a file of the repository. The error for a missing one is fs.ErrNotExist.
func (r *Repo) read(file string, limit int64) ([]byte, error) {
	data, err := rooted.ReadFile(r.dir, file, limit)
	if errors.Is(err, fs.ErrNotExist) {
		st, linkErr := rooted.Stat(r.dir, file, unix.AT_SYMLINK_NOFOLLOW)
		if linkErr == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			err = fmt.Errorf("%w: %w", err, errLink)
		}
	}
	return data, err
}

// Close closes the repository.
func (r *Repo) Close() { r.dir.Close() }

// Path returns the path of the repository, for messages.
func (r *Repo) Path() string { return r.dir.Name() }

// CheckMode returns ErrMode when OpenFile cannot read the file objects.
func (r *Repo) CheckMode() error {
	core, err := r.config()
	if err != nil {
		return err
	}
	if mode, ok := core["mode"]; ok && mode != "bare" {
		return fmt.Errorf("read %q: mode %q: %w", r.configPath(), mode, ErrMode)
	}
	return nil
}
