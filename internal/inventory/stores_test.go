// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

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
			h.Write("etc/containers/storage.conf", test.conf)
			s, problems := OpenDefaultStore(h.Dir, 0)
			wantProblems(t, problems)
			if s == nil {
				if test.want != nil {
					t.Errorf("no store; want %q", test.want)
				}
				return
			}
			defer s.Close()
			if !slices.Equal(names(s), test.want) || s.Path() != h.Path(test.path) {
				t.Errorf("got %q in %s; want %q in %s", names(s), s.Path(), test.want, test.path)
			}
		})
	}
}

func TestOpenDefaultStoreOfTheRunningHostGoesByTheEnvironment(t *testing.T) {
	h := scratch(t)
	h.store("mine", stored{names: []string{"localhost/mine:1"}})
	h.store("added", stored{names: []string{"localhost/added:1"}})
	h.Write("storage.conf", "[storage]\ngraphroot='"+h.Path("mine")+"'\n")
	t.Setenv(storageconf.EnvStorageConf, h.Path("storage.conf"))
	t.Setenv(storageconf.EnvStorageOpts, "overlay.imagestore="+h.Path("added"))
	s, problems := OpenDefaultStore("/", 0)
	wantProblems(t, problems)
	defer s.Close()
	if want := []string{"localhost/mine:1", "localhost/added:1"}; !slices.Equal(names(s), want) {
		t.Errorf("got %q, want %q", names(s), want)
	}
}

func TestOpenStoreStaysInTheRoot(t *testing.T) {
	outside := scratch(t)
	outside.store("storage", stored{names: []string{"localhost/x:1"}})
	h := newHost(t)
	h.Mkdir("var/lib/containers")
	must(t, os.Symlink(outside.Path("storage"), h.Path("var/lib/containers/storage")))
	if s, problems := OpenDefaultStore(h.Dir, 0); s != nil || len(problems) != 0 {
		t.Errorf("got %+v, %v; want no store", s, problems)
	}
}

func openStoreOf(t *testing.T, h *scratchHost) (*cstorage.Store, []error) {
	t.Helper()
	located, err := storageconf.Locate(h.Dir)
	must(t, err)
	s, problems := OpenBootcStore(located, h.Dir)
	if s != nil {
		t.Cleanup(s.Close)
	}
	return s, problems
}

func TestOpenBootcStoreAlsoReadsTheImageStore(t *testing.T) {
	h := newHost(t)
	if s, problems := openStoreOf(t, h); s != nil || len(problems) != 0 {
		t.Errorf("no store: got %+v, %v", s, problems)
	}
	h.store(bootcStorage, stored{names: []string{"localhost/bootc:1"}})
	h.Write("etc/containers/storage.conf", "[storage]\nimagestore='/srv/images'\n[storage.options]\nadditionalimagestores=['/srv/added']\n")
	h.store("srv/added", stored{names: []string{"localhost/added:1"}})
	// podman makes it when it first needs it.
	s, problems := openStoreOf(t, h)
	wantProblems(t, problems)
	if want := []string{"localhost/bootc:1"}; s == nil || !slices.Equal(names(s), want) {
		t.Fatalf("got %+v, want %q", s, want)
	}
	h.store("srv/images", stored{names: []string{"localhost/split:1"}})
	s, problems = openStoreOf(t, h)
	wantProblems(t, problems)
	if want := []string{"localhost/split:1", "localhost/bootc:1"}; !slices.Equal(names(s), want) {
		t.Errorf("got %q, want %q", names(s), want)
	}
}

func TestOpenStoreLeavesNothingOpenWhenItFails(t *testing.T) {
	h := newHost(t)
	h.store(bootcStorage)
	h.store("var/lib/containers/storage")
	h.Write("file", "")
	for _, test := range []struct{ conf, want string }{
		{"[storage", "storage.conf"},
		{"[storage]\nimagestore='/file'\n", "file: not a directory"},
		{"[storage.options]\nadditionalimagestores=['/file']\n", "file: not a directory"},
	} {
		h.Write("etc/containers/storage.conf", test.conf)
		before := descriptors(t)
		s, problems := OpenDefaultStore(h.Dir, 0)
		if s != nil || len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) {
			t.Errorf("%q: got %+v, %v; want an error with %q", test.conf, s, problems, test.want)
		}
		// bootc's store has no additional ones.
		if s, problems = openStoreOf(t, h); s != nil {
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
	before, files := descriptors(t), tree(t, h.Dir)
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
	if after := tree(t, h.Dir); !slices.Equal(after, files) {
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

// TestEachStoreIsReadOnce: for one command, as an additional image store is a part of
// podman's own store.
func TestEachStoreIsReadOnce(t *testing.T) {
	h := newHost(t)
	h.boot(1)
	h.deploy(commitOf("a"), quay+"os:42")
	h.store(bootcStorage, stored{names: []string{"quay.io/example/os:42"}})
	h.store("var/lib/containers/storage", stored{names: []string{"localhost/own:1"}})
	h.store("srv/images", stored{names: []string{"localhost/more:1"}})
	h.Write("etc/containers/storage.conf", "[storage.options]\nadditionalimagestores=['/srv/images']\n")
	const bootc, own, more = "sysroot/ostree/bootc/storage", "var/lib/containers/storage", "srv/images"
	for what, tt := range map[string]struct {
		do   func(Options)
		want []string
	}{
		"list": {func(o Options) { List(t.Context(), o) }, []string{bootc}},
		"list --all-stores": {func(o Options) {
			o.AllStores = true
			List(t.Context(), o)
		}, []string{bootc, own, more}},
		"status":                 {func(o Options) { ReadStatus(t.Context(), o) }, []string{bootc, own, more}},
		"exists":                 {func(o Options) { _, _ = Exists(t.Context(), o, BootcStore, "os:42") }, []string{bootc}},
		"exists --store default": {func(o Options) { _, _ = Exists(t.Context(), o, DefaultStore, "own:1") }, []string{own, more}},
		"a plan": {func(o Options) {
			s, err := NewSurvey(t.Context(), o)
			must(t, err)
			if names := names(s.Own); len(names) != 1 || names[0] != "localhost/own:1" {
				t.Errorf("own store has %q", names)
			}
			s.Close()
		}, []string{bootc, own, more}},
	} {
		o, got := h.options(), []string{}
		var mu sync.Mutex
		o.read = func(dirs ...*os.File) (*cstorage.Store, []error) {
			mu.Lock()
			defer mu.Unlock()
			for _, dir := range dirs {
				path, err := filepath.EvalSymlinks(dir.Name())
				must(t, err)
				got = append(got, strings.TrimPrefix(path, h.Dir+"/"))
			}
			return cstorage.Read(dirs...)
		}
		tt.do(o)
		slices.Sort(got)
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s reads %q, want %q", what, got, tt.want)
		}
	}
}
