// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package layer_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/composefs/layer"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
)

func newRepo(t testing.TB, algorithm composefs.Algorithm) *testcomposefs.Repo {
	t.Helper()
	r := &testcomposefs.Repo{Dir: t.TempDir(), Algorithm: algorithm}
	if err := r.Init(); err != nil {
		t.Fatal(err)
	}
	return r
}

// entriesOf reads a layer entry by entry and returns its archive, and the contents of what is
// an object, by name.
func entriesOf(r *composefs.Repo, id composefs.ID) (archive []byte, objects map[string][]byte, err error) {
	a, err := layer.Open(r, id)
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	objects = map[string][]byte{}
	for {
		e, err := a.Next()
		if errors.Is(err, io.EOF) {
			return archive, objects, nil
		}
		if err != nil {
			return nil, nil, err
		}
		archive = append(append(archive, e.Raw...), e.Inline...)
		if e.File == nil {
			continue
		}
		content, err := io.ReadAll(e.File)
		e.File.Close()
		if err != nil {
			return nil, nil, err
		}
		archive = append(archive, content...)
		objects[e.Header.Name] = content
	}
}

func TestLayersOfTheRealToolsAreTheirArchives(t *testing.T) {
	for fixture, truncated := range map[string]bool{
		testcomposefs.Cfsctl094: false, testcomposefs.Bootc1169: false, testcomposefs.Cfsctl060: true,
	} {
		t.Run(fixture, func(t *testing.T) {
			r := testcomposefs.Open(t, testcomposefs.Fixture(t, fixture))
			img, err := layer.OpenImage(r, testcomposefs.Manifest)
			if err != nil {
				t.Fatal(err)
			}
			if img.ConfigDigest != testcomposefs.Config || len(img.Layers) != 2 {
				t.Errorf("got %s, %d layers", img.ConfigDigest, len(img.Layers))
			}
			for i, l := range img.Layers {
				size, err := layer.Check(t.Context(), r, l.DiffID)
				if err != nil || size != 112640 {
					t.Errorf("%s: got %d bytes, %v", l.DiffID, size, err)
				}
				archive, objects, err := entriesOf(r, l.Stream)
				if err != nil {
					t.Fatal(err)
				}
				if truncated == (len(archive) == 112640) {
					t.Errorf("%s: read %d bytes", l.DiffID, len(archive))
				}
				archive = append(archive, make([]byte, layer.Padding(int64(len(archive))))...)
				if got := testcomposefs.Digest(archive); got != l.DiffID || got != testcomposefs.DiffIDs()[i] {
					t.Errorf("got %s, want %s", got, l.DiffID)
				}
				if want := []int{13 + 1, 3}[i]; len(objects) != want { // two files have the same content
					t.Errorf("%d files are objects, want %d", len(objects), want)
				}
				compareFiles(t, archive, objects)
			}
		})
	}
}

// compareFiles compares what is an object with the files in the archive.
func compareFiles(t *testing.T, archive []byte, objects map[string][]byte) {
	t.Helper()
	contents := map[string][]byte{}
	for entries := tar.NewReader(bytes.NewReader(archive)); ; {
		hdr, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if contents[hdr.Name], err = io.ReadAll(entries); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range objects {
		if !bytes.Equal(content, contents[name]) {
			t.Errorf("%q: other content", name)
		}
	}
}

// archiveOf writes an archive of files by name, and what is said of others.
func archiveOf(t testing.TB, hdrs ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, hdr := range hdrs {
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag == tar.TypeReg {
			if _, err := w.Write(bytes.Repeat([]byte(hdr.Name[:1]), int(hdr.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func regular(name string, size int64) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Mode: 0o644}
}

func TestArchivesOfAnyEndAreKept(t *testing.T) {
	plain := archiveOf(t, regular("a", 64), regular("b", 65), regular("c", 0), &tar.Header{Name: "d/", Typeflag: tar.TypeDir}, regular("e", 100000),
		&tar.Header{Name: "f", Typeflag: tar.TypeLink, Linkname: "e"}, regular(strings.Repeat("long", 100), 513))
	for name, archive := range map[string][]byte{
		"plain": plain, "empty": {}, "no end": plain[:len(plain)-1024], "garbage at the end": append(bytes.Clone(plain), bytes.Repeat([]byte("x"), 3<<20)...),
	} {
		for _, algorithm := range []composefs.Algorithm{composefs.SHA256, composefs.SHA512} {
			repo := newRepo(t, algorithm)
			id, err := repo.Layer(testcomposefs.Digest(archive), bytes.NewReader(archive))
			if err != nil {
				t.Fatal(err)
			}
			r := testcomposefs.Open(t, repo.Dir)
			if got, _, err := entriesOf(r, id); err != nil || !bytes.Equal(got, archive) {
				t.Errorf("%s, %s: read %d bytes of %d, %v", name, algorithm, len(got), len(archive), err)
			}
			if size, err := layer.Check(t.Context(), r, testcomposefs.Digest(archive)); err != nil || size != int64(len(archive)) {
				t.Errorf("%s, %s: %d bytes, %v", name, algorithm, size, err)
			}
		}
	}
}

func TestDamagedLayersAreRefused(t *testing.T) {
	archive := archiveOf(t, regular("a", 1000), regular("b", 60), regular("c", 5000))
	for _, test := range []struct {
		name string
		// change returns the parts of the layer and the size that it says it has.
		change func(r *testcomposefs.Repo, parts []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64)
		want   error
		// entries reports that Next, which reads no object, finds it too.
		entries bool
	}{
		{"larger than it says", func(_ *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			return p, size - 1
		}, layer.ErrDamaged, true},
		{"smaller than it says", func(_ *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			return p, size + 1
		}, layer.ErrDamaged, true},
		{"an object again and again", func(_ *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			for range 1000 {
				p = append(p, p[1])
			}
			return p, size
		}, layer.ErrDamaged, true},
		{"objects exchanged", func(_ *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			p[1], p[3] = p[3], p[1]
			return p, size
		}, layer.ErrDamaged, true},
		{"an object that is gone", func(r *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			_ = os.Remove(r.ObjectPath(p[3].Object))
			return p, size
		}, fs.ErrNotExist, true},
		{"an object of another size", func(r *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			_ = os.WriteFile(r.ObjectPath(p[3].Object), make([]byte, 5001), 0o644)
			return p, size
		}, layer.ErrDamaged, true},
		{"an object in a header", func(_ *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			p[0].Inline = p[0].Inline[:100]
			return p, size - 412
		}, layer.ErrDamaged, true},
		{"an object with other content", func(r *testcomposefs.Repo, p []testcomposefs.Part, size int64) ([]testcomposefs.Part, int64) {
			_ = os.WriteFile(r.ObjectPath(p[3].Object), make([]byte, 5000), 0o644)
			return p, size
		}, layer.ErrDamaged, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			repo := newRepo(t, composefs.SHA512)
			parts, err := repo.Split(bytes.NewReader(archive))
			if err != nil || len(parts) != 5 {
				t.Fatal(len(parts), err)
			}
			parts, size := test.change(repo, parts, int64(len(archive)))
			id, err := repo.StreamOf(composefs.LayerPrefix+testcomposefs.Digest(archive), composefs.LayerType, size, nil, parts)
			if err != nil {
				t.Fatal(err)
			}
			r := testcomposefs.Open(t, repo.Dir)
			if _, err := layer.Check(t.Context(), r, testcomposefs.Digest(archive)); !errors.Is(err, test.want) {
				t.Errorf("check: got %v, want %v", err, test.want)
			}
			if _, _, err := entriesOf(r, id); test.entries != errors.Is(err, test.want) {
				t.Errorf("entries: got %v", err)
			}
		})
	}
}

// TestObjectsHaveTheSizeOfTheirFiles: an archive is the same wherever an object ends, and its
// file is not.
func TestObjectsHaveTheSizeOfTheirFiles(t *testing.T) {
	archive := archiveOf(t, regular("a", 1000), regular("b", 2000))
	const start = 512 // of the content of the first file
	for _, size := range []int{1, 512, 999, 1001, 1024} {
		repo := newRepo(t, composefs.SHA512)
		object, err := repo.Object(bytes.NewReader(archive[start : start+size]))
		if err != nil {
			t.Fatal(err)
		}
		id, err := repo.StreamOf(composefs.LayerPrefix+testcomposefs.Digest(archive), composefs.LayerType, int64(len(archive)), nil, []testcomposefs.Part{
			{Inline: archive[:start]}, {Object: object, Size: int64(size)}, {Inline: archive[start+size:]},
		})
		if err != nil {
			t.Fatal(err)
		}
		r := testcomposefs.Open(t, repo.Dir)
		if _, err := layer.Check(t.Context(), r, testcomposefs.Digest(archive)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := entriesOf(r, id); !errors.Is(err, layer.ErrDamaged) {
			t.Errorf("an object of %d bytes for a file of 1000: got %v", size, err)
		}
	}
}

// TestAPoisonedLayerIsFound: bootc and cfsctl give any archive the name that the image's
// configuration has.
func TestAPoisonedLayerIsFound(t *testing.T) {
	repo := newRepo(t, composefs.SHA512)
	diffID := testcomposefs.Digest([]byte("another archive"))
	if _, err := repo.Layer(diffID, bytes.NewReader(archiveOf(t, regular("a", 1000)))); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Check(t.Context(), testcomposefs.Open(t, repo.Dir), diffID); !errors.Is(err, layer.ErrDamaged) {
		t.Errorf("got %v, want %v", err, layer.ErrDamaged)
	}
}

// TestExpansionHasAnEnd: a stream of zeros that is 100,000 times as large as its object.
func TestExpansionHasAnEnd(t *testing.T) {
	repo := newRepo(t, composefs.SHA512)
	parts := make([]testcomposefs.Part, 0, 1000)
	zeros := make([]byte, 1<<20)
	for range cap(parts) {
		parts = append(parts, testcomposefs.Part{Inline: zeros})
	}
	diffID := testcomposefs.Digest(nil)
	if _, err := repo.StreamOf(composefs.LayerPrefix+diffID, composefs.LayerType, 4<<20, nil, parts); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Check(t.Context(), testcomposefs.Open(t, repo.Dir), diffID); !errors.Is(err, layer.ErrDamaged) || !strings.Contains(err.Error(), "more than the 4194304 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestImagesAreComparedWithTheirDigests(t *testing.T) {
	object := func(t *testing.T, dir, prefix string) string {
		t.Helper()
		r := testcomposefs.Open(t, dir)
		id, err := r.Stream(prefix)
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.OpenStream(id)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f, _, err := r.OpenObject(s.Object(0))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return f.Name()
	}
	for name, prefix := range map[string]string{
		"manifest": composefs.ManifestPrefix + testcomposefs.Manifest, "configuration": composefs.ConfigPrefix + testcomposefs.Config,
	} {
		t.Run(name, func(t *testing.T) {
			dir := testcomposefs.Fixture(t, testcomposefs.Bootc1169)
			if err := os.WriteFile(object(t, dir, prefix), []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := layer.OpenImage(testcomposefs.Open(t, dir), testcomposefs.Manifest); !errors.Is(err, layer.ErrDamaged) {
				t.Errorf("got %v, want %v", err, layer.ErrDamaged)
			}
		})
	}
	absent := "sha256:" + strings.Repeat("0", 64)
	if _, err := layer.OpenImage(testcomposefs.Open(t, testcomposefs.Fixture(t, testcomposefs.Bootc1169)), absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, fs.ErrNotExist)
	}
}
