// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Image is one record of images.json.
type Image struct {
	// ID is the digest of the image configuration in hex, mostly.
	ID string
	// Names are normalised references, with a tag or a digest each.
	Names []string
	// Digest is the manifest digest that podman shows, "" when none is recorded.
	Digest string
	// Digests are all manifest digests, Digest among them; an image pulled by a
	// manifest list has that of the list, too.
	Digests []string
	// Created is when the image was built.
	Created time.Time
	// Size is what podman images shows: the bytes of all layers, uncompressed,
	// and of the big data items (manifests, configuration, signatures). It is
	// -1 when not known.
	Size int64
	// Written is the digest of the manifest that was written last.
	Written string

	// graph is nil for an image that is not of a containers-storage.
	graph    *Graph
	topLayer string
	// mapped are copies of the top layer for other user namespaces.
	mapped []string
	// configKey names the big data item with the configuration, "" where only the
	// manifest has it. config is its content, nil if it was not read or there is none.
	configKey string
	config    *Config
	// bigData holds the size of each item.
	bigData int64
	// damage is why the layers of the image cannot be used, configErr why its
	// configuration is, once configRead.
	damage, configErr error
	configRead        bool
}

// Dir is the directory of the store that the image is in.
func (img *Image) Dir() string { return img.graph.Dir.Name() }

// Config is the part of an image configuration that is of use here, in the words of the OCI
// image specification: the whole of it would be decoded for each image of a list.
type Config struct {
	Architecture string `json:"architecture"`
	// RootFS is decoded where it is needed, see diffIDs.
	RootFS json.RawMessage `json:"rootfs"`
}

// Config reads the configuration of the image. The error is ErrNotImage for a
// manifest list, and for an image of Docker's first schema, which has none.
func (img *Image) Config() (*Config, error) {
	blob, err := img.configBlob()
	if err != nil {
		return nil, err
	}
	c := &Config{}
	if err := decode(blob, c, (*Config).scan); err != nil {
		return nil, fmt.Errorf("decode configuration of image %q: %w", img.ID, err)
	}
	return c, nil
}

// Labels reads the labels of the image from its configuration, nil where that cannot be
// read.
func (img *Image) Labels() map[string]string {
	var c struct {
		Config struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	}
	if blob, err := img.configBlob(); err != nil || json.Unmarshal(blob, &c) != nil {
		return nil
	}
	return c.Config.Labels
}

// configBlob reads the configuration of the image, and compares it with its digest.
func (img *Image) configBlob() ([]byte, error) {
	key := img.configKey
	if key == "" {
		m, err := img.manifest()
		if err != nil {
			return nil, err
		}
		key = m.Config.Digest
		if m.isList() || key == "" {
			return nil, fmt.Errorf("read configuration of image %q: %w", img.ID, ErrNotImage)
		}
	}
	blob, err := img.blob(key)
	if err != nil {
		return nil, fmt.Errorf("read configuration of image %q: %w", img.ID, err)
	}
	if want, ok := strings.CutPrefix(key, "sha256:"); ok {
		if sum := sha256.Sum256(blob); hex.EncodeToString(sum[:]) != want {
			return nil, fmt.Errorf("read configuration of image %q: content does not match digest %s", img.ID, key)
		}
	}
	return blob, nil
}

// scan reads what encoding/json would.
func (c *Config) scan(s *scanner) {
	s.object(func(name string) {
		switch name {
		case "architecture":
			c.Architecture = strings.Clone(s.str())
		case "rootfs":
			c.RootFS = json.RawMessage(s.skip())
		default:
			s.other(name)
		}
	})
}

// Architecture is that of the configuration, "" where it was not read.
func (img *Image) Architecture() string {
	if img.config == nil {
		return ""
	}
	return img.config.Architecture
}

// Shown is the digest of the manifest that skopeo reads of an image when its name has
// no digest.
func (img *Image) Shown() string {
	if img.Written != "" {
		return img.Written
	}
	return img.Digest
}

// Annotations of the manifest of an image that was exported from elsewhere: the
// digest of the manifest it had there, and that of its configuration here. Images
// built upon it inherit annotations, but have configurations of their own.
const (
	OriginalDigest = "io.bootc-podman.original-digest"
	ExportedConfig = "io.bootc-podman.exported-config"
)

// Has returns whether img has a manifest digest.
func (img *Image) Has(digest string) bool { return slices.Contains(img.Digests, digest) }

// Is reports whether img has a manifest digest, or is the same image exported, whose
// digest is another.
func (img *Image) Is(digest string) bool {
	return slices.Contains(img.Digests, digest) || digest != "" && img.Original() == digest
}

// Original is the manifest digest that an exported image had before, "" for any other image.
func (img *Image) Original() string {
	annotations := img.Annotations()
	if annotations[ExportedConfig] != "sha256:"+img.ID {
		return ""
	}
	return annotations[OriginalDigest]
}

// Annotations are those of the image's manifest, as far as it can be read.
func (img *Image) Annotations() map[string]string {
	m, err := img.manifest()
	if err != nil {
		return nil
	}
	return m.Annotations
}

// manifest is an image manifest or a manifest list, of either the OCI or the
// Docker kind.
type manifest struct {
	SchemaVersion int    `json:"schemaVersion"`
	MediaType     string `json:"mediaType"`
	Config        struct {
		Digest string `json:"digest"`
	} `json:"config"`
	Manifests []struct {
		Digest   string    `json:"digest"`
		Platform *platform `json:"platform"`
	} `json:"manifests"`
	Annotations map[string]string `json:"annotations"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
}

// Instance returns the digest of the manifest for this machine in a manifest list, "" for
// none in it; list is false for the manifest of an image.
func Instance(data []byte) (digest string, list bool, err error) {
	m := &manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return "", false, fmt.Errorf("decode manifest: %w", err)
	}
	if !m.isList() {
		return "", false, nil
	}
	return m.choose(), true, nil
}

func (m *manifest) isList() bool {
	switch m.MediaType {
	case "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json":
		return true
	// The OCI specification does not ask for a media type.
	case "":
		return m.Config.Digest == "" && m.Manifests != nil
	default:
		return false
	}
}

// isImage reports whether podman can read it as the manifest of an image. Docker's
// first schema has no configuration blob.
func (m *manifest) isImage() bool {
	return m.Config.Digest != "" || m.SchemaVersion == 1
}

// manifest reads the manifest of an image that was written last.
func (img *Image) manifest() (*manifest, error) { return img.manifestAt(manifestKey) }

func (img *Image) manifestAt(key string) (*manifest, error) {
	blob, err := img.blob(key)
	if err != nil {
		return nil, fmt.Errorf("read manifest of image %q: %w", img.ID, err)
	}
	m := &manifest{}
	if err := json.Unmarshal(blob, m); err != nil {
		return nil, fmt.Errorf("decode manifest of image %q: %w", img.ID, err)
	}
	return m, nil
}

// blob reads a big data item of the image.
func (img *Image) blob(key string) ([]byte, error) {
	if img.graph == nil {
		return nil, fs.ErrNotExist
	}
	path, err := img.graph.Driver.BigData(img.ID, key)
	if err != nil {
		return nil, err
	}
	return rooted.ReadFile(img.graph.Dir, path, maxBlob)
}

// blobSize is the size of a big data item of the image.
func (img *Image) blobSize(key string) (int64, error) {
	path, err := img.graph.Driver.BigData(img.ID, key)
	if err != nil {
		return 0, err
	}
	st, err := rooted.Stat(img.graph.Dir, path, 0)
	return st.Size, err
}
