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

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
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
	// Names are those of the store before anything was brought, with the IDs of their
	// images, until the image is verified.
	Names map[string]string `json:"names,omitempty"`
}

// tells whether the record says that an image is what was booted with a manifest
// digest. Where bootc exported it, nothing else does.
func (r *record) tells(img *cstorage.Image, digest string) bool {
	return r != nil && r.ID == img.ID && r.Digest == digest
}

// unfinished tells whether the record is of a run for the same image that did not get
// to its end.
func (r *record) unfinished(p *Plan) bool {
	return r != nil && r.ID == "" && r.Name == p.stored.String() && r.Digest == p.Digest
}

// gained are the names that an image has from being pulled by a plan and that it is not
// to keep: bootc cannot remove an image of two names. One from an archive may have been
// another image's.
func (r *record) gained(img *cstorage.Image, p *Plan) (names []string) {
	for _, name := range img.Names {
		if name == p.stored.String() || r.Names[name] == img.ID {
			continue
		}
		if name == p.exact() || !p.image.NamesInRegistry() {
			names = append(names, name)
		}
	}
	return names
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

// newRecord is the record of an execution. old is that of an earlier one.
func (x *execution) newRecord(old *record) record {
	if old.unfinished(x.Plan) {
		return *old
	}
	r := record{Schema: 1, Image: x.Image, Name: x.stored.String(), Digest: x.Digest, Replaced: x.Replaces, Names: map[string]string{}}
	if old != nil && old.Name == r.Name && old.ID == r.Replaced {
		r.Replaced = old.Replaced // what we brought ourselves goes back to nobody
	}
	for id, names := range x.before {
		for _, name := range names {
			r.Names[name] = id
		}
	}
	return r
}

// remember writes a record, or removes that of which there is none.
func (o Options) remember(r *record) error {
	if o.Host.DryRun != nil {
		return nil
	}
	path := filepath.Join(o.Root, recordPath)
	if r == nil {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return ioutils.AtomicWriteFile(path, append(data, '\n'), 0o600)
}

// verified makes the record say that an image is what was to be brought.
func (o Options) verified(r record, id string) error {
	r.ID, r.Names = id, nil
	return o.remember(&r)
}
