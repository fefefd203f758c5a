// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Where podman and buildah find hook configurations. podman run reads
// DefaultHooksDir only, unless containers.conf says otherwise; podman build always
// reads both, and knows no stages but those of the OCI runtime specification.
const (
	DefaultHooksDir  = "/usr/share/containers/oci/hooks.d"
	OverrideHooksDir = "/etc/containers/oci/hooks.d"
)

const maxConf = 1 << 20

// hooksDirs are the directories that a file of containers.conf(5) names, or none.
type hooksDirs struct {
	file string
	dirs []string
	// adds is the value of {append=BOOL}, nil without: whether the directories are
	// added to those of files before, and so are those of later files that do not
	// say. podman before 4.8 takes it for an error in any command.
	adds *bool
}

// readHooksDirs reads the files that podman, run by root, takes its configuration from,
// in the order it reads them: a later one replaces what those before it said. Only
// files that name directories are in the list.
func readHooksDirs(root string) (list []hooksDirs, err error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// The first of the system's drop-ins are read by podman 6 only.
	system, err := dropIns(dir, "/usr/share/containers/containers.conf.d", dropInDir)
	if err != nil {
		return nil, err
	}
	roots, err := dropIns(dir, rootsConf+".d")
	if err != nil {
		return nil, err
	}
	for _, file := range slices.Concat(
		[]string{"/usr/share/containers/containers.conf", "/etc/containers/containers.conf"}, system, []string{rootsConf}, roots,
	) {
		h, err := readConfFile(dir, file)
		if err != nil {
			return nil, err
		}
		if h != nil {
			list = append(list, *h)
		}
	}
	return list, nil
}

// rootsConf is the configuration of the user root.
const rootsConf = "/root/.config/containers/containers.conf"

// dropIns lists the files in directories of drop-ins by their names.
func dropIns(root *os.File, dirs ...string) (files []string, err error) {
	for _, d := range dirs {
		f, err := storageconf.OpenIn(root, d, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", d, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".conf") {
				files = append(files, filepath.Join(d, name))
			}
		}
	}
	slices.SortStableFunc(files, func(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) })
	return files, nil
}

func readConfFile(root *os.File, file string) (*hooksDirs, error) {
	f, err := storageconf.OpenIn(root, file, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := readLimited(f, maxConf)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file, err)
	}
	var conf struct {
		Engine struct {
			HooksDir []any `toml:"hooks_dir"`
		} `toml:"engine"`
	}
	if _, err := toml.Decode(string(content), &conf); err != nil {
		return nil, fmt.Errorf("decode %q: %w", file, err)
	}
	if conf.Engine.HooksDir == nil {
		return nil, nil
	}
	h := &hooksDirs{file: file}
	for _, v := range conf.Engine.HooksDir {
		switch v := v.(type) {
		case string:
			h.dirs = append(h.dirs, v)
		case map[string]any:
			if adds, ok := v["append"].(bool); ok {
				h.adds = &adds
			}
		}
	}
	return h, nil
}

// effective are the directories that podman run reads, by all of the files. One that
// is there twice counts where it is last: later directories override earlier ones.
func effective(list []hooksDirs) []string {
	dirs, adds := []string{DefaultHooksDir}, false
	for _, h := range list {
		if h.adds != nil {
			adds = *h.adds
		}
		if !adds {
			dirs = nil
		}
		for _, dir := range h.dirs {
			dirs = append(slices.DeleteFunc(dirs, func(d string) bool { return d == dir }), dir)
		}
	}
	return dirs
}
