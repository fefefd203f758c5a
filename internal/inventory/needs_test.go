// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// layerOf is the layer that scratchHost.store makes for an image.
func layerOf(id string) string { return digestOf([]byte("layer of " + id))[len("sha256:"):] }

// overlay adds a layer's files to a store: its directory, its link, and the links of the
// layers below it.
func (h *scratchHost) overlay(path, layer string, below ...string) {
	h.Helper()
	dir := path + "/overlay/" + layer
	h.Mkdir(dir + "/diff")
	link := func(layer string) string { return strings.ToUpper(layer[:26]) }
	h.Write(dir+"/link", link(layer))
	if !h.Exists(path + "/overlay/l/" + link(layer)) {
		h.Link("../"+layer+"/diff", path+"/overlay/l/"+link(layer))
	}
	var lower []string
	for _, layer := range below {
		lower = append(lower, "l/"+link(layer))
	}
	if lower != nil {
		h.Write(dir+"/lower", strings.Join(lower, ":"))
	}
}

// contain adds a container to a store, whose own layer is above others.
func (h *scratchHost) contain(path, name, image string, below ...string) {
	h.Helper()
	id, layer := digestOf([]byte(name))[7:], digestOf([]byte("layer of " + name))[7:]
	h.Write(path+"/overlay-containers/containers.json", string(encode(h, []object{{
		"id": id, "names": []string{name}, "image": image, "layer": layer, "metadata": fmt.Sprintf(`{"name":%q}`, name),
	}})))
	h.Mkdir(path + "/overlay-images")
	h.overlay(path, layer, below...)
}

// needsOf returns who needs each image of the bootc store, in a line each, and the Needs
// themselves.
func needsOf(t *testing.T, h *scratchHost, ledger Ledger) (*Needs, map[string][]string) {
	t.Helper()
	n, problems := ReadNeeds(t.Context(), h.options(), ledger)
	t.Cleanup(n.Close)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	all := map[string][]string{}
	for _, img := range n.Bootc.Images {
		lines := []string{}
		for _, need := range n.Of(img) {
			if need.Deployment != nil {
				lines = append(lines, fmt.Sprintf("%s %s %s", need.Deployment.Role, need.By, need.Name))
			} else {
				lines = append(lines, fmt.Sprintf("%s %s", need.By, need.Name))
			}
		}
		all[img.ID] = lines
	}
	return n, all
}

// TestNeedsOfDeploymentsGoByPodmansNames has the ways to write an image that section 13 of
// the notes on bootc lists, of which bootc deletes nine.
func TestNeedsOfDeploymentsGoByPodmansNames(t *testing.T) {
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for _, test := range []struct{ written, stored string }{
		{"quay.io/x:1", "quay.io/x:1"},
		{"quay.io/x", "quay.io/x:latest"},
		{"localhost:5000/x", "localhost:5000/x:latest"},
		{"localhost/x", "localhost/x:latest"},
		{"other.example/a/b", "other.example/a/b:latest"},
		{"quay.io/x:1@" + digest, "quay.io/x@" + digest},
		{"quay.io/x@" + digest, "quay.io/x@" + digest},
		{"quay.io/x@" + digest, "quay.io/x:2"},
		{"hub:1", "docker.io/library/hub:1"},
		{"hub2", "docker.io/library/hub2:latest"},
		{"user/x:1", "docker.io/user/x:1"},
		{"docker.io/hub5:1", "docker.io/library/hub5:1"},
		{"docker.io/library/x:1", "docker.io/library/x:1"},
		{"docker://quay.io/x:1", "quay.io/x:1"},
		{"localhost/x:1", "localhost/x:1"},
		{"quay.io/x:MixedCase", "quay.io/x:MixedCase"},
		{"quay.io:443/x:1", "quay.io:443/x:1"},
	} {
		h := newHost(t)
		h.Write("etc/containers/registries.conf", "unqualified-search-registries = [\"docker.io\"]\n")
		id := h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")
		h.bind(rootOf(id), map[string]string{"app.container": test.written})
		ids := h.store(bootcStorage, stored{names: []string{test.stored}, digest: digest}, stored{names: []string{"quay.io/other:1"}}, stored{})
		_, got := needsOf(t, h, Ledger{})
		if want := []string{"booted bound-image " + test.written}; !slices.Equal(got[ids[0]], want) {
			t.Errorf("%s stored as %s: needed by %q, want %q", test.written, test.stored, got[ids[0]], want)
		}
		if len(got[ids[1]]) > 0 || len(got[ids[2]]) > 0 {
			t.Errorf("%s: other images needed: %v", test.written, got)
		}
	}
}

func TestNeedsCountDeploymentsOfEveryRole(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")
	rollback := h.deploy(commitOf("c"), "ostree-unverified-registry:quay.io/os")
	other := h.deploy(commitOf("d"), "ostree-unverified-registry:quay.io/old:1")
	h.bind(rootOf(rollback), map[string]string{"app.image": "quay.io/app:1"})
	h.bind(rootOf(other), map[string]string{"old.container": "quay.io/oldapp:1"})
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/os:1"}}, stored{names: []string{"quay.io/os:latest", "quay.io/extra:1"}},
		stored{names: []string{"quay.io/app:1"}}, stored{names: []string{"quay.io/old:1"}}, stored{names: []string{"quay.io/oldapp:1"}})
	_, got := needsOf(t, h, Ledger{})
	for i, want := range [][]string{
		{"booted origin docker://quay.io/os:1"},
		{"rollback origin docker://quay.io/os"},
		{"rollback bound-image quay.io/app:1"},
		{"other origin docker://quay.io/old:1"},
		{"other bound-image quay.io/oldapp:1"},
	} {
		if len(got[ids[i]]) != 1 || strings.ReplaceAll(got[ids[i]][0], "other ", "rollback ") != strings.ReplaceAll(want[0], "other ", "rollback ") {
			t.Errorf("image %d is needed by %q, want %q", i, got[ids[i]], want)
		}
	}
}

func TestNeedsOfComposefsHostsHaveBoundImagesAndDigests(t *testing.T) {
	h := newComposefsHost(t, map[string]string{"a": "docker://quay.io/os:1", "c": "docker://quay.io/os:2"})
	h.bind(".", map[string]string{"app.container": "quay.io/app"})
	ids := h.store("sysroot/composefs/bootc/storage", stored{names: []string{"quay.io/os:1"}}, stored{digest: "sha256:" + strings.Repeat("c", 64)},
		stored{names: []string{"quay.io/app:latest"}}, stored{names: []string{"quay.io/x:1"}})
	_, got := needsOf(t, h, Ledger{})
	for i, want := range [][]string{
		{"booted origin docker://quay.io/os:1"}, {"rollback origin docker://quay.io/os:2"}, {"booted bound-image quay.io/app"}, {},
	} {
		if !slices.Equal(got[ids[i]], want) {
			t.Errorf("image %d is needed by %q, want %q", i, got[ids[i]], want)
		}
	}
}

// TestAnExportedImageIsKnownByItsFormerDigest: podman push writes another manifest, which has
// the former digest in an annotation.
func TestAnExportedImageIsKnownByItsFormerDigest(t *testing.T) {
	for _, test := range []struct{ config, want string }{{"", "booted origin docker://quay.io/os:1"}, {"sha256:other", ""}} {
		h := newComposefsHost(t, map[string]string{"a": "docker://quay.io/os:1"})
		const path = "sysroot/composefs/bootc/storage"
		ids := h.store(path, stored{names: []string{"localhost/bootc:latest"}})
		h.Write(path+"/overlay-images/"+ids[0]+"/manifest", string(encode(t, object{
			"schemaVersion": 2, "config": object{"digest": "sha256:" + ids[0]},
			"annotations": object{cstorage.ExportedConfig: cmp.Or(test.config, "sha256:"+ids[0]), cstorage.OriginalDigest: "sha256:" + strings.Repeat("a", 64)},
		})))
		_, got := needsOf(t, h, Ledger{})
		if strings.Join(got[ids[0]], " ") != test.want {
			t.Errorf("exported from %q: needed by %q, want %q", test.config, got[ids[0]], test.want)
		}
	}
}

// TestAManifestListIsNeededWithItsImage: podman rmi removes the list by the name, and runs the
// image in it for this machine.
func TestAManifestListIsNeededWithItsImage(t *testing.T) {
	h := newHost(t)
	id := h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")
	h.bind(rootOf(id), map[string]string{"app.container": "quay.io/app:1"})
	digest, other := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/app:1"}}, stored{digest: digest}, stored{digest: other})
	h.Write(bootcStorage+"/overlay-images/"+ids[0]+"/manifest", string(encode(t, object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []object{
			{"digest": other, "platform": object{"os": "linux", "architecture": "none"}},
			{"digest": digest, "platform": object{"os": "linux", "architecture": runtime.GOARCH}},
		},
	})))
	_, got := needsOf(t, h, Ledger{})
	if len(got[ids[0]]) != 1 || len(got[ids[1]]) != 1 || len(got[ids[2]]) > 0 {
		t.Errorf("needed: %q", got)
	}
}

// TestNeedsOfOtherStoresGoByLinksBetweenLayers: a container and an image of another store,
// whose files are in the bootc store.
func TestNeedsOfOtherStoresGoByLinksBetweenLayers(t *testing.T) {
	for _, at := range []string{"var/lib/containers/storage", "srv/foreign", "home/user/.local/share/containers/storage", "sysroot/ostree/deploy/second/var/lib/containers/storage"} {
		h := newHost(t)
		h.deploy(commitOf("a"), "")
		h.Mkdir("sysroot/ostree/deploy/second/deploy/" + commitOf("e") + ".0")
		h.Write("sysroot/ostree/deploy/second/deploy/"+commitOf("e")+".0.origin", "[origin]\n")
		h.Link("../../../deploy/second/deploy/"+commitOf("e")+".0", "sysroot/ostree/boot.1/second/"+commitOf("b")+"/0")
		h.Write("sysroot/boot/loader/entries/ostree-9.conf", "version 1\noptions ostree=/ostree/boot.1/second/"+commitOf("b")+"/0\n")
		h.Write("etc/subuid", "user:100000:65536\n")
		h.Write("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
		ids := h.store(bootcStorage, stored{names: []string{"quay.io/a:1"}}, stored{names: []string{"quay.io/b:1"}}, stored{names: []string{"quay.io/c:1"}})
		for _, id := range ids {
			h.overlay(bootcStorage, layerOf(id))
		}
		h.contain(at, "foreign", ids[0], layerOf(ids[0]))
		own, layer := digestOf([]byte("own"))[7:], digestOf([]byte("own layer"))[7:]
		h.Write(at+"/overlay-images/images.json", string(encode(h, []object{imageRecord(own, layer, "localhost/own:1"), imageRecord(ids[2], layerOf(ids[2]), "localhost/linked:1")})))
		h.overlay(at, layer, layerOf(ids[1]))
		ledger := Ledger{}
		if at == "srv/foreign" {
			ledger.GraphRoots = []string{"/srv/foreign"}
		}
		_, got := needsOf(t, h, ledger)
		for i, want := range []string{"container foreign", "image localhost/own:1", "image localhost/linked:1"} {
			if !slices.Equal(got[ids[i]], []string{want}) {
				t.Errorf("%s: image %d is needed by %q, want %q", at, i, got[ids[i]], want)
			}
		}
	}
}

func TestNeedsOfMountedContainersAndOfTheLedger(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("a"), "")
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/a:1"}}, stored{names: []string{"quay.io/b:1"}}, stored{names: []string{"quay.io/c:1"}})
	h.overlay(bootcStorage, layerOf(ids[0]))
	h.contain("srv/mounted", "mounted", ids[0], layerOf(ids[0]))
	h.Write("proc/self/mountinfo", "36 35 0:40 / /srv/mounted/overlay/"+commitOf("f")+"/merged rw - overlay overlay rw,lowerdir=x\n")
	h.contain(bootcStorage, "own", ids[1])
	_, got := needsOf(t, h, Ledger{Uses: []Use{{By: ByContainer, ID: commitOf("9"), Name: "leased", Store: "/gone", Image: ids[2]}}})
	for i, want := range []string{"container mounted", "container own", "container leased"} {
		if !slices.Equal(got[ids[i]], []string{want}) {
			t.Errorf("image %d is needed by %q, want %q", i, got[ids[i]], want)
		}
	}
}

// TestContainersOfOwnLayersNeedNothing: the image has the same ID in both stores.
func TestContainersOfOwnLayersNeedNothing(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("a"), "")
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/a:1"}})
	h.overlay(bootcStorage, layerOf(ids[0]))
	h.contain("var/lib/containers/storage", "own", ids[0], layerOf(ids[0]))
	h.overlay("var/lib/containers/storage", layerOf(ids[0]))
	if _, got := needsOf(t, h, Ledger{}); len(got[ids[0]]) > 0 {
		t.Errorf("needed by %q", got[ids[0]])
	}
}

// TestNeedsOfTheStoresOfTheConfiguration has podman's own graph roots: the configured and the
// default one, and the run root of a transient store.
func TestNeedsOfTheStoresOfTheConfiguration(t *testing.T) {
	const other = "[storage]\ngraphroot = \"/srv/other\"\n"
	for _, test := range []struct{ name, conf, at, records string }{
		{name: "configured", conf: other, at: "srv/other"},
		{name: "default", conf: other, at: "var/lib/containers/storage"},
		{name: "transient", conf: other + "runroot = \"/run/other\"\n", at: "srv/other", records: "run/other"},
		{name: "by two paths", conf: "[storage]\ngraphroot = \"/srv/link\"\n", at: "var/lib/containers/storage"},
	} {
		h := newHost(t)
		h.deploy(commitOf("a"), "")
		ids := h.store(bootcStorage, stored{names: []string{"quay.io/a:1"}})
		h.overlay(bootcStorage, layerOf(ids[0]))
		h.Write("etc/containers/storage.conf", test.conf)
		h.Link("/var/lib/containers/storage", "srv/link")
		h.contain(test.at, "c", ids[0], layerOf(ids[0]))
		if test.records != "" {
			h.Mkdir(test.records)
			must(t, os.Rename(h.Path(test.at+"/overlay-containers"), h.Path(test.records+"/overlay-containers")))
			must(t, os.Rename(h.Path(test.records+"/overlay-containers/containers.json"), h.Path(test.records+"/overlay-containers/volatile-containers.json")))
		}
		if _, got := needsOf(t, h, Ledger{}); !slices.Equal(got[ids[0]], []string{"container c"}) {
			t.Errorf("%s: needed by %q", test.name, got[ids[0]])
		}
	}
}

// TestAContainerNeedsItsImageOfThoseWithItsLayer: and any one of them where its image is not
// in the bootc store, or is one of its own store.
func TestAContainerNeedsItsImageOfThoseWithItsLayer(t *testing.T) {
	for name, lost := range map[string][3]int{"its image": {0, 1, 1}, "an image of its own store": {0, 0, 2}, "an unknown image": {0, 0, 2}} {
		h := newHost(t)
		h.deploy(commitOf("a"), "")
		ids := h.store(bootcStorage, stored{names: []string{"quay.io/a:1"}}, stored{names: []string{"quay.io/b:1"}})
		shared := layerOf(ids[0])
		h.Write(bootcStorage+"/overlay-images/images.json", string(encode(h, []object{imageRecord(ids[0], shared, "quay.io/a:1"), imageRecord(ids[1], shared, "quay.io/b:1")})))
		h.overlay(bootcStorage, shared)
		const own = "var/lib/containers/storage"
		image := ids[1]
		if name == "an unknown image" {
			image = commitOf("f")
		}
		h.contain(own, "c", image, shared)
		if name == "an image of its own store" {
			h.overlay(own, layerOf(ids[1]))
			h.Write(own+"/overlay-images/images.json", string(encode(h, []object{imageRecord(ids[1], layerOf(ids[1]), "localhost/b:1")})))
		}
		n, _ := needsOf(t, h, Ledger{})
		for i, gone := range [][]string{ids[:1], ids[1:], ids} {
			got := n.Lost(n.Bootc.After(func(img *cstorage.Image) ([]string, bool) { return img.Names, !slices.Contains(gone, img.ID) }))
			if len(got) != lost[i] {
				t.Errorf("%s: without %d of the images: lost %v, want %d", name, len(gone), got, lost[i])
			}
		}
	}
}

// TestStoresThatUsersWriteToMayBeUnreadable: else any user could have every removal refused.
func TestStoresThatUsersWriteToMayBeUnreadable(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("a"), "")
	h.store(bootcStorage, stored{names: []string{"quay.io/a:1"}})
	h.Write("etc/subuid", "loop:1:1\ndamaged:2:1\n")
	h.Write("etc/passwd", "loop:x:1:1::/home/loop:/bin/sh\ndamaged:x:2:2::/home/damaged:/bin/sh\n")
	h.Link("storage", "home/loop/.local/share/containers/storage")
	h.Mkdir("home/damaged/.local/share/containers/storage/overlay-images")
	h.Write("home/damaged/.local/share/containers/storage/overlay-containers/containers.json", "{")
	needsOf(t, h, Ledger{})
}

func TestLostIsWhatAChangeTakesAway(t *testing.T) {
	h := newHost(t)
	h.Write("etc/containers/registries.conf", "unqualified-search-registries = [\"docker.io\"]\n")
	id := h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")
	h.bind(rootOf(id), map[string]string{"app.container": "app:1"})
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/os:1", "quay.io/os:2"}},
		stored{names: []string{"localhost/app:1"}}, stored{names: []string{"docker.io/library/app:1", "quay.io/x:1"}})
	n, _ := needsOf(t, h, Ledger{})
	for _, test := range []struct {
		name string
		// without are the names taken away, gone the images.
		without, gone []string
		want          int
	}{
		{name: "nothing"},
		{name: "another name", without: []string{"quay.io/os:2", "quay.io/x:1"}},
		{name: "the name of the origin", without: []string{"quay.io/os:1"}, want: 1},
		{name: "an image that a bound name would mean next", gone: ids[2:]},
		{name: "the image that a bound name means", gone: ids[1:2], want: 1},
		{name: "all", gone: ids, want: 2},
	} {
		after := n.Bootc.After(func(img *cstorage.Image) ([]string, bool) {
			return slices.DeleteFunc(slices.Clone(img.Names), func(name string) bool { return slices.Contains(test.without, name) }), !slices.Contains(test.gone, img.ID)
		})
		if got := n.Lost(after); len(got) != test.want {
			t.Errorf("%s: lost %v", test.name, got)
		}
	}
}

func TestNeedsAreNotKnownWhereSomethingCannotBeRead(t *testing.T) {
	for name, damage := range map[string]func(h *scratchHost){
		"origin": func(h *scratchHost) {
			h.Write(rootOf("default/"+commitOf("a")+".0")+".origin", "[origin]\ncontainer-image-reference=bad\n")
		},
		"bound image": func(h *scratchHost) { h.Write("usr/lib/bootc/bound-images.d/x.container", "") },
		"store":       func(h *scratchHost) { h.Write(bootcStorage+"/overlay-images/images.json", "{") },
		"own store":   func(h *scratchHost) { h.Write("var/lib/containers/storage/overlay-containers/containers.json", "{") },
		"default store": func(h *scratchHost) {
			h.Write("etc/containers/storage.conf", "[storage]\ngraphroot = \"/srv/other\"\n")
			h.Write("var/lib/containers/storage/overlay-containers/containers.json", "{")
		},
		"graph root": func(h *scratchHost) {
			h.Write("etc/containers/storage.conf", "[storage]\ngraphroot = \"/srv/loop\"\n")
			h.Link("loop", "srv/loop")
		},
		"store of a stateroot": func(h *scratchHost) {
			h.Mkdir("sysroot/ostree/deploy/default/var/lib/containers/storage/overlay-images")
			h.Write("sysroot/ostree/deploy/default/var/lib/containers/storage/overlay-containers/containers.json", "{")
		},
		"own containers": func(h *scratchHost) { h.Write(bootcStorage+"/overlay-containers/containers.json", "{") },
		"short names":    func(h *scratchHost) { h.Write("etc/containers/registries.conf", "[") },
		"storage.conf":   func(h *scratchHost) { h.Write("etc/containers/storage.conf", "[") },
	} {
		h := newHost(t)
		h.bind(rootOf(h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")), map[string]string{"a.container": "short"})
		h.store(bootcStorage, stored{names: []string{"quay.io/os:1"}})
		h.Mkdir("var/lib/containers/storage/overlay-images")
		damage(h)
		n, problems := ReadNeeds(t.Context(), h.options(), Ledger{})
		n.Close()
		if len(problems) == 0 {
			t.Errorf("%s: no problem", name)
		}
	}
}

func TestAHostWithoutAStoreNeedsNothing(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")
	n, problems := ReadNeeds(t.Context(), h.options(), Ledger{})
	if n.Close(); len(problems) > 0 || n.Bootc != nil {
		t.Errorf("got %v, store %v", problems, n.Bootc)
	}
}

func TestReadingNeedsLeavesNoDescriptorOpen(t *testing.T) {
	h := newHost(t)
	h.bind(rootOf(h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")), map[string]string{"a.container": "quay.io/a:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/os:1"}})
	before := descriptors(t)
	n, _ := ReadNeeds(t.Context(), h.options(), Ledger{GraphRoots: []string{"/none"}})
	n.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}
