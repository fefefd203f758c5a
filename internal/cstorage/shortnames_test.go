// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// confRoot writes configuration files below a root directory, which it gives as
// home to the test.
func confRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	for _, name := range []string{"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "CONTAINERS_REGISTRIES_CONF", "CONTAINERS_REGISTRIES_CONF_OVERRIDE", "_CONTAINERS_ROOTLESS_UID"} {
		t.Setenv(name, "") // restores it
		must(t, os.Unsetenv(name))
	}
	t.Setenv("HOME", filepath.Join(root, "home"))
	return root
}

func TestReadShortNamesMergesTheConfiguration(t *testing.T) {
	const (
		main   = "etc/containers/registries.conf"
		dropIn = "etc/containers/registries.conf.d/"
		cache  = "var/cache/containers/short-name-aliases.conf"
	)
	for name, test := range map[string]struct {
		files      map[string]string
		env        map[string]string
		aliases    map[string]string
		registries []string
		// rootless makes the test one for a user.
		rootless bool
	}{
		"no file": {},
		"main file": {
			files:      map[string]string{main: "unqualified-search-registries = ['a.io', 'b.io']\n[aliases]\nx='a.io/x'\n[[registry]]\nlocation='z.io'"},
			aliases:    map[string]string{"x": "a.io/x"},
			registries: []string{"a.io", "b.io"},
		},
		"vendor's file only without the administrator's": {
			files: map[string]string{main: "", "usr/share/containers/registries.conf": "unqualified-search-registries = ['a.io']"},
		},
		"drop-ins add aliases and replace registries": {
			files: map[string]string{
				main:                      "unqualified-search-registries = ['a.io', 'b.io']\n[aliases]\nx='a.io/x'\ny='a.io/y'",
				dropIn + "000-short.conf": "[aliases]\ny='b.io/y'\nz='b.io/z'",
				dropIn + "001-last.conf":  "unqualified-search-registries = ['c.io']\n[aliases]\nx=''",
				dropIn + "002-no":         "unqualified-search-registries = ['d.io']",
			},
			aliases:    map[string]string{"x": "", "y": "b.io/y", "z": "b.io/z"},
			registries: []string{"c.io"},
		},
		"an empty list takes registries back": {
			files: map[string]string{main: "unqualified-search-registries = ['a.io']", dropIn + "1.conf": "unqualified-search-registries = []"},
		},
		"recorded aliases win": {
			files:   map[string]string{dropIn + "1.conf": "[aliases]\nx='a.io/x'\ny='a.io/y'", cache: "[aliases]\nx='b.io/x'"},
			aliases: map[string]string{"x": "b.io/x", "y": "a.io/y"},
		},
		"the user's files win": {
			files: map[string]string{
				main: "unqualified-search-registries = ['a.io']",
				"home/.config/containers/registries.conf": "unqualified-search-registries = ['b.io']",
				cache: "[aliases]\nx='a.io/x'",
				"home/.cache/containers/short-name-aliases.conf": "[aliases]\nx='b.io/x'",
			},
			aliases:    map[string]string{"x": "b.io/x"},
			registries: []string{"b.io"},
			rootless:   true,
		},
		"drop-ins for root only": {
			files: map[string]string{
				"etc/containers/registries.rootful.conf.d/1.conf":  "unqualified-search-registries = ['root.io']",
				"etc/containers/registries.rootless.conf.d/1.conf": "unqualified-search-registries = ['user.io']",
			},
			registries: []string{"root.io"},
		},
		"drop-ins for users only": {
			files: map[string]string{
				"etc/containers/registries.rootful.conf.d/1.conf":  "unqualified-search-registries = ['root.io']",
				"etc/containers/registries.rootless.conf.d/1.conf": "unqualified-search-registries = ['user.io']",
			},
			registries: []string{"user.io"},
			rootless:   true,
		},
		"XDG directories": {
			files: map[string]string{
				"xdg/containers/registries.conf":         "unqualified-search-registries = ['b.io']",
				"xdg/containers/short-name-aliases.conf": "[aliases]\nx='b.io/x'",
			},
			env:        map[string]string{"XDG_CONFIG_HOME": "xdg", "XDG_CACHE_HOME": "xdg"},
			aliases:    map[string]string{"x": "b.io/x"},
			registries: []string{"b.io"},
			rootless:   true,
		},
		"the environment replaces everything but the cache": {
			files: map[string]string{
				main:              "unqualified-search-registries = ['a.io']",
				dropIn + "1.conf": "[aliases]\nx='a.io/x'",
				cache:             "[aliases]\ny='a.io/y'",
				"own.conf":        "unqualified-search-registries = ['own.io']",
			},
			env:        map[string]string{"CONTAINERS_REGISTRIES_CONF": "own.conf"},
			aliases:    map[string]string{"y": "a.io/y"},
			registries: []string{"own.io"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := confRoot(t, test.files)
			for name, path := range test.env {
				t.Setenv(name, filepath.Join(root, path))
			}
			uid := "0"
			if test.rootless {
				uid = "1000"
			}
			t.Setenv("_CONTAINERS_ROOTLESS_UID", uid)
			got, err := ReadShortNames(root)
			if err != nil || !maps.Equal(got.Aliases, test.aliases) || !slices.Equal(got.Registries, test.registries) {
				t.Errorf("ReadShortNames() = %+v, %v; want aliases %v and registries %v", got, err, test.aliases, test.registries)
			}
		})
	}
}

// TestShortNamesOfTheFirstVersion has a file that podman 4.3.1 to 5.8.6 search by: there
// "podman image exists a:1" finds reg.example/a:1.
func TestShortNamesOfTheFirstVersion(t *testing.T) {
	root := confRoot(t, map[string]string{
		"etc/containers/registries.conf": "[registries.search]\nregistries = ['reg.example', 'b.io']\n[registries.insecure]\nregistries = ['c.io']\n[registries.block]\nregistries = []\n",
	})
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "0")
	names, err := ReadShortNames(root)
	if want := []string{"reg.example", "b.io"}; err != nil || !slices.Equal(names.Registries, want) {
		t.Errorf("got %q, %v, want %q", names.Registries, err, want)
	}
}

func TestReadShortNamesNamesTheFileOfAMistake(t *testing.T) {
	for path, content := range map[string]string{
		"etc/containers/registries.conf":               "unqualified-search-registries = [",
		"etc/containers/registries.conf.d/1.conf":      "[aliases]\nx = 5",
		"usr/share/containers/registries.conf":         "[registries.search]\nregistries = 'a.io'",
		"var/cache/containers/short-name-aliases.conf": "=",
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			root := confRoot(t, map[string]string{path: content})
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "0")
			_, err := ReadShortNames(root)
			if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("ReadShortNames() = %v; want one line that names %q", err, path)
			}
		})
	}
}

func TestReadShortNamesWaitsForNoFile(t *testing.T) {
	for _, path := range []string{"etc/containers/registries.conf", "etc/containers/registries.conf.d/1.conf", "var/cache/containers/short-name-aliases.conf"} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			root := confRoot(t, map[string]string{path: ""})
			t.Setenv("_CONTAINERS_ROOTLESS_UID", "0")
			must(t, os.Remove(filepath.Join(root, path)))
			must(t, unix.Mkfifo(filepath.Join(root, path), 0o644))
			if _, err := ReadShortNames(root); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("ReadShortNames() = %v; want an error that names %q", err, path)
			}
		})
	}
}

func TestReadShortNamesCreatesNothing(t *testing.T) {
	root := confRoot(t, nil)
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000")
	_, err := ReadShortNames(root)
	must(t, err)
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("the root directory holds %v, %v; want nothing", entries, err)
	}
}

func TestCandidatesRefuseABadAlias(t *testing.T) {
	for _, alias := range []string{"a.io/x:tag", "a.io/x@sha256:" + id("a"), "namespace/x", "x", "a.io/X"} {
		if got, err := (ShortNames{Aliases: map[string]string{"x": alias}}).candidates("x", ""); err == nil {
			t.Errorf("alias %q gives %v; want an error", alias, got)
		}
	}
}
