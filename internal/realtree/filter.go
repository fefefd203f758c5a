// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"
)

// filter does to a layer's archive what ostree-ext does before ostree commits it
// (tar/write.rs there): /etc becomes /usr/etc, and what is in directories that
// belong to the running system is left out, as are devices, which ostree does not have.
func filter(w io.Writer, r io.Reader) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return err
		}
		hdr.Name = inOSTree(hdr.Name)
		switch hdr.Typeflag {
		case tar.TypeLink:
			hdr.Linkname = inOSTree(hdr.Linkname)
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
		default:
			continue
		}
		top, rest, _ := strings.Cut(hdr.Name, "/")
		switch top {
		case "run", "tmp", "proc", "sys", "dev":
			if rest != "" {
				continue
			}
		}
		delete(hdr.PAXRecords, "path")
		delete(hdr.PAXRecords, "linkpath")
		hdr.Format = tar.FormatPAX
		if err := out.WriteHeader(hdr); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}

func inOSTree(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "etc" || strings.HasPrefix(name, "etc/") {
		return "usr/" + name
	}
	if name == "" {
		return "."
	}
	return name
}
