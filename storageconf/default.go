// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.podman.io/storage/pkg/configfile"
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
// file is an error naming file and line.
func DefaultStores(root string, uid int) ([]string, error) {
	where := configfile.File{RootForImplicitAbsolutePaths: root, UserId: uid}
	var options string
	if root == "/" {
		where.RootForImplicitAbsolutePaths, where.EnvironmentName = "", EnvStorageConf
		options = os.Getenv(EnvStorageOpts)
	}
	conf, err := readConf(&where)
	if err != nil {
		return nil, err
	}
	graphRoot := conf.GraphRoot
	switch {
	case graphRoot != "":
	case uid == 0:
		graphRoot = "/var/lib/containers/storage"
	case conf.RootlessStoragePath != "":
		graphRoot = conf.RootlessStoragePath
	default:
		graphRoot = filepath.Join(dataHome(), "containers/storage")
	}
	stores := []string{expandPath(graphRoot, uid)}
	if conf.ImageStore != "" {
		stores = []string{conf.ImageStore, stores[0]}
	}
	additional := conf.Options.AdditionalImageStores.Values
	// STORAGE_OPTS replaces every option of the configuration.
	if options != "" {
		additional = nil
		for opt := range strings.SplitSeq(options, ",") {
			if key, value, _ := strings.Cut(opt, "="); key == "imagestore" || strings.HasSuffix(key, ".imagestore") {
				additional = append(additional, value)
			}
		}
	}
	return append(stores, additional...), nil
}

// dataHome is $XDG_DATA_HOME or what stands for it.
func dataHome() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return dir
	}
	return filepath.Join(os.Getenv("HOME"), ".local/share")
}

// expandPath replaces variables in a configured path as the storage library does.
func expandPath(path string, uid int) string {
	path = os.ExpandEnv(strings.ReplaceAll(path, "$UID", strconv.Itoa(uid)))
	return filepath.Clean(path)
}
