// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPartsOfLayersAreThoseOfTheDriver(t *testing.T) {
	base, top := id("1a"), id("1b")
	for driver, parts := range map[string]map[string]string{
		"overlay": {
			"overlay/" + base + "/diff": "directory", "overlay/" + base + "/link": "link", "overlay/" + top + "/lower": "list of lower layers",
			"overlay-layers/" + base + ".tar-split.gz": "tar-split file",
		},
		"vfs":   {"vfs/dir/" + base: "directory", "vfs-layers/" + base + ".tar-split.gz": "tar-split file"},
		"btrfs": {"btrfs/subvolumes/" + base: "directory", "btrfs-layers/" + base + ".tar-split.gz": "tar-split file"},
		"zfs":   {"zfs-layers/" + base + ".tar-split.gz": "tar-split file"},
	} {
		// Which are missing, and which of them is reported.
		cases := map[string]string{"": ""}
		for path, part := range parts {
			cases[path] = part
			if part == "list of lower layers" {
				cases[path+" overlay-layers/"+base+".tar-split.gz"] = part
			}
		}
		for missing, want := range cases {
			dir := t.TempDir()
			write := func(path string, content []byte) {
				if parts[strings.ReplaceAll(path, top, base)] == "directory" {
					must(t, os.MkdirAll(filepath.Join(dir, path), 0o700))
					return
				}
				must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, path), content, 0o600))
			}
			write(driver+"-images/images.json", encode(t, []object{imageRecord(id("a"), top)}))
			write(driver+"-layers/layers.json", encode(t, []object{layerRecord(base, "", 1), layerRecord(top, base, 1)}))
			for path := range parts {
				for _, path := range []string{path, strings.ReplaceAll(path, base, top)} {
					if !slices.Contains(strings.Fields(missing), path) {
						write(path, []byte("something"))
					}
				}
			}
			s := readGood(t, dir)
			var layer *LayerError
			if err := s.Damage(s.Images[0]); errors.As(err, &layer) != (want != "") || layer != nil && layer.Part != want || err != nil && layer == nil {
				t.Errorf("%s without %q: %v, want %q", driver, missing, err, want)
			}
			if layer != nil {
				if s.LayerDamage(layer.Layer) == nil || len(s.ImagesWith(layer.Layer)) != 1 || s.HasFiles(layer.Layer) {
					t.Errorf("%s without %q: layer %s is whole", driver, missing, layer.Layer)
				}
			}
			s.Close()
		}
	}
}

// TestPartsThatAreNotWhatTheyWere: power failures leave empty files.
func TestPartsThatAreNotWhatTheyWere(t *testing.T) {
	image, layer := digestOf([]byte("{}"))[len("sha256:"):], id("1a")
	record := imageRecord(image, layer)
	record["big-data-digests"] = object{"manifest": "sha256:m", "sha256:" + image: "sha256:" + image}
	config := "=" + base64.StdEncoding.EncodeToString([]byte("sha256:"+image))
	link, recipe, diff := "overlay/"+layer+"/link", "overlay-layers/"+layer+".tar-split.gz", "overlay/"+layer+"/diff"
	for what, tt := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"nothing":         {func(string) error { return nil }, ""},
		"empty link":      {func(dir string) error { return os.Truncate(dir+"/"+link, 0) }, `link of layer "` + layer + `" is empty`},
		"empty tar-split": {func(dir string) error { return os.Truncate(dir+"/"+recipe, 0) }, `tar-split file of layer "` + layer + `" is empty`},
		"file for a tree": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/"+diff), os.WriteFile(dir+"/"+diff, []byte("x"), 0o600))
		}, `directory of layer "` + layer + `" is missing`},
		"file for a layer": {func(dir string) error {
			return errors.Join(os.RemoveAll(dir+"/overlay/"+layer), os.WriteFile(dir+"/overlay/"+layer, []byte("x"), 0o600))
		}, `directory of layer "` + layer + `" is missing`},
		"no configuration": {func(dir string) error { return os.Remove(dir + "/overlay-images/" + image + "/" + config) }, "read configuration of image"},
	} {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, diff), 0o700))
		for path, content := range map[string]string{
			"overlay-images/images.json": string(encode(t, []object{record})),
			"overlay-layers/layers.json": string(encode(t, []object{layerRecord(layer, "", 1)})),
			link:                         "L", recipe: "x", "overlay-images/" + image + "/" + config: "{}",
		} {
			must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600))
		}
		must(t, tt.spoil(dir))
		s := readGood(t, dir)
		got := ""
		if err := s.Damage(s.Images[0]); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", what, got, tt.want)
		}
		s.Close()
	}
}
