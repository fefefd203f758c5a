// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	sha2 "crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// The composefs repository relative to the physical root, and what bounds its files in
// bytes: streams of manifests and configurations are below 1 KiB in practice.
const (
	composefsRepo   = "composefs"
	maxSplitstream  = 1 << 20
	maxManifestJSON = 4 << 20
)

// errSplitstream says that a file is not a stream of a manifest or a configuration.
var errSplitstream = errors.New("not a stream with one object")

// readComposefsImage returns the manifest and the configuration of the image with a
// manifest digest in the composefs repository below phys. The error is fs.ErrNotExist where
// the repository does not have it, as after a garbage collection by another bootc.
//
// Both are compared with their digests, so that it does not matter what else is wrong with
// the repository.
func readComposefsImage(phys *os.File, digest string) (Manifest, ImageConfig, error) {
	var manifest Manifest
	var config ImageConfig
	err := readOCIStream(phys, "oci-manifest-", digest, &manifest)
	if err == nil {
		err = readOCIStream(phys, "oci-config-", manifest.Config.Digest, &config)
	}
	return manifest, config, err
}

// readOCIStream reads the JSON document with a digest that a stream of the repository
// refers to.
func readOCIStream(phys *os.File, prefix, digest string, into any) error {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || !isHex(sum, 64) {
		return fmt.Errorf("invalid digest %.80q", digest)
	}
	name := path.Join(composefsRepo, "streams", prefix+digest)
	stream, err := rooted.ReadFile(phys, name, maxSplitstream)
	if err != nil {
		return err
	}
	object, err := onlyObject(stream)
	if err != nil {
		return fmt.Errorf("parse %q: %w", name, err)
	}
	name = path.Join(composefsRepo, "objects", object[:2], object[2:])
	data, err := rooted.ReadFile(phys, name, maxManifestJSON)
	if err != nil {
		return err
	}
	if found := sha2.Sum256(data); hex.EncodeToString(found[:]) != sum {
		return fmt.Errorf("%q has the digest sha256:%x instead of %s", name, found, digest)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("parse %q: %w", name, err)
	}
	return nil
}

// onlyObject returns the name of the only object that a splitstream refers to. The list of
// them is the one part that is not compressed. All integers are little-endian.
//
// Source: crates/composefs/src/splitstream.rs of composefs-rs. Its header has 32 bytes with
// the range of the info section, in one of two layouts; composefs before 0.7 wrote the
// magic at offset 18. The list's range is at offset 16 of that section.
func onlyObject(stream []byte) (string, error) {
	magic := []byte("SplitStream\x00") // with the version
	var at, algorithm int
	switch {
	case len(stream) < 32:
		return "", errSplitstream
	case bytes.HasPrefix(stream, magic):
		at, algorithm = 16, int(stream[14])
	case bytes.HasPrefix(stream[18:], magic):
		at, algorithm = 0, int(stream[30])
	default:
		return "", errSplitstream
	}
	size := map[int]int{1: 32, 2: 64}[algorithm] // SHA-256, SHA-512
	info, err := rangeIn(stream, stream[at:])
	if err != nil || len(info) < 80 || size == 0 {
		return "", errSplitstream
	}
	objects, err := rangeIn(stream, info[16:])
	if err != nil || len(objects) != size {
		return "", errSplitstream
	}
	return hex.EncodeToString(objects), nil
}

// rangeIn returns the bytes of data in a range: two integers, start and end.
func rangeIn(data, written []byte) ([]byte, error) {
	start, end := binary.LittleEndian.Uint64(written), binary.LittleEndian.Uint64(written[8:])
	if start > end || end > uint64(len(data)) {
		return nil, errSplitstream
	}
	return data[start:end], nil
}

// readRepoInfo adds what the composefs repository has of a deployment's image, the same as
// bootc reports. It returns false where the repository does not have it in a form that is
// known, or may not be read.
func (r *sysrootReader) readRepoInfo(d *Deployment) bool {
	manifest, config, err := readComposefsImage(r.phys, d.ManifestDigest)
	// A stream in an unknown form is no fault of the host.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, errSplitstream) {
		return false
	}
	if err != nil {
		r.problem("describe deployment %s: %w", d.ID(), err)
		return true
	}
	d.describe(manifest, config)
	return true
}

// describe sets what manifest and configuration of a composefs deployment's image say.
// Unlike on ostree hosts, bootc does not look at labels.
func (d *Deployment) describe(manifest Manifest, config ImageConfig) {
	d.Version = manifest.Annotations["org.opencontainers.image.version"]
	d.Architecture, d.Created = config.Architecture, parseTime(config.Created)
}
