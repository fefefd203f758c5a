// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
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

func FuzzParseStaged(f *testing.F) {
	f.Add(stagedFile(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := parseStaged(data); err == nil && !filepath.IsLocal(d.Root) {
			t.Errorf("root %q", d.Root)
		}
	})
}
