// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/health"
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
