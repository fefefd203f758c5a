// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.podman.io/storage"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// open opens a store with the storage library. A store that lists additional image
// stores is opened with them only where it is read: what is made must not depend on
// other stores' layers. It waits for those who change layers at the time, as the library
// will, but no longer than ctx.
func open(ctx context.Context, s clonejob.Store, reading bool) (storage.Store, error) {
	if s.Driver != "overlay" {
		return nil, clonejob.Unsupportedf("the store %q has the driver %q", s.GraphRoot, s.Driver)
	}
	if s.ImageStore != "" {
		return nil, clonejob.Unsupportedf("the store %q has its images in %q", s.GraphRoot, s.ImageStore)
	}
	if err := register(); err != nil {
		return nil, err
	}
	var options []string
	for _, option := range s.Options {
		key, value, _ := strings.Cut(option, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		name := key[strings.IndexByte(key, '.')+1:] // the driver's name may come first
		switch {
		case name == "mount_program" && value != "":
			return nil, clonejob.Unsupportedf("the store %q has a mount program", s.GraphRoot)
		case name == "force_mask" && value != "":
			return nil, clonejob.Unsupportedf("the store %q forces modes on its files", s.GraphRoot)
		case name == "use_composefs" && isTrue(value):
			return nil, clonejob.Unsupportedf("the store %q is in composefs form", s.GraphRoot)
		case name == "ignore_chown_errors" && isTrue(value):
			return nil, clonejob.Unsupportedf("the files in the store %q may have wrong owners", s.GraphRoot)
		case strings.HasSuffix(name, "imagestore") && !reading, name == "skip_mount_home":
		default:
			options = append(options, option)
		}
	}
	store, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: s.GraphRoot, RunRoot: s.RunRoot, GraphDriverName: driverName,
		// We mount no layer, so the driver's directory need not be a mount.
		GraphDriverOptions: append(options, "overlay.skip_mount_home=true"),
	})
	if err != nil {
		// Whatever it is, nothing was changed, and podman may be able to: options of
		// its version, programs.
		return nil, fmt.Errorf("%w: open store %q: %w", clonejob.ErrUnsupported, s.GraphRoot, err)
	}
	if err := await(ctx, layersDir(s.GraphRoot)); err != nil {
		store.Free()
		return nil, fmt.Errorf("open store %q: %w", s.GraphRoot, err)
	}
	return store, nil
}

// isTrue reads a value as the library does; it refuses what is neither.
func isTrue(value string) bool {
	is, err := strconv.ParseBool(strings.TrimSpace(value))
	return is && err == nil
}

// chain returns the layers of an image from the lowest to top.
func chain(store storage.Store, top string) ([]*storage.Layer, error) {
	var layers []*storage.Layer
	for id := top; id != ""; {
		layer, err := store.Layer(id)
		if errors.Is(err, storage.ErrLayerUnknown) {
			return nil, fmt.Errorf("layer %s: %w", id, clonejob.ErrChanged)
		}
		if err != nil {
			return nil, err
		}
		if len(layers) > maxLayers {
			return nil, fmt.Errorf("layer %s: more than %d layers upon each other", top, maxLayers)
		}
		layers = append(layers, layer)
		id = layer.Parent
	}
	slices.Reverse(layers)
	return layers, nil
}

// maxLayers bounds a chain, which a damaged store could make a circle. overlayfs
// mounts 500 layers at most.
const maxLayers = 1000
