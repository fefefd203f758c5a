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
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// allOptions is a configuration that sets everything there is.
func allOptions() storageconf.Config {
	return storageconf.Config{
		Driver:   "overlay",
		MountOpt: "nodev,metacopy=on",
		LeftOut: []storageconf.LeftOut{
			{Key: "overlay.size", Value: "10G", Reason: "a quota of another filesystem"},
			{Key: "overlay.mount_program", Value: "a\n[storage]\ngraphroot = \"/elsewhere\"", Reason: "bootc's podman mounts without it"},
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

// left returns what is left out as "key=value" with the common prefix removed.
func left(config storageconf.Config) (keys []string) {
	for _, l := range config.LeftOut {
		keys = append(keys, l.Key+"="+l.Value)
	}
	return keys
}

func TestHostConfigInheritsAnAllowList(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  storageconf.Config
		// left are the settings that are left out.
		left []string
	}{
		{name: "no file"},
		{
			name:  "vendor's file alone",
			files: map[string]string{vendorFile: mountOpt("nodev")},
			want:  storageconf.Config{MountOpt: "nodev"},
		},
		{
			name:  "administrator's file hides the vendor's",
			files: map[string]string{vendorFile: mountOpt("nodev") + `size = "1G"`, adminFile: mountOpt("metacopy=on")},
			want:  storageconf.Config{MountOpt: "metacopy=on"},
		},
		{
			name:  "user's file hides the administrator's",
			files: map[string]string{adminFile: mountOpt("nodev") + `size = "1G"`, userFile: mountOpt("metacopy=off")},
			want:  storageconf.Config{MountOpt: "metacopy=off"},
		},
		{
			name:  "mount options that can fail are left out",
			files: map[string]string{adminFile: mountOpt("nodev, noexec,metacopy=on,volatile,x=1,,")},
			want:  storageconf.Config{MountOpt: "nodev,metacopy=on"},
			left:  []string{"overlay.mountopt= noexec,volatile,x=1"},
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
			want: storageconf.Config{MountOpt: "nodev"},
			left: []string{
				"overlay.force_mask=700", "overlay.ignore_chown_errors=true", "overlay.mount_program=/bin/mnt",
				"overlay.size=1G", "overlay.skip_mount_home=true",
			},
		},
		{
			name: "overlay table wins over keys directly below options",
			files: map[string]string{
				adminFile: "[storage.options]\nmountopt = \"nodev\"\nsize = \"1G\"\n[storage.options.overlay]\nmountopt = \"metacopy=on\"\nsize = \"2G\"\n",
			},
			want: storageconf.Config{MountOpt: "metacopy=on"},
			left: []string{"overlay.size=2G"},
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
			want: storageconf.Config{MountOpt: "nodev,metacopy=on"},
			left: []string{
				"overlay.force_mask=0755", "overlay.ignore_chown_errors=true", "overlay.inodes=1000000",
				"overlay.mount_program=/usr/bin/fuse-overlayfs", "overlay.size=10G", "overlay.skip_mount_home=true",
				"overlay.sync=filesystem", "overlay.use_composefs=true",
			},
		},
		{
			name: "what podman obeys with --root is inherited, other stores are not",
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
			want: storageconf.Config{Driver: "vfs", Named: true, ImageStore: "/var/images", Transient: true},
			left: []string{
				"additionalimagestores=/usr/lib/containers/storage,/var/more", "additionallayerstores=/var/layers:ref",
			},
		},
		{
			name:  "keys of the future are passed over",
			files: map[string]string{adminFile: mountOpt("nodev") + "from_the_future = 3\n"},
			want:  storageconf.Config{MountOpt: "nodev"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, tc.files)
			tc.want.Driver = cmp.Or(tc.want.Driver, "overlay")
			got, err := storageconf.HostConfig(root)
			must(t, err)
			if names := left(got); !slices.Equal(names, tc.left) {
				t.Errorf("left out: want %q, got %q", tc.left, names)
			}
			conf := render(t, got)
			got.LeftOut = nil
			if !reflect.DeepEqual(tc.want, got) {
				t.Errorf("want %+v, got %+v", tc.want, got)
			}
			for line := range strings.Lines(conf) {
				if strings.Contains(line, "additional") && !strings.HasPrefix(line, "#") {
					t.Errorf("want no other store, got\n%s", conf)
				}
			}
		})
	}
}

const (
	dropIn        = "etc/containers/storage.conf.d/10.conf"
	rootfulDropIn = "usr/share/containers/storage.rootful.conf.d/20.conf"
	homeFile      = "home/.config/containers/storage.conf"
)

// older and oldest are the rules of podman 5.4.2 and of 4.3.1, newer those of 5.8.6.
var (
	newer  = storageconf.Rules{DropIns: true, ImageStore: true}
	older  = storageconf.Rules{ImageStore: true}
	oldest = storageconf.Rules{}
)

func imageStore(path string) string { return fmt.Sprintf("[storage]\nimagestore = %q\n", path) }

// TestRulesDecideWhatCounts has an image store in each place. What podmans of the three
// generations do was tried with them, see bats/135-configuration.bats.
func TestRulesDecideWhatCounts(t *testing.T) {
	const broken = "[storage]]\n"
	for _, tc := range []struct {
		name  string
		files map[string]string
		// home is true if XDG_CONFIG_HOME is not set.
		home bool
		// The image stores, "error" for none; unknown is for rules that are not known.
		newer, older, oldest, unknown string
	}{
		{name: "nothing"},
		{name: "vendor", files: map[string]string{vendorFile: imageStore("/v")}, newer: "/v", older: "/v", unknown: "/v"},
		{
			name:  "administrator",
			files: map[string]string{vendorFile: imageStore("/v"), adminFile: imageStore("/a")},
			newer: "/a", older: "/a", unknown: "/a",
		},
		{
			name: "XDG_CONFIG_HOME", files: map[string]string{userFile: imageStore("/u"), adminFile: imageStore("/a")},
			newer: "/u", older: "/a", unknown: "/u",
		},
		{
			name: "XDG_CONFIG_HOME alone", files: map[string]string{userFile: imageStore("/u")},
			newer: "/u", older: "/u", unknown: "/u",
		},
		{
			name: "home directory", home: true,
			files: map[string]string{homeFile: imageStore("/h"), adminFile: imageStore("/a")},
			newer: "/h", older: "/a", unknown: "/h",
		},
		{
			name: "home directory alone", home: true,
			files: map[string]string{homeFile: "[storage]\n", adminFile: imageStore("/a")},
			older: "/a", unknown: "/a",
		},
		{name: "drop-in", files: map[string]string{dropIn: imageStore("/d")}, newer: "/d", unknown: "/d"},
		{name: "rootful drop-in", files: map[string]string{rootfulDropIn: imageStore("/r")}, newer: "/r", unknown: "/r"},
		{
			name:  "drop-ins by name",
			files: map[string]string{dropIn: imageStore("/d"), rootfulDropIn: imageStore("/r"), adminFile: imageStore("/a")},
			newer: "/r", older: "/a", unknown: "/r",
		},
		{
			name:  "rootless drop-in",
			files: map[string]string{"etc/containers/storage.rootless.conf.d/10.conf": imageStore("/r")},
		},
		{
			name: "broken drop-in", files: map[string]string{dropIn: broken, adminFile: imageStore("/a")},
			newer: "error", older: "/a", unknown: "/a",
		},
		{name: "broken file in the home directory", home: true, files: map[string]string{homeFile: broken}, newer: "error"},
		{
			name: "broken file of the administrator", files: map[string]string{adminFile: broken, vendorFile: imageStore("/v")},
			newer: "error", older: "error", oldest: "error", unknown: "error",
		},
		{
			name: "a number for a key that the oldest does not have", files: map[string]string{adminFile: "[storage]\nimagestore = 7\n"},
			newer: "error", older: "error",
		},
		{
			name: "a directory in place of the file", files: map[string]string{adminFile + "/x": ""},
			newer: "error", older: "error", oldest: "error", unknown: "error",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, tc.files)
			if tc.home {
				t.Setenv("HOME", filepath.Join(root, "home"))
				unsetenv(t, "XDG_CONFIG_HOME")
			}
			same := tc.newer == tc.older && tc.older == tc.oldest
			if ambiguous := storageconf.Ambiguous(root); ambiguous == same {
				t.Errorf("ambiguous is %v", ambiguous)
			}
			for _, read := range []struct {
				name, want string
				config     func(string) (storageconf.Config, error)
			}{
				{"newer", tc.newer, newer.HostConfig},
				{"older", tc.older, older.HostConfig},
				{"oldest", tc.oldest, oldest.HostConfig},
				{"unknown", tc.unknown, storageconf.HostConfig},
			} {
				got, err := read.config(root)
				if failed := read.want == "error"; failed != (err != nil) || !failed && got.ImageStore != read.want {
					t.Errorf("%s: want %q, got %q, %v", read.name, read.want, got.ImageStore, err)
				}
			}
		})
	}
}

func TestRulesAreRememberedByTheProgram(t *testing.T) {
	dir := t.TempDir()
	path, podman, other := filepath.Join(dir, "podman.json"), filepath.Join(dir, "podman"), filepath.Join(dir, "other")
	writeFile(t, podman, "1")
	writeFile(t, other, "1")
	expect := func(program string, want storageconf.Rules, known bool) {
		t.Helper()
		if got, ok := storageconf.RulesOf(path, program); got != want || ok != known {
			t.Errorf("%s: want %+v, %v, got %+v, %v", program, want, known, got, ok)
		}
	}
	expect(podman, oldest, false)
	must(t, storageconf.RememberRules(path, podman, older))
	must(t, storageconf.RememberRules(path, other, newer))
	expect(podman, older, true)
	expect(other, newer, true)
	// An update replaces the file.
	must(t, os.Rename(other, podman))
	expect(podman, oldest, false)
	must(t, storageconf.RememberRules(path, podman, newer))
	expect(podman, newer, true)
	// Written in place.
	writeFile(t, podman, "22")
	expect(podman, oldest, false)
	must(t, storageconf.RememberRules(path, podman, newer))
	// Another user could have written the answer.
	must(t, os.Chmod(path, 0o666))
	expect(podman, oldest, false)
	must(t, os.Remove(path))
	for _, content := range []string{"", "{", "[1]", `[{"path":""}]`, `{"path":"/"}`, strings.Repeat("[", 1<<20)} {
		writeFile(t, path, content)
		expect(podman, oldest, false)
	}
	must(t, os.Remove(path))
	must(t, os.Symlink("/dev/zero", path))
	expect(podman, oldest, false)
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
		"home/.config/containers/storage.conf": mountOpt("nodev"),
		adminFile:                              mountOpt("metacopy=on"),
	})
	t.Setenv("HOME", filepath.Join(root, "home"))
	unsetenv(t, "XDG_CONFIG_HOME")
	got, err := storageconf.HostConfig(root)
	if want := "nodev"; err != nil || got.MountOpt != want {
		t.Errorf("want %q, got %+v, %v", want, got, err)
	}
}

// TestHostConfigIgnoresTheCallersStore sets what describes the store that the
// caller means to use with podman, which is not this one.
func TestHostConfigIgnoresTheCallersStore(t *testing.T) {
	for _, name := range []string{"CONTAINERS_STORAGE_CONF", "CONTAINERS_STORAGE_CONF_OVERRIDE", "STORAGE_OPTS", "STORAGE_DRIVER"} {
		t.Run(name, func(t *testing.T) {
			root := makeHost(t, map[string]string{adminFile: mountOpt("nodev"), "other.conf": mountOpt("metacopy=on")})
			value := filepath.Join(root, "other.conf")
			switch name {
			case "STORAGE_OPTS":
				value = "overlay.mountopt=metacopy=on"
			case "STORAGE_DRIVER":
				value = "vfs"
			}
			t.Setenv(name, value)
			want := storageconf.Config{Driver: "overlay", MountOpt: "nodev"}
			got, err := storageconf.HostConfig(root)
			if err != nil || !reflect.DeepEqual(want, got) {
				t.Errorf("want %+v, got %+v, %v", want, got, err)
			}
		})
	}
}

func TestHostConfigNamesFileAndLineOfAMistake(t *testing.T) {
	for _, tc := range []struct {
		name    string
		file    string
		content string
		want    string
	}{
		{name: "malformed main file", file: adminFile, content: "[storage]\ndriver = \n", want: "line 2"},
		{name: "malformed drop-in", file: rootfulDropIn, content: "\n\n[storage]]\n", want: "line 3"},
		{name: "malformed user file", file: userFile, content: "=\n", want: "line 1"},
		{name: "boolean instead of a string", file: adminFile, content: "[storage.options.overlay]\nuse_composefs = true\n", want: "line 2"},
		{name: "boolean as pull option", file: adminFile, content: "\n[storage.options.pull_options]\nuse_hard_links = true\n", want: "line 3"},
		{name: "string as older mask", file: adminFile, content: "[storage.options]\nforce_mask = \"0700\"\n", want: "line 2"},
		{name: "options that are no table", file: adminFile, content: "[storage]\noptions = 1\n", want: "line 2"},
		{name: "key given twice", file: adminFile, content: mountOpt("a") + "mountopt = \"b\"\n", want: "line 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := makeHost(t, map[string]string{tc.file: tc.content})
			got, err := newer.HostConfig(root)
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

func TestNoConfigurationIsWaitedFor(t *testing.T) {
	for _, file := range []string{adminFile, vendorFile, userFile} {
		t.Run(file, func(t *testing.T) {
			root := makeHost(t, nil)
			path := filepath.Join(root, file)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, unix.Mkfifo(path, 0o644))
			for name, read := range map[string]func() error{
				"HostConfig":       func() error { _, err := newer.HostConfig(root); return err },
				"DefaultStores":    func() error { _, err := storageconf.DefaultStores(root, 0); return err },
				"ReadDefaultStore": func() error { _, err := storageconf.ReadDefaultStore(root); return err },
			} {
				if err := read(); err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("%s: want an error that names the file, got %v", name, err)
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
	overlayOnVFS.Driver, overlayOnVFS.LeftOut = "vfs", nil
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
			Driver:   "overlay",
			MountOpt: value,
			LeftOut:  []storageconf.LeftOut{{Key: "overlay.size", Value: value, Reason: "none"}},
			Pull:     map[string]string{"key": value, value: "key"},
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
	if config.MountOpt == "" {
		return nil
	}
	return []string{"overlay.mountopt=" + config.MountOpt}
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

func TestFlagsAreBootcsWordsAndMountOptions(t *testing.T) {
	vfs := allOptions()
	vfs.Driver = "vfs"
	words := []string{"--root", "/run/bootc/storage", "--runroot", "/proc/self/fd/3"}
	for _, tc := range []struct {
		name   string
		config storageconf.Config
		want   []string
	}{
		{name: "no option", config: storageconf.Config{Driver: "overlay", Pull: map[string]string{"use_hard_links": "true"}}, want: words},
		{name: "every option", config: allOptions(), want: append(words, "--storage-opt", "overlay.mountopt=nodev,metacopy=on")},
		{name: "overlay options with another driver", config: vfs, want: words},
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
			// So podman does with --root, too.
			config.Named, want.Named, want.Driver = true, true, config.Driver
			if got := config.ForStore(dir); !reflect.DeepEqual(want, got) {
				t.Errorf("named: want %+v, got %+v", want, got)
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
