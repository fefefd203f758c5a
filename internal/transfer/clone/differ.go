// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// differ fills the staging directory of one layer. It implements drivers.Differ.
type differ struct {
	ctx     context.Context //nolint:containedctx // the interface passes none
	cloning *cloning
	layer   *planned
}

// Close implements drivers.Differ.
func (*differ) Close() error { return nil }

// ApplyDiff implements drivers.Differ.
func (d *differ) ApplyDiff(dest string, _ *archive.TarOptions, how *drivers.DifferOptions) (output drivers.DriverWithDifferOutput, err error) {
	tarSplit, err := newUnnamed(d.cloning.dst.layers)
	if err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			tarSplit.Close()
		}
	}()
	if err := d.cloning.copiers.Copy(tarSplit, d.layer.from.tarSplit); err != nil {
		return output, fmt.Errorf("copy tar-split: %w", err)
	}
	root, err := d.copyTree(dest, how.StagingDirectory, tarSplit)
	if err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			root.Close()
		}
	}()
	if d.cloning.verify == clonejob.VerifyFull {
		if err := verifyArchive(d.layer.from, root, tarSplit); err != nil {
			return output, err
		}
	}
	return d.layer.stagedOutput(d, &stagedTree{root: root, entries: d.layer.counts.Files.Load()}, tarSplit)
}

// stagedOutput is what the library records of a layer that is staged as a tree.
func (p *planned) stagedOutput(d drivers.Differ, staged *stagedTree, tarSplit *os.File) (output drivers.DriverWithDifferOutput, err error) {
	from := p.from
	st, err := staged.root.Stat()
	if err != nil {
		return output, err
	}
	// Else it would get the mode of the layer below.
	mode := st.Mode()
	return drivers.DriverWithDifferOutput{
		Differ:             d,
		Size:               from.UncompressedSize,
		UIDs:               from.UIDs,
		GIDs:               from.GIDs,
		UncompressedDigest: from.UncompressedDigest,
		CompressedDigest:   from.CompressedDigest,
		TOCDigest:          from.TOCDigest,
		Metadata:           from.Metadata,
		BigData:            from.data,
		RootDirMode:        &mode,
		Artifacts:          map[string]any{tarSplitArtifact: tarSplit, treeArtifact: staged},
	}, nil
}

// close closes what is open of a staged layer.
func (p *planned) close() {
	if f, ok := p.output.Artifacts[tarSplitArtifact].(*os.File); ok {
		f.Close()
	}
	if staged, ok := p.output.Artifacts[treeArtifact].(*stagedTree); ok {
		staged.root.Close()
	}
}

// copyTree copies the layer's tree to dest, and returns that one, open. It is compared
// with the headers in the tar-split file unless the level is "none".
func (d *differ) copyTree(dest, staging string, tarSplit *os.File) (root *os.File, err error) {
	var headers *tree.Headers
	if d.cloning.verify != clonejob.VerifyNone {
		headers = tree.ReadHeaders(tarSplit)
		defer headers.Stop()
	}
	if root, err = openStaged(dest); err != nil {
		return nil, err
	}
	links := filepath.Join(staging, linksName)
	err = os.Mkdir(links, 0o700)
	if err == nil {
		var scratch *os.File
		if scratch, err = openStaged(links); err == nil {
			err = tree.Copy(d.ctx, root, d.layer.from.tree, scratch, &d.cloning.copiers, &d.layer.counts, headers, d.cloning.workers)
			err = errors.Join(err, scratch.Close())
		}
	}
	if err == nil || errors.Is(err, clonejob.ErrNotVerified) {
		// Files that are missing may have been removed just now.
		if changed := d.layer.from.isThere(); changed != nil {
			err = changed
		}
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// verifyArchive makes the archive of a copied layer again, and compares it.
func verifyArchive(from *sourceLayer, root, tarSplit *os.File) error {
	digest, size, err := tree.ArchiveDigest(root, tarSplit)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", clonejob.ErrNotVerified, err)
	case digest != from.UncompressedDigest.String():
		return fmt.Errorf("%w: its files make the archive %s", clonejob.ErrNotVerified, digest)
	case size != from.UncompressedSize && from.UncompressedSize > 0:
		return fmt.Errorf("%w: its archive has %d bytes instead of %d", clonejob.ErrNotVerified, size, from.UncompressedSize)
	}
	return nil
}
