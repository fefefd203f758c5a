// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// unsupported is an error that leads the caller to copy with podman.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", clonejob.ErrUnsupported, fmt.Sprintf(format, args...))
}

// Failure tells an error of Image to another process.
func Failure(err error) *clonejob.Failure {
	f := &clonejob.Failure{Kind: clonejob.Failed, Message: err.Error()}
	for _, kind := range []struct {
		err  error
		kind clonejob.Kind
	}{
		{context.Canceled, clonejob.Canceled},
		{clonejob.ErrNotFound, clonejob.NotFound},
		{clonejob.ErrChanged, clonejob.Changed},
		{clonejob.ErrNotVerified, clonejob.NotVerified},
		{unix.ENOSPC, clonejob.NoSpace},
		{unix.EDQUOT, clonejob.NoSpace},
		{clonejob.ErrUnsupported, clonejob.Unsupported},
	} {
		if errors.Is(err, kind.err) {
			f.Kind = kind.kind
			break
		}
	}
	return f
}
