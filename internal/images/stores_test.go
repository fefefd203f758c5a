// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
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
	s, problems := ReadStore(files...)
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
		t.Error("Exists() can tell; want an error")
	}
}

func TestStoreClosesItsDirectories(t *testing.T) {
	a, err := os.Open(t.TempDir())
	must(t, err)
	b, err := os.Open(t.TempDir())
	must(t, err)
	s, _ := ReadStore(a, b)
	s.Close()
	for _, f := range []*os.File{a, b} {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s was left open", f.Name())
		}
	}
}

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

// names lists the names of all images of a store.
func (s *Store) names() (names []string) {
	for _, img := range s.Images {
		names = append(names, img.Names...)
	}
	return names
}

func TestOpenDefaultStoreFindsTheImagesOfPodman(t *testing.T) {
	for _, test := range []struct {
		name, conf string
		want       []string
		path       string
	}{
		{"nothing configured", "", []string{"localhost/graph:1"}, "var/lib/containers/storage"},
		{"graph root", "[storage]\ngraphroot='/srv/images'\n", []string{"localhost/srv:1"}, "srv/images"},
		{"image store", "[storage]\nimagestore='/srv/images'\n", []string{"localhost/srv:1", "localhost/graph:1"}, "srv/images"},
		{"additional", "[storage.options]\nadditionalimagestores=['/gone', '/srv/images']\n", []string{"localhost/graph:1", "localhost/srv:1"}, "var/lib/containers/storage"},
		{"additional only", "[storage]\ngraphroot='/gone'\n[storage.options]\nadditionalimagestores=['/srv/images']\n", []string{"localhost/srv:1"}, "srv/images"},
		{"none", "[storage]\ngraphroot='/gone'\n", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := scratch(t)
			h.store("var/lib/containers/storage", stored{names: []string{"localhost/graph:1"}})
			h.store("srv/images", stored{names: []string{"localhost/srv:1"}})
			h.write("etc/containers/storage.conf", test.conf)
			s, problems := OpenDefaultStore(h.dir, 0)
			wantProblems(t, problems)
			if s == nil {
				if test.want != nil {
					t.Errorf("no store; want %q", test.want)
				}
				return
			}
			defer s.Close()
			if !slices.Equal(s.names(), test.want) || s.Path() != h.path(test.path) {
				t.Errorf("got %q in %s; want %q in %s", s.names(), s.Path(), test.want, test.path)
			}
		})
	}
}

func TestOpenDefaultStoreOfTheRunningHostGoesByTheEnvironment(t *testing.T) {
	h := scratch(t)
	h.store("mine", stored{names: []string{"localhost/mine:1"}})
	h.store("added", stored{names: []string{"localhost/added:1"}})
	h.write("storage.conf", "[storage]\ngraphroot='"+h.path("mine")+"'\n")
	t.Setenv(storageconf.EnvStorageConf, h.path("storage.conf"))
	t.Setenv(storageconf.EnvStorageOpts, "overlay.imagestore="+h.path("added"))
	s, problems := OpenDefaultStore("/", 0)
	wantProblems(t, problems)
	defer s.Close()
	if want := []string{"localhost/mine:1", "localhost/added:1"}; !slices.Equal(s.names(), want) {
		t.Errorf("got %q, want %q", s.names(), want)
	}
}

func TestOpenStoreStaysInTheRoot(t *testing.T) {
	outside := scratch(t)
	outside.store("storage", stored{names: []string{"localhost/x:1"}})
	h := newHost(t)
	h.mkdir("var/lib/containers")
	must(t, os.Symlink(outside.path("storage"), h.path("var/lib/containers/storage")))
	if s, problems := OpenDefaultStore(h.dir, 0); s != nil || len(problems) != 0 {
		t.Errorf("got %+v, %v; want no store", s, problems)
	}
}

func openBootcStore(t *testing.T, h *scratchHost) (*Store, []error) {
	t.Helper()
	located, err := storageconf.Locate(h.dir)
	must(t, err)
	s, problems := OpenBootcStore(located, h.dir)
	if s != nil {
		t.Cleanup(s.Close)
	}
	return s, problems
}

func TestOpenBootcStoreAlsoReadsTheImageStore(t *testing.T) {
	h := newHost(t)
	if s, problems := openBootcStore(t, h); s != nil || len(problems) != 0 {
		t.Errorf("no store: got %+v, %v", s, problems)
	}
	h.store(bootcStorage, stored{names: []string{"localhost/bootc:1"}})
	h.write("etc/containers/storage.conf", "[storage]\nimagestore='/srv/images'\n[storage.options]\nadditionalimagestores=['/srv/added']\n")
	h.store("srv/added", stored{names: []string{"localhost/added:1"}})
	// podman makes it when it first needs it.
	s, problems := openBootcStore(t, h)
	wantProblems(t, problems)
	if want := []string{"localhost/bootc:1"}; s == nil || !slices.Equal(s.names(), want) {
		t.Fatalf("got %+v, want %q", s, want)
	}
	h.store("srv/images", stored{names: []string{"localhost/split:1"}})
	s, problems = openBootcStore(t, h)
	wantProblems(t, problems)
	if want := []string{"localhost/split:1", "localhost/bootc:1"}; !slices.Equal(s.names(), want) {
		t.Errorf("got %q, want %q", s.names(), want)
	}
}

func TestOpenStoreLeavesNothingOpenWhenItFails(t *testing.T) {
	h := newHost(t)
	h.store(bootcStorage)
	h.store("var/lib/containers/storage")
	h.write("file", "")
	for _, test := range []struct{ conf, want string }{
		{"[storage", "storage.conf"},
		{"[storage]\nimagestore='/file'\n", "file: not a directory"},
		{"[storage.options]\nadditionalimagestores=['/file']\n", "file: not a directory"},
	} {
		h.write("etc/containers/storage.conf", test.conf)
		before := descriptors(t)
		s, problems := OpenDefaultStore(h.dir, 0)
		if s != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) {
			t.Errorf("%q: got %+v, %v; want an error with %q", test.conf, s, problems, test.want)
		}
		// bootc's store knows no additional ones.
		if s, problems = openBootcStore(t, h); s != nil {
			s.Close()
		} else if len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) {
			t.Errorf("%q: got %v; want an error with %q", test.conf, problems, test.want)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%q: %d descriptors are left open", test.conf, after-before)
		}
	}
}

func TestNothingIsLeftOpenNorWritten(t *testing.T) {
	h := newHost(t)
	h.deploy(h.commit("1", "docker://quay.io/example/os:42"), quay+"os:42")
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	h.store("var/lib/containers/storage")
	o := h.options()
	o.AllStores = true
	// The runtime opens descriptors of its own when it first starts a program.
	List(t.Context(), o)
	before, files := descriptors(t), tree(t, h.dir)
	if _, problems := List(t.Context(), o); len(problems) != 0 {
		t.Error(problems)
	}
	if _, problems := ReadStatus(t.Context(), o); len(problems) != 0 {
		t.Error(problems)
	}
	for _, in := range []StoreName{BootcStore, DefaultStore, OSTreeStore} {
		if _, err := Exists(t.Context(), o, in, "quay.io/x"); err != nil {
			t.Error(err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are left open", after-before)
	}
	if after := tree(t, h.dir); !slices.Equal(after, files) {
		t.Errorf("the host changed from\n%q to\n%q", files, after)
	}
}

// tree describes every file below dir; links need not lead anywhere.
func tree(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			files = append(files, fmt.Sprint(path, fi.Mode(), fi.Size(), fi.ModTime()))
		}
		return err
	}))
	return files
}
