// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
)

// composefsRepo is the composefs repository relative to the physical root.
const composefsRepo = "composefs"

// ComposefsPath is the path of the sysroot's composefs repository, which need not exist, for
// messages.
func (s Sysroot) ComposefsPath() string { return s.below(composefsRepo) }

// OpenComposefs opens the sysroot's composefs repository. Errors are those of
// composefs.Open.
func (s Sysroot) OpenComposefs() (*composefs.Repo, error) {
	phys, err := s.openPhysical()
	if err != nil {
		return nil, err
	}
	defer phys.Close()
	return composefs.Open(phys, composefsRepo)
}

// ComposefsImage returns the manifest and the configuration of the image with a manifest
// digest in a composefs repository. The error is fs.ErrNotExist where the repository does
// not have it, as after a garbage collection by another bootc.
//
// Both are compared with their digests, so that it does not matter what else is wrong with
// the repository.
func ComposefsImage(repo *composefs.Repo, digest string) (manifest Manifest, config ImageConfig, err error) {
	read := func(document func(string) ([]byte, error), digest string, into any) error {
		data, err := document(digest)
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		return err
	}
	if err = read(repo.Manifest, digest, &manifest); err == nil {
		err = read(repo.Config, manifest.Config.Digest, &config)
	}
	return manifest, config, err
}

// readRepoInfo adds what the composefs repository has of a deployment's image, the same as
// bootc reports. It returns false where the repository does not have it in a form that is
// known, or may not be read.
func (r *sysrootReader) readRepoInfo(d *Deployment) bool {
	repo, err := composefs.Open(r.phys, composefsRepo)
	var manifest Manifest
	var config ImageConfig
	if err == nil {
		defer repo.Close()
		manifest, config, err = ComposefsImage(repo, d.ManifestDigest)
	}
	// A stream in an unknown form is no fault of the host.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, composefs.ErrNoRepo) || errors.Is(err, fs.ErrPermission) || errors.Is(err, composefs.ErrFormat) {
		return false
	}
	if err != nil {
		r.problem("describe deployment %s: %w", d.ID(), err)
		return true
	}
	d.describe(manifest, config)
	return true
}

// describe sets what manifest and configuration of a composefs deployment's image say.
// Unlike on ostree hosts, bootc does not look at labels.
func (d *Deployment) describe(manifest Manifest, config ImageConfig) {
	d.Version = manifest.Annotations["org.opencontainers.image.version"]
	d.Architecture, d.Created = config.Architecture, parseTime(config.Created)
}
