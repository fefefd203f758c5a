// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sync/errgroup"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Archives is an image that is no store's, as the entries of its layers' archives.
type Archives interface {
	// Len is the number of layers.
	Len() int
	// Entries is the number of entries of a layer's archive, by its index.
	Entries(layer int) int
	// Open opens an entry by the rules of tree.Entry for an archive that is made.
	Open(layer, entry int) (hdr *tar.Header, file tree.File, err error)
	// Describe returns the image's documents when the digests and sizes of the
	// archives, which are the layers' blobs, too, are known.
	Describe(digests []string, sizes []int64) (manifest, config []byte, err error)
}

// Export makes an image of archives in the destination of a job, as podman would pull
// it: files are read for the digests, and their extents are shared where the filesystem
// can. Progress and safety are those of Image, errors are those of package
// clonejob, of the storage library and of archives.
func Export(ctx context.Context, job clonejob.Job, archives Archives, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	result, err := again(func() (*clonejob.Result, error) { return export(ctx, job, archives, progress) })
	if err != nil {
		return nil, fmt.Errorf("export image: %w", err)
	}
	return result, nil
}

func export(ctx context.Context, job clonejob.Job, archives Archives, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	dst, err := openDestination(ctx, job)
	if err != nil {
		return nil, err
	}
	defer dst.close()
	c := newCloning(job, dst, make([]*planned, archives.Len()), progress)
	for i := range c.plan {
		c.plan[i] = &planned{from: &sourceLayer{Layer: &storage.Layer{}}}
	}
	defer c.cleanup()
	if err := c.stageArchives(ctx, archives); err != nil {
		return nil, err
	}
	src, err := describe(archives, c.plan)
	if err != nil {
		return nil, err
	}
	plan, err := dst.verifiedPlan(ctx, src, job.Verify)
	if err != nil {
		return nil, err
	}
	for i, p := range plan {
		c.plan[i].id, c.plan[i].parent, c.plan[i].there = p.id, p.parent, p.there
	}
	if err := c.commit(ctx, src, job.Names); err != nil {
		return nil, err
	}
	return c.result(src), nil
}

// describe makes the image's record out of what was staged.
func describe(archives Archives, plan []*planned) (*source, error) {
	src := &source{metadata: "{}"}
	var digests []string
	var sizes []int64
	for _, p := range plan {
		src.layers = append(src.layers, p.from)
		digests = append(digests, p.from.UncompressedDigest.String())
		sizes = append(sizes, p.from.UncompressedSize)
	}
	manifest, config, err := archives.Describe(digests, sizes)
	if err != nil {
		return nil, err
	}
	return src, src.describe(manifest, config)
}

// describe sets the image's record.
func (s *source) describe(manifest, config []byte) error {
	var parsed struct {
		Created time.Time `json:"created"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return fmt.Errorf("parse configuration: %w", err)
	}
	s.image = &storage.Image{ID: digest.FromBytes(config).Encoded(), Digest: digest.FromBytes(manifest), Created: parsed.Created}
	s.data = documents(manifest, config)
	return nil
}

// stageArchives makes all layers in the destination's staging directory: which of them
// it has is known only when they were read.
func (c *cloning) stageArchives(ctx context.Context, archives Archives) error {
	defer c.report.start()()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.workers)
	for i, p := range c.plan {
		group.Go(func() (err error) {
			entries := &archiveEntries{archives: archives, layer: i}
			d := &archiveDiffer{ctx: ctx, cloning: c, layer: p, assemble: func(root, tarSplit *os.File) (*tree.Archive, error) {
				return tree.Assemble(ctx, root, tarSplit, entries, c.copier, &p.counts, c.workers)
			}}
			p.output, err = c.dst.PrepareStagedLayer(&drivers.ApplyDiffWithDifferOpts{}, d)
			if err != nil {
				return fmt.Errorf("layer %d of %d: %w", i+1, len(c.plan), err)
			}
			c.report.done(p)
			return nil
		})
	}
	return group.Wait()
}

// archiveEntries implements tree.Entries for a layer's archive.
type archiveEntries struct {
	archives    Archives
	layer, next int
}

// Next implements tree.Entries.
func (e *archiveEntries) Next() (entry tree.Entry, err error) {
	if e.next == e.archives.Entries(e.layer) {
		return entry, io.EOF
	}
	entry.Header, entry.File, err = e.archives.Open(e.layer, e.next)
	e.next++
	return entry, err
}

// archiveDiffer fills the staging directory of one layer out of an archive. It
// implements drivers.Differ.
type archiveDiffer struct {
	ctx     context.Context //nolint:containedctx // the interface passes none
	cloning *cloning
	layer   *planned
	// assemble makes the tree and the tar-split file.
	assemble func(root, tarSplit *os.File) (*tree.Archive, error)
}

// Close implements drivers.Differ.
func (*archiveDiffer) Close() error { return nil }

// ApplyDiff implements drivers.Differ.
func (d *archiveDiffer) ApplyDiff(dest string, _ *archive.TarOptions, _ *drivers.DifferOptions) (output drivers.DriverWithDifferOutput, err error) {
	tarSplit, err := newUnnamed(d.cloning.dst.layers)
	if err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			tarSplit.Close()
		}
	}()
	root, err := openStaged(dest)
	if err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			root.Close()
		}
	}()
	made, err := d.assemble(root, tarSplit)
	if err != nil {
		return output, err
	}
	d.cloning.report.learn(func() { d.layer.from.learn(made) })
	if d.cloning.verify == clonejob.VerifyFull {
		if err := verifyArchive(d.layer.from, root, tarSplit); err != nil {
			return output, err
		}
	}
	n, err := tree.Count(root)
	if err != nil {
		return output, err
	}
	output, err = d.layer.stagedOutput(d, &stagedTree{root: root, entries: n}, tarSplit)
	if !made.HasRoot {
		output.RootDirMode = nil // that of the layer below, as podman does
	}
	return output, err
}

// learn adds what is known of an archive once it was read. It is the layer's blob, too, unless
// there is another one.
func (l *sourceLayer) learn(made *tree.Archive) {
	layer := *l.Layer
	layer.UncompressedDigest, layer.UncompressedSize = made.Digest, made.Size
	if layer.CompressedDigest == "" {
		layer.CompressedDigest, layer.CompressedSize = made.Digest, made.Size
	}
	layer.UIDs, layer.GIDs = made.UIDs, made.GIDs
	l.Layer = &layer
}
