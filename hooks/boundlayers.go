// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// checkLayers returns why the root directory of a container is not made of just these
// layers, topmost first, of the bootc-owned store. The image's ID is not enough: the
// storage library takes a layer from the first store that has one of its ID.
//
// The kernel's word counts, which directories the root was mounted of. One that was
// given by a number or below the driver's directory, as many layers are, goes by the
// link that stands for it; so do all where nothing is mounted.
func (v *Invocation) checkLayers(all *stores, bootc *graph, c cstorage.Container, want []string) error {
	own := all.all[0]
	if own.Driver != cstorage.Overlay {
		if all.kind(own) == BootcStore {
			return nil
		}
		return refuse("its files are a copy in %s, whose driver is %s", own.path, own.Driver)
	}
	links, err := own.Lower(c.Layer)
	if err != nil {
		return fmt.Errorf("find its layers: %w", err)
	}
	dirs, err := v.mountedOf(own, c.Layer)
	if err != nil {
		return fmt.Errorf("find its layers: %w", err)
	}
	switch {
	case dirs != nil:
	case rooted.Exists(own.Dir, own.Driver.Dir(c.Layer, "diff1")):
		// Nothing is mounted, and would be with this.
		return refuse("its files were copied to %s, as for a user namespace of its own", own.path)
	default:
		dirs = make([]string, len(links))
	}
	if len(want) == 0 && len(links) == 0 {
		return nil // an image of no files
	}
	for i, dir := range dirs {
		switch {
		case i >= len(want):
			return refuse("it has more layers than the bound image")
		case filepath.IsAbs(dir):
			if same, err := v.isDir(dir, bootc, bootc.Driver.Files(want[i])); err != nil || !same || !cstorage.IsID(want[i]) {
				return refuse("its files are in %s, not in the bootc-owned store%s", dir, forUser(own, c.Layer, dir))
			}
			continue
		case i >= len(links):
			return refuse("it has more layers than the storage library records")
		}
		for _, g := range all.all {
			if id := g.Linked(links[i]); id != "" && (all.kind(g) != BootcStore || id != want[i]) {
				return refuse("its layer %s is in %s, not in the bootc-owned store", short(id), g.path)
			}
		}
		if bootc.Linked(links[i]) == "" {
			return refuse("its layer %s is not in the bootc-owned store", links[i])
		}
	}
	if len(dirs) != len(want) {
		return refuse("it has %d layers, and the bound image %d", len(dirs), len(want))
	}
	return nil
}

// forUser says why files of a container may be where they are: for one in a user
// namespace of its own the storage library copies them, or mounts them elsewhere.
func forUser(own *graph, layer, dir string) string {
	if rest, ok := below(dir, own.path+"/"+own.Driver.Dir(layer)); ok && (strings.HasPrefix(rest, "diff") || strings.HasPrefix(rest, "mapped/")) {
		return ", as for a user namespace of its own"
	}
	return ""
}

// mountedOf returns the directories that the root directory of a container was
// mounted of, the topmost first, as they were given to the kernel: GRAPHROOT/overlay/l/LINK,
// GRAPHROOT/overlay/LAYER/diff, l/LINK, the number of a descriptor. nil says that
// nothing is mounted, or by a program.
func (v *Invocation) mountedOf(own *graph, layer string) ([]string, error) {
	options, err := v.mountOptions(own, layer)
	return lowerDirs(options), err
}

// mountOptions returns the options of the overlay that the root directory of a container
// is, "" where none is mounted.
func (v *Invocation) mountOptions(own *graph, layer string) (options string, err error) {
	table, err := v.mounts()
	if err != nil {
		return "", err
	}
	at := filepath.Join(own.canonical(v.Root), own.Driver.Dir(layer, "merged"))
	for _, m := range table { // the last one is on top
		if m.Mountpoint == at && m.FSType == "overlay" {
			options = m.VFSOptions
		}
	}
	return options, nil
}

// canonical is the path of the graph root without links.
func (g *graph) canonical(root string) string {
	path, err := pathOf(g.Dir)
	if err != nil {
		return g.path
	}
	if rest, ok := below(path, filepath.Clean(root)); ok {
		return "/" + rest
	}
	return g.path
}

// lookedInto opens the stores that the podman of a container looks for images in, as
// far as that can be determined: its own, those that it was given, and those that are
// configured unless it was given another graph root. The bootc-owned one is among them.
func (v *Invocation) lookedInto(own *graph) *stores {
	s := v.ownAndBootc(own)
	v.addOfParent(s)
	configured, err := storageconf.DefaultStores(v.Root, os.Geteuid())
	if err != nil {
		return s
	}
	ownID, err := rooted.Identify(own.Dir)
	if err == nil && slices.ContainsFunc(configured, func(path string) bool {
		id, err := v.identify(path)
		return err == nil && id == ownID
	}) {
		for _, path := range configured {
			s.add(path, OtherStore)
		}
	}
	return s
}

// addOfParent adds the stores that the podman which runs this hook was given to read
// images from, by its command line or environment. Words of the container's own
// command may look like that; more stores do no harm.
func (v *Invocation) addOfParent(s *stores) {
	before := ""
	for _, word := range v.ofParent("cmdline") {
		if before == "--imagestore" {
			word = "imagestore=" + word
		}
		s.addOptions(strings.TrimPrefix(strings.TrimPrefix(word, "--storage-opt="), "--"))
		before = word
	}
	for _, kv := range v.ofParent("environ") {
		switch name, value, _ := strings.Cut(kv, "="); name {
		case storageconf.EnvStorageOpts:
			s.addOptions(value)
		case storageconf.EnvStorageConf:
			v.addOfConf(s, value)
		}
	}
}

// addOfConf adds the stores that a storage.conf names.
func (v *Invocation) addOfConf(s *stores, file string) {
	var conf struct {
		Storage struct {
			ImageStore string `toml:"imagestore"`
			Options    struct {
				Stores []any `toml:"additionalimagestores"`
			} `toml:"options"`
		} `toml:"storage"`
	}
	content, err := readBelow(v.Root, file, maxConf)
	if err != nil || toml.Unmarshal(content, &conf) != nil {
		return
	}
	for _, dir := range append(conf.Storage.Options.Stores, conf.Storage.ImageStore) {
		if dir, _ := dir.(string); filepath.IsAbs(dir) {
			s.add(dir, OtherStore)
		}
	}
}

// addOptions adds the stores that driver options name: NAME=VALUE,…, where the value
// may be a list, too.
func (s *stores) addOptions(options string) {
	isStore := false
	for option := range strings.SplitSeq(options, ",") {
		dir := option
		if key, value, ok := strings.Cut(option, "="); ok {
			key = key[strings.LastIndexByte(key, '.')+1:]
			dir, isStore = value, key == "additionalimagestore" || key == "imagestore"
		}
		if isStore && filepath.IsAbs(dir) {
			s.add(dir, OtherStore)
		}
	}
}

// ofParent reads a file of /proc/PID of the process that started this one.
func (v *Invocation) ofParent(name string) []string {
	if v.Parent == 0 {
		return nil
	}
	content, err := readBelow(v.Root, fmt.Sprintf("proc/%d/%s", v.Parent, name), maxState)
	if err != nil {
		return nil
	}
	return strings.Split(string(content), "\x00")
}

// shadow returns the path of a store other than the bootc-owned one in which podman
// finds an image, "" for none.
func (s *stores) shadow(match func(cstorage.ImageRecord) bool) (path string, err error) {
	own := s.all[0]
	if s.kind(own) == BootcStore {
		return "", nil // what is in there comes first
	}
	for _, g := range s.all {
		if s.kind(g) == BootcStore {
			continue
		}
		// podman looks into a store of its own driver only.
		_, err := cstorage.Graph{Dir: g.Dir, Driver: own.Driver}.Image(match)
		if err == nil {
			return g.path, nil
		}
		if !errors.Is(err, cstorage.ErrNoRecord) {
			return "", err
		}
	}
	return "", nil
}
