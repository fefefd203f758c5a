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
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// testArchives is an image whose files are those of a directory.
type testArchives struct {
	t       *testing.T
	content string
	layers  [][]tar.Header
	// fail is returned for the last entry of each layer.
	fail error
}

func (a *testArchives) Len() int { return len(a.layers) }

func (a *testArchives) Entries(layer int) int { return len(a.layers[layer]) }

func (a *testArchives) Open(layer, entry int) (*tar.Header, tree.File, error) {
	h := a.layers[layer][entry]
	h.Format, h.ModTime = tar.FormatPAX, time.Unix(0, 0)
	if a.fail != nil && entry == len(a.layers[layer])-1 {
		return nil, nil, a.fail
	}
	if h.Typeflag != tar.TypeReg {
		return &h, nil, nil
	}
	f, err := os.Open(filepath.Join(a.content, fmt.Sprint(h.Size)))
	if err != nil {
		return nil, nil, err
	}
	return &h, f, nil
}

func (a *testArchives) Describe(digests []string, _ []int64) (manifest, config []byte, err error) {
	config, err = json.Marshal(map[string]any{"created": "2026-08-01T10:00:00Z", "rootfs": map[string]any{"type": "layers", "diff_ids": digests}})
	return []byte(`{"schemaVersion":2}`), config, err
}

// archive is the tar archive of a layer.
func (a *testArchives) archive(layer int) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for i := range a.layers[layer] {
		hdr, f, err := a.Open(layer, i)
		must(a.t, err)
		must(a.t, tw.WriteHeader(hdr))
		if f != nil {
			_, err = io.Copy(tw, f)
			must(a.t, errors.Join(err, f.Close()))
		}
	}
	must(a.t, tw.Close())
	return b.Bytes()
}

func newArchives(t *testing.T, dir string) *testArchives {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	for _, size := range []int{0, 5, 512, 100000} {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(size)), []byte(strings.Repeat("x", size)), 0o600))
	}
	// A file of holes, which has to be found whole after they were looked for.
	sparse, err := os.OpenFile(filepath.Join(dir, "3000000"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	_, err = sparse.WriteAt([]byte("data"), 1<<20)
	must(t, errors.Join(err, sparse.Truncate(3000000), sparse.Close()))
	directory := func(name string, mode int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}
	}
	file := func(name string, size int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}
	}
	capable := file("d/capable", 512)
	capable.Uid, capable.Gid, capable.Mode = 7, 8, 0o4755
	capable.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.some":           "value",
	}
	link := func(name string, to tar.Header) tar.Header {
		to.Name, to.Linkname, to.Typeflag, to.Size = name, to.Name, tar.TypeLink, 0
		return to
	}
	return &testArchives{t: t, content: dir, layers: [][]tar.Header{
		{
			directory("./", 0o755), directory("d/", 0o2750), capable, file("d/empty", 0), file("d/sparse", 3000000),
			file("d/"+strings.Repeat("n", 255), 5), directory("d/sub/", 0o700), file("d/sub/große ☃\n", 100000),
			{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "d/capable", Uid: 3, Mode: 0o777},
			directory("gone/", 0o755), file("gone/x", 5), link("gone/"+strings.Repeat("l", 255), capable), link("gone/y", file("gone/x", 5)),
			link("x", file("gone/x", 5)),
		},
		{directory("d/", 0o755), file("d/.wh..wh..opq", 0), file("d/new", 5), file(".wh.gone", 0)},
	}}
}

func TestExportIsWhatThePullMakes(t *testing.T) {
	for _, kind := range []string{"xfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := testfs.New(t, kind)
			a := newArchives(t, dir+"/content")
			pulled, exported := newStore(t, dir+"/a"), newStore(t, dir+"/b")
			parent := ""
			for i := range a.layers {
				layer := a.archive(i)
				id := layerID(parent, digest.FromBytes(layer))
				_, _, err := pulled.PutLayer(id, parent, nil, "", false, nil, bytes.NewReader(layer))
				must(t, err)
				parent = id
			}
			exported.Free()
			job := clonejob.Job{Destination: exported.job, Names: []string{"localhost/image:1"}, Verify: clonejob.VerifyFull}
			result, err := Export(t.Context(), job, a, nil)
			must(t, err)
			exported.check(t)
			if result.Layers[1].ID != parent {
				t.Errorf("top layer %s, want %s", result.Layers[1].ID, parent)
			}
			for _, l := range result.Layers {
				if got, want := exported.shape(t, l.ID), pulled.shape(t, l.ID); got != want {
					t.Errorf("tree:\n%s\nwant:\n%s", got, want)
				}
				if got, want := fmt.Sprint(exported.layerRecord(t, l.ID)), fmt.Sprint(pulled.layerRecord(t, l.ID)); got != want {
					t.Errorf("record %s, want %s", got, want)
				}
				if l.Shared || kind == "xfs" && l.Copied != 0 {
					t.Errorf("layer %+v", l)
				}
			}
			exported.Free()
			if result, err = Export(t.Context(), job, a, nil); err != nil || !result.Layers[0].Shared || !result.Layers[1].Shared {
				t.Errorf("once more: %+v, %v", result, err)
			}
			exported.check(t)
		})
	}
}

func TestExportInheritsNothingOfTheStore(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, plain := newArchives(t, dir+"/content"), newStore(t, dir+"/plain")
	export := func(s *testStore) *clonejob.Result {
		s.Free()
		result, err := Export(t.Context(), clonejob.Job{Destination: s.job, Verify: clonejob.VerifyNone}, a, nil)
		must(t, err)
		return result
	}
	layers := export(plain).Layers
	for name, prepare := range heritable {
		t.Run(name, func(t *testing.T) {
			must(t, os.MkdirAll(dir+"/"+name+"/root", 0o755))
			prepare(t, dir+"/"+name+"/root")
			s := newStore(t, dir+"/"+name)
			export(s)
			for _, l := range layers {
				if got, want := s.shape(t, l.ID), plain.shape(t, l.ID); got != want {
					t.Errorf("tree:\n%s\nwant:\n%s", got, want)
				}
			}
		})
	}
}

// shape is a snapshot without what the library decides on: times of the root and of
// whiteouts.
func (s *testStore) shape(t *testing.T, id string) string {
	t.Helper()
	lines := testfs.Snapshot(t, s.diff(id))
	for i, line := range lines {
		if strings.HasPrefix(line, "\x00") || strings.Contains(line, "mode 20000") {
			before, after, _ := strings.Cut(line, "mtime ")
			_, after, _ = strings.Cut(after, " ")
			lines[i] = before + after
		}
	}
	return strings.Join(lines, "\n")
}

func TestExportThatFailsLeavesNothing(t *testing.T) {
	corrupt := errors.New("corrupt")
	for name, spoil := range map[string]func(a *testArchives){
		"at the end":       func(a *testArchives) { a.fail = corrupt },
		"file is missing":  func(a *testArchives) { a.layers[1][2].Size = 6 },
		"odd type":         func(a *testArchives) { a.layers[1][2].Typeflag = tar.TypeChar },
		"no directory":     func(a *testArchives) { a.layers[1][2].Name = "none/file" },
		"link to nothing":  func(a *testArchives) { a.layers[0][13].Linkname = "gone/z" },
		"link out of it":   func(a *testArchives) { a.layers[0][13].Linkname = "../../../x" },
		"through a link":   func(a *testArchives) { a.layers[0][10].Name = "link/file" },
		"out of the layer": func(a *testArchives) { a.layers[0][10].Name = "../../file" },
		"twice":            func(a *testArchives) { a.layers[1][3] = a.layers[1][2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			a, s := newArchives(t, dir+"/content"), newStore(t, dir+"/a")
			spoil(a)
			s.Free()
			if _, err := Export(t.Context(), clonejob.Job{Destination: s.job, Verify: clonejob.VerifyNone}, a, nil); err == nil {
				t.Error("no error")
			}
			s.check(t)
			if layers, _ := s.Layers(); len(layers) != 0 {
				t.Errorf("%d layers", len(layers))
			}
		})
	}
}

// corruptArchives has a file that is found corrupt when it was read to its end.
type corruptArchives struct {
	*testArchives
	size int64
}

var errCorrupt = errors.New("corrupt")

func (a *corruptArchives) Open(layer, entry int) (*tar.Header, tree.File, error) {
	hdr, f, err := a.testArchives.Open(layer, entry)
	if f != nil && hdr.Size == a.size {
		f = corruptFile{f}
	}
	return hdr, f, err
}

type corruptFile struct{ tree.File }

func (f corruptFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if err != nil {
		err = errCorrupt
	}
	return n, err
}

func TestCorruptFilesAreFoundWhateverTheirSize(t *testing.T) {
	for _, size := range []int64{0, 5, 100000, 3000000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			a, s := &corruptArchives{newArchives(t, dir+"/content"), size}, newStore(t, dir+"/a")
			s.Free()
			if _, err := Export(t.Context(), clonejob.Job{Destination: s.job, Verify: clonejob.VerifyNone}, a, nil); !errors.Is(err, errCorrupt) {
				t.Errorf("error %v", err)
			}
			s.check(t)
			if layers, _ := s.Layers(); len(layers) != 0 {
				t.Errorf("%d layers", len(layers))
			}
		})
	}
}
