// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

const (
	// groupEntries is the number of entries of an archive that are made together.
	groupEntries = 16
	// groupsAhead is how many groups of a layer may wait for the archive to get to
	// them. With groupEntries it bounds the open files.
	groupsAhead = 24
	// largeFile is the size in bytes from which on a file is read for its checksum
	// while it is written to the archive, and not before.
	largeFile = 1 << 20
	// makersPerWorker is how many goroutines make files for each processor: they wait
	// for the disk.
	makersPerWorker = 4
)

// part is an entry of a layer on its way into the tree and into the archive.
type part struct {
	// raw are the bytes of the archive before the content, nil if they are made.
	raw []byte
	// hdr is nil for what comes after the last entry.
	hdr  *tar.Header
	file File
	// checksum returns that of a regular file's content, once it is read.
	checksum func() ([]byte, error)
	err      error
}

// is reports an entry of one of the types of archive/tar.
func (p *part) is(types ...byte) bool { return p.hdr != nil && slices.Contains(types, p.hdr.Typeflag) }

// close closes the file once nothing reads it any more.
func (p *part) close() {
	if p.checksum != nil {
		_, _ = p.checksum()
	}
	if p.file != nil {
		_ = p.file.Close() // only read
	}
}

// partGroup has consecutive entries. made is closed when they are in the tree, or their
// errors are known.
type partGroup struct {
	parts []part
	made  chan struct{}
}

// assembly makes the tree and the archive of a layer at once: one goroutine makes the
// directories, in order, some make what lies in them, a group at a time, and one writes
// the archive. Files are read twice, by those that make them and for the archive: to
// copy them out of memory once more is less work than to hand over what was read.
type assembly struct {
	entries Entries
	given   *given
	root    *os.File
	copier  *Copier
	counts  *Counts
	// order has all groups in the order of the archive, work those to be made.
	order, work chan *partGroup
}

// Entries are those of a layer's archive.
type Entries interface {
	// Next returns the next entry. The error is io.EOF at the end.
	Next() (Entry, error)
}

// Entry is an entry of an archive that is made, or of one that is given.
type Entry struct {
	// Header says what the entry is. In an archive that is made, each directory comes
	// before what is in it, the root need not be there, and the others are regular files,
	// symbolic links, and hard links, which come after the files that they are links to.
	// In one that is given it is nil for what comes after the last entry.
	Header *tar.Header
	// File is the content of a regular file, nil for one that is empty or in memory.
	File File
	// Inline is the content of a regular file that is in memory, of an archive that is
	// given, and Raw are all bytes before the content.
	Inline, Raw []byte
}

// Archive is what is known of a layer's archive once it is made.
type Archive struct {
	Digest digest.Digest
	// Size is in bytes.
	Size int64
	// UIDs and GIDs are those of all entries, sorted.
	UIDs, GIDs []uint32
	// HasRoot reports that there is an entry for the root.
	HasRoot bool
}

// given is an archive that is not made by us.
type given struct {
	digest digest.Digest
	layout *layout
	// padding returns how many zeros may be missing at the end of so many bytes.
	padding func(size int64) int64
}

// AssembleGiven is Assemble of entries that are given with all bytes of their archive, in any
// order, of any types and owners. The error is clonejob.ErrNotVerified if the archive has
// another digest, also with as many zeros at its end as padding returns for its size, and
// clonejob.ErrUnsupported for one in which entries replace others or lie behind links.
func AssembleGiven(ctx context.Context, root, tarSplit *os.File, entries Entries, want digest.Digest, padding func(int64) int64, c *Copier, n *Counts, workers int) (*Archive, error) {
	return assemble(ctx, root, tarSplit, entries, &given{want, newLayout(), padding}, c, n, workers)
}

// Assemble makes the tree of a layer in the empty directory root, which passes neither a
// group nor an access control list on, and its tar-split file. The extents of files are
// shared if c can. For each worker there are some goroutines. Errors are those of entries,
// and clonejob.ErrUnsupported for what the filesystem cannot have.
func Assemble(ctx context.Context, root, tarSplit *os.File, entries Entries, c *Copier, n *Counts, workers int) (*Archive, error) {
	return assemble(ctx, root, tarSplit, entries, nil, c, n, workers)
}

func assemble(ctx context.Context, root, tarSplit *os.File, entries Entries, given *given, c *Copier, n *Counts, workers int) (*Archive, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &assembly{
		entries: entries, given: given, root: root, copier: c, counts: n,
		order: make(chan *partGroup, groupsAhead), work: make(chan *partGroup),
	}
	dirs, err := a.newUnpacker()
	if err != nil {
		return nil, err
	}
	defer dirs.close()
	recipe, err := newArchiver(tarSplit)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { a.makeDirectories(ctx, dirs) })
	for range makersPerWorker * workers {
		wg.Go(func() { a.makeOthers(ctx) })
	}
	if err := a.archive(recipe, cancel); err != nil {
		return nil, err
	}
	if err := dirs.finish(); err != nil {
		return nil, err
	}
	made := &Archive{HasRoot: dirs.hasRoot}
	if made.Digest, err = recipe.close(given); err != nil {
		return nil, err
	}
	made.Size = recipe.size
	made.UIDs, made.GIDs = recipe.owners()
	return made, nil
}

func (a *assembly) newUnpacker() (*unpacker, error) {
	return newUnpacker(a.root, a.copier, a.counts)
}

// makeDirectories makes the directories of the layer, opens everything else, and makes
// groups of all. After an error the last group ends with it.
func (a *assembly) makeDirectories(ctx context.Context, tree *unpacker) {
	defer close(a.order)
	defer close(a.work)
	g := &partGroup{made: make(chan struct{})}
	for {
		p := part{err: ctx.Err()}
		if p.err == nil {
			a.next(&p, tree)
		}
		isEnd := errors.Is(p.err, io.EOF)
		if !isEnd {
			g.parts = append(g.parts, p)
		}
		if len(g.parts) < groupEntries && p.err == nil {
			continue
		}
		if len(g.parts) > 0 {
			a.order <- g
			a.work <- g
		}
		if p.err != nil {
			return
		}
		g = &partGroup{made: make(chan struct{})}
	}
}

// next reads the next entry, and makes it if it is a directory.
func (a *assembly) next(p *part, tree *unpacker) {
	e, err := a.entries.Next()
	if p.err = err; err != nil {
		return
	}
	p.raw, p.hdr, p.file = e.Raw, e.Header, e.File
	if p.hdr == nil {
		return
	}
	switch {
	case a.given != nil:
		p.err = a.place(p.hdr, tree)
	case !p.is(tar.TypeDir, tar.TypeReg, tar.TypeSymlink, tar.TypeLink):
		p.err = fmt.Errorf("make entry of type %q: %w", p.hdr.Typeflag, errors.ErrUnsupported)
	}
	if p.err != nil {
		return
	}
	switch {
	case p.is(tar.TypeDir):
		p.err = tree.add(p.hdr, nil)
	case p.is(tar.TypeReg) && p.file == nil:
		p.file = memory{bytes.NewReader(e.Inline)}
	case p.is(tar.TypeReg):
		// So the disk is busy meanwhile; nothing is lost if it is not.
		_ = unix.Fadvise(int(p.file.Fd()), 0, 0, unix.FADV_WILLNEED)
	}
}

// place makes the directories above an entry that have none themselves.
func (a *assembly) place(hdr *tar.Header, tree *unpacker) error {
	missing, err := a.given.layout.admit(hdr)
	for _, dir := range missing {
		if err == nil {
			err = tree.implicit(dir)
		}
	}
	return err
}

// memory is a small file in memory.
type memory struct{ *bytes.Reader }

// Fd implements File. There is none.
func (memory) Fd() uintptr { return ^uintptr(0) }

// Close implements File.
func (memory) Close() error { return nil }

// makeOthers makes what is no directory, until there is nothing left.
func (a *assembly) makeOthers(ctx context.Context) {
	tree, err := a.newUnpacker()
	if err == nil {
		defer tree.close()
	}
	buf := make([]byte, copyBuffer)
	for g := range a.work {
		for i := range g.parts {
			p := &g.parts[i]
			if p.hdr == nil || p.err != nil || p.is(tar.TypeDir, tar.TypeLink, tar.TypeXGlobalHeader) {
				continue
			}
			if p.err = err; p.err == nil {
				p.err = ctx.Err()
			}
			if p.err == nil {
				a.makeOther(p, tree, buf)
			}
		}
		close(g.made)
	}
}

// makeOther makes what is no directory.
func (a *assembly) makeOther(p *part, tree *unpacker, buf []byte) {
	if p.err = tree.add(p.hdr, p.file); p.err != nil || p.hdr.Typeflag != tar.TypeReg {
		return
	}
	if _, inMemory := p.file.(memory); !inMemory {
		// To look for holes has moved the position.
		if _, p.err = unix.Seek(int(p.file.Fd()), 0, io.SeekStart); p.err != nil {
			return
		}
	}
	large := p.hdr.Size >= largeFile
	if large {
		buf = make([]byte, copyBuffer)
	}
	p.checksum = sync.OnceValues(func() ([]byte, error) {
		crc, err := checksum(p.file, buf)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p.hdr.Name, err)
		}
		return crc, nil
	})
	if large {
		go p.checksum() //nolint:errcheck // close and archive read it again
	} else {
		_, p.err = p.checksum()
	}
}

// archive writes all parts in order. After an error it stops those that make them. It
// makes the hard links, as all that come before an entry are made when it gets there.
func (a *assembly) archive(recipe *archiver, stop func()) error {
	links, err := a.newUnpacker()
	if err == nil {
		defer links.close()
	} else {
		stop()
	}
	for g := range a.order {
		<-g.made
		for _, p := range g.parts {
			if err == nil {
				if err = p.err; err == nil && p.is(tar.TypeLink) {
					err = links.add(p.hdr, nil)
				}
				if err == nil {
					err = recipe.addPart(p)
				}
				if err != nil {
					stop()
				}
			}
			p.close()
		}
	}
	return err
}

// content is that of a regular file, from its start.
func content(p part) io.Reader {
	if p.file == nil {
		return nil
	}
	return io.NewSectionReader(p.file, 0, p.hdr.Size)
}
