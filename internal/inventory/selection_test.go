// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSelectionComparesTimesAndSizes(t *testing.T) {
	now := time.Now()
	built := func(name string, ago time.Duration, size int64) Image {
		return Image{Name: "quay.io/" + name, Type: Unified, Created: &Time{Time: now.Add(-ago)}, Size: &size}
	}
	list := []Image{{Name: "quay.io/unknown:1", Type: Logical}, built("old:1", 48*time.Hour, 3), built("new:3", time.Hour, 1), built("mid:2", 24*time.Hour, 2)}
	for _, tt := range []struct {
		filter, want string
		sort         SortKey
	}{
		{sort: SortCreated, want: "new mid old unknown"},
		{sort: SortSize, want: "new mid old unknown"},
		{sort: SortRepository, want: "mid new old unknown"},
		{sort: SortTag, want: "unknown old mid new"},
		{want: "unknown old new mid"},
		{filter: "before=mid:2", want: "old"},
		{filter: "since=mid:2", want: "new"},
		{filter: "after=mid:2", want: "new"},
		{filter: "since!=mid:2", want: "unknown old mid"},
		{filter: "until=30h", want: "old"},
	} {
		var filters []string
		if tt.filter != "" {
			filters = []string{tt.filter}
		}
		s, err := NewSelection(nil, filters, tt.sort, now)
		must(t, err)
		chosen, err := (&inventory{Options: Options{Select: s}}).selected(list)
		must(t, err)
		var got []string
		for _, img := range chosen {
			repository, _ := img.Split()
			got = append(got, strings.TrimPrefix(repository, "quay.io/"))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
	s, err := NewSelection(nil, []string{"before=unknown"}, "", now)
	must(t, err)
	if _, err := (&inventory{Options: Options{Select: s}}).selected(list); !errors.Is(err, ErrNotKnown) {
		t.Errorf("before an image without a time: %v", err)
	}
}

// TestBeforeOneImage: as podman, which takes no pattern here, and the tag latest for none.
func TestBeforeOneImage(t *testing.T) {
	now := time.Now()
	image := func(name, id string, hours time.Duration) Image {
		return Image{Name: name, Type: Unified, ID: id, Digest: "sha256:" + id, Created: &Time{Time: now.Add(-hours * time.Hour)}}
	}
	list := []Image{image("quay.io/example/os:41", "aaaa", 3), image("quay.io/example/os:latest", "bbbb", 2), image("docker.io/library/one:1", "cccc", 1)}
	for value, want := range map[string]string{
		"os": "os:41", "example/os": "os:41", "quay.io/example/os": "os:41", "os:latest": "os:41", "docker://quay.io/example/os": "os:41",
		"os:41": "", "bbbb": "os:41", "sha256:bbbb": "os:41", "os@sha256:bbbb": "os:41", "os:41@sha256:bbbb": "os:41", "one:1": "os:41 os:latest", "docker.io/one:1": "os:41 os:latest",
		"*": "unknown", "o?": "unknown", "one": "unknown", "bb": "unknown", "x@sha256:bbbb": "unknown", "o[s]:41": "unknown",
	} {
		s, err := NewSelection(nil, []string{"before=" + value}, "", now)
		must(t, err)
		chosen, err := (&inventory{Options: Options{Select: s}}).selected(list)
		var got []string
		for _, img := range chosen {
			got = append(got, strings.TrimPrefix(img.Name, "quay.io/example/"))
		}
		if errors.Is(err, ErrNotKnown) {
			got = []string{"unknown"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("before=%s: got %q (%v), want %q", value, got, err, want)
		}
	}
}

func TestLabelsMatchPatterns(t *testing.T) {
	labels := map[string]string{"org.example/a": "x/y", "b": ""}
	for wanted, want := range map[string]bool{
		"b": true, "b=": true, "b=1": false, "c": false, "org.*": true, "*a": true, "*": true, "org*=x*": true, "*/a=*/y": true,
		"org.example/a=x/y": true, "org.example/a=x": false, "o*x*a": true, "o*z*a": false, "*ab*": false, "B": false,
	} {
		if got := hasLabel(labels, wanted); got != want {
			t.Errorf("%q: got %v", wanted, got)
		}
	}
}
