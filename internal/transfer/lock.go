// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// exportDir is the directory of the only export at a time.
const exportDir = "export"

// lock keeps other transfers away until unlock, and clears away what one left that
// was killed.
func (o Options) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(o.Dir, "transfer.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := o.waitFor(ctx, f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	spools, _ := filepath.Glob(filepath.Join(o.spoolDir(), spoolDirs+"*"))
	for _, dir := range append(spools, filepath.Join(o.Dir, exportDir), filepath.Join(o.Dir, serviceDir)) {
		if err := os.RemoveAll(dir); err != nil {
			f.Close()
			return nil, err
		}
	}
	o.tidy(ctx)
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
		case !waited && o.Waiting != nil:
			o.Waiting()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// spoolDirs is what the names of directories begin with that podman puts layers
// into while it pulls. It does not clear them away when it is killed.
const spoolDirs = "bootc-podman-spool-"

// spoolDir is where podman puts layers while it pulls them.
func (o Options) spoolDir() string {
	return cmp.Or(wrapper.Getenv(o.Env, "TMPDIR"), "/var/tmp")
}

// spool gives podman a directory of ours to put layers into.
func (o Options) spool(cmd *wrapper.Cmd) (remove func(), err error) {
	dir, err := os.MkdirTemp(o.spoolDir(), spoolDirs)
	if err != nil {
		return nil, fmt.Errorf("make directory for layers: %w", err)
	}
	cmd.Env = append(slices.DeleteFunc(slices.Clone(cmd.Env), func(kv string) bool { return strings.HasPrefix(kv, "TMPDIR=") }), "TMPDIR="+dir)
	return func() { _ = os.RemoveAll(dir) }, nil // else the next transfer does
}
