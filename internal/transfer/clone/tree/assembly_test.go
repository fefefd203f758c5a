// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
)

// testEntries are entries whose files are all one file, or missing if they are not of its size.
type testEntries struct {
	headers []tar.Header
	file    string
	size    int64
	files   *openCounter
}

// openCounter counts the files that are open.
type openCounter struct{ open, most atomic.Int64 }

func (e *testEntries) Next() (Entry, error) {
	if len(e.headers) == 0 {
		return Entry{}, io.EOF
	}
	h := e.headers[0]
	e.headers = e.headers[1:]
	if h.Typeflag != tar.TypeReg {
		return Entry{Header: &h}, nil
	}
	if h.Size != e.size {
		return Entry{}, os.ErrNotExist
	}
	f, err := os.Open(e.file)
	if err != nil {
		return Entry{}, err
	}
	n := e.files.open.Add(1)
	for most := e.files.most.Load(); n > most && !e.files.most.CompareAndSwap(most, n); most = e.files.most.Load() {
	}
	return Entry{Header: &h, File: &countedFile{File: f, open: &e.files.open}}, nil
}

type countedFile struct {
	File
	open *atomic.Int64
}

func (f *countedFile) Close() error {
	f.open.Add(-1)
	return f.File.Close()
}

// TestOpenFilesOfAssembliesAreBoundedAndClosed makes two layers at a time, by 2 workers each.
func TestOpenFilesOfAssembliesAreBoundedAndClosed(t *testing.T) {
	const files, size = 3000, 512
	for name, bad := range map[string]int{"whole": files + 1, "an error early": 10, "an error late": files - 10} {
		t.Run(name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			content := filepath.Join(dir, "content")
			must(t, os.WriteFile(content, make([]byte, size), 0o600))
			headers := []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}}
			for i := range files {
				if i%100 == 0 {
					headers = append(headers, tar.Header{Name: fmt.Sprintf("%d/", i/100), Typeflag: tar.TypeDir, Mode: 0o755})
				}
				h := tar.Header{Name: fmt.Sprintf("%d/%d", i/100, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: size}
				if i == bad {
					h.Size++
				}
				headers = append(headers, h)
			}
			opened := &openCounter{}
			var wg sync.WaitGroup
			for i, headers := range [][]tar.Header{headers, headers[:50]} {
				root := openDirectory(t, filepath.Join(dir, fmt.Sprint(i)))
				tarSplit, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i, ".gz")), os.O_RDWR|os.O_CREATE, 0o600)
				must(t, err)
				defer tarSplit.Close()
				wg.Go(func() {
					e := &testEntries{headers: headers, file: content, size: size, files: opened}
					made, err := Assemble(t.Context(), root, tarSplit, e, &Copier{}, &Counts{}, 2)
					if want := slices.ContainsFunc(headers, func(h tar.Header) bool { return h.Size > size }); (err != nil) != want {
						t.Errorf("layer %d: error %v", i, err)
					}
					if err == nil && (!made.HasRoot || made.Size < int64(len(headers))*512) {
						t.Errorf("layer %d: made %+v", i, made)
					}
				})
			}
			wg.Wait()
			if n := opened.open.Load(); n != 0 {
				t.Errorf("%d files are still open", n)
			}
			// Of both layers: waiting, being made, and being written.
			if most, limit := opened.most.Load(), int64(2*(groupsAhead+2*makersPerWorker+2)*groupEntries); most > limit {
				t.Errorf("%d files were open at once, more than %d", most, limit)
			}
		})
	}
}
