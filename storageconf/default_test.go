// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/unshare"
	"go.podman.io/storage/types"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// TestMain makes the storage library believe that it is rootless, which it finds
// out once only. Whose store it takes then depends on the user ID, which it
// reads from the environment every time.
func TestMain(m *testing.M) {
	const name = "_CONTAINERS_USERNS_CONFIGURED"
	before, was := os.LookupEnv(name)
	os.Setenv(name, "done")
	unshare.IsRootless()
	os.Unsetenv(name)
	if was {
		os.Setenv(name, before)
	}
	os.Exit(m.Run())
}

// libraryStores are the directories that the storage library takes for the
// configuration files below root, in the order of DefaultStores. As it resolves
// links in the graph root, "resolve" its path before comparing.
func libraryStores(t *testing.T, root string, uid int) ([]string, error) {
	t.Helper()
	t.Setenv("_CONTAINERS_ROOTLESS_UID", strconv.Itoa(uid))
	opts, err := types.LoadStoreOptions(types.LoadOptions{RootForImplicitAbsolutePaths: root})
	if err != nil {
		return nil, err
	}
	stores := []string{opts.GraphRoot}
	if opts.ImageStore != "" {
		stores = []string{opts.ImageStore, opts.GraphRoot}
	}
	for _, option := range opts.GraphDriverOptions {
		if _, path, ok := strings.Cut(option, "imagestore="); ok {
			stores = append(stores, path)
		}
	}
	return stores, nil
}

func TestDefaultStoresAreThoseOfTheStorageLibrary(t *testing.T) {
	const (
		systemStore = "/var/lib/containers/storage"
		// USER stands for the user's data directory.
		userStore = "USER/containers/storage"
	)
	for _, tc := range []struct {
		name  string
		files map[string]string
		env   map[string]string
		// rootful and rootless are for the users 0 and 1000. rootless is the same
		// as rootful where it is nil.
		rootful, rootless []string
	}{
		{name: "no file", rootful: []string{systemStore}, rootless: []string{userStore}},
		{
			name:    "graph root is everybody's",
			files:   map[string]string{adminFile: "[storage]\ngraphroot = \"/srv/store/../graph/\"\n"},
			rootful: []string{"/srv/graph"},
		},
		{
			name:    "a path for users only",
			files:   map[string]string{adminFile: "[storage]\nrootless_storage_path = \"/srv/users\"\n"},
			rootful: []string{systemStore}, rootless: []string{"/srv/users"},
		},
		{
			name:    "graph root wins over the path for users",
			files:   map[string]string{adminFile: "[storage]\nrootless_storage_path = \"/srv/users\"\ngraphroot = \"/srv/graph\"\n"},
			rootful: []string{"/srv/graph"},
		},
		{
			name:    "variables in the graph root",
			files:   map[string]string{adminFile: "[storage]\ngraphroot = \"/srv/$UID/$STORE/${STORE}x/$NONE/end\"\n"},
			env:     map[string]string{"STORE": "a"},
			rootful: []string{"/srv/0/a/ax/end"}, rootless: []string{"/srv/1000/a/ax/end"},
		},
		{
			name:    "a variable whose name begins like that of the user ID",
			files:   map[string]string{adminFile: "[storage]\nrootless_storage_path = \"/srv/$UIDS/${UID}\"\n"},
			env:     map[string]string{"UIDS": "no", "UID": "yes"},
			rootful: []string{systemStore}, rootless: []string{"/srv/1000S/yes"},
		},
		{
			name:    "image store comes before the graph root",
			files:   map[string]string{adminFile: "[storage]\nimagestore = \"/srv/$UID/images\"\n"},
			rootful: []string{"/srv/$UID/images", systemStore}, rootless: []string{"/srv/$UID/images", userStore},
		},
		{
			name:    "image store of the options is none",
			files:   map[string]string{adminFile: "[storage.options]\nimagestore = \"/srv/images\"\n"},
			rootful: []string{systemStore}, rootless: []string{userStore},
		},
		{
			name:    "additional stores come last, in their order",
			files:   map[string]string{adminFile: "[storage]\nimagestore = \"/srv/images\"\ngraphroot = \"/srv/graph\"\n[storage.options]\nadditionalimagestores = [\"/usr/b\", \"/usr/a\"]\n"},
			rootful: []string{"/srv/images", "/srv/graph", "/usr/b", "/usr/a"},
		},
		{
			name: "drop-ins replace and append",
			files: map[string]string{
				vendorFile:                                        "[storage]\ngraphroot = \"/srv/vendor\"\n[storage.options]\nadditionalimagestores = [\"/usr/a\"]\n",
				"etc/containers/storage.conf.d/10.conf":           "[storage]\ngraphroot = \"/srv/drop-in\"\n",
				"usr/share/containers/storage.conf.d/20.conf":     "[storage.options]\nadditionalimagestores = [\"/usr/b\", {append=true}]\n",
				"etc/containers/storage.rootful.conf.d/30.conf":   "[storage.options]\nadditionalimagestores = [\"/usr/root\", {append=true}]\n",
				"etc/containers/storage.rootless.conf.d/30.conf":  "[storage]\ngraphroot = \"/srv/$UID\"\n",
				"etc/containers/storage.rootless.conf.d/40.other": "[storage]\ngraphroot = \"/srv/other\"\n",
			},
			rootful: []string{"/srv/drop-in", "/usr/a", "/usr/b", "/usr/root"}, rootless: []string{"/srv/1000", "/usr/a", "/usr/b"},
		},
		{
			name:    "the user's file hides the administrator's",
			files:   map[string]string{userFile: "[storage]\ngraphroot = \"/srv/user\"\n", adminFile: "[storage.options]\nadditionalimagestores = [\"/usr/a\"]\n"},
			rootful: []string{"/srv/user"},
		},
		{
			name:    "the home directory stands for that of data",
			env:     map[string]string{"XDG_DATA_HOME": "", "HOME": "/srv/home"},
			rootful: []string{systemStore}, rootless: []string{"/srv/home/.local/share/containers/storage"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, tc.files)
			for name, value := range tc.env {
				t.Setenv(name, value)
			}
			if tc.rootless == nil {
				tc.rootless = tc.rootful
			}
			for uid, want := range map[int][]string{0: tc.rootful, 1000: tc.rootless} {
				want = slices.Clone(want)
				for i := range want {
					want[i] = strings.Replace(want[i], "USER", os.Getenv("XDG_DATA_HOME"), 1)
				}
				got, err := storageconf.DefaultStores(root, uid)
				if err != nil || !slices.Equal(want, got) {
					t.Errorf("user %d: want %q, got %q, %v", uid, want, got, err)
				}
				library, err := libraryStores(t, root, uid)
				for i := range got {
					got[i] = resolve(got[i])
				}
				for i := range library {
					library[i] = resolve(library[i])
				}
				if err != nil || !slices.Equal(library, got) {
					t.Errorf("user %d: the library takes %q, %v, got %q", uid, library, err, got)
				}
			}
		})
	}
}

// TestDefaultStoresOfTheRunningHostObeyTheEnvironment names all files by
// CONTAINERS_STORAGE_CONF, since others are this machine's.
func TestDefaultStoresOfTheRunningHostObeyTheEnvironment(t *testing.T) {
	const stores = "[storage]\ngraphroot = \"/srv/graph\"\n[storage.options]\nadditionalimagestores = [\"/usr/a\"]\n"
	for _, tc := range []struct {
		name    string
		content string
		// options is STORAGE_OPTS, unset when it is "unset"; override is what
		// CONTAINERS_STORAGE_CONF_OVERRIDE names.
		options, override string
		want              []string
	}{
		{name: "file", content: stores, options: "unset", want: []string{"/srv/graph", "/usr/a"}},
		{name: "empty file", options: "unset", want: []string{"/var/lib/containers/storage"}},
		{
			name: "overriding file", content: stores, options: "unset",
			override: "[storage]\ngraphroot = \"/srv/override\"\n", want: []string{"/srv/override", "/usr/a"},
		},
		{name: "options replace stores", content: stores, options: "overlay.imagestore=/b,size=1G,.imagestore=/c,imagestore=/d", want: []string{"/srv/graph", "/b", "/c", "/d"}},
		{name: "options without a store", content: stores, options: "overlay.mountopt=nodev", want: []string{"/srv/graph"}},
		{name: "empty options", content: stores, options: "", want: []string{"/srv/graph"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "storage.conf"), tc.content)
			t.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(dir, "storage.conf"))
			if tc.override != "" {
				writeFile(t, filepath.Join(dir, "override.conf"), tc.override)
				t.Setenv("CONTAINERS_STORAGE_CONF_OVERRIDE", filepath.Join(dir, "override.conf"))
			}
			if tc.options != "unset" {
				t.Setenv("STORAGE_OPTS", tc.options)
			}
			got, err := storageconf.DefaultStores("/", 0)
			if err != nil || !slices.Equal(tc.want, got) {
				t.Errorf("want %q, got %q, %v", tc.want, got, err)
			}
			library, err := libraryStores(t, "", 0)
			if library[0] = resolve(library[0]); err != nil || !slices.Equal(library, got) {
				t.Errorf("the library takes %q, %v, got %q", library, err, got)
			}
		})
	}
}

// TestDefaultStoresReadOptionsLikeADriver is about what the drivers of the
// storage library do with the options it hands them.
func TestDefaultStoresReadOptionsLikeADriver(t *testing.T) {
	for _, tc := range []struct {
		name, additional, options string
		want                      []string
	}{
		{name: "several paths in one", additional: "/a,/b", want: []string{"/a", "/b"}},
		{name: "a path that is not clean", additional: "/a/../b/", want: []string{"/b"}},
		{name: "empty path", additional: "", want: nil},
		{name: "other spellings", options: "Overlay.ImageStore=/a, vfs.additionalimagestore = /b ,overlay.imagestore=", want: []string{"/a", "/b"}},
		{name: "options of other names", options: "overlay.imagestores=/a,overlay.x.imagestore=/b,imagestore", want: nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			path := filepath.Join(t.TempDir(), "storage.conf")
			writeFile(t, path, "[storage]\ngraphroot = \"/srv/graph\"\n[storage.options]\nadditionalimagestores = [\""+tc.additional+"\"]\n")
			t.Setenv("CONTAINERS_STORAGE_CONF", path)
			if tc.options != "" {
				t.Setenv("STORAGE_OPTS", tc.options)
			}
			want := append([]string{"/srv/graph"}, tc.want...)
			if got, err := storageconf.DefaultStores("/", 0); err != nil || !slices.Equal(want, got) {
				t.Errorf("want %q, got %q, %v", want, got, err)
			}
		})
	}
}

func TestDefaultStoresOfAnotherHostIgnoreTheEnvironment(t *testing.T) {
	root := makeHost(t, map[string]string{
		adminFile:    "[storage]\ngraphroot = \"/srv/graph\"\n[storage.options]\nadditionalimagestores = [\"/usr/a\"]\n",
		"other.conf": "[storage]\ngraphroot = \"/srv/other\"\n",
	})
	t.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(root, "other.conf"))
	t.Setenv("CONTAINERS_STORAGE_CONF_OVERRIDE", filepath.Join(root, "other.conf"))
	t.Setenv("STORAGE_OPTS", "overlay.imagestore=/usr/b")
	want := []string{"/srv/graph", "/usr/a"}
	if got, err := storageconf.DefaultStores(root, 0); err != nil || !slices.Equal(want, got) {
		t.Errorf("want %q, got %q, %v", want, got, err)
	}
}

// TestDefaultStoresPassOverADropInThatNotEveryPodmanReads has rules that are not known.
func TestDefaultStoresPassOverADropInThatNotEveryPodmanReads(t *testing.T) {
	root := makeHost(t, map[string]string{
		adminFile: "[storage]\ngraphroot = \"/srv/store\"\n",
		"etc/containers/storage.rootless.conf.d/1.conf": "\n[",
		dropIn: "[storage]\ngraphroot = \"/srv/other\"\n",
	})
	for uid, want := range map[int]string{0: "/srv/other", 1000: "/srv/store"} {
		got, err := storageconf.DefaultStores(root, uid)
		if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("user %d: want %q, got %q, %v", uid, want, got, err)
		}
	}
}

func TestDefaultStoresRefuseWhatTheStorageLibraryRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, file, content string
		want                []string
	}{
		{name: "malformed main file", file: adminFile, content: "[storage]\ngraphroot = \n", want: []string{adminFile, "line 2"}},
		{name: "number for a path", file: userFile, content: "[storage]\ngraphroot = 1\n", want: []string{userFile, "line 2"}},
		{
			name: "image store that is the graph root", file: adminFile,
			content: "[storage]\ngraphroot = \"/srv/store\"\nimagestore = \"/srv/store\"\n", want: []string{"/srv/store"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, map[string]string{tc.file: tc.content})
			got, err := storageconf.DefaultStores(root, 1000)
			if err == nil {
				t.Fatalf("want an error, got %q", got)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("want one line with %q, got %v", want, err)
				}
			}
			if stores, err := libraryStores(t, root, 1000); err == nil {
				t.Errorf("the library takes %q", stores)
			}
		})
	}
	t.Run("a file named by the environment that is missing", func(t *testing.T) {
		isolate(t)
		t.Setenv("CONTAINERS_STORAGE_CONF", "/missing/storage.conf")
		if got, err := storageconf.DefaultStores("/", 0); err == nil || !strings.Contains(err.Error(), "/missing/storage.conf") {
			t.Errorf("want an error that names the file, got %q, %v", got, err)
		}
	})
}

func TestDefaultStoreIsThatOfTheStorageLibrary(t *testing.T) {
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "0")
	for name, conf := range map[string]string{
		"nothing": "",
		"paths":   "[storage]\ndriver = \"overlay2\"\nrunroot = \"/run/$UID/x\"\ngraphroot = \"/srv/store\"\nimagestore = \"/srv/images\"\n",
		"options": `[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
[storage.options]
additionalimagestores = ["/usr/lib/bootc/storage", "/srv/more"]
additionallayerstores = ["/srv/layers:ref"]
mount_program = "/usr/bin/old"
force_mask = 448
[storage.options.overlay]
mountopt = "nodev,metacopy=on"
mount_program = "/usr/bin/fuse-overlayfs"
use_composefs = "true"
`,
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			file := filepath.Join(root, "etc/containers/storage.conf")
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if conf != "" {
				if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := types.LoadStoreOptions(types.LoadOptions{RootForImplicitAbsolutePaths: root})
			if err != nil {
				t.Fatal(err)
			}
			got, err := storageconf.ReadDefaultStore(root)
			if err != nil {
				t.Fatal(err)
			}
			if got.GraphRoot != want.GraphRoot || got.RunRoot != want.RunRoot || got.ImageStore != want.ImageStore ||
				got.Driver != "overlay" || !slices.Equal(got.Options, want.GraphDriverOptions) {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

func TestDefaultStoreHasTheDriverItWasMadeWith(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/lib/containers/storage/vfs-images"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := storageconf.ReadDefaultStore(root)
	if err != nil || got.Driver != "vfs" {
		t.Errorf("%+v, %v, want vfs", got, err)
	}
}

func TestDefaultStoreObeysVariablesOnTheRunningHost(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "storage.conf")
	if err := os.WriteFile(conf, []byte("[storage]\ngraphroot = \"/nowhere/store\"\nrunroot = \"/nowhere/run\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
	t.Setenv("STORAGE_OPTS", "overlay.mountopt=nodev,overlay.ignore_chown_errors=true")
	t.Setenv("STORAGE_DRIVER", "vfs")
	got, err := storageconf.ReadDefaultStore("/")
	if err != nil || got.GraphRoot != "/nowhere/store" || got.RunRoot != "/nowhere/run" || got.Driver != "vfs" ||
		!slices.Equal(got.Options, []string{"overlay.mountopt=nodev", "overlay.ignore_chown_errors=true"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDefaultStoresDoNotTakeOurPrivateConfiguration is for "bootc-podman exec", in
// which the variable names the configuration of the bootc-owned store.
func TestDefaultStoresDoNotTakeOurPrivateConfiguration(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	own, err := storageconf.DefaultStores("/", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{storageconf.ConfPath, strings.TrimSuffix(storageconf.ConfPath, ".conf") + "-0123456789abcdef.conf"} {
		// Were it read, it would be missing here, which is an error.
		t.Setenv("CONTAINERS_STORAGE_CONF", path)
		if got, err := storageconf.DefaultStores("/", 0); err != nil || !slices.Equal(got, own) {
			t.Errorf("%s: got %q, %v, want %q", path, got, err, own)
		}
		if got, err := storageconf.ReadDefaultStore("/"); err != nil || got.GraphRoot != own[len(own)-1] && got.GraphRoot != own[0] {
			t.Errorf("%s: got %+v, %v, want graph root of %q", path, got, err, own)
		}
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", "/run/bootc-podman.conf")
	if got, err := storageconf.DefaultStores("/", 0); err == nil {
		t.Errorf("a file alike is not read: got %q", got)
	}
}

func TestPodmanIsKeptFromAdditionalImageStores(t *testing.T) {
	for _, tt := range []struct{ options, want []string }{
		{nil, nil},
		{[]string{"overlay.mountopt=nodev"}, nil},
		{[]string{"imagestore=/a"}, []string{"--storage-opt="}},
		{[]string{"overlay.additionalimagestore=/a", "", "overlay.mountopt=nodev", "imagestore=/b", "additionallayerstore=/c"}, []string{"--storage-opt=overlay.mountopt=nodev", "--storage-opt=additionallayerstore=/c"}},
	} {
		if got := (storageconf.DefaultStore{Options: tt.options}).WithoutImageStores(); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.options, got, tt.want)
		}
	}
}
