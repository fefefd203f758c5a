// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// ContainersConfDir has the administrator's drop-ins of containers.conf(5).
const ContainersConfDir = adminContainersConf + ".d"

const (
	vendorContainersConf = "/usr/share/containers/containers.conf"
	adminContainersConf  = "/etc/containers/containers.conf"
	// rootsContainersConf is the configuration of the user root.
	rootsContainersConf = "/root/.config/containers/containers.conf"

	maxContainersConf = 1 << 20
)

// ContainersConfBefore6 lists the files that podman before release 6, run by root, takes
// its configuration from, in the order it reads them: each main file, and drop-ins of two
// directories. assumed is a drop-in that is listed even if it does not exist, unless another
// one replaces it; "" for none.
func ContainersConfBefore6(root *os.File, assumed string) ([]string, error) {
	admins, err := dropIns(root, assumed, ContainersConfDir)
	if err != nil {
		return nil, err
	}
	roots, err := dropIns(root, assumed, rootsContainersConf+".d")
	if err != nil {
		return nil, err
	}
	return slices.Concat([]string{vendorContainersConf, adminContainersConf}, admins, []string{rootsContainersConf}, roots), nil
}

// ContainersConfSince6 is the same for podman 6: the first main file that exists, and
// then drop-ins of all directories by their names; of two with the same name the one of the
// later directory. See package configfile in the storage library.
func ContainersConfSince6(root *os.File, assumed string) (files []string, err error) {
	for _, file := range []string{rootsContainersConf, adminContainersConf, vendorContainersConf} {
		_, err := rooted.Stat(root, file, 0)
		if err == nil {
			files = append(files, file)
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	all, err := dropIns(root, assumed, vendorContainersConf+".d", rootful(vendorContainersConf), ContainersConfDir,
		rootful(adminContainersConf), rootsContainersConf+".d")
	return append(files, all...), err
}

// rootful is the directory of drop-ins for root only.
func rootful(conf string) string { return strings.TrimSuffix(conf, ".conf") + ".rootful.conf.d" }

// dropIns lists the files in directories of drop-ins by their names. One that is in
// several counts where it is last. Directories are not listed, but links to them are: podman
// fails on them.
func dropIns(root *os.File, assumed string, dirs ...string) (files []string, err error) {
	byName := map[string]string{}
	for _, d := range dirs {
		if d == filepath.Dir(assumed) {
			byName[filepath.Base(assumed)] = assumed
		}
		names, err := rooted.Names(root, d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			file := filepath.Join(d, name)
			if strings.HasSuffix(name, ".conf") && rooted.Kind(root, file) != unix.S_IFDIR {
				byName[name] = file
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[name])
	}
	return files, nil
}

// followsContainersConfDir reports whether a release of podman reads drop-ins of
// ContainersConfDir where this is a link: 4.3.1 and 5.4.2 do not, 5.8.6 and 6.1.1 do.
func followsContainersConfDir(podman [2]int) bool { return !older(podman, 5, 8) }

func older(podman [2]int, major, minor int) bool {
	return slices.Compare(podman[:], []int{major, minor}) < 0
}

// ErrRelativeTmpDir reports a relative image_copy_tmp_dir, for which podman refuses every
// command.
var ErrRelativeTmpDir = errors.New("image_copy_tmp_dir is a relative path")

// ImageCopyTmpDir returns the value of image_copy_tmp_dir that a release of podman, run by
// root, takes from containers.conf(5), "" for none, as "podman info" shows it where TMPDIR
// is not set: an absolute path, or "storage", the directory tmp of the graph root that
// storage.conf names, also with --root. conf and override are the values of
// CONTAINERS_CONF, which names the only file to read, and of CONTAINERS_CONF_OVERRIDE,
// which podman before 4.4 does not have.
func ImageCopyTmpDir(root string, podman [2]int, conf, override string) (value string, err error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	var files []string
	switch {
	case conf != "":
		files = []string{conf}
	case older(podman, 6, 0):
		files, err = ContainersConfBefore6(dir, "")
	default:
		files, err = ContainersConfSince6(dir, "")
	}
	if err != nil {
		return "", err
	}
	if isLink(dir, ContainersConfDir) && !followsContainersConfDir(podman) {
		files = slices.DeleteFunc(files, func(file string) bool { return filepath.Dir(file) == ContainersConfDir })
	}
	if override != "" && !older(podman, 4, 4) {
		files = append(files, override)
	}
	for _, file := range files {
		content, err := rooted.ReadFile(dir, file, maxContainersConf)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		var parsed struct {
			Engine struct {
				ImageCopyTmpDir *string `toml:"image_copy_tmp_dir"`
			} `toml:"engine"`
		}
		if _, err := toml.Decode(string(content), &parsed); err != nil {
			return "", fmt.Errorf("decode %q: %w", file, err)
		}
		if dir := parsed.Engine.ImageCopyTmpDir; dir != nil {
			value = *dir
		}
	}
	if value != "" && value != StorageTmpDir && !filepath.IsAbs(value) {
		return "", fmt.Errorf("read %q: %w", value, ErrRelativeTmpDir)
	}
	return value, nil
}

// StorageTmpDir is the value of image_copy_tmp_dir for a directory of the graph root.
const StorageTmpDir = "storage"
