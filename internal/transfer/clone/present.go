// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lacks returns which of the files of a layer with a record are not there, "" if all
// are. The link in overlay/l is not one of them: podman makes it again.
func (d *destination) lacks(id, parent string) (string, error) {
	overlay := int(d.area.overlay.Fd())
	for _, f := range []struct {
		dir        int
		path, name string
		kind       uint32
		needed     bool
	}{
		{overlay, id, "directory", unix.S_IFDIR, true},
		{overlay, filepath.Join(id, "diff"), "diff", unix.S_IFDIR, true},
		{overlay, filepath.Join(id, "link"), "link", unix.S_IFREG, true},
		{overlay, filepath.Join(id, "lower"), "lower", unix.S_IFREG, parent != ""},
		{unix.AT_FDCWD, tarSplitPath(d.layers, id), "tar-split", unix.S_IFREG, true},
	} {
		if !f.needed {
			continue
		}
		var st unix.Stat_t
		err := unix.Fstatat(f.dir, f.path, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case isOneOf(err, unix.ENOENT, unix.ENOTDIR):
			return f.name, nil
		case err != nil:
			return "", &fs.PathError{Op: "stat", Path: f.path, Err: err}
		case st.Mode&unix.S_IFMT != f.kind, f.kind == unix.S_IFREG && st.Size == 0:
			return f.name, nil
		}
	}
	return "", nil
}
