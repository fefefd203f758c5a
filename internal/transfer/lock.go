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

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
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
	o.removeSpools(ctx)
	for _, dir := range []string{filepath.Join(o.Dir, exportDir), filepath.Join(o.Dir, serviceDir)} {
		if err := os.RemoveAll(dir); err != nil {
			f.Close()
			return nil, err
		}
	}
	o.tidy(ctx)
	return func() { f.Close() }, nil
}

// removeSpools removes the directories for layers that killed transfers left. Any user can
// make others of such names in /var/tmp, and keep root from removing them with FUSE: no
// transfer fails for that.
func (o Options) removeSpools(ctx context.Context) {
	tmp, _ := o.tmpDir(ctx)
	entries, _ := os.ReadDir(tmp)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), spoolDirs) {
			continue
		}
		path := filepath.Join(tmp, entry.Name())
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		if err == nil && int(st.Uid) == o.Euid {
			err = os.RemoveAll(path)
		}
		if err != nil {
			logrus.Debugf("Removing what a transfer left: %v", err)
		}
	}
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

// spoolDirs is what the names of directories begin with that podman puts layers
// into while it pulls. It does not clear them away when it is killed.
const spoolDirs = "bootc-podman-spool-"

// tmpDir is where podman puts layers while it pulls or copies them: TMPDIR, also where it
// is empty, which stands for /var/tmp; then image_copy_tmp_dir of containers.conf(5); then
// /var/tmp. inStore reports that it is one of podman's own graph root, which need not
// exist. What podman refuses is left to it.
func (o Options) tmpDir(ctx context.Context) (dir string, inStore bool) {
	const fallback = "/var/tmp"
	if dir, set := wrapper.LookupEnv(o.Env, "TMPDIR"); set {
		return cmp.Or(dir, fallback), false
	}
	conf, override := wrapper.Getenv(o.Env, "CONTAINERS_CONF"), wrapper.Getenv(o.Env, "CONTAINERS_CONF_OVERRIDE")
	value := func(podman [2]int) (string, error) {
		return storageconf.ImageCopyTmpDir(o.Root, podman, conf, override)
	}
	dir, err := value([2]int{4, 3})
	// Only a file that releases of podman do not agree about is worth asking for one.
	if since, failed := value([2]int{6, 0}); since != dir || (failed == nil) != (err == nil) {
		var version [2]int
		if version, err = o.Host.PodmanVersion(ctx); err == nil {
			dir, err = value(version)
		}
	}
	if err == nil && dir == storageconf.StorageTmpDir {
		var own storageconf.DefaultStore
		if own, err = storageconf.ReadDefaultStore(o.Root); err == nil {
			return filepath.Join(o.Root, own.GraphRoot, "tmp"), true
		}
	}
	if err != nil {
		logrus.Debugf("Looking for podman's temporary directory: %v", err)
		return fallback, false
	}
	return cmp.Or(dir, fallback), false
}

// spool gives podman a directory of ours to put layers into.
func (o Options) spool(ctx context.Context, cmd *wrapper.Cmd) (remove func(), err error) {
	in, inStore := o.tmpDir(ctx)
	if inStore { // podman 4 makes it, later releases fail without it
		if err := os.MkdirAll(in, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for layers: %w", err)
		}
	}
	dir, err := os.MkdirTemp(in, spoolDirs)
	if err != nil {
		return nil, fmt.Errorf("make directory for layers: %w", err)
	}
	cmd.Env = append(slices.DeleteFunc(slices.Clone(cmd.Env), func(kv string) bool { return strings.HasPrefix(kv, "TMPDIR=") }), "TMPDIR="+dir)
	return func() { _ = os.RemoveAll(dir) }, nil // else the next transfer does
}
