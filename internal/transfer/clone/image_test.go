// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// layerArchive makes a tar archive.
type layerArchive struct {
	t  *testing.T
	b  bytes.Buffer
	tw *tar.Writer
}

func newArchive(t *testing.T) *layerArchive {
	a := &layerArchive{t: t}
	a.tw = tar.NewWriter(&a.b)
	return a
}

func (a *layerArchive) add(h tar.Header, content string) {
	a.t.Helper()
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	h.Size, h.Format = int64(len(content)), tar.FormatPAX
	if h.ModTime.IsZero() {
		h.ModTime = time.Unix(1700000000, 123456789)
	}
	must(a.t, a.tw.WriteHeader(&h))
	_, err := io.WriteString(a.tw, content)
	must(a.t, err)
}

func (a *layerArchive) bytes() []byte {
	must(a.t, a.tw.Close())
	return a.b.Bytes()
}

// hardLayers are the archives of an image with everything that layers can hold.
func hardLayers(t *testing.T) [][]byte {
	xattrs := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m["SCHILY.xattr."+kv[i]] = kv[i+1]
		}
		return m
	}
	lower := newArchive(t)
	lower.add(tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	lower.add(tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o2775, Gid: 50}, "")
	lower.add(tar.Header{Name: "d/file", Uid: 1, Gid: 2, Mode: 0o6755}, strings.Repeat("content", 10000))
	lower.add(tar.Header{Name: "d/empty", Mode: 0o600}, "")
	lower.add(tar.Header{Name: "d/linked", Typeflag: tar.TypeLink, Linkname: "d/file"}, "")
	lower.add(tar.Header{Name: "linked too", Typeflag: tar.TypeLink, Linkname: "d/file"}, "")
	lower.add(tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "../../d/file", Mode: 0o777}, "")
	lower.add(tar.Header{Name: "capable", PAXRecords: xattrs("security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "user.some", "value")}, "x")
	lower.add(tar.Header{Name: "größe\n☃"}, "odd name")
	lower.add(tar.Header{Name: strings.Repeat("n", 255)}, "long name")
	lower.add(tar.Header{Name: strings.Repeat("deep/", 60) + "file"}, "deep")
	lower.add(tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o622}, "")
	lower.add(tar.Header{Name: "device", Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: 300, Mode: 0o640}, "")
	lower.add(tar.Header{Name: "removed/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	lower.add(tar.Header{Name: "removed/file"}, "removed")
	lower.add(tar.Header{Name: "twice"}, "first, and longer")
	lower.add(tar.Header{Name: "none", Mode: 0o0000 | 0o1000}, "nobody may")
	upper := newArchive(t)
	upper.add(tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711}, "")
	upper.add(tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	upper.add(tar.Header{Name: "d/.wh..wh..opq"}, "")
	upper.add(tar.Header{Name: "d/new"}, "new")
	upper.add(tar.Header{Name: ".wh.removed"}, "")
	upper.add(tar.Header{Name: ".wh.link"}, "")
	return [][]byte{lower.bytes(), upper.bytes()}
}

// testStore is a store of a test.
type testStore struct {
	storage.Store
	dir string
	job clonejob.Store
	// podmanRun is the run root of podman, once it was run.
	podmanRun string
}

// newStore opens a store below dir with the library's own driver.
func newStore(t *testing.T, dir string, options ...string) *testStore {
	t.Helper()
	s := &testStore{dir: dir, job: clonejob.Store{
		GraphRoot: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Driver: "overlay", Options: options,
	}}
	s.reopen(t)
	return s
}

func (s *testStore) reopen(t *testing.T) {
	t.Helper()
	if s.Store != nil {
		s.Free()
	}
	var err error
	s.Store, err = storage.GetStore(storage.StoreOptions{
		GraphRoot: s.job.GraphRoot, RunRoot: s.job.RunRoot, GraphDriverName: "overlay",
		GraphDriverOptions: append([]string{"overlay.skip_mount_home=true"}, s.job.Options...),
	})
	must(t, err)
}

// put makes an image as podman's pull would: with the IDs that it gives to layers,
// the blobs compressed. It returns the image's ID.
func (s *testStore) put(t *testing.T, name string, layers ...[]byte) string {
	t.Helper()
	var diffIDs []digest.Digest
	parent := ""
	for _, l := range layers {
		diffID := digest.FromBytes(l)
		diffIDs = append(diffIDs, diffID)
		id := layerID(parent, diffID)
		if !s.Exists(id) {
			var blob bytes.Buffer
			z := gzip.NewWriter(&blob)
			_, err := z.Write(l)
			must(t, errors.Join(err, z.Close()))
			size := int64(blob.Len())
			_, _, err = s.PutLayer(id, parent, nil, "", false, &storage.LayerOptions{
				OriginalDigest: digest.FromBytes(blob.Bytes()), OriginalSize: &size, UncompressedDigest: diffID,
			}, &blob)
			must(t, err)
		}
		parent = id
	}
	config, err := json.Marshal(map[string]any{"os": "linux", "name": name, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	must(t, err)
	manifest, other := []byte(`{"schemaVersion":2,"name":"`+name+`"}`), []byte(`{"other":"manifest"}`)
	data := func(key string, data []byte) storage.ImageBigDataOption {
		return storage.ImageBigDataOption{Key: key, Data: data, Digest: digest.FromBytes(data)}
	}
	image, err := s.CreateImage(digest.FromBytes(config).Encoded(), []string{name}, parent, "", &storage.ImageOptions{
		CreationDate: time.Unix(1700000000, 0).UTC(), Digest: digest.FromBytes(manifest),
		Metadata: `{"signature-sizes":[3],"signatures-sizes":{"x":[1]},"other":1}`,
		BigData: []storage.ImageBigDataOption{
			data("manifest", manifest), data("manifest-"+digest.FromBytes(manifest).String(), manifest),
			data("manifest-"+digest.FromBytes(other).String(), other),
			data(digest.FromBytes(config).String(), config),
			data("signatures", []byte("abc")), data("signature-x", []byte("d")),
		},
	})
	must(t, err)
	return image.ID
}

// trials are what the directories begin with in which the library tries out the
// filesystem. It leaves them when it is killed, and then takes them for layers.
var trials = []string{"compat", "metacopy-check", "opaque-bug-check"}

// check lets the library check all of a store, but for what it finds wrong in its own
// layers: hard links and directories without an entry.
func (s *testStore) check(t *testing.T) {
	t.Helper()
	s.reopen(t)
	report, err := s.Check(storage.CheckMost())
	must(t, err)
	for kind, problems := range map[string]map[string][]error{
		"layer": report.Layers, "read-only layer": report.ROLayers, "image": report.Images, "container": report.Containers,
	} {
		for id, errs := range problems {
			if slices.ContainsFunc(trials, func(trial string) bool { return strings.HasPrefix(id, trial) }) {
				continue
			}
			t.Errorf("%s %s: %v", kind, id, errs)
		}
	}
	for _, left := range s.leftovers(t) {
		t.Errorf("left behind: %s", left)
	}
}

// staging are the staging directories: ours, and the library's.
func (s *testStore) staging() (dirs []string) {
	for _, dir := range []string{stagingName, "overlay/staging"} {
		found, _ := filepath.Glob(filepath.Join(s.job.GraphRoot, dir, "*"))
		dirs = append(dirs, found...)
	}
	return dirs
}

// leftovers are the staging directories, unfinished images, and tar-split files without a
// layer.
func (s *testStore) leftovers(t *testing.T) (left []string) {
	t.Helper()
	left = append(left, s.staging()...)
	if _, err := os.Lstat(filepath.Join(s.job.GraphRoot, stagingName)); err == nil {
		left = append(left, stagingName)
	}
	images, err := s.Images()
	must(t, err)
	for _, image := range images {
		for _, name := range image.Names {
			if strings.HasPrefix(name, unfinished) {
				left = append(left, name)
			}
		}
	}
	tarSplits, _ := filepath.Glob(tarSplitPath(layersDir(s.job.GraphRoot), "*"))
	for _, path := range tarSplits {
		if id, _, _ := strings.Cut(filepath.Base(path), "."); !s.Exists(id) {
			left = append(left, path)
		}
	}
	return left
}

// age makes staging directories two minutes older.
func (s *testStore) age(t *testing.T) {
	t.Helper()
	for _, dir := range s.staging() {
		old := time.Now().Add(-2 * tooOldToBeNew)
		must(t, os.Chtimes(dir, old, old))
	}
}

// layerRecord is a layer's record as it is written, but for what differs by nature.
func (s *testStore) layerRecord(t *testing.T, id string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(layersDir(s.job.GraphRoot), "layers.json"))
	must(t, err)
	var records []map[string]any
	must(t, json.Unmarshal(text, &records))
	for _, r := range records {
		if r["id"] == id {
			delete(r, "created")
			return r
		}
	}
	t.Fatalf("no record of layer %s", id)
	return nil
}

func (s *testStore) diff(id string) string {
	return filepath.Join(s.job.GraphRoot, "overlay", id, "diff")
}

// tarSplit is the content of a layer's tar-split file.
func (s *testStore) tarSplit(t *testing.T, id string) string {
	t.Helper()
	f, err := os.Open(tarSplitPath(layersDir(s.job.GraphRoot), id))
	must(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, err)
	return string(text)
}

// equal compares an image in two stores, but for signatures.
func equal(t *testing.T, got, want *testStore, id string) {
	t.Helper()
	got.reopen(t)
	want.reopen(t)
	a, err := got.Image(id)
	must(t, err)
	b, err := want.Image(id)
	must(t, err)
	if a.Digest != b.Digest || !a.Created.Equal(b.Created) || a.TopLayer != b.TopLayer || a.Metadata != `{"other":1}` {
		t.Errorf("image %+v, want %+v", a, b)
	}
	if !slices.Equal(a.Digests, b.Digests) {
		t.Errorf("digests %v, want %v", a.Digests, b.Digests)
	}
	for _, key := range b.BigDataNames {
		x, errX := got.ImageBigData(id, key)
		y, errY := want.ImageBigData(id, key)
		must(t, errY)
		if isSignature(key) {
			if errX == nil {
				t.Errorf("has %q", key)
			}
			continue
		}
		if !bytes.Equal(x, y) || a.BigDataDigests[key] != b.BigDataDigests[key] {
			t.Errorf("%q is %q (%v), want %q", key, x, errX, y)
		}
	}
	for layer := b.TopLayer; layer != ""; {
		t.Run("layer "+layer[:8], func(t *testing.T) {
			testfs.Compare(t, testfs.Snapshot(t, got.diff(layer)), testfs.Snapshot(t, want.diff(layer)))
			if got.tarSplit(t, layer) != want.tarSplit(t, layer) {
				t.Error("another tar-split")
			}
			if g, w := fmt.Sprint(got.layerRecord(t, layer)), fmt.Sprint(want.layerRecord(t, layer)); g != w {
				t.Errorf("record %s, want %s", g, w)
			}
		})
		l, err := want.Layer(layer)
		must(t, err)
		layer = l.Parent
	}
}

// clone has an image cloned.
func (s *testStore) clone(t *testing.T, to *testStore, id string, verify clonejob.Verify, names ...string) (*clonejob.Result, error) {
	t.Helper()
	s.Free()
	to.Free()
	return Image(t.Context(), clonejob.Job{Source: s.job, Destination: to.job, Image: id, Names: names, Verify: verify}, nil)
}

func TestImageIsWhatThePullMade(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		for _, verify := range []clonejob.Verify{clonejob.VerifyNone, clonejob.VerifyMetadata, clonejob.VerifyFull} {
			t.Run(kind+" "+string(verify), func(t *testing.T) {
				dir := testfs.New(t, kind)
				a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
				id := a.put(t, "localhost/image:1", hardLayers(t)...)
				result, err := a.clone(t, b, id, verify, "localhost/image:1", "localhost/other:1")
				must(t, err)
				if result.Image != id || len(result.Layers) != 2 || result.Layers[0].Shared || len(result.Digests) != 2 {
					t.Errorf("result %+v", result)
				}
				equal(t, b, a, id)
				b.check(t)
				image, err := b.Image(id)
				must(t, err)
				if !slices.Equal(image.Names, []string{"localhost/image:1", "localhost/other:1"}) {
					t.Errorf("names %q", image.Names)
				}
				// Once more, and back to where it came from.
				for _, pair := range [][2]*testStore{{a, b}, {b, a}} {
					result, err = pair[0].clone(t, pair[1], id, verify)
					must(t, err)
					for _, l := range result.Layers {
						if !l.Shared || l.Files != 0 {
							t.Errorf("layer %+v is not shared", l)
						}
					}
				}
				equal(t, b, a, id)
				a.check(t)
			})
		}
	}
}

func TestLayersInheritNothingOfTheStore(t *testing.T) {
	for name, prepare := range heritable {
		t.Run(name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			a := newStore(t, dir+"/a")
			id := a.put(t, "localhost/image:1", hardLayers(t)...)
			must(t, os.MkdirAll(dir+"/b/root", 0o755))
			prepare(t, dir+"/b/root")
			b := newStore(t, dir+"/b")
			_, err := a.clone(t, b, id, clonejob.VerifyMetadata)
			must(t, err)
			equal(t, b, a, id)
			b.check(t)
		})
	}
}

func TestLayersThatAreThereAreShared(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	layers := hardLayers(t)
	base := b.put(t, "localhost/base:1", layers[0])
	id := a.put(t, "localhost/image:1", layers...)
	result, err := a.clone(t, b, id, clonejob.VerifyMetadata, "localhost/image:1")
	must(t, err)
	if !result.Layers[0].Shared || result.Layers[1].Shared {
		t.Errorf("layers %+v", result.Layers)
	}
	b.reopen(t)
	image, err := b.Image(base)
	must(t, err)
	if image.TopLayer != result.Layers[0].ID {
		t.Errorf("layer %s is not %s of the base", result.Layers[0].ID, image.TopLayer)
	}
	b.check(t)
}

func TestLayersOfBuildsAreShared(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	layers := hardLayers(t)
	id := a.put(t, "localhost/image:1", layers...)
	// A build gives its layers random IDs.
	_, _, err := b.PutLayer(strings.Repeat("ab", 32), "", nil, "", false, nil, bytes.NewReader(layers[0]))
	must(t, err)
	result, err := a.clone(t, b, id, clonejob.VerifyMetadata)
	must(t, err)
	if !result.Layers[0].Shared || result.Layers[0].ID != strings.Repeat("ab", 32) {
		t.Errorf("layers %+v", result.Layers)
	}
	b.check(t)
}

// TestImageThatIsThereKeepsItsLayers, though others would do: some image ID may have
// been made by a build here and be pulled there.
func TestImageThatIsThereKeepsItsLayers(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	layer := hardLayers(t)[0]
	id := a.put(t, "localhost/image:1", layer)
	random := strings.Repeat("ab", 32)
	_, _, err := b.PutLayer(random, "", nil, "", false, nil, bytes.NewReader(layer))
	must(t, err)
	_, err = b.CreateImage(id, []string{"localhost/built:1"}, random, "", nil)
	must(t, err)
	b.put(t, "localhost/pulled:1", layer) // with another ID
	result, err := a.clone(t, b, id, clonejob.VerifyMetadata, "localhost/image:1")
	must(t, err)
	if l := result.Layers[0]; l.ID != random || !l.Shared {
		t.Errorf("layer %+v", l)
	}
	b.reopen(t)
	image, err := b.Image(id)
	must(t, err)
	if image.TopLayer != random || len(image.Names) != 2 || len(image.Digests) != 2 {
		t.Errorf("image %+v", image)
	}
	// The same ID with something else is not ours.
	_, err = b.DeleteImage(id, true)
	must(t, err)
	_, _, err = b.PutLayer(strings.Repeat("cd", 32), "", nil, "", false, nil, bytes.NewReader(hardLayers(t)[1]))
	must(t, err)
	_, err = b.CreateImage(id, nil, strings.Repeat("cd", 32), "", nil)
	must(t, err)
	if _, err = a.clone(t, b, id, clonejob.VerifyMetadata); !errors.Is(err, clonejob.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
	}
}

func TestNameIsTakenFromAnotherImage(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	layers := hardLayers(t)
	old := b.put(t, "localhost/image:1", layers[0])
	id := a.put(t, "localhost/image:1", layers...)
	_, err := a.clone(t, b, id, clonejob.VerifyMetadata, "localhost/image:1")
	must(t, err)
	b.reopen(t)
	image, err := b.Image(old)
	must(t, err)
	if len(image.Names) != 0 {
		t.Errorf("the old image has the names %q", image.Names)
	}
}

func TestImageOfAnAdditionalStoreIsCloned(t *testing.T) {
	dir := testfs.New(t, "xfs")
	shared := newStore(t, dir+"/shared")
	id := shared.put(t, "localhost/image:1", hardLayers(t)...)
	readOnly := dir + "/read-only"
	must(t, os.Mkdir(readOnly, 0o755))
	must(t, exec.Command("mount", "--bind", shared.job.GraphRoot, readOnly).Run())
	must(t, exec.Command("mount", "-o", "remount,bind,ro", readOnly).Run())
	a, b := newStore(t, dir+"/a", "additionalimagestore="+readOnly), newStore(t, dir+"/b")
	_, err := a.clone(t, b, id, clonejob.VerifyFull, "localhost/image:1")
	must(t, err)
	b.check(t)
	_, err = b.Image(id)
	must(t, err)
}

// TestLayerOnAnotherFilesystemTakesReflinksFromNoOther: the lower one is in an additional
// store there, and is cloned first.
func TestLayerOnAnotherFilesystemTakesReflinksFromNoOther(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		dir, other := testfs.New(t, "xfs"), testfs.New(t, kind)
		shared := newStore(t, other+"/shared")
		layers := manyLayers(t, 2, 30)
		shared.put(t, "localhost/base:1", layers[0])
		shared.Free()
		readOnly := other + "/read-only"
		must(t, os.Mkdir(readOnly, 0o755))
		must(t, exec.Command("mount", "--bind", shared.job.GraphRoot, readOnly).Run())
		a, b := newStore(t, dir+"/a", "additionalimagestore="+readOnly), newStore(t, dir+"/b")
		id := a.put(t, "localhost/image:1", layers...)
		if _, err := os.Stat(a.diff(layerID("", digest.FromBytes(layers[0])))); err == nil {
			t.Fatal("the base is not in the additional store alone")
		}
		a.Free()
		b.Free()
		result, err := Image(t.Context(), clonejob.Job{Source: a.job, Destination: b.job, Image: id, Verify: clonejob.VerifyFull, Workers: 1}, nil)
		must(t, err)
		if l := result.Layers[0]; l.Bytes == 0 || l.Copied != l.Bytes {
			t.Errorf("%s: lower layer %+v", kind, l)
		}
		if l := result.Layers[1]; l.Bytes == 0 || l.Copied != 0 {
			t.Errorf("%s: upper layer %+v", kind, l)
		}
		b.check(t)
	}
}

func TestStoresOfOtherFormsAreRefused(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	for name, spoil := range map[string]func(src, dst *clonejob.Store){
		"driver":          func(_, dst *clonejob.Store) { dst.Driver = "vfs" },
		"image store":     func(src, _ *clonejob.Store) { src.ImageStore = dir + "/images" },
		"mount program":   func(src, _ *clonejob.Store) { src.Options = []string{"overlay.mount_program=/usr/bin/fuse-overlayfs"} },
		"old spelling":    func(src, _ *clonejob.Store) { src.Options = []string{"mount_program=/usr/bin/fuse-overlayfs"} },
		"forced mode":     func(_, dst *clonejob.Store) { dst.Options = []string{"overlay.force_mask=755"} },
		"composefs":       func(_, dst *clonejob.Store) { dst.Options = []string{"overlay.use_composefs=true"} },
		"composefs is 1":  func(_, dst *clonejob.Store) { dst.Options = []string{"overlay.use_composefs=1"} },
		"any owners is T": func(src, _ *clonejob.Store) { src.Options = []string{"ignore_chown_errors=T"} },
		"unknown option":  func(src, _ *clonejob.Store) { src.Options = []string{"overlay.of_the_future=1"} },
		"no layer store":  func(src, _ *clonejob.Store) { src.Options = []string{"additionallayerstore=/nowhere:ref"} },
		"not a size":      func(_, dst *clonejob.Store) { dst.Options = []string{"overlay.size=large"} },
		"the same store":  func(src, dst *clonejob.Store) { *dst = *src },
		"any owners":      func(src, _ *clonejob.Store) { src.Options = []string{"overlay.ignore_chown_errors=true"} },
		"no tar-split":    func(*clonejob.Store, *clonejob.Store) {},
		"composefs layer": func(*clonejob.Store, *clonejob.Store) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := newStore(t, t.TempDir())
			b.Free()
			a.reopen(t)
			image, err := a.Image(id)
			must(t, err)
			switch name {
			case "no tar-split":
				path := tarSplitPath(layersDir(a.job.GraphRoot), image.TopLayer)
				must(t, os.Rename(path, path+".away"))
				defer func() { must(t, os.Rename(path+".away", path)) }()
			case "composefs layer":
				path := filepath.Join(filepath.Dir(a.diff(image.TopLayer)), "composefs-data")
				must(t, os.Mkdir(path, 0o700))
				defer os.Remove(path)
			}
			a.Free()
			job := clonejob.Job{Source: a.job, Destination: b.job, Image: id, Verify: clonejob.VerifyMetadata}
			job.Destination.GraphRoot, job.Destination.RunRoot = dir+"/b/root", dir+"/b/run"
			spoil(&job.Source, &job.Destination)
			_, err = Image(t.Context(), job, nil)
			if !errors.Is(err, clonejob.ErrUnsupported) {
				t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
			}
		})
	}
}

// overwrite writes a document of an image to where the library keeps it.
func overwrite(t *testing.T, s *testStore, image *storage.Image, key, text string) {
	t.Helper()
	name := key
	if strings.ContainsAny(key, "-:") {
		name = "=" + base64.StdEncoding.EncodeToString([]byte(key))
	}
	path := filepath.Join(s.job.GraphRoot, "overlay-images", image.ID, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestDamagedSources(t *testing.T) {
	for _, tt := range []struct {
		name   string
		verify clonejob.Verify
		spoil  func(t *testing.T, a *testStore, image *storage.Image, lower string)
		want   clonejob.Kind
	}{
		{"no such image", clonejob.VerifyMetadata, func(t *testing.T, a *testStore, image *storage.Image, _ string) {
			_, err := a.DeleteImage(image.ID, true)
			must(t, err)
		}, clonejob.NotFound},
		{"tree removed", clonejob.VerifyMetadata, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			must(t, os.RemoveAll(filepath.Dir(a.diff(lower))))
		}, clonejob.Changed},
		{"truncated file", clonejob.VerifyMetadata, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			must(t, os.Truncate(filepath.Join(a.diff(lower), "d/file"), 100))
		}, clonejob.NotVerified},
		{"truncated file in full", clonejob.VerifyFull, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			must(t, os.Truncate(filepath.Join(a.diff(lower), "d/file"), 100))
		}, clonejob.NotVerified},
		{"bytes of one file in another", clonejob.VerifyFull, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			must(t, os.Truncate(filepath.Join(a.diff(lower), "d/file"), 69999))
			must(t, os.Truncate(filepath.Join(a.diff(lower), "twice"), 18))
		}, clonejob.NotVerified},
		{"another byte", clonejob.VerifyFull, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			f, err := os.OpenFile(filepath.Join(a.diff(lower), "d/file"), os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("X"), 5000)
			must(t, errors.Join(err, f.Close()))
		}, clonejob.NotVerified},
		{"missing file", clonejob.VerifyFull, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			must(t, os.Remove(filepath.Join(a.diff(lower), "capable")))
		}, clonejob.NotVerified},
		{"link in place of a file", clonejob.VerifyFull, func(t *testing.T, a *testStore, _ *storage.Image, lower string) {
			file := filepath.Join(a.diff(lower), "capable")
			must(t, os.Remove(file))
			must(t, os.Symlink("d/file", file))
		}, clonejob.NotVerified},
		{"other manifest", clonejob.VerifyMetadata, func(t *testing.T, a *testStore, image *storage.Image, _ string) {
			overwrite(t, a, image, "manifest", `{"schemaVersion":2,"name":"localhost/image:2"}`)
		}, clonejob.NotVerified},
		{"other named manifest", clonejob.VerifyMetadata, func(t *testing.T, a *testStore, image *storage.Image, _ string) {
			overwrite(t, a, image, "manifest-"+image.Digest.String(), "{}")
		}, clonejob.NotVerified},
		{"other configuration", clonejob.VerifyMetadata, func(t *testing.T, a *testStore, image *storage.Image, _ string) {
			overwrite(t, a, image, "sha256:"+image.ID, "{}")
		}, clonejob.NotVerified},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
			layers := hardLayers(t)
			id := a.put(t, "localhost/image:1", layers...)
			image, err := a.Image(id)
			must(t, err)
			tt.spoil(t, a, image, layerID("", digest.FromBytes(layers[0])))
			_, err = a.clone(t, b, id, tt.verify, "localhost/image:1")
			if err == nil {
				t.Fatal("no error")
			}
			if f := Failure(err); f.Kind != tt.want {
				t.Errorf("failure %+v, want %s", f, tt.want)
			}
			b.check(t)
			if layers, _ := b.Layers(); len(layers) != 0 {
				t.Errorf("%d layers", len(layers))
			}
		})
	}
}

func TestFullDestinationIsLeftAsItWas(t *testing.T) {
	a := newStore(t, testfs.New(t, "xfs")+"/a")
	b := newStore(t, testfs.NewOfSize(t, "ext4", 32<<20)+"/b")
	large := newArchive(t)
	for i := range 30 {
		large.add(tar.Header{Name: fmt.Sprint(i)}, strings.Repeat(fmt.Sprint(i), 2<<20))
	}
	id := a.put(t, "localhost/image:1", hardLayers(t)[0], large.bytes())
	_, err := a.clone(t, b, id, clonejob.VerifyMetadata, "localhost/image:1")
	if err == nil {
		t.Fatal("no error")
	}
	if f := Failure(err); f.Kind != clonejob.NoSpace {
		t.Errorf("failure %+v, want one of space", f)
	}
	b.check(t)
	if layers, _ := b.Layers(); len(layers) != 0 {
		t.Errorf("%d layers", len(layers))
	}
}

// TestImageSurvivesAPowerCut looks at what is on the disk when the image is there.
func TestImageSurvivesAPowerCut(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir, disk := testfs.New(t, "xfs"), testfs.New(t, kind)
			a, b := newStore(t, dir+"/a"), newStore(t, disk+"/b")
			id := a.put(t, "localhost/image:1", hardLayers(t)...)
			must(t, syncfs(disk))
			_, err := a.clone(t, b, id, clonejob.VerifyNone, "localhost/image:1")
			must(t, err)
			image := filepath.Join(filepath.Dir(disk), "image")
			must(t, exec.Command("cp", "--sparse=always", image, image+".cut").Run())
			// Btrfs mounts no two filesystems of one identity.
			must(t, exec.Command("umount", "-R", disk).Run())
			must(t, exec.Command("mount", "-o", "loop", image+".cut", disk).Run())
			equal(t, b, a, id)
			b.age(t)
			_, err = a.clone(t, b, id, clonejob.VerifyNone)
			must(t, err)
			b.check(t)
			want, err := os.ReadFile(filepath.Join(filepath.Dir(b.diff(layerID("", digest.FromBytes(hardLayers(t)[0])))), "link"))
			if err != nil || len(want) == 0 {
				t.Errorf("link %q, %v", want, err)
			}
		})
	}
}

func TestProgressEndsWithEveryLayerDone(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	a.Free()
	done := map[int]clonejob.Progress{}
	_, err := Image(t.Context(), clonejob.Job{Source: a.job, Destination: b.job, Image: id, Verify: clonejob.VerifyMetadata}, func(p clonejob.Progress) {
		if p.Done {
			done[p.Layer] = p
		}
	})
	must(t, err)
	if len(done) != 2 || done[0].Files == 0 || done[0].Bytes == 0 || done[0].Layers != 2 || done[0].Size == 0 {
		t.Errorf("progress %+v", done)
	}
}

func TestLayerIDsAreThoseOfPodman(t *testing.T) {
	const diffID = digest.Digest("sha256:781b3c14634baf32995832114c73e017fad93d7c8296779501f3c9f4e35e16c2")
	if got := layerID("", diffID); got != diffID.Encoded() {
		t.Error(got)
	}
	// Made by podman 4.3.1.
	const upper = digest.Digest("sha256:81ae8ddeee4a26cfc177508ebaad9e47200fc8f2788ee288c75d92c36fc9617f")
	if got := layerID(diffID.Encoded(), upper); got != "ab691d21e119d343fcec16ae985c8b43c1db89b9c1d63a41849840db97f6f567" {
		t.Error(got)
	}
}
