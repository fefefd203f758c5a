// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/composefs/layer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// lockLimit is how long a garbage collection of the repository is waited for. One of a host
// takes a few seconds.
const lockLimit = 30 * time.Second

// Composefs clones an image of a composefs repository to the destination of a job. Each file
// is cloned from its object where the filesystem can, and never a hard link to it. What is
// read of the objects is hashed: a layer that is not its diff ID is refused before anything
// is put in place, since neither bootc nor the kernel compare it, and a clone does not look
// at fs-verity. The repository's lock is held while files are cloned, and no longer.
//
// Progress and safety are those of Image. Errors are those of package clonejob, with
// ErrNotVerified for a damaged object or layer, and composefs.ErrBusy, besides those of the
// storage library.
func Composefs(ctx context.Context, job clonejob.Job, repo *composefs.Repo, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	result, err := again(func() (*clonejob.Result, error) { return cloneComposefs(ctx, job, repo, progress) })
	if err != nil {
		return nil, fmt.Errorf("clone image %s out of %q: %w", job.Composefs.Digest, repo.Path(), err)
	}
	return result, nil
}

func cloneComposefs(ctx context.Context, job clonejob.Job, repo *composefs.Repo, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	dst, err := openDestination(ctx, job)
	if err != nil {
		return nil, err
	}
	defer dst.close()
	unlock, err := repo.Lock(ctx, lockLimit)
	if err != nil {
		return nil, err
	}
	defer unlock()
	src, streams, err := readComposefs(repo, job.Composefs.Digest)
	if err != nil {
		return nil, err
	}
	plan, err := dst.verifiedPlan(ctx, src, job.Verify)
	if err != nil {
		return nil, err
	}
	c := newCloning(job, dst, plan, progress)
	defer c.cleanup()
	if err := c.stageStreams(ctx, repo, streams); err != nil {
		return nil, err
	}
	unlock()
	if err := c.commit(ctx, src, job.Names); err != nil {
		return nil, err
	}
	return c.result(src), nil
}

// readComposefs reads an image, and returns the objects of its layers' streams.
func readComposefs(repo *composefs.Repo, manifestDigest string) (*source, []composefs.ID, error) {
	img, err := layer.OpenImage(repo, manifestDigest)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", clonejob.ErrNotFound, err)
		}
		return nil, nil, ofRepository(err)
	}
	src := &source{metadata: "{}"}
	var streams []composefs.ID
	for _, l := range img.Layers {
		from := &sourceLayer{Layer: &storage.Layer{UncompressedDigest: digest.Digest(l.DiffID)}}
		from.comesAs(clonejob.Blob{MediaType: l.Blob.MediaType, Digest: l.Blob.Digest, Size: l.Blob.Size})
		src.layers, streams = append(src.layers, from), append(streams, l.Stream)
	}
	return src, streams, src.describe(img.Manifest, img.Config)
}

// ofRepository gives an error of a repository's package its kind.
func ofRepository(err error) error {
	switch {
	case errors.Is(err, layer.ErrDamaged), errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EIO):
		return fmt.Errorf("%w: %w", clonejob.ErrNotVerified, err)
	case errors.Is(err, composefs.ErrFormat):
		return fmt.Errorf("%w: %w", clonejob.ErrUnsupported, err)
	}
	return err
}

// stageStreams makes the missing layers in the destination's staging directory.
func (c *cloning) stageStreams(ctx context.Context, repo *composefs.Repo, streams []composefs.ID) error {
	defer c.report.start()()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.workers)
	for i, p := range c.plan {
		if p.there {
			continue
		}
		group.Go(func() (err error) {
			d := &archiveDiffer{ctx: ctx, cloning: c, layer: p, assemble: func(root, tarSplit *os.File) (*tree.Archive, error) {
				return c.assembleStream(ctx, p, root, tarSplit, repo, streams[i])
			}}
			p.output, err = c.dst.PrepareStagedLayer(&drivers.ApplyDiffWithDifferOpts{}, d)
			if err != nil {
				return fmt.Errorf("layer %d of %d, %s: %w", i+1, len(c.plan), p.from.UncompressedDigest, err)
			}
			c.report.done(p)
			return nil
		})
	}
	return group.Wait()
}

// assembleStream makes a layer of the stream in an object.
func (c *cloning) assembleStream(ctx context.Context, p *planned, root, tarSplit *os.File, repo *composefs.Repo, stream composefs.ID) (*tree.Archive, error) {
	archive, err := layer.Open(repo, stream)
	if err != nil {
		return nil, ofRepository(err)
	}
	defer archive.Close()
	made, err := tree.AssembleGiven(ctx, root, tarSplit, streamEntries{archive}, p.from.UncompressedDigest, layer.Padding, c.copier, &p.counts, c.workers)
	if err != nil || c.verify != clonejob.VerifyFull {
		return made, err
	}
	headers := tree.ReadHeaders(tarSplit)
	defer headers.Stop()
	return made, tree.Inspect(root, headers)
}

// streamEntries implements tree.Entries.
type streamEntries struct{ *layer.Archive }

// Next implements tree.Entries.
func (s streamEntries) Next() (tree.Entry, error) {
	e, err := s.Archive.Next()
	if err != nil {
		return tree.Entry{}, ofRepository(err)
	}
	entry := tree.Entry{Header: e.Header, Inline: e.Inline, Raw: e.Raw}
	if e.File != nil { // no interface that holds a nil pointer
		entry.File = object{e.File}
	}
	return entry, nil
}

// object is an object. One with fs-verity that is damaged cannot be read.
type object struct{ *os.File }

// Read implements tree.File.
func (o object) Read(p []byte) (int, error) {
	n, err := o.File.Read(p)
	return n, ofObject(err)
}

// ReadAt implements tree.File.
func (o object) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.File.ReadAt(p, off)
	return n, ofObject(err)
}

func ofObject(err error) error {
	if errors.Is(err, unix.EIO) {
		return ofRepository(err)
	}
	return err
}
