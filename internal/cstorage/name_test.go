// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	_ "crypto/sha256" // the reference parser accepts only algorithms that are linked in
	_ "crypto/sha512"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

var (
	hex32     = strings.Repeat("0123456789abcdef", 2)
	digest256 = "sha256:" + hex32 + hex32
	digest384 = "sha384:" + hex32 + hex32 + hex32
	digest512 = "sha512:" + hex32 + hex32 + hex32 + hex32
)

func TestParseNameSplitsAndCompletesNames(t *testing.T) {
	for in, want := range map[string]Name{
		"busybox":                     {Domain: "docker.io", Path: "library/busybox"},
		"busybox:1@" + digest256:      {Domain: "docker.io", Path: "library/busybox", Tag: "1", Digest: digest256},
		"index.docker.io/busybox":     {Domain: "docker.io", Path: "library/busybox"},
		"docker.io/user/image":        {Domain: "docker.io", Path: "user/image"},
		"user/image":                  {Domain: "docker.io", Path: "user/image"},
		"localhost":                   {Domain: "docker.io", Path: "library/localhost"},
		"localhost/bootc":             {Domain: "localhost", Path: "bootc"},
		"localhost:5000/a/b__c:V1.2_": {Domain: "localhost:5000", Path: "a/b__c", Tag: "V1.2_"},
		"[::1]:5000/a":                {Domain: "[::1]:5000", Path: "a"},
		"HOST/a":                      {Domain: "HOST", Path: "a"},
		"my_site.org/a:t":             {Path: "my_site.org/a", Tag: "t"},
		"quay.io/e/i@" + digest512:    {Domain: "quay.io", Path: "e/i", Digest: digest512},
	} {
		got, err := ParseName(in)
		if err != nil || got != want {
			t.Errorf("ParseName(%q) = %+v, %v; want %+v", in, got, err, want)
		}
		again, err := ParseName(got.String())
		if err != nil || again != got {
			t.Errorf("ParseName(%q) = %+v, %v; want what %q gave", got, again, err, in)
		}
	}
}

func TestNameRepositoryLeavesOutTagAndDigest(t *testing.T) {
	n := Name{Domain: "quay.io", Path: "e/i", Tag: "t", Digest: digest256}
	if got, want := n.Repository(), "quay.io/e/i"; got != want {
		t.Errorf("Repository() = %q; want %q", got, want)
	}
	n.Domain = ""
	if got, want := n.Repository(), "e/i"; got != want {
		t.Errorf("Repository() = %q; want %q", got, want)
	}
}

func TestParseNameTellsWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"quay.io/E/i":            "lower case",
		"quay.io/e/i:":           "tag",
		"quay.io/e/i@sha256:1":   "digest",
		"quay.io//i":             "invalid repository",
		hex32 + hex32:            "image ID",
		strings.Repeat("a", 256): "too long",
	} {
		if _, err := ParseName(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseName(%q) gave error %v; want one with %q", in, err, want)
		}
	}
}

func TestParseStorableAcceptsWhatPodmanReadsBack(t *testing.T) {
	table, err := os.ReadFile("testdata/store-names.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(table)) {
		line = strings.TrimSuffix(line, "\n")
		verdict, name, _ := strings.Cut(line, "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		got, err := ParseStorable(name)
		// podman gives no name with a digest; it stores what it pulls by one.
		if accepted := err == nil && got.Digest == ""; accepted != (verdict == "yes") {
			t.Errorf("ParseStorable(%q) = %+v, %v; podman says %s", name, got, err, verdict)
		}
		if err != nil && !errors.Is(err, ErrUnreadable) {
			t.Errorf("ParseStorable(%q) gave error %v; want %v", name, err, ErrUnreadable)
		}
		if again, againErr := ParseStorable(got.String()); err == nil && (againErr != nil || again != got) {
			t.Errorf("ParseStorable(%q) = %+v, %v; want what %q gave", got, again, againErr, name)
		}
	}
	if rows < 60 {
		t.Errorf("%d rows", rows)
	}
}

// oddNames are at the edges of the grammar.
func oddNames() []string {
	names := []string{
		"", "/", "a/", "/a", "a//b", ":", "@", "a:", "a@", "a:@", ":t", "@" + digest256, digest256,
		hex32 + hex32, hex32 + hex32 + ":t", hex32 + hex32 + "@" + digest256, "x/" + hex32 + hex32,
		"A", "a/B", "A/b", "A.b/c", "a.B/C", "a:T", "a/b:T@" + digest256, "É", "é/b", "ß.x/b", "a\n", "a\x00", "\xff/a", "\xff.x/a", "a\xff", "a_\xff",
		"a.b", "a..b", ".a", "a.", "a_b", "a__b", "a___b", "_a", "a_", "a-b", "a---b", "-a", "a-", "a.-b", "a-_b",
		"a_b.c/d", "a__b.c/d", "a___b.c/d", "a_b.C/d", "a_b:1/d", "-a.b/c", "a-.b/c", "a.-b/c", "a.b-/c", "a..b/c", ".a/b", "a./b", "./b", "../b",
		"a:1/b", "a:/b", "a:x/b", "a:1:2/b", "a.b:1/c:t", "a.b:1/c:t:u", "a:1/b/c@d@e", "docker.io", "docker.io/", "docker.io/library", "docker.io/library/a", "docker.io:443/a", "index.docker.io/", "index.docker.io/a/b", "registry-1.docker.io/a", "DOCKER.io/a",
		"localhost", "localhost/", "localhost/A", "localhost:1", "LOCALHOST/a",
		"[::1]/a", "[::1]:1/a", "[]/a", "[]:1/a", "[::1/a", "[::1]x/a", "[::1]:/a", "[::1]:x/a", "[::g]/a", "[FE80::1]/a", "[::1].x/a", "[1]/a", "x[::1]/a", "[::1%25eth0]/a", "[[::1]]:1/a",
		"a:" + strings.Repeat("t", 128), "a:" + strings.Repeat("t", 129), "a:.t", "a:-t", "a:_t", "a:t.", "a:t/u", "a:t@", "a:é",
		"a@" + digest256, "a@" + digest384, "a@" + digest512, "a@sha256:" + hex32, "a@sha1:" + hex32, "a@md5:" + hex32, "a@SHA256:" + hex32 + hex32, "a:t@SHA256:" + hex32 + hex32,
		"a@sha256:" + strings.ToUpper(hex32+hex32), "a@" + digest256 + "0", "a@sha512:" + hex32 + hex32, "a@" + hex32 + hex32, "a@digest256", "a@" + digest256 + ":t", "a@" + digest256 + "@" + digest256, "a@digest256+b64:" + hex32 + hex32,
		"a b", " a", "a ", "docker://quay.io/a", "oci:/a/b:c", "quay.io/a?b", "a%2fb/c",
	}
	for _, n := range []int{246, 247, 248, 254, 255, 256} {
		long := strings.Repeat("a", n)
		names = append(names, long, "quay.io/"+long, "a_b.c/"+long, "docker.io/"+long, long+".x/a", "quay.io/"+long+":t@"+digest256)
	}
	return names
}

func TestParseNameAgreesWithReference(t *testing.T) {
	accepted := 0
	for _, s := range oddNames() {
		if sameAsReference(t, s) {
			accepted++
		}
	}
	if accepted < 30 {
		t.Errorf("only %d names were valid", accepted)
	}
}

func TestParseNameAgreesWithReferenceOnAllShortNames(t *testing.T) {
	var try func(prefix string, more int)
	try = func(prefix string, more int) {
		sameAsReference(t, prefix)
		sameAsReference(t, prefix+"/a:T@"+digest256)
		sameAsReference(t, "a.b/"+prefix)
		if more > 0 && !t.Failed() {
			for _, c := range "aA0._-/:@[]" {
				try(prefix+string(c), more-1)
			}
		}
	}
	try("", 3)
}

func FuzzParseName(f *testing.F) {
	for _, s := range oddNames() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { sameAsReference(t, s) })
}

// sameAsReference compares with the module that podman uses, and reports whether
// that accepts s.
func sameAsReference(t *testing.T, s string) bool {
	t.Helper()
	got, err := ParseName(s)
	named, refErr := reference.ParseNormalizedNamed(s)
	if (err == nil) != (refErr == nil) {
		t.Errorf("ParseName(%q) gave error %v; reference gave %v", s, err, refErr)
		return false
	}
	if err != nil {
		if got != (Name{}) || strings.Contains(err.Error(), "\n") {
			t.Errorf("ParseName(%q) = %+v, %q", s, got, err)
		}
		return false
	}
	want := Name{Domain: reference.Domain(named), Path: reference.Path(named)}
	if tagged, ok := named.(reference.Tagged); ok {
		want.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		want.Digest = string(digested.Digest())
	}
	if got != want || got.String() != named.String() || got.Repository() != named.Name() {
		t.Errorf("ParseName(%q) = %+v; reference gave %+v", s, got, want)
	}
	return true
}
