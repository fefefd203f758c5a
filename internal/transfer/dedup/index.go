// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/extents"
)

// index has one file of each content that a run has seen. A host has millions of files, so
// an entry takes few bytes, and no pointers for the garbage collector to follow.
//
// A file is found by where it lies on the disk, which needs no reading, and else by its
// size with a sample of its content. Samples of files are taken when another file of the
// size was found to lie elsewhere: in a host whose files are all shared, no file is read.
type index struct {
	seed   maphash.Seed
	shards [256]shard

	mu   sync.Mutex
	dirs []dirRecord
}

// dirRecord is a directory that has files in the index.
type dirRecord struct {
	part *part
	// path is relative to the part.
	path string
}

// shard has the files of some sizes. A worker keeps it locked while it shares a file, so
// that two files of one content are not both taken for new.
type shard struct {
	mu sync.Mutex
	// entries are as many as count, in blocks: a list that grows would be copied.
	entries []*[entriesBlock]entry
	count   uint32
	// names has the names of the files, as packName writes them, in blocks of namesBlock
	// bytes.
	names [][]byte
	// byPlace and bySample are hash tables: the first of a chain of entries, counted from 1,
	// by place, and by size and sample.
	byPlace, bySample []uint32
	// sizes is a set of sizes: a bit for each hash, so that it may have others, too.
	sizes []uint64
}

// entry is a file. Its size is not kept, only a hash of it: the file has to be opened
// anyway, and may have changed. Another file with the hashes of size and place is taken
// for shared, once in 4,000 million files of a size; the next run has other hashes.
type entry struct {
	size, place uint32
	// sample is 0 for a file that was not read.
	sample uint32
	// nextPlace and next continue the chains of byPlace and bySample.
	nextPlace, next uint32
	dir, name       uint32
}

const (
	entriesBlock = 512
	namesBlock   = 8192
)

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

// addDir adds a directory, and returns its number for add.
func (x *index) addDir(p *part, path string) uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dirs = append(x.dirs, dirRecord{p, path})
	return uint32(len(x.dirs) - 1)
}

// hash returns a hash of numbers.
func (x *index) hash(numbers ...uint64) uint64 {
	var buf [64]byte
	for i, n := range numbers {
		binary.LittleEndian.PutUint64(buf[8*i:], n)
	}
	return maphash.Bytes(x.seed, buf[:8*len(numbers)])
}

// fingerprint returns a hash of where a file of a size lies, the same for files that lie in
// the same places, however the filesystem divides them into extents. It returns false for a
// file with nothing to share: one without extents, or being written.
func (x *index) fingerprint(size int64, list []extent) (uint32, bool) {
	if len(list) == 0 {
		return 0, false
	}
	var h maphash.Hash
	h.SetSeed(x.seed)
	add := func(e extent) {
		maphash.WriteComparable(&h, [4]uint64{e.Logical, e.Physical, e.Length, uint64(e.Flags & extents.Encoded)})
	}
	maphash.WriteComparable(&h, size)
	last := list[0]
	for _, e := range list {
		if e.Flags&extents.Unknown != 0 {
			return 0, false
		}
		switch {
		case e.Logical == last.Logical:
		case e.Logical == last.End() && samePlace(last, e):
			last.Length += e.Length
		default:
			add(last)
			last = e
		}
	}
	add(last)
	return uint32(h.Sum64()), true
}

// of returns the shard of a size, and the hash by which entries of the size are found.
func (x *index) of(size int64) (*shard, uint32) {
	h := x.hash(uint64(size))
	return &x.shards[h>>56], uint32(h)
}

// has reports whether a file of a size lies where one of the index does.
func (s *shard) has(size, place uint32) bool {
	if len(s.byPlace) == 0 {
		return false
	}
	at := s.byPlace[place%uint32(len(s.byPlace))]
	for ; at != 0; at = s.entry(at).nextPlace {
		if e := s.entry(at); e.place == place && e.size == size {
			return true
		}
	}
	return false
}

// entry returns an entry, counted from 1.
func (s *shard) entry(at uint32) *entry {
	return &s.entries[(at-1)/entriesBlock][(at-1)%entriesBlock]
}

// chainLength is how many entries a chain has at most, on average.
const chainLength = 2

// add adds a file.
func (s *shard) add(e entry, name string) {
	e.name = s.addName(name)
	if s.count%entriesBlock == 0 {
		s.entries = append(s.entries, new([entriesBlock]entry))
	}
	s.count++
	*s.entry(s.count) = e
	if s.count > chainLength*uint32(len(s.byPlace)) {
		s.rehash(max(64, 2*len(s.byPlace)))
		return
	}
	s.link(s.count)
}

// addName adds a name, and returns where it is.
func (s *shard) addName(name string) uint32 {
	last := len(s.names) - 1
	if last < 0 || cap(s.names[last])-len(s.names[last]) < maxPacked {
		s.names = append(s.names, make([]byte, 0, namesBlock))
		last++
	}
	at := last*namesBlock + len(s.names[last])
	s.names[last] = packName(s.names[last], name)
	return uint32(at)
}

func (s *shard) rehash(size int) {
	s.byPlace, s.bySample = make([]uint32, size), make([]uint32, size)
	s.sizes = make([]uint64, chainLength*size/8)
	for at := range s.count {
		s.link(at + 1)
	}
}

// link puts an entry into its tables.
func (s *shard) link(at uint32) {
	e := s.entry(at)
	head := &s.byPlace[e.place%uint32(len(s.byPlace))]
	e.nextPlace, *head = *head, at
	head = s.chain(e.size, e.sample)
	e.next, *head = *head, at
	word, bit := s.bit(e.size)
	*word |= bit
}

// bit returns where sizes has a size.
func (s *shard) bit(size uint32) (word *uint64, bit uint64) {
	return &s.sizes[size/64%uint32(len(s.sizes))], 1 << (size % 64)
}

// hasSize reports whether there may be a file of a size.
func (s *shard) hasSize(size uint32) bool {
	if len(s.sizes) == 0 {
		return false
	}
	word, bit := s.bit(size)
	return *word&bit != 0
}

// chain returns the start of the chain for a size and a sample.
func (s *shard) chain(size, sample uint32) *uint32 {
	return &s.bySample[(size^sample)%uint32(len(s.bySample))]
}

// same returns up to most entries of a size and a sample, the earliest first. Entries of
// the size without a sample get theirs first by take; one of 0 leaves an entry out.
func (s *shard) same(size, sample uint32, most int, take func(*entry) uint32) (list []entry) {
	if s.count == 0 {
		return nil
	}
	for at := s.chain(size, 0); *at != 0; {
		i := *at
		e := s.entry(i)
		if e.size != size || e.sample != 0 {
			at = &e.next
			continue
		}
		*at = e.next
		if e.sample = take(e); e.sample != 0 {
			head := s.chain(size, e.sample)
			e.next, *head = *head, i
		}
	}
	for i := *s.chain(size, sample); i != 0; i = s.entry(i).next {
		if e := s.entry(i); e.size == size && e.sample == sample {
			list = append(list, *e)
		}
	}
	// A chain has the latest first.
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list[:min(len(list), most)]
}

// locate returns the place and the path of an entry's file.
func (x *index) locate(s *shard, e *entry) (*place, string) {
	x.mu.Lock()
	dir := x.dirs[e.dir]
	x.mu.Unlock()
	return dir.part.at, path.Join(dir.part.path, dir.path, unpackName(s.names[e.name/namesBlock][e.name%namesBlock:]))
}

const (
	// packed marks a name whose digits are packed: an object is named by a checksum.
	packed = 0xff
	// maxPacked is the most that packName appends: for a name of NAME_MAX bytes.
	maxPacked = 3 + unix.NAME_MAX
)

// packName appends a name to buf, with its length.
func packName(buf []byte, name string) []byte {
	digits := len(name) - len(strings.TrimLeft(name, "0123456789abcdef"))
	if digits &^= 1; digits >= 32 && digits < 256 {
		buf = append(buf, packed, byte(digits/2))
		buf, _ = hex.AppendDecode(buf, []byte(name[:digits]))
		name = name[digits:]
	}
	// A name has at most 255 bytes (NAME_MAX), and one of 255 can have no shorter form.
	if len(name) >= packed {
		return append(append(buf, packed, 0, byte(len(name))), name...)
	}
	return append(append(buf, byte(len(name))), name...)
}

// unpackName returns the name at the beginning of buf.
func unpackName(buf []byte) string {
	before := ""
	if buf[0] == packed {
		n := int(buf[1])
		before, buf = hex.EncodeToString(buf[2:2+n]), buf[2+n:]
	}
	return before + string(buf[1:1+int(buf[0])])
}
