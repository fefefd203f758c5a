// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
)

// noShortNames fails the test when the configuration is read.
func noShortNames(t testing.TB) func() (ShortNames, error) {
	return func() (ShortNames, error) {
		t.Error("the configuration of short names was read for a full name")
		return ShortNames{}, nil
	}
}

// lookupStore has images a (localhost), b (two registries), c and d (IDs with a
// common beginning), and manifest lists for this machine and for another.
func lookupStore(t testing.TB) *Store {
	t.Helper()
	list := func(arch, image string) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":%q,"platform":{"os":"linux","architecture":%q}}]}`, "sha256:"+image, arch)
	}
	manifest := []byte(`{"schemaVersion":2,"config":{"digest":"sha256:c"}}`)
	records := []object{
		imageRecord(id("a"), "", "localhost/a:latest", "docker.io/library/hub:latest"),
		imageRecord(id("b"), "", "quay.io/team/b:v1", "registry.example:5000/x/y/z:latest", "quay.io/other/both:latest", "quay.io/team.x/w:latest"),
		imageRecord(id("cc1"), "", "quay.io/c@sha256:"+id("cc1")),
		imageRecord(id("cc2"), "", "docker.io/library/alias:latest", "docker.io/library/alias:v2", "docker.io/library/both:latest"),
		imageRecord(id("d1"), "", "localhost/list:latest"),
		imageRecord(id("d2"), "", "localhost/foreign:latest"),
	}
	dir := storeDir(t, encode(t, records), nil)
	for _, image := range []string{"a", "b", "cc1", "cc2"} {
		addBlob(t, dir, id(image), "manifest", manifest)
	}
	addBlob(t, dir, id("d1"), "manifest", list(runtime.GOARCH, id("a")))
	addBlob(t, dir, id("d2"), "manifest", list("pdp11", id("a")))
	return readGood(t, dir)
}

func TestLookupResolvesNamesAsPodmanDoes(t *testing.T) {
	s := lookupStore(t)
	short := func() (ShortNames, error) {
		return ShortNames{
			Aliases:    map[string]string{"nick": "docker.io/alias", "off": ""},
			Registries: []string{"quay.io", "registry.example:5000/"},
		}, nil
	}
	for name, want := range map[string]string{
		// Short names.
		"a": "a", "a:latest": "a", "a:v1": "", "hub": "a", "library/hub": "a",
		"team/b:v1": "b", "b:v1": "b", "b:latest": "", "m/b:v1": "", "z": "b", "y/z": "b", "x/y/z": "b",
		"nick": "cc2", "nick:v2": "cc2", "nick:v3": "", "off": "", "library/nick": "",
		"both": "cc2", "other/both": "b", "team.x/w": "",
		"FOO/a": "", "localhost": "",
		// Full names.
		"localhost/a": "a", "docker.io/hub": "a", "index.docker.io/library/hub": "a", "docker.io/a": "",
		"registry.example:5000/x/y/z": "b", "registry.example/x/y/z": "", "quay.io/z": "",
		// Digests.
		"localhost/a@sha256:" + id("a"): "a", "localhost/a:any@sha256:" + id("a"): "a", "a:any@sha256:" + id("a"): "a",
		"docker.io/hub@sha256:" + id("a"): "a", "b@sha256:" + id("b"): "b", "b@sha256:" + id("a"): "",
		"quay.io/c@sha256:" + id("cc1"): "cc1", "localhost/a@sha256:" + id("e"): "", "quay.io/team/b@sha256:" + id("a"): "",
		// IDs.
		id("a"): "a", "sha256:" + id("a"): "a", id("e"): "", "a0": "a", "a0000000000": "a", "cc": "", "cc1": "cc1",
		"a0:latest": "", "localhost/a0": "",
		// Manifest lists.
		"list": "a", "localhost/list": "a", id("d1"): "a", "foreign": "", id("d2"): "", "localhost/list@sha256:" + id("d1"): "a",
		// The transport of the store.
		"containers-storage:localhost/a": "a", "containers-storage:a": "", "containers-storage:hub": "a",
		"containers-storage:" + id("a"): "a", "containers-storage:@" + id("a"): "a", "containers-storage:@" + id("e"): "",
		"containers-storage:a00": "a", "containers-storage:a0": "", "containers-storage:@a00": "a",
		"containers-storage:localhost/a@" + id("a"): "a", "containers-storage:localhost/b@" + id("a"): "",
		"containers-storage:localhost/a@sha256:" + id("a"): "a", "containers-storage:localhost/list": "d1",
		"containers-storage:UPPER": "",
		// Images that are called like transports.
		"docker:a": "", "docker-daemon:a": "", "ostree:a": "", "tarball:a": "", "atomic:a": "", "registry:a": "",
	} {
		t.Run(name, func(t *testing.T) {
			img, err := s.Lookup(name, short)
			got := ""
			if err == nil {
				got = img.ID
			} else if !errors.Is(err, ErrNotFound) {
				t.Fatalf("Lookup() = %v", err)
			}
			if want != "" {
				want = id(want)
			}
			if got != want {
				t.Errorf("Lookup() found image %q; want %q", got, want)
			}
			if exists, err := s.Exists(name, short); err != nil || exists != (want != "") {
				t.Errorf("Exists() = %v, %v; want %v", exists, err, want != "")
			}
		})
	}
}

func TestLookupSaysThatItCannotTell(t *testing.T) {
	s := lookupStore(t)
	for _, name := range []string{
		"", " ", "ALPHA", "localhost/Alpha", "a:", ":latest", "a/", "/a", "a@", "a//b", "a b", "a:-x",
		"a@sha256:1234", "a@md5:" + strings.Repeat("0", 32), "sha256:a0", "sha256:" + strings.ToUpper(id("a")), strings.ToUpper(id("a")),
		"docker://a", "dir:a", "dir:/tmp", "oci:a:b", "docker-archive:/x", "oci-archive:/x", "docker-daemon:a:b", "sif:x",
		"containers-storage:", "containers-storage:[vfs@/x]localhost/a", "https://quay.io/a", strings.Repeat("a", 256),
	} {
		img, err := s.Lookup(name, func() (ShortNames, error) { return ShortNames{}, nil })
		if err == nil || errors.Is(err, ErrNotFound) || !strings.HasPrefix(err.Error(), "look up image ") {
			t.Errorf("Lookup(%q) = %v, %v; want another error than ErrNotFound", name, img, err)
		}
	}
}

func TestLookupReadsShortNamesOnlyWhenNeeded(t *testing.T) {
	s := lookupStore(t)
	for _, name := range []string{"localhost/a", "docker.io/hub", "localhost/none", id("a"), "sha256:" + id("e"), "containers-storage:hub"} {
		_, _ = s.Lookup(name, noShortNames(t))
	}
	broken := errors.New("broken configuration")
	if _, err := s.Lookup("a", func() (ShortNames, error) { return ShortNames{}, broken }); !errors.Is(err, broken) {
		t.Errorf("Lookup() = %v; want the error of the configuration", err)
	}
}

func TestLookupPrefersTheImageOfAListForThisMachine(t *testing.T) {
	list := "sha256:" + id("f")
	record := func(image string) object {
		r := imageRecord(id(image), "", "quay.io/multi:"+image)
		r["big-data-names"] = []string{"manifest", "manifest-" + list}
		r["big-data-digests"] = object{"manifest": "sha256:" + id(image), "manifest-" + list: list}
		r["big-data-sizes"] = object{"manifest": 1, "manifest-" + list: 1}
		return r
	}
	dir := storeDir(t, encode(t, []object{record("a"), record("b"), record("c")}), nil)
	s := readGood(t, dir)
	index := fmt.Appendf(nil, `{"manifests":[
		{"digest":%q,"platform":{"os":"linux","architecture":"pdp11"}},
		{"digest":%q},
		{"digest":%q,"platform":{"os":"linux","architecture":%q}}]}`, "sha256:"+id("a"), "sha256:"+id("c"), "sha256:"+id("b"), runtime.GOARCH)
	path, err := Overlay.BigData(id("a"), "manifest-"+list)
	must(t, err)
	for _, image := range []string{"a", "b", "c"} {
		addBlob(t, dir, id(image), path[strings.LastIndexByte(path, '/')+1:], index)
	}
	img, err := s.Lookup("quay.io/multi@"+list, noShortNames(t))
	if err != nil || img.ID != id("b") {
		t.Errorf("Lookup() = %v, %v; want image b", img, err)
	}
}

func TestExistsDoesNotCountAnImageWithoutManifest(t *testing.T) {
	dir := storeDir(t, encode(t, []object{imageRecord(id("a"), "", "localhost/a:1")}), nil)
	s := readGood(t, dir)
	for _, content := range []string{"", "{", "{}"} {
		if content != "" {
			addBlob(t, dir, id("a"), "manifest", []byte(content))
		}
		if exists, err := s.Exists("localhost/a:1", noShortNames(t)); exists || err != nil {
			t.Errorf("Exists() with manifest %q = %v, %v; want false", content, exists, err)
		}
		if _, err := s.Lookup("localhost/a:1", noShortNames(t)); err != nil {
			t.Errorf("Lookup() with manifest %q = %v; want the image", content, err)
		}
		if found := s.ByDigest("sha256:" + id("a")); len(found) != 0 {
			t.Errorf("ByDigest() with manifest %q = %v; want none", content, found)
		}
	}
	addBlob(t, dir, id("a"), "manifest", []byte(`{"schemaVersion": 2, "config": {"digest": "sha256:c"}, "layers": []}`))
	if found := s.ByDigest("sha256:" + id("a")); len(found) != 1 {
		t.Errorf("ByDigest() = %v; want the image", found)
	}
}

func TestExistsSaysThatItMayNotReadAManifest(t *testing.T) {
	dir := storeDir(t, encode(t, []object{imageRecord(id("a"), "", "localhost/a:1")}), nil)
	addBlob(t, dir, id("a"), "manifest", []byte("{}"))
	must(t, os.Chmod(dir+"/overlay-images/"+id("a")+"/manifest", 0))
	s := readGood(t, dir)
	check := func() {
		if _, err := s.Exists("localhost/a:1", noShortNames(t)); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Exists() = %v; want that it is not permitted", err)
		}
	}
	if os.Geteuid() == 0 { // who may read everything
		asNobody(t, check)
	} else {
		check()
	}
}

func FuzzLookup(f *testing.F) {
	for _, name := range []string{
		"a", "localhost/a:1@sha256:" + id("a"), "containers-storage:[x]a@" + id("a"), "containers-storage:@", "sha256:", "dir:",
		"my_site.org/a", "[::1]:5/a", "A/b", "a:b/c:d@e", "nick@sha256:" + id("a"),
	} {
		f.Add(name)
	}
	s := lookupStore(f)
	f.Fuzz(func(t *testing.T, name string) {
		short := func() (ShortNames, error) {
			return ShortNames{Aliases: map[string]string{"nick": "docker.io/alias"}, Registries: []string{"quay.io/"}}, nil
		}
		img, err := s.Lookup(name, short)
		if (img == nil) == (err == nil) {
			t.Errorf("Lookup(%q) = %v, %v; want an image or an error", name, img, err)
		}
	})
}
