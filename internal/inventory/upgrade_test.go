// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"fmt"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
)

func TestUpgradeFindsWhatSkopeoFinds(t *testing.T) {
	const id, other, m1, m2 = "1", "2", "sha256:m1", "sha256:m2"
	record := func(id, digest, written string, names ...string) *cstorage.Image {
		return &cstorage.Image{ID: id, Digest: digest, Digests: []string{digest}, Written: written, Names: names}
	}
	name := "quay.io/os:42"
	bootc := cstorage.New(record(id, m1, m1, name))
	for what, tt := range map[string]struct {
		bootc, own *cstorage.Store
		name       string
		want       string
	}{
		"no own store":              {bootc, nil, name, "<nil>"},
		"own store without it":      {bootc, cstorage.New(record(other, m2, m2, "localhost/x:1")), name, "<nil>"},
		"a copy of the name":        {bootc, cstorage.New(record(id, m1, m1, name, "localhost/bootc:latest")), name, "<nil>"},
		"a copy without the name":   {bootc, cstorage.New(record(id, m1, m1, "localhost/bootc:latest")), name, "&{quay.io/os:42 1 false  false}"},
		"a copy without names":      {bootc, cstorage.New(record(id, m1, m1)), name, "&{quay.io/os:42 1 false  false}"},
		"another image of the name": {bootc, cstorage.New(record(other, m2, m2, name)), name, "&{quay.io/os:42 1 true sha256:m2 false}"},
		"another one, and a copy":   {bootc, cstorage.New(record(other, m2, m2, name), record(id, m1, m1)), name, "&{quay.io/os:42 1 true sha256:m2 false}"},
		"another manifest of it":    {bootc, cstorage.New(record(id, m1, m2, name)), name, "&{quay.io/os:42 1 true sha256:m2 true}"},
		"that without the name":     {bootc, cstorage.New(record(id, m1, m2)), name, "&{quay.io/os:42 1 false sha256:m2 true}"},
		"podman's copy in bootc's":  {cstorage.New(record(id, m1, m2, name)), nil, name, "its manifest is the one that podman wrote when it copied the image, sha256:m2"},
		"which a good one hides":    {cstorage.New(record(id, m1, m2, name)), cstorage.New(record(id, m1, m1, name)), name, "<nil>"},
		"default tag":               {cstorage.New(record(id, m1, m1, "quay.io/os:latest")), nil, "quay.io/os", "<nil>"},
		"not there":                 {cstorage.New(), nil, name, "the bootc store has no image of the name quay.io/os:42"},
	} {
		err := upgradeFinds(tt.bootc, tt.own, host.ImageReference{Transport: host.Registry, Name: tt.name})
		got := fmt.Sprint(err)
		var hidden *HiddenError
		if errors.As(err, &hidden) {
			got = fmt.Sprintf("&%v", *hidden)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", what, got, tt.want)
		}
	}
}
