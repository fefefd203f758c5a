// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
)

// TestUnprotectedLooksAtObjectsOnly: archives keep no fs-verity, so all objects lack it.
func TestUnprotectedLooksAtObjectsOnly(t *testing.T) {
	dir := testcomposefs.Fixture(t, testcomposefs.Cfsctl094)
	objects, err := filepath.Glob(dir + "/objects/??/*")
	if err != nil || len(objects) < 10 {
		t.Fatal(objects, err)
	}
	for _, other := range []string{"objects/aa/tmp.x", "objects/file"} {
		path := filepath.Join(dir, other)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	repo := testcomposefs.Open(t, dir)
	found, without, err := repo.Unprotected(10000)
	if err != nil || found != len(objects) || len(without) != found {
		t.Errorf("%d objects, %d without fs-verity: %v; want %d", found, len(without), err, len(objects))
	}
	if found, without, err = repo.Unprotected(5); err != nil || found != 5 || !strings.HasPrefix(without[0], "objects/") {
		t.Errorf("%d objects, %q: %v", found, without, err)
	}
	if repo.HasVerity() {
		t.Error("meta.json has fs-verity")
	}
}
