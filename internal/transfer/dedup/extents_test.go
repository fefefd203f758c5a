// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math/rand/v2"
	"testing"
)

const block = 4096

// blocks makes extents, in blocks, out of where each block of a file lies; 0 is a
// hole. They are cut at random where they need not be.
func blocks(r *rand.Rand, places []uint64) (list []extent) {
	for i, place := range places {
		if place == 0 {
			continue
		}
		n := len(list)
		if n > 0 && list[n-1].end() == uint64(i)*block && list[n-1].physical+list[n-1].length == place*block && r.IntN(3) > 0 {
			list[n-1].length += block
			continue
		}
		list = append(list, extent{logical: uint64(i) * block, physical: place * block, length: block})
	}
	return list
}

func TestApartIsWhatLiesElsewhere(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		from, to := make([]uint64, 12), make([]uint64, 12)
		for i := range from {
			from[i] = uint64(r.IntN(2) * (1 + i + r.IntN(2)*100))
			if to[i] = from[i]; r.IntN(3) == 0 {
				to[i] = uint64(r.IntN(2) * (1000 + i))
			}
		}
		rest := apart(blocks(r, from), blocks(r, to), nil)
		got := make([]uint64, 12)
		for _, e := range rest {
			for at := e.logical; at < e.end(); at += block {
				got[at/block] = (e.physical + at - e.logical) / block
			}
		}
		for i := range to {
			want := to[i]
			if from[i] == to[i] {
				want = 0
			}
			if got[i] != want {
				t.Fatalf("seed %d: source %v, file %v: block %d of the rest lies at %d, want %d", seed, from, to, i, got[i], want)
			}
		}
	}
}

func TestApartComparesExtents(t *testing.T) {
	plain := extent{logical: 0, physical: 64 * block, length: 8 * block}
	compressed := plain
	compressed.flags = extentEncoded
	unknown := plain
	unknown.flags = extentUnknown
	part := extent{logical: 2 * block, physical: 64 * block, length: 2 * block, flags: extentEncoded}
	for _, tt := range []struct {
		name     string
		from, to extent
		want     uint64
	}{
		{name: "equal", from: plain, to: plain},
		{name: "compressed", from: compressed, to: compressed},
		{name: "part of a compressed one", from: compressed, to: part},
		{name: "compressed and not", from: compressed, to: plain, want: 8 * block},
		{name: "not on the disk yet", from: unknown, to: unknown, want: 8 * block},
		{name: "elsewhere in the file", from: plain, to: extent{logical: block, physical: 64 * block, length: block}, want: block},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := within(apart([]extent{tt.from}, []extent{tt.to}, nil), 0, 1<<40)
			if uint64(got) != tt.want {
				t.Errorf("%d bytes lie elsewhere, want %d", got, tt.want)
			}
		})
	}
}

func TestWithinCountsWhatBelongsToTheFileAlone(t *testing.T) {
	list := []extent{
		{logical: 0, length: 4 * block},
		{logical: 4 * block, length: 2 * block, flags: extentShared},
		{logical: 8 * block, length: block, flags: extentUnknown},
	}
	all, own := within(list, 3*block, 9*block)
	if all != 4*block || own != block {
		t.Errorf("got %d and %d, want %d and %d", all, own, 4*block, block)
	}
}
