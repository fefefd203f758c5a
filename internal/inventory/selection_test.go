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
		{filter: "before=mid", want: "old"},
		{filter: "since=mid", want: "new"},
		{filter: "after=mid", want: "new"},
		{filter: "since!=mid", want: "unknown old mid"},
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
