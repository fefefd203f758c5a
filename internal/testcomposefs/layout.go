// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package testcomposefs

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// Digest is that of data.
func Digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// Import writes the only image of an OCI layout, as "cfsctl oci pull" does, and returns its
// manifest digest.
func (r *Repo) Import(layout, tag string) (digest string, err error) {
	blob := func(digest string) string {
		return filepath.Join(layout, "blobs", strings.ReplaceAll(digest, ":", "/"))
	}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if _, err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return "", err
	}
	digest = index.Manifests[0].Digest
	var m manifest
	manifestText, err := readJSON(blob(digest), &m)
	if err != nil {
		return "", err
	}
	var c config
	configText, err := readJSON(blob(m.Config.Digest), &c)
	if err != nil {
		return "", err
	}
	var layers []Ref
	known := map[string]bool{}
	for i, diffID := range c.RootFS.DiffIDs {
		if known[diffID] {
			continue
		}
		known[diffID] = true
		ref := Ref{Name: diffID}
		if ref.ID, err = r.importLayer(diffID, blob(m.Layers[i].Digest), m.Layers[i].MediaType); err != nil {
			return "", err
		}
		layers = append(layers, ref)
	}
	return digest, r.Image(tag, manifestText, configText, layers)
}

func (r *Repo) importLayer(diffID, path, mediaType string) (composefs.ID, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var archive io.Reader = f
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		archive, err = gzip.NewReader(f)
	case strings.HasSuffix(mediaType, "zstd"):
		archive, err = zstd.NewReader(f)
	}
	if err != nil {
		return "", err
	}
	return r.Layer(diffID, archive)
}

func readJSON(path string, into any) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	return data, err
}
