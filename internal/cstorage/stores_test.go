// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readAllStores reads several directories as one store.
func readAllStores(t testing.TB, dirs ...string) (*Store, []error) {
	t.Helper()
	var files []*os.File
	for _, dir := range dirs {
		f, err := os.Open(dir)
		must(t, err)
		files = append(files, f)
	}
	s, problems := Read(files...)
	t.Cleanup(s.Close)
	return s, problems
}

func TestReadStorePrefersTheFirstDirectory(t *testing.T) {
	mine := imageRecord(id("a"), id("1a"), "localhost/x:1")
	theirs := imageRecord(id("b"), id("1b"), "localhost/x:1", "localhost/y:1")
	same := imageRecord(id("a"), id("1a"), "localhost/z:1")
	first := storeDir(t, encode(t, []object{mine}), encode(t, []object{layerRecord(id("1a"), "", 100)}))
	second := storeDir(t, encode(t, []object{theirs, same}), encode(t, []object{
		layerRecord(id("1b"), id("1c"), 10), layerRecord(id("1c"), "", 5), layerRecord(id("1a"), "", 7777),
	}))
	for _, dir := range []string{first, second} {
		addBlob(t, dir, id("a"), "manifest", fmt.Appendf(nil, `{"config":{"digest":%q}}`, filepath.Base(dir)))
	}
	s, problems := readAllStores(t, first, second)
	wantProblems(t, problems)
	var got []string
	for _, img := range s.Images {
		got = append(got, fmt.Sprintf("%.1s %v %d", img.ID, img.Names, img.Size))
	}
	if want := []string{"a [localhost/x:1] 107", "b [localhost/x:1 localhost/y:1] 22", "a [localhost/z:1] 107"}; !slices.Equal(got, want) {
		t.Errorf("images are %q, want %q", got, want)
	}
	for name, want := range map[string]int{"localhost/x:1": 0, "localhost/y:1": 1, "localhost/z:1": 2, id("a"): 0, id("b"): 1} {
		if img, err := s.Lookup(name, noShortNames(t)); err != nil || img != s.Images[want] {
			t.Errorf("Lookup(%q) = %+v, %v; want image %d", name, img, err, want)
		}
	}
	if m, err := s.Images[0].manifest(); err != nil || m.Config.Digest != filepath.Base(first) {
		t.Errorf("manifest of the first is %+v, %v", m, err)
	}
	if m, err := s.Images[2].manifest(); err != nil || m.Config.Digest != filepath.Base(second) {
		t.Errorf("manifest of the same image elsewhere is %+v, %v", m, err)
	}
	if got, want := s.Usage(), int64(100+10+5+3*7); got != want || s.Path() != first {
		t.Errorf("%d bytes in %q; want %d in %q", got, s.Path(), want, first)
	}
}

func TestReadStoreTakesLayersFromAnyDirectoryAndDriver(t *testing.T) {
	first := storeDir(t, encode(t, []object{imageRecord(id("a"), id("1a"))}), nil)
	second := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(second, "vfs-images"), 0o755))
	must(t, os.MkdirAll(filepath.Join(second, "vfs-layers"), 0o755))
	must(t, os.WriteFile(filepath.Join(second, "vfs-layers/volatile-layers.json"), encode(t, []object{layerRecord(id("1a"), "", 100)}), 0o600))
	s, problems := readAllStores(t, first, t.TempDir(), second)
	wantProblems(t, problems)
	if len(s.Images) != 1 || s.Images[0].Size != 107 {
		t.Errorf("images are %+v; want one of 107 bytes", s.Images)
	}
}

func TestReadStoreNamesTheDirectoryWithDamage(t *testing.T) {
	good := encode(t, []object{imageRecord(id("a"), id("1a"), "localhost/x:1")})
	first := storeDir(t, good, encode(t, []object{layerRecord(id("1a"), "", 1)}))
	bad := storeDir(t, []byte("["), []byte("["))
	s, problems := readAllStores(t, first, bad)
	wantProblems(t, problems, filepath.Join(bad, "overlay-images/images.json"), filepath.Join(bad, "overlay-layers/layers.json"))
	if _, err := s.Exists("localhost/x:1", noShortNames(t)); err == nil || s.Usage() != -1 {
		t.Error("Exists() does not fail")
	}
}

func TestStoreClosesItsDirectories(t *testing.T) {
	a, err := os.Open(t.TempDir())
	must(t, err)
	b, err := os.Open(t.TempDir())
	must(t, err)
	s, _ := Read(a, b)
	s.Close()
	for _, f := range []*os.File{a, b} {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s was left open", f.Name())
		}
	}
}

// TestFirstIsWhatReadReads: a part of a store is judged by itself.
func TestFirstIsWhatReadReads(t *testing.T) {
	first := storeDir(t, encode(t, []object{
		imageRecord(id("a"), id("1a"), "localhost/x:1"), imageRecord(id("b"), id("1b"), "localhost/x:1", "localhost/y:1"), imageRecord(id("c"), id("1c")),
	}), encode(t, []object{layerRecord(id("1a"), "", 100), layerRecord(id("1c"), id("1b"), 100)}))
	second := storeDir(t, encode(t, []object{imageRecord(id("d"), id("1b"), "localhost/y:1")}), encode(t, []object{layerRecord(id("1b"), "", 10), layerRecord(id("1a"), "", 7)}))
	describe := func(s *Store) (lines []string) {
		for _, img := range s.Images {
			lines = append(lines, fmt.Sprint(img.ID, img.Names, img.Size, s.Damage(img), s.LayersOf(img)))
		}
		return append(lines, fmt.Sprint(s.Usage(), s.Path(), s.byName["localhost/y:1"].ID, s.ByDigest("sha256:"+id("d"))))
	}
	whole, _ := readAllStores(t, first, second)
	alone, _ := readAllStores(t, first)
	if got, want := describe(whole.First(1)), describe(alone); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got, want := len(whole.Images), 4; got != want || whole.Images[1].Size != 17 || whole.First(0) != nil {
		t.Errorf("%d images of which the second has %d bytes; want %d of 17", got, whole.Images[1].Size, want)
	}
}
