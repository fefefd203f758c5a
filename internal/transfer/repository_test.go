// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

const (
	created   = "2026-08-01T10:00:00Z"
	imageName = "quay.io/example/os:42"
)

func makeDir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// exportable gives the host an ostree repository with an image of the manifest digest
// "sha256:original" that can be exported, with a layer for each map of files, and returns
// its commit.
func (h *scratchHost) exportable(layers ...map[string]string) (commit string) {
	h.Helper()
	testhost.Need(h.TB, "ostree")
	repo := h.Path("sysroot/ostree/repo")
	makeDir(h, repo)
	runOSTree := func(args ...string) string {
		return testhost.Run(h, "ostree", append([]string{"--repo=" + repo}, args...)...)
	}
	runOSTree("init", "--mode=bare")
	manifest, diffIDs := host.Manifest{}, []string{}
	merged := h.TempDir()
	for i, files := range layers {
		tree := h.TempDir()
		for _, dir := range []string{tree, merged} {
			for path, content := range files {
				makeDir(h, filepath.Dir(filepath.Join(dir, path)))
				if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o755); err != nil {
					h.Fatal(err)
				}
			}
		}
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, "blob", i)))
		escaped, err := ostree.EscapeRef(digest)
		if err != nil {
			h.Fatal(err)
		}
		runOSTree("refs", "--create="+ostree.LayerRefPrefix+escaped, runOSTree("commit", "--no-bindings", "--orphan", "--tree=dir="+tree))
		manifest.Layers = append(manifest.Layers, host.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: digest, Size: 100})
		diffIDs = append(diffIDs, fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, "diff", i))))
	}
	config := map[string]any{"architecture": "amd64", "os": "linux", "created": created, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}}
	return runOSTree("commit", "--no-bindings", "--branch="+ostree.ImageRefPrefix+"docker_3A__2F__2F_quay_2E_io/example/os_3A_42", "--tree=dir="+merged,
		"--add-metadata-string=ostree.manifest-digest=sha256:original",
		"--add-metadata-string=ostree.manifest="+string(h.encode(manifest)),
		"--add-metadata-string=ostree.container.image-config="+string(h.encode(config)))
}
