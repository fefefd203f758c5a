// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// hex64 is a made-up checksum.
func hex64(digit string) string { return strings.Repeat(digit, 64) }

// statuses are the hosts that testdata/status describes.
func statuses() map[string]Host {
	insecure := func(t Transport, name string) *SignedReference {
		return &SignedReference{Image: ImageReference{t, name}}
	}
	rootOf := func(stateroot, commit string) string {
		return "ostree/deploy/" + stateroot + "/deploy/" + commit
	}
	return map[string]Host{
		"ostree-booted": {Kind: OSTree, Deployments: []Deployment{{
			Role: Booted, Image: insecure(Registry, "quay.io/example/os:42"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "42.20260801.0", Architecture: "amd64", Created: time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC),
			Stateroot: "default", Commit: hex64("2"), Root: rootOf("default", hex64("2")+".0"),
		}}},
		"ostree-staged-rollback": {Kind: OSTree, RollbackQueued: true, Deployments: []Deployment{{
			Role: Staged, Image: &SignedReference{Image: ImageReference{Registry, "quay.io/example/os:43"}, ContainerPolicy: true},
			ManifestDigest: "sha256:" + hex64("a"), Version: "43.1", Architecture: "amd64", Created: time.Date(2026, 9, 1, 10, 0, 0, 123456789, time.UTC),
			Stateroot: "default", Commit: hex64("b"), Root: rootOf("default", hex64("b")+".0"),
		}, {
			Role: Booted, Image: insecure(Registry, "quay.io/example/os:42"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "42.20260801.0", Architecture: "amd64", Created: time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC),
			Stateroot: "default", Commit: hex64("2"), Serial: 1, Root: rootOf("default", hex64("2")+".1"),
		}, {
			Role: Rollback, Image: &SignedReference{Image: ImageReference{Registry, "quay.io/example/os:41"}, Remote: "fedora"},
			ManifestDigest: "sha256:" + hex64("c"), Architecture: "amd64",
			Stateroot: "default", Commit: hex64("d"), Root: rootOf("default", hex64("d")+".0"),
		}}},
		"ostree-pinned-others": {Kind: OSTree, Deployments: []Deployment{{
			Role: Booted, Pinned: true, Image: insecure(OCI, "/var/mnt/os:latest"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "42", Architecture: "arm64", Stateroot: "default", Commit: hex64("2"), Root: rootOf("default", hex64("2")+".0"),
		}, {
			Role: Other, Pinned: true, Image: insecure(ContainersStorage, "localhost/os:dev"), ManifestDigest: "sha256:" + hex64("4"),
			Architecture: "amd64", Stateroot: "other.root", Commit: hex64("5"), Root: rootOf("other.root", hex64("5")+".0"),
		}, {
			Role: Other, Image: insecure(Registry, "quay.io/example/os:40"), ManifestDigest: "sha256:" + hex64("6"),
			Architecture: "amd64", Stateroot: "default", Commit: hex64("7"), Serial: 3, Root: rootOf("default", hex64("7")+".3"),
		}}},
		"composefs": {Kind: Composefs, Deployments: []Deployment{{
			Role: Booted, Image: insecure(ContainersStorage, "localhost/os:dev"), ManifestDigest: "sha256:" + hex64("5"),
			Architecture: "amd64", Created: time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC), Verity: hex64("4") + hex64("4"),
		}, {
			Role: Rollback, Image: insecure(ContainersStorage, "localhost/os:dev"), ManifestDigest: "sha256:" + hex64("6"),
			Version: "1", Architecture: "amd64", Created: time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC), Verity: hex64("e") + hex64("e"),
		}}},
		"incompatible": {Kind: OSTree, Deployments: []Deployment{{
			Role: Booted, Incompatible: true, Stateroot: "default", Commit: hex64("2"), Root: rootOf("default", hex64("2")+".0"),
		}, {
			Role: Rollback, Image: insecure(Registry, "quay.io/example/os:42"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "42", Architecture: "amd64", Stateroot: "default", Commit: hex64("3"), Root: rootOf("default", hex64("3")+".0"),
		}}},
		"null-image": {Kind: OSTree, Deployments: []Deployment{{
			Role: Staged, Image: insecure(Registry, "quay.io/example/os:42"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "42", Architecture: "amd64", Stateroot: "default", Commit: hex64("3"), Root: rootOf("default", hex64("3")+".0"),
		}, {
			Role: Booted, Stateroot: "default", Commit: hex64("2"), Root: rootOf("default", hex64("2")+".0"),
		}}},
		"not-booted": {},
		// This old version did not report the stateroot, nor the architecture.
		"v1alpha1": {Kind: OSTree, Deployments: []Deployment{{
			Role: Booted, Image: insecure(Registry, "quay.io/example/os:latest"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "nightly", Created: time.Date(2023, 9, 30, 19, 22, 16, 0, time.UTC), Commit: hex64("2"),
		}}},
		"unknown-keys": {Kind: OSTree, Deployments: []Deployment{{
			Role: Booted, Image: insecure(Registry, "quay.io/example/os:42"), ManifestDigest: "sha256:" + hex64("1"),
			Version: "42", Architecture: "amd64", Stateroot: "default", Commit: hex64("2"), Root: rootOf("default", hex64("2")+".0"),
		}}},
	}
}

func readStatus(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/status", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseBootcStatusReadsHosts(t *testing.T) {
	for name, want := range statuses() {
		got, err := ParseBootcStatus(readStatus(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(*got, want) {
			gotText, _ := json.MarshalIndent(got, "", " ")
			wantText, _ := json.MarshalIndent(want, "", " ")
			t.Errorf("%s: got %s\nwant %s", name, gotText, wantText)
		}
	}
	files, err := filepath.Glob("testdata/status/*.json")
	if err != nil || len(files) != len(statuses()) {
		t.Errorf("%d files for %d hosts, %v", len(files), len(statuses()), err)
	}
}

// edited is the host of the file with one text in it replaced.
func edited(t testing.TB, name, from, to string) []byte {
	t.Helper()
	data := string(readStatus(t, name))
	if !strings.Contains(data, from) {
		t.Fatalf("%s does not contain %q", name, from)
	}
	return []byte(strings.ReplaceAll(data, from, to))
}

func TestParseBootcStatusTakesMissingForNull(t *testing.T) {
	booted := statuses()["ostree-booted"]
	for _, key := range []string{
		`"cachedUpdate":null,`, `"composefs":null,`, `"downloadOnly":false,`, `"incompatible":false,`, `"pinned":false,`,
		`"rollback":null,`, `"rollbackQueued":false,`, `"staged":null,`, `"readOnly":false,`,
	} {
		name, _, _ := strings.Cut(key, ":")
		for _, to := range []string{"", name + ":null,"} {
			got, err := ParseBootcStatus(edited(t, "ostree-booted", key, to))
			if err != nil || !reflect.DeepEqual(*got, booted) {
				t.Errorf("%q instead of %q: got %+v, %v", to, key, got, err)
			}
		}
	}
	for _, data := range []string{
		`{"apiVersion":"org.containers.bootc/v1"}`,
		`{"apiVersion":"org.containers.bootc/v1","status":null}`,
		`{"apiVersion":"org.containers.bootc/v1","status":{}}`,
		`{"apiVersion":"org.containers.bootc/v1","status":{"otherDeployments":null}}`,
		`{"apiVersion":"org.containers.bootc/v1","status":{"otherDeployments":[null]}}`,
	} {
		if got, err := ParseBootcStatus([]byte(data)); err != nil || !reflect.DeepEqual(*got, Host{}) {
			t.Errorf("%s: got %+v, %v; want no deployments", data, got, err)
		}
	}
}

func TestParseBootcStatusNamesAnUnsupportedVersion(t *testing.T) {
	for _, version := range []string{"org.containers.bootc/v2", "org.containers.bootc/v1beta1", "v1", ""} {
		// The type of status is not looked at before the version.
		data := `{"apiVersion":"` + version + `","status":[]}`
		_, err := ParseBootcStatus([]byte(data))
		if err == nil || !strings.Contains(err.Error(), `apiVersion "`+version+`"`) {
			t.Errorf("version %q: got error %v", version, err)
		}
	}
}

func TestParseBootcStatusRefusesGarbledHosts(t *testing.T) {
	checksum := `"checksum":"` + hex64("2") + `"`
	stateroot := `"stateroot":"default"`
	serial := `"deploySerial":0`
	digest := `"sha256:` + hex64("1") + `"`
	image := `"image":"quay.io/example/os:42"`
	transport := `"transport":"registry"`
	created := `"2026-08-01T10:00:00Z"`
	ostree := `"ostree":{` + checksum + `,` + serial + `,` + stateroot + `}`
	composefs := `"composefs":{"verity":"` + hex64("4") + hex64("4") + `"}`
	for _, c := range []struct{ what, from, to, want string }{
		{"escaping stateroot", stateroot, `"stateroot":"../../x"`, "stateroot"},
		{"parent stateroot", stateroot, `"stateroot":".."`, "stateroot"},
		{"stateroot with NUL", stateroot, `"stateroot":"a\u0000"`, "stateroot"},
		{"same stateroot", stateroot, `"stateroot":"."`, "stateroot"},
		{"stateroot of another type", stateroot, `"stateroot":1`, "stateroot"},
		{"escaping checksum", checksum, `"checksum":"../../../x"`, "checksum"},
		{"short checksum", checksum, `"checksum":"22"`, "checksum"},
		{"upper case checksum", checksum, `"checksum":"` + hex64("A") + `"`, "checksum"},
		{"no checksum", checksum + ",", ``, "checksum"},
		{"negative serial", serial, `"deploySerial":-1`, "deploySerial"},
		{"huge serial", serial, `"deploySerial":99999999999999999999`, "deploySerial"},
		{"fractional serial", serial, `"deploySerial":0.5`, "deploySerial"},
		{"serial out of any range", serial, `"deploySerial":1e999`, "deploySerial"},
		{"digest of no algorithm", digest, `"1:2"`, "imageDigest"},
		{"digest with a newline", digest, `"sha256:\n"`, "imageDigest"},
		{"no transport", transport, `"transport":null`, "transport"},
		{"unknown transport", transport, `"transport":"a\nb"`, "transport"},
		{"half a transport", transport, `"transport":"docker"`, "docker"},
		{"no image name", image, `"image":null`, "image name"},
		{"image of another type", image, `"image":{}`, "image"},
		{"unknown signature", transport, transport + `,"signature":"pgp"`, "signature"},
		{"signature of another type", transport, transport + `,"signature":true`, "signature"},
		{"unknown signature object", transport, transport + `,"signature":{"pgp":"x"}`, "signature"},
		{"empty remote", transport, transport + `,"signature":{"ostreeRemote":""}`, "signature"},
		{"remote with a transport", transport, transport + `,"signature":{"ostreeRemote":"x:docker://y"}`, "signature"},
		{"remote of another type", transport, transport + `,"signature":{"ostreeRemote":1}`, "signature"},
		{"two signatures", transport, transport + `,"signature":{"ostreeRemote":"x","y":1}`, "signature"},
		{"no time", created, `"yesterday\n"`, "timestamp"},
		{"time without zone", created, `"2026-08-01T10:00:00"`, "timestamp"},
		{"neither backend", ostree, `"ostree":null`, "neither"},
		{"both backends", `"composefs":null`, composefs, "both"},
		{"short verity", ostree, `"composefs":{"verity":"44"}`, "verity"},
		{"verity of another algorithm", ostree, `"composefs":{"verity":"` + hex64("4") + `"}`, "verity"},
		{"escaping verity", ostree, `"composefs":{"verity":"../x"}`, "verity"},
		{"two kinds of deployments", `"rollback":null`, `"rollback":{` + composefs + `}`, "kind"},
		{"deployment of another type", `"rollback":null`, `"rollback":[]`, "rollback"},
		{"boolean of another type", `"rollbackQueued":false`, `"rollbackQueued":"no"`, "rollbackQueued"},
		{"control character", `"rollback":null`, "\"roll\nback\":null", "invalid character"},
		{"deep nesting", `"rollback":null`, `"future":` + strings.Repeat("[", 1<<20), "depth"},
	} {
		got, err := ParseBootcStatus(edited(t, "ostree-booted", c.from, c.to))
		switch {
		case err == nil:
			t.Errorf("%s: got %+v; want an error", c.what, got)
		case got != nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "parse bootc status: ") || strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: got %+v and error %q; want one line with %q", c.what, got, err, c.want)
		}
	}
	whole := readStatus(t, "ostree-booted")
	for _, data := range [][]byte{nil, []byte("null"), []byte("[]"), []byte("{}"), whole[:len(whole)-1], append(whole, "{}"...)} {
		if got, err := ParseBootcStatus(data); err == nil {
			t.Errorf("%.40q: got %+v; want an error", data, got)
		}
	}
}

func TestParseBootcStatusNeverPutsAnImageOnAnIncompatibleDeployment(t *testing.T) {
	got, err := ParseBootcStatus(edited(t, "ostree-booted", `"incompatible":false`, `"incompatible":true`))
	if err != nil || !got.Deployments[0].Incompatible || got.Deployments[0].Image != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzParseBootcStatus(f *testing.F) {
	for name := range statuses() {
		f.Add(readStatus(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ParseBootcStatus(data)
		if err != nil {
			if h != nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %+v with error %q", h, err)
			}
			return
		}
		if (h.Kind == "") != (len(h.Deployments) == 0) {
			t.Errorf("kind %q with %d deployments", h.Kind, len(h.Deployments))
		}
		for _, d := range h.Deployments {
			if d.Root != "" && (!filepath.IsLocal(d.Root) || filepath.Clean(d.Root) != d.Root || strings.Count(d.Root, "/") != 4) {
				t.Errorf("deployment in %q", d.Root)
			}
			if d.Image == nil {
				continue
			}
			if again, err := ParseSignedReference(d.Image.String()); d.Incompatible || err != nil || again != *d.Image {
				t.Errorf("image %+v is written as %+v, %v", d.Image, again, err)
			}
		}
	})
}
