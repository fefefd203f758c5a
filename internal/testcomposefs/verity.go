// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package testcomposefs

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// blockSize is that of the Merkle tree, in bytes.
const blockSize = 4096

// Verity computes the fs-verity digest of what is written to it, see
// Documentation/filesystems/fsverity.rst of the kernel: the hash of a descriptor with the
// size and the root of a Merkle tree. The memory it takes grows with the logarithm of the
// size.
type Verity struct {
	algorithm composefs.Algorithm
	sum       hash.Hash
	// levels are the blocks that are not full yet, that of the content first.
	levels [][]byte
	size   uint64
}

// NewVerity returns the digest of nothing yet.
func NewVerity(algorithm composefs.Algorithm) *Verity {
	v := &Verity{algorithm: algorithm, sum: sha256.New()}
	if algorithm == composefs.SHA512 {
		v.sum = sha512.New()
	}
	return v
}

// Write implements io.Writer. It never fails.
func (v *Verity) Write(p []byte) (int, error) {
	v.size += uint64(len(p))
	for rest := p; len(rest) > 0; {
		free := blockSize - len(v.level(0))
		n := min(free, len(rest))
		v.add(0, rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

func (v *Verity) level(i int) []byte {
	if i == len(v.levels) {
		v.levels = append(v.levels, make([]byte, 0, blockSize))
	}
	return v.levels[i]
}

// add adds to a block, which has room for it. The hash of a full block is added to the level
// above.
func (v *Verity) add(i int, data []byte) {
	v.levels[i] = append(v.level(i), data...)
	if len(v.levels[i]) == blockSize {
		block := v.hash(v.levels[i])
		v.levels[i] = v.levels[i][:0]
		v.level(i + 1)
		v.add(i+1, block)
	}
}

// hash returns the hash of a block, which is filled up with zeros.
func (v *Verity) hash(block []byte) []byte {
	v.sum.Reset()
	v.sum.Write(block)
	v.sum.Write(make([]byte, blockSize-len(block)))
	return v.sum.Sum(nil)
}

// ID returns the digest of what was written so far. Nothing may be written afterwards.
func (v *Verity) ID() composefs.ID {
	root := make([]byte, v.sum.Size())
	for i := 0; i < len(v.levels); i++ {
		block := v.levels[i]
		// A level above the content with one hash, and no level above it, is the root.
		if i == len(v.levels)-1 && i > 0 && len(block) == v.sum.Size() {
			root = block
			break
		}
		if len(block) > 0 {
			up := v.hash(block)
			v.level(i + 1)
			v.add(i+1, up)
		}
	}
	var descriptor [256]byte
	descriptor[0], descriptor[2] = 1, 12 // version, binary logarithm of the block size
	descriptor[1] = map[composefs.Algorithm]byte{composefs.SHA256: 1, composefs.SHA512: 2}[v.algorithm]
	binary.LittleEndian.PutUint64(descriptor[8:], v.size)
	copy(descriptor[16:], root)
	v.sum.Reset()
	v.sum.Write(descriptor[:])
	return composefs.ID(hex.EncodeToString(v.sum.Sum(nil)))
}
