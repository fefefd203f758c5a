// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"strings"
	"testing"
)

func TestDictReadsOffsetsOfEveryWidth(t *testing.T) {
	for _, size := range []int{1, 200, 300, 65_000, 70_000} {
		want := strings.Repeat("x", size)
		got, err := ParseDict(dictOf("long", "s", want+"\x00"))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := got.Text("long"); text != want || err != nil {
			t.Errorf("size %d: got %.10q, %v", size, text, err)
		}
	}
}

// dictOf serialises a dictionary of one entry.
func dictOf(key, kind, value string) []byte {
	entry := append([]byte(key), 0)
	end := len(entry)
	entry = append(entry, make([]byte, align(end, 8)-end)...)
	entry = appendOffsets(append(append(append(entry, value...), 0), kind...), end)
	return appendOffsets(entry, len(entry))
}

// TestOnlyTheNormalFormIsRead, where GLib takes a default value for what is not in it.
func TestOnlyTheNormalFormIsRead(t *testing.T) {
	for name, test := range map[string]struct {
		kind, data string
		good       bool
	}{
		"tuple":                       {"(sy)", "a\x00\x07\x02", true},
		"no end":                      {"(sy)", "a\x00\x07", false},
		"end behind the data":         {"(sy)", "a\x00\x07\x05", false},
		"end before the start":        {"(yss)", "\x07a\x00b\x00\x00", false},
		"unused bytes":                {"(sy)", "a\x00\x07\x00\x02", false},
		"padding":                     {"(yu)", "\x07\x00\x00\x00\x01\x00\x00\x00", true},
		"padding that is not zero":    {"(yu)", "\x07\x00\x01\x00\x01\x00\x00\x00", false},
		"padding at the end":          {"(uy)", "\x01\x00\x00\x00\x07\x00\x00\x00", true},
		"no padding at the end":       {"(uy)", "\x01\x00\x00\x00\x07", false},
		"other padding at the end":    {"(uy)", "\x01\x00\x00\x00\x07\x00\x01\x00", false},
		"empty tuple":                 {"()", "\x00", true},
		"empty tuple of another byte": {"()", "\x01", false},
		"array":                       {"as", "a\x00b\x00\x02\x04", true},
		"array backwards":             {"as", "a\x00b\x00\x04\x02", false},
		"array of too wide offsets":   {"as", "a\x00\x02\x00", false},
		"array with a gap":            {"as", "a\x00b\x00\x05", false},
		"array of numbers":            {"aq", "\x01\x00\x02\x00", true},
		"half a number":               {"aq", "\x01\x00\x02", false},
		"empty array":                 {"as", "", true},
	} {
		k := mustKind(test.kind)
		v, err := k.value([]byte(test.data))
		if err == nil {
			if k.code == 'a' {
				_, err = v.elements()
			} else {
				_, err = v.members()
			}
		}
		if (err == nil) != test.good {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, text := range []string{"", "a", "a\x00b\x00", "\xff\x00"} {
		if got, err := (Value{kind: mustKind("s"), data: []byte(text)}).Text(); err == nil {
			t.Errorf("text %q: got %q", text, got)
		}
	}
	for _, kind := range []string{"", "a", "(", "(s", "{vs}", "{s}", "{sss}", "r", "as)", "ss", strings.Repeat("a", 200) + "s"} {
		if k, rest := parseKind(kind, 0); k != nil && rest == "" {
			t.Errorf("type %q is read", kind)
		}
	}
}
