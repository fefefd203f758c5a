// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// recipeOf is a tar-split file of lines.
func recipeOf(t testing.TB, text string) *os.File {
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "tar-split.gz"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z := gzip.NewWriter(f)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func never() error { return nil }

func TestDamagedRecipesAreNotVerified(t *testing.T) {
	for _, text := range []string{"x", `{"type":3,"payload":""}`, `{"type":2,"payload":"!"}`, `{"type":2,"payload":"AAAA"}` + "\n"} {
		if _, err := readIndex(recipeOf(t, text), never); !errors.Is(err, clonejob.ErrNotVerified) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if x, err := readIndex(recipeOf(t, ""), never); err != nil || len(x.nodes) != 1 {
		t.Errorf("no entries: %v", err)
	}
}

// TestIndexIsSmall bounds what 200,000 files take in memory.
func TestIndexIsSmall(t *testing.T) {
	const files, most = 200000, 60 << 20
	dir := t.TempDir()
	f, err := os.OpenFile(filepath.Join(dir, "tar-split.gz"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	a, err := newArchiver(f)
	must(t, err)
	for i := range files {
		hdr := &tar.Header{Name: fmt.Sprintf("usr/share/directory-%d/file-of-some-length-%d", i/50, i), Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1600000000, 0)}
		must(t, a.add(hdr, nil, nil))
	}
	_, err = a.close()
	must(t, err)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	x, err := readIndex(f, never)
	must(t, err)
	if used := heap() - before; used > most {
		t.Errorf("%d bytes for %d files, more than %d", used, files, most)
	} else {
		t.Logf("%d bytes for %d nodes", used, len(x.nodes))
	}
	runtime.KeepAlive(x)
}

func FuzzIndex(f *testing.F) {
	f.Add(`{"type":2,"payload":"AAAA","position":0}` + "\n" + `{"type":1,"name":"a","size":5,"payload":null,"position":1}`)
	f.Fuzz(func(t *testing.T, text string) { _, _ = readIndex(recipeOf(t, text), never) })
}
