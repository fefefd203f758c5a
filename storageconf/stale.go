// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// staleAfter is how long a file must have been unchanged to be stale: a program that gets
// the file as its configuration starts long before.
const staleAfter = time.Hour

// confOf returns the name of the private storage.conf that a file belongs to: of another
// sysroot, or "" for none.
func confOf(name string) string {
	base, ext := strings.TrimSuffix(name, filepath.Ext(name)), filepath.Ext(name)
	hash, other := strings.CutPrefix(base, "storage-")
	if raw, err := hex.DecodeString(hash); !other || err != nil || len(raw) == 0 || ext != ".conf" && ext != ".database" {
		return ""
	}
	return base + ".conf"
}

// interrupted reports whether a file has the name of one that is renamed or removed before
// its program ends.
func interrupted(name string) bool {
	return strings.HasPrefix(name, ".tmp-") || strings.HasPrefix(name, "ask-")
}

// Refresh marks the file at path as in use, so that RemoveStale keeps it, if it is there.
func Refresh(path string) {
	now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
	// An error does not matter: on a file system that cannot be written, no file is removed.
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, now, unix.AT_SYMLINK_NOFOLLOW)
}

// RemoveStale removes the private files of other sysroots from dir, the directory of
// ConfPath, that have not been refreshed for an hour and that no process has in its
// environment, and what interrupted runs left there. Each use writes them again. proc is
// where proc(5) is mounted; it is read only if a file is old enough.
func RemoveStale(dir, proc string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		path, conf := filepath.Join(dir, name), confOf(name)
		if conf == "" && !interrupted(name) || !stale(path) {
			continue
		}
		if conf != "" {
			used, err := inEnvironment(proc, filepath.Join(dir, conf))
			if used || err != nil {
				Refresh(path) // so that the next programs that start need not read all processes
				continue
			}
			if !stale(path) { // refreshed in the meantime
				continue
			}
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove stale file: %w", err)
		}
	}
	return nil
}

func stale(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && time.Since(fi.ModTime()) > staleAfter
}

// inEnvironment reports whether a process was started with path in its environment. With an
// error it may have been.
func inEnvironment(proc, path string) (bool, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, err := strconv.Atoi(name); err != nil {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(proc, name, "environ"))
		switch {
		case err == nil:
			if bytes.Contains(environ, []byte(path)) {
				return true, nil
			}
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH): // it has ended
		case name == "1": // init, with more rights than this process
		default:
			return false, err
		}
	}
	return false, nil
}
