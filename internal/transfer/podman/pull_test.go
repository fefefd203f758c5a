// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"encoding/base64"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// blobOf is the digest of a blob.
func blobOf(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func TestRegistryConfigHasUserNamesAndPasswords(t *testing.T) {
	for auth, want := range map[string]string{
		`{}`: `{}`,
		`{"auths":{"quay.io/example":{"auth":"dXNlcjpwYTpzcwA="},"docker.io":{}}}`: `{"quay.io/example":{"username":"user","password":"pa:ss"}}`,
		`{"auths":{"quay.io":{"auth":"dXNlcg=="}}}`:                                `-`,
		`{"auths":{"quay.io":{"auth":"dXNlcjpw","identitytoken":"x"}}}`:            `-`,
		`{"auths":{"quay.io":{"auth":"%"}}}`:                                       `-`,
		`{"credHelpers":{"quay.io":"pass"}}`:                                       `-`,
		`{"credsStore":"pass"}`:                                                    `-`,
		`x`:                                                                        `-`,
	} {
		header, ok := registryConfig([]byte(auth))
		got, err := base64.URLEncoding.DecodeString(header)
		if ok != (want != "-") || err != nil || ok && string(got) != want {
			t.Errorf("%s: got %s, %t, %v; want %s", auth, got, ok, err, want)
		}
	}
}

// counted is a pull of layers of 100, 200 and 300 bytes, the last of which is there.
func counted() *puller {
	p := &puller{
		stored: func() map[string]bool { return nil },
		wanted: map[string]int64{blobOf("1"): 100, blobOf("2"): 200}, cached: map[string]int64{blobOf("3"): 300},
		parts: map[string]*blob{}, total: 300,
	}
	p.again()
	return p
}

func TestPullCountsWhatPodmanPutsIntoItsDirectory(t *testing.T) {
	dir := t.TempDir()
	p := counted()
	write := func(path string, size int) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, size), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want int64) {
		t.Helper()
		if p.grown(blobSizes(dir)); p.shown != want {
			t.Errorf("shows %d, want %d", p.shown, want)
		}
	}
	is(0)
	// What podman puts there besides is not of the image.
	write("podman-auth-1", 1000)
	is(0)
	write("storage1/1", 60)
	write("storage1/2", 10)
	is(70)
	// A stored layer stays counted when its file goes.
	if err := os.Remove(filepath.Join(dir, "storage1/1")); err != nil {
		t.Fatal(err)
	}
	write("storage1/2", 110)
	is(170)
	// Another try begins anew, and is heard of when it has got further.
	p.again()
	if err := os.RemoveAll(filepath.Join(dir, "storage1")); err != nil {
		t.Fatal(err)
	}
	write("storage2/1", 100)
	is(170)
	write("storage2/2", 100)
	is(200)
	// With the configuration it is more than the layers.
	write("storage2/3", 1000)
	is(300)
}

func TestPullCountsWhatTheServiceTells(t *testing.T) {
	p := counted()
	for _, step := range []struct {
		status, blob          string
		current, total        int64
		shown, want, wantHave int64
	}{
		{"pulling", "1", 0, 100, 0, 300, 300},
		{"pulling", "2", 50, -1, 50, 300, 300},
		{"pulling", "1", 60, 100, 110, 300, 300},
		{"success", "1", 99, 100, 150, 300, 300},
		// Less after a failure is not shown.
		{"pulling", "2", 20, -1, 150, 300, 300},
		{"pulling", "2", 70, -1, 170, 300, 300},
		{"skipped", "1", 0, 0, 170, 300, 300},
		// More than there is neither.
		{"pulling", "2", 700, -1, 300, 300, 300},
		{"success", "2", 700, -1, 300, 300, 300},
		{"skipped", "3", 0, 0, 300, 300, 300},
		// The configuration.
		{"pulling", "c", 5, 10, 305, 310, 300},
		{"success", "c", 10, 10, 310, 310, 300},
	} {
		p.reported(&clonejob.BlobProgress{Status: step.status, Current: step.current, Total: step.total, Digest: blobOf(step.blob)})
		if have := sum(p.cached); p.shown != step.shown || p.total != step.want || have != step.wantHave {
			t.Errorf("%v: shows %d of %d, %d cached", step, p.shown, p.total, have)
		}
	}
	// Growth is no news then.
	p.grown(map[string]int64{"x": 1000})
	if p.shown != 310 {
		t.Errorf("shows %d", p.shown)
	}

	// A layer that is there after all, and one that is not.
	p = counted()
	p.reported(&clonejob.BlobProgress{Status: "skipped", Digest: blobOf("2")})
	p.reported(&clonejob.BlobProgress{Status: "pulling", Current: 10, Total: 300, Digest: blobOf("3")})
	if p.shown != 10 || p.total != 400 || !maps.Equal(p.cached, map[string]int64{blobOf("2"): 200}) {
		t.Errorf("shows %d of %d, cached %v", p.shown, p.total, p.cached)
	}

	// Nothing known of the image.
	p = &puller{stored: func() map[string]bool { return nil }, parts: map[string]*blob{}}
	p.again()
	p.reported(&clonejob.BlobProgress{Status: "pulling", Current: 10, Total: 300, Digest: blobOf("3")})
	p.reported(&clonejob.BlobProgress{Status: "skipped", Digest: blobOf("4")})
	if p.shown != 10 || p.total != 0 {
		t.Errorf("shows %d of %d", p.shown, p.total)
	}
}
