// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// object is a JSON object of a store's files.
type object = map[string]any

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	must(t, err)
	return content
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func layerRecord(id string, size int64) object {
	return object{"id": id, "diff-digest": "sha256:" + id, "diff-size": size, "uidset": []int{0}, "created": "2024-05-06T07:08:09Z"}
}

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

// names lists the names of all images of a store.
func names(s *cstorage.Store) (names []string) {
	for _, img := range s.Images {
		names = append(names, img.Names...)
	}
	return names
}

func imageRecord(id, layer string, names ...string) object {
	return object{
		"id": id, "digest": "sha256:" + id, "names": names, "layer": layer, "created": "2024-05-06T07:08:09.5Z",
		"big-data-names": []string{"manifest"},
		"big-data-sizes": object{"manifest": 7}, "big-data-digests": object{"manifest": "sha256:" + id},
	}
}

// addBlob writes a big data item of an image.
func addBlob(t testing.TB, dir, id, file string, content []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "overlay-images", id), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "overlay-images", id, file), content, 0o600))
}
