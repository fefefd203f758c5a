// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// countingArchives counts the files that are open.
type countingArchives struct {
	*testArchives
	open, most atomic.Int64
}

func (a *countingArchives) Open(layer, entry int) (*tar.Header, File, error) {
	hdr, f, err := a.testArchives.Open(layer, entry)
	if f == nil {
		return hdr, f, err
	}
	n := a.open.Add(1)
	for most := a.most.Load(); n > most && !a.most.CompareAndSwap(most, n); most = a.most.Load() {
	}
	return hdr, &countedFile{File: f, open: &a.open}, err
}

type countedFile struct {
	File
	open *atomic.Int64
}

func (f *countedFile) Close() error {
	f.open.Add(-1)
	return f.File.Close()
}

func TestOpenFilesOfAnExportAreBoundedAndClosed(t *testing.T) {
	const files = 3000
	for name, bad := range map[string]int{"whole": files + 1, "an error early": 10, "an error late": files - 10} {
		t.Run(name, func(t *testing.T) {
			dir := filesystem(t, "xfs")
			a, s := &countingArchives{testArchives: newArchives(t, dir+"/content")}, newStore(t, dir+"/a")
			layer := []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}}
			for i := range files {
				if i%100 == 0 {
					layer = append(layer, tar.Header{Name: fmt.Sprintf("%d/", i/100), Typeflag: tar.TypeDir, Mode: 0o755})
				}
				size := int64(512)
				if i == bad {
					size = 6 // of which there is no file
				}
				layer = append(layer, tar.Header{Name: fmt.Sprintf("%d/%d", i/100, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: size})
			}
			a.layers = [][]tar.Header{layer, layer[:50]}
			s.Free()
			_, err := Export(t.Context(), clonejob.Job{Destination: s.job, Workers: 2, Verify: clonejob.VerifyNone}, a, nil)
			if (err != nil) != (bad < files) {
				t.Errorf("error %v", err)
			}
			if n := a.open.Load(); n != 0 {
				t.Errorf("%d files are still open", n)
			}
			// Of both layers: waiting, being made, and being written.
			if most, limit := a.most.Load(), int64(2*(groupsAhead+2*makersPerWorker+2)*groupEntries); most > limit {
				t.Errorf("%d files were open at once, more than %d", most, limit)
			}
			s.check(t)
		})
	}
}

// corruptArchives has a file that is found corrupt when it was read to its end.
type corruptArchives struct {
	*testArchives
	size int64
}

var errCorrupt = errors.New("corrupt")

func (a *corruptArchives) Open(layer, entry int) (*tar.Header, File, error) {
	hdr, f, err := a.testArchives.Open(layer, entry)
	if f != nil && hdr.Size == a.size {
		f = corruptFile{f}
	}
	return hdr, f, err
}

type corruptFile struct{ File }

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
			dir := filesystem(t, "xfs")
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
