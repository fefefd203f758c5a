// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// oddLayer is an archive that the library unpacks, with all that is unusual.
func oddLayer(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content string) {
		t.Helper()
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Size = int64(len(content))
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1600000000, 0)
		}
		must(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, content)
		must(t, err)
	}
	xattr := func(name, value string) map[string]string {
		return map[string]string{"SCHILY.xattr.user." + name: value}
	}
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}))
	add(tar.Header{Name: "/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 9}, "")
	add(tar.Header{Name: "/absolute"}, "x")
	add(tar.Header{Name: "./implicit/parents/of/file"}, "x")
	add(tar.Header{Name: "implicit/", Typeflag: tar.TypeDir, Mode: 0o751, Gid: 5}, "")
	add(tar.Header{Name: "twice", Mode: 0o600}, "second, longer")
	add(tar.Header{Name: "dir", Typeflag: tar.TypeDir, Mode: 0o700, PAXRecords: xattr("a", "1"), Format: tar.FormatPAX}, "")
	add(tar.Header{Name: "dir/below"}, "x")
	add(tar.Header{Name: "was file/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	add(tar.Header{Name: "was file/in"}, "x")
	add(tar.Header{Name: "kept"}, "by its link")
	add(tar.Header{Name: "link of kept", Typeflag: tar.TypeLink, Linkname: "./kept"}, "")
	add(tar.Header{Name: "symlink", Typeflag: tar.TypeSymlink, Linkname: "nowhere", ModTime: time.Unix(-7, 0), Format: tar.FormatPAX}, "")
	add(tar.Header{Name: "link of symlink", Typeflag: tar.TypeLink, Linkname: "symlink"}, "")
	add(tar.Header{Name: "before the epoch", ModTime: time.Unix(-1000, 5), Format: tar.FormatPAX}, "x")
	add(tar.Header{Name: "far in the future", ModTime: time.Unix(1<<33, 0), Format: tar.FormatPAX}, "x")
	add(tar.Header{Name: strings.Repeat("gnu/", 60) + "file", Format: tar.FormatGNU}, "x")
	add(tar.Header{Name: "usr/lib", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	add(tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}, "")
	add(tar.Header{Name: "lib64", Typeflag: tar.TypeSymlink, Linkname: "/../lib"}, "")
	add(tar.Header{Name: "lib/through"}, "x")
	add(tar.Header{Name: "lib64/through two"}, "x")
	// The same names once more: tar-split refuses them by the same path.
	add(tar.Header{Name: "usr/lib/through", Mode: 0o600}, "second, longer")
	add(tar.Header{Name: "link of through", Typeflag: tar.TypeLink, Linkname: "lib/through", Mode: 0o600}, "")
	add(tar.Header{Name: "lib64/through", Mode: 0o640}, "third")
	add(tar.Header{Name: "usr/lib/d", Typeflag: tar.TypeDir, Mode: 0o700, PAXRecords: xattr("a", "1"), Format: tar.FormatPAX}, "")
	add(tar.Header{Name: "usr/lib/d/below"}, "x")
	add(tar.Header{Name: "lib/d", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: xattr("b", "2"), Format: tar.FormatPAX}, "")
	add(tar.Header{Name: "usr/lib/was dir/deep/file"}, "x")
	add(tar.Header{Name: "lib/was dir"}, "a file now")
	add(tar.Header{Name: "hidden/.wh..wh..opq"}, "")
	add(tar.Header{Name: ".wh.removed"}, "")
	add(tar.Header{Name: "removed/.wh.below"}, "")
	add(tar.Header{Name: ".wh.again"}, "")
	add(tar.Header{Name: "again"}, "after a whiteout")
	add(tar.Header{Name: "owner", Uid: 100000, Gid: 4000000, Mode: 0o7777, Format: tar.FormatGNU}, "x")
	must(t, w.Close())
	b.Write(make([]byte, 3<<10)) // archives are padded
	return b.Bytes()
}

// TestWhatTheLibraryUnpacksHasItsHeaders: no healthy layer may differ from its headers. The
// contents of names that were replaced are lost, for podman, too.
func TestWhatTheLibraryUnpacksHasItsHeaders(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := testfs.New(t, kind)
			a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
			id := a.put(t, "localhost/image:1", append(hardLayers(t), oddLayer(t))...)
			_, err := a.clone(t, b, id, clonejob.VerifyMetadata)
			must(t, err)
			equal(t, b, a, id)
		})
	}
}
