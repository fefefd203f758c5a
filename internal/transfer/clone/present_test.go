// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// TestLayersWithoutTheirFilesAreNotThere takes away files of a layer of the destination
// that an image uses, or none. "full" finds more.
func TestLayersWithoutTheirFilesAreNotThere(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	layers := hardLayers(t)
	id := a.put(t, "localhost/image:1", layers...)
	lower := layerID("", digest.FromBytes(layers[0]))
	original := dir + "/original"
	b := newStore(t, original)
	base := b.put(t, "localhost/base:1", layers[0])
	b.Free()
	n := 0
	for name, spoil := range map[string]func(layer, tarSplit string) error{
		"directory":          func(layer, _ string) error { return os.RemoveAll(layer) },
		"diff":               func(layer, _ string) error { return os.RemoveAll(layer + "/diff") },
		"link":               func(layer, _ string) error { return os.Truncate(layer+"/link", 0) },
		"tar-split":          func(_, tarSplit string) error { return os.Remove(tarSplit) },
		"a file, at full":    func(layer, _ string) error { return os.Remove(layer + "/diff/capable") },
		"content, at full":   func(layer, _ string) error { return os.WriteFile(layer+"/diff/twice", []byte("FIRST, and longer"), 0) },
		"directory, at full": func(layer, _ string) error { return os.Mkdir(layer+"/diff/added", 0o755) },
	} {
		for _, used := range []bool{true, false} {
			n++
			must(t, os.RemoveAll(dir+"/b"))
			copyAll(t, original, dir+"/b")
			b := newStore(t, dir+"/b")
			if !used {
				// As podman leaves layers when it is killed.
				must(t, os.WriteFile(filepath.Join(b.job.GraphRoot, "overlay-images/images.json"), []byte("[]"), 0o600))
				must(t, os.RemoveAll(filepath.Join(b.job.GraphRoot, "overlay-images", base)))
			}
			must(t, spoil(filepath.Dir(b.diff(lower)), tarSplitPath(layersDir(b.job.GraphRoot), lower)))
			level := clonejob.VerifyMetadata
			if strings.HasSuffix(name, "full") {
				level = clonejob.VerifyFull
			}
			_, err := a.clone(t, b, id, level, "localhost/image:1")
			if !used {
				if err != nil {
					t.Errorf("%s, not used: %v", name, err)
					continue
				}
				equal(t, b, a, id)
				b.check(t)
				continue
			}
			if f := Failure(err); err == nil || f.Kind != clonejob.Damaged ||
				!strings.Contains(f.Message, lower) || !strings.Contains(f.Message, "image localhost/base:1") {
				t.Errorf("%s, used: %v", name, err)
			}
			b.reopen(t)
			b.has(t, 1, 1)
		}
	}
	t.Logf("%d clones", n)
}
