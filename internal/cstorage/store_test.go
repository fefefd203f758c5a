// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

// object is a JSON object of a store's files.
type object = map[string]any

// storeDir writes the two files of an overlay store and returns its graph root;
// nil leaves a file out.
func storeDir(t testing.TB, imagesJSON, layersJSON []byte) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string][]byte{
		"overlay-images/images.json": imagesJSON,
		"overlay-layers/layers.json": layersJSON,
	} {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700))
		if content != nil {
			must(t, os.WriteFile(filepath.Join(dir, path), content, 0o600))
		}
	}
	return dir
}

func read(t testing.TB, dir string) (*Store, []error) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return Read(f)
}

// readGood reads a store that nothing is wrong with.
func readGood(t testing.TB, dir string) *Store {
	t.Helper()
	s, problems := read(t, dir)
	if len(problems) != 0 {
		t.Fatalf("Read() found problems: %v", problems)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	must(t, err)
	return content
}

// id is a 64-digit ID that begins with prefix.
func id(prefix string) string { return prefix + strings.Repeat("0", 64-len(prefix)) }

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func layerRecord(id, parent string, size int64) object {
	return object{"id": id, "parent": parent, "diff-digest": "sha256:" + id, "diff-size": size, "uidset": []int{0}, "created": "2024-05-06T07:08:09Z"}
}

func imageRecord(id, layer string, names ...string) object {
	return object{
		"id": id, "digest": "sha256:" + id, "names": names, "layer": layer, "created": "2024-05-06T07:08:09.5Z",
		"big-data-names": []string{"manifest"},
		"big-data-sizes": object{"manifest": 7}, "big-data-digests": object{"manifest": "sha256:" + id},
	}
}

// addBlob writes a big data item of an image.
func addBlob(t testing.TB, dir, id, file string, content []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "overlay-images", id), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "overlay-images", id, file), content, 0o600))
}

func TestReadStoreReadsImages(t *testing.T) {
	a := imageRecord(id("a"), id("1b"), "localhost/a:1", "localhost/a:2")
	a["big-data-names"] = []string{"manifest", "manifest-sha256:list", "sha256:config"}
	a["big-data-sizes"] = object{"manifest": 10, "manifest-sha256:list": 20, "sha256:config": 30}
	a["big-data-digests"] = object{"manifest": "sha256:m", "manifest-sha256:list": "sha256:list", "sha256:config": "sha256:config"}
	b := imageRecord(id("b"), id("1a"))
	delete(b, "digest")
	mapped := imageRecord(id("c"), id("1a"))
	mapped["mapped-layers"] = []string{id("1a"), id("1c")}
	layers := []object{
		layerRecord(id("1b"), id("1a"), 200), layerRecord(id("1a"), "", 1000),
		layerRecord(id("1c"), "", 5000),
		{"id": id("1d"), "created": "2024-05-06T07:08:09Z"}, // of a container
	}
	s := readGood(t, storeDir(t, encode(t, []object{a, b, mapped, imageRecord(id("d"), "")}), encode(t, layers)))

	var got []string
	for _, img := range s.Images {
		got = append(got, fmt.Sprintf("%.2s %v %.12s %d %d %s", img.ID, img.Names, img.Digest, len(img.Digests), img.Size, img.Created.Format(time.RFC3339Nano)))
	}
	want := []string{
		"a0 [localhost/a:1 localhost/a:2] sha256:a0000 3 1260 2024-05-06T07:08:09.5Z",
		"b0 [] sha256:b0000 1 1007 2024-05-06T07:08:09.5Z",
		"c0 [] sha256:c0000 1 6007 2024-05-06T07:08:09.5Z",
		"d0 [] sha256:d0000 1 7 2024-05-06T07:08:09.5Z",
	}
	if !slices.Equal(got, want) {
		t.Errorf("images are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s.graphs[0].Driver != "overlay" {
		t.Errorf("driver is %q; want overlay", s.graphs[0].Driver)
	}
	if got, want := s.Usage(), int64(1000+200+5000+60+3*7); got != want {
		t.Errorf("Usage() = %d; want %d", got, want)
	}
}

func TestReadStoreTakesAnUnusedDirectoryForEmpty(t *testing.T) {
	for name, dir := range map[string]string{
		"nothing there":     t.TempDir(),
		"no files":          storeDir(t, nil, nil),
		"empty files":       storeDir(t, []byte{}, []byte{}),
		"empty lists":       storeDir(t, []byte("[]"), []byte("[]")),
		"layers, no images": storeDir(t, nil, []byte("[]")),
	} {
		t.Run(name, func(t *testing.T) {
			s := readGood(t, dir)
			if len(s.Images) != 0 || s.Usage() != 0 {
				t.Errorf("got %d images of %d bytes; want none", len(s.Images), s.Usage())
			}
			if exists, err := s.Exists("localhost/a", noShortNames(t)); exists || err != nil {
				t.Errorf("Exists() = %v, %v; want false", exists, err)
			}
		})
	}
}

func TestReadStoreReadsThroughAPathDescriptor(t *testing.T) {
	dir := storeDir(t, encode(t, []object{imageRecord(id("a"), "")}), nil)
	fd, err := syscall.Open(dir, 0x200000 /* O_PATH */ |syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	must(t, err)
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	if s, problems := Read(f); len(s.Images) != 1 || len(problems) != 0 {
		t.Errorf("got %d images, problems %v; want one image", len(s.Images), problems)
	}
}

func TestReadStoreFindsTheDriver(t *testing.T) {
	for _, driver := range []string{"overlay", "btrfs", "zfs", "vfs"} {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, driver+"-images"), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, driver+"-images/images.json"), encode(t, []object{imageRecord(id("a"), "")}), 0o600))
		if s := readGood(t, dir); s.graphs[0].Driver != Driver(driver) || len(s.Images) != 1 {
			t.Errorf("got driver %q with %d images; want %s with 1", s.graphs[0].Driver, len(s.Images), driver)
		}
	}
}

func TestReadStoreNamesADamagedImagesFile(t *testing.T) {
	good := encode(t, []object{imageRecord(id("a"), "", "localhost/a:1")})
	for name, test := range map[string]struct {
		content []byte
		want    string
	}{
		"cut":            {good[:len(good)-9], fmt.Sprintf("images.json\" at byte %d: unexpected end", len(good)-9)},
		"garbage":        {[]byte(`[{"id": x}]`), `images.json" at byte 9: invalid character`},
		"wrong type":     {[]byte(`[{"id": 5}]`), `images.json" at byte 9: json: cannot unmarshal number`},
		"no list":        {[]byte(`{}`), `images.json" at byte 1`},
		"bad time stamp": {[]byte(`[{"created":"yesterday"}]`), `images.json": `},
	} {
		t.Run(name, func(t *testing.T) {
			s, problems := read(t, storeDir(t, test.content, nil))
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) || strings.Contains(problems[0].Error(), "\n") {
				t.Errorf("problems are %v; want one with %q", problems, test.want)
			}
			if len(s.Images) != 0 || s.Usage() != -1 {
				t.Errorf("got %d images of %d bytes; want sizes of 0 and more", len(s.Images), s.Usage())
			}
			if _, err := s.Exists("localhost/a:1", noShortNames(t)); err == nil {
				t.Error("Exists() does not fail")
			}
		})
	}
}

func TestReadStoreListsImagesWithoutLayersFile(t *testing.T) {
	dir := storeDir(t, encode(t, []object{imageRecord(id("a"), id("1a"), "localhost/a:1"), imageRecord(id("b"), id("1a"))}), []byte(`[{"id":`))
	addBlob(t, dir, id("a"), "manifest", []byte(`{"schemaVersion":2,"config":{"digest":"sha256:c"}}`))
	s, problems := read(t, dir)
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), `layers.json" at byte 7`) {
		t.Errorf("problems are %v; want one that names layers.json", problems)
	}
	if len(s.Images) != 2 || s.Images[0].Size != -1 || s.Images[1].Size != -1 || s.Usage() != -1 {
		t.Errorf("got %d images; want 2 of size -1", len(s.Images))
	}
	if _, err := s.Exists("localhost/a:1", noShortNames(t)); err == nil {
		t.Error("Exists() does not fail for an image that may be incomplete")
	}
}

func TestReadStoreNamesDamagedImages(t *testing.T) {
	incomplete := layerRecord(id("1a"), "", 1)
	incomplete["flags"] = object{"incomplete": true}
	noSize := object{"id": id("1a")}
	mapped := imageRecord(id("a"), "", "localhost/a:1")
	mapped["mapped-layers"] = []string{id("1b")}
	unsized := imageRecord(id("a"), "", "localhost/a:1")
	delete(unsized, "big-data-sizes")
	unsized["big-data-names"] = []string{"manifest", "gone"}
	for name, test := range map[string]struct {
		image  object
		layers []object
		want   string
	}{
		"no top layer":      {layers: []object{layerRecord(id("1b"), "", 1)}, want: `layer "` + id("1a") + `" is missing`},
		"no lower layer":    {layers: []object{layerRecord(id("1a"), id("1b"), 1)}, want: `layer "` + id("1b") + `" is missing`},
		"no mapped layer":   {image: mapped, want: `layer "` + id("1b") + `" is missing`},
		"incomplete layer":  {layers: []object{incomplete}, want: `layer "` + id("1a") + `" is missing`},
		"layer is a parent": {layers: []object{layerRecord(id("1a"), id("1a"), 1)}, want: "is its own parent"},
		"layers in circles": {layers: []object{layerRecord(id("1a"), id("1b"), 1), layerRecord(id("1b"), id("1c"), 1), layerRecord(id("1c"), id("1b"), 1)}, want: "is its own parent"},
		"unknown size":      {layers: []object{noSize}, want: "is not recorded"},
		"no big data":       {image: unsized, want: "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			image := test.image
			if image == nil {
				image = imageRecord(id("a"), id("1a"), "localhost/a:1")
			}
			dir := storeDir(t, encode(t, []object{image, imageRecord(id("b"), "", "localhost/b:1")}), encode(t, test.layers))
			for _, img := range []string{id("a"), id("b")} {
				addBlob(t, dir, img, "manifest", []byte(`{"schemaVersion":2,"config":{"digest":"sha256:c"}}`))
			}
			s, problems := read(t, dir)
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) || !strings.Contains(problems[0].Error(), id("a")) {
				t.Errorf("problems are %v; want one with %q that names the image", problems, test.want)
			}
			if len(s.Images) != 2 || s.Images[0].Size != -1 || s.Images[1].Size != 7 {
				t.Errorf("images are %+v; want two, the first of size -1", s.Images)
			}
			if exists, err := s.Exists("localhost/a:1", noShortNames(t)); exists || err != nil {
				t.Errorf("Exists() of the damaged image = %v, %v; want false", exists, err)
			}
			if exists, err := s.Exists("localhost/b:1", noShortNames(t)); !exists || err != nil {
				t.Errorf("Exists() of the good image = %v, %v; want true", exists, err)
			}
		})
	}
}

func TestReadStoreSumsBigDataOfOldRecords(t *testing.T) {
	image := imageRecord(id("a"), "")
	delete(image, "big-data-sizes")
	dir := storeDir(t, encode(t, []object{image}), nil)
	addBlob(t, dir, id("a"), "manifest", []byte("12345"))
	if s := readGood(t, dir); s.Images[0].Size != 5 {
		t.Errorf("size is %d; want 5", s.Images[0].Size)
	}
}

func TestReadStoreKnowsLayersOfPartialPulls(t *testing.T) {
	layer := layerRecord(id("1a"), "", 50)
	delete(layer, "diff-digest")
	layer["toc-digest"] = "sha256:toc"
	dir := storeDir(t, encode(t, []object{imageRecord(id("a"), id("1a"))}), encode(t, []object{layer}))
	if s := readGood(t, dir); s.Images[0].Size != 57 {
		t.Errorf("size is %d; want 57", s.Images[0].Size)
	}
}

func TestReadStoreGivesANameToOneImageOnly(t *testing.T) {
	dir := storeDir(t, encode(t, []object{imageRecord(id("a"), "", "localhost/a:1", "localhost/a:2"), imageRecord(id("b"), "", "localhost/a:1")}), nil)
	s := readGood(t, dir)
	if a, b := s.Images[0].Names, s.Images[1].Names; !slices.Equal(a, []string{"localhost/a:2"}) || !slices.Equal(b, []string{"localhost/a:1"}) {
		t.Errorf("names are %q and %q; want the doubled one at the second image only", a, b)
	}
}

func TestReadStoreDoesNotLeaveTheStore(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "images.json")
	must(t, os.WriteFile(outside, encode(t, []object{imageRecord(id("a"), "")}), 0o600))
	dir := storeDir(t, nil, nil)
	must(t, os.Symlink(outside, filepath.Join(dir, "overlay-images/images.json")))
	if s := readGood(t, dir); len(s.Images) != 0 {
		t.Error("a link out of the store was followed")
	}
}

func TestReadStoreDoesNotWaitForAPipe(t *testing.T) {
	dir := storeDir(t, nil, nil)
	must(t, syscall.Mkfifo(filepath.Join(dir, "overlay-images/images.json"), 0o600))
	must(t, syscall.Mkfifo(filepath.Join(dir, "overlay-layers/layers.json"), 0o600))
	_, problems := read(t, dir)
	if len(problems) != 2 || !strings.Contains(problems[0].Error(), "images.json: not a regular file") {
		t.Errorf("problems are %v; want two of no regular file", problems)
	}
}

func TestReadStoreLeavesTheStoreAsItIs(t *testing.T) {
	dir := t.TempDir()
	must(t, testhost.BigStore(dir, 20))
	before := filesOf(t, dir)
	s := readGood(t, dir)
	_, _ = s.Images[0].Config()
	_, _ = s.Exists("localhost/image-0:latest", noShortNames(t))
	if after := filesOf(t, dir); !slices.Equal(before, after) {
		t.Errorf("the store changed from\n%q to\n%q", before, after)
	}
}

// list describes every file below dir.
func filesOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Stat(path)
		if err == nil {
			files = append(files, fmt.Sprint(path, fi.Mode(), fi.Size(), fi.ModTime()))
		}
		return err
	}))
	return files
}

func TestConfigReadsTheImageConfiguration(t *testing.T) {
	config := []byte(`{"architecture":"arm64","os":"linux","created":"2024-01-02T03:04:05Z","config":{"Labels":{"version":"9"}}}`)
	for name, test := range map[string]struct {
		manifest, config []byte
		want             string
	}{
		"good":             {manifest: fmt.Appendf(nil, `{"config":{"digest":%q}}`, digestOf(config)), config: config},
		"other content":    {manifest: fmt.Appendf(nil, `{"config":{"digest":%q}}`, digestOf(nil)), config: config, want: "does not match"},
		"no JSON":          {manifest: fmt.Appendf(nil, `{"config":{"digest":%q}}`, digestOf([]byte("x"))), config: []byte("x"), want: "decode configuration"},
		"missing":          {manifest: []byte(`{"config":{"digest":"sha256:c"}}`), want: "no such file"},
		"manifest list":    {manifest: []byte(`{"manifests":[]}`), want: ErrNotImage.Error()},
		"bad manifest":     {manifest: []byte(`{`), want: "decode manifest"},
		"too big":          {manifest: make([]byte, maxBlob+1), want: "more than"},
		"missing manifest": {want: "read manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t, encode(t, []object{imageRecord(id("a"), "")}), nil)
			if test.manifest != nil {
				addBlob(t, dir, id("a"), "manifest", test.manifest)
			}
			s := readGood(t, dir)
			if test.config != nil {
				m, err := s.Images[0].manifest()
				must(t, err)
				path, err := Overlay.BigData(id("a"), m.Config.Digest)
				must(t, err)
				addBlob(t, dir, id("a"), filepath.Base(path), test.config)
			}
			got, err := s.Images[0].Config()
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Config() = %v; want an error with %q", err, test.want)
				}
				return
			}
			if err != nil || got.Architecture != "arm64" {
				t.Errorf("Config() = %+v, %v", got, err)
			}
		})
	}
}

func TestConfigTakesNoPathForAnID(t *testing.T) {
	dir := storeDir(t, encode(t, []object{imageRecord("../overlay-layers", "")}), nil)
	must(t, os.WriteFile(filepath.Join(dir, "overlay-layers/manifest"), []byte(`{}`), 0o600))
	s := readGood(t, dir)
	if _, err := s.Images[0].Config(); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "cannot be a file name") {
		t.Errorf("Config() = %v; want an error about the ID", err)
	}
}

func BenchmarkReadStore(b *testing.B) {
	for _, images := range []int{10, 100, 1000, 4000} {
		b.Run(fmt.Sprintf("images=%d", images), func(b *testing.B) {
			dir := b.TempDir()
			must(b, testhost.BigStore(dir, images))
			f, err := os.Open(dir)
			must(b, err)
			defer f.Close()
			b.ReportAllocs()
			for b.Loop() {
				s, problems := Read(f)
				problems = append(problems, s.ReadConfigs()...)
				if len(s.Images) != images || len(problems) != 0 {
					b.Fatalf("got %d images, problems %v", len(s.Images), problems)
				}
			}
		})
	}
}

func FuzzReadStore(f *testing.F) {
	images := encode(f, []object{imageRecord(id("a"), id("1a"), "localhost/a:1"), imageRecord(id("b"), "")})
	layers := encode(f, []object{layerRecord(id("1a"), id("1b"), 5), layerRecord(id("1b"), id("1a"), 5)})
	f.Add(images, layers)
	f.Add(images[:len(images)/2], layers[:len(layers)/2])
	f.Add([]byte(`[{"id":"..","layer":"a","mapped-layers":["b"]},null]`), []byte(`[{"id":"a","flags":{"incomplete":1}},null,{}]`))
	f.Add([]byte(`null`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, images, layers []byte) {
		s, problems := read(t, storeDir(t, images, layers))
		for _, err := range problems {
			if err == nil {
				t.Error("a problem is nil")
			}
		}
		s.Usage()
		for _, img := range s.Images {
			if img.Size < -1 {
				t.Errorf("size of %q is %d", img.ID, img.Size)
			}
			_, _ = img.Config()
			for _, name := range append([]string{img.ID, img.Digest}, img.Names...) {
				_, _ = s.Exists(name, func() (ShortNames, error) { return ShortNames{}, nil })
			}
		}
	})
}
