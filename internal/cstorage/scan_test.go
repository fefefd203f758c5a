// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// accepts reports whether the scanner reads a text without encoding/json, which must
// read the same.
func accepts[T any](t *testing.T, text string, scan func(*T, *scanner)) bool {
	t.Helper()
	var got, want T
	asked := false
	err := decode([]byte(text), &got, func(into *T, s *scanner) {
		scan(into, s)
		asked = s.failed || s.peek() != 0 || s.at != len(s.text)
	})
	wantErr := json.Unmarshal([]byte(text), &want)
	if (err == nil) != (wantErr == nil) || wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s is read as %+v, %v; want %+v, %v", text, got, err, want, wantErr)
	}
	return !asked
}

func TestScannerReadsAsEncodingJSON(t *testing.T) {
	for _, tt := range []struct {
		text string
		want bool
	}{
		{`[]`, true},
		{` [ {"id" : "a" , "names":[ ] ,"created":"2024-05-06T07:08:09.5Z"},{ } ] `, true},
		{`[{"id":"a","id":"b","names":["x"],"names":[],"big-data-sizes":{"k":3,"m":1},"big-data-sizes":{"n":-2,"m":0}}]`, true},
		{`[{"x":{"Y":[1,true,false,null,"\"\\\/\b\f\n\r\t\u00fF",{"é":""}]}}]`, true},
		{`[{"metadata":"\u20","id":"a"}]`, false},
		{`[{"metadata":"\x","id":"a"}]`, false},
		{"[{\"metadata\":\"\x1f\"}]", false},
		{`[{"metadata":"` + "\xff" + `"}]`, true},
		{`[{"id":"é"}]`, false},
		{`[{"id":"\u0061"}]`, false},
		{`[{"ID":"a"}]`, false},
		{`[{"` + "\u212a" + `":"a"}]`, false},
		{`[{"id":null,"names":null,"created":null}]`, false},
		{`[{"id":1}]`, false},
		{`[{"created":"yesterday"}]`, false},
		{`[{"big-data-sizes":{"m":01}}]`, false},
		{`[{"big-data-sizes":{"m":1.0}}]`, false},
		{`[{"big-data-sizes":{"m":1e3}}]`, false},
		{`[{"big-data-sizes":{"m":-}}]`, false},
		{`[{"big-data-sizes":{"m":9223372036854775808}}]`, false},
		{`[{"x":tru}]`, false},
		{`[{"x":nulll}]`, false},
		{`[{"x":1 2}]`, false},
		{`[{"x"}]`, false},
		{`[{"id":"a",}]`, false},
		{`[{"id":"a"},]`, false},
		{`[{"id":"a"}`, false},
		{`[{"id":"a"}]]`, false},
		{`[{"id":"a`, false},
		{`null`, false},
		{`{}`, false},
		{``, false},
		{"[]\x00", false},
		{`[{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}]`, false},
	} {
		if got := accepts(t, tt.text, list((*record).scan)); got != tt.want {
			t.Errorf("%.100s is accepted: %v; want %v", tt.text, got, tt.want)
		}
	}
}

func TestScannerReadsLayersAndConfigurations(t *testing.T) {
	for _, text := range []string{
		`[{"id":"a","parent":"b","diff-digest":"c","toc-digest":"d","compressed-diff-digest":"e","diff-size":-1}]`,
		`[{"id":"a","flags":{"incomplete":true}},{"flags":null},{"flags":{"x":1},"flags":{"incomplete":"no"}}]`,
	} {
		if !accepts(t, text, list((*layer).scan)) {
			t.Errorf("%s is not accepted", text)
		}
	}
	if accepts(t, `[{"flags":1}]`, list((*layer).scan)) {
		t.Error("flags that are a number are accepted")
	}
	if !accepts(t, `{"architecture":"a","rootfs": {"diff_ids":["é"]} ,"architecture":"b","config":{"Env":["\u003c"]}}`, (*Config).scan) {
		t.Error("configuration is not accepted")
	}
}

// What podman writes is to be read fast.
func TestScannerAcceptsTheFilesOfPodman(t *testing.T) {
	p := newPodman(t)
	p.fill(t)
	accepted := 0
	for pattern, accept := range map[string]func(*testing.T, string) bool{
		"*-images/images.json": func(t *testing.T, text string) bool { return accepts(t, text, list((*record).scan)) },
		"*-layers/layers.json": func(t *testing.T, text string) bool { return accepts(t, text, list((*layer).scan)) },
		"*-images/*/=c2hh*":    func(t *testing.T, text string) bool { return accepts(t, text, (*Config).scan) },
	} {
		files, err := filepath.Glob(filepath.Join(p.graphRoot, pattern))
		must(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			if !accept(t, string(text)) {
				t.Errorf("%s is not accepted: %s", file, text)
			}
			accepted++
		}
	}
	if accepted < 4 {
		t.Errorf("podman wrote %d files; want more", accepted)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(`[{"id":"a","names":["x"],"layer":"b","big-data-sizes":{"manifest":7},"created":"2024-05-06T07:08:09.5Z"}]`)
	f.Add(`[{"id":"a","parent":"b","diff-digest":"c","diff-size":12,"uidset":[0],"flags":{"incomplete":true}}]`)
	f.Add(`{"architecture":"amd64","rootfs":{"diff_ids":["x"]},"history":[{"empty_layer":true,"created_by":"\u003c\""}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		accepts(t, text, list((*record).scan))
		accepts(t, text, list((*layer).scan))
		accepts(t, text, (*Config).scan)
	})
}
