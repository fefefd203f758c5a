// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/extents"
	"github.com/bootc-podman/bootc-podman/internal/progress"
)

const (
	// chunk is how much the kernel compares in one call. Btrfs accepts no
	// more, and a signal ends the run after one call.
	chunk = 16 << 20
	// batchFiles is how many files of a directory a worker takes at a time.
	batchFiles = 64
	// readAhead is the size from which on a range is read ahead (posix_fadvise(2)): the
	// kernel compares page by page.
	readAhead = 16 << 10
)

// layerPair is a pair with the way to its files.
type layerPair struct {
	pair
	route *route
}

// pass is one walk over layers.
type pass struct {
	Options
	result *Result
	// stop ends the walk with an error that every file would cause.
	stop context.CancelCauseFunc
	mu   sync.Mutex // for Warn
	rate *rate
}

func (p *pass) warn(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Warn != nil {
		p.Warn(err)
	}
}

// layer is a layer whose files are walked.
type layer struct {
	// from is nil where a layer is compared with the index.
	from, to *os.File
	// visit is called for each regular file whose name skip is false for.
	visit func(ctx context.Context, w *worker, d *directory, name string) error
	skip  func(name string) bool
	// register returns the number of a directory, nil where none has one.
	register func(path string) uint32
	// block is the size of a block of the filesystem.
	block uint64
	part  *progress.Part
	// alone counts the files that are equal to no earlier one, or were not looked at.
	alone atomic.Int64
	// linked has the inodes with several names that were seen.
	mu     sync.Mutex
	linked map[uint64]bool
}

// first reports whether a file with several names is seen for the first time.
func (l *layer) first(inode uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	met := l.linked[inode]
	l.linked[inode] = true
	return !met
}

// directory is a directory that both layers have. It is closed with the last batch.
type directory struct {
	layer *layer
	path  string
	// number is that of register.
	number   uint32
	from, to *os.File
	users    atomic.Int32
}

func (d *directory) release() {
	if d.users.Add(-1) == 0 {
		_ = d.from.Close() // nil has an error
		d.to.Close()
	}
}

// batch is some of the regular files of a directory.
type batch struct {
	dir   *directory
	names []string
}

// run walks over the layers, one after the other, with several workers. The error is
// that of ctx, or one that every file causes.
func (p *pass) run(ctx context.Context, job *progress.Job, work []layerPair, workers int) error {
	ctx, p.stop = context.WithCancelCause(ctx)
	defer p.stop(nil)
	for _, lp := range work {
		p.layer(ctx, job, lp, workers)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (p *pass) layer(ctx context.Context, job *progress.Job, lp layerPair, workers int) {
	l := &layer{block: lp.route.block, linked: map[uint64]bool{}, visit: p.shareFile}
	var err error
	if l.from, err = openBeneath(int(lp.route.from.Fd()), lp.route.from.Name(), filepath.Join(lp.from, "diff")); err == nil {
		defer l.from.Close()
		l.to, err = openBeneath(int(lp.route.to.Fd()), lp.route.to.Name(), filepath.Join(lp.to, "diff"))
	}
	if err != nil {
		// A layer that was removed meanwhile has nothing to share any more.
		if !errors.Is(err, unix.ENOENT) {
			p.warn(fmt.Errorf("share layer %s: %w", lp.diffID, err))
		}
		return
	}
	defer l.to.Close()
	p.result.Layers++
	l.part = job.Start(progress.Subtask{Name: "layer", Description: "layer " + lp.diffID, ID: lp.diffID, Bytes: max(lp.size, 0)})
	defer l.part.Stop()
	p.files(ctx, l, workers)
}

// files visits the files of a layer with several workers.
func (p *pass) files(ctx context.Context, l *layer, workers int) {
	batches := make(chan batch)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			var w worker
			for b := range batches {
				for _, name := range b.names {
					if ctx.Err() == nil {
						p.file(ctx, &w, b.dir, name)
					}
				}
				b.dir.release()
			}
		})
	}
	p.walk(ctx, l, batches)
	close(batches)
	wg.Wait()
	if ctx.Err() == nil {
		l.part.Done()
	}
}

// walk passes the regular files of a layer to the workers. It keeps paths, not
// descriptors, of the directories that follow: their number has no limit.
func (p *pass) walk(ctx context.Context, l *layer, batches chan<- batch) {
	for todo := []string{"."}; len(todo) > 0 && ctx.Err() == nil; {
		path := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		d := &directory{layer: l, path: path}
		var err error
		if d.to, err = openBeneath(int(l.to.Fd()), l.to.Name(), path); err == nil && l.from != nil {
			if d.from, err = openBeneath(int(l.from.Fd()), l.from.Name(), path); err != nil {
				d.to.Close()
			}
		}
		if err != nil {
			p.skip(fmt.Errorf("share directory: %w", err))
			continue
		}
		if l.register != nil {
			d.number = l.register(path)
		}
		d.users.Add(1)
		below, err := p.list(ctx, d, batches)
		if err != nil {
			p.skip(fmt.Errorf("share directory: %w", err))
		}
		todo = append(todo, below...)
		d.release()
	}
}

// list passes the regular files of a directory to the workers and returns the paths of the
// directories in it.
func (*pass) list(ctx context.Context, d *directory, batches chan<- batch) (below []string, err error) {
	for {
		entries, err := d.to.ReadDir(batchFiles)
		var names []string
		for _, e := range entries {
			switch {
			case e.Type().IsRegular() && (d.layer.skip == nil || !d.layer.skip(e.Name())):
				names = append(names, e.Name())
			case e.IsDir():
				below = append(below, filepath.Join(d.path, e.Name()))
			}
		}
		if len(names) > 0 {
			d.users.Add(1)
			select {
			case batches <- batch{d, names}:
			case <-ctx.Done():
				d.release()
				return nil, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return below, nil
		}
		if err != nil {
			return below, err
		}
	}
}

// worker has the buffers that one worker reuses.
type worker struct {
	fiemap         extents.Reader
	from, to, rest []extent
	// sample is where samples of content are read.
	sample [sampleBlocks * sampleSize]byte
}

var errDiffers = errors.New("content differs between the stores, though the layer is the same")

// file makes a file share its extents with the one of the same name in the other
// store, and counts the result.
func (p *pass) file(ctx context.Context, w *worker, d *directory, name string) {
	err := d.layer.visit(ctx, w, d, name)
	switch {
	case err == nil, ctx.Err() != nil:
	case errors.Is(err, errDiffers):
		atomic.AddInt64(&p.result.Different, 1)
		p.warn(fmt.Errorf("share %q: %w", filepath.Join(d.to.Name(), name), err))
	// Every file would cause this error.
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EROFS), errors.Is(err, unix.ENOSPC):
		p.stop(fmt.Errorf("share %q: %w", filepath.Join(d.to.Name(), name), err))
	default:
		p.skip(fmt.Errorf("share %q: %w", filepath.Join(d.to.Name(), name), err))
	}
}

// skip counts a file that was left out, and warns. A missing file was removed meanwhile, and
// is not counted.
func (p *pass) skip(err error) {
	if !errors.Is(err, unix.ENOENT) {
		atomic.AddInt64(&p.result.Failed, 1)
		p.warn(err)
	}
}

func (p *pass) shareFile(ctx context.Context, w *worker, d *directory, name string) error {
	to, toStat, err := openRegular(d.to, name)
	if to < 0 {
		return err
	}
	defer unix.Close(to)
	if toStat.Size == 0 || toStat.Nlink > 1 && !d.layer.first(toStat.Ino) {
		return nil
	}
	d.layer.part.Add(toStat.Size)
	from, fromStat, err := openRegular(d.from, name)
	if from < 0 {
		return err
	}
	defer unix.Close(from)
	if fromStat.Size != toStat.Size {
		return errDiffers
	}
	size := uint64(toStat.Size)
	end := roundUp(size, d.layer.block)
	if w.from, err = places(&w.fiemap, from, end, w.from[:0]); err != nil {
		return err
	}
	if w.to, err = places(&w.fiemap, to, end, w.to[:0]); err != nil {
		return err
	}
	all, left, own := w.compare(end)
	p.count(all, all-left)
	if p.DryRun {
		atomic.AddInt64(&p.result.Saved, own)
		return nil
	}
	return p.shareRest(ctx, w, from, to, size, end)
}

// count counts a file of a size on the disk, and how much of it was shared before.
func (p *pass) count(bytes, shared int64) {
	atomic.AddInt64(&p.result.Files, 1)
	atomic.AddInt64(&p.result.Bytes, bytes)
	atomic.AddInt64(&p.result.Shared, shared)
}

// roundUp returns the end of the last block, which belongs to a file as a whole.
func roundUp(size, block uint64) uint64 { return (size + block - 1) / block * block }

// compare puts into rest what of to lies elsewhere than from. It returns how many bytes
// the file has up to end, how many of them lie elsewhere, and how many of these belong to
// the file alone.
func (w *worker) compare(end uint64) (all, left, own int64) {
	w.rest = apart(w.from, w.to, w.rest[:0])
	all, _ = within(w.to, 0, end)
	left, own = within(w.rest, 0, end)
	return all, left, own
}

// shareRest shares what compare left of two files of a size, and counts what it saved.
func (p *pass) shareRest(ctx context.Context, w *worker, from, to int, size, end uint64) error {
	for at := uint64(0); at < size && ctx.Err() == nil; {
		length := min(chunk, size-at)
		if n, _ := within(w.rest, at, at+length); n == 0 {
			at += length
			continue
		}
		// Both files are read.
		if !p.rate.wait(ctx, 2*int64(length)) {
			return nil
		}
		n, err := shareRange(from, to, at, length)
		if err != nil {
			return err
		}
		if n > 0 {
			atomic.AddInt64(&p.result.changes, 1)
		}
		next := at + n
		if next == size {
			next = end
		}
		_, own := within(w.rest, at, next)
		atomic.AddInt64(&p.result.Saved, own)
		// The kernel leaves out what it cannot share: before 5.6 part of a block at
		// the end.
		if n == 0 {
			return nil
		}
		at += n
	}
	return nil
}

// openRegular opens a regular file; the descriptor is -1 if it is another kind of file
// now.
func openRegular(dir *os.File, name string) (fd int, stat unix.Stat_t, err error) {
	for {
		// Opening a FIFO would wait.
		fd, err = unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return -1, stat, err
	}
	return checkRegular(fd)
}

// openRegularAt is openRegular for a path, of which no part may be a link.
func openRegularAt(dir *os.File, path string) (fd int, stat unix.Stat_t, err error) {
	if fd, err = openPath(int(dir.Fd()), path, unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY); err != nil {
		return -1, stat, err
	}
	return checkRegular(fd)
}

// checkRegular closes a descriptor of anything but a regular file, and returns -1 then.
func checkRegular(fd int) (_ int, stat unix.Stat_t, err error) {
	if err = unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return -1, stat, err
	}
	return fd, stat, nil
}

// shareRange makes the kernel compare a range of two files and, if it is equal, share
// it. It returns how many bytes from its beginning on are shared now; the error is
// errDiffers if they are not equal.
func shareRange(from, to int, at, length uint64) (uint64, error) {
	if length > readAhead {
		// Only advice: an error does not matter.
		_ = unix.Fadvise(from, int64(at), int64(length), unix.FADV_WILLNEED)
		_ = unix.Fadvise(to, int64(at), int64(length), unix.FADV_WILLNEED)
	}
	for {
		request := unix.FileDedupeRange{
			Src_offset: at, Src_length: length,
			Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(to), Dest_offset: at}},
		}
		err := unix.IoctlFileDedupeRange(from, &request)
		status := request.Info[0].Status
		if err == nil && status < 0 {
			err = unix.Errno(-status)
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case status == unix.FILE_DEDUPE_RANGE_DIFFERS:
			return 0, errDiffers
		}
		return request.Info[0].Bytes_deduped, nil
	}
}
