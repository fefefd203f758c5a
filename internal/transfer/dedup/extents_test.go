// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math/rand/v2"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/extents"
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
		if n > 0 && list[n-1].End() == uint64(i)*block && list[n-1].Physical+list[n-1].Length == place*block && r.IntN(3) > 0 {
			list[n-1].Length += block
			continue
		}
		list = append(list, extent{Logical: uint64(i) * block, Physical: place * block, Length: block})
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
			for at := e.Logical; at < e.End(); at += block {
				got[at/block] = (e.Physical + at - e.Logical) / block
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
	plain := extent{Logical: 0, Physical: 64 * block, Length: 8 * block}
	compressed := plain
	compressed.Flags = extents.Encoded
	unknown := plain
	unknown.Flags = extents.Unknown
	part := extent{Logical: 2 * block, Physical: 64 * block, Length: 2 * block, Flags: extents.Encoded}
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
		{name: "elsewhere in the file", from: plain, to: extent{Logical: block, Physical: 64 * block, Length: block}, want: block},
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
		{Logical: 0, Length: 4 * block},
		{Logical: 4 * block, Length: 2 * block, Flags: extents.Shared},
		{Logical: 8 * block, Length: block, Flags: extents.Unknown},
	}
	all, own := within(list, 3*block, 9*block)
	if all != 4*block || own != block {
		t.Errorf("got %d and %d, want %d and %d", all, own, 4*block, block)
	}
}
