// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"strings"
	"testing"
	"time"
)

func TestRefreshWithoutCredentialsDoesNotStopOtherImages(t *testing.T) {
	h, _ := booted(t, imageName, nil, nil)
	podman := &fakePodman{scratchHost: h, images: []stored{
		{names: []string{"quay.io/a/outdated:1"}, digest: otherDigest},
		{names: []string{"quay.io/a/other:1"}, digest: bootedDigest},
	}}
	var out strings.Builder
	o := podman.options()
	o.Host.DryRun = &out
	gone := podman.Path("etc/gone.json")
	list, err := Refresh(t.Context(), o, []Wanted{
		{Name: "quay.io/a/outdated:1", AuthFile: gone},
		{Name: "quay.io/a/missing:1", AuthFile: gone},
		{Name: "quay.io/a/other:1"},
		{Name: "quay.io/a/new:1"},
	}, 1, time.Now())
	if len(list) != 2 || list[0].Image != "quay.io/a/other:1" || list[1].Image != "quay.io/a/new:1" {
		t.Errorf("got %+v", list)
	}
	for _, name := range []string{"outdated", "missing"} {
		if err == nil || !strings.Contains(err.Error(), "refresh quay.io/a/"+name+":1: ") || strings.Contains(out.String(), name) {
			t.Errorf("got %v, %s", err, out.String())
		}
	}
	for _, name := range []string{"other", "new"} {
		if !strings.Contains(out.String(), "pull") || !strings.Contains(out.String(), name) {
			t.Errorf("%s is not pulled: %s", name, out.String())
		}
	}
}

func TestNamesThatARefreshGaveAreRecognized(t *testing.T) {
	for name, want := range map[string]bool{
		"quay.io/a/b:1-20261129-113723":   true,
		"quay.io/a/b:1-20261329-113723":   false,
		"quay.io/a/b:1-20261129-113723-x": false,
		"quay.io/a/b:1-20261129":          false,
		"quay.io/a/b:1":                   false,
		"quay.io/a/c:1-20261129-113723":   false,
	} {
		if got := isKept(name, "quay.io/a/b:1"); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
