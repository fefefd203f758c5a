// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// The ways to copy the content of a file, cheapest first.
const (
	byReflink int32 = iota // FICLONE, see ioctl_ficlone(2)
	byKernel               // copy_file_range(2)
	byHand
)

// Copier copies the contents of files between two filesystems, in the cheapest way
// that has worked so far. The zero value is ready for use, by several goroutines.
type Copier struct{ way atomic.Int32 }

// Copiers are the copiers of one destination, by the filesystem of the source: files on
// one that shares no extents with the destination do not keep others from sharing theirs.
// The zero value is ready for use, by several goroutines.
type Copiers struct {
	mu sync.Mutex
	of map[uint64]*Copier
}

// Copy gives dst, an empty file, the content of src. It shares the extents if possible.
func (c *Copiers) Copy(dst, src *os.File) error {
	copier, st, err := c.from(src)
	if err == nil {
		err = copier.copy(int(dst.Fd()), int(src.Fd()), &st, &Counts{})
	}
	return err
}

// from returns the copier for files on the filesystem of an open one, and the status of
// that file.
func (c *Copiers) from(f *os.File) (of *Copier, st unix.Stat_t, err error) {
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, st, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[st.Dev] == nil {
		if c.of == nil {
			c.of = map[uint64]*Copier{}
		}
		c.of[st.Dev] = &Copier{}
	}
	return c.of[st.Dev], st, nil
}

// stepDown goes on to the next way, unless another worker did so already.
func (c *Copier) stepDown(from int32) { c.way.CompareAndSwap(from, from+1) }

// copy gives dst, an empty file, the content of src, of which st is the status. It adds to n
// the bytes, and those that do not share extents with src, while they are copied.
func (c *Copier) copy(dst, src int, st *unix.Stat_t, n *Counts) error {
	if st.Size == 0 {
		return nil
	}
	if c.way.Load() == byReflink {
		err := unix.IoctlFileClone(dst, src)
		switch {
		case err == nil:
			n.Bytes.Add(st.Size)
			return nil
		case rooted.IsOneOf(err, unix.EOPNOTSUPP, unix.ENOTTY, unix.ENOSYS, unix.EXDEV):
			c.stepDown(byReflink)
		// For this file only: its attributes are others than a new file gets.
		case !errors.Is(err, unix.EINVAL):
			return fmt.Errorf("reflink: %w", err)
		}
	}
	if st.Blocks*512 >= st.Size {
		return c.copyRange(dst, src, 0, st.Size, n)
	}
	if err := c.copyData(dst, src, st.Size, n); err != nil {
		return err
	}
	return unix.Ftruncate(dst, st.Size)
}

// copyData copies what is no hole.
func (c *Copier) copyData(dst, src int, size int64, n *Counts) error {
	for off := int64(0); off < size; {
		start, err := unix.Seek(src, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole to the end
			start, err = size, nil
		}
		if err != nil {
			return fmt.Errorf("seek data: %w", err)
		}
		n.Bytes.Add(start - off)
		if start == size {
			break
		}
		end, err := unix.Seek(src, start, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("seek hole: %w", err)
		}
		end = min(end, size)
		if err := c.copyRange(dst, src, start, end, n); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// copyAtATime is how many bytes copy_file_range(2) copies before they are counted.
const copyAtATime = 16 << 20

// copyRange copies the bytes from off to end, all of which have to be there.
func (c *Copier) copyRange(dst, src int, off, end int64, n *Counts) error {
	for off < end {
		if c.way.Load() >= byHand {
			return copyByHand(dst, src, off, end, n)
		}
		in, out := off, off
		done, err := unix.CopyFileRange(src, &in, dst, &out, int(min(end-off, copyAtATime)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case rooted.IsOneOf(err, unix.ENOSYS, unix.EXDEV, unix.EINVAL, unix.EOPNOTSUPP, unix.EPERM):
			c.stepDown(byKernel)
			// Even if the way is another for other files, as with EINVAL of a reflink.
			return copyByHand(dst, src, off, end, n)
		case err != nil:
			return fmt.Errorf("copy: %w", err)
		case done == 0:
			return fmt.Errorf("copy: %w", io.ErrUnexpectedEOF)
		}
		off += n.copied(max(done, 0))
	}
	return nil
}

// copied counts bytes that were copied, and returns their number.
func (n *Counts) copied(bytes int) int64 {
	n.Bytes.Add(int64(bytes))
	n.Copied.Add(int64(bytes))
	return int64(bytes)
}

// copyBuffer is the size of the buffer of copyByHand, in bytes.
const copyBuffer = 256 << 10

func copyByHand(dst, src int, off, end int64, n *Counts) error {
	buf := make([]byte, min(end-off, copyBuffer))
	for off < end {
		read, err := unix.Pread(src, buf[:min(end-off, int64(len(buf)))], off)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case read == 0:
			return fmt.Errorf("read: %w", io.ErrUnexpectedEOF)
		}
		for done := 0; done < read; {
			w, err := unix.Pwrite(dst, buf[done:read], off)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("write: %w", err)
			}
			done += max(w, 0)
			off += n.copied(max(w, 0))
		}
	}
	return nil
}
