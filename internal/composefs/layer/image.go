// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// Image is an image in a repository. Its documents have the digests that name them.
type Image struct {
	Manifest, Config []byte
	ConfigDigest     string
	// Layers are the lowest first.
	Layers []Layer
}

// Layer is a layer of an image.
type Layer struct {
	// DiffID is what the configuration says. The archive in Stream is not compared with it.
	DiffID string
	Stream composefs.ID
	// Blob is the layer in the manifest.
	Blob Descriptor
}

// Descriptor is how a manifest refers to a blob, see descriptor.md of the OCI image
// specification. Size is in bytes.
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// OpenImage reads the image with a manifest digest, which is all that the caller has to
// trust: the manifest is compared with it, and the configuration with the manifest. What
// the streams refer to is followed, and names only where that is missing. The error is
// fs.ErrNotExist if the image, or a layer of it, is not there, composefs.ErrFormat, and
// ErrDamaged.
func OpenImage(r *composefs.Repo, digest string) (*Image, error) {
	img, err := openImage(r, digest)
	if err != nil {
		return nil, fmt.Errorf("read image %s in %q: %w", digest, r.Path(), err)
	}
	return img, nil
}

func openImage(r *composefs.Repo, digest string) (*Image, error) {
	img := &Image{}
	id, err := r.Stream(composefs.ManifestPrefix + digest)
	if err != nil {
		return nil, err
	}
	var refs map[string]composefs.ID
	if img.Manifest, refs, err = readReferring(r, id, digest, composefs.MaxManifest); err != nil {
		return nil, err
	}
	var manifest struct {
		Config Descriptor   `json:"config"`
		Layers []Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(img.Manifest, &manifest); err != nil {
		return nil, damagedf("parse manifest: %w", err)
	}
	img.ConfigDigest = manifest.Config.Digest
	if !composefs.IsDigest(img.ConfigDigest) {
		return nil, damagedf("configuration with the digest %.80q", img.ConfigDigest)
	}
	id, ok := refs["config:"+img.ConfigDigest]
	if !ok {
		if id, err = r.Stream(composefs.ConfigPrefix + img.ConfigDigest); err != nil {
			return nil, err
		}
	}
	if img.Config, refs, err = readReferring(r, id, img.ConfigDigest, composefs.MaxConfig); err != nil {
		return nil, err
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, damagedf("parse configuration: %w", err)
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return nil, damagedf("%d layers in the manifest and %d in the configuration", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	for i, diffID := range config.RootFS.DiffIDs {
		l := Layer{DiffID: diffID, Blob: manifest.Layers[i]}
		if l.Stream, err = layerOf(r, refs, diffID); err != nil {
			return nil, err
		}
		img.Layers = append(img.Layers, l)
	}
	return img, nil
}

// layerOf returns the object of a layer.
func layerOf(r *composefs.Repo, refs map[string]composefs.ID, diffID string) (composefs.ID, error) {
	if id, ok := refs[diffID]; ok && composefs.IsDigest(diffID) {
		return id, nil
	}
	id, err := r.Layer(diffID)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
	}
	return id, err
}

// readReferring reads a document, compares it with its digest, and returns what its stream
// refers to.
func readReferring(r *composefs.Repo, id composefs.ID, digest string, limit int64) ([]byte, map[string]composefs.ID, error) {
	data, err := readDocument(r, id, limit)
	if err == nil {
		if differs := composefs.CheckDigest(data, digest); differs != nil {
			err = damagedf("document in object %.16s: %w", id, differs)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := r.OpenStream(id)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	refs, err := Refs(s)
	return data, refs, err
}
