// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	podmanhooks "go.podman.io/common/pkg/hooks"
	hook "go.podman.io/common/pkg/hooks/1.0.0"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Configured is a hook configuration that podman reads.
type Configured struct {
	File string
	// Hook is nil when podman fails on the file: no container starts then.
	Hook *hook.Hook
}

// ConfiguredHooks lists what podman run would read on the host whose root is root, in
// the order it runs them.
func ConfiguredHooks(root string, p Podman) (all []Configured, err error) {
	err = inRoot(root, "list hooks", func(dir *os.File) error {
		c, err := p.read(dir, p.orders()[0])
		if err == nil {
			all, err = configuredIn(dir, effective(c.all()))
		}
		return err
	})
	return all, err
}

// inRoot calls f with the root directory; errors begin with what is being done.
func inRoot(root, doing string, f func(dir *os.File) error) error {
	dir, err := rooted.OpenRoot(root)
	if err == nil {
		defer dir.Close()
		err = f(dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// configuredIn lists the hooks in directories. One of a later directory takes the place
// of one of the same file name, unless podman leaves it out as its program is missing.
func configuredIn(root *os.File, dirs []string) (all []Configured, err error) {
	byName := map[string]Configured{}
	for _, dir := range dirs {
		names, err := hookFiles(root, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			c := Configured{File: filepath.Join(dir, name)}
			if h, err := readHook(root, c.File, podmanStages()); err == nil {
				c.Hook = h
			}
			if _, there := byName[name]; there && c.Hook != nil {
				if _, err := rooted.Stat(root, c.Hook.Hook.Path, 0); errors.Is(err, fs.ErrNotExist) {
					continue
				}
			}
			byName[name] = c
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b Configured) int {
		return strings.Compare(strings.ToLower(filepath.Base(a.File)), strings.ToLower(filepath.Base(b.File)))
	}), nil
}

// hookFiles lists the hook configurations in a directory that need not exist.
func hookFiles(root *os.File, dir string) (names []string, err error) {
	names, err = rooted.Names(root, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".json") }), nil
}

// readHook reads a hook configuration as podman does, apart from whether the program is
// there: podman passes over a file without it. podman's own function takes a path, and
// cannot read below a root.
func readHook(root *os.File, file string, stages []string) (*hook.Hook, error) {
	content, err := rooted.ReadFile(root, file, maxConf)
	if err != nil {
		return nil, err
	}
	var format struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(content, &format); err != nil {
		return nil, fmt.Errorf("parsing hook: %w", withoutType(err))
	}
	read, ok := podmanhooks.Readers[format.Version]
	if !ok {
		return nil, fmt.Errorf("parsing hook: unrecognized hook version %q", format.Version)
	}
	h, err := read(content)
	if err != nil {
		return nil, fmt.Errorf("parsing hook: %w", withoutType(err))
	}
	if h == nil {
		return nil, errors.New("parsing hook: nil hook")
	}
	there := *h
	if there.Hook.Path != "" {
		there.Hook.Path = "/"
	}
	return h, there.Validate(stages)
}

// withoutType replaces an error that names a Go type.
func withoutType(err error) error {
	other, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err
	case other.Field == "":
		return errors.New("not a JSON object")
	}
	return fmt.Errorf("field %q is a %s", other.Field, other.Value)
}
