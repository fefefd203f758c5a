// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.podman.io/storage/types"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// allOptions is a configuration that sets everything there is.
func allOptions() storageconf.Config {
	return storageconf.Config{
		Driver: "overlay",
		Overlay: storageconf.OverlayOptions{
			IgnoreChownErrors: "true",
			ForceMask:         "0755",
			Inodes:            "1000000",
			MountProgram:      "/usr/bin/fuse-overlayfs",
			MountOpt:          "nodev,metacopy=on",
			Size:              "10G",
			SkipMountHome:     "true",
			Sync:              "filesystem",
			UseComposefs:      "true",
		},
		Pull: map[string]string{
			"enable_partial_images": "true",
			"use_hard_links":        "true",
			"ostree_repos":          "/ostree/repo:/sysroot/ostree/repo",
			"convert_images":        "false",
		},
	}
}

// makeHost writes files below a fresh root whose directory "user" is the
// configuration directory of the user who calls.
func makeHost(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	isolate(t)
	root = t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(root, "user"))
	for path, content := range files {
		writeFile(t, filepath.Join(root, path), content)
	}
	return root
}

const (
	userFile   = "user/containers/storage.conf"
	adminFile  = "etc/containers/storage.conf"
	vendorFile = "usr/share/containers/storage.conf"
)

func mountOpt(value string) string {
	return fmt.Sprintf("[storage.options.overlay]\nmountopt = %q\n", value)
}

func size(value string) string {
	return fmt.Sprintf("[storage.options.overlay]\nsize = %q\n", value)
}

func TestHostConfigTakesTheOptionsThatPodmanWould(t *testing.T) {
	for _, tc := range []struct {
		name               string
		files              map[string]string
		driver, imageStore string
		want               storageconf.OverlayOptions
	}{
		{
			name: "no file",
		},
		{
			name:  "vendor's file alone",
			files: map[string]string{vendorFile: mountOpt("vendor")},
			want:  storageconf.OverlayOptions{MountOpt: "vendor"},
		},
		{
			name:  "administrator's file hides the vendor's",
			files: map[string]string{vendorFile: mountOpt("vendor") + `size = "1G"`, adminFile: mountOpt("admin")},
			want:  storageconf.OverlayOptions{MountOpt: "admin"},
		},
		{
			name:  "user's file hides the administrator's",
			files: map[string]string{adminFile: mountOpt("admin") + `size = "1G"`, userFile: mountOpt("user")},
			want:  storageconf.OverlayOptions{MountOpt: "user"},
		},
		{
			name: "drop-in adds to the main file",
			files: map[string]string{
				adminFile: mountOpt("admin"),
				"etc/containers/storage.conf.d/10-size.conf": size("1G"),
			},
			want: storageconf.OverlayOptions{MountOpt: "admin", Size: "1G"},
		},
		{
			name:  "drop-in without a main file",
			files: map[string]string{"usr/share/containers/storage.conf.d/10-size.conf": size("1G")},
			want:  storageconf.OverlayOptions{Size: "1G"},
		},
		{
			name: "drop-ins are read by name, whatever their directory",
			files: map[string]string{
				"etc/containers/storage.conf.d/10.conf":               mountOpt("10") + `size = "10G"`,
				"usr/share/containers/storage.rootful.conf.d/20.conf": mountOpt("20"),
				"user/containers/storage.conf.d/15.conf":              mountOpt("15") + `inodes = "15"`,
			},
			want: storageconf.OverlayOptions{MountOpt: "20", Size: "10G", Inodes: "15"},
		},
		{
			name: "administrator's drop-in masks the vendor's of the same name",
			files: map[string]string{
				"usr/share/containers/storage.conf.d/10.conf": mountOpt("vendor") + `size = "1G"`,
				"etc/containers/storage.conf.d/10.conf":       mountOpt("admin"),
			},
			want: storageconf.OverlayOptions{MountOpt: "admin"},
		},
		{
			name: "rootful drop-in masks the general one of the same name",
			files: map[string]string{
				"etc/containers/storage.conf.d/10.conf":         mountOpt("all") + `size = "1G"`,
				"etc/containers/storage.rootful.conf.d/10.conf": mountOpt("rootful"),
			},
			want: storageconf.OverlayOptions{MountOpt: "rootful"},
		},
		{
			name: "empty drop-in masks the vendor's",
			files: map[string]string{
				"usr/share/containers/storage.conf.d/10.conf": mountOpt("vendor"),
				"etc/containers/storage.conf.d/10.conf":       "",
			},
		},
		{
			// The store belongs to root, whoever reads it.
			name:  "rootless drop-ins are left out",
			files: map[string]string{"etc/containers/storage.rootless.conf.d/10.conf": mountOpt("rootless")},
		},
		{
			name:  "drop-in of another extension is left out",
			files: map[string]string{"etc/containers/storage.conf.d/10.conf.rpmsave": mountOpt("old")},
		},
		{
			name: "keys directly below options",
			files: map[string]string{adminFile: `
[storage.options]
size = "1G"
mountopt = "nodev"
mount_program = "/bin/mnt"
skip_mount_home = "true"
ignore_chown_errors = "true"
force_mask = 0o700
`},
			want: storageconf.OverlayOptions{
				Size: "1G", MountOpt: "nodev", MountProgram: "/bin/mnt",
				SkipMountHome: "true", IgnoreChownErrors: "true", ForceMask: "700",
			},
		},
		{
			name: "overlay table wins over keys directly below options",
			files: map[string]string{adminFile: `
[storage.options]
size = "1G"
mountopt = "nodev"
mount_program = "/bin/mnt"
skip_mount_home = "true"
ignore_chown_errors = "true"
force_mask = 0o700
[storage.options.overlay]
size = "2G"
mountopt = "metacopy=on"
mount_program = "/bin/other"
skip_mount_home = "false"
ignore_chown_errors = "false"
force_mask = "shared"
`},
			want: storageconf.OverlayOptions{
				Size: "2G", MountOpt: "metacopy=on", MountProgram: "/bin/other",
				SkipMountHome: "false", IgnoreChownErrors: "false", ForceMask: "shared",
			},
		},
		{
			name: "overlay table wins even when a later file has the older key",
			files: map[string]string{
				adminFile:                               mountOpt("table"),
				"etc/containers/storage.conf.d/10.conf": "[storage.options]\nmountopt = \"older\"\n",
			},
			want: storageconf.OverlayOptions{MountOpt: "table"},
		},
		{
			name: "every key of the overlay table",
			files: map[string]string{adminFile: `
[storage.options.overlay]
ignore_chown_errors = "true"
force_mask = "0755"
inodes = "1000000"
mount_program = "/usr/bin/fuse-overlayfs"
mountopt = "nodev,metacopy=on"
size = "10G"
skip_mount_home = "true"
sync = "filesystem"
use_composefs = "true"
`},
			want: allOptions().Overlay,
		},
		{
			name: "what describes another store is left out",
			files: map[string]string{adminFile: `
[storage]
driver = "vfs"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
imagestore = "/var/images"
transient_store = true
[storage.options]
imagestore = "/var/images"
additionalimagestores = ["/usr/lib/containers/storage", "/var/more"]
additionallayerstores = ["/var/layers:ref"]
[storage.options.vfs]
ignore_chown_errors = "true"
`},
			driver: "vfs", imageStore: "/var/images",
		},
		{
			name: "additional stores that a drop-in appends are left out",
			files: map[string]string{
				adminFile: "[storage.options]\nadditionalimagestores = [\"/usr/lib/containers/storage\", {append=true}]\n",
				"usr/share/containers/storage.rootful.conf.d/00-vendor.conf": "[storage.options]\n" +
					"additionalimagestores = [\"/usr/lib/bootc/storage\", {append=true}]\n" +
					"additionallayerstores = [\"/var/layers:ref\", {append=true}]\n",
			},
		},
		{
			name:  "keys nobody knows are passed over",
			files: map[string]string{adminFile: mountOpt("nodev") + "from_the_future = 3\n"},
			want:  storageconf.OverlayOptions{MountOpt: "nodev"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, tc.files)
			want := storageconf.Config{Driver: cmp.Or(tc.driver, "overlay"), ImageStore: tc.imageStore, Overlay: tc.want}
			got, err := storageconf.HostConfig(root)
			if err != nil || !reflect.DeepEqual(want, got) {
				t.Fatalf("want %+v, got %+v, %v", want, got, err)
			}
			conf := render(t, got)
			if strings.Contains(conf, "additional") {
				t.Errorf("want no other store, got\n%s", conf)
			}
		})
	}
}

func TestHostConfigMergesPullOptionsByKey(t *testing.T) {
	root := makeHost(t, map[string]string{
		adminFile:                               "[storage.options]\npull_options = {enable_partial_images = \"false\", use_hard_links = \"true\"}\n",
		"etc/containers/storage.conf.d/10.conf": "[storage.options.pull_options]\nenable_partial_images = \"true\"\n",
	})
	got, err := storageconf.HostConfig(root)
	must(t, err)
	want := map[string]string{"enable_partial_images": "true", "use_hard_links": "true"}
	if !maps.Equal(want, got.Pull) {
		t.Errorf("want %v, got %v", want, got.Pull)
	}
}

func TestHostConfigReadsTheHomeDirectory(t *testing.T) {
	root := makeHost(t, map[string]string{
		"home/.config/containers/storage.conf": mountOpt("home"),
		adminFile:                              mountOpt("admin"),
	})
	t.Setenv("HOME", filepath.Join(root, "home"))
	unsetenv(t, "XDG_CONFIG_HOME")
	got, err := storageconf.HostConfig(root)
	if want := "home"; err != nil || got.Overlay.MountOpt != want {
		t.Errorf("want %q, got %+v, %v", want, got, err)
	}
}

// TestHostConfigIgnoresTheCallersStore sets what describes the store that the
// caller means to use with podman, which is not this one.
func TestHostConfigIgnoresTheCallersStore(t *testing.T) {
	for _, name := range []string{"CONTAINERS_STORAGE_CONF", "CONTAINERS_STORAGE_CONF_OVERRIDE", "STORAGE_OPTS", "STORAGE_DRIVER"} {
		t.Run(name, func(t *testing.T) {
			root := makeHost(t, map[string]string{adminFile: mountOpt("admin"), "other.conf": mountOpt("other")})
			value := filepath.Join(root, "other.conf")
			switch name {
			case "STORAGE_OPTS":
				value = "overlay.mountopt=other"
			case "STORAGE_DRIVER":
				value = "vfs"
			}
			t.Setenv(name, value)
			want := storageconf.Config{Driver: "overlay", Overlay: storageconf.OverlayOptions{MountOpt: "admin"}}
			got, err := storageconf.HostConfig(root)
			if err != nil || !reflect.DeepEqual(want, got) {
				t.Errorf("want %+v, got %+v, %v", want, got, err)
			}
		})
	}
}

func TestHostConfigNamesFileAndLineOfAMistake(t *testing.T) {
	const dropIn = "etc/containers/storage.rootful.conf.d/50.conf"
	for _, tc := range []struct {
		name    string
		file    string
		content string
		want    string
	}{
		{name: "malformed main file", file: adminFile, content: "[storage]\ndriver = \n", want: "line 2"},
		{name: "malformed drop-in", file: dropIn, content: "\n\n[storage]]\n", want: "line 3"},
		{name: "malformed user file", file: userFile, content: "=\n", want: "line 1"},
		{name: "boolean instead of a string", file: adminFile, content: "[storage.options.overlay]\nuse_composefs = true\n", want: "line 2"},
		{name: "boolean as pull option", file: adminFile, content: "\n[storage.options.pull_options]\nuse_hard_links = true\n", want: "line 3"},
		{name: "string as older mask", file: adminFile, content: "[storage.options]\nforce_mask = \"0700\"\n", want: "line 2"},
		{name: "options that are no table", file: adminFile, content: "[storage]\noptions = 1\n", want: "line 2"},
		{name: "key given twice", file: adminFile, content: mountOpt("a") + "mountopt = \"b\"\n", want: "line 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, map[string]string{tc.file: tc.content})
			got, err := storageconf.HostConfig(root)
			if err == nil {
				t.Fatalf("want an error, got %+v", got)
			}
			for _, want := range []string{filepath.Join(root, tc.file), tc.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want an error with %q, got %v", want, err)
				}
			}
		})
	}
}

func TestHostConfigReportsAFileItCannotRead(t *testing.T) {
	root := makeHost(t, map[string]string{vendorFile: mountOpt("vendor")})
	must(t, os.MkdirAll(filepath.Join(root, adminFile), 0o755))
	got, err := storageconf.HostConfig(root)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(root, adminFile)) {
		t.Errorf("want an error that names the file, got %+v, %v", got, err)
	}
}

func TestRenderMatchesTheGoldenFiles(t *testing.T) {
	overlayOnVFS := allOptions()
	overlayOnVFS.Driver = "vfs"
	overlayOnVFS.Pull = map[string]string{"enable_partial_images": "true"}
	for _, tc := range []struct {
		name   string
		golden string
		config storageconf.Config
	}{
		{name: "no option", golden: "plain.conf", config: storageconf.Config{Driver: "overlay"}},
		{name: "empty pull options", golden: "plain.conf", config: storageconf.Config{Driver: "overlay", Pull: map[string]string{}}},
		{name: "every option", golden: "overlay-all.conf", config: allOptions()},
		{name: "another driver keeps the pull options alone", golden: "vfs-pull.conf", config: overlayOnVFS},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := readFile(t, filepath.Join("testdata", tc.golden))
			if got := render(t, tc.config); want != got {
				t.Errorf("want\n%s\ngot\n%s", want, got)
			}
		})
	}
}

func TestRenderIsByteStable(t *testing.T) {
	// The only thing without an order of its own is a map.
	config := allOptions()
	for i := range 50 {
		config.Pull[fmt.Sprintf("key%d", i)] = "x"
	}
	want := render(t, config)
	for range 50 {
		config.Pull = maps.Clone(config.Pull)
		if got := render(t, config); want != got {
			t.Fatalf("want\n%s\ngot\n%s", want, got)
		}
	}
}

func TestRenderedConfMeansTheSameToTheStorageLibrary(t *testing.T) {
	vfs := allOptions()
	vfs.Driver = "vfs"
	tests := []struct {
		name   string
		config storageconf.Config
	}{
		{name: "no option", config: storageconf.Config{Driver: "overlay"}},
		{name: "every option", config: allOptions()},
		{name: "another driver", config: vfs},
	}
	for name, value := range map[string]string{
		"double quotes":      `a "quoted" value`,
		"single quotes":      `'''`,
		"backslashes":        `C:\new\table\u0041`,
		"newlines":           "a\nb\r\nc\n[storage]\ngraphroot = \"/elsewhere\"",
		"control characters": "a\x00\t\x1b\x7f",
		"non-ASCII letters":  "größe \u2028 日本語 🚢",
		"a variable":         "$HOME ${UID}",
		"a comment":          "a # b",
		"spaces around it":   "  a  ",
	} {
		tests = append(tests, struct {
			name   string
			config storageconf.Config
		}{name: "value with " + name, config: storageconf.Config{
			Driver:  "overlay",
			Overlay: storageconf.OverlayOptions{MountOpt: value, MountProgram: value},
			Pull:    map[string]string{"key": value, value: "key"},
		}})
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			path := filepath.Join(t.TempDir(), "storage.conf")
			t.Setenv("CONTAINERS_STORAGE_CONF", path)
			checkLibraryReads(t, tc.config, path)
		})
	}
}

// checkLibraryReads renders config and compares it with what the storage
// library, which podman uses, makes of the file. $CONTAINERS_STORAGE_CONF must
// be path.
func checkLibraryReads(t *testing.T, config storageconf.Config, path string) {
	t.Helper()
	conf := render(t, config)
	writeFile(t, path, conf)
	got, err := types.LoadStoreOptions(types.LoadOptions{})
	if err != nil {
		t.Fatalf("%v in\n%s", err, conf)
	}
	// The library resolves links.
	for _, field := range []struct{ name, want, got string }{
		{"graph root", resolve(storageconf.GraphRoot), got.GraphRoot},
		{"run root", resolve(storageconf.OtherRunRoot), got.RunRoot},
		{"driver", config.Driver, got.GraphDriverName},
		{"image store", config.ImageStore, got.ImageStore},
	} {
		if field.want != field.got {
			t.Errorf("%s: want %q, got %q in\n%s", field.name, field.want, field.got, conf)
		}
	}
	if want, got := driverOptions(config), slices.Sorted(slices.Values(got.GraphDriverOptions)); !slices.Equal(want, got) {
		t.Errorf("driver options: want %q, got %q in\n%s", want, got, conf)
	}
	if !maps.Equal(config.Pull, got.PullOptions) {
		t.Errorf("pull options: want %q, got %q in\n%s", config.Pull, got.PullOptions, conf)
	}
}

// driverOptions are the options of config as the storage library spells them,
// sorted. Those of another store would show up as imagestore= and the like.
func driverOptions(config storageconf.Config) []string {
	if config.Driver != "overlay" {
		return nil
	}
	var options []string
	o := config.Overlay
	for key, value := range map[string]string{
		"ignore_chown_errors": o.IgnoreChownErrors,
		"force_mask":          o.ForceMask,
		"inodes":              o.Inodes,
		"mount_program":       o.MountProgram,
		"mountopt":            o.MountOpt,
		"size":                o.Size,
		"skip_mount_home":     o.SkipMountHome,
		"sync":                o.Sync,
		"use_composefs":       o.UseComposefs,
	} {
		if value != "" {
			options = append(options, "overlay."+key+"="+value)
		}
	}
	slices.Sort(options)
	return options
}

func resolve(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	return path
}

func render(t *testing.T, config storageconf.Config) string {
	t.Helper()
	conf := config.Render()
	if !bytes.HasSuffix(conf, []byte("\n")) {
		t.Errorf("want a last newline, got %q", conf)
	}
	return string(conf)
}

func TestFlagsRepeatTheConf(t *testing.T) {
	vfs := allOptions()
	vfs.Driver = "vfs"
	for _, tc := range []struct {
		name   string
		config storageconf.Config
		want   []storageconf.Flag
	}{
		{
			name:   "no option",
			config: storageconf.Config{Driver: "overlay", Pull: map[string]string{"use_hard_links": "true"}},
			want: []storageconf.Flag{
				{Name: "--root", Value: "/run/bootc/storage"},
				{Name: "--runroot", Value: "/proc/self/fd/3"},
				{Name: "--storage-driver", Value: "overlay"},
			},
		},
		{
			name:   "every option",
			config: allOptions(),
			want: []storageconf.Flag{
				{Name: "--root", Value: "/run/bootc/storage"},
				{Name: "--runroot", Value: "/proc/self/fd/3"},
				{Name: "--storage-driver", Value: "overlay"},
				{Name: "--storage-opt", Value: "overlay.ignore_chown_errors=true"},
				{Name: "--storage-opt", Value: "overlay.force_mask=0755"},
				{Name: "--storage-opt", Value: "overlay.inodes=1000000"},
				{Name: "--storage-opt", Value: "overlay.mount_program=/usr/bin/fuse-overlayfs"},
				{Name: "--storage-opt", Value: "overlay.mountopt=nodev,metacopy=on"},
				{Name: "--storage-opt", Value: "overlay.size=10G"},
				{Name: "--storage-opt", Value: "overlay.skip_mount_home=true"},
				{Name: "--storage-opt", Value: "overlay.sync=filesystem", Since: [2]int{5, 8}},
				{Name: "--storage-opt", Value: "overlay.use_composefs=true", Since: [2]int{5, 0}},
			},
		},
		{
			name:   "overlay options with another driver",
			config: vfs,
			want: []storageconf.Flag{
				{Name: "--root", Value: "/run/bootc/storage"},
				{Name: "--runroot", Value: "/proc/self/fd/3"},
				{Name: "--storage-driver", Value: "vfs"},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.config.Flags(); !slices.Equal(tc.want, got) {
				t.Errorf("want %v, got %v", tc.want, got)
			}
		})
	}
}

func TestForStoreTakesTheDriverTheStoreWasMadeWith(t *testing.T) {
	for _, tc := range []struct {
		name  string
		store []string
		want  string
	}{
		{name: "overlay", store: []string{"overlay/", "overlay-images/", "overlay-layers/"}, want: "overlay"},
		{name: "btrfs", store: []string{"btrfs/", "btrfs-images/", "btrfs-layers/"}, want: "btrfs"},
		{name: "zfs", store: []string{"zfs/", "zfs-images/", "zfs-layers/"}, want: "zfs"},
		{name: "vfs", store: []string{"vfs/", "vfs-images/", "vfs-layers/"}, want: "vfs"},
		{name: "overlay before a left-over vfs", store: []string{"overlay-images/", "vfs-images/"}, want: "overlay"},
		{name: "empty store keeps the driver", want: "as before"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := open(t, makeTree(t, tc.store...))
			config := allOptions()
			config.Driver = "as before"
			want := config
			want.Driver = tc.want
			if got := config.ForStore(dir); !reflect.DeepEqual(want, got) {
				t.Errorf("want %+v, got %+v", want, got)
			}
		})
	}
}

// FuzzHostConfig reads arbitrary bytes as the administrator's storage.conf.
// What they say must reach podman as it was meant, and nothing else must.
func FuzzHostConfig(f *testing.F) {
	isolate(f)
	root := f.TempDir()
	path := filepath.Join(root, "private.conf")
	f.Setenv("CONTAINERS_STORAGE_CONF", path)
	for _, golden := range []string{"plain.conf", "overlay-all.conf", "vfs-pull.conf"} {
		content, err := os.ReadFile(filepath.Join("testdata", golden))
		must(f, err)
		f.Add(content)
	}
	f.Add([]byte("[storage.options]\nsize = \"1G\"\nforce_mask = 0o700\nadditionalimagestores = [\"/a\", {append=true}]\nimagestore = \"/b\"\n"))
	f.Add([]byte("[storage]\nimagestore = \"/srv/$UID/images\"\n"))
	f.Add([]byte("[storage.options.overlay]\nmountopt = \"\"\"a\\u0000\n\\\"\"\"\"\n[storage.options.pull_options]\n\"\" = ''\n'a.b\" = [c]' = 'd'\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) >= 1<<16 {
			t.Skip("larger than any storage.conf")
		}
		writeFile(t, filepath.Join(root, adminFile), string(content))
		config, err := storageconf.HostConfig(root)
		if err != nil || config.ImageStore == storageconf.GraphRoot { // the library refuses that one
			return
		}
		checkLibraryReads(t, config, path)
	})
}
