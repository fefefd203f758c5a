// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package main

import (
	"context"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// cloneComposefs does a job that clones an image of the composefs repository.
func cloneComposefs(ctx context.Context, job clonejob.Job, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	repo, err := host.Sysroot{Dir: job.Composefs.Sysroot}.OpenComposefs()
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	return clone.Composefs(ctx, job, repo, progress)
}

// checkComposefs compares the layers of a composefs repository with their diff IDs.
func checkComposefs(ctx context.Context, job clonejob.Job) (*clonejob.Result, error) {
	repo, err := host.Sysroot{Dir: job.Care.Composefs}.OpenComposefs()
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	problems, err := clone.CheckComposefs(ctx, repo)
	return &clonejob.Result{Problems: problems}, err
}
