// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rogpeppe/go-internal/diff"
)

// Effective renders the private storage.conf for the store of sysroot, with the
// options of the host whose root is root. It needs no store and no bootc host:
// without one, the driver is the one a new store gets.
func Effective(root, sysroot string) ([]byte, error) {
	config, err := HostConfig(root)
	if err != nil {
		return nil, err
	}
	st, err := Locate(sysroot)
	switch {
	case errors.Is(err, ErrNotBootcHost), errors.Is(err, fs.ErrPermission):
	case err != nil:
		return nil, err
	case st.Exists:
		dir, err := st.Open()
		if errors.Is(err, fs.ErrPermission) {
			break
		}
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		config = config.ForStore(dir)
	}
	return config.Render(), nil
}

// Diff writes to w, as a unified diff, what would have to change in the file at
// path to become conf, and reports whether nothing would.
func Diff(w io.Writer, path string, conf []byte) (same bool, err error) {
	have, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("check storage.conf: %w", err)
	}
	if bytes.Equal(have, conf) {
		return true, nil
	}
	_, err = w.Write(diff.Diff(path, have, "bootc-podman storage-conf", conf))
	return false, err
}
