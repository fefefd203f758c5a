// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// lowest is an image of the lowest layers of s alone, all when layers is 0: one of its
// own, with documents that say no more than that, since podman lists no image without.
func (s *source) lowest(blobs []clonejob.Blob) (*source, error) {
	if len(blobs) == 0 {
		return s, nil
	}
	if len(blobs) > len(s.layers) {
		return nil, clonejob.Unsupportedf("the image has %d layers, fewer than %d", len(s.layers), len(blobs))
	}
	low := &source{store: s.store, layers: s.layers[:len(blobs)], metadata: "{}"}
	descriptors := []descriptor{}
	for i, l := range low.layers {
		l.comesAs(blobs[i])
		d := descriptor{"application/vnd.oci.image.layer.v1.tar", l.UncompressedDigest, l.UncompressedSize}
		descriptors = append(descriptors, d)
	}
	var config struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       struct {
			Labels map[string]string
		} `json:"config"`
		RootFS struct {
			Type    string          `json:"type"`
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config.Labels = map[string]string{"org.opencontainers.image.description": "Layers of " + s.image.ID + " that bootc-podman lends to a pull"}
	config.RootFS.Type, config.RootFS.DiffIDs = "layers", low.diffIDs()
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	const format = "application/vnd.oci.image.manifest.v1+json"
	manifest, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations"`
	}{
		2, format,
		descriptor{"application/vnd.oci.image.config.v1+json", digest.FromBytes(text), int64(len(text))},
		descriptors,
		map[string]string{clonejob.Lent: s.image.ID},
	})
	if err != nil {
		return nil, err
	}
	low.data = documents(manifest, text)
	low.image = &storage.Image{
		ID: clonejob.LentImage(s.image.ID, len(blobs)), Digest: digest.FromBytes(manifest), Created: s.image.Created,
	}
	return low, nil
}

// assemble is the image with the given documents, whose layers are the lowest ones of s.
func (s *source) assemble(blobs []clonejob.Blob, documents *clonejob.Documents) (*source, error) {
	if len(blobs) > len(s.layers) {
		return nil, clonejob.Unsupportedf("the image has %d layers, fewer than %d", len(s.layers), len(blobs))
	}
	low := &source{store: s.store, layers: s.layers[:len(blobs)], metadata: "{}"}
	for i, l := range low.layers {
		l.comesAs(blobs[i])
	}
	if err := low.describe(documents.Manifest, documents.Config); err != nil {
		return nil, err
	}
	if err := low.verifyMetadata(); err != nil {
		return nil, fmt.Errorf("verify documents: %w", err)
	}
	return low, nil
}

// comesAs makes a pull find the layer by a blob that it was not pulled as itself: one
// that was built here, or compressed in another way.
func (l *sourceLayer) comesAs(blob clonejob.Blob) {
	if l.CompressedDigest.String() == blob.Digest {
		return
	}
	layer := *l.Layer
	layer.CompressedDigest, layer.CompressedSize, layer.CompressionType = digest.Digest(blob.Digest), blob.Size, archive.Uncompressed
	switch {
	case strings.HasSuffix(blob.MediaType, "gzip"):
		layer.CompressionType = archive.Gzip
	case strings.HasSuffix(blob.MediaType, "zstd"):
		layer.CompressionType = archive.Zstd
	}
	l.Layer = &layer
}

// descriptor is that of the OCI image specification.
type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

// documents are what an image's record has of its manifest and configuration.
func documents(manifest, config []byte) []storage.ImageBigDataOption {
	const key = storage.ImageDigestBigDataKey
	manifestDigest, configDigest := digest.FromBytes(manifest), digest.FromBytes(config)
	return []storage.ImageBigDataOption{
		{Key: configDigest.String(), Data: config, Digest: configDigest},
		{Key: key + "-" + manifestDigest.String(), Data: manifest, Digest: manifestDigest},
		{Key: key, Data: manifest, Digest: manifestDigest},
	}
}
