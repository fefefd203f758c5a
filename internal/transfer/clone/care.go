// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Care does a job of clonejob.Care.
func Care(ctx context.Context, job clonejob.Job, _ func(clonejob.Progress)) (*clonejob.Result, error) {
	d, err := openDestination(ctx, job)
	if err != nil {
		return nil, err
	}
	defer d.close()
	// The library removes incomplete layers when it first reads the records.
	if _, err := d.Layers(); err != nil {
		return nil, err
	}
	for _, name := range job.Care.Names {
		if err := d.takeName(name); err != nil {
			return nil, fmt.Errorf("remove name %q: %w", name, err)
		}
	}
	if len(job.Care.Layers) > 0 {
		if err := d.removeUnrecorded(ctx, job.Destination.GraphRoot, job.Care.Layers); err != nil {
			return nil, err
		}
	}
	result := &clonejob.Result{}
	if job.Care.Check {
		result.Problems, err = d.check()
	}
	return result, err
}

// takeName takes a name from the image that has it.
func (d *destination) takeName(name string) error {
	images, err := d.Images()
	if err != nil {
		return err
	}
	for _, image := range images {
		if slices.Contains(image.Names, name) {
			if err := d.RemoveNames(image.ID, []string{name}); err != nil && !wasRemoved(err) {
				return err
			}
		}
	}
	return nil
}

// removeUnrecorded removes directories of layers without a record, with the lock on the
// records held. One that is left half removed has no record either.
func (d *destination) removeUnrecorded(ctx context.Context, graphRoot string, ids []string) error {
	lock, err := openLock(d.layers, false)
	if err != nil {
		return err
	}
	if err := take(ctx, lock, lock.Lock); err != nil {
		return err
	}
	defer lock.Unlock()
	dir, err := os.Open(graphRoot)
	if err != nil {
		return err
	}
	store, problems := cstorage.Read(dir)
	defer store.Close()
	if err := errors.Join(store.Err(), errors.Join(problems...)); err != nil {
		return err
	}
	unrecorded, err := store.Unrecorded(store.Graphs()[0])
	if err != nil {
		return err
	}
	for _, id := range ids {
		if slices.Contains(unrecorded, id) {
			if err := removeLayer(graphRoot, d.layers, id); err != nil {
				return fmt.Errorf("remove directory of layer %.12s: %w", id, err)
			}
		}
	}
	return nil
}

// maxLink bounds the name of a link to a layer, in bytes; podman's has 26.
const maxLink = 255

func removeLayer(graphRoot, layers, id string) error {
	path := filepath.Join(graphRoot, "overlay", id)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("something is mounted on %q", mounts[0].Mountpoint)
	}
	dir, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if link, err := rooted.ReadFile(dir, "link", maxLink); err == nil && len(link) > 0 && !strings.ContainsAny(string(link), "/.") {
		if err := os.Remove(filepath.Join(graphRoot, "overlay/l", string(link))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(tarSplitPath(layers, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(path)
}

// check has the storage library check the store, without mounting layers, and without what
// is unused: that is no damage.
func (d *destination) check() (problems []clonejob.Problem, err error) {
	options := storage.CheckMost()
	options.LayerMountable, options.ContainerData = false, false
	report, err := d.Check(options)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(report.Layers)) {
		for _, err := range report.Layers[id] {
			if !errors.Is(err, storage.ErrLayerUnreferenced) {
				problems = append(problems, clonejob.Problem{Layer: id, Message: err.Error()})
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(report.Images)) {
		for _, err := range report.Images[id] {
			problems = append(problems, clonejob.Problem{Image: id, Message: err.Error()})
		}
	}
	return problems, nil
}
