// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/storage"
)

// archiver writes the archive of a layer to nowhere: what is kept of it is its digest,
// its size, and the tar-split file of which podman makes it again.
type archiver struct {
	tw *tar.Writer
	// segment are the bytes since the last file: padding and headers.
	segment bytes.Buffer
	inFile  bool
	sum     hash.Hash
	size    int64

	zip        *gzip.Writer
	recipe     storage.Packer
	bufs       [3][]byte
	uids, gids map[uint32]bool
}

// crcTable is that of the checksums in tar-split files.
var crcTable = crc64.MakeTable(crc64.ISO)

// newArchiver writes the tar-split file to w.
func newArchiver(w io.Writer) (*archiver, error) {
	// As the storage library does.
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	a := &archiver{
		sum: sha256.New(), zip: zip, recipe: storage.NewJSONPacker(zip),
		uids: map[uint32]bool{}, gids: map[uint32]bool{},
	}
	for i := range a.bufs {
		a.bufs[i] = make([]byte, copyBuffer)
	}
	a.tw = tar.NewWriter(a)
	return a, nil
}

// Write takes the bytes of the archive.
func (a *archiver) Write(p []byte) (int, error) {
	a.size += int64(len(p))
	if !a.inFile {
		a.segment.Write(p)
	}
	return a.sum.Write(p)
}

// add adds an entry, and reads content, which only a regular file has.
func (a *archiver) add(hdr *tar.Header, content io.Reader) error {
	if !strings.HasPrefix(path.Base(hdr.Name), whiteoutPrefix) {
		a.uids[uint32(hdr.Uid)], a.gids[uint32(hdr.Gid)] = true, true
	}
	if err := a.tw.WriteHeader(hdr); err != nil {
		return err
	}
	if err := a.flush(); err != nil {
		return err
	}
	entry := storage.Entry{Type: storage.FileType}
	entry.SetName(hdr.Name)
	if hdr.Typeflag == tar.TypeReg {
		crc := crc64.New(crcTable)
		a.inFile = true
		n, err := a.copy(io.MultiWriter(a.tw, crc), content)
		a.inFile = false
		if err != nil {
			return err
		}
		if n != hdr.Size {
			return io.ErrUnexpectedEOF
		}
		if entry.Size = n; n > 0 {
			entry.Payload = crc.Sum(nil)
		}
		// The padding, which is a part of what comes next.
		if err := a.tw.Flush(); err != nil {
			return err
		}
	}
	_, err := a.recipe.AddEntry(entry)
	return err
}

// copy copies a file's content. Reading it takes as long as writing does, since both
// compute a digest: each has a thread of its own.
func (a *archiver) copy(w io.Writer, content io.Reader) (n int64, err error) {
	type piece struct {
		data []byte
		err  error
	}
	free, full := make(chan []byte, len(a.bufs)), make(chan piece, len(a.bufs))
	for _, buf := range a.bufs {
		free <- buf
	}
	go func() {
		defer close(full)
		for buf := range free {
			n, err := io.ReadFull(content, buf)
			full <- piece{buf[:n], err}
			if err != nil {
				return
			}
		}
	}()
	for p := range full {
		if err == nil {
			var written int
			written, err = w.Write(p.data)
			n += int64(written)
		}
		switch {
		case p.err != nil:
			if err == nil && p.err != io.EOF && p.err != io.ErrUnexpectedEOF { //nolint:errorlint // of ReadFull
				err = p.err
			}
		case err != nil:
			close(free) // what is read already is not wanted any more
			for range full {
			}
		default:
			free <- p.data[:cap(p.data)]
		}
	}
	return n, err
}

// flush adds the bytes since the last file to the recipe.
func (a *archiver) flush() error {
	_, err := a.recipe.AddEntry(storage.Entry{Type: storage.SegmentType, Payload: a.segment.Bytes()})
	a.segment.Reset()
	return err
}

// close writes the end, and returns the archive's digest.
func (a *archiver) close() (digest.Digest, error) {
	if err := a.tw.Close(); err != nil {
		return "", err
	}
	if err := a.flush(); err != nil {
		return "", err
	}
	if err := a.zip.Close(); err != nil {
		return "", fmt.Errorf("write tar-split: %w", err)
	}
	return digest.NewDigest(digest.SHA256, a.sum), nil
}

// owners returns the user and group IDs in the archive.
func (a *archiver) owners() (uids, gids []uint32) {
	return slices.Sorted(maps.Keys(a.uids)), slices.Sorted(maps.Keys(a.gids))
}

// File is a file of an archive that is made. Fd is its descriptor, of which a regular
// file's extents are shared.
type File interface {
	io.Reader
	Fd() uintptr
}

var _ File = (*os.File)(nil)
