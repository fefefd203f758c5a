// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
)

// forecast returns what bootc removes of a host, and fails with any problem.
func forecast(t *testing.T, h *scratchHost) *Forecast {
	t.Helper()
	n, problems := ReadNeeds(t.Context(), h.options(), Ledger{})
	t.Cleanup(n.Close)
	f, more := n.Forecast()
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	conforms(t, "gc-v1", encode(t, f))
	return f
}

// TestForecastComparesNamesAsBootcDoes has an image in the store and how a deployment
// writes it. The first seventeen are what bootc 1.16.9 was seen to keep and to remove, but
// for three that it does not pull.
func TestForecastComparesNamesAsBootcDoes(t *testing.T) {
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for _, test := range []struct {
		origin, bound string
		stored        []string
		// why is "" for an image that bootc keeps.
		why     Why
		blocked Blocked
		// unneeded is that nothing needs the image.
		unneeded bool
	}{
		{bound: "quay.io:443/x:1", stored: []string{"quay.io:443/x:1"}},
		{bound: "quay.io/x@" + digest, stored: []string{"quay.io/x@" + digest}},
		{bound: "docker.io/library/x:1", stored: []string{"docker.io/library/x:1"}},
		{bound: "localhost/x:1", stored: []string{"localhost/x:1"}},
		{bound: "quay.io/x:MixedCase", stored: []string{"quay.io/x:MixedCase"}},
		{bound: "quay.io/x", stored: []string{"quay.io/x:latest"}, why: SpelledOtherwise},
		{bound: "localhost:5000/x", stored: []string{"localhost:5000/x:latest"}, why: SpelledOtherwise},
		{bound: "localhost/x", stored: []string{"localhost/x:latest"}, why: SpelledOtherwise},
		{bound: "quay.io/x:1@" + digest, stored: []string{"quay.io/x@" + digest}, why: SpelledOtherwise},
		{bound: "hub:1", stored: []string{"docker.io/library/hub:1"}, why: SpelledOtherwise},
		{bound: "hub2", stored: []string{"docker.io/library/hub2:latest"}, why: SpelledOtherwise},
		{bound: "user/x:1", stored: []string{"docker.io/user/x:1"}, why: SpelledOtherwise},
		{bound: "docker.io/hub5:1", stored: []string{"docker.io/library/hub5:1"}, why: SpelledOtherwise},
		{bound: "docker://quay.io/x:1", stored: []string{"quay.io/x:1"}, why: SpelledOtherwise},

		{bound: "quay.io/x@" + digest, stored: []string{"quay.io/x:1"}, why: SpelledOtherwise},
		{bound: "quay.io/x:1", stored: []string{"quay.io/x:1", "quay.io/y:1"}},
		{bound: "quay.io/x", stored: []string{"quay.io/x:latest", "quay.io/y:1"}, why: SpelledOtherwise, blocked: SeveralNames},
		{bound: "quay.io/x:2", stored: []string{"quay.io/x:1"}, why: NotNamed, unneeded: true},
		{bound: "", stored: []string{"quay.io/x:1"}, why: NotNamed, unneeded: true},
		{stored: []string{"quay.io/x:1"}, why: NotNamed, unneeded: true},
		{stored: []string{"quay.io/x:1", "quay.io/x:2"}, why: NotNamed, blocked: SeveralNames, unneeded: true},
		{stored: nil, why: WithoutName, unneeded: true},
		{origin: "ostree-unverified-registry:quay.io/x:1", stored: []string{"quay.io/x:1"}},
		{origin: "ostree-unverified-registry:quay.io/x", stored: []string{"quay.io/x:latest"}, why: SpelledOtherwise},
		{origin: "ostree-unverified-registry:quay.io/x:1@" + digest, stored: []string{"quay.io/x@" + digest}, why: SpelledOtherwise},
		{origin: "ostree-unverified-image:containers-storage:localhost/x:1", stored: []string{"localhost/x:1"}},
		{origin: "ostree-unverified-image:containers-storage:localhost/x", stored: []string{"localhost/x:latest"}, why: SpelledOtherwise},
		{origin: "ostree-unverified-image:oci:/var/x", stored: []string{"localhost/x:1"}, why: NotNamed, unneeded: true},
		{origin: "ostree-unverified-registry:hub:1", stored: []string{"docker.io/library/hub:1"}, why: SpelledOtherwise},
		{origin: "ostree-image-signed:docker://quay.io/x:1", bound: "quay.io/x:1", stored: []string{"quay.io/x:1"}},
	} {
		h := newHost(t)
		h.Write("etc/containers/registries.conf", "unqualified-search-registries = [\"docker.io\"]\n")
		id := h.deploy(commitOf("a"), test.origin)
		if test.bound != "" {
			h.bind(rootOf(id), map[string]string{"app.container": test.bound})
			h.bind(".", map[string]string{"app.container": test.bound})
		}
		ids := h.store(bootcStorage, stored{names: test.stored, digest: digest, size: 5})
		f := forecast(t, h)
		name := fmt.Sprintf("follows %q, binds %q, has %q", test.origin, test.bound, test.stored)
		if !f.Collects || f.Fails != (test.blocked != "") {
			t.Errorf("%s: collects %t, fails %t", name, f.Collects, f.Fails)
		}
		var why Why
		if len(f.Images) > 0 {
			why = f.Images[0].Why
			if d := f.Images[0]; d.ID != ids[0] || d.Blocked != test.blocked || (len(d.Needs) == 0) != test.unneeded {
				t.Errorf("%s: got %+v", name, d)
			}
		}
		if why != test.why || (len(f.Unneeded) > 0) != test.unneeded {
			t.Errorf("%s: removed because of %q, want %q; unneeded %v", name, why, test.why, f.Unneeded)
		}
	}
}

func TestForecastOfAllDeploymentsAndContainers(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1")
	other := h.deploy(commitOf("c"), "ostree-unverified-registry:quay.io/os:2")
	h.bind(rootOf(other), map[string]string{"app.container": "quay.io/app:1"})
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/os:1"}}, stored{names: []string{"quay.io/os:2"}}, stored{names: []string{"quay.io/app:1"}},
		stored{names: []string{"quay.io/used:1", "quay.io/used:2"}}, stored{names: []string{"quay.io/foreign:1"}})
	h.overlay(bootcStorage, layerOf(ids[4]))
	h.contain(bootcStorage, "own", ids[3])
	h.contain("var/lib/containers/storage", "foreign", ids[4], layerOf(ids[4]))
	f := forecast(t, h)
	var got []string
	for _, d := range f.Images {
		got = append(got, fmt.Sprint(d.Names, d.Why, d.Blocked, len(d.Needs)))
	}
	if want := []string{"[quay.io/used:1 quay.io/used:2]no-deploymentin-use1", "[quay.io/foreign:1]no-deployment1"}; !slices.Equal(got, want) || len(f.Unneeded) > 0 {
		t.Errorf("got %q, want %q; unneeded %v", got, want, f.Unneeded)
	}
}

func TestForecastOfComposefsHosts(t *testing.T) {
	for _, test := range []struct {
		origin, bound, stored string
		why                   Why
		none                  bool
	}{
		{origin: "docker://quay.io/os:1", stored: "quay.io/os:1"},
		{origin: "docker://quay.io/os", stored: "quay.io/os:latest", why: SpelledOtherwise},
		{origin: "docker://quay.io/os:1", bound: "quay.io/app:1", stored: "quay.io/app:1", why: BoundOnComposefs},
		{origin: "docker://quay.io/os:1", bound: "quay.io/app", stored: "quay.io/app:latest", why: BoundOnComposefs},
		{origin: "docker://quay.io/os:1", stored: "quay.io/x:1", why: NotNamed},
	} {
		h := newComposefsHost(t, map[string]string{"a": test.origin})
		if test.bound != "" {
			h.bind(".", map[string]string{"app.container": test.bound})
		}
		h.store("sysroot/composefs/bootc/storage", stored{names: []string{test.stored}})
		f := forecast(t, h)
		var why Why
		if len(f.Images) > 0 {
			why = f.Images[0].Why
		}
		if why != test.why || !f.Collects || f.CollectsRefs {
			t.Errorf("%+v: got %+v", test, f)
		}
	}
}

// TestForecastIsEmptyWhereBootcGivesUp: a deployment that cannot be read, and a composefs
// host of which no image is known.
func TestForecastIsEmptyWhereBootcGivesUp(t *testing.T) {
	h := newHost(t)
	h.Write(rootOf(h.deploy(commitOf("a"), "ostree-unverified-registry:quay.io/os:1"))+".origin", "[origin]\ncontainer-image-reference=bad\n")
	h.store(bootcStorage, stored{names: []string{"quay.io/x:1"}})
	n, problems := ReadNeeds(t.Context(), h.options(), Ledger{})
	defer n.Close()
	if f, _ := n.Forecast(); f.Collects || len(f.Images) > 0 || len(problems) == 0 {
		t.Errorf("got %+v", f)
	}
	c := newComposefsHost(t, nil)
	c.Write("proc/cmdline", "composefs="+verity("a")+"\n")
	c.store("sysroot/composefs/bootc/storage", stored{names: []string{"quay.io/x:1"}})
	n, _ = ReadNeeds(t.Context(), c.options(), Ledger{})
	defer n.Close()
	if f, _ := n.Forecast(); f.Collects || len(f.Images) > 0 {
		t.Errorf("got %+v", f)
	}
}

func TestForecastOfTheRepository(t *testing.T) {
	t.Run("with a bootc store", func(t *testing.T) { testForecastOfTheRepository(t, true) })
	t.Run("without", func(t *testing.T) { testForecastOfTheRepository(t, false) })
}

func testForecastOfTheRepository(t *testing.T, stored bool) {
	t.Helper()
	h := newHost(t)
	booted := h.commit("a", "docker://quay.io/os:1")
	h.commit("d", "docker://quay.io/os:2", "containers-storage:quay.io/os:1")
	h.deploy(booted, "ostree-unverified-registry:quay.io/os:1")
	if stored {
		h.store(bootcStorage)
	}
	for _, digest := range []string{"sha256:a", "sha256:d", "sha256:l", "sha256:" + strings.Repeat("9", 64)} {
		escaped, err := ostree.EscapeRef(digest)
		must(t, err)
		h.Write("sysroot/ostree/repo/refs/heads/"+ostree.LayerRefPrefix+escaped, booted+"\n")
	}
	f := forecast(t, h)
	slices.Sort(f.Refs)
	slices.Sort(f.Layers)
	if want := []string{"containers-storage:quay.io/os:1", "docker://quay.io/os:2"}; !f.CollectsRefs || !slices.Equal(f.Refs, want) {
		t.Errorf("removes %q, want %q", f.Refs, want)
	}
	if want := []string{"sha256:" + strings.Repeat("9", 64), "sha256:d"}; !slices.Equal(f.Layers, want) {
		t.Errorf("removes layers %q, want %q", f.Layers, want)
	}
	if f.Kind != host.OSTree || f.Collects != stored {
		t.Errorf("kind %s, collects %t", f.Kind, f.Collects)
	}
}

func TestForecastHasASchema(t *testing.T) {
	root := readSchema(t, "gc-v1")
	sameMembers(t, root, root, reflect.TypeFor[Forecast](), "gc")
}
