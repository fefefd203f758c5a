// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"

	"github.com/bootc-podman/bootc-podman/internal/conffile"
)

// ShortNames is what containers-registries.conf(5) says about image names
// without a registry.
type ShortNames struct {
	// Aliases maps repositories without a registry to full repositories; "" takes
	// back an alias.
	Aliases map[string]string `toml:"aliases"`
	// Registries are searched in this order.
	Registries []string `toml:"unqualified-search-registries"`
}

// ReadShortNames reads registries.conf and its drop-ins by the rules of
// containers-registries.conf(5), below root ("/" on a running host), and then the
// aliases that podman recorded (short-name-aliases.conf). The environment
// (CONTAINERS_REGISTRIES_CONF, XDG_CONFIG_HOME, XDG_CACHE_HOME, HOME) is used as
// it is. Errors name the file.
func ReadShortNames(root string) (ShortNames, error) {
	if root == "/" {
		root = ""
	}
	uid := unshare.GetRootlessUID()
	var names ShortNames
	where := configfile.File{
		Name:                         "registries",
		Extension:                    "conf",
		EnvironmentName:              "CONTAINERS_REGISTRIES_CONF",
		RootForImplicitAbsolutePaths: root,
		UserId:                       uid,
	}
	if err := conffile.Check(&where); err != nil {
		return ShortNames{}, fmt.Errorf("read registries.conf: %w", err)
	}
	for item, err := range configfile.Read(&where) {
		if err != nil {
			return ShortNames{}, fmt.Errorf("read registries.conf: %w", err)
		}
		// A later file adds to the aliases but replaces the registries.
		var file struct {
			ShortNames
			// V1 is the first version of the format, which podman reads up to 5.8 and
			// refuses since 6.0, and beside keys of the second.
			V1 struct {
				Search struct {
					Registries []string `toml:"registries"`
				} `toml:"search"`
			} `toml:"registries"`
		}
		file.ShortNames = names
		if _, err := toml.NewDecoder(item.Reader).Decode(&file); err != nil {
			return ShortNames{}, fmt.Errorf("read %q: %w", item.Name, err)
		}
		names = file.ShortNames
		if search := file.V1.Search.Registries; search != nil {
			names.Registries = search
		}
	}
	cache, err := aliasCache(root, uid)
	if err != nil {
		return ShortNames{}, fmt.Errorf("find short-name aliases: %w", err)
	}
	if err := conffile.CheckFile(cache); err != nil {
		return ShortNames{}, fmt.Errorf("read short-name aliases: %w", err)
	}
	recorded := struct {
		Aliases map[string]string `toml:"aliases"`
	}{names.Aliases}
	if _, err := toml.DecodeFile(cache, &recorded); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ShortNames{}, fmt.Errorf("read %q: %w", cache, err)
	}
	names.Aliases = recorded.Aliases
	return names, nil
}

// aliasCache is the file in which podman records the aliases a user chose.
func aliasCache(root string, uid int) (string, error) {
	const file = "containers/short-name-aliases.conf"
	if uid == 0 {
		return filepath.Join("/", root, "var/cache", file), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, file), nil
	}
	home, err := unshare.HomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".cache", file), nil
}

// candidates are the full names that a short name can stand for in a store, the
// best first: the alias, localhost, the registries to search. Suffix is the tag
// or digest with its separator, "" for none.
func (n ShortNames) candidates(repository, suffix string) (names []Name, err error) {
	if alias := n.Aliases[repository]; alias != "" {
		name, err := ParseName(alias)
		if err != nil || name.Tag != "" || name.Digest != "" || IsShort(alias) {
			return nil, fmt.Errorf("parse alias %q of %q: not a registry and a repository", alias, repository)
		}
		if name, err = ParseName(alias + suffix); err != nil {
			return nil, fmt.Errorf("resolve alias %q of %q: %w", alias, repository, err)
		}
		names = append(names, name)
	}
	for _, registry := range append([]string{"localhost"}, n.Registries...) {
		name, err := ParseName(strings.TrimRight(registry, "/") + "/" + repository + suffix)
		if err != nil {
			return nil, fmt.Errorf("resolve %q at registry %q: %w", repository+suffix, registry, err)
		}
		names = append(names, name)
	}
	return names, nil
}
