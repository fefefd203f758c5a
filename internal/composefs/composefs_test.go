// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
)

func TestRepositoriesOfTheRealToolsAreRead(t *testing.T) {
	for _, fixture := range []string{testcomposefs.Cfsctl094, testcomposefs.Bootc1169, testcomposefs.Cfsctl060} {
		t.Run(fixture, func(t *testing.T) {
			r := testcomposefs.Open(t, testcomposefs.Fixture(t, fixture))
			if got := r.Algorithm(); got != composefs.SHA512 {
				t.Errorf("algorithm %s", got)
			}
			manifest, err := r.Manifest(testcomposefs.Manifest)
			if err != nil || len(manifest) != 706 {
				t.Errorf("manifest of %d bytes, %v", len(manifest), err)
			}
			config, err := r.Config(testcomposefs.Config)
			if err != nil || len(config) != 539 {
				t.Errorf("configuration of %d bytes, %v", len(config), err)
			}
			layers, err := r.Streams(composefs.LayerPrefix)
			if err != nil || !slices.Equal(layers, testcomposefs.DiffIDs()) {
				t.Errorf("layers %v, %v", layers, err)
			}
			for _, diffID := range layers {
				if _, err := r.Layer(diffID); err != nil {
					t.Error(err)
				}
			}
			if _, err := r.Layer("sha256:" + strings.Repeat("0", 64)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v for a layer that is not there", err)
			}
			if r.HasVerity() {
				t.Error("the fixture has fs-verity")
			}
		})
	}
}

func TestOpenRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, test := range []struct {
		name, meta string
		want       error
	}{
		{"nothing", "", composefs.ErrNoRepo},
		{"version", `{"version":2,"algorithm":"fsverity-sha512-12"}`, composefs.ErrFormat},
		{"feature", `{"version":1,"algorithm":"fsverity-sha512-12","features":{"incompatible":["x"]}}`, composefs.ErrFormat},
		{"algorithm", `{"version":1,"algorithm":"fsverity-md5-12"}`, composefs.ErrFormat},
		{"block size", `{"version":1,"algorithm":"fsverity-sha512-16"}`, composefs.ErrFormat},
		{"minimal", `{"version":1,"algorithm":"fsverity-sha256-12"}`, nil},
		{"unknown features of writers", `{"version":1,"algorithm":"fsverity-sha256-12","features":{"compatible":["x"],"read-only-compatible":["y"]},"z":1}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if test.meta != "" {
				if err := os.WriteFile(dir+"/meta.json", []byte(test.meta), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			root, err := rooted.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			r, err := composefs.Open(root, ".")
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err == nil {
				r.Close()
			}
		})
	}
}

// TestLinksThatLeadElsewhereAreRefused: no file outside of the repository is opened.
func TestLinksThatLeadElsewhereAreRefused(t *testing.T) {
	name := composefs.ManifestPrefix + testcomposefs.Manifest
	for what, change := range map[string]func(t *testing.T, dir string) error{
		"a stream's link out of the repository": func(_ *testing.T, dir string) error {
			return os.Symlink("/etc/passwd", dir+"/streams/"+name)
		},
		"a stream's link to no object": func(_ *testing.T, dir string) error {
			return os.Symlink("../objects/../meta.json", dir+"/streams/"+name)
		},
		"an object that is a link": func(t *testing.T, dir string) error {
			id := strings.Repeat("ab", 64)
			if err := os.MkdirAll(dir+"/objects/ab", 0o755); err != nil {
				t.Fatal(err)
			}
			return errors.Join(os.Symlink("/etc/passwd", dir+"/objects/ab/"+id[2:]),
				os.Symlink("../objects/ab/"+id[2:], dir+"/streams/"+name))
		},
		"objects that are a link": func(_ *testing.T, dir string) error {
			return errors.Join(os.Rename(dir+"/objects", dir+"/elsewhere"), os.Symlink("elsewhere", dir+"/objects"),
				os.Symlink("../objects/ab/"+strings.Repeat("ab", 63), dir+"/streams/"+name))
		},
		"an object that is a FIFO": func(t *testing.T, dir string) error {
			if err := os.MkdirAll(dir+"/objects/ab", 0o755); err != nil {
				t.Fatal(err)
			}
			return errors.Join(unix.Mkfifo(dir+"/objects/ab/"+strings.Repeat("ab", 63), 0o600),
				os.Symlink("../objects/ab/"+strings.Repeat("ab", 63), dir+"/streams/"+name))
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := testcomposefs.Fixture(t, testcomposefs.Bootc1169)
			if err := os.Remove(dir + "/streams/" + name); err != nil {
				t.Fatal(err)
			}
			if err := change(t, dir); err != nil {
				t.Fatal(err)
			}
			if data, err := testcomposefs.Open(t, dir).Manifest(testcomposefs.Manifest); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %.40q, %v", data, err)
			}
		})
	}
	if _, err := testcomposefs.Open(t, testcomposefs.Fixture(t, testcomposefs.Bootc1169)).Manifest("sha256:../../../etc/passwd"); err == nil {
		t.Error("a path was taken for a digest")
	}
}

func TestLockWaitsForAGarbageCollectionOnly(t *testing.T) {
	dir := testcomposefs.Fixture(t, testcomposefs.Bootc1169)
	r, other := testcomposefs.Open(t, dir), testcomposefs.Open(t, dir)
	unlockOther, err := other.Lock(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := r.Lock(t.Context(), 0)
	if err != nil {
		t.Fatalf("beside another reader: %v", err)
	}
	unlock()
	unlockOther()
	collector, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer collector.Close()
	if err := unix.Flock(int(collector.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatalf("the lock was not given back: %v", err)
	}
	if _, err := r.Lock(t.Context(), time.Millisecond); !errors.Is(err, composefs.ErrBusy) {
		t.Errorf("got %v, want %v", err, composefs.ErrBusy)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Lock(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func FuzzParseStream(f *testing.F) {
	for _, fixture := range []string{testcomposefs.Bootc1169, testcomposefs.Cfsctl060} {
		dir := testcomposefs.Fixture(f, fixture)
		names, err := filepath.Glob(dir + "/streams/oci-*")
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := composefs.ParseStream(bytes.NewReader(data), int64(len(data)), composefs.SHA512)
		if err != nil {
			return
		}
		for i := range s.Objects() {
			if len(s.Object(i)) != 128 {
				t.Errorf("object %q", s.Object(i))
			}
		}
		for i := range s.Refs() {
			if len(s.Ref(i)) != 128 {
				t.Errorf("reference %q", s.Ref(i))
			}
		}
	})
}
