// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// newInspected is a host with an image in its ostree repository, another image of the same
// name and one with two names in the bootc store, and both in podman's own store, where the
// layer of one is damaged. It has a bound image that is missing.
func newInspected(t *testing.T) (h *scratchHost, ids, own []string) {
	t.Helper()
	h = newHost(t)
	a := h.deploy(h.commit("1", "docker://quay.io/example/os:42"), quay+"os:42")
	units := map[string]string{"a.image": "quay.io/example/app:1", "b.image": "quay.io/example/absent"}
	h.bind(rootOf(a), units)
	h.bind(".", units)
	ids = h.store(bootcStorage, stored{names: []string{"quay.io/example/os:42"}, size: 5},
		stored{names: []string{"quay.io/example/app:1", "localhost/mine:2"}, size: 10})
	own = h.store("var/lib/containers/storage", stored{names: []string{"docker.io/library/busybox:latest"}, size: 7})
	return h, ids, own
}

// described is a line for each place: store, relation and names.
func described(in Inspection) (lines []string) {
	for _, p := range in.Places {
		lines = append(lines, fmt.Sprintf("%s %s %s", p.Store, p.Relation, strings.Join(p.Names, " ")))
	}
	return lines
}

func TestInspectFindsAnImageInAllPlaces(t *testing.T) {
	h, ids, own := newInspected(t)
	os42 := []string{"ostree first docker://quay.io/example/os:42", "bootc other quay.io/example/os:42"}
	app := []string{"bootc first quay.io/example/app:1 localhost/mine:2"}
	for name, want := range map[string][]string{
		"quay.io/example/os:42": os42, "docker://quay.io/example/os:42": os42, "os:42": os42,
		"sha256:" + commitOf("1"): os42[:1], commitOf("1"): os42[:1], commitOf("1")[:10]: os42[:1],
		"quay.io/example/os@sha256:" + commitOf("1"): os42[:1],
		ids[1]:               app,
		"sha256:" + ids[1]:   app,
		ids[1][:9]:           app,
		"localhost/mine:2":   app,
		"app:1":              app,
		"busybox":            {"default first docker.io/library/busybox:latest"},
		own[0]:               {"default first docker.io/library/busybox:latest"},
		"example/absent":     {"bootc first quay.io/example/absent"},
		"quay.io/example/os": nil, "sha256:" + commitOf("2"): nil, "": nil, "UPPER": nil, "a b": nil, "dir:/x": nil, "docker://": nil,
	} {
		found, problems := Inspect(t.Context(), h.options(), []string{name})
		if want == nil {
			if len(found) != 0 || len(problems) != 1 || !errors.Is(problems[0], ErrNotKnown) {
				t.Errorf("%q: got %v, %v", name, found, problems)
			}
			continue
		}
		wantProblems(t, problems)
		if len(found) != 1 || found[0].Name != name || !slices.Equal(described(found[0]), want) {
			t.Errorf("%q: got %+v, want %q", name, found, want)
		}
	}
}

func TestInspectRelatesAnExportedImage(t *testing.T) {
	h := newHost(t)
	h.deploy(h.commit("1", "docker://quay.io/example/os:42"), quay+"os:42")
	ids := h.store("var/lib/containers/storage", stored{names: []string{"localhost/bootc:latest"}})
	addBlob(t, h.Path("var/lib/containers/storage"), ids[0], "manifest", fmt.Appendf(nil,
		`{"schemaVersion":2,"config":{"digest":"sha256:%s"},"annotations":{"io.bootc-podman.original-digest":"sha256:%s","io.bootc-podman.exported-config":"sha256:%s"}}`,
		ids[0], commitOf("1"), ids[0]))
	want := []string{"ostree first docker://quay.io/example/os:42", "default exported localhost/bootc:latest"}
	for _, name := range []string{"quay.io/example/os:42", "localhost/bootc"} {
		found, problems := Inspect(t.Context(), h.options(), []string{name})
		wantProblems(t, problems)
		if len(found) != 1 || !slices.Equal(described(found[0]), want) || found[0].Places[1].Original != "sha256:"+commitOf("1") {
			t.Errorf("%s: got %+v, want %q", name, found, want)
		}
	}
}

func TestInspectSaysWhetherAnImageIsWhole(t *testing.T) {
	h, _, _ := newInspected(t)
	whole := func(name string, place int) (Wholeness, string) {
		t.Helper()
		found, problems := Inspect(t.Context(), h.options(), []string{name})
		wantProblems(t, problems)
		p := found[0].Places[place]
		return p.State, p.Damage
	}
	if is, damage := whole("quay.io/example/absent", 0); is != Missing || damage != "" {
		t.Errorf("missing: got %v, %q", is, damage)
	}
	// The commit's layers have no refs.
	if is, damage := whole("os:42", 0); is != Damaged || !strings.Contains(damage, "ostree/container/blob/sha256_3A_l") {
		t.Errorf("without layers: got %v, %q", is, damage)
	}
	commit := h.Read("sysroot/ostree/repo/refs/heads/ostree/container/image/docker_3A__2F__2F_quay_2E_io/example/os_3A_42")
	for _, layer := range []string{"l", "1"} {
		h.Write("sysroot/ostree/repo/refs/heads/ostree/container/blob/sha256_3A_"+layer, commit)
	}
	if is, damage := whole("os:42", 0); is != Whole || damage != "" {
		t.Errorf("with layers: got %v, %q", is, damage)
	}
	if is, damage := whole("busybox", 0); is != Damaged || !strings.Contains(damage, "is missing") {
		t.Errorf("without directories: got %v, %q", is, damage)
	}
}

func TestInspectSaysWhatWasNotLookedAt(t *testing.T) {
	h, _, _ := newInspected(t)
	must(t, os.Remove(h.Path(bootcStorage+"/overlay-images/images.json")))
	h.Write(bootcStorage+"/overlay-images/images.json", "{")
	found, problems := Inspect(t.Context(), h.options(), []string{"os:42", "nothing"})
	if len(problems) != 2 || !errors.Is(problems[1], ErrNotKnown) {
		t.Errorf("got problems %v", problems)
	}
	if len(found) != 1 || !slices.Equal(found[0].NotLooked, []StoreName{BootcStore}) {
		t.Errorf("got %+v", found)
	}
}

func TestInspectOfLayersInCommon(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("c"), "")
	one := stored{names: []string{"localhost/one:1"}, size: 100}
	h.store(bootcStorage, one)
	h.store("var/lib/containers/storage", one)
	found, problems := Inspect(t.Context(), h.options(), []string{"one:1"})
	wantProblems(t, problems)
	places := found[0].Places
	if len(places) != 2 || places[1].Relation != Same {
		t.Fatalf("got %+v", places)
	}
	for i, other := range []StoreName{DefaultStore, BootcStore} {
		if want := []Shared{{Store: other, Layers: 1, Size: 100}}; !slices.Equal(places[i].Shared, want) {
			t.Errorf("place %d: got %+v, want %+v", i, places[i].Shared, want)
		}
	}
}

func TestInspectIsAsDocumentedInJSON(t *testing.T) {
	h, _, _ := newInspected(t)
	found, problems := Inspect(t.Context(), h.options(), []string{"os:42", "app:1", "example/absent", "busybox"})
	wantProblems(t, problems)
	conforms(t, "inspect-v1", encode(t, found))
	schema := readSchema(t, "inspect-v1")
	sameMembers(t, schema, schema, reflect.TypeFor[[]Inspection](), "inspect")
}
