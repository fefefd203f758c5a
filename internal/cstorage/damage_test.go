// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"encoding/base64"
	"errors"
	"fmt"
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
						content := "something"
						if strings.HasSuffix(path, "/lower") {
							content = "l/something"
						}
						write(path, []byte(content))
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

// chain is the graph root of an image of three layers, whose links are A, B and C.
func chain(t *testing.T, driver Driver, spoil func(layers []object, config object, write func(path, content string))) string {
	t.Helper()
	dir, ids := t.TempDir(), []string{id("1a"), id("1b"), id("1c")}
	write := func(path, content string) {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600))
	}
	var layers []object
	var diffIDs []string
	for i, layer := range ids {
		must(t, os.MkdirAll(filepath.Join(dir, driver.Files(layer)), 0o700))
		write(driver.layers(layer+".tar-split.gz"), "recipe")
		if driver == Overlay {
			write("overlay/"+layer+"/link", string("ABC"[i]))
			must(t, os.MkdirAll(filepath.Join(dir, "overlay/l"), 0o700))
			must(t, os.Symlink("../"+layer+"/diff", filepath.Join(dir, "overlay/l", string("ABC"[i]))))
		}
		layers = append(layers, layerRecord(layer, ids[max(i, 1)-1], 1))
		diffIDs = append(diffIDs, "sha256:"+layer)
	}
	layers[0]["parent"] = ""
	if driver == Overlay {
		write("overlay/"+ids[1]+"/lower", "l/A")
		write("overlay/"+ids[2]+"/lower", "l/B:l/A")
	}
	config := object{"rootfs": object{"diff_ids": diffIDs}}
	spoil(layers, config, write)
	content := encode(t, config)
	digest := digestOf(content)
	image := imageRecord(strings.TrimPrefix(digest, "sha256:"), ids[2])
	image["big-data-digests"] = object{digest: digest}
	write(driver.images("images.json"), string(encode(t, []object{image})))
	write(driver.layers("layers.json"), string(encode(t, layers)))
	path, err := driver.BigData(strings.TrimPrefix(digest, "sha256:"), digest)
	must(t, err)
	write(path, string(content))
	return dir
}

// TestLayersThatAreNotTheirParents: podman mounts what the list of lower layers says, and
// copies the layers of the records.
func TestLayersThatAreNotTheirParents(t *testing.T) {
	a, b, c := id("1a"), id("1b"), id("1c")
	lower := func(layer, links string) func([]object, object, func(path, content string)) {
		return func(_ []object, _ object, write func(path, content string)) { write("overlay/"+layer+"/lower", links) }
	}
	parent := func(layer int, id string) func([]object, object, func(path, content string)) {
		return func(layers []object, _ object, _ func(path, content string)) { layers[layer]["parent"] = id }
	}
	wrong := func(layer string) string {
		return fmt.Sprintf("list of lower layers of layer %q does not match its parents", layer)
	}
	const fewer = "has 2 layers, and 3 in its configuration"
	for what, tt := range map[string]struct {
		spoil   func(layers []object, config object, write func(path, content string))
		overlay string
		vfs     string
	}{
		"whole":                  {func([]object, object, func(path, content string)) {}, "", ""},
		"grandparent for parent": {parent(2, a), wrong(c), fewer},
		"no parent":              {parent(2, ""), wrong(c), "has 1 layers"},
		"lowest with a parent":   {parent(1, c), "layer", "layer"},
		"lower: parent only":     {lower(c, "l/B"), wrong(c), ""},
		"lower: other order":     {lower(c, "l/A:l/B"), wrong(c), ""},
		"lower: one more":        {lower(c, "l/B:l/A:l/A"), wrong(c), ""},
		"lower: no such link":    {lower(b, "l/X"), wrong(b), ""},
		"lower: not a link":      {lower(c, "../../etc"), wrong(c), ""},
		"lower: of the lowest":   {lower(a, "l/B"), wrong(a), ""},
		"lower-layers: whole": {func(_ []object, _ object, write func(path, content string)) {
			write("overlay/"+c+"/lower-layers", b+":"+a)
		}, "", ""},
		"lower-layers: other": {func(_ []object, _ object, write func(path, content string)) {
			write("overlay/"+c+"/lower-layers", a+":"+b)
		}, wrong(c), ""},
		"lower-layers: empty":      {func(_ []object, _ object, write func(path, content string)) { write("overlay/"+c+"/lower-layers", "") }, wrong(c), ""},
		"a second link to a layer": {func(_ []object, _ object, write func(path, content string)) { write("overlay/"+b+"/link", "B2") }, "", ""},
		"layers changed places": {func(layers []object, _ object, write func(path, content string)) {
			layers[0]["diff-digest"], layers[1]["diff-digest"] = layers[1]["diff-digest"], layers[0]["diff-digest"]
		}, "has the diff ID", "has the diff ID"},
		"only digests of tables of contents": {func(layers []object, _ object, _ func(path, content string)) {
			layers[1]["diff-digest"], layers[1]["toc-digest"] = "", "sha256:"+id("2b")
		}, "", ""},
		"diff IDs of another algorithm": {func(_ []object, config object, _ func(path, content string)) {
			config["rootfs"] = object{"diff_ids": []string{"sha512:1", "sha512:2", "sha512:3"}}
		}, "", ""},
		"configuration of an artifact": {func(_ []object, config object, _ func(path, content string)) { delete(config, "rootfs") }, "", ""},
		"rootfs of another kind":       {func(_ []object, config object, _ func(path, content string)) { config["rootfs"] = "x" }, "", ""},
		"additional layer": {func(_ []object, _ object, write func(path, content string)) {
			write("overlay/"+b+"/additionallayer", "/x")
			write("overlay/"+c+"/lower", "l/X:l/Y")
		}, "", ""},
	} {
		for driver, want := range map[Driver]string{Overlay: tt.overlay, "vfs": tt.vfs} {
			dir := chain(t, driver, tt.spoil)
			f, err := os.Open(dir)
			must(t, err)
			s, _ := Read(f)
			got := ""
			if err := s.Damage(s.Images[0]); err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%s, %s: %q, want %q", what, driver, got, want)
			}
			s.Close()
		}
	}
}

// TestImagesThatCannotBeCompared: schema 1 has no configuration blob.
func TestImagesThatCannotBeCompared(t *testing.T) {
	for what, manifest := range map[string]string{"schema 1": `{"schemaVersion":1}`, "no configuration": `{"config":{"digest":"sha256:x"}}`} {
		dir := chain(t, Overlay, func(layers []object, _ object, _ func(path, content string)) { layers[2]["diff-digest"] = "sha256:x" })
		image := imageRecord(id("a"), id("1c"))
		must(t, os.WriteFile(filepath.Join(dir, "overlay-images/images.json"), encode(t, []object{image}), 0o600))
		addBlob(t, dir, id("a"), "manifest", []byte(manifest))
		s := readGood(t, dir)
		if err := s.Damage(s.Images[0]); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
