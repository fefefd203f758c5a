// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDamageIsThatOfSingleImages(t *testing.T) {
	h := newHost(t)
	names := []string{"whole", "config", "record", "directory", "elsewhere"}
	var list []stored
	for _, name := range names {
		list = append(list, stored{names: []string{"localhost/" + name + ":1"}, digest: "sha256:" + name})
	}
	for _, store := range []string{bootcStorage, "var/lib/containers/storage"} {
		ids := h.store(store, list...)
		layer := func(i int) string { return digestOf([]byte("layer of " + ids[i]))[len("sha256:"):] }
		for i := range 3 {
			h.Mkdir(store + "/overlay/" + layer(i) + "/diff")
			h.Write(store+"/overlay/"+layer(i)+"/link", "L")
			h.Write(store+"/overlay-layers/"+layer(i)+".tar-split.gz", "recipe")
		}
		h.Write(store+"/overlay/"+layer(4)+"/additionallayer", "")
		h.Write(store+"/overlay-images/"+ids[1]+"/="+base64.StdEncoding.EncodeToString([]byte("sha256:"+ids[1])), "{}")
		h.Write(store+"/overlay-layers/layers.json", string(encode(t, []object{
			layerRecord(layer(0), 1), layerRecord(layer(1), 1), layerRecord(layer(3), 1), layerRecord(layer(4), 1),
		})))
	}
	s, err := NewSurvey(t.Context(), h.options())
	must(t, err)
	defer s.Close()
	var got []string
	for _, d := range s.Damaged() {
		got = append(got, fmt.Sprintf("%s %s %s", d.Store, d.Image.Names[0], d.Err))
	}
	want := []string{}
	for _, store := range []StoreName{BootcStore, DefaultStore} {
		want = append(want, fmt.Sprintf("%s localhost/config:1 read configuration of image ", store),
			fmt.Sprintf("%s localhost/record:1 layer ", store), fmt.Sprintf("%s localhost/directory:1 directory of layer ", store))
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range names {
		if found := len(s.Bootc.ByDigest("sha256:" + name)); (found == 1) != (name == "whole" || name == "elsewhere") {
			t.Errorf("found %d images of the digest of %s", found, name)
		}
	}
}

// TestImageThatPodmanRemovesIsNotDamaged: podman removes its record first, then its layers.
func TestImageThatPodmanRemovesIsNotDamaged(t *testing.T) {
	const store = "var/lib/containers/storage"
	h := newHost(t)
	ids := h.store(store, stored{names: []string{"localhost/removed:1"}})
	layer := digestOf([]byte("layer of " + ids[0]))[len("sha256:"):]
	h.Write(store+"/overlay-layers/layers.json", string(encode(t, []object{layerRecord(layer, 1)})))
	s, err := NewSurvey(t.Context(), h.options())
	must(t, err)
	defer s.Close()
	if found := s.Damaged(); len(found) != 1 {
		t.Fatalf("%d damaged images without the directory of a layer", len(found))
	}
	h.Write(store+"/overlay-images/images.json", "[]")
	if found := s.Damaged(); len(found) != 0 {
		t.Errorf("an image that was removed is reported: %v", found[0].Err)
	}
}
