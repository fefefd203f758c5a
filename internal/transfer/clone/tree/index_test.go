// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
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
		must(t, a.addPart(part{hdr: hdr}))
	}
	_, err = a.close(nil)
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

// TestRemovalIsLinear reads archives that replace directories again and again: the names
// that are looked at grow with the entries only.
func TestRemovalIsLinear(t *testing.T) {
	const entries = 200000
	dir := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeDir} }
	file := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg} }
	for name, entry := range map[string]func(i int) *tar.Header{
		"directory of many files": func(i int) *tar.Header {
			switch {
			case i < entries/2:
				return file(fmt.Sprintf("dir/%d", i))
			case i%2 == 0:
				return file("dir")
			}
			return dir("dir")
		},
		"directory beside many files": func(i int) *tar.Header {
			switch {
			case i < entries/2:
				return file(fmt.Sprint(i))
			case i%2 == 0:
				return file("dir")
			}
			return dir("dir")
		},
		"many directories": func(i int) *tar.Header {
			if i < entries/2 {
				return file(fmt.Sprintf("%d/file", i))
			}
			return file(fmt.Sprint(i - entries/2))
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex()
			for i := range entries {
				must(t, x.add(entry(i)))
				if x.removals > 2*entries {
					t.Fatalf("%d names were looked at for %d entries", x.removals, i+1)
				}
			}
		})
	}
}

// simpleTree is what an index should be, without any thought of speed: the paths of an
// archive, with a number for each file.
type simpleTree struct {
	files map[string]int
	dirs  map[string]bool
	last  int
}

func (s *simpleTree) remove(name string) {
	for of := range s.files {
		if of == name || strings.HasPrefix(of, name+"/") {
			delete(s.files, of)
		}
	}
	for dir := range s.dirs {
		if dir == name || strings.HasPrefix(dir, name+"/") {
			delete(s.dirs, dir)
		}
	}
}

// parents reports whether a path has directories above it, which it makes.
func (s *simpleTree) parents(name string) bool {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if _, ok := s.files[name[:i]]; ok {
			return false
		}
		s.dirs[name[:i]] = true
	}
	return true
}

func (s *simpleTree) add(hdr *tar.Header) {
	if !s.parents(hdr.Name) {
		return
	}
	if hdr.Typeflag == tar.TypeDir {
		if !s.dirs[hdr.Name] {
			s.remove(hdr.Name)
			s.dirs[hdr.Name] = true
		}
		return
	}
	s.last++
	number := s.last
	if hdr.Typeflag == tar.TypeLink {
		if !s.parents(hdr.Linkname) {
			return
		}
		of, ok := s.files[hdr.Linkname]
		if !ok {
			return
		}
		number = of
	}
	s.remove(hdr.Name)
	s.files[hdr.Name] = number
}

// lines describes the tree: each name with how many names its file has.
func (s *simpleTree) lines() (lines []string) {
	for dir := range s.dirs {
		lines = append(lines, dir+"/")
	}
	names := map[int]int{}
	for _, file := range s.files {
		names[file]++
	}
	for name, file := range s.files {
		lines = append(lines, fmt.Sprint(name, " ", names[file]))
	}
	slices.Sort(lines)
	return lines
}

// lines describes the index in the same way.
func (x *index) lines() (lines []string) {
	for n := rootNode + 1; n < len(x.nodes); n++ {
		switch at := x.nodes[n]; {
		case at.flags&removed != 0:
		case x.isDir(int32(n)):
			lines = append(lines, x.path(int32(n))+"/")
		default:
			lines = append(lines, fmt.Sprint(x.path(int32(n)), " ", x.attrs[at.attr].names))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestRandomArchivesReplaceWhatASimpleTreeDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = string("abc"[random.IntN(3)])
		}
		return strings.Join(parts, "/")
	}
	for range 300 {
		x, s := newIndex(), &simpleTree{files: map[string]int{}, dirs: map[string]bool{}}
		var archive []string
		for range 60 {
			hdr := &tar.Header{Name: name(), Typeflag: []byte{tar.TypeReg, tar.TypeDir, tar.TypeLink}[random.IntN(3)]}
			if hdr.Typeflag == tar.TypeLink {
				hdr.Linkname = name()
			}
			archive = append(archive, fmt.Sprintf("%c %s %s", hdr.Typeflag, hdr.Name, hdr.Linkname))
			_ = x.add(hdr) // an entry that cannot be made is left out
			s.add(hdr)
			if got, want := x.lines(), s.lines(); !slices.Equal(got, want) {
				t.Fatalf("after\n%s\nit has\n%s\nwant\n%s", strings.Join(archive, "\n"), strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(`{"type":2,"payload":"AAAA","position":0}` + "\n" + `{"type":1,"name":"a","size":5,"payload":null,"position":1}`)
	f.Fuzz(func(t *testing.T, text string) { _, _ = readIndex(recipeOf(t, text), never) })
}
