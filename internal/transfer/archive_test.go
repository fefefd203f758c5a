// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

// TestLookAtFindsWhatPodmanWouldPull: bats/200-transfer.bats has podman pull such layouts.
func TestLookAtFindsWhatPodmanWouldPull(t *testing.T) {
	const manifest = `{"config":{"digest":"sha256:c0","size":2},"layers":[{"digest":"sha256:1a","size":3}]}`
	dirDigest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest)))
	for _, tt := range []struct {
		name, image string
		change      func(h *scratchHost)
		digest      string
		want        string // in the error
	}{
		{name: "layout", image: "oci:/srv/os:42", digest: bootedDigest},
		{name: "other tag", image: "oci:/srv/os:43", digest: otherDigest},
		{name: "only image", image: "oci:/srv/one", digest: bootedDigest},
		{name: "several images", image: "oci:/srv/os", want: "has 2 images"},
		{name: "no such tag", image: "oci:/srv/os:44", want: `has no image "44"`},
		{name: "no layout", image: "oci:/srv/missing:42", want: "no such file or directory"},
		{name: "image by number", image: "oci:/srv/os:@0"},
		{name: "image by number of no layout", image: "oci:/srv/missing:@0", want: "no such file or directory"},
		{name: "malformed index", image: "oci:/srv/os:42", change: func(h *scratchHost) { h.Write("srv/os/index.json", "{") }, want: "index.json"},
		{name: "no manifest", image: "oci:/srv/os:42", change: func(h *scratchHost) { h.remove("srv/os/blobs/" + strings.ReplaceAll(bootedDigest, ":", "/")) }, want: "no such file or directory"},
		{name: "no layer", image: "oci:/srv/os:42", change: func(h *scratchHost) { h.remove("srv/os/blobs/sha256/1a") }, want: "sha256/1a"},
		{name: "layer of another size", image: "oci:/srv/os:42", change: func(h *scratchHost) { h.Write("srv/os/blobs/sha256/1a", "ta") }, want: "is not a file of 3 bytes"},
		{
			name: "FIFO in place of a manifest", image: "oci:/srv/os:42", want: "not a regular file",
			change: func(h *scratchHost) {
				h.remove("srv/os/index.json")
				if err := syscall.Mkfifo(h.Path("srv/os/index.json"), 0o600); err != nil {
					h.Fatal(err)
				}
			},
		},
		{
			name: "digest that leads elsewhere", image: "oci:/srv/evil:1", want: "invalid digest",
			change: func(h *scratchHost) {
				h.Write("srv/evil/index.json", `{"manifests":[{"digest":"sha256:../../os","annotations":{"org.opencontainers.image.ref.name":"1"}}]}`)
			},
		},
		{
			name: "list of images", image: "oci:/srv/os:42",
			change: func(h *scratchHost) {
				h.Write("srv/os/blobs/"+strings.ReplaceAll(bootedDigest, ":", "/"), `{"manifests":[{"digest":"sha256:00"}]}`)
			},
		},
		{name: "directory", image: "dir:/srv/dir", digest: dirDigest},
		{name: "no directory", image: "dir:/srv/missing", want: "no such file or directory"},
		{name: "directory without a layer", image: "dir:/srv/dir", change: func(h *scratchHost) { h.remove("srv/dir/1a") }, want: "dir/1a"},
		{name: "archive", image: "oci-archive:/srv/os.tar:42"},
		{name: "no archive", image: "oci-archive:/srv/missing.tar", want: "no such file or directory"},
		{name: "docker archive", image: "docker-archive:/srv/os.tar:quay.io/os:42"},
		{name: "no docker archive", image: "docker-archive:/srv/missing.tar@0", want: "no such file or directory"},
		{name: "daemon", image: "docker-daemon:quay.io/os:42"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			h.layout("srv/os", map[string]string{"42": bootedDigest, "43": otherDigest})
			h.layout("srv/one", map[string]string{"42": bootedDigest})
			h.Write("srv/dir/manifest.json", manifest)
			h.Write("srv/dir/c0", "{}")
			h.Write("srv/dir/1a", "tar")
			h.Write("srv/os.tar", "")
			if tt.change != nil {
				tt.change(h)
			}
			image, err := host.ParseImageReference(tt.image)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := lookAt(h.Dir, image)
			if tt.want == "" && (err != nil || digest != tt.digest) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %q, %v, want %q, %q", digest, err, tt.digest, tt.want)
			}
		})
	}
}
