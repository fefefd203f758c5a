// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// View is what a plan is made from: what a host and its stores have, read once, and what
// else a plan depends on.
type View struct {
	*inventory.Survey
	// Record is that of an earlier run, nil for none.
	Record *Record
	// NoProgram is why nothing can be cloned, nil if it can.
	NoProgram error
	// RepoPath is the directory of the ostree repository.
	RepoPath string
	// ComposefsPath is the directory of the composefs repository.
	ComposefsPath string
	// ComposefsLayers returns the layers of an image in the composefs repository, by its
	// manifest digest: their diff IDs, and the sizes of their archives. The error says why
	// the image is not there as a whole.
	ComposefsLayers func(digest string) ([]host.Descriptor, error)
	// Sharing returns whether a file in one directory can share extents with one in
	// another, either of which need not exist.
	Sharing func(from, to string) inventory.Capability
	// ExportedBytes returns the sum of the sizes of the files of an image in the ostree
	// repository, by its commit.
	ExportedBytes func(commit string) (int64, error)
	// ArchiveDigest returns the manifest digest of the image that a reference of no store
	// and no registry leads to, "" where only podman determines it. The error names what is
	// missing.
	ArchiveDigest func(image host.ImageReference) (string, error)
}
