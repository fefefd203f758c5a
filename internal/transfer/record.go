// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/storage/pkg/ioutils"

	"github.com/bootc-podman/bootc-podman/internal/images"
)

// recordPath is where SetUnified keeps what it brought, below the host's root.
const recordPath = "var/lib/bootc-podman/unified.json"

// record is what SetUnified brought into the bootc-owned store of a host. It is
// written before anything is brought.
type record struct {
	Schema int `json:"schema"`
	// Image is the reference that the deployment followed, Name that of the image in
	// the store, Digest the booted manifest digest.
	Image  string `json:"image"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// ID is that of the image which was verified, "" before.
	ID string `json:"id"`
	// Replaced is the ID of the image that had the name before, "" for none.
	Replaced string `json:"replaced"`
	// Lent is the ID of an image that is in the store only while others are pulled,
	// "" for none.
	Lent string `json:"lent,omitempty"`
}

// tells whether the record says that an image is what was booted with a manifest
// digest. Where bootc exported it, nothing else does.
func (r *record) tells(img *images.StoreImage, digest string) bool {
	return r != nil && r.ID == img.ID && r.Digest == digest
}

// readRecord returns nil where nothing was brought.
func (o Options) readRecord() (*record, error) {
	path := filepath.Join(o.Root, recordPath)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r record
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("parse record %q: %w: remove it to go on without", path, err)
	}
	return &r, nil
}

// remember writes the record of an execution; id is "" before it is verified.
func (x *execution) remember(id string) error {
	if x.Host.DryRun != nil {
		return nil
	}
	replaced := x.Replaces
	if old, err := x.readRecord(); err == nil && old != nil && old.Name == x.Name && old.Digest == x.Digest {
		replaced = old.Replaced // of a run that did not get to its end
	}
	data, err := encode(record{Schema: 1, Image: x.Image, Name: x.stored.String(), Digest: x.Digest, ID: id, Replaced: replaced, Lent: x.lent})
	if err != nil {
		return err
	}
	path := filepath.Join(x.Root, recordPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return ioutils.AtomicWriteFile(path, append(data, '\n'), 0o600)
}

// forget removes the record.
func (o Options) forget() error {
	err := os.Remove(filepath.Join(o.Root, recordPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
