// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Where podman and buildah find hook configurations. podman run reads
// DefaultHooksDir only, unless containers.conf says otherwise; podman build always
// reads both, and fails on stages other than those of the OCI runtime specification.
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

// Podman is the podman that is to run hooks, as far as it is known; the zero value
// stands for any.
type Podman struct {
	// Version is as in "5.4.2".
	Version string
	// Conf and Override are the values of CONTAINERS_CONF and CONTAINERS_CONF_OVERRIDE,
	// for it to be run with.
	Conf, Override string
}

// orders are the rules by which podman may read its configuration: those of podman 6,
// those before, or both where it is not known.
func (p Podman) orders() []confOrder {
	switch {
	case p.Version == "":
		return []confOrder{storageconf.ContainersConfBefore6, storageconf.ContainersConfSince6}
	case olderThan(p.Version, 6, 0):
		return []confOrder{storageconf.ContainersConfBefore6}
	}
	return []confOrder{storageconf.ContainersConfSince6}
}

// followsDropInDir reports whether podman reads drop-ins of a directory that is a link.
// 4.3.1 and 5.4.2 do not, 5.8.6 and 6.1.1 do; unknown ones are taken to do so.
func (p Podman) followsDropInDir() bool { return !olderThan(p.Version, 5, 8) }

func isLink(root *os.File, path string) bool { return rooted.Kind(root, path) == unix.S_IFLNK }

// confOrder lists the files that podman, run by root, takes its configuration from, in
// the order it reads them. The assumed file is in the list, there or not, unless another
// is read in its place.
type confOrder func(root *os.File, assumed string) ([]string, error)

// configuration is what the files of containers.conf(5) say about directories, without
// those that say nothing: before the drop-in of ours, that one, and after it.
type configuration struct {
	before, after []hooksDirs
	// ours is nil where the drop-in is not there.
	ours *hooksDirs
	// mask is the file that is read in its place, "" for none.
	mask string
	// linked is that the directory of drop-ins is a link, which not each podman follows.
	linked bool
	// dangling are drop-ins that are links to nothing. podman 4.3.1 fails on one, 5.4.2 and
	// later pass over it; releases between are taken to fail.
	dangling []string
}

// all is what is read, in this order.
func (c configuration) all() []hooksDirs {
	list := slices.Clone(c.before)
	if c.ours != nil {
		list = append(list, *c.ours)
	}
	return append(list, c.after...)
}

// olderThan reports whether a version is below MAJOR.MINOR.
func olderThan(version string, major, minor int) bool {
	var x, y int
	if n, _ := fmt.Sscanf(version, "%d.%d", &x, &y); n < 2 {
		return false
	}
	return x < major || x == major && y < minor
}

// read reads the configuration below a root by one of the orders.
func (p Podman) read(dir *os.File, order confOrder) (c configuration, err error) {
	files, err := order(dir, DropIn)
	if err != nil {
		return c, err
	}
	c.linked = isLink(dir, dropInDir)
	if p.Override != "" {
		files = append(files, p.Override)
	}
	ours := slices.Index(files, DropIn)
	for i, file := range files {
		if ours < 0 && filepath.Base(file) == filepath.Base(DropIn) {
			c.mask = file
		}
		if filepath.Dir(file) == dropInDir && c.linked && !p.followsDropInDir() {
			continue
		}
		h, err := readConfFile(dir, file)
		switch {
		case err != nil:
			return c, err
		case h == nil && filepath.Dir(file) == dropInDir && isLink(dir, file):
			c.dangling = append(c.dangling, file)
		case h == nil:
		case i == ours:
			c.ours = h
		case i < ours:
			c.before = append(c.before, *h)
		default:
			c.after = append(c.after, *h)
		}
	}
	return c, nil
}

func readConfFile(root *os.File, file string) (*hooksDirs, error) {
	content, err := rooted.ReadFile(root, file, maxConf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseConf(file, content)
}

func parseConf(file string, content []byte) (*hooksDirs, error) {
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
