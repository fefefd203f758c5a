// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	sha2 "crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// seeds adds the metadata objects of a real repository, of a kind.
func seeds(f *testing.F, kind string) {
	f.Helper()
	f.Add([]byte{})
	files, err := filepath.Glob("testdata/objects/*." + kind)
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func FuzzParseCommit(f *testing.F) {
	seeds(f, "commit")
	f.Fuzz(func(t *testing.T, data []byte) {
		commit, err := parseCommit(data)
		if err != nil {
			return
		}
		// One value has one serialisation; the related commits are not read.
		whole := Value{kind: commitKind(), data: data}
		if relatedAreRead(whole) {
			if again := serialize(t, whole); string(again) != string(data) {
				t.Errorf("%q is read, but its normal form is %q", data, again)
			}
		}
		for key, value := range commit.Metadata {
			if text, err := value.Text(); err == nil && strings.Contains(text, "\x00") {
				t.Errorf("%q has a zero byte in %q", key, text)
			}
			_, _ = value.Dict()
			_, _, _ = value.Pair()
		}
	})
}

// relatedAreRead reports whether the related commits of a commit can be read.
func relatedAreRead(commit Value) bool {
	members, err := commit.members()
	if err != nil {
		return false
	}
	related, err := members[2].elements()
	for _, r := range related {
		if err == nil {
			_, err = r.members()
		}
	}
	return err == nil
}

func FuzzParseTree(f *testing.F) {
	seeds(f, "dirtree")
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := parseTree(data)
		if err != nil {
			return
		}
		var names []string
		for _, file := range tree.Files {
			names = append(names, file.Name)
		}
		for _, dir := range tree.Dirs {
			names = append(names, dir.Name)
		}
		for _, name := range names {
			if name != filepath.Base(name) || name == ".." || name == "." || strings.Contains(name, "\x00") {
				t.Errorf("name %q", name)
			}
		}
		if again := serialize(t, Value{kind: treeKind(), data: data}); string(again) != string(data) {
			t.Errorf("%q is read, but its normal form is %q", data, again)
		}
	})
}

func FuzzParseDirMeta(f *testing.F) {
	seeds(f, "dirmeta")
	f.Fuzz(func(t *testing.T, data []byte) {
		meta, err := parseDirMeta(data)
		if err != nil {
			return
		}
		if meta.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("mode %o", meta.Mode)
		}
		if again := serialize(t, Value{kind: dirMetaKind(), data: data}); string(again) != string(data) {
			t.Errorf("%q is read, but its normal form is %q", data, again)
		}
	})
}

// FuzzParseDict also splits what is in the values.
func FuzzParseDict(f *testing.F) {
	f.Add(dictOf("key", "s", "text\x00"))
	f.Add(dictOf("key", "(tt)", strings.Repeat("x", 16)))
	f.Add(dictOf("key", "a{sv}", string(dictOf("inner", "a(yt)", "1\x00\x00\x00\x00\x00\x00\x0012345678"))))
	f.Add(dictOf("key", "v", "\x01\x00y"))
	f.Add(dictOf("key", "()", "\x00"))
	f.Add(dictOf("key", "mas", "a\x00\x02\x00"))
	f.Add(dictOf(strings.Repeat("k", 300), strings.Repeat("(", 50)+"s"+strings.Repeat(")", 50), "x\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dict, err := ParseDict(data)
		if err != nil && dict != nil {
			t.Error("both a value and an error")
		}
		for _, v := range dict {
			if k, rest := parseKind(v.kind.text, 0); k == nil || rest != "" || !reflect.DeepEqual(k, v.kind) || !v.is(v.kind.text) {
				t.Errorf("type %q is not read back", v.kind.text)
			}
			split(v)
		}
	})
}

// split visits all that is in a value.
func split(v Value) {
	members, _ := v.members()
	elements, _ := v.elements()
	for _, inner := range append(members, elements...) {
		split(inner)
	}
	if inner, err := v.inner(); err == nil {
		split(inner)
	}
}

// serialize writes a value anew, whose values in variants are taken as they are.
func serialize(t *testing.T, v Value) []byte {
	t.Helper()
	var parts []Value
	var err error
	switch v.kind.code {
	case '(', '{':
		parts, err = v.members()
	case 'a':
		parts, err = v.elements()
	default:
		return v.data
	}
	if err != nil {
		t.Fatalf("read once, but not twice: %v", err)
	}
	var out []byte
	var ends []int
	for i, part := range parts {
		for len(out)%part.kind.align != 0 {
			out = append(out, 0)
		}
		out = append(out, serialize(t, part)...)
		if part.kind.size == 0 && (v.kind.code == 'a' || i < len(parts)-1) {
			ends = append(ends, len(out))
		}
	}
	if v.kind.size != 0 {
		for len(out) < v.kind.size {
			out = append(out, 0)
		}
	}
	if v.kind.code != 'a' { // backwards
		for i := range len(ends) / 2 {
			ends[i], ends[len(ends)-1-i] = ends[len(ends)-1-i], ends[i]
		}
	}
	return appendOffsets(out, ends...)
}

// FuzzRefs makes a file of any name and content among the refs.
func FuzzRefs(f *testing.F) {
	sum := fmt.Sprintf("%x", sha2.Sum256(nil))
	f.Add("a", sum+"\n")
	f.Add("ostree/container/image/docker_3A__2F__2F_quay_2E_io/os_3A_1", sum)
	f.Add(".a", sum)
	f.Add("a/../../b", sum)
	f.Add("r:a", strings.ToUpper(sum))
	f.Add("a\nb", sum+"\n"+sum)
	top := f.TempDir()
	for _, dir := range []string{"objects", "refs/heads", "refs/remotes/r"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "config"), []byte("[core]\nrepo_version=1\n"), 0o644); err != nil {
		f.Fatal(err)
	}
	root, err := rooted.OpenRoot(top)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	repo, err := Open(root, ".")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(repo.Close)
	f.Fuzz(func(t *testing.T, name, content string) {
		_, _ = repo.Resolve(name)
		if !filepath.IsLocal(name) || strings.Contains(name, "\x00") {
			return
		}
		heads := filepath.Join(top, "refs/heads")
		path := filepath.Join(heads, name)
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil || os.WriteFile(path, []byte(content), 0o644) != nil {
			return // too long
		}
		defer func() {
			if first, _, _ := strings.Cut(filepath.Clean(name), "/"); os.RemoveAll(filepath.Join(heads, first)) != nil {
				t.Error("not removed")
			}
		}()
		refs, err := repo.Refs("")
		if err != nil || len(refs) > 1 || len(refs) == 0 && validRef(filepath.Clean(name)) {
			t.Fatalf("%q: got %v, %v", name, refs, err)
		}
		for _, ref := range refs {
			sum, err := repo.Resolve(ref.Name)
			if (err == nil) != (ref.Err == nil) || sum != ref.Commit || err == nil && !strings.HasPrefix(content, sum.String()) {
				t.Errorf("%q with %q: got %+v, then %s, %v", name, content, ref, sum, err)
			}
		}
	})
}
