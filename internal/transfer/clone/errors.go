// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// meanwhile wraps clonejob.ErrChanged around the error of a layer or an image that was
// removed since the storage library read it.
func meanwhile(err error) error {
	if wasRemoved(err) {
		return fmt.Errorf("%w: %w", clonejob.ErrChanged, err)
	}
	return err
}

// wasRemoved reports the errors of the storage library for what is not there.
func wasRemoved(err error) bool {
	return errors.Is(err, storage.ErrLayerUnknown) || errors.Is(err, storage.ErrImageUnknown)
}

// Failure is an error of Image or Export in a form for another process.
func Failure(err error) *clonejob.Failure {
	f := &clonejob.Failure{Kind: clonejob.Failed, Message: err.Error()}
	for _, kind := range []struct {
		err  error
		kind clonejob.Kind
	}{
		{context.Canceled, clonejob.Canceled},
		{clonejob.ErrDamaged, clonejob.Damaged},
		{clonejob.ErrNotFound, clonejob.NotFound},
		{clonejob.ErrChanged, clonejob.Changed},
		{clonejob.ErrNotVerified, clonejob.NotVerified},
		{unix.ENOSPC, clonejob.NoSpace},
		{unix.EDQUOT, clonejob.NoSpace},
		{clonejob.ErrUnsupported, clonejob.Unsupported},
		{clonejob.ErrNoService, clonejob.NoService},
	} {
		if errors.Is(err, kind.err) {
			f.Kind = kind.kind
			break
		}
	}
	return f
}
