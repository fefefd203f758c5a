// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// openTarSplit reads an open tar-split file from its start, uncompressed.
func openTarSplit(f *os.File) (*gzip.Reader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(f, 0, st.Size()), 64<<10))
}

// ArchiveDigest makes the archive of a layer again and returns its digest and its size in
// bytes. dir is the layer's tree, tarSplit its tar-split file. The error is one of a file
// that is missing or is not the archived one.
func ArchiveDigest(dir, tarSplit *os.File) (digest string, size int64, err error) {
	in, err := openTarSplit(tarSplit)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	counter := &countingWriter{w: sum}
	out := bufio.NewWriterSize(counter, 1<<20)
	if err := asm.WriteOutputTarStream(files{dir}, storage.NewJSONUnpacker(in), out); err != nil {
		return "", 0, err
	}
	if err := out.Flush(); err != nil {
		return "", 0, err
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), counter.n, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// files opens the files of a tree by the names that they have in its archive.
type files struct{ root *os.File }

// Get implements storage.FileGetter.
func (f files) Get(name string) (io.ReadCloser, error) {
	fd, err := rooted.OpenFD(f.root, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_NONBLOCK)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	file := os.NewFile(uintptr(fd), name)
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		file.Close()
		return nil, fmt.Errorf("open %q: %w", name, errors.New("not a regular file"))
	}
	return file, nil
}
