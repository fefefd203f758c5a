// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs

import "testing"

func FuzzParseMeta(f *testing.F) {
	f.Add([]byte(`{"version":1,"algorithm":"fsverity-sha512-12","features":{"compatible":[],"read-only-compatible":["v1_erofs"],"incompatible":[]},"erofs_formats":{"default":1}}`))
	f.Add([]byte(`{"version":1,"algorithm":"fsverity-sha256-12","features":{"incompatible":["x"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		algorithm, err := parseMeta(data)
		if err == nil && algorithm != SHA256 && algorithm != SHA512 {
			t.Errorf("got %q", algorithm)
		}
	})
}
