// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage/pkg/archive"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// podman runs podman on a store.
func (s *testStore) podman(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	program, err := exec.LookPath("podman")
	if err != nil {
		t.Skip("needs podman")
	}
	if s.podmanRun == "" { // which is short for podman
		s.podmanRun, err = os.MkdirTemp("", "") //nolint:usetesting // see above
		must(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(s.podmanRun) })
	}
	s.Free()
	cmd := exec.Command(program, slices.Concat([]string{
		"--root", s.job.GraphRoot, "--runroot", s.podmanRun, "--tmpdir", s.podmanRun + "/tmp", "--storage-driver", "overlay",
		"--storage-opt", "overlay.skip_mount_home=true", "--events-backend", "none",
	}, args)...)
	// What the storage library makes of /dev/null is not what podman makes of it.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CONTAINERS_STORAGE_CONF=") })
	var out, talk strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		t.Errorf("podman %q: %v: %s", args, err, talk.String())
	}
	return out.String(), talk.String()
}

// blobs are other ones than the layers were pulled as.
var blobs = []clonejob.Blob{
	{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: "sha256:" + strings.Repeat("1", 64), Size: 11},
	{MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Digest: "sha256:" + strings.Repeat("2", 64), Size: 22},
	{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: "sha256:" + strings.Repeat("3", 64), Size: 33},
}

func TestLowestLayersAreLent(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	other := newArchive(t)
	other.add(tar.Header{Name: "other"}, "not lent")
	layers := append(hardLayers(t), other.bytes())
	id := a.put(t, "localhost/image:1", layers...)
	a.Free()
	b.Free()
	job := clonejob.Job{Source: a.job, Destination: b.job, Image: id, Blobs: blobs[:2], Verify: clonejob.VerifyFull}
	for _, shared := range []bool{false, true} {
		result, err := Image(t.Context(), job, nil)
		must(t, err)
		if result.Image != clonejob.LentImage(id, 2) || len(result.Layers) != 2 || result.Layers[1].Shared != shared {
			t.Errorf("result %+v", result)
		}
		b.check(t)
		image, err := b.Image(result.Image)
		must(t, err)
		if len(image.Names) != 0 || image.TopLayer != result.Layers[1].ID {
			t.Errorf("image %+v", image)
		}
		a.reopen(t)
		for i, l := range result.Layers {
			testfs.Compare(t, testfs.Snapshot(t, b.diff(l.ID)), testfs.Snapshot(t, a.diff(l.ID)))
			layer, err := b.Layer(l.ID)
			must(t, err)
			if layer.CompressedDigest.String() != blobs[i].Digest || layer.CompressedSize != blobs[i].Size ||
				layer.CompressionType != []archive.Compression{archive.Gzip, archive.Zstd}[i] {
				t.Errorf("layer %d is of blob %s, %d bytes, compression %d", i, layer.CompressedDigest, layer.CompressedSize, layer.CompressionType)
			}
		}
	}
	// The image itself finds the layers, and does without the other.
	result, err := a.clone(t, b, id, clonejob.VerifyFull, "localhost/image:1")
	must(t, err)
	for i, shared := range []bool{true, true, false} {
		if result.Layers[i].Shared != shared {
			t.Errorf("layer %+v", result.Layers[i])
		}
	}
	b.reopen(t)
	_, err = b.DeleteImage(clonejob.LentImage(id, 2), true)
	must(t, err)
	b.check(t)
}

func TestLentLayersAreListedAndRemovedByPodman(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	a.Free()
	b.Free()
	result, err := Image(t.Context(), clonejob.Job{Source: a.job, Destination: b.job, Image: id, Blobs: blobs[:1], Verify: clonejob.VerifyMetadata}, nil)
	must(t, err)
	for _, args := range [][]string{
		{"images", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}"},
		{"image", "inspect", "--format", "sha256:{{.ID}} <none>", result.Image},
		{"image", "rm", result.Image},
	} {
		out, talk := b.podman(t, args...)
		if talk != "" || args[1] != "rm" && strings.TrimSpace(out) != "sha256:"+result.Image+" <none>" {
			t.Errorf("podman %q says %q and %q", args, out, talk)
		}
	}
	b.check(t)
	b.has(t, 0, 0)
}

func TestMoreLayersThanThereAreCannotBeLent(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	a.Free()
	b.Free()
	job := clonejob.Job{Source: a.job, Destination: b.job, Image: id, Blobs: blobs, Verify: clonejob.VerifyMetadata}
	if _, err := Image(t.Context(), job, nil); !errors.Is(err, clonejob.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
	}
}

// documentsOf are those of an image with the layers of an archive each.
func documentsOf(archives ...[]byte) *clonejob.Documents {
	var diffIDs []string
	for _, a := range archives {
		diffIDs = append(diffIDs, digest.FromBytes(a).String())
	}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["%s"]}}`, strings.Join(diffIDs, `","`))
	return &clonejob.Documents{Config: config, Manifest: fmt.Appendf(nil, `{"schemaVersion":2,"config":{"digest":"%s"}}`, digest.FromBytes(config))}
}

func TestImageIsMadeOfTheLowestLayersOfAnother(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	layers := hardLayers(t)
	upper := newArchive(t)
	upper.add(tar.Header{Name: "upper"}, "of the other image")
	id := a.put(t, "localhost/derived:1", append(layers[:2:2], upper.bytes())...)
	a.Free()
	b.Free()
	documents := documentsOf(layers[:2]...)
	// Into another store, and into the same one.
	for _, to := range []*testStore{b, a} {
		job := clonejob.Job{
			Source: a.job, Destination: to.job, Image: id, Blobs: blobs[:2], Documents: documents, Names: []string{"localhost/base:1"}, Verify: clonejob.VerifyFull,
		}
		// Documents of other layers: nothing comes.
		job.Documents = documentsOf(layers[1], layers[0])
		if _, err := Image(t.Context(), job, nil); !errors.Is(err, clonejob.ErrNotVerified) {
			t.Errorf("error %v, want %v", err, clonejob.ErrNotVerified)
		}
		to.reopen(t)
		if images, err := to.Images(); err != nil || len(images) > 1 || to == b && len(images) > 0 {
			t.Errorf("%d images, %v", len(images), err)
		}
		to.Free()
		job.Documents = documents
		result, err := Image(t.Context(), job, nil)
		must(t, err)
		to.reopen(t)
		image, err := to.Image("localhost/base:1")
		must(t, err)
		if image.Digest != digest.FromBytes(documents.Manifest) || image.ID != digest.FromBytes(documents.Config).Encoded() || len(result.Layers) != 2 || result.Layers[0].Shared != (to == a) {
			t.Errorf("image %+v, result %+v", image, result)
		}
		to.check(t)
		to.Free()
	}
}
