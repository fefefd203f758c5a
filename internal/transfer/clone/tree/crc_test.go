// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

func TestUpdateCRCEqualsTheStandardLibrary(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, 1<<16)
	_, _ = random.Read(data)
	for length := range 300 {
		for _, crc := range []uint64{0, 1, ^uint64(0), random.Uint64()} {
			checkCRC(t, crc, data[:length])
		}
	}
	for range 200 {
		from := int(random.Uint64() % uint64(len(data)))
		checkCRC(t, random.Uint64(), data[from:])
	}
	checkCRC(t, 0, make([]byte, 1000))
}

func FuzzUpdateCRC(f *testing.F) {
	f.Add(uint64(0), []byte("0123456789abcdef0123456789abcdef0123456789"))
	f.Fuzz(func(t *testing.T, crc uint64, data []byte) { checkCRC(t, crc, data) })
}

func checkCRC(t *testing.T, crc uint64, data []byte) {
	t.Helper()
	if got, want := updateCRC(crc, data), crc64.Update(crc, crcTable, data); got != want {
		t.Fatalf("%d bytes after %#x: %#x, not %#x", len(data), crc, got, want)
	}
}

func BenchmarkUpdateCRC(b *testing.B) {
	data := make([]byte, copyBuffer)
	for name, update := range map[string]func(uint64, []byte) uint64{
		"own":      updateCRC,
		"standard": func(crc uint64, p []byte) uint64 { return crc64.Update(crc, crcTable, p) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				update(0, data)
			}
		})
	}
}
