// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// filesystem reports that images cannot be cloned without copying their bytes, which is a
// fact and nothing wrong.
func (ex *examination) filesystem() []Problem {
	dir, err := ex.survey.Store.Open()
	if err != nil {
		return nil
	}
	defer dir.Close()
	fs, err := inventory.FilesystemOf(dir)
	if err != nil {
		return unread(err)
	}
	if fs.Reflink != inventory.No {
		return nil
	}
	return one(health.Finding{
		Rule: health.NoReflinks, Severity: health.Information, Where: ex.survey.Store.Path(),
		What: fmt.Sprintf("lies on %s, where files cannot share extents", fs.Type), Why: "images that are copied between stores take their space twice",
	})
}

// maxObjects bounds the objects whose fs-verity is looked at.
const maxObjects = 1024

// verity reports that fs-verity does not protect the composefs repository of a composefs
// host, or not all of one that it is to protect.
func (ex *examination) verity() []Problem {
	if ex.survey.Host.Kind != host.Composefs {
		return nil
	}
	repo, err := ex.Sysroot.OpenComposefs()
	if errors.Is(err, composefs.ErrNoRepo) {
		return nil
	}
	if err != nil {
		return unread(err)
	}
	defer repo.Close()
	if !repo.HasVerity() {
		f := health.Finding{
			Rule: health.NoVerity, Severity: health.Information, Where: repo.Path(),
			What: "is not protected by fs-verity, which the filesystem has", Why: "the kernel does not notice a changed file of the host",
		}
		if !repo.CanProtect() {
			f.What = "is not protected by fs-verity, which the filesystem or the kernel does not have"
		}
		return one(f)
	}
	found, without, err := repo.Unprotected(maxObjects)
	if err != nil {
		return unread(err)
	}
	return verityMissing(repo.Path(), found, without)
}

// verityMissing is the problem of objects without fs-verity among those found in a repository
// that is protected by it.
func verityMissing(repo string, found int, without []string) []Problem {
	if len(without) == 0 {
		return nil
	}
	return one(health.Finding{
		Rule: health.VerityMissing, Severity: health.Failing, Where: filepath.Join(repo, without[0]),
		What: fmt.Sprintf("has no fs-verity, in a repository that is protected by it; so have %d of %d objects of a sample", len(without), found),
		Why:  "composefs refuses it, and the kernel does not notice a change",
	})
}
