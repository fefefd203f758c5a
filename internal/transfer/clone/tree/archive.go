// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
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
	buf        []byte
	uids, gids map[uint32]bool
}

// newArchiver writes the tar-split file to w.
func newArchiver(w io.Writer) (*archiver, error) {
	// As the storage library does.
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	a := &archiver{
		sum: sha256.New(), zip: zip, recipe: storage.NewJSONPacker(zip),
		buf: make([]byte, copyBuffer), uids: map[uint32]bool{}, gids: map[uint32]bool{},
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

// add adds an entry, and reads content, which only a regular file has; crc returns the
// checksum of it.
func (a *archiver) add(hdr *tar.Header, content io.Reader, crc func() ([]byte, error)) error {
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
	if hdr.Typeflag == tar.TypeReg && hdr.Size > 0 {
		a.inFile = true
		_, err := io.CopyBuffer(struct{ io.Writer }{a.tw}, struct{ io.Reader }{content}, a.buf)
		a.inFile = false
		if err != nil {
			return err
		}
		// The padding, which is a part of what comes next. It is an error if the
		// file was shorter.
		if err := a.tw.Flush(); err != nil {
			return err
		}
		if entry.Payload, err = crc(); err != nil {
			return err
		}
		entry.Size = hdr.Size
	}
	_, err := a.recipe.AddEntry(entry)
	return err
}

// checksum reads a file to its end and returns the checksum that tar-split files have
// of its content.
func checksum(content io.Reader, buf []byte) ([]byte, error) {
	var crc uint64
	for {
		n, err := content.Read(buf)
		crc = updateCRC(crc, buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			return binary.BigEndian.AppendUint64(nil, crc), nil
		case err != nil:
			return nil, err
		}
	}
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
// file's extents are shared. Read returns an error in place of io.EOF at the end of a
// regular file that is damaged; ReadAt does not look.
type File interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Fd() uintptr
}

var _ File = (*os.File)(nil)
