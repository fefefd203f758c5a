// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// TestRepairIsAdvisedWhereItWorks: it repairs images of the bootc-owned store that have a name,
// and that have the layer alone.
func TestRepairIsAdvisedWhereItWorks(t *testing.T) {
	const removes = " removes the damaged layer; then run this again, and bring back these images"
	a, b, nameless := &cstorage.Image{ID: "1", Names: []string{"quay.io/a:1"}}, &cstorage.Image{ID: "2", Names: []string{"quay.io/b:1"}}, &cstorage.Image{ID: "3"}
	for name, tc := range map[string]struct {
		bootc bool
		users []*cstorage.Image
		want  string
	}{
		"one image":       {true, []*cstorage.Image{a}, `"bootc-podman repair quay.io/a:1" brings that image again, or "bootc-podman image rm quay.io/a:1"` + removes},
		"several":         {true, []*cstorage.Image{a, b}, `"bootc-podman image rm quay.io/a:1 quay.io/b:1"` + removes},
		"without a name":  {true, []*cstorage.Image{nameless}, `"bootc-podman image rm 3"` + removes},
		"in podman's own": {false, []*cstorage.Image{a}, `"podman image rm quay.io/a:1"` + removes},
	} {
		err := &DamagedError{Bootc: tc.bootc, Err: errors.New("damaged"), Users: tc.users}
		if got := err.Advice(); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}
