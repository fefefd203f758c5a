// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/homedir"
)

// Variables of the caller that lead plain podman to another store.
const (
	EnvStorageConf = "CONTAINERS_STORAGE_CONF"
	EnvStorageOpts = "STORAGE_OPTS"
)

// DefaultStores returns the directories of the store that plain podman uses when
// the user uid runs it: the graph root first, or the image store if there is
// one, then those that podman only reads images from. It goes by the rules of
// containers-storage.conf(5) with the files below root; for the running host,
// whose root is "/", also by CONTAINERS_STORAGE_CONF and STORAGE_OPTS of this
// process. The paths are those seen from root and need not exist. A malformed
// file is an error naming file and line; so is what podman refuses, an image
// store that is the graph root.
func DefaultStores(root string, uid int) ([]string, error) {
	where := configfile.File{RootForImplicitAbsolutePaths: root, UserId: uid}
	if root == "/" {
		where.RootForImplicitAbsolutePaths, where.EnvironmentName = "", EnvStorageConf
	}
	conf, err := readConf(&where)
	if err != nil {
		return nil, err
	}
	graphRoot, err := conf.graphRoot(uid)
	if err != nil {
		return nil, err
	}
	stores := []string{graphRoot}
	switch conf.ImageStore {
	case "":
	case graphRoot:
		return nil, fmt.Errorf("read storage.conf: imagestore %q is the graphroot", graphRoot)
	default:
		stores = []string{conf.ImageStore, graphRoot}
	}
	lists := conf.Options.AdditionalImageStores.Values
	// STORAGE_OPTS, even an empty one, replaces every option of the configuration.
	if options, ok := os.LookupEnv(EnvStorageOpts); ok && root == "/" {
		lists = imageStoreOptions(options)
	}
	for _, list := range lists {
		for path := range strings.SplitSeq(list, ",") {
			if path != "" {
				stores = append(stores, filepath.Clean(path))
			}
		}
	}
	return stores, nil
}

// graphRoot is where podman keeps what the user uid does not only read.
func (s storageTable) graphRoot(uid int) (string, error) {
	path := s.GraphRoot
	if path == "" && uid != 0 {
		path = s.RootlessStoragePath
	}
	switch {
	case path != "":
		// As the storage library replaces variables, with its own one first.
		path = os.ExpandEnv(strings.ReplaceAll(path, "$UID", strconv.Itoa(uid)))
		return filepath.Clean(path), nil
	case uid == 0:
		return "/var/lib/containers/storage", nil
	}
	data, err := homedir.GetDataHome()
	if err != nil {
		return "", fmt.Errorf("find store of user %d: %w", uid, err)
	}
	return filepath.Join(data, "containers/storage"), nil
}

// imageStoreOptions returns the values of those driver options in a
// comma-separated list that name image stores.
func imageStoreOptions(options string) (values []string) {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		// The name of a driver may come first: "overlay.imagestore".
		if _, name, ok := strings.Cut(key, "."); ok {
			key = name
		}
		if key == "imagestore" || key == "additionalimagestore" {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}
