// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package layer_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/composefs/layer"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
)

// FuzzLayer reads streams whose content is not compressed in the input, so that the fuzzer
// changes parts. An archive that is read entry by entry is the one that is read as a whole.
func FuzzLayer(f *testing.F) {
	archive := archiveOf(f, regular("a", 1000), regular("b", 60), regular("c", 1000))
	repo := newRepo(f, composefs.SHA256)
	parts, err := repo.Split(bytes.NewReader(archive))
	if err != nil {
		f.Fatal(err)
	}
	objects := []composefs.ID{parts[1].Object, parts[3].Object}
	f.Add(int64(len(archive)), testcomposefs.Content(parts, objects))
	f.Add(int64(0), []byte{})
	r := testcomposefs.Open(f, repo.Dir)
	f.Fuzz(func(t *testing.T, size int64, content []byte) {
		id, err := repo.Object(bytes.NewReader(repo.EncodeContent(composefs.LayerType, size, nil, objects, testcomposefs.Stored(content))))
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(repo.ObjectPath(id))
		got, _, err := entriesOf(r, id)
		if err != nil {
			return
		}
		if int64(len(got)) != size {
			t.Errorf("read %d bytes of %d", len(got), size)
		}
		name := testcomposefs.Digest(got)
		if err := repo.Name(composefs.LayerPrefix+name, id); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(repo.Dir + "/streams/" + composefs.LayerPrefix + name)
		if _, err := layer.Check(t.Context(), r, name); err != nil {
			t.Errorf("read as a whole: %v", err)
		}
	})
}

// FuzzRefs reads the names of references, not compressed in the input.
func FuzzRefs(f *testing.F) {
	f.Add([]byte("1:config:sha256:x\x000:sha256:y\x00"))
	f.Add([]byte("2:composefs.image\x00"))
	f.Add([]byte("-1:a\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		refs, err := layer.ParseRefs(bytes.NewReader(testcomposefs.Stored(text)), 3, func(i int) composefs.ID { return composefs.ID(rune('a' + i)) })
		if err != nil {
			return
		}
		for name, id := range refs {
			if name == "" || id < "a" || id > "c" {
				t.Errorf("got %q for %q", id, name)
			}
		}
	})
}
