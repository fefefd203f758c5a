// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"fmt"
	"testing"
)

func TestUndoingGivesNamesBack(t *testing.T) {
	names := []string{"a", "b"}
	for what, tt := range map[string]struct {
		before, now map[string][]string
		want        string
	}{
		"nothing came":                 {map[string][]string{"1": {"a"}}, map[string][]string{"1": {"a"}}, "[]"},
		"an image came":                {nil, map[string][]string{"2": {"a", "b"}}, "[[rm --force 2]]"},
		"an image took a name":         {map[string][]string{"1": {"a"}}, map[string][]string{"1": nil, "2": {"a"}}, "[[rm --force 2] [tag 1 a]]"},
		"its last owner is gone":       {map[string][]string{"1": {"a"}}, map[string][]string{"2": {"a"}}, "[[rm --force 2]]"},
		"an image got a name":          {map[string][]string{"1": {"c"}}, map[string][]string{"1": {"a", "c"}}, "[[untag 1 a]]"},
		"a name went between them":     {map[string][]string{"1": {"c"}, "2": {"a"}}, map[string][]string{"1": {"a", "c"}, "2": {}}, "[[untag 1 a] [tag 2 a]]"},
		"a name was lost":              {map[string][]string{"1": {"b", "c"}}, map[string][]string{"1": {"c"}}, "[[tag 1 b]]"},
		"somebody named it, too":       {nil, map[string][]string{"2": {"a", "theirs"}}, "[[untag 2 a]]"},
		"other images are left alone":  {map[string][]string{"3": {"x"}}, map[string][]string{"4": {"y"}}, "[]"},
		"an image without other names": {map[string][]string{"1": nil}, map[string][]string{"1": {"a"}}, "[[untag 1 a]]"},
	} {
		if got := fmt.Sprint(undoing(tt.before, tt.now, names)); got != tt.want {
			t.Errorf("%s: %s, want %s", what, got, tt.want)
		}
	}
}
