// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
)

// lockName is the file in Options.Dir that a transfer has locked.
const lockName = "transfer.lock"

// lock keeps other transfers away until unlock, and removes files that one left which was
// killed. A dry run takes no lock.
func (o *Options) lock(ctx context.Context) (unlock func(), err error) {
	if o.dryRun() {
		return func() {}, nil
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(o.Dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := o.waitFor(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	(&podman.Host{Host: o.Host}).RemoveSpools(ctx)
	for _, dir := range LeftFiles(o.Dir) {
		if err := os.RemoveAll(dir); err != nil {
			f.Close()
			return nil, err
		}
	}
	return func() { f.Close() }, nil
}

// waitFor waits for the lock on f, in a way that a signal ends.
func (o Options) waitFor(ctx context.Context, f *os.File) error {
	for waited := false; ; waited = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		case o.NoWait:
			return ErrBusy
		case !waited:
			o.Events.Waiting()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
