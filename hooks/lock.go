// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// LockPath is where the digests of bound images are pinned.
const LockPath = "/etc/bootc-podman/bound.lock"

const maxLock = 1 << 20

// Lock pins bound images: bound-gate lets a container start only with the image of
// the digest that the lock has for the name, as the bound unit spells it.
type Lock struct {
	// Schema is 1.
	Schema int               `json:"schema"`
	Images map[string]string `json:"images"`
}

// ReadLock reads the lock file of the host whose root is root. The error is
// fs.ErrNotExist where there is none.
func ReadLock(root string) (lock Lock, err error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return lock, err
	}
	defer dir.Close()
	f, err := storageconf.OpenIn(dir, LockPath, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return lock, fmt.Errorf("read lock: %w", err)
	}
	defer f.Close()
	content, err := readLimited(f, maxLock)
	if err != nil {
		return lock, fmt.Errorf("read %s: %w", LockPath, err)
	}
	if err := json.Unmarshal(content, &lock); err != nil {
		return lock, fmt.Errorf("decode %s: %w", LockPath, err)
	}
	if lock.Schema != 1 {
		return lock, fmt.Errorf("decode %s: schema %d: want 1", LockPath, lock.Schema)
	}
	return lock, nil
}

// MakeLock makes a lock of the images that are bound to the booted deployment, as
// the bootc-owned store has them. One that it does not have is an error.
func MakeLock(root string) (Lock, error) {
	v := &Invocation{Root: root}
	lock := Lock{Schema: 1, Images: map[string]string{}}
	bound, problems, err := v.boundImages()
	if err == nil {
		err = errors.Join(problems...)
	}
	if err != nil {
		return lock, fmt.Errorf("lock bound images: %w", err)
	}
	if len(bound) == 0 {
		return lock, nil
	}
	store, err := v.bootcStore()
	if err != nil {
		return lock, fmt.Errorf("lock bound images: %w", err)
	}
	defer store.Close()
	for _, b := range bound {
		img, err := store.Lookup(b.Image, v.shortNames)
		if err == nil && img.Digest == "" {
			err = errors.New("no digest is recorded")
		}
		if err != nil {
			return lock, fmt.Errorf("lock bound image %q: %w", b.Image, err)
		}
		lock.Images[b.Image] = img.Digest
	}
	return lock, nil
}

// Write writes the lock file of the host whose root is root.
func (l Lock) Write(root string) error {
	content, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = writeFile(root, LockPath, append(content, '\n'), nil)
	}
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// writeFile replaces a file below root, so that after a crash it is there as
// before or as it should be. Directories that are missing are made and told to made.
func writeFile(root, path string, content []byte, made func(dir string)) error {
	in, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer in.Close()
	path = strings.TrimPrefix(path, "/")
	if old, err := in.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	dir := filepath.Dir(path)
	if err := makeDirs(in, dir, made); err != nil {
		return err
	}
	// Others may write the same file.
	tmp := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text()+".tmp")
	f, err := in.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = in.Rename(tmp, path)
	}
	if err != nil {
		_ = in.Remove(tmp)
		return err
	}
	return syncDir(in, dir)
}

func makeDirs(in *os.Root, dir string, made func(string)) error {
	if dir == "." || dir == "" {
		return nil
	}
	fi, err := in.Stat(dir)
	if err == nil && fi.IsDir() {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(in, filepath.Dir(dir), made); err != nil {
		return err
	}
	if err := in.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if made != nil {
		made("/" + dir)
	}
	return in.Chmod(dir, 0o755)
}

func syncDir(in *os.Root, dir string) error {
	d, err := in.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
