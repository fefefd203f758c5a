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

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"

	"go.podman.io/storage/pkg/ioutils"
)

// recordPath is where SetUnified keeps what it brought, below the host's root.
const recordPath = "var/lib/bootc-podman/unified.json"

func (o Options) readRecord() (*plan.Record, error) { return ReadRecord(o.Root) }

// ReadRecord reads what set-unified brought on the host whose root is root, nil where
// nothing was brought.
func ReadRecord(root string) (*plan.Record, error) {
	var r plan.Record
	if found, err := readJSON(root, recordPath, &r); !found {
		return nil, err
	}
	return &r, nil
}

// maxRecord bounds a record that is read, in bytes.
const maxRecord = 16 << 20

// readJSON reads a record below root. found is false for none, and with an error.
func readJSON(root, path string, record any) (found bool, err error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	data, err := rooted.ReadFile(dir, path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, record); err != nil {
		return false, fmt.Errorf("parse record %q: %w: remove it to go on without", filepath.Join(root, path), err)
	}
	return true, nil
}

// newRecord is the record of an execution. old is that of an earlier one.
func (x *execution) newRecord(old *plan.Record) plan.Record {
	if old.Unfinished(x.Plan) {
		return *old
	}
	r := plan.Record{Schema: 1, Image: x.Image, Name: x.Stored.String(), Digest: x.Digest, Replaced: x.Replaces, Names: map[string]string{}}
	if old != nil && old.Name == r.Name && old.ID == r.Replaced {
		r.Replaced = old.Replaced // an image that we brought is not given back
	}
	for id, names := range x.before {
		for _, name := range names {
			r.Names[name] = id
		}
	}
	return r
}

// remember writes a record, or removes that of which there is none.
func (o Options) remember(r *plan.Record) error {
	if o.dryRun() {
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
func (o Options) verified(r plan.Record, id string) error {
	r.ID, r.Names = id, nil
	return o.remember(&r)
}
