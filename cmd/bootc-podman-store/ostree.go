// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package main

import (
	"archive/tar"
	"context"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
)

// exportImage does a job that exports an image of the ostree repository.
func exportImage(ctx context.Context, job clonejob.Job, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	repo, err := host.Sysroot{Dir: job.OSTree.Sysroot}.OpenRepo()
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	image, err := export.Open(ctx, repo, job.OSTree.Commit)
	if err != nil {
		return nil, err
	}
	return clone.Export(ctx, job, archives{image}, progress)
}

// archives implements clone.Archives.
type archives struct{ *export.Image }

// Open implements clone.Archives.
func (a archives) Open(layer, entry int) (*tar.Header, tree.File, error) {
	hdr, file, err := a.Image.Open(layer, entry)
	if file == nil { // no interface that holds a nil pointer
		return hdr, nil, err
	}
	return hdr, file, err
}

// Describe implements clone.Archives.
func (a archives) Describe(digests []string, sizes []int64) (manifest, config []byte, err error) {
	layers := make([]export.Layer, len(digests))
	for i := range layers {
		layers[i] = export.Layer{Digest: digests[i], Size: sizes[i]}
	}
	err = a.Image.Describe(layers)
	return a.Manifest, a.Config, err
}
