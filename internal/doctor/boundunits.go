// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
)

// boundUnits reports what "bound lint" finds in the units of the running root and of each
// deployment, once where several have the same unit.
func (ex *examination) boundUnits() (list []Problem) {
	seen := map[health.Finding]bool{}
	lint := func(root string, running bool) {
		report, err := bound.Lint(root)
		if err != nil {
			list = append(list, unread(err)...)
		}
		for _, found := range report.Findings {
			// The host's storage.conf is that of the running root.
			if !running && (found.Rule == health.BoundStoreUnseen || found.Rule == health.BoundGlobalArgs) {
				continue
			}
			f := found.Finding
			if found.Replacement != "" {
				f.Why = strings.TrimPrefix(f.Why+fmt.Sprintf("; the line has to be %q", found.Replacement), "; ")
			}
			same := f
			if rel, err := filepath.Rel(root, found.File); err == nil {
				same.Where = fmt.Sprintf("%s:%d", rel, found.Line)
			}
			if !seen[same] {
				seen[same] = true
				list = append(list, Problem{Finding: f})
			}
		}
	}
	if ex.Sysroot.Running != "" {
		lint(ex.Sysroot.Running, true)
	}
	for _, d := range ex.survey.Host.Deployments {
		root, err := ex.Sysroot.OpenRoot(d)
		if err != nil {
			continue // reading the host reported it, or the deployment has no root yet
		}
		lint(root.Name(), false)
		root.Close()
	}
	return list
}

// inUnits reports whether a problem is one of a unit of a bound image, which boundUnits
// reports with its line.
func inUnits(err error) bool {
	return strings.Contains(err.Error(), host.BoundImagesDir+"/") && !errors.Is(err, fs.ErrPermission)
}

// withoutUnits are the problems that are not those of units of bound images.
func withoutUnits(problems []error) []error {
	return slices.DeleteFunc(slices.Clone(problems), inUnits)
}
