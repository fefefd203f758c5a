// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	storage "go.podman.io/storage/pkg/config"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/homedir"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Variables of the caller that select another store for plain podman.
const (
	EnvStorageConf = "CONTAINERS_STORAGE_CONF"
	EnvStorageOpts = "STORAGE_OPTS"

	envStorageDriver = "STORAGE_DRIVER"
)

// The directories of podman's own store where no storage.conf names others.
const (
	defaultGraphRoot = "/var/lib/containers/storage"
	defaultRunRoot   = "/run/containers/storage"
)

// DefaultStores returns the directories of the store that plain podman uses when
// the user uid runs it: the graph root first, or the image store if there is
// one, then those that podman only reads images from. It follows the rules of
// containers-storage.conf(5) with the files below root; for the running host,
// whose root is "/", also by CONTAINERS_STORAGE_CONF and STORAGE_OPTS of this
// process, unless the first names a private storage.conf of ours. The paths are
// those seen from root and need not exist. A malformed file is an error naming
// file and line; so is what podman refuses, an image store that is the graph root.
func DefaultStores(root string, uid int) ([]string, error) {
	own, additional, err := Stores(root, uid)
	return append(own, additional...), err
}

// OwnStores returns those of DefaultStores that podman writes to. Images of the others are
// not in podman's own store.
func OwnStores(root string, uid int) ([]string, error) {
	own, _, err := Stores(root, uid)
	return own, err
}

// Stores returns both parts of DefaultStores: those that podman writes to, and the others.
func Stores(root string, uid int) (own, additional []string, err error) {
	conf, err := readDefaultConf(configfile.File{RootForImplicitAbsolutePaths: root, UserId: uid, EnvironmentName: envOfConf(root)})
	if err != nil {
		return nil, nil, err
	}
	graphRoot, err := conf.graphRoot(uid)
	if err != nil {
		return nil, nil, err
	}
	own = []string{graphRoot}
	switch conf.ImageStore {
	case "":
	case graphRoot:
		return nil, nil, fmt.Errorf("read storage.conf: imagestore %q is the graphroot", graphRoot)
	default:
		own = []string{conf.ImageStore, graphRoot}
	}
	lists := conf.Options.AdditionalImageStores.Values
	// STORAGE_OPTS, even an empty one, replaces every option of the configuration.
	if options, ok := os.LookupEnv(EnvStorageOpts); ok && root == "/" {
		lists = imageStoreOptions(options)
	}
	for _, list := range lists {
		for path := range strings.SplitSeq(list, ",") {
			if path != "" {
				additional = append(additional, filepath.Clean(path))
			}
		}
	}
	return own, additional, nil
}

// readDefaultConf reads the configuration of podman's own store by the rules of the
// host's podman. If they are not known, a damaged file that only newer podmans read is
// ignored.
func readDefaultConf(where configfile.File) (storageTable, error) {
	conf, _, err := readByRules(where)
	return conf, err
}

// readByRules is readDefaultConf that also returns the rules.
func readByRules(where configfile.File) (storageTable, Rules, error) {
	if rules, ok := KnownRules(where.RootForImplicitAbsolutePaths); ok {
		conf, err := readConf(where, rules)
		return conf, rules, err
	}
	conf, err := readConf(where, newest)
	for _, older := range []Rules{{ImageStore: true}, {}} {
		if err == nil {
			break
		}
		if other, errOther := readConf(where, older); errOther == nil {
			return other, older, nil
		}
	}
	return conf, newest, err
}

// envOfConf returns the value of the variable that names the configuration of podman's own
// store, "" for another host's, and in the namespace of the bootc-owned store, where it names
// that store's.
func envOfConf(root string) string {
	if root != "/" || IsPrivateConf(os.Getenv(EnvStorageConf)) {
		return ""
	}
	return EnvStorageConf
}

// IsPrivateConf reports whether path is that of a private storage.conf, ConfPath or the
// one of another sysroot beside it.
func IsPrivateConf(path string) bool {
	return filepath.Dir(path) == filepath.Dir(ConfPath)
}

// DefaultStore describes how to open the store that plain podman uses when root
// runs it on this host. Paths need not exist.
type DefaultStore struct {
	GraphRoot, RunRoot string
	// Driver is the one that the store was made with or, for a missing store, the
	// configured one.
	Driver string
	// Options are driver options in the form of podman --storage-opt, additional
	// image stores among them.
	Options []string
	// ImageStore is the directory of the images if it is not the graph root, mostly "".
	ImageStore string
}

// WithoutImageStores returns options of podman that hide the additional image stores of its
// configuration, nil without such stores. Otherwise a pull, or a new name, makes a record in
// podman's own store of an image whose layers are in another (podman 4.3.1 to 6.1.1).
func (s DefaultStore) WithoutImageStores() (args []string) {
	names := false
	for _, option := range s.Options {
		if imageStoreOptions(option) != nil {
			names = true
		} else if option != "" {
			args = append(args, "--storage-opt="+option)
		}
	}
	switch {
	case !names:
		return nil
	case args == nil:
		return []string{"--storage-opt="}
	}
	return args
}

// ReadDefaultStore returns the store that plain podman uses when root runs it on the
// host whose root is root. It follows the same rules as DefaultStores.
func ReadDefaultStore(root string) (DefaultStore, error) {
	conf, err := readDefaultConf(configfile.File{RootForImplicitAbsolutePaths: root, EnvironmentName: envOfConf(root)})
	if err != nil {
		return DefaultStore{}, err
	}
	s := DefaultStore{
		RunRoot: cmp.Or(expandPath(conf.RunRoot, 0), defaultRunRoot),
		Driver:  driverName(conf.Driver), ImageStore: conf.ImageStore, Options: conf.driverOptions(),
	}
	if s.GraphRoot, err = conf.graphRoot(0); err != nil {
		return DefaultStore{}, err
	}
	if driver := os.Getenv(envStorageDriver); driver != "" && root == "/" {
		s.Driver = driverName(driver)
	}
	if options, ok := os.LookupEnv(EnvStorageOpts); ok && root == "/" {
		s.Options = strings.Split(options, ",")
	}
	base, err := rooted.OpenRoot(root)
	if err != nil {
		return DefaultStore{}, err
	}
	defer base.Close()
	if dir, err := rooted.Open(base, s.GraphRoot, unix.O_PATH|unix.O_DIRECTORY); err == nil {
		defer dir.Close()
		s.Driver = Config{Driver: s.Driver}.ForStore(dir).Driver
	}
	return s, nil
}

// driverOptions returns the options of the configuration as the storage library passes
// them to the driver.
func (s storageTable) driverOptions() (options []string) {
	o := s.Options
	for _, path := range o.AdditionalImageStores.Values {
		options = append(options, "imagestore="+path)
	}
	for _, path := range o.AdditionalLayerStores.Values {
		options = append(options, "additionallayerstore="+path)
	}
	forceMask := ""
	if o.ForceMask != 0 {
		forceMask = strconv.FormatUint(uint64(o.ForceMask), 8)
	}
	// The older spelling, for any driver.
	for _, option := range [][2]string{
		{"size", o.Size},
		{"mount_program", o.MountProgram},
		{"skip_mount_home", o.SkipMountHome},
		{"ignore_chown_errors", o.IgnoreChownErrors},
		{"force_mask", forceMask},
		{"mountopt", o.MountOpt},
	} {
		if option[1] != "" {
			options = append(options, option[0]+"="+option[1])
		}
	}
	return append(options, storage.GetGraphDriverOptions(o)...)
}

// graphRoot returns the directory that podman of the user uid writes to.
func (s storageTable) graphRoot(uid int) (string, error) {
	path := s.GraphRoot
	if path == "" && uid != 0 {
		path = s.RootlessStoragePath
	}
	switch {
	case path != "":
		return expandPath(path, uid), nil
	case uid == 0:
		return defaultGraphRoot, nil
	}
	data, err := homedir.GetDataHome()
	if err != nil {
		return "", fmt.Errorf("find store of user %d: %w", uid, err)
	}
	return filepath.Join(data, "containers/storage"), nil
}

// expandPath replaces variables as the storage library does, with its own one first.
// An empty path stays empty.
func expandPath(path string, uid int) string {
	if path == "" {
		return ""
	}
	return filepath.Clean(os.ExpandEnv(strings.ReplaceAll(path, "$UID", strconv.Itoa(uid))))
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
