// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"encoding/json"
	"runtime"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// lowest is an image of the lowest layers of s alone, all when layers is 0: one of its
// own, with documents that say no more than that, since podman lists no image without.
func (s *source) lowest(layers int) (*source, error) {
	if layers == 0 {
		return s, nil
	}
	if layers > len(s.layers) {
		return nil, unsupported("the image has %d layers, fewer than %d", len(s.layers), layers)
	}
	low := &source{store: s.store, layers: s.layers[:layers], metadata: "{}"}
	descriptors := []descriptor{}
	for _, l := range low.layers {
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
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, format, descriptor{"application/vnd.oci.image.config.v1+json", digest.FromBytes(text), int64(len(text))}, descriptors})
	if err != nil {
		return nil, err
	}
	low.data = documents(manifest, text)
	low.image = &storage.Image{
		ID: clonejob.LentImage(s.image.ID, layers), Digest: digest.FromBytes(manifest), Created: s.image.Created,
	}
	return low, nil
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
