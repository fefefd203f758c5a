// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// The library's btrfs driver needs headers of C where cgo is on.

//go:build !cgo

package main

import (
	"errors"
	"fmt"
	"io"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/reexec"
)

// isHelper does what the storage library started this very program again for, if so.
func isHelper() bool { return reexec.Init() }

// check opens a store and has the library look for damage in all of it: every
// layer's digest, content and mount, every image's data.
func check(stdout io.Writer, graphRoot, runRoot string) error {
	store, err := storage.GetStore(storage.StoreOptions{GraphRoot: graphRoot, RunRoot: runRoot, GraphDriverName: "overlay"})
	if err != nil {
		return fmt.Errorf("open store %q: %w", graphRoot, err)
	}
	defer func() { _, _ = store.Shutdown(false) }()
	report, err := store.Check(storage.CheckEverything())
	if err != nil {
		return fmt.Errorf("check store %q: %w", graphRoot, err)
	}
	var damage []error
	for kind, found := range map[string]map[string][]error{
		"layer": report.Layers, "image": report.Images, "container": report.Containers,
		"read-only layer": report.ROLayers, "read-only image": report.ROImages,
	} {
		for id, errs := range found {
			damage = append(damage, fmt.Errorf("%s %s: %w", kind, id, errors.Join(errs...)))
		}
	}
	if len(damage) > 0 {
		return fmt.Errorf("check store %q: %w", graphRoot, errors.Join(damage...))
	}
	images, err := store.Images()
	if err != nil {
		return fmt.Errorf("list images of store %q: %w", graphRoot, err)
	}
	layers, err := store.Layers()
	if err != nil {
		return fmt.Errorf("list layers of store %q: %w", graphRoot, err)
	}
	_, err = fmt.Fprintf(stdout, "%d images, %d layers\n", len(images), len(layers))
	return err
}
