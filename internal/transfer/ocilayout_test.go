// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

func TestShelfFindsTheImageThatANameMeans(t *testing.T) {
	for _, tt := range []struct {
		name string
		// refs are what the layout calls its images, after "=" with a full name.
		refs string
		// others are bound, too.
		others string
		want   string // the ref that is found, "" for none
		err    string
	}{
		{name: "quay.io/a/b:1", refs: "quay.io/a/b:2 quay.io/a/b:1", want: "quay.io/a/b:1"},
		{name: "docker://quay.io/a/b:1", refs: "quay.io/a/b:1", want: "quay.io/a/b:1"},
		{name: "quay.io/a/b", refs: "quay.io/a/b:latest 1", want: "quay.io/a/b:latest"},
		{name: "quay.io/a/b:latest", refs: "quay.io/a/b", want: "quay.io/a/b"},
		{name: "docker.io/library/b:1", refs: "b:1", want: "b:1"},
		{name: "b:1", refs: "docker.io/library/b:1", want: "docker.io/library/b:1"},
		// The whole name counts before a part of it.
		{name: "quay.io/a/b:1", refs: "1 b:1 quay.io/a/b:1", want: "quay.io/a/b:1"},
		{name: "quay.io/a/b:1", refs: "1 b:1", want: "b:1"},
		{name: "quay.io/a/b:1", refs: "a/b:1", want: "a/b:1"},
		{name: "quay.io/a/b", refs: "b", want: "b"},
		{name: "quay.io/a/b:1", refs: "1", want: "1"},
		{name: "quay.io/a/b", refs: "latest", want: "latest"},
		{name: "b:1", refs: "quay.io/a/b:1", want: "quay.io/a/b:1"},
		// Another registry, repository or tag is another image.
		{name: "quay.io/a/b:1", refs: "docker.io/a/b:1 quay.io/a/c:1 quay.io/a/b:2 2 c:1 quay.io/a/bb:1", err: "does not have"},
		{name: "quay.io/a/b:1", refs: "", err: "does not have"},
		{name: "quay.io/a/bb:1", refs: "b:1", err: "does not have"},
		// What can be meant by several.
		{name: "quay.io/a/b:1", refs: "1", others: "quay.io/a/c:1", err: `the image "1" of`},
		{name: "quay.io/a/b:1", refs: "1", others: "quay.io/a/c:2", want: "1"},
		{name: "quay.io/a/b:latest", refs: "latest", others: "quay.io/a/b", want: "latest"},
		{name: "quay.io/a/b:1", refs: "b:1", others: "ghcr.io/a/b:1", err: "can be this one or ghcr.io/a/b:1"},
		{name: "b:1", refs: "quay.io/a/b:1 ghcr.io/c/b:1", err: "has 2 images"},
		{name: "quay.io/a/b:1", refs: "b:1 a/b:1", err: "has 2 images"},
		{name: "quay.io/a/b:1", refs: "quay.io/a/b:1 quay.io/a/b:1", err: "has 2 images"},
		// The tag alone has the full name beside it.
		{name: "quay.io/a/b:1", refs: "1=quay.io/a/c:1 1=quay.io/a/b:1", want: "quay.io/a/b:1"},
		{name: "quay.io/a/b:1", refs: "1=quay.io/a/c:1", err: "does not have"},
	} {
		s := &shelf{layout: layout{path: "/srv/images"}}
		for i, ref := range strings.Fields(tt.refs) {
			ref, full, _ := strings.Cut(ref, "=")
			d := host.Descriptor{Digest: fmt.Sprintf("sha256:%064d", i), Annotations: map[string]string{refName: ref}}
			if full != "" {
				d.Annotations[fullName] = full
			}
			s.images = append(s.images, d)
		}
		all := []Wanted{{Name: tt.name}}
		for _, other := range strings.Fields(tt.others) {
			all = append(all, Wanted{Name: other})
		}
		_, ref, err := s.choose(tt.name, all)
		if ref != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s in %q, beside %q: got %q, %v", tt.name, tt.refs, tt.others, ref, err)
		}
	}
}

func TestSupplyIsNamedAsTheStoreNamesIt(t *testing.T) {
	dir := t.TempDir()
	write := func(file, content string) string {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return content
	}
	blob := func(content string) string {
		hex := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
		write("blobs/sha256/"+hex, content)
		return "sha256:" + hex
	}
	digest := blob(fmt.Sprintf(`{"config":{"digest":%q,"size":2},"layers":[{"digest":%q,"size":3}]}`, blob("{}"), blob("tar")))
	index := fmt.Sprintf(`{"manifests":[{"digest":%q,"annotations":{%q:"quay.io/a/b:1"}},{"digest":"sha256:%064d","annotations":{%q:"gone:1"}}]}`, digest, refName, 0, refName)
	write("index.json", index)
	s, err := openShelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.root.Close()
	for name, want := range map[string]string{
		"quay.io/a/b:1": "quay.io/a/b:1", "docker://quay.io/a/b:1": "quay.io/a/b:1", "b:1": "quay.io/a/b:1",
		"ghcr.io/c/d:2@" + digest: "ghcr.io/c/d@" + digest,
	} {
		image, err := s.supply(name, nil)
		if err != nil || image.name != want || image.digests[0] != digest || len(image.layers) != 1 {
			t.Errorf("%s: got %+v, %v", name, image, err)
			continue
		}
		view := filepath.Join(t.TempDir(), "view")
		if err := s.view(view, image); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var have layoutManifest
		data, err := os.ReadFile(filepath.Join(view, "index.json"))
		if err == nil {
			err = json.Unmarshal(data, &have)
		}
		if err != nil || len(have.Manifests) != 1 || have.Manifests[0].Digest != digest || have.Manifests[0].Annotations[refName] != want {
			t.Errorf("%s: %s, %v", name, data, err)
		}
	}
	for name, want := range map[string]string{
		"quay.io/a/b:2": errNotInLayout.Error(), "quay.io/a/b@sha256:" + strings.Repeat("1", 64): errNotInLayout.Error(),
		"gone:1": "no such file", "quay.io/a/b@sha256:" + strings.Repeat("0", 64): "no such file",
	} {
		if _, err := s.supply(name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "index.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openShelf(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("FIFO: %v", err)
	}
}

// TestImageOfAnotherDigestThanInTheLayoutIsNotVerified: podman brought another image under the
// name than the one that was found in the layout.
func TestImageOfAnotherDigestThanInTheLayoutIsNotVerified(t *testing.T) {
	const name = "quay.io/a/b:1"
	h, _ := booted(t, registryOrigin, nil, nil)
	podman := &fakePodman{scratchHost: h, images: []stored{{names: []string{name}, digest: bootedDigest}}}
	o := podman.options()
	at := o.places(nil)
	defer at.close()
	f := &fetching{Options: &o, places: at}
	for digest, want := range map[string]error{bootedDigest: nil, blobOf("c"): ErrNotVerified} {
		w := &fetched{Wanted: Wanted{Name: name}, supply: &supply{digests: []string{digest}}}
		if err := f.verify(w); !errors.Is(err, want) {
			t.Errorf("layout with %s: got %v, want %v", digest, err, want)
		}
	}
	w := &fetched{Wanted: Wanted{Name: "quay.io/a/c:1"}}
	if err := f.verify(w); !errors.Is(err, ErrNotVerified) {
		t.Errorf("without the image: got %v", err)
	}
}
