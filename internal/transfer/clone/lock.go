// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"go.podman.io/storage/pkg/lockfile"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// openLock returns the library's lock on the records of layers, nil for a store that
// cannot change.
func openLock(layers string, readOnly bool) (*lockfile.LockFile, error) {
	path := filepath.Join(layers, "layers.lock")
	if !readOnly {
		return lockfile.GetLockFile(path)
	}
	lock, err := lockfile.GetROLockFile(path)
	if errors.Is(err, unix.EROFS) {
		return nil, nil
	}
	return lock, err
}

// take takes a lock by one of its methods, unless ctx ends before: then whatever comes
// of it is let go again.
func take(ctx context.Context, lock *lockfile.LockFile, method func()) error {
	taken := make(chan struct{})
	go func() {
		method()
		close(taken)
	}()
	select {
	case <-taken:
		return nil
	case <-ctx.Done():
		go func() {
			<-taken
			lock.Unlock()
		}()
		return fmt.Errorf("wait for other users of the layers: %w", ctx.Err())
	}
}

// await waits until no process has the lock on the records of layers. The library waits
// for it as well, but takes no ctx; what was free a moment ago seldom takes it long.
func await(ctx context.Context, layers string) error {
	lock, err := openLock(layers, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", clonejob.ErrUnsupported, err)
	}
	if err := take(ctx, lock, lock.Lock); err != nil {
		return err
	}
	lock.Unlock()
	return nil
}
