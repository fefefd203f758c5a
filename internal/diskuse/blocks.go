// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package diskuse

import "math/bits"

const (
	pageWords = 32
	pageBits  = pageWords * 64
)

// bitset is a set of numbers that lie close together: inodes, or blocks of a disk. It takes
// one bit for each number of the range of pageBits that one lies in.
type bitset map[uint64]*[pageWords]uint64

// add adds a number, and reports whether it is new.
func (s bitset) add(n uint64) bool {
	page := s[n/pageBits]
	if page == nil {
		page = new([pageWords]uint64)
		s[n/pageBits] = page
	}
	word, bit := &page[n%pageBits/64], uint64(1)<<(n%64)
	met := *word&bit != 0
	*word |= bit
	return !met
}

// page has three bits for each of pageBits blocks: whether an extent has it, whether a
// shared one, and whether two shared ones.
type page struct{ used, shared, again [pageWords]uint64 }

// blocks are the blocks of a filesystem that the extents of some files have. 100 GB take
// 10 MB at least; blocks that lie far apart, up to 768 bytes for each extent.
type blocks map[uint64]*page

// add adds the blocks from first up to end. shared is what the filesystem reports.
func (b blocks) add(first, end uint64, shared bool) {
	for first < end {
		p := b[first/pageBits]
		if p == nil {
			p = &page{}
			b[first/pageBits] = p
		}
		word, bit := first%pageBits/64, first%64
		n := min(64-bit, end-first)
		mask := (^uint64(0) >> (64 - n)) << bit
		if shared {
			p.again[word] |= p.shared[word] & mask
			p.shared[word] |= mask
		}
		p.used[word] |= mask
		first += n
	}
}

// bit counts of one filesystem, in blocks.
type counts struct {
	// disk are the blocks of each store and of all, each counted once; shared those of
	// them that belong to more than one extent; between those that another store has, too.
	disk, shared, between []int64
	// freed are those that removing the files of each store, and of all, would free: now,
	// and at the next upgrade.
	freed [2][]int64
}

// count counts the blocks of a filesystem; its classes are as of class.
func count(all []blocks) counts {
	n := len(all) / classes
	c := counts{disk: make([]int64, n+1), shared: make([]int64, n+1), between: make([]int64, n+1)}
	for i := range c.freed {
		c.freed[i] = make([]int64, n+1)
	}
	pages := make([]*page, len(all))
	for i, some := range all {
		for key := range some {
			counted := false
			for j := range all {
				pages[j] = all[j][key]
				counted = counted || j < i && pages[j] != nil
			}
			if !counted {
				c.addPages(pages)
			}
		}
	}
	return c
}

// addPages counts the page that each class has of the same blocks, nil for none.
func (c *counts) addPages(pages []*page) {
	n := len(pages) / classes
	used, shared := make([]uint64, n), make([]uint64, n)
	for word := range pageWords {
		var once, more, flagged uint64
		for store := range n {
			used[store], shared[store] = 0, 0
			for _, p := range pages[store*classes : (store+1)*classes] {
				if p != nil {
					used[store] |= p.used[word]
					shared[store] |= p.shared[word]
				}
			}
			more |= once & used[store]
			once |= used[store]
			flagged |= shared[store]
		}
		// Of compressed extents only the size of the content is known, so that neighbours
		// seem to overlap.
		more &= flagged
		for store := range n {
			c.disk[store] += ones(used[store])
			c.shared[store] += ones(used[store] & (shared[store] | more))
			c.between[store] += ones(used[store] & more)
		}
		c.disk[n] += ones(once)
		c.shared[n] += ones(flagged)
		c.between[n] += ones(more)
		for when := range c.freed {
			for store := range n {
				c.freed[when][store] += freed(pages, word, func(class int) bool { return class/classes == store && class>>when&1 != 0 })
			}
			c.freed[when][n] += freed(pages, word, func(class int) bool { return class>>when&1 != 0 })
		}
	}
}

// freed returns how many of 64 blocks are free once the files of some classes are removed.
// A shared extent that is seen once belongs to a file that was not counted, too.
func freed(pages []*page, word int, removed func(class int) bool) int64 {
	var used, shared, again, others uint64
	for class, p := range pages {
		switch {
		case p == nil:
		case removed(class):
			again |= p.again[word] | shared&p.shared[word]
			used |= p.used[word]
			shared |= p.shared[word]
		default:
			others |= p.used[word]
		}
	}
	return ones((used&^shared | again) &^ others)
}

func ones(word uint64) int64 { return int64(bits.OnesCount64(word)) }
