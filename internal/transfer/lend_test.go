// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/images"
)

// chains writes a store with an image for each chain of layers, lowest first, and
// opens it. A layer is a letter, its blob's digest made of it.
func (h *scratchHost) chains(path string, chains ...string) *images.Store {
	h.Helper()
	var list []stored
	for i, chain := range chains {
		list = append(list, stored{names: []string{fmt.Sprintf("localhost/%s:1", chain)}, digest: fmt.Sprintf("sha256:%064d", i)})
	}
	ids := h.store(path, list...)
	var records, layers []map[string]any
	text, err := os.ReadFile(h.path(path + "/overlay-images/images.json"))
	if err == nil {
		err = json.Unmarshal(text, &records)
	}
	if err != nil {
		h.Fatal(err)
	}
	for i, chain := range chains {
		parent := ""
		for j, c := range chain {
			id := fmt.Sprintf("%064x", chain[:j+1])
			layers = append(layers, map[string]any{
				"id": id, "parent": parent, "diff-digest": digestOf("d", c), "compressed-diff-digest": digestOf("b", c), "diff-size": 1, "created": created,
			})
			parent = id
		}
		records[i]["id"], records[i]["layer"] = ids[i], parent
	}
	h.write(path+"/overlay-images/images.json", string(h.encode(records)))
	h.write(path+"/overlay-layers/layers.json", string(h.encode(layers)))
	store, problems := images.OpenDefaultStore(h.dir, 0)
	if store == nil || len(problems) > 0 {
		h.Fatal(problems)
	}
	h.Cleanup(store.Close)
	return store
}

func digestOf(kind string, c rune) string {
	return "sha256:" + strings.Repeat("0", 60) + fmt.Sprintf("%x%x", kind, string(c))
}

func TestLenderHasTheMostOfTheLowestLayers(t *testing.T) {
	var manifest []host.Descriptor
	for _, c := range "abc" {
		manifest = append(manifest, host.Descriptor{Digest: digestOf("b", c)})
	}
	uncompressed := []host.Descriptor{{Digest: digestOf("d", 'a')}}
	for _, tt := range []struct {
		name     string
		from, to []string
		layers   []host.Descriptor
		want     string
	}{
		{name: "no image"},
		{name: "no layer in common", from: []string{"x", "bc", "xab"}},
		{name: "a prefix", from: []string{"x", "a"}, want: "a"},
		{name: "the longest prefix, whatever is above", from: []string{"a", "abx", "axc"}, want: "abx"},
		{name: "all", from: []string{"ab", "abc"}, want: "abc"},
		{name: "more than the other store has", from: []string{"ax", "ab"}, to: []string{"ay"}, want: "ab"},
		{name: "no more than the other store has", from: []string{"ax"}, to: []string{"ay"}},
		{name: "by diff ID", from: []string{"a"}, layers: uncompressed, want: "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			layers := tt.layers
			if layers == nil {
				layers = manifest
			}
			from := newHost(t).chains(defaultStorage, tt.from...)
			to := newHost(t).chains(defaultStorage, tt.to...)
			got := ""
			if img := lender(from, to, layers); img != nil {
				got = strings.TrimSuffix(strings.TrimPrefix(img.Names[0], "localhost/"), ":1")
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if lender(nil, nil, manifest) != nil {
		t.Error("an image of no store")
	}
}
