// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package layer reads the compressed parts of a composefs repository's split streams: the
// original archives of layers, byte for byte, with the files in them that are objects.
//
// It is apart from package composefs since the decompressor takes 0.3 ms to start.
package layer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// ErrDamaged is the error for a stream that is no archive, or not the one that it has to
// be.
var ErrDamaged = errors.New("damaged layer")

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// Limits of a stream, in bytes. The decompressor's window is 2 MiB in practice.
const (
	maxWindow = 8 << 20
	// maxSize is the largest archive, maxInline the most of it that is no object.
	maxSize   = 1 << 40
	maxInline = 16 << 30
	// maxNames is the size of all names of references.
	maxNames = 1 << 20
)

// decompress returns a reader of zstd. It is streamed, so that the memory it takes has
// a bound whatever is in it.
func decompress(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
}

// chunks are the parts of a stream in their order: bytes of its own, and objects.
type chunks struct {
	repo   *composefs.Repo
	stream *composefs.Stream
	zstd   *zstd.Decoder
	in     *bufio.Reader
	// left are the bytes of the present part. object is open if that is one.
	left   int64
	object *os.File
	// size is that of the object. total and inline are those of all parts so far.
	size, total, inline int64
}

// openChunks opens the stream in an object. The error is fs.ErrNotExist for a missing
// object, and composefs.ErrFormat.
func openChunks(r *composefs.Repo, id composefs.ID) (*chunks, error) {
	s, err := r.OpenStream(id)
	if err != nil {
		return nil, err
	}
	c := &chunks{repo: r, stream: s}
	if s.Size > maxSize {
		s.Close()
		return nil, damagedf("stream %q of %d bytes", s.Name(), s.Size)
	}
	if c.zstd, err = decompress(s.Content()); err != nil {
		s.Close()
		return nil, damagedf("stream %q: %w", s.Name(), err)
	}
	c.in = bufio.NewReaderSize(c.zstd, 64<<10)
	return c, nil
}

func (c *chunks) close() {
	c.endObject()
	c.zstd.Close()
	c.stream.Close()
}

func (c *chunks) endObject() {
	if c.object != nil {
		c.object.Close()
	}
	c.object = nil
}

// next goes on to the next part that is not empty, unless there is something left of the
// present one. The error is io.EOF at the end.
//
// A part is a number, and as many bytes as it says below zero; or it is the index of an
// object.
func (c *chunks) next() error {
	for c.left == 0 {
		c.endObject()
		var head [8]byte
		switch _, err := io.ReadFull(c.in, head[:]); {
		case errors.Is(err, io.EOF):
			if c.total != c.stream.Size {
				return damagedf("stream %q has %d bytes instead of %d", c.stream.Name(), c.total, c.stream.Size)
			}
			return io.EOF
		case err != nil:
			return damagedf("stream %q: %w", c.stream.Name(), err)
		}
		n := int64(binary.LittleEndian.Uint64(head[:]))
		switch {
		case n == math.MinInt64:
			return damagedf("stream %q: part of an impossible size", c.stream.Name())
		case n < 0:
			c.left = -n
			c.inline += c.left
		default:
			if err := c.open(n); err != nil {
				return err
			}
		}
		// The same object may be named again and again.
		if c.total += c.left; c.total < 0 || c.total > c.stream.Size || c.inline > maxInline {
			return damagedf("stream %q has more than the %d bytes that it should", c.stream.Name(), c.stream.Size)
		}
	}
	return nil
}

// open begins with an object.
func (c *chunks) open(n int64) error {
	if n >= int64(c.stream.Objects()) {
		return damagedf("stream %q names object %d of %d", c.stream.Name(), n, c.stream.Objects())
	}
	f, size, err := c.repo.OpenObject(c.stream.Object(int(n)))
	if err != nil {
		return err
	}
	c.object, c.size, c.left = f, size, size
	return nil
}

// inlined reads bytes of the present part, which is no object.
func (c *chunks) inlined(p []byte) (int, error) {
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if n > 0 || err == nil {
		return n, nil
	}
	return 0, damagedf("stream %q: %w", c.stream.Name(), unexpected(err))
}

// unexpected is err, of a place that is not the end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read implements io.Reader: it reads objects, too.
func (c *chunks) Read(p []byte) (int, error) {
	if err := c.next(); err != nil {
		return 0, err
	}
	if c.object == nil {
		return c.inlined(p)
	}
	n, err := c.object.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		return 0, damagedf("object %q was truncated meanwhile", c.object.Name())
	}
	return 0, readError(err)
}

// readError is the error for an object that cannot be read. The kernel returns EIO for one
// with fs-verity that is damaged.
func readError(err error) error {
	if errors.Is(err, unix.EIO) {
		return damagedf("%w", err)
	}
	return err
}

// Refs returns what a stream refers to, by name: for a manifest the configuration
// ("config:" with its digest) and the layers (by their diff IDs), for a configuration the
// layers, and images of composefs ("composefs." and more). The objects need not exist.
func Refs(s *composefs.Stream) (map[string]composefs.ID, error) {
	refs, err := ParseRefs(s.NamedRefs(), s.Refs(), s.Ref)
	if err != nil {
		return nil, fmt.Errorf("read names in stream %q: %w", s.Name(), err)
	}
	return refs, nil
}

// readDocument reads a stream that is a document. It may be an object or not.
func readDocument(r *composefs.Repo, id composefs.ID, limit int64) ([]byte, error) {
	c, err := openChunks(r, id)
	if err != nil {
		return nil, err
	}
	defer c.close()
	data, err := io.ReadAll(io.LimitReader(c, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = damagedf("stream %q has more than %d bytes", c.stream.Name(), limit)
	}
	return data, err
}
