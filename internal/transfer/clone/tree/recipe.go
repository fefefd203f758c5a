// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/vbatts/tar-split/tar/storage"
)

// Parts of a line of a tar-split file: package storage writes the fields in the order
// of its type Entry, and a quote in a name is written with a backslash.
var (
	fileEntry      = []byte(`{"type":` + strconv.Itoa(int(storage.FileType)) + `,`)
	fileSize       = []byte(`,"size":`)
	segmentEntry   = []byte(`{"type":` + strconv.Itoa(int(storage.SegmentType)) + `,`)
	segmentPayload = []byte(`"payload":"`)
)

// maxRecipeLine bounds a line of a tar-split file in bytes. The longest header that
// archive/tar reads has 1 MiB.
const maxRecipeLine = 32 << 20

// recipe is the archive of a layer as its tar-split file has it, with zeros for the
// contents of files. It is read much faster than the library does, which parses all.
type recipe struct {
	lines *bufio.Reader
	long  []byte
	// segment is what is left to read of one, before as many zeros.
	segment, buf []byte
	zeros        int64
	pos          int64
}

// newRecipe reads an open tar-split file from its start.
func newRecipe(f *os.File) (*recipe, error) {
	in, err := openTarSplit(f)
	if err != nil {
		return nil, err
	}
	return &recipe{lines: bufio.NewReaderSize(in, 256<<10)}, nil
}

// headers calls each with every header of an archive, in their order.
func headers(f *os.File, each func(*tar.Header) error) error {
	r, err := newRecipe(f)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(r); ; {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(hdr); err != nil {
			return err
		}
	}
}

// Read implements io.Reader.
func (r *recipe) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.segment)
	r.segment = r.segment[n:]
	if n == 0 {
		n = int(min(int64(len(p)), r.zeros))
		clear(p[:n])
		r.zeros -= int64(n)
	}
	r.pos += int64(n)
	return n, nil
}

// Seek implements io.Seeker, but only forward from where it is, as archive/tar does to
// leave out the contents of files.
func (r *recipe) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	for offset > 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
		n := min(offset, int64(len(r.segment)))
		r.segment = r.segment[n:]
		zeros := min(offset-n, r.zeros)
		r.zeros -= zeros
		r.pos += n + zeros
		offset -= n + zeros
	}
	return r.pos, nil
}

// fill reads lines until there is something to read.
func (r *recipe) fill() error {
	for len(r.segment) == 0 && r.zeros == 0 {
		line, err := r.line()
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			return err
		}
		if err := r.entry(line); err != nil {
			return err
		}
	}
	return nil
}

// line returns the next line, until the next call.
func (r *recipe) line() ([]byte, error) {
	line, err := r.lines.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	r.long = append(r.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(r.long) > maxRecipeLine {
			return nil, errors.New("tar-split file with an entry that is too long")
		}
		line, err = r.lines.ReadSlice('\n')
		r.long = append(r.long, line...)
	}
	return r.long, err
}

func (r *recipe) entry(line []byte) error {
	switch {
	case bytes.HasPrefix(line, fileEntry):
		if _, size, ok := bytes.Cut(line, fileSize); ok {
			r.zeros = leadingNumber(size)
		}
	case bytes.HasPrefix(line, segmentEntry):
		_, rest, ok := bytes.Cut(line, segmentPayload)
		end := bytes.IndexByte(rest, '"')
		if !ok || end < 0 { // null
			return nil
		}
		r.buf = append(r.buf[:0], make([]byte, base64.StdEncoding.DecodedLen(end))...)
		n, err := base64.StdEncoding.Decode(r.buf, rest[:end])
		if err != nil {
			return fmt.Errorf("tar-split file: %w", err)
		}
		r.segment = r.buf[:n]
	case len(bytes.TrimSpace(line)) > 0:
		return errors.New("tar-split file with an entry of another form")
	}
	return nil
}

func leadingNumber(text []byte) (n int64) {
	for _, c := range text {
		if c < '0' || c > '9' || n > 1<<58 {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
