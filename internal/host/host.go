// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package host reads what a bootc host boots: its deployments, the image each
// of them was made from, the images bound to them, and how all of these are
// written down by ostree, ostree-ext and bootc.
//
// It only reads, below a root directory that paths are resolved in, and writes
// nothing anywhere.
package host

import (
	"strconv"
	"time"
)

// Kind is the way a host keeps its deployments.
type Kind string

// The kinds of host; the zero Kind is no bootc host.
const (
	OSTree    Kind = "ostree"
	Composefs Kind = "composefs"
)

// Role is what a deployment is for at the moment.
type Role string

// The roles of deployments, in the words of bootc status.
const (
	Booted   Role = "booted"
	Staged   Role = "staged"
	Rollback Role = "rollback"
	Other    Role = "other"
)

// Host is what a host boots.
type Host struct {
	// Kind is "" when there are no deployments to determine it by.
	Kind Kind
	// Deployments are in the order staged, booted, rollback, then the others as
	// the boot loader has them.
	Deployments []Deployment
	// Unordered reports that the boot loader's entries could not be read, so that the
	// order of deployments that are neither booted nor staged means nothing.
	Unordered bool
	// RollbackQueued reports that the rollback deployment is next to boot.
	RollbackQueued bool
}

// Deployment is one bootable tree of a host.
type Deployment struct {
	Role Role
	// Pinned reports that the administrator forbade to remove it (ostree admin pin).
	Pinned bool
	// Image is the reference the deployment follows, nil when it was not made
	// from a container image.
	Image *SignedReference
	// Incompatible reports that packages were layered on it locally, which bootc
	// cannot handle. Image is nil then.
	Incompatible bool
	// Layered is the reference of the image that the packages were layered on,
	// where the origin file has it, and Base what its commit says; nil when not known.
	Layered *SignedReference
	Base    *RepoCommit
	// ManifestDigest is that of the image's manifest as it was fetched,
	// "sha256:…", "" when not known.
	ManifestDigest string
	// Version is the image's own, "" when it has none.
	Version string
	// Architecture is in the words of the image specification ("amd64"), ""
	// when not known.
	Architecture string
	// Created is when the image was built, zero when not known.
	Created time.Time
	// Stateroot, Commit and Serial name an ostree deployment.
	Stateroot, Commit string
	Serial            int
	// Verity is the fs-verity digest that names a composefs deployment.
	Verity string
	// Root is the deployment's root directory relative to the physical root, ""
	// where it cannot be read without mounting something.
	Root string
}

// ID names a deployment on its host: "default/<commit>.<serial>" or the
// fs-verity digest.
func (d Deployment) ID() string {
	if d.Verity != "" {
		return d.Verity
	}
	return d.Stateroot + "/" + d.Commit + "." + strconv.Itoa(d.Serial)
}

// Booted returns the booted deployment, nil when the host is not running or was
// not booted by bootc.
func (h *Host) Booted() *Deployment {
	for i := range h.Deployments {
		if h.Deployments[i].Role == Booted {
			return &h.Deployments[i]
		}
	}
	return nil
}
