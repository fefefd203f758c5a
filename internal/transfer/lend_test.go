// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// chains writes a store with an image for each chain of layers, lowest first, and
// opens it. A layer is a letter, its blob's digest made of it.
func (h *scratchHost) chains(path string, chains ...string) *cstorage.Store {
	h.Helper()
	var list []stored
	for i, chain := range chains {
		list = append(list, stored{names: []string{fmt.Sprintf("localhost/%s:1", chain)}, digest: fmt.Sprintf("sha256:%064d", i)})
	}
	ids := h.store(path, list...)
	var records, layers []map[string]any
	text, err := os.ReadFile(h.Path(path + "/overlay-images/images.json"))
	if err == nil {
		err = json.Unmarshal(text, &records)
	}
	if err != nil {
		h.Fatal(err)
	}
	for i, chain := range chains {
		parent := ""
		var below []string
		for j, c := range chain {
			id := fmt.Sprintf("%064x", chain[:j+1])
			h.layerFiles(path, id, below...)
			below = slices.Insert(below, 0, id)
			layers = append(layers, map[string]any{
				"id": id, "parent": parent, "diff-digest": digestOf("d", c), "compressed-diff-digest": digestOf("b", c), "diff-size": 1, "created": created,
			})
			parent = id
		}
		records[i]["id"], records[i]["layer"] = ids[i], parent
	}
	h.Write(path+"/overlay-images/images.json", string(h.encode(records)))
	h.Write(path+"/overlay-layers/layers.json", string(h.encode(layers)))
	store, problems := inventory.OpenDefaultStore(h.Dir, 0)
	if store == nil || len(problems) > 0 {
		h.Fatal(problems)
	}
	h.Cleanup(store.Close)
	return store
}

func digestOf(kind string, c rune) string {
	return "sha256:" + strings.Repeat("0", 60) + fmt.Sprintf("%x%x", kind, string(c))
}

func TestStoreThatDoesNotExistLendsNothing(t *testing.T) {
	layers := []host.Descriptor{{MediaType: "type", Digest: digestOf("b", 'a'), Size: 10}}
	if loan := plan.LoanOf(nil, nil, layers, nil); loan != nil {
		t.Errorf("got %+v", loan)
	}
}

func TestLoanIsTheMostOfTheLowestLayers(t *testing.T) {
	manifest := func(kind string) (layers []host.Descriptor) {
		for _, c := range "abc" {
			layers = append(layers, host.Descriptor{MediaType: "type", Digest: digestOf(kind, c), Size: 10})
		}
		return layers
	}
	diffIDs := []string{digestOf("d", 'a'), digestOf("d", 'b'), digestOf("d", 'c')}
	for _, tt := range []struct {
		name     string
		from, to []string
		// kind is that of the digests in the manifest, "b" if it is "".
		kind    string
		diffIDs []string
		want    string
		layers  int
	}{
		{name: "no image"},
		{name: "no layer in common", from: []string{"x", "bc", "xab"}},
		{name: "a prefix", from: []string{"x", "a"}, want: "a", layers: 1},
		{name: "the longest prefix, whatever is above", from: []string{"a", "abx", "axc"}, want: "abx", layers: 2},
		{name: "all", from: []string{"ab", "abcd"}, want: "abcd", layers: 3},
		{name: "more than the other store has", from: []string{"ax", "ab"}, to: []string{"ay"}, want: "ab", layers: 2},
		{name: "no more than the other store has", from: []string{"ax"}, to: []string{"ay"}},
		{name: "blobs that are no archives compressed", from: []string{"a"}, kind: "d", want: "a", layers: 1},
		{name: "by the configuration", from: []string{"ab"}, kind: "e", diffIDs: diffIDs, want: "ab", layers: 2},
		{name: "whose configuration has others", from: []string{"ab"}, kind: "e", diffIDs: diffIDs[1:]},
		{name: "that podman would not find where it pulls to", from: []string{"ab"}, to: []string{"ab"}, kind: "e", diffIDs: diffIDs, want: "ab", layers: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := host.RepoCommit{ManifestDigest: bootedDigest}
			img.Manifest.Layers, img.Config.RootFS.DiffIDs = manifest(cmp.Or(tt.kind, "b")), tt.diffIDs
			from := newHost(t).chains(defaultStorage, tt.from...)
			to := newHost(t).chains(defaultStorage, tt.to...)
			got := plan.NewLoan(from, to, []host.RepoCommit{{}, img}, bootedDigest)
			if got == nil {
				if tt.want != "" {
					t.Errorf("no loan, want %q", tt.want)
				}
				return
			}
			want := &plan.Loan{Image: got.Image}
			for _, l := range img.Manifest.Layers[:tt.layers] {
				want.Blobs = append(want.Blobs, clonejob.Blob{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
			}
			if names := from.ByID(got.Image).Names; !slices.Equal(names, []string{"localhost/" + tt.want + ":1"}) || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v of %q, want %+v of %q", got, names, want, tt.want)
			}
		})
	}
	if plan.NewLoan(nil, nil, []host.RepoCommit{{}}, "") != nil {
		t.Error("a loan of no store")
	}
}

func TestImageIsMadeOfTheLayersOfAnother(t *testing.T) {
	for _, tt := range []struct {
		name, layers string
		stored       []string
		// image is the index of the one whose layers are used, -1 for none.
		image int
		// rewritten is a commit without the documents as they were.
		rewritten bool
	}{
		{name: "built on it", layers: "ab", stored: []string{"x", "abc"}, image: 1},
		{name: "of the same layers", layers: "ab", stored: []string{"ab"}, image: 0},
		{name: "one layer is missing", layers: "abc", stored: []string{"ab", "abd"}, image: -1},
		{name: "on others", layers: "ab", stored: []string{"xab"}, image: -1},
		{name: "documents rewritten", layers: "ab", stored: []string{"abc"}, image: -1, rewritten: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			store := h.chains(defaultStorage, tt.stored...)
			commit := commitOf(t, tt.layers)
			if tt.rewritten {
				commit.ConfigText = "{}"
			}
			a := plan.NewAssembly(store, []host.RepoCommit{commit}, commit.ManifestDigest)
			switch {
			case tt.image < 0 && a != nil:
				t.Errorf("made of image %s", a.Image)
			case tt.image >= 0 && a == nil:
				t.Error("not made")
			case a != nil && (a.Image != store.Images[tt.image].ID || len(a.Layers) != len(tt.layers) || string(a.Documents.Manifest) != commit.ManifestText):
				t.Errorf("got %+v", a)
			}
		})
	}
}

// commitOf is the commit of an image with the layers that chains writes.
func commitOf(t *testing.T, layers string) (c host.RepoCommit) {
	t.Helper()
	for _, l := range layers {
		c.Config.RootFS.DiffIDs = append(c.Config.RootFS.DiffIDs, digestOf("d", l))
		c.Manifest.Layers = append(c.Manifest.Layers, host.Descriptor{Digest: digestOf("b", l), Size: 1})
	}
	encode := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	c.ConfigText = encode(c.Config)
	c.Manifest.Config.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(c.ConfigText)))
	c.ManifestText = encode(c.Manifest)
	c.ManifestDigest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(c.ManifestText)))
	return c
}
