// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package diskuse

import (
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
)

// TestCountIsThatOfSingleBlocks compares with a count block by block.
func TestCountIsThatOfSingleBlocks(t *testing.T) {
	const stores, span = 3, 3 * pageBits
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := make([]blocks, stores*classes)
		for i := range all {
			all[i] = blocks{}
		}
		// users are the classes of the files that have a block, outside those elsewhere.
		users, outside := make([][]int, span), make([]bool, span)
		for range 30 {
			first := r.IntN(span - 300)
			end := first + 1 + r.IntN(300)
			if r.IntN(3) > 0 { // blocks of several extents, as clones have them
				first, end = first/512*512, first/512*512+1+r.IntN(300)
			}
			class := r.IntN(len(all))
			for b := first; b < end; b++ {
				users[b] = append(users[b], class)
				outside[b] = outside[b] || r.IntN(50) == 0
			}
		}
		want := counts{disk: make([]int64, stores+1), shared: make([]int64, stores+1), between: make([]int64, stores+1)}
		want.freed = [2][]int64{make([]int64, stores+1), make([]int64, stores+1)}
		for b, list := range users {
			if len(list) == 0 {
				continue
			}
			shared := len(list) > 1 || outside[b]
			has, gone := map[int]bool{}, map[[2]int]int{}
			for _, class := range list {
				all[class].add(uint64(b), uint64(b)+1, shared)
				has[class/classes] = true
				for when := range 2 {
					if class>>when&1 != 0 {
						gone[[2]int{when, class / classes}]++
						gone[[2]int{when, stores}]++
					}
				}
			}
			for store := range has {
				want.disk[store]++
				if shared {
					want.shared[store]++
				}
				if len(has) > 1 {
					want.between[store]++
				}
			}
			want.disk[stores]++
			if shared {
				want.shared[stores]++
			}
			if len(has) > 1 {
				want.between[stores]++
			}
			for key, n := range gone {
				// With two uses here, one more elsewhere is not seen.
				if n == len(list) && (n > 1 || !outside[b]) {
					want.freed[key[0]][key[1]]++
				}
			}
		}
		if got := count(all); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: got %+v, want %+v", seed, got, want)
		}
	}
}

func TestAddSetsWholeRanges(t *testing.T) {
	for _, tt := range []struct{ first, end uint64 }{
		{0, 1}, {0, 64}, {1, 64}, {63, 65}, {0, pageBits}, {5, 3*pageBits + 7}, {pageBits - 1, pageBits + 1}, {1 << 50, 1<<50 + 130},
	} {
		b := blocks{}
		b.add(tt.first, tt.end, false)
		var n int64
		for _, p := range b {
			for _, word := range p.used {
				n += ones(word)
			}
		}
		if n != int64(tt.end-tt.first) {
			t.Errorf("%d to %d: %d blocks", tt.first, tt.end, n)
		}
	}
}

// TestTwoMillionFilesFitIntoMemory: 100 GB in files of 50 KB, written one after the other in
// an eighth of each 64 MB, and their inodes.
func TestTwoMillionFilesFitIntoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b, linked := blocks{}, bitset{}
	for i := range uint64(2_000_000) {
		at := i * 13
		at = at/2048*16384 + at%2048
		b.add(at, at+13, i%2 == 0)
		if !linked.add(i * 3) {
			t.Fatal("an inode is met twice")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d KB", used>>10)
	if used > 24<<20 {
		t.Errorf("%d bytes", used)
	}
	if linked.add(0) {
		t.Error("an inode is new the second time")
	}
	runtime.KeepAlive(b)
}
