// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// spoolDirs is what the names of directories begin with that podman puts layers
// into while it pulls. It does not clear them away when it is killed.
const spoolDirs = "bootc-podman-spool-"

// TmpDir is the directory that podman writes layers to while it pulls or copies them.
type TmpDir struct {
	Path string
	// setting names the directory, "" for the default.
	setting string
	// inStore reports that it is in podman's own graph root, where it may be missing.
	inStore bool
}

// String names the directory, and the setting that it comes from, for messages.
func (d TmpDir) String() string {
	if d.setting == "" {
		return strconv.Quote(d.Path)
	}
	return fmt.Sprintf("%q (%s)", d.Path, d.setting)
}

// TmpDir returns TMPDIR, which stands for /var/tmp if it is empty; else image_copy_tmp_dir of
// containers.conf(5); else /var/tmp. podman reports a value that it refuses.
func (h *Host) TmpDir(ctx context.Context) TmpDir {
	fallback := TmpDir{Path: "/var/tmp"}
	if dir, set := wrapper.LookupEnv(h.Env, "TMPDIR"); set && dir != "" {
		return TmpDir{Path: dir, setting: "TMPDIR"}
	} else if set {
		return fallback
	}
	conf, override := wrapper.Getenv(h.Env, "CONTAINERS_CONF"), wrapper.Getenv(h.Env, "CONTAINERS_CONF_OVERRIDE")
	value := func(podman [2]int) (string, error) {
		return storageconf.ImageCopyTmpDir(h.Root, podman, conf, override)
	}
	dir, err := value([2]int{4, 3})
	// podman's version matters only for a file that releases read differently.
	if since, failed := value([2]int{6, 0}); since != dir || (failed == nil) != (err == nil) {
		var version [2]int
		if version, err = h.PodmanVersion(ctx); err == nil {
			dir, err = value(version)
		}
	}
	if err == nil && dir == storageconf.StorageTmpDir {
		var own storageconf.DefaultStore
		if own, err = storageconf.ReadDefaultStore(h.Root); err == nil {
			return TmpDir{Path: filepath.Join(h.Root, own.GraphRoot, "tmp"), setting: imageCopyTmpDir, inStore: true}
		}
	}
	if err != nil {
		logrus.Debugf("Reading podman's temporary directory: %v", err)
		return fallback
	}
	if dir == "" {
		return fallback
	}
	return TmpDir{Path: dir, setting: imageCopyTmpDir}
}

const imageCopyTmpDir = "image_copy_tmp_dir in containers.conf"

// spool gives podman a directory of ours for layers.
func (h *Host) spool(ctx context.Context, cmd *wrapper.Cmd) (remove func(), err error) {
	in := h.TmpDir(ctx)
	if in.inStore { // podman 4 makes it, later releases fail without it
		if err := os.MkdirAll(in.Path, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for layers in %s: %w", in, err)
		}
	}
	dir, err := os.MkdirTemp(in.Path, spoolDirs)
	if err != nil {
		return nil, fmt.Errorf("make directory for layers in %s: %w", in, err)
	}
	cmd.Env = append(slices.DeleteFunc(slices.Clone(cmd.Env), func(kv string) bool { return strings.HasPrefix(kv, "TMPDIR=") }), "TMPDIR="+dir)
	return func() { _ = os.RemoveAll(dir) }, nil // else the next transfer does
}

// RemoveSpools removes the directories for layers that killed transfers left. Any user can
// make others of such names in /var/tmp, and keep root from removing them with FUSE: no
// transfer fails for that.
func (h *Host) RemoveSpools(ctx context.Context) {
	tmp := h.TmpDir(ctx).Path
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
