// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The part of BoltDB that one bucket of a few short strings needs. The library,
// go.etcd.io/bbolt, maps the file and trusts it: a damaged one overflows the
// stack or is read past its end, which is fatal, and opening
// takes the lock that a running podman waits for. Layout: bbolt's
// internal/common/{page,meta,bucket}.go; numbers are in the machine's order.

var errBolt = errors.New("not a readable BoltDB database")

const (
	boltPageHeader = 16 // id, flags, count, overflow
	boltElement    = 16 // of a branch or leaf page
	boltMagic      = 0xED0CDAED
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltSubBucket  = 0x01      // flag of a leaf's element
	boltMaxPages   = 100       // read in one walk: a damaged tree can point at itself
	boltMaxDepth   = 16        // of one tree
	boltMaxSpan    = 1 << 20   // bytes of one page with its overflow
	boltMaxValue   = 64 * 1024 // bytes of a value we take
)

type boltFile struct {
	r        io.ReaderAt
	pageSize int64
	pages    int // left to read
}

// boltBucket returns the keys and values of a top-level bucket, which must be
// short. Buckets in it are left out.
func boltBucket(r io.ReaderAt, name string) (map[string]string, error) {
	db := &boltFile{r: r, pages: boltMaxPages}
	root, err := db.meta()
	if err != nil {
		return nil, err
	}
	var bucket []byte
	_, err = db.walkPage(root, boltMaxDepth, func(key, value []byte, flags uint32) bool {
		if flags&boltSubBucket != 0 && string(key) == name {
			bucket = value
		}
		return bucket == nil
	})
	if err != nil {
		return nil, err
	}
	if len(bucket) < 16 {
		return nil, fmt.Errorf("no bucket %s", name)
	}
	found := map[string]string{}
	visit := func(key, value []byte, flags uint32) bool {
		if flags&boltSubBucket == 0 {
			found[string(key)] = string(value)
		}
		return true
	}
	// A bucket is the number of its root page and a sequence number; a small
	// one has no page of its own but is one, behind that.
	if root := binary.NativeEndian.Uint64(bucket); root != 0 {
		_, err = db.walkPage(root, boltMaxDepth, visit)
	} else {
		_, err = db.visitPage(bucket[16:], boltMaxDepth, visit)
	}
	return found, err
}

// meta reads the newest of the two meta pages, sets the page size and returns
// the root page of the database.
func (db *boltFile) meta() (root uint64, err error) {
	newest, valid := uint64(0), false
	// The second meta page lies a page size, mostly 4096 bytes, after the first.
	sizes := []int64{0, 4096}
	for i := 0; i < len(sizes); i++ {
		page := make([]byte, boltPageHeader+64)
		if _, err := db.r.ReadAt(page, sizes[i]); err != nil {
			continue
		}
		meta := page[boltPageHeader:]
		sum := fnv.New64a()
		sum.Write(meta[:56])
		if binary.NativeEndian.Uint32(meta) != boltMagic || binary.NativeEndian.Uint64(meta[56:]) != sum.Sum64() {
			continue
		}
		if i == 0 {
			sizes[1] = int64(binary.NativeEndian.Uint32(meta[8:]))
		}
		if txid := binary.NativeEndian.Uint64(meta[48:]); !valid || txid > newest {
			newest, valid = txid, true
			db.pageSize = int64(binary.NativeEndian.Uint32(meta[8:]))
			root = binary.NativeEndian.Uint64(meta[16:])
		}
	}
	if !valid || db.pageSize < 512 || db.pageSize > boltMaxSpan {
		return 0, errBolt
	}
	return root, nil
}

type boltVisit func(key, value []byte, flags uint32) bool

// walkPage calls visit for each element of the tree rooted at a page, in order, until visit
// returns false.
func (db *boltFile) walkPage(number uint64, depth int, visit boltVisit) (more bool, err error) {
	if number > 1<<31 || depth == 0 || db.pages == 0 {
		return false, errBolt
	}
	db.pages--
	page := make([]byte, db.pageSize)
	if _, err := db.r.ReadAt(page, int64(number)*db.pageSize); err != nil {
		return false, errBolt
	}
	if overflow := int64(binary.NativeEndian.Uint32(page[12:])); overflow > 0 {
		if (overflow+1)*db.pageSize > boltMaxSpan {
			return false, errBolt
		}
		page = make([]byte, (overflow+1)*db.pageSize)
		if _, err := db.r.ReadAt(page, int64(number)*db.pageSize); err != nil {
			return false, errBolt
		}
	}
	return db.visitPage(page, depth, visit)
}

func (db *boltFile) visitPage(page []byte, depth int, visit boltVisit) (more bool, err error) {
	if len(page) < boltPageHeader {
		return false, errBolt
	}
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if boltPageHeader+count*boltElement > len(page) {
		return false, errBolt
	}
	for i := range count {
		element := page[boltPageHeader+i*boltElement:]
		switch flags {
		case boltBranch:
			more, err = db.walkPage(binary.NativeEndian.Uint64(element[8:]), depth-1, visit)
		case boltLeaf:
			pos, keySize, valueSize := uint64(binary.NativeEndian.Uint32(element[4:])),
				uint64(binary.NativeEndian.Uint32(element[8:])), uint64(binary.NativeEndian.Uint32(element[12:]))
			if pos+keySize+valueSize > uint64(len(element)) {
				return false, errBolt
			}
			if keySize+valueSize > boltMaxValue {
				continue
			}
			key := element[pos : pos+keySize]
			more = visit(key, element[pos+keySize:pos+keySize+valueSize], binary.NativeEndian.Uint32(element))
		default:
			return false, errBolt
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}
