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

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
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

// addPart adds an entry, or what comes after the last one.
func (a *archiver) addPart(p part) error {
	if p.raw == nil {
		return a.add(p, a.tw, func() error {
			// The padding, which is a part of what comes next. It is an error if the
			// file was shorter.
			return a.tw.Flush()
		})
	}
	if _, err := a.Write(p.raw); err != nil {
		return err
	}
	if p.hdr == nil {
		return a.flush()
	}
	before := a.size
	return a.add(p, a, func() error {
		if n := a.size - before; n != p.hdr.Size {
			return fmt.Errorf("%w: %q has %d bytes instead of %d", clonejob.ErrNotVerified, p.hdr.Name, n, p.hdr.Size)
		}
		return nil
	})
}

// add adds an entry, and writes the content of a regular file to w. written is called
// afterwards.
func (a *archiver) add(p part, w io.Writer, written func() error) error {
	hdr := p.hdr
	if !strings.HasPrefix(path.Base(hdr.Name), whiteoutPrefix) && hdr.Typeflag != tar.TypeXGlobalHeader {
		a.uids[uint32(hdr.Uid)], a.gids[uint32(hdr.Gid)] = true, true
	}
	if p.raw == nil {
		if err := a.tw.WriteHeader(hdr); err != nil {
			return err
		}
	}
	if err := a.flush(); err != nil {
		return err
	}
	entry := storage.Entry{Type: storage.FileType}
	entry.SetName(hdr.Name)
	if hdr.Typeflag == tar.TypeReg && hdr.Size > 0 {
		a.inFile = true
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{content(p)}, a.buf)
		a.inFile = false
		if err == nil {
			err = written()
		}
		if err != nil {
			return err
		}
		if entry.Payload, err = p.checksum(); err != nil {
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

// close writes the end, and returns the archive's digest. A given one has its end already.
func (a *archiver) close(given *given) (digest.Digest, error) {
	if given == nil {
		if err := a.tw.Close(); err != nil {
			return "", err
		}
	} else if found := digest.NewDigest(digest.SHA256, a.sum); found != given.digest {
		_, _ = a.Write(make([]byte, given.padding(a.size))) // never fails
		if digest.NewDigest(digest.SHA256, a.sum) != given.digest {
			return "", fmt.Errorf("%w: its archive is %s", clonejob.ErrNotVerified, found)
		}
	}
	if a.segment.Len() > 0 {
		if err := a.flush(); err != nil {
			return "", err
		}
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
