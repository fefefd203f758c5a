// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/progress"
)

const (
	// A sample is up to sampleBlocks parts of sampleSize bytes, spread over the file: a
	// file of no more is read whole.
	sampleSize   = 4096
	sampleBlocks = 3
	// maxTries is with how many files of the same size and sample a file is compared.
	maxTries = 8
)

// place is a directory with files to share: all objects of a repository, or all layers in
// one directory of a store.
type place struct {
	*tree
	// dir is the directory on the mount by which files are changed.
	dir   *os.File
	block uint64
	// skip is true for the names of files to leave out, nil for none.
	skip func(name string) bool
	// layers has the layers to look at; nil for objects, whose files are only read.
	layers []*part
}

// part is a layer, or all of a repository.
type part struct {
	at *place
	// path is relative to the place.
	path string
	// name is for messages.
	name string
	size int64
	// id is that of the layer. known is set when each of its files was equal to an earlier
	// one.
	id    string
	known bool
}

// pool is a pass that compares the files of all places by their content. Of files that are
// equal, all get the extents of the one that was seen first.
type pool struct {
	pass
	index *index
}

// run shares the files of places. The error is that of ctx, or one that every file causes.
func (p *pool) run(ctx context.Context, job *progress.Job, places []*place, workers int) error {
	ctx, p.stop = context.WithCancelCause(ctx)
	defer p.stop(nil)
	for _, at := range places {
		parts := at.layers
		if at.home == nil {
			parts = []*part{{at: at, path: ".", name: at.name}}
		}
		for _, part := range parts {
			p.part(ctx, job, part, workers)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func (p *pool) part(ctx context.Context, job *progress.Job, what *part, workers int) {
	at := what.at
	objects := at.home == nil
	l := &layer{block: at.block, linked: map[uint64]bool{}, skip: at.skip}
	var err error
	if l.to, err = openBeneath(int(at.dir.Fd()), at.name, what.path); err != nil {
		// A layer that was removed meanwhile has nothing to share any more.
		if !errors.Is(err, unix.ENOENT) {
			p.warn(fmt.Errorf("share %s: %w", what.name, err))
		}
		return
	}
	defer l.to.Close()
	l.visit = p.layerFile
	if objects {
		l.visit = p.object
	} else {
		p.result.Layers++
	}
	l.register = func(path string) uint32 { return p.index.addDir(what, path) }
	l.part = job.Start(progress.Subtask{Name: "layer", Description: what.name, ID: what.name, Bytes: max(what.size, 0)})
	defer l.part.Stop()
	p.files(ctx, l, workers)
	what.known = l.alone.Load() == 0
}

// object adds an object of a repository to the index.
func (p *pool) object(_ context.Context, w *worker, d *directory, name string) error {
	fd, stat, err := openRegular(d.to, name)
	if fd < 0 {
		return err
	}
	defer unix.Close(fd)
	atomic.AddInt64(&p.result.Objects, 1)
	d.layer.part.Add(stat.Size)
	if w.to, err = places(&w.fiemap, fd, roundUp(uint64(stat.Size), d.layer.block), w.to[:0]); err != nil {
		return err
	}
	at, ok := p.index.fingerprint(stat.Size, w.to)
	if !ok {
		return nil
	}
	s, size := p.index.of(stat.Size)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(size, at) {
		s.add(entry{place: at, size: size, dir: d.number}, name)
	}
	return nil
}

// layerFile makes a file share its extents with an equal one of the index, and adds it to
// the index if there is none.
func (p *pool) layerFile(ctx context.Context, w *worker, d *directory, name string) error {
	fd, stat, err := openRegular(d.to, name)
	if fd < 0 {
		return err
	}
	defer unix.Close(fd)
	if stat.Size == 0 || stat.Nlink > 1 && !d.layer.first(stat.Ino) {
		return nil
	}
	d.layer.part.Add(stat.Size)
	if w.to, err = places(&w.fiemap, fd, roundUp(uint64(stat.Size), d.layer.block), w.to[:0]); err != nil {
		return err
	}
	at, ok := p.index.fingerprint(stat.Size, w.to)
	if !ok {
		d.layer.alone.Add(1)
		return nil
	}
	s, size := p.index.of(stat.Size)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(size, at) {
		all, _ := within(w.to, 0, ^uint64(0))
		p.count(all, all)
		return nil
	}
	found, sample, err := p.match(ctx, w, s, fd, size, stat, d.layer.block)
	if !found {
		d.layer.alone.Add(1)
	}
	// After a dry run all files in this place count as one.
	if err == nil && ctx.Err() == nil && (!found || p.DryRun) {
		s.add(entry{place: at, size: size, sample: sample, dir: d.number}, name)
	}
	return err
}

// match shares a file with the first one of the index that is equal.
func (p *pool) match(ctx context.Context, w *worker, s *shard, fd int, size uint32, stat unix.Stat_t, block uint64) (found bool, sample uint32, err error) {
	if !s.hasSize(size) {
		return false, 0, nil
	}
	if sample, err = p.sample(ctx, w, fd, stat.Size); err != nil {
		return false, 0, err
	}
	candidates := s.same(size, sample, maxTries, func(e *entry) uint32 {
		from, fromStat, err := p.index.open(s, e)
		if from < 0 || err != nil {
			return 0
		}
		defer unix.Close(from)
		sum, err := p.sample(ctx, w, from, fromStat.Size)
		if err != nil {
			return 0
		}
		return sum
	})
	for i := range candidates {
		found, err = p.try(ctx, w, s, &candidates[i], fd, stat, block)
		if found || err != nil || ctx.Err() != nil {
			return found, sample, err
		}
	}
	return false, sample, nil
}

// try shares a file with one of the index, if they are equal.
func (p *pool) try(ctx context.Context, w *worker, s *shard, e *entry, to int, toStat unix.Stat_t, block uint64) (bool, error) {
	from, fromStat, err := p.index.open(s, e)
	// It may have been removed or replaced meanwhile.
	if from < 0 {
		return false, ignoreMissing(err)
	}
	defer unix.Close(from)
	if fromStat.Size != toStat.Size || fromStat.Ino == toStat.Ino && fromStat.Dev == toStat.Dev {
		return false, nil
	}
	end := roundUp(uint64(toStat.Size), block)
	if w.from, err = places(&w.fiemap, from, end, w.from[:0]); err != nil {
		return false, err
	}
	all, left, _ := w.compare(end)
	if p.DryRun {
		p.count(all, all-left)
		atomic.AddInt64(&p.result.Saved, left)
		return true, nil
	}
	err = p.shareRest(ctx, w, from, to, uint64(toStat.Size), end)
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	if err == nil {
		p.count(all, all-left)
	}
	return err == nil, err
}

// ignoreMissing returns nil for the error of a file that is not there.
func ignoreMissing(err error) error {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// open opens the file of an entry; the descriptor is -1 if it is another kind of file now.
func (x *index) open(s *shard, e *entry) (fd int, stat unix.Stat_t, err error) {
	at, path := x.locate(s, e)
	return openRegularAt(at.dir, path)
}

// sample returns a hash of parts of a file, not 0.
func (p *pool) sample(ctx context.Context, w *worker, fd int, size int64) (uint32, error) {
	buf := w.sample[:0]
	read := func(at, n int64) error {
		got, err := unix.Pread(fd, buf[len(buf):len(buf)+int(n)], at)
		if err == nil {
			buf = buf[:len(buf)+got]
		}
		return err
	}
	var err error
	if size <= int64(len(w.sample)) {
		err = read(0, size)
	} else {
		for _, at := range []int64{0, size / 2 &^ (sampleSize - 1), (size - sampleSize) &^ (sampleSize - 1)} {
			if err == nil {
				err = read(at, sampleSize)
			}
		}
	}
	if err != nil {
		return 0, fmt.Errorf("read sample: %w", err)
	}
	if !p.rate.wait(ctx, int64(len(buf))) {
		return 0, context.Cause(ctx)
	}
	return max(uint32(maphash.Bytes(p.index.seed, buf)), 1), nil
}
