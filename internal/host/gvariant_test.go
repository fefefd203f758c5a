// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// testdata/staged-deployment was written by "ostree admin deploy --stage",
// ostree 2022.7.
func stagedFile(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "staged-deployment"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseStagedReadsTheFileOfOSTree(t *testing.T) {
	const commit = "be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5"
	got, err := parseStaged(stagedFile(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Deployment{
		Role: Staged, Stateroot: "default", Commit: commit, Serial: 3,
		Root: "ostree/deploy/default/deploy/" + commit + ".3",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseStagedRefusesWhatIsCutOffOrForged(t *testing.T) {
	data := stagedFile(t)
	for n := range data {
		if d, err := parseStaged(data[:n]); err == nil {
			t.Errorf("first %d bytes: got %+v", n, d)
		}
	}
	// Offsets that lead anywhere must not be followed.
	for i := range data {
		for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			forged := slices.Clone(data)
			forged[i] = b
			if d, err := parseStaged(forged); err == nil && !filepath.IsLocal(d.Root) {
				t.Errorf("byte %d is %#x: got %+v", i, b, d)
			}
		}
	}
	for from, to := range map[string]string{
		"default\x00":         "../../x\x00",
		"be17e":               "BE17E",
		"5.3\x00\x00":         "5/3\x00\x00",
		"target\x00":          "targeT\x00",
		"osname\x00":          "osnamE\x00",
		"\x00a{sv}\x07\x00":   "\x00a{ss}\x07\x00",
		"default\x00\x00s":    "default\x00\x00o",
		"be17e4614a48d2baf93": "be17e4614a48d2ba/93",
	} {
		forged := strings.Replace(string(data), from, to, 1)
		if forged == string(data) {
			t.Fatalf("%q is not in the file", from)
		}
		if d, err := parseStaged([]byte(forged)); err == nil {
			t.Errorf("%q: got %+v", to, d)
		}
	}
}

func TestParseVardictReadsWideOffsets(t *testing.T) {
	for _, size := range []int{1, 300, 70_000} {
		want := strings.Repeat("x", size)
		got, err := parseVardict(vardict(map[string]variant{"long": {kind: "s", data: append([]byte(want), 0)}}))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := got["long"].text(); text != want || err != nil {
			t.Errorf("size %d: got %.10q, %v", size, text, err)
		}
	}
}

// vardict serialises a dictionary with one entry.
func vardict(dict map[string]variant) []byte {
	var out []byte
	for key, v := range dict {
		entry := append([]byte(key), 0)
		end := len(entry)
		entry = append(entry, make([]byte, align8(end)-end)...)
		entry = append(append(append(entry, v.data...), 0), v.kind...)
		entry = appendOffset(entry, end)
		out = appendOffset(entry, len(entry))
	}
	return out
}

// appendOffset adds an offset of the width that the container has with it.
func appendOffset(data []byte, offset int) []byte {
	width := offsetWidth(len(data))
	for width < offsetWidth(len(data)+width) {
		width = offsetWidth(len(data) + width)
	}
	for i := range width {
		data = append(data, byte(offset>>(8*i)))
	}
	return data
}

func TestVariantTextReadsWhatGLibPrints(t *testing.T) {
	for text, want := range map[string]any{
		`'a'`:                        "a",
		`"it's"`:                     "it's",
		`'\'"\\\a\b\f\n\r\t\v'`:      "'\"\\\a\b\f\n\r\t\v",
		`"'\""`:                      "'\"",
		`'é\u200b\U000e0001😀'`:       "é\u200b\U000e0001😀",
		`<'a'>`:                      "a",
		`<<@s 'a'>>`:                 "a",
		`true`:                       atom("true"),
		`uint64 5`:                   atom("5"),
		`-3.5e+10`:                   atom("-3.5e+10"),
		`objectpath '/a'`:            "/a",
		`()`:                         []any{},
		`('a',)`:                     []any{"a"},
		`('a', 1)`:                   []any{"a", atom("1")},
		`@ay []`:                     []any{},
		`@a(say) []`:                 []any{},
		`@a{sv} {}`:                  map[string]any{},
		`[byte 0x01, 0xff]`:          []any{atom("0x01"), atom("0xff")},
		`b'\001\377\n\\\'a'`:         []byte{1, 0xff, '\n', '\\', '\'', 'a', 0},
		`b"'"`:                       []byte("'\x00"),
		`{'a': <1>, 'b': <{'c':2}>}`: map[string]any{"a": atom("1"), "b": map[string]any{"c": atom("2")}},
		`{'a': 1, 'a': 2}`:           map[string]any{"a": atom("1")},
		`just nothing`:               atom("nothing"),
	} {
		if got, err := (&variantText{text: text}).value(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, %v, want %#v", text, got, err, want)
		}
	}
}

func TestVariantTextRefusesWhatItCannotRead(t *testing.T) {
	for _, text := range []string{
		"", " ", `'a`, `'a\`, `'a\'`, `<'a'`, `<'a']`, `('a' 'b')`, `['a'`, `{'a'}`, `{'a': 1`, `{1: 2}`, `{'a', 1}`, `}`,
		`'\u12'`, `'\ud800'`, `'\U00110000'`, `'\Uffffffff'`, `'\u+123'`, `b'\400'`, `b'\19'`, `b'a`, `@ay`, `uint64`,
		strings.Repeat("<", 1000), strings.Repeat("(", 1_000_000),
	} {
		if got, err := (&variantText{text: text}).value(); !errors.Is(err, errVariant) {
			t.Errorf("%.20s: got %#v, %v", text, got, err)
		}
	}
}

func TestByteArrayReadsBothForms(t *testing.T) {
	for _, text := range []string{`[byte 0x61, 0xff, 0x00]`, `b'a\377'`} {
		v, err := (&variantText{text: text}).value()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := byteArray(v); err != nil || string(got) != "a\xff\x00" {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
	// A parent commit that ends in 00, from a real repository.
	const text = `b'\216\305\3620s\355\024t\214\254\336\b)q\300\215@\237\315\207k+\214\246c<\031}d\250-'`
	v, err := (&variantText{text: text}).value()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := byteArray(v); err != nil || hex.EncodeToString(got) != "8ec5f23073ed14748cacde082971c08d409fcd876b2b8ca6633c197d64a82d00" {
		t.Errorf("got %x, %v", got, err)
	}
	for _, v := range []any{nil, "a", atom("1"), []any{"a"}, []any{atom("256")}, []any{atom("true")}} {
		if got, err := byteArray(v); err == nil {
			t.Errorf("%#v: got %q", v, got)
		}
	}
}

func FuzzParseVardict(f *testing.F) {
	f.Add(stagedFile(f))
	f.Add(vardict(map[string]variant{"backing-root-device-inode": {kind: "(tt)", data: make([]byte, 16)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dict, err := parseVardict(data)
		if err != nil && dict != nil {
			t.Error("both a value and an error")
		}
		for _, v := range dict {
			_, _ = v.text()
			_, _ = v.vardict()
			_, _, _ = v.pair()
		}
		if d, err := parseStaged(data); err == nil && !filepath.IsLocal(d.Root) {
			t.Errorf("root %q", d.Root)
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	const commit = "commit be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5\n"
	f.Add(commit + `({'ostree.manifest-digest': <'sha256:abc'>, 'ostree.manifest': <"{\"layers\": [{\"size\": 3}]}">}, @ay [], @a(say) [], '', '', uint64 1, [byte 0xbf], b'a')`)
	f.Add(commit + `({'ostree.manifest-digest': <'d'>, 'ostree.manifest': <'{}'>, 'ostree.container.image-config': <'null'>}, b'\001a')`)
	f.Fuzz(func(t *testing.T, out string) {
		c, err := parseCommit(out)
		if err == nil && (c.Size < 0 || !isHex(c.Checksum, commitDigits) || c.ManifestDigest == "") {
			t.Errorf("got %+v", c)
		}
	})
}

// FuzzVariantTextReadsBackStrings quotes as GLib does.
func FuzzVariantTextReadsBackStrings(f *testing.F) {
	f.Add("it's \"q\" \\ \n\t\x01\x7f é \u2028 😀", true)
	f.Fuzz(func(t *testing.T, s string, escape bool) {
		s = strings.ToValidUTF8(s, "?")
		text := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
		if escape {
			text = quoteRunes(s)
		}
		if got, err := (&variantText{text: text}).value(); err != nil || got != s {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, s)
		}
	})
}

// quoteRunes writes every character as its code point.
func quoteRunes(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		fmt.Fprintf(&b, `\U%08x`, r)
	}
	b.WriteByte('\'')
	return b.String()
}
