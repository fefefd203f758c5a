// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Driver is a storage driver, by which the storage library arranges the files of a store.
// It is "" for a directory without a store.
type Driver string

// Overlay is the only driver whose layers refer to each other by files of its own.
const Overlay Driver = "overlay"

// drivers are those of a store, in the order in which findDriver prefers them.
func drivers() []Driver { return []Driver{Overlay, "btrfs", "zfs", "vfs"} }

func (d Driver) images(rest ...string) string { return d.in("images", rest) }
func (d Driver) layers(rest ...string) string { return d.in("layers", rest) }

// Containers is the directory of containers, or of a file in it.
func (d Driver) Containers(rest ...string) string { return d.in("containers", rest) }

func (d Driver) in(what string, rest []string) string {
	return path.Join(append([]string{string(d) + "-" + what}, rest...)...)
}

// Dir is the directory of a layer, or of a file of the driver's own in it. It is "" for a
// driver that keeps layers elsewhere (zfs).
func (d Driver) Dir(layer string, rest ...string) string {
	above := map[Driver]string{Overlay: "overlay", "vfs": "vfs/dir", "btrfs": "btrfs/subvolumes"}[d]
	if above == "" {
		return ""
	}
	return path.Join(append([]string{above, layer}, rest...)...)
}

// Files is the directory with the files of a layer, "" as for Dir.
func (d Driver) Files(layer string) string {
	if d == Overlay {
		return d.Dir(layer, "diff")
	}
	return d.Dir(layer)
}

// BigData is the file of a big data item of an image, below the graph root. The storage
// library encodes keys with other characters than lower case letters, digits and the full
// stop (makeBigDataBaseName in its store.go). The error is about an ID that is no file name.
func (d Driver) BigData(image, key string) (string, error) {
	if image == "" || image == "." || image == ".." || strings.ContainsRune(image, '/') {
		return "", fmt.Errorf("image ID %q cannot be a file name", image)
	}
	plain := func(r rune) bool { return r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' }
	if strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }) {
		key = "=" + base64.StdEncoding.EncodeToString([]byte(key))
	}
	return d.images(image, key), nil
}

// ParseRootfs returns the graph root, the driver and the layer of a container by its root
// directory: GRAPHROOT/overlay/LAYER/merged, GRAPHROOT/vfs/dir/LAYER,
// GRAPHROOT/btrfs/subvolumes/LAYER, GRAPHROOT/zfs/graph/LAYER.
func ParseRootfs(rootfs string) (graphRoot string, d Driver, layer string, ok bool) {
	parts := strings.Split(path.Clean(rootfs), "/")
	n := len(parts)
	if n < 4 || parts[0] != "" {
		return "", "", "", false
	}
	d, layer = Driver(parts[n-3]), parts[n-1]
	if layer == "merged" {
		layer = parts[n-2]
	}
	return strings.Join(parts[:n-3], "/"), d, layer, slices.Contains(drivers(), d) && IsID(layer)
}

// ParseBundle returns the graph root and the driver of a container by the directory that
// podman makes for the runtime: GRAPHROOT/DRIVER-containers/ID/userdata.
func ParseBundle(bundle, id string) (graphRoot string, d Driver, ok bool) {
	rest, ok := strings.CutSuffix(path.Clean(bundle), "/"+id+"/userdata")
	graphRoot, containers := path.Split(rest)
	driver, isContainers := strings.CutSuffix(containers, "-containers")
	return graphRoot, Driver(driver), ok && isContainers && path.IsAbs(bundle)
}

// IsID reports whether s has the form of the ID that the storage library gives a layer or
// an image.
func IsID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
