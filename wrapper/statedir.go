// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrStateDir reports that another user owns the directory for our files, or can write to it.
var ErrStateDir = errors.New("not a directory that only this user can write")

// stateDir returns the directory of confPath, made with mode 0755 if it is missing. It is
// an error if it is not a directory of the user who runs this, mostly root, or if another
// user can write to it: its files decide what root's podman reads.
func stateDir(confPath string) (string, error) {
	dir := filepath.Dir(confPath)
	if err := makeAll(dir); err != nil {
		return "", fmt.Errorf("make state directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", fmt.Errorf("use state directory %q: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return "", fmt.Errorf("use state directory %q: %w", dir, ErrStateDir)
	}
	return dir, nil
}

// makeAll is os.MkdirAll with mode 0755 whatever the umask.
func makeAll(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		if err = makeAll(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	switch {
	case err == nil:
		return os.Chmod(dir, 0o755)
	case errors.Is(err, fs.ErrExist):
		return nil
	}
	return err
}
