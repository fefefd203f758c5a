// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"encoding/binary"
	"hash/crc64"
)

// crcTable is that of the checksums in tar-split files.
var crcTable = crc64.MakeTable(crc64.ISO)

// crcBlock is how many bytes updateCRC takes at a time.
const crcBlock = 4 * 8

// updateCRC is crc64.Update with crcTable, at more than twice the speed: with its tables
// the checksum would be a tenth of the work of an export.
//
// A checksum is the remainder of the bytes, as a polynomial over GF(2), by
// x^64+x^4+x^3+x+1. Four remainders are kept, of every fourth word each; a word that is
// 32 bytes further on adds to that before it times x^256, for which this polynomial
// needs only a few shifts.
func updateCRC(crc uint64, p []byte) uint64 {
	if len(p) < crcBlock {
		return crc64.Update(crc, crcTable, p)
	}
	// As crc64 has it, the checksum is inverted between blocks. No array: four variables
	// stay in registers.
	a, b, c, d := ^crc, uint64(0), uint64(0), uint64(0)
	for {
		block := (*[crcBlock]byte)(p)
		a ^= binary.LittleEndian.Uint64(block[:])
		b ^= binary.LittleEndian.Uint64(block[8:])
		c ^= binary.LittleEndian.Uint64(block[16:])
		d ^= binary.LittleEndian.Uint64(block[24:])
		if p = p[crcBlock:]; len(p) < crcBlock {
			break
		}
		a, b, c, d = times256(a), times256(b), times256(c), times256(d)
	}
	crc = times64(times64(times64(times64(a)^b)^c) ^ d)
	return crc64.Update(^crc, crcTable, p)
}

// times256 multiplies by x^256, which is x^16+x^12+x^4+1. The lowest bit is the
// coefficient of x^63; what is shifted out of it is a multiple of x^64.
func times256(v uint64) uint64 {
	return v ^ v>>4 ^ v>>12 ^ v>>16 ^ times64Low(v<<60^v<<52^v<<48)
}

// times64 multiplies by x^64, which is x^4+x^3+x+1.
func times64(v uint64) uint64 { return times64Low(v) ^ times64Low(v<<63^v<<61^v<<60) }

// times64Low is times64 of what has no coefficient above that of x^59.
func times64Low(v uint64) uint64 { return v ^ v>>1 ^ v>>3 ^ v>>4 }
