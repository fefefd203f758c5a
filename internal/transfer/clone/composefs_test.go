// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// composefsImage is an image in a repository of a test, and in a store that pulled it.
type composefsImage struct {
	repo     *testcomposefs.Repo
	manifest string
	id, top  string
	diffIDs  []string
}

// addComposefs writes an image of layers, each compressed but for those with an odd index, and
// pulls it into a store unless that is nil.
func addComposefs(t *testing.T, repo *testcomposefs.Repo, pulled *testStore, layers ...[]byte) *composefsImage {
	t.Helper()
	must(t, repo.Init())
	img := &composefsImage{repo: repo}
	var descriptors []descriptor
	var refs []testcomposefs.Ref
	for i, l := range layers {
		diffID := digest.FromBytes(l)
		blob := l
		d := descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar"}
		if i%2 == 0 {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, err := z.Write(l)
			must(t, errors.Join(err, z.Close()))
			blob, d.MediaType = b.Bytes(), d.MediaType+"+gzip"
		}
		d.Digest, d.Size = digest.FromBytes(blob), int64(len(blob))
		descriptors, img.diffIDs = append(descriptors, d), append(img.diffIDs, diffID.String())
		stream, err := repo.Layer(diffID.String(), bytes.NewReader(l))
		must(t, err)
		if ref := (testcomposefs.Ref{Name: diffID.String(), ID: stream}); !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
		if pulled != nil {
			id := layerID(img.top, diffID)
			_, _, err = pulled.PutLayer(id, img.top, nil, "", false, &storage.LayerOptions{
				OriginalDigest: d.Digest, OriginalSize: &d.Size, UncompressedDigest: diffID,
			}, bytes.NewReader(blob))
			must(t, err)
			img.top = id
		}
	}
	config, err := json.Marshal(map[string]any{
		"created": "2026-08-01T10:00:00Z", "os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": img.diffIDs},
	})
	must(t, err)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "layers": descriptors,
		"config": descriptor{"application/vnd.oci.image.config.v1+json", digest.FromBytes(config), int64(len(config))},
	})
	must(t, err)
	must(t, repo.Image("quay.io/test/os:1", manifest, config, refs))
	img.manifest, img.id = digest.FromBytes(manifest).String(), digest.FromBytes(config).Encoded()
	return img
}

// cloneComposefs clones an image of a repository into a store.
func (s *testStore) cloneComposefs(t *testing.T, dir, manifest string, verify clonejob.Verify) (*clonejob.Result, error) {
	t.Helper()
	s.Free()
	job := clonejob.Job{
		Destination: s.job, Names: []string{"quay.io/test/os:1"}, Verify: verify, Composefs: &clonejob.Composefs{Digest: manifest},
	}
	return Composefs(t.Context(), job, testcomposefs.Open(t, dir), nil)
}

// shapeBut is shape without the times of directories that no entry names, and without what
// versions of podman take from different names of a file.
func (s *testStore) shapeBut(t *testing.T, id, implicit string) string {
	t.Helper()
	lines := strings.Split(s.shape(t, id), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, implicit) && strings.Contains(line, "mode 4") {
			before, after, _ := strings.Cut(line, "mtime ")
			_, after, _ = strings.Cut(after, " ")
			lines[i] = before + after
		}
		if name, rest, ok := strings.Cut(line, "inode of "); ok && name == "" {
			_, size, _ := strings.Cut(rest, "xattrs ")
			lines[i] = size
		}
	}
	return strings.Join(lines, "\n")
}

// segments are the entries of a layer's tar-split file. How many segments come after each other
// depends on how the library read the archive.
func (s *testStore) segments(t *testing.T, id string) (entries []string) {
	t.Helper()
	var payload []byte
	for line := range strings.Lines(s.tarSplit(t, id)) {
		var e struct {
			Type    int
			Payload []byte
		}
		must(t, json.Unmarshal([]byte(line), &e))
		if e.Type == 2 {
			payload = append(payload, e.Payload...)
			continue
		}
		position := regexp.MustCompile(`"position":\d+`)
		entries = append(entries, string(payload), position.ReplaceAllString(line, ""))
		payload = nil
	}
	return append(entries, string(payload))
}

// equalPulled compares what was cloned with what the storage library pulled.
func equalPulled(t *testing.T, cloned, pulled *testStore, img *composefsImage, result *clonejob.Result) {
	t.Helper()
	cloned.check(t)
	pulled.reopen(t)
	image, err := cloned.Image(img.id)
	must(t, err)
	if image.Digest.String() != img.manifest || image.TopLayer != img.top || !slices.Equal(image.Names, []string{"quay.io/test/os:1"}) ||
		!image.Created.Equal(time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("image %+v, want %s", image, img.manifest)
	}
	for i, l := range result.Layers {
		if l.DiffID != img.diffIDs[i] {
			t.Errorf("layer %d is %s, want %s", i, l.DiffID, img.diffIDs[i])
		}
		if got, want := cloned.shapeBut(t, l.ID, "/deep"), pulled.shapeBut(t, l.ID, "/deep"); got != want {
			t.Errorf("tree:\n%s\nwant:\n%s", got, want)
		}
		if !slices.Equal(cloned.segments(t, l.ID), pulled.segments(t, l.ID)) {
			t.Error("another tar-split")
		}
		if got, want := fmt.Sprint(cloned.layerRecord(t, l.ID)), fmt.Sprint(pulled.layerRecord(t, l.ID)); got != want {
			t.Errorf("record %s, want %s", got, want)
		}
	}
}

// composefsLayers are images by what is special about them.
func composefsLayers(t *testing.T) map[string][][]byte {
	sizes := newArchive(t)
	for _, size := range []int{0, 1, 63, 64, 65, 511, 512, 513, 4095, 4096, 4097, 100000} {
		sizes.add(tar.Header{Name: fmt.Sprint(size)}, strings.Repeat("s", size))
	}
	names := newArchive(t)
	names.add(tar.Header{Name: "/absolute", Mode: 0o600}, strings.Repeat("a", 100))
	names.add(tar.Header{Name: "./dot/", Typeflag: tar.TypeDir, Mode: 0o700}, "")
	names.add(tar.Header{Name: "./dot/file"}, strings.Repeat("d", 100))
	names.add(tar.Header{Name: "./dot/link", Typeflag: tar.TypeLink, Linkname: "./dot/file"}, "")
	names.add(tar.Header{Name: "deep1/a/b/file"}, strings.Repeat("e", 100))
	names.add(tar.Header{Name: "deep2/a/", Typeflag: tar.TypeDir, Mode: 0o1777}, "")
	names.add(tar.Header{Name: "deep3/a/b"}, "x")
	names.add(tar.Header{Name: "deep3/a/", Typeflag: tar.TypeDir, Mode: 0o711}, "") // after what is in it
	gnu := &layerArchive{t: t}
	gnu.tw = tar.NewWriter(&gnu.b)
	for _, h := range []tar.Header{
		{Name: strings.Repeat("g", 180), Typeflag: tar.TypeReg, Mode: 0o640, Size: 0},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("t", 200), Mode: 0o777},
		{Name: "char", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600, Uid: 1 << 21, Gid: 5},
		{Name: "old", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		h.Format, h.ModTime = tar.FormatGNU, time.Unix(1234567890, 0)
		must(t, gnu.tw.WriteHeader(&h))
	}
	hundreds := newArchive(t)
	for i := range 700 {
		if i%100 == 0 {
			hundreds.add(tar.Header{Name: fmt.Sprintf("d%d/", i/100), Typeflag: tar.TypeDir, Mode: 0o755}, "")
		}
		hundreds.add(tar.Header{Name: fmt.Sprintf("d%d/%d", i/100, i)}, strings.Repeat("h", i))
		hundreds.add(tar.Header{Name: fmt.Sprintf("d%d/l%d", i/100, i), Typeflag: tar.TypeLink, Linkname: fmt.Sprintf("d%d/%d", i/100, i)}, "")
	}
	plain := sizes.bytes()
	padded := append(bytes.Clone(plain), make([]byte, 10240-len(plain)%10240)...)
	hard := hardLayers(t)
	return map[string][][]byte{
		"everything": hard, "sizes": {plain}, "names": {names.bytes()}, "GNU": {gnu.bytes()}, "hundreds": {hundreds.bytes()},
		"record padding":     {padded},
		"no end":             {plain[:len(plain)-1024]},
		"garbage at the end": {append(bytes.Clone(plain), []byte(strings.Repeat("garbage", 200000))...)},
		"empty archive":      {hard[0], make([]byte, 1024)},
		"a layer twice":      {hard[0], hard[1], hard[1]},
	}
}

func TestComposefsIsWhatThePullMakes(t *testing.T) {
	i := 0
	for name, layers := range composefsLayers(t) {
		// Filesystems, algorithms and versions take turns.
		kind := []string{"xfs", "btrfs", "ext4"}[i%3]
		if name == "everything" {
			kind = "xfs"
		}
		for _, algorithm := range []composefs.Algorithm{composefs.SHA256, composefs.SHA512} {
			old := algorithm == composefs.SHA512 && (name == "record padding" || name == "everything")
			verify := []clonejob.Verify{clonejob.VerifyMetadata, clonejob.VerifyFull, clonejob.VerifyNone}[i%3]
			i++
			t.Run(fmt.Sprintf("%s %s %s %s", name, kind, algorithm, verify), func(t *testing.T) {
				dir := testfs.New(t, kind)
				pulled, cloned := newStore(t, dir+"/a"), newStore(t, dir+"/b")
				img := addComposefs(t, &testcomposefs.Repo{Dir: dir + "/composefs", Algorithm: algorithm, Old: old}, pulled, layers...)
				before := testfs.Snapshot(t, dir+"/composefs")
				result, err := cloned.cloneComposefs(t, dir+"/composefs", img.manifest, verify)
				must(t, err)
				equalPulled(t, cloned, pulled, img, result)
				for _, l := range result.Layers {
					if kind != "ext4" && l.Copied > 700*64 { // what is no object
						t.Errorf("layer %+v", l)
					}
				}
				if result, err = cloned.cloneComposefs(t, dir+"/composefs", img.manifest, verify); err != nil || !result.Layers[0].Shared {
					t.Errorf("once more: %+v, %v", result, err)
				}
				testfs.Compare(t, testfs.Snapshot(t, dir+"/composefs"), before)
			})
		}
	}
}

func TestComposefsOfTheRealToolsIsCloned(t *testing.T) {
	for _, fixture := range []string{testcomposefs.Cfsctl094, testcomposefs.Bootc1169, testcomposefs.Cfsctl060} {
		t.Run(fixture, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			must(t, testcomposefs.Extract(fixture, dir+"/host"))
			s := newStore(t, dir+"/store")
			result, err := s.cloneComposefs(t, dir+"/host/composefs", testcomposefs.Manifest, clonejob.VerifyFull)
			must(t, err)
			s.check(t)
			image, err := s.Image(strings.TrimPrefix(testcomposefs.Config, "sha256:"))
			must(t, err)
			if image.Digest != testcomposefs.Manifest {
				t.Errorf("digest %s", image.Digest)
			}
			for i, l := range result.Layers {
				if l.DiffID != testcomposefs.DiffIDs()[i] {
					t.Errorf("layer %d: %s", i, l.DiffID)
				}
				// The library makes the archive again.
				plain := archive.Uncompressed
				stream, err := s.Diff("", l.ID, &storage.DiffOptions{Compression: &plain})
				must(t, err)
				found, err := digest.FromReader(stream)
				must(t, errors.Join(err, stream.Close()))
				if found.String() != l.DiffID {
					t.Errorf("layer %d: its archive is %s", i, found)
				}
			}
		})
	}
}

// object returns the path of the object of the first file of a size in a layer's stream.
func (img *composefsImage) object(t *testing.T, size int64) string {
	t.Helper()
	paths, err := filepath.Glob(img.repo.Dir + "/objects/*/*")
	must(t, err)
	for _, path := range paths {
		if st, err := os.Stat(path); err == nil && st.Size() == size {
			return path
		}
	}
	t.Fatalf("no object of %d bytes", size)
	return ""
}

func TestComposefsThatIsDamagedLeavesNothing(t *testing.T) {
	const size = 70000
	layers := hardLayers(t)
	for name, test := range map[string]struct {
		spoil func(t *testing.T, img *composefsImage)
		want  error
		words string
	}{
		"another byte in an object": {func(t *testing.T, img *composefsImage) {
			content := []byte(strings.Repeat("content", size/7))
			content[size/2] ^= 1
			must(t, os.WriteFile(img.object(t, size), content, 0o600))
		}, clonejob.ErrNotVerified, "its archive is sha256:"},
		"an object larger than its header says": {func(t *testing.T, img *composefsImage) {
			must(t, os.Truncate(img.object(t, size), size+1))
		}, clonejob.ErrNotVerified, "70001 bytes"},
		"an object that was truncated": {func(t *testing.T, img *composefsImage) {
			must(t, os.Truncate(img.object(t, size), size-1))
		}, clonejob.ErrNotVerified, "69999 bytes"},
		"an object that is gone": {func(t *testing.T, img *composefsImage) {
			must(t, os.Remove(img.object(t, size)))
		}, clonejob.ErrNotVerified, "no such file"},
		"an object that is a link out of the repository": {func(t *testing.T, img *composefsImage) {
			path := img.object(t, size)
			must(t, os.Rename(path, img.repo.Dir+"/../elsewhere"))
			must(t, os.Symlink(img.repo.Dir+"/../elsewhere", path))
		}, nil, "too many levels of symbolic links"},
		"a poisoned layer": {func(t *testing.T, img *composefsImage) {
			other := newArchive(t)
			other.add(tar.Header{Name: "evil"}, strings.Repeat("e", 1000))
			_, err := img.repo.Layer(img.diffIDs[1], bytes.NewReader(other.bytes()))
			must(t, err)
			img.renew(t)
		}, clonejob.ErrNotVerified, "its archive is sha256:"},
		"a truncated stream": {func(t *testing.T, img *composefsImage) {
			path, err := filepath.EvalSymlinks(img.repo.Dir + "/streams/" + composefs.LayerPrefix + img.diffIDs[0])
			must(t, err)
			st, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, st.Size()-20))
		}, clonejob.ErrUnsupported, "damaged or truncated"},
		"a stream that expands without end": {func(t *testing.T, img *composefsImage) {
			var parts []testcomposefs.Part
			for range 300 {
				parts = append(parts, testcomposefs.Part{Inline: make([]byte, 1<<20)})
			}
			_, err := img.repo.StreamOf(composefs.LayerPrefix+img.diffIDs[1], composefs.LayerType, 5000, nil, parts)
			must(t, err)
			img.renew(t)
		}, clonejob.ErrNotVerified, "more than the 5000 bytes"},
		"a manifest that is another": {func(t *testing.T, img *composefsImage) {
			r := testcomposefs.Open(t, img.repo.Dir)
			manifest, err := r.Manifest(img.manifest)
			must(t, err)
			must(t, os.WriteFile(img.object(t, int64(len(manifest))), bytes.Replace(manifest, []byte("2"), []byte("3"), 1), 0o600))
		}, clonejob.ErrNotVerified, "has the digest"},
		"an image that was collected": {func(t *testing.T, img *composefsImage) {
			must(t, os.Remove(img.repo.Dir+"/streams/"+composefs.ManifestPrefix+img.manifest))
		}, clonejob.ErrNotFound, "no such image"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			img := addComposefs(t, &testcomposefs.Repo{Dir: dir + "/composefs", Algorithm: composefs.SHA512}, nil, layers...)
			s := newStore(t, dir+"/store")
			test.spoil(t, img)
			_, err := s.cloneComposefs(t, img.repo.Dir, img.manifest, clonejob.VerifyNone)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.words) {
				t.Errorf("got %v, want %v: %s", err, test.want, test.words)
			}
			s.empty(t)
		})
	}
}

// renew writes the documents again, whose streams refer to the objects of layers.
func (img *composefsImage) renew(t *testing.T) {
	t.Helper()
	r := testcomposefs.Open(t, img.repo.Dir)
	manifest, err := r.Manifest(img.manifest)
	must(t, err)
	config, err := r.Config("sha256:" + img.id)
	must(t, err)
	var refs []testcomposefs.Ref
	for _, diffID := range img.diffIDs {
		id, err := r.Layer(diffID)
		must(t, err)
		refs = append(refs, testcomposefs.Ref{Name: diffID, ID: id})
	}
	must(t, img.repo.Image("quay.io/test/os:1", manifest, config, refs))
}

// empty reports what is in a store that has to be empty.
func (s *testStore) empty(t *testing.T) {
	t.Helper()
	s.check(t)
	if layers, _ := s.Layers(); len(layers) != 0 {
		t.Errorf("%d layers", len(layers))
	}
	if images, _ := s.Images(); len(images) != 0 {
		t.Errorf("%d images", len(images))
	}
}

// TestArchivesThatDependOnTheOrderAreRefused: podman refuses a name that comes twice, too.
func TestArchivesThatDependOnTheOrderAreRefused(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name} }
	for name, headers := range map[string][]tar.Header{
		"a file twice":         {file("a"), file("./a")},
		"a directory twice":    {{Name: "d/", Typeflag: tar.TypeDir}, {Name: "./d/", Typeflag: tar.TypeDir}},
		"through a link":       {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, file("l/passwd")},
		"below a file":         {file("a"), file("a/b")},
		"out of the layer":     {file("../../a")},
		"a link to nothing":    {{Name: "l", Typeflag: tar.TypeLink, Linkname: "nothing"}},
		"a link before a file": {{Name: "l", Typeflag: tar.TypeLink, Linkname: "a"}, file("a")},
		"a link out of it":     {{Name: "l", Typeflag: tar.TypeLink, Linkname: "../../../etc/passwd"}},
		"a link to a link's":   {{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "l", Typeflag: tar.TypeLink, Linkname: "s/passwd"}},
		"a whiteout and more":  {file(".wh.a"), file("a")},
		"an unknown whiteout":  {file(".wh..wh.aufs")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			a := newArchive(t)
			for _, h := range headers {
				a.add(h, "")
			}
			img := addComposefs(t, &testcomposefs.Repo{Dir: dir + "/composefs", Algorithm: composefs.SHA512}, nil, a.bytes())
			s := newStore(t, dir+"/store")
			if _, err := s.cloneComposefs(t, img.repo.Dir, img.manifest, clonejob.VerifyNone); !errors.Is(err, clonejob.ErrUnsupported) {
				t.Errorf("got %v, want %v", err, clonejob.ErrUnsupported)
			}
			s.empty(t)
		})
	}
}

// TestComposefsIsLockedWhileItIsRead: a garbage collection waits, and only until then.
func TestComposefsIsLockedWhileItIsRead(t *testing.T) {
	dir := testfs.New(t, "xfs")
	img := addComposefs(t, &testcomposefs.Repo{Dir: dir + "/composefs", Algorithm: composefs.SHA512}, nil, hardLayers(t)...)
	s := newStore(t, dir+"/store")
	s.Free()
	collector, err := os.Open(img.repo.Dir)
	must(t, err)
	defer collector.Close()
	locked := 0
	job := clonejob.Job{Destination: s.job, Names: []string{}, Verify: clonejob.VerifyNone, Composefs: &clonejob.Composefs{Digest: img.manifest}}
	_, err = Composefs(t.Context(), job, testcomposefs.Open(t, img.repo.Dir), func(p clonejob.Progress) {
		if p.Done && unix.Flock(int(collector.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			locked++
		}
	})
	must(t, err)
	if locked == 0 {
		t.Error("the repository was not locked")
	}
	must(t, unix.Flock(int(collector.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}
