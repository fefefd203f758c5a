// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// Entry is a part of an archive: all bytes up to the content of a file, and that content.
type Entry struct {
	// Raw are the bytes before the content: padding of the entry before, and headers. At
	// the end of the archive there are entries that have only these.
	Raw []byte
	// Header is nil for what comes after the last entry.
	Header *tar.Header
	// Inline is the content of a regular file that is no object.
	Inline []byte
	// File is the object with the content of a regular file, nil for none. The caller closes
	// it.
	File *os.File
}

const (
	// maxContent is the size of the largest file that need not be an object, in bytes.
	// Writers have an object for each of more than 64.
	maxContent = 1 << 20
	// rawAtOnce is how much of what comes after the last entry is in one part.
	rawAtOnce = 1 << 20
)

// Archive is the archive of a layer that is read entry by entry. No content of an object is
// read.
type Archive struct {
	chunks *chunks
	tar    *tar.Reader
	// raw are the bytes that were read since the last content, unless it is content that
	// is read now.
	raw    []byte
	inFile bool
	// zeros is how much of an object package tar has not passed over yet.
	zeros int64
	// ended reports that there are no more entries.
	ended bool
}

// Open opens the layer in an object. Errors are fs.ErrNotExist for a missing object,
// composefs.ErrFormat and ErrDamaged.
func Open(r *composefs.Repo, id composefs.ID) (*Archive, error) {
	c, err := openChunks(r, id)
	if err != nil {
		return nil, err
	}
	if c.stream.Type != composefs.LayerType {
		defer c.close()
		return nil, fmt.Errorf("read stream %q: %w: type %q", c.stream.Name(), composefs.ErrFormat, c.stream.Type)
	}
	a := &Archive{chunks: c}
	a.tar = tar.NewReader((*headerReader)(a))
	return a, nil
}

// Close closes the archive.
func (a *Archive) Close() { a.chunks.close() }

// Next returns the next entry. The error is io.EOF at the end, ErrDamaged for what is no
// archive, and fs.ErrNotExist if an object is gone.
func (a *Archive) Next() (*Entry, error) {
	if a.ended {
		return a.rest()
	}
	a.raw = nil
	hdr, err := a.tar.Next()
	e := &Entry{Raw: a.raw, Header: hdr}
	switch {
	case errors.Is(err, io.EOF):
		a.ended = true
		if len(e.Raw) == 0 {
			return a.rest()
		}
		return e, nil
	case errors.Is(err, ErrDamaged), errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, a.damagedf("%w", err)
	}
	for name := range hdr.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return nil, a.damagedf("%q: sparse file", hdr.Name)
		}
	}
	if (hdr.Typeflag == tar.TypeReg || hdr.Typeflag == tar.TypeCont) && hdr.Size > 0 {
		if err := a.content(e); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// content adds the content of a regular file.
func (a *Archive) content(e *Entry) (err error) {
	c := a.chunks
	if err := c.next(); errors.Is(err, io.EOF) {
		return a.damagedf("%q: %w", e.Header.Name, io.ErrUnexpectedEOF)
	} else if err != nil {
		return err
	}
	if c.object != nil {
		if c.size != e.Header.Size || c.left != c.size {
			return a.damagedf("object %q has %d bytes instead of the %d of %q", c.object.Name(), c.size, e.Header.Size, e.Header.Name)
		}
		// From here on the caller closes it.
		e.File, c.object = c.object, nil
		c.left, a.zeros = 0, c.size
		return nil
	}
	if e.Header.Size > maxContent {
		return a.damagedf("%q has %d bytes that are no object", e.Header.Name, e.Header.Size)
	}
	a.inFile = true
	e.Inline, err = io.ReadAll(a.tar)
	a.inFile = false
	if err != nil {
		return a.damagedf("%q: %w", e.Header.Name, err)
	}
	return nil
}

// rest returns what comes after the last entry, a part at a time.
func (a *Archive) rest() (*Entry, error) {
	raw := make([]byte, rawAtOnce)
	n, err := io.ReadFull((*headerReader)(a), raw)
	switch {
	case n > 0 && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)):
		return &Entry{Raw: raw[:n]}, nil
	default:
		return nil, err
	}
}

// headerReader is the archive as package tar reads it: with zeros for objects.
type headerReader Archive

// Read implements io.Reader.
func (h *headerReader) Read(p []byte) (int, error) {
	if h.zeros > 0 {
		n := int(min(int64(len(p)), h.zeros))
		clear(p[:n])
		h.zeros -= int64(n)
		return n, nil
	}
	if err := h.chunks.next(); err != nil {
		return 0, err
	}
	if h.chunks.object != nil {
		return 0, damagedf("object %q where no file is", h.chunks.object.Name())
	}
	n, err := h.chunks.inlined(p)
	if !h.inFile && !h.ended {
		h.raw = append(h.raw, p[:n]...)
	}
	return n, err
}

// Seek implements io.Seeker for package tar, which passes over an object with it, and reads
// where it fails.
func (h *headerReader) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 || h.zeros == 0 || offset > h.zeros {
		return 0, errors.ErrUnsupported
	}
	h.zeros -= offset
	return h.chunks.total - h.zeros, nil
}

func (a *Archive) damagedf(format string, args ...any) error {
	return fmt.Errorf("read archive in %q: %w", a.chunks.stream.Name(), damagedf(format, args...))
}

// recordSize is the size of what GNU tar and Python write at once: their archives end with
// zeros up to a multiple of it. Composefs before 0.7 dropped these, and no later version
// writes such a layer again.
const recordSize = 10240

// Padding returns how many zeros an archive of size bytes lacks if composefs dropped them.
func Padding(size int64) int64 { return (recordSize - size%recordSize) % recordSize }

// Check reads the layer with a diff ID, objects and all, and compares it with the diff ID,
// which neither bootc nor cfsctl do. The error wraps ErrDamaged for another archive, for
// one that cannot be read, and for a damaged object; it is fs.ErrNotExist if the layer or an
// object of it is missing, and composefs.ErrFormat for a stream of an unknown version. Zeros
// that composefs before 0.7 dropped may be missing at the end.
//
// The caller holds the repository's lock (composefs.Repo.Lock), or takes a missing object
// for what a garbage collection removed. size is that of the archive in bytes.
func Check(ctx context.Context, r *composefs.Repo, diffID string) (size int64, err error) {
	id, err := r.Layer(diffID)
	if err != nil {
		return 0, err
	}
	c, err := openChunks(r, id)
	if err != nil {
		return 0, err
	}
	defer c.close()
	sum := sha256.New()
	buf := make([]byte, 256<<10)
	for {
		n, err := c.Read(buf)
		sum.Write(buf[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, fmt.Errorf("check layer %s: %w", diffID, err)
		}
	}
	found := Digest(sum)
	if found != diffID {
		padding := Padding(size)
		sum.Write(make([]byte, padding))
		if Digest(sum) != diffID {
			return 0, damagedf("layer %s: its archive has the digest %s", diffID, found)
		}
		size += padding
	}
	return size, nil
}

// Digest returns a sum of SHA-256 as digests are written.
func Digest(sum hash.Hash) string { return fmt.Sprintf("sha256:%x", sum.Sum(nil)) }
