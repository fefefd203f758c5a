// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package testcomposefs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// verityDigests were computed by a program in Python, by the kernel's documentation.
var verityDigests = []struct {
	algorithm composefs.Algorithm
	size      int
	want      string
}{
	{composefs.SHA256, 0, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"},
	{composefs.SHA256, 1, "4af995a62686da554d03ce169687e48b993f81ce8af86799b9e6641164f2ab11"},
	{composefs.SHA256, 4096, "83258d1b69b31d99fae07523eb32a9b6e8f6940fc93b6b89d770c169308c9dd5"},
	{composefs.SHA256, 4097, "32db7cd92117ab6cf1e605f0e9d65daa95818e1112e01c9528415ff32efd35c0"},
	{composefs.SHA256, 8192, "841fc78011b947464ea33eb7f1f6e27cb56665513161478b5f960061e1fdfd4c"},
	{composefs.SHA256, 262144, "90fc627240255235b3253b59c6a27e21044269f1fb843b70291c6bf8c8573304"},
	{composefs.SHA256, 262145, "f114bd4e8907633d080a3b1bbd027fe8186f37493dc91a41ac19a95b0b946af0"},
	{composefs.SHA256, 524288, "ec7b398e301a25845878fc3cb39ffd699f664e6e0874eda323db45f789684501"},
	{composefs.SHA256, 524289, "8686f7dd071ee90dbcf88f5ebe27eb1e2c1c113a3024e8b2e46344468115d5d6"},
	{composefs.SHA256, 16777217, "f673b890b384b1ea76c4832bbc46e22e574c3c968aad21436a3992d1f86c2335"},
	{composefs.SHA256, 16777216, "9c1980e9bd26d9f039d8c9fd82c976a951a1010fdaba2ad97be1d5fc4440635f"},
	{composefs.SHA512, 0, "ccf9e5aea1c2a64efa2f2354a6024b90dffde6bbc017825045dce374474e13d10adb9dadcc6ca8e17a3c075fbd31336e8f266ae6fa93a6c3bed66f9e784e5abf"},
	{composefs.SHA512, 1, "74be685a4dfd492752e34b83c9836699075e7ff4c13a014f75acc4db8f4491ba061045e88ed4eb0ff7aadf8f182ea971dd903d410e8c1c04180d66a8e574e6ff"},
	{composefs.SHA512, 4096, "92af16dfa1c56e880da929fc769a82045aae251392d6b56c9dc7cc45aa36bf52e75f6b8c87d4ebf40dd3c2d476c9d8acbf12d8c0963289b3bad54f20aceed2c0"},
	{composefs.SHA512, 4097, "30f3d34a052184e1b2a5e6b71d67d686dc206b69fa8931f67b54b275764be1b5ccc84a0ac5c7d92fe572f7da78bb39b52c9aee1fbf751611722aac7ad9787016"},
	{composefs.SHA512, 8192, "b1b8c6622be1b7cc0cd603960d3ec61b81bccb38958db2ae75a33c38ba06bafdaf612cad69fa2a52c323c2137e2d45fbdcf93f92d59c6e3f22b6396e008d9cfc"},
	{composefs.SHA512, 262144, "a1668e8d71e24bd97738c36a99a9e10c63fb5ee185f452fdfea113b0e3bd2ab4416cf954bb1fe97f64218fa56dc7f6db4b211448f864505222e284b6afd61c6a"},
	{composefs.SHA512, 262145, "cc6c51605c5108a31a4ca337e6ab05915468444f7b45c69d74c9a99282a13041b6a7e2d4e54a21f75e453cba8628637007d97cabefb2a6d6e691a314dc4f7f69"},
	{composefs.SHA512, 524288, "6e144191c5076cb3eb6cf312c2178ed83b1f36ca7be916144ecb4f0a84ce37c2fa1b297de9c612dfdde52840fbdf37712a33001f54da296e393a3ff4afc317ba"},
	{composefs.SHA512, 524289, "27981c5a9d21845e8ec18ec3f23dba1304465b0e9fb020b8eba08cf79d42dd38bff6ec89c6990c936261a96424f8d00f8608cd30694df3a45301c79d4c060aee"},
	{composefs.SHA512, 16777217, "90396c1a8fbbee02ab4642004c5e3ca9561d7555a47db7247cb68d63063ab9ebb00f4009f2e4cba3f3bead6ca06b0d2cc02d2569d4d33b5d5c6488cfa00b556c"},
	{composefs.SHA512, 16777216, "30d9fb762c2441d15af86e3d141bf92b683de3f009c452a8c5df80c88b8cde78419d69153fdf5742d821df312fce7f3d46d30a8550f628b4bbf1427932cdb855"},
	{composefs.SHA256, 32, "e9f91b0195ee822bb24ac560f74cd68a4f26917cb965c9552450abe4f1b32ea3"},
	{composefs.SHA512, 64, "b9a1e34ad283434636409997fdfa60e21dac91b8cf5d1d939a64761ad03a27909d21ec31f7ed844ffdaa9353f070d3fba2f84bfc0ed8712eced1241d1d982c7b"},
}

// TestObjectsAreNamedByTheirDigests: those of real tools, which are verified to be what the
// kernel computes.
func TestObjectsAreNamedByTheirDigests(t *testing.T) {
	for _, fixture := range []string{Cfsctl094, Bootc1169, Cfsctl060} {
		paths, err := filepath.Glob(Fixture(t, fixture) + "/objects/*/*")
		if err != nil || len(paths) < 20 {
			t.Fatalf("%d objects, %v", len(paths), err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			v := NewVerity(composefs.SHA512)
			_, _ = v.Write(data) // never fails
			if name := filepath.Base(filepath.Dir(path)) + filepath.Base(path); string(v.ID()) != name {
				t.Errorf("%s has the digest %s", name, v.ID())
			}
		}
	}
}

// TestVerityDigestsOfBothAlgorithms: of files of zeros, but for the last byte, which is 1, at
// the borders of blocks and levels.
func TestVerityDigestsOfBothAlgorithms(t *testing.T) {
	for _, test := range verityDigests {
		data := make([]byte, test.size)
		if test.size > 0 {
			data[test.size-1] = 1
		}
		v := NewVerity(test.algorithm)
		for rest := data; len(rest) > 0; { // in pieces that are no blocks
			n := min(len(rest), 1000)
			if _, err := v.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got := v.ID(); got != composefs.ID(test.want) {
			t.Errorf("%s of %d bytes: got %s, want %s", test.algorithm, test.size, got, test.want)
		}
	}
}
