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

// ErrStateDir says that another user owns the directory for our files, or can write it.
var ErrStateDir = errors.New("not a directory that only this user can write")

// stateDir returns the directory of confPath, made with mode 0755 if it is missing. It is
// an error if it is not a directory of the user who runs this, root mostly, that no other
// user can write: what is in it decides what root's podman reads.
func stateDir(confPath string) (string, error) {
	dir := filepath.Dir(confPath)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	switch {
	case err == nil:
		if err = os.Chmod(dir, 0o755); err != nil { // whatever the umask
			return "", fmt.Errorf("make state directory: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
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
