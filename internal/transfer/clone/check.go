// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"io/fs"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/composefs/layer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// CheckComposefs compares all layers of a composefs repository with their diff IDs. The
// error is that of the lock, of the list of layers, or of ctx.
func CheckComposefs(ctx context.Context, repo *composefs.Repo) (problems []clonejob.Problem, err error) {
	unlock, err := repo.Lock(ctx, lockLimit)
	if err != nil {
		return nil, err
	}
	defer unlock()
	layers, err := repo.Streams(composefs.LayerPrefix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, diffID := range layers {
		_, err := layer.Check(ctx, repo, diffID)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			problems = append(problems, clonejob.Problem{Layer: diffID, Message: err.Error()})
		}
	}
	return problems, nil
}
