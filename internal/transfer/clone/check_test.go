// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
)

// TestCheckComposefsFindsExchangedLayers: bootc and cfsctl give any archive the name that the
// image's configuration has.
func TestCheckComposefsFindsExchangedLayers(t *testing.T) {
	dir := testcomposefs.Fixture(t, testcomposefs.Bootc1169)
	repo := testcomposefs.Open(t, dir)
	if problems, err := CheckComposefs(t.Context(), repo); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	a, b := filepath.Join(dir, "streams", composefs.LayerPrefix+testcomposefs.DiffIDs()[0]), filepath.Join(dir, "streams", composefs.LayerPrefix+testcomposefs.DiffIDs()[1])
	for _, rename := range [][2]string{{a, a + "x"}, {b, a}, {a + "x", b}} {
		if err := os.Rename(rename[0], rename[1]); err != nil {
			t.Fatal(err)
		}
	}
	if problems, err := CheckComposefs(t.Context(), repo); err != nil || len(problems) != 2 || problems[0].Layer != testcomposefs.DiffIDs()[0] {
		t.Errorf("%v, %v", problems, err)
	}
}
