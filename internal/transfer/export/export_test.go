// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

const imageName = "quay.io/example/os:42"

// capNetRaw is the extended attribute of a program with cap_net_raw=ep.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// systemTree is the tree of a system with all that is hard to carry over.
func systemTree(m treeMaker) {
	for _, dir := range []string{"usr/bin", "usr/lib", "usr/etc/sub", "var/log", "sysroot", "boot"} {
		m.mkdir(dir, 0o755)
	}
	m.mkdir("tmp", 0o1777)
	m.mkdir("root", 0o700)
	m.mkdir("usr/lib/group", 0o2755)
	m.chown("usr/lib/group", 3, 4, 0o2755)
	m.file("usr/bin/sh", "shell", 0o755)
	m.file("usr/bin/su", "su", 0o4755)
	m.chown("usr/bin/su", 0, 12, 0o4755)
	m.file("usr/bin/ping", "ping", 0o755)
	m.xattr("usr/bin/ping", "security.capability", capNetRaw)
	m.file("usr/lib/xattrs", "xattrs", 0o640)
	m.xattr("usr/lib/xattrs", "user.empty", "")
	m.xattr("usr/lib/xattrs", "user.bytes", "\x00\xff=\n")
	m.xattr("usr/lib/xattrs", "user.long", strings.Repeat("x", 1000))
	m.xattr("usr/lib", "user.dir", "of a directory")
	m.xattr("usr/lib", "security.selinux", "system_u:object_r:lib_t:s0\x00")
	m.xattr("usr/lib/xattrs", "security.selinux", "system_u:object_r:lib_t:s0\x00")
	m.file("usr/lib/big", strings.Repeat("0123456789abcdef", 100_000), 0o644)
	m.file("usr/lib/empty", "", 0o644)
	m.file("usr/lib/empty2", "", 0o600)
	m.file("usr/lib/new\nline", "newline", 0o644)
	m.file("usr/lib/grüße 漢字", "names", 0o644)
	m.file("usr/lib/back\\slash \"quote\" =", "odd", 0o644)
	m.file("usr/lib/ trailing ", "odd", 0o644)
	m.file("usr/lib/"+strings.Repeat("n", 200), "long name", 0o644)
	long := strings.Repeat("directory/", 40)
	m.file("usr/lib/"+long+"file", "long path", 0o644)
	m.link("usr/lib/link", "../bin/sh")
	m.link("usr/lib/long link", "/"+long+"file")
	m.link("usr/lib/ключ", "ü\n")
	m.chown("usr/lib/link", 5, 6, 0)
	m.link("lib", "usr/lib")
	m.ok(os.Link(m.path("usr/bin/sh"), m.path("usr/bin/bash")))
	m.file("usr/etc/passwd", "root:x:0:0", 0o644)
	m.file("usr/etc/shadow", "root:*", 0)
	m.file("usr/etc/sub/conf", "conf", 0o644)
	m.file("usr/etc/gone", "gone", 0o644)
	m.file("usr/etc/hostname", "", 0o644)
	m.link("usr/etc/os-release", "../usr/lib/os-release")
	m.file("usr/share/hidden/old", "old", 0o644)
	m.file("usr/share/gone/old", "old", 0o644)
	m.file("usr/lib/changed", "old", 0o644)
	m.chown("usr/lib/big", 1000, 4_000_000, 0)
}

// derivedTree changes and removes some of systemTree. It names directories only
// to put files into them.
func derivedTree(m treeMaker) {
	m.file("usr/lib/changed", "new", 0o600)
	m.file("usr/etc/.wh.gone", "", 0o644)
	m.file("usr/etc/added", "added", 0o644)
	m.file("usr/share/.wh.gone", "", 0o644)
	m.file("usr/share/hidden/.wh..wh..opq", "", 0o644)
	m.file("usr/share/hidden/new", "new", 0o644)
	m.file("tmp/file", "in a directory of mode 1777", 0o644)
	m.file("root/file", "in a directory of mode 0700", 0o644)
	m.file("usr/lib/group/file", "in a directory of a group", 0o644)
}

// lastTree is a layer more.
func lastTree(m treeMaker) {
	m.file("usr/share/gone/again", "again", 0o644)
	m.mkdir("usr/share/gone", 0o751)
	m.file("usr/etc/resolv.conf", "nameserver ::1", 0o644)
	m.file("usr/lib/.wh.link", "", 0o644)
}

// testImages are those that exports are tested with.
var testImages = map[string]func(f *fixture){
	"plain": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(derivedTree))
		f.layer(f.tree(lastTree))
	},
	"ostree base without chunks": func(f *fixture) {
		f.base(f.tree(systemTree))
		f.layer(f.tree(derivedTree))
	},
	"ostree base with chunks": func(f *fixture) {
		f.base(f.tree(systemTree), "/usr/lib", "/usr/bin", "/usr/etc", "/usr/share/gone")
		f.layer(f.tree(derivedTree))
		f.layer(f.tree(lastTree))
	},
	"ostree base alone": func(f *fixture) { f.base(f.tree(systemTree), "/usr") },
	"one file": func(f *fixture) {
		f.layer(f.tree(func(m treeMaker) { m.file("file", "one", 0o644) }))
	},
	"all of /usr replaced": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(func(m treeMaker) {
			m.file("usr/.wh..wh..opq", "", 0o644)
			m.file("usr/etc/only", "only", 0o644)
			m.file("usr/bin/only", "only", 0o755)
		}))
	},
	"/etc removed": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(func(m treeMaker) { m.file("usr/.wh.etc", "", 0o644) }))
	},
	"/usr hidden, no /etc": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(func(m treeMaker) { m.file("usr/.wh..wh..opq", "", 0o644) }))
	},
}

func TestExportEqualsACheckoutOfTheImage(t *testing.T) {
	for name, image := range testImages {
		for _, driver := range []string{"vfs", "overlay"} {
			t.Run(name+" "+driver, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				image(f)
				commit := f.merge()
				e := f.export()
				s := newStore(t, driver)
				s.take(e, imageName)
				n := compareTrees(t, s.mount(imageName), f.checkout(commit))
				t.Logf("%d files compared", n)
				if got := s.podman("image", "inspect", "--format={{.Digest}} {{.Id}}", imageName); got != e.ManifestDigest+" "+strings.TrimPrefix(e.ConfigDigest, "sha256:") {
					t.Errorf("podman has %s, exported manifest %s, configuration %s", got, e.ManifestDigest, e.ConfigDigest)
				}
			})
		}
	}
}

func TestExportIsAnOrdinaryImage(t *testing.T) {
	f := newFixture(t)
	f.base(f.tree(systemTree), "/usr/lib")
	f.layer(f.tree(derivedTree))
	f.setLabel("html", "<&> \u2028 é")
	f.config["x-unknown"] = map[string]any{"big": json.Number("12345678901234567890"), "keep": nil}
	f.config["history"] = []map[string]any{
		{"created_by": "base", "comment": "first", "created": created},
		{"created_by": "chunk", "x-unknown": true},
		{"created_by": "ENV a=b", "empty_layer": true},
		{"created_by": "RUN <x>", "comment": "derived", "author": "me", "empty_layer": false},
		{"created_by": "CMD", "empty_layer": true},
	}
	f.manifest.Annotations = map[string]string{
		"org.opencontainers.image.created": created, "ostree.final-diffid": "sha256:1", "ostree.commit": "1",
	}
	f.manifest.Layers[0].Annotations["ostree.encapsulated"] = "true"
	f.manifest.Layers[1].Annotations["ostree.components"] = "glibc,bash"
	f.merge()
	e := f.export()

	var got, want map[string]any
	if err := json.Unmarshal(e.Config, &got); err != nil {
		t.Fatal(err)
	}
	delete(f.config["config"].(map[string]any)["Labels"].(map[string]any), "ostree.final-diffid")
	delete(f.config["config"].(map[string]any)["Labels"].(map[string]any), "ostree.commit")
	diffIDs := []string{e.Layers[0].Digest, e.Layers[1].Digest, e.Layers[2].Digest}
	f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffIDs}
	text, _ := json.Marshal(f.config)
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("configuration\n got %s\nwant %s", g, w)
	}
	for _, verbatim := range []string{`12345678901234567890`, `"html":"<&>`, `"keep":null`} {
		if !strings.Contains(string(e.Config), verbatim) {
			t.Errorf("configuration has no %s: %s", verbatim, e.Config)
		}
	}
	if digest := fmt.Sprintf("sha256:%x", sha256.Sum256(e.Config)); digest != e.ConfigDigest {
		t.Errorf("configuration has digest %s, not %s", digest, e.ConfigDigest)
	}

	type descriptor struct {
		MediaType, Digest string
		Size              int64
		Annotations       map[string]string
	}
	var manifest struct {
		SchemaVersion int
		MediaType     string
		Config        descriptor
		Layers        []descriptor
		Annotations   map[string]string
	}
	if err := json.Unmarshal(e.Manifest, &manifest); err != nil {
		t.Fatal(err)
	}
	layer := func(i int, annotations map[string]string) descriptor {
		annotations["test.index"] = fmt.Sprint(i)
		return descriptor{"application/vnd.oci.image.layer.v1.tar", e.Layers[i].Digest, e.Layers[i].Size, annotations}
	}
	wantManifest := manifest
	wantManifest.SchemaVersion, wantManifest.MediaType = 2, "application/vnd.oci.image.manifest.v1+json"
	wantManifest.Config = descriptor{"application/vnd.oci.image.config.v1+json", e.ConfigDigest, int64(len(e.Config)), nil}
	wantManifest.Layers = []descriptor{
		layer(0, map[string]string{}), layer(1, map[string]string{"ostree.components": "glibc,bash"}), layer(2, map[string]string{}),
	}
	wantManifest.Annotations = map[string]string{"org.opencontainers.image.created": created, "io.bootc-podman.original-digest": "sha256:original", "io.bootc-podman.exported-config": e.ConfigDigest}
	if g, w := fmt.Sprint(manifest), fmt.Sprint(wantManifest); g != w {
		t.Errorf("manifest\n got %s\nwant %s", g, w)
	}
	if digest := fmt.Sprintf("sha256:%x", sha256.Sum256(e.Manifest)); digest != e.ManifestDigest {
		t.Errorf("manifest has digest %s, not %s", digest, e.ManifestDigest)
	}
}

func TestExportHistoryHasAnEntryForEachLayer(t *testing.T) {
	const unknown = "bootc-podman: layer without history"
	for name, c := range map[string]struct {
		old    string
		layers int
		want   string
	}{
		"none":            {"", 2, unknown + "|" + unknown},
		"fits":            {"a|-e|b", 2, "a|-e|b"},
		"too short":       {"a|-e", 3, "a|-e|" + unknown + "|" + unknown},
		"too long":        {"a|b|-e|c|-f", 1, "a|-e|-f"},
		"only empty ones": {"-a|-b", 1, "-a|-b|" + unknown},
	} {
		var old []object
		for by := range strings.SplitSeq(c.old, "|") {
			if by == "" {
				continue
			}
			quoted, _ := json.Marshal(by)
			h := object{"created_by": quoted, "empty_layer": json.RawMessage("false")}
			if by[0] == '-' {
				h["empty_layer"] = json.RawMessage("true")
			}
			old = append(old, h)
		}
		var got []string
		for _, h := range exportHistory(old, c.layers) {
			var by string
			if err := json.Unmarshal(h["created_by"], &by); err != nil {
				t.Fatal(err)
			}
			got = append(got, by)
		}
		if got := strings.Join(got, "|"); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestExportGivesTheSameImageAgain(t *testing.T) {
	f := newFixture(t)
	testImages["ostree base with chunks"](f)
	f.merge()
	repo, image := f.open()
	last := map[int]int64{}
	e, err := New(t.Context(), repo, image.Checksum, func(layer int, bytes int64) {
		if bytes <= last[layer] {
			t.Errorf("layer %d: %d bytes after %d", layer, bytes, last[layer])
		}
		last[layer] = bytes
	})
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for i, layer := range e.Layers {
		if last[i] != layer.Size {
			t.Errorf("layer %d: reported %d bytes, has %d", i, last[i], layer.Size)
		}
		sum := sha256.New()
		n, err := e.writeLayer(t.Context(), sum, i, false, func(int, int64) {})
		if err != nil || n != layer.Size || fmt.Sprintf("sha256:%x", sum.Sum(nil)) != layer.Digest {
			t.Errorf("layer %d: %d bytes, %v, not what was measured", i, n, err)
		}
		size += n
	}
	again := f.export()
	if string(again.Manifest) != string(e.Manifest) || string(again.Config) != string(e.Config) {
		t.Errorf("a second export differs:\n%s\n%s", e.Manifest, again.Manifest)
	}
}

// listing is what tar prints of the archive of a layer, without times.
func (f *fixture) listing(e *Image, layer int) (lines []string) {
	f.Helper()
	var archive bytes.Buffer
	_, err := e.writeLayer(f.Context(), &archive, layer, true, func(int, int64) {})
	file := filepath.Join(f.TempDir(), "layer.tar")
	if err = errors.Join(err, os.WriteFile(file, archive.Bytes(), 0o600)); err != nil {
		f.Fatal(err)
	}
	for line := range strings.SplitSeq(testhost.Run(f, "tar", "--numeric-owner", "-tvf", file), "\n") {
		words := strings.Fields(line)
		lines = append(lines, strings.Join(slices.Delete(words, 3, 5), " "))
	}
	return lines
}

func TestRepeatedFilesOfALayerAreHardLinks(t *testing.T) {
	f := newFixture(t)
	many := maxNames*2 + 10
	f.layer(f.tree(func(m treeMaker) {
		for i := range many {
			m.file(fmt.Sprintf("usr/many/%05d", i), "many", 0o644)
		}
		for _, dir := range []string{"usr/lib", "usr/lib64", "opt", "srv", "usr/etc", "var"} {
			m.file(dir+"/one", "content", 0o644)
			m.file(dir+"/two", "content", 0o644)
			m.file(dir+"/empty", "", 0o644)
			m.file(dir+"/.wh.gone", "", 0o644)
		}
		m.file("usr/lib/other mode", "content", 0o600)
		m.file("usr/lib/other owner", "content", 0o644)
		m.chown("usr/lib/other owner", 1, 1, 0o644)
		m.file("usr/lib/suid", "suid", 0o4755)
		m.file("usr/lib/suid2", "suid", 0o4755)
		m.file("usr/lib/ping", "ping", 0o755)
		m.xattr("usr/lib/ping", "security.capability", capNetRaw)
		m.file("usr/lib/ping2", "ping", 0o755)
		m.xattr("usr/lib/ping2", "security.capability", capNetRaw)
		m.link("usr/lib/symlink", "one")
		m.link("usr/lib/symlink2", "one")
	}))
	f.merge()
	var got []string
	targets := map[string]int{}
	for _, line := range f.listing(f.export(), 0) {
		switch name, target, link := strings.Cut(line, " link to "); {
		case strings.Contains(name, " usr/many/0"):
			if link {
				targets[target]++
			}
		case line[0] != 'd' && !strings.Contains(line, ".wh."):
			got = append(got, line)
		}
	}
	want := []string{
		"-rw-r--r-- 0/0 0 etc/empty", "-rw-r--r-- 0/0 7 etc/one", "-rw-r--r-- 0/0 7 etc/two",
		"-rw-r--r-- 0/0 0 opt/empty", "-rw-r--r-- 0/0 7 opt/one", "hrw-r--r-- 0/0 0 opt/two link to opt/one",
		"-rw-r--r-- 0/0 0 srv/empty", "hrw-r--r-- 0/0 0 srv/one link to opt/one", "hrw-r--r-- 0/0 0 srv/two link to opt/one",
		"-rw-r--r-- 0/0 0 usr/lib/empty", "-rw-r--r-- 0/0 7 usr/lib/one", "-rw------- 0/0 7 usr/lib/other mode",
		"-rw-r--r-- 1/1 7 usr/lib/other owner", "-rwxr-xr-x 0/0 4 usr/lib/ping", "hrwxr-xr-x 0/0 0 usr/lib/ping2 link to usr/lib/ping",
		"-rwsr-xr-x 0/0 4 usr/lib/suid", "hrwsr-xr-x 0/0 0 usr/lib/suid2 link to usr/lib/suid",
		"lrwxrwxrwx 0/0 0 usr/lib/symlink -> one", "lrwxrwxrwx 0/0 0 usr/lib/symlink2 -> one",
		"hrw-r--r-- 0/0 0 usr/lib/two link to usr/lib/one",
		"-rw-r--r-- 0/0 0 usr/lib64/empty", "hrw-r--r-- 0/0 0 usr/lib64/one link to usr/lib/one", "hrw-r--r-- 0/0 0 usr/lib64/two link to usr/lib/one",
		"-rw-r--r-- 0/0 0 var/empty", "-rw-r--r-- 0/0 7 var/one", "-rw-r--r-- 0/0 7 var/two",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	wantTargets := map[string]int{"usr/many/00000": maxNames - 1, "usr/many/01000": maxNames - 1, "usr/many/02000": 9}
	if !maps.Equal(targets, wantTargets) {
		t.Errorf("files with more names: %v, want %v", targets, wantTargets)
	}
}

func TestTheRootIsOnlyExportedWhereAnImportWouldChangeIt(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(m treeMaker)
		want   string
	}{
		"as ostree makes it": {func(treeMaker) {}, "drwxr-xr-x 0/0 0 usr/"},
		"label":              {func(m treeMaker) { m.xattr(".", "security.selinux", "system_u:object_r:root_t:s0\x00") }, "drwxr-xr-x 0/0 0 usr/"},
		"mode":               {func(m treeMaker) { m.mkdir(".", 0o755); m.ok(unix.Chmod(m.dir, 0o700)) }, "drwx------ 0/0 0 ./"},
		"owner":              {func(m treeMaker) { m.ok(os.Chown(m.dir, 0, 1)) }, "drwxr-xr-x 0/1 0 ./"},
		"attribute":          {func(m treeMaker) { m.xattr(".", "user.some", "value") }, "drwxr-xr-x 0/0 0 ./"},
	} {
		f := newFixture(t)
		f.layer(f.tree(func(m treeMaker) { m.file("usr/file", "one", 0o644); tt.change(m) }))
		f.layer(f.tree(func(m treeMaker) { m.file("usr/file", "two", 0o644) }))
		f.merge()
		e := f.export()
		for layer := range e.Layers {
			if got := f.listing(e, layer)[0]; got != tt.want {
				t.Errorf("%s: layer %d begins with %q, want %q", name, layer, got, tt.want)
			}
		}
	}
}

func TestExportAcceptsLabelsTheKernelShows(t *testing.T) {
	f := newFixture(t)
	f.layer(f.tree(systemTree))
	f.merge()
	before := f.export()
	// As on a host with SELinux, where unlabelled files appear with one.
	for _, name := range []string{"usr/bin/sh", "usr/lib/link"} {
		object := f.object(name)
		if err := unix.Lsetxattr(object, "security.selinux", []byte("system_u:object_r:unlabeled_t:s0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if after := f.export(); after.ManifestDigest != before.ManifestDigest {
		t.Error("a label changed the export")
	}
}

// object is the file of the object at a path in the image's first layer.
func (f *fixture) object(path string) string {
	f.Helper()
	sum := strings.Fields(f.ostree("ls", "-C", f.layers[0], "/"+path))[4]
	return filepath.Join(f.repo, "objects", sum[:2], sum[2:]+".file")
}

func (f *fixture) metadata(kind string) string {
	f.Helper()
	files, err := filepath.Glob(f.repo + "/objects/*/*." + kind)
	if err != nil || len(files) == 0 {
		f.Fatal("no object of kind ", kind, err)
	}
	return files[0]
}

// replace writes an object anew, since the old file may have other names.
func (f *fixture) replace(path string, change func([]byte) []byte) {
	f.Helper()
	var st unix.Stat_t
	data, err := os.ReadFile(path)
	err = errors.Join(err, unix.Lstat(path, &st), os.Remove(path), os.WriteFile(path, change(data), 0o600),
		os.Chown(path, int(st.Uid), int(st.Gid)), unix.Chmod(path, st.Mode&0o7777))
	if err != nil {
		f.Fatal(err)
	}
}

func flipLast(data []byte) []byte { data[len(data)-1] ^= 1; return data }

func TestExportNamesWhatIsWrong(t *testing.T) {
	plain := func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(lastTree))
	}
	for name, c := range map[string]struct {
		image  func(f *fixture)
		damage func(f *fixture) (names string)
		is     error
	}{
		"missing file": {plain, func(f *fixture) string {
			path := f.object("usr/bin/su")
			os.Remove(path)
			return path
		}, os.ErrNotExist},
		"changed content": {plain, func(f *fixture) string {
			path := f.object("usr/lib/big")
			f.replace(path, flipLast)
			return path
		}, ostree.ErrCorruptObject},
		"shorter content": {plain, func(f *fixture) string {
			path := f.object("usr/lib/big")
			f.replace(path, func(data []byte) []byte { return data[1:] })
			return path
		}, ostree.ErrCorruptObject},
		"emptied file": {plain, func(f *fixture) string {
			path := f.object("usr/lib/big")
			f.replace(path, func([]byte) []byte { return nil })
			return path
		}, ostree.ErrCorruptObject},
		"changed mode": {plain, func(f *fixture) string {
			path := f.object("usr/bin/su")
			os.Chmod(path, 0o755)
			return path
		}, ostree.ErrCorruptObject},
		"changed owner of a link": {plain, func(f *fixture) string {
			path := f.object("usr/lib/link")
			os.Lchown(path, 0, 0)
			return path
		}, ostree.ErrCorruptObject},
		"added attribute": {plain, func(f *fixture) string {
			path := f.object("usr/bin/su")
			unix.Setxattr(path, "user.added", []byte("x"), 0)
			return path
		}, ostree.ErrCorruptObject},
		"FIFO": {plain, func(f *fixture) string {
			path := f.object("usr/bin/su")
			os.Remove(path)
			unix.Mkfifo(path, 0o600)
			return path
		}, nil},
		"changed directory": {plain, func(f *fixture) string {
			path := f.metadata("dirtree")
			f.replace(path, flipLast)
			return path
		}, ostree.ErrCorruptObject},
		"changed metadata of a directory": {plain, func(f *fixture) string {
			for _, path := range []string{f.metadata("dirmeta")} {
				f.replace(path, flipLast)
			}
			return ".dirmeta"
		}, ostree.ErrCorruptObject},
		"missing ref of a layer": {plain, func(f *fixture) string {
			ref := f.layerRef(f.manifest.Layers[1].Digest)
			f.ostree("refs", "--delete", ref)
			return ref
		}, nil},
		"repository of another mode": {plain, func(f *fixture) string {
			f.ostree("config", "set", "core.mode", "bare-user")
			return f.repo + `/config": mode "bare-user"`
		}, ostree.ErrMode},
		"no configuration": {func(f *fixture) {
			plain(f)
			delete(f.config, "architecture")
		}, nil, ErrNoConfig},
		"no layers": {func(f *fixture) {
			plain(f)
			f.manifest.Layers = nil
		}, nil, ErrNoLayers},
		"end of the ostree base not found": {func(f *fixture) {
			plain(f)
			f.setLabel("ostree.final-diffid", "sha256:no")
		}, func(*fixture) string { return "ostree.final-diffid" }, nil},
		"no chunk": {func(f *fixture) {
			plain(f)
			f.setLabel("ostree.final-diffid", f.diffIDs[1])
		}, func(f *fixture) string { return "not the chunk of an ostree base" }, nil},
		"attribute with = in its name": {func(f *fixture) {
			f.layer(f.tree(func(m treeMaker) {
				m.file("usr/file", "", 0o644)
				m.xattr("usr/file", "user.a=b", "c")
			}))
		}, func(*fixture) string {
			return `"usr/file": an extended attribute that no container image can hold: "user.a=b"`
		}, ErrXattrName},
		"attribute of a directory with = in its name": {func(f *fixture) {
			f.layer(f.tree(func(m treeMaker) {
				m.mkdir("usr", 0o755)
				m.xattr("usr", "user.a=b", "c")
			}))
		}, func(*fixture) string { return `"usr"` }, ErrXattrName},
		"two directories for /etc": {func(f *fixture) {
			f.layer(f.tree(systemTree))
			f.layer(f.tree(func(m treeMaker) { m.file("etc/file", "file", 0o644) }))
		}, nil, ErrBothEtc},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			c.image(f)
			f.merge()
			repo, image := f.open()
			names := image.Checksum
			if c.damage != nil {
				names = c.damage(f)
			}
			_, err := New(t.Context(), repo, image.Checksum, nil)
			if err == nil || !strings.Contains(err.Error(), names) || strings.Contains(err.Error(), "\n") || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v and %s", err, c.is, names)
			}
		})
	}
}

func TestExportRefusesWhatWouldBeAWhiteout(t *testing.T) {
	for name, make := range map[string]func(m treeMaker){
		"usr/.wh.file": func(m treeMaker) { m.file("usr/.wh.file", "", 0o644) },
		"usr/.wh.dir":  func(m treeMaker) { m.mkdir("usr/.wh.dir", 0o755) },
	} {
		f := newFixture(t)
		dir := f.tree(make)
		f.base(dir)
		// Not what a merge makes, which whiteouts are never in.
		f.commitImage(dir)
		repo, image := f.open()
		_, err := New(t.Context(), repo, image.Checksum, nil)
		if !errors.Is(err, ErrWhiteoutName) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestExportEndsWithItsContext(t *testing.T) {
	f := newFixture(t)
	testImages["plain"](f)
	f.merge()
	repo, image := f.open()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := New(ctx, repo, image.Checksum, func(int, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAChunkBringsTheDirectoriesOfItsFiles(t *testing.T) {
	f := newFixture(t)
	f.base(f.tree(systemTree), "/usr/lib/group", "/usr/etc")
	f.merge()
	e := f.export()
	var got []string
	for _, entry := range e.tree[2] {
		got = append(got, entry.path)
	}
	want := []string{
		"etc", "etc/gone", "etc/os-release", "etc/passwd", "etc/shadow", "etc/sub", "etc/sub/conf",
		// The same object as /etc/hostname, which is not exported.
		"usr", "usr/lib", "usr/lib/empty",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(e.tree[1]); n != 0 {
		t.Errorf("a chunk without files has %d entries", n)
	}
	if n, err := e.writeLayer(t.Context(), io.Discard, 1, true, func(int, int64) {}); n != 1024 || err != nil {
		t.Errorf("an empty layer has %d bytes, %v", n, err)
	}
}
