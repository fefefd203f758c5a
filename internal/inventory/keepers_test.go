// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"reflect"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

// follow is a deployment made from an image.
func follow(commit, image string) host.Deployment {
	d := host.Deployment{Stateroot: "default", Commit: commit}
	if image != "" {
		ref, err := host.ParseImageReference(image)
		if err != nil {
			panic(err)
		}
		d.Image = &host.SignedReference{Image: ref}
	}
	return d
}

func TestFindKeepersTakesAllNamesOfAllDeployments(t *testing.T) {
	a, b := follow("a", "docker://quay.io/x:1"), follow("b", "containers-storage:quay.io/x:1")
	h := &host.Host{Kind: host.OSTree, Deployments: []host.Deployment{a, b}}
	k := findKeepers(h, map[string][]host.BoundImage{
		a.ID(): {{Image: "quay.io/y"}, {Image: "quay.io/x:1"}, {Image: "quay.io/y"}},
		b.ID(): {{Image: "quay.io/y"}},
	}, true)
	want := map[string][]Keeper{
		"quay.io/x:1": {{a.ID(), ByOrigin}, {a.ID(), ByBinding}, {b.ID(), ByOrigin}},
		"quay.io/y":   {{a.ID(), ByBinding}, {b.ID(), ByBinding}},
	}
	if !reflect.DeepEqual(k.names, want) {
		t.Errorf("names are %v, want %v", k.names, want)
	}
	// The ostree repository has transports, and nothing bound.
	want = map[string][]Keeper{"docker://quay.io/x:1": {{a.ID(), ByOrigin}}, "containers-storage:quay.io/x:1": {{b.ID(), ByOrigin}}}
	if !reflect.DeepEqual(k.refs, want) {
		t.Errorf("refs are %v, want %v", k.refs, want)
	}
	if got, want := k.of([]string{"quay.io/y", "quay.io/z", "quay.io/x:1", "quay.io/y"}), []Keeper{
		{a.ID(), ByBinding}, {b.ID(), ByBinding}, {a.ID(), ByOrigin}, {b.ID(), ByOrigin},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("of() = %v, want %v", got, want)
	}
}

func TestFindKeepersKnowsWhatBootcCollects(t *testing.T) {
	incompatible := host.Deployment{Commit: "c", Incompatible: true}
	for _, test := range []struct {
		name        string
		kind        host.Kind
		deployments []host.Deployment
		incomplete  bool
		names, refs bool
	}{
		{name: "ostree", kind: host.OSTree, deployments: []host.Deployment{follow("a", "docker://x:1")}, names: true, refs: true},
		{name: "ostree without image", kind: host.OSTree, deployments: []host.Deployment{follow("a", "")}, names: true, refs: true},
		{name: "not all read", kind: host.OSTree, deployments: []host.Deployment{follow("a", "docker://x:1")}, incomplete: true},
		{name: "packages layered on what is not known", kind: host.OSTree, deployments: []host.Deployment{follow("a", "docker://x:1"), incompatible}, names: true},
		{name: "composefs", kind: host.Composefs, deployments: []host.Deployment{follow("a", "docker://x:1")}, names: true},
		{name: "composefs without image", kind: host.Composefs, deployments: []host.Deployment{follow("a", "")}},
		{name: "no host"},
	} {
		k := findKeepers(&host.Host{Kind: test.kind, Deployments: test.deployments}, nil, !test.incomplete)
		if k.namesDecided != test.names || k.refsDecided != test.refs {
			t.Errorf("%s: names %t, refs %t; want %t, %t", test.name, k.namesDecided, k.refsDecided, test.names, test.refs)
		}
	}
}

func TestFindKeepersKeepsTheRefThatPackagesWereLayeredOn(t *testing.T) {
	d := follow("a", "docker://quay.io/x:1")
	d.Incompatible, d.Layered, d.Image = true, d.Image, nil
	k := findKeepers(&host.Host{Kind: host.OSTree, Deployments: []host.Deployment{d}}, nil, true)
	if len(k.names) != 0 || len(k.refs["docker://quay.io/x:1"]) != 1 || !k.refsDecided {
		t.Errorf("got %+v", k)
	}
}

func TestFindKeepersIgnoresBoundImagesOnComposefs(t *testing.T) {
	d := follow("a", "docker://quay.io/x:1")
	k := findKeepers(&host.Host{Kind: host.Composefs, Deployments: []host.Deployment{d}}, map[string][]host.BoundImage{d.ID(): {{Image: "quay.io/y:1"}}}, true)
	if got := k.of([]string{"quay.io/y:1"}); got != nil {
		t.Errorf("kept by %v", got)
	}
}
