// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage/pkg/ioutils"
	"go.podman.io/storage/pkg/lockfile"
)

// blob is what the record of a layer says about the compressed archive it came as.
// podman, finding a layer of a manifest by that digest, puts this size into the
// manifest it stores, which so gets another digest if it is missing.
type blob struct {
	Digest      digest.Digest `json:"compressed-diff-digest"`
	Size        int64         `json:"compressed-size"`
	Compression int           `json:"compression"`
}

// recordBlobs completes the records of layers. The library records a staged layer's
// digests, but does not accept these.
func (c *cloning) recordBlobs() error {
	blobs := map[string]blob{}
	for _, p := range c.plan {
		if p.from.CompressedSize > 0 {
			blobs[p.id] = blob{Digest: p.from.CompressedDigest, Size: p.from.CompressedSize, Compression: int(p.from.CompressionType)}
		}
	}
	if err := recordBlobs(c.dst.layers, blobs); err != nil {
		return fmt.Errorf("complete records of layers: %w", err)
	}
	return nil
}

// recordBlobs adds to those records of layers that lack it the size and compression of
// their blobs, by ID, under the library's lock and by its rules.
func recordBlobs(layers string, blobs map[string]blob) error {
	path := filepath.Join(layers, "layers.json")
	lock, err := lockfile.GetLockFile(filepath.Join(layers, "layers.lock"))
	if err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an image without layers
	}
	if err != nil {
		return err
	}
	var records []json.RawMessage
	if err := json.Unmarshal(text, &records); err != nil {
		return err
	}
	changed := false
	for i, record := range records {
		completed, err := completeRecord(record, blobs)
		if err != nil {
			return err
		}
		if completed != nil {
			records[i], changed = completed, true
		}
	}
	if !changed {
		return nil
	}
	if text, err = json.Marshal(records); err != nil {
		return err
	}
	// Before the change, since who is killed in between must not leave others with an
	// old copy.
	if _, err := lock.RecordWrite(); err != nil {
		return err
	}
	return ioutils.AtomicWriteFile(path, text, 0o600)
}

// completeRecord returns a layer's record with what it lacks, nil when it lacks nothing.
func completeRecord(record json.RawMessage, blobs map[string]blob) (json.RawMessage, error) {
	var known struct {
		ID string `json:"id"`
		blob
	}
	if err := json.Unmarshal(record, &known); err != nil {
		return nil, err
	}
	want, ok := blobs[known.ID]
	if !ok || known.Size != 0 || known.Digest != want.Digest {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(record, &fields); err != nil {
		return nil, err
	}
	fields["compressed-size"], _ = json.Marshal(want.Size)
	if want.Compression != 0 {
		fields["compression"], _ = json.Marshal(want.Compression)
	}
	return json.Marshal(fields)
}
