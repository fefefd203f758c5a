// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// spoolDirs is what the names of directories begin with that podman puts layers
// into while it pulls. It does not clear them away when it is killed.
const spoolDirs = "bootc-podman-spool-"

// TmpDir is where podman puts layers while it pulls or copies them: TMPDIR, also where it
// is empty, which stands for /var/tmp; then image_copy_tmp_dir of containers.conf(5); then
// /var/tmp. inStore reports that it is one of podman's own graph root, which need not
// exist. What podman refuses is left to it.
func (h *Host) TmpDir(ctx context.Context) (dir string, inStore bool) {
	const fallback = "/var/tmp"
	if dir, set := wrapper.LookupEnv(h.Env, "TMPDIR"); set {
		return cmp.Or(dir, fallback), false
	}
	conf, override := wrapper.Getenv(h.Env, "CONTAINERS_CONF"), wrapper.Getenv(h.Env, "CONTAINERS_CONF_OVERRIDE")
	value := func(podman [2]int) (string, error) {
		return storageconf.ImageCopyTmpDir(h.Root, podman, conf, override)
	}
	dir, err := value([2]int{4, 3})
	// Only a file that releases of podman do not agree about is worth asking for one.
	if since, failed := value([2]int{6, 0}); since != dir || (failed == nil) != (err == nil) {
		var version [2]int
		if version, err = h.PodmanVersion(ctx); err == nil {
			dir, err = value(version)
		}
	}
	if err == nil && dir == storageconf.StorageTmpDir {
		var own storageconf.DefaultStore
		if own, err = storageconf.ReadDefaultStore(h.Root); err == nil {
			return filepath.Join(h.Root, own.GraphRoot, "tmp"), true
		}
	}
	if err != nil {
		logrus.Debugf("Looking for podman's temporary directory: %v", err)
		return fallback, false
	}
	return cmp.Or(dir, fallback), false
}

// spool gives podman a directory of ours to put layers into.
func (h *Host) spool(ctx context.Context, cmd *wrapper.Cmd) (remove func(), err error) {
	in, inStore := h.TmpDir(ctx)
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

// RemoveSpools removes the directories for layers that killed transfers left. Any user can
// make others of such names in /var/tmp, and keep root from removing them with FUSE: no
// transfer fails for that.
func (h *Host) RemoveSpools(ctx context.Context) {
	tmp, _ := h.TmpDir(ctx)
	entries, _ := os.ReadDir(tmp)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), spoolDirs) {
			continue
		}
		path := filepath.Join(tmp, entry.Name())
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		if err == nil && int(st.Uid) == h.Euid {
			err = os.RemoveAll(path)
		}
		if err != nil {
			logrus.Debugf("Removing what a transfer left: %v", err)
		}
	}
}

// spooled runs a program that may put layers into temporary files.
func (h *Host) spooled(ctx context.Context, cmd wrapper.Cmd, run func(wrapper.Cmd) error) error {
	if h.DryRun == nil {
		remove, err := h.spool(ctx, &cmd)
		if err != nil {
			return err
		}
		defer remove()
	}
	return run(cmd)
}
