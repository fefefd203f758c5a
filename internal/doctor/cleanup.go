// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// cleanup reports what makes bootc's next cleanup of its store fail, and every upgrade with
// it, and the bound images that a cleanup on composefs removes. Elsewhere, boundUnits reports
// the units of bound images that it removes.
func (ex *examination) cleanup() (list []Problem) {
	if ex.survey.Bootc == nil || ex.survey.Bootc.Err() != nil {
		return nil
	}
	needs, problems := ex.survey.Needs(ex.uses())
	list = unread(problems...)
	for _, d := range needs.ForecastStore().Images {
		if d.Why == inventory.BoundOnComposefs {
			name := strings.Join(d.Names, ", ")
			for _, need := range d.Needs {
				if need.By == inventory.ByBinding {
					name = need.Name
				}
			}
			list = append(list, Problem{Finding: health.Finding{
				Rule: health.BoundPruned, Severity: health.Risk, Where: "bound image " + name,
				What: "is removed by bootc's next cleanup, which does not look at bound images of composefs hosts", Why: "its containers do not start after an upgrade",
			}})
		}
		if d.Blocked != "" {
			list = append(list, ex.blocked(needs, d))
		}
	}
	return list
}

// blocked is the problem of an image that podman refuses to remove.
func (ex *examination) blocked(needs *inventory.Needs, d inventory.Doomed) Problem {
	f := health.Finding{
		Rule: health.CleanupBlocked, Severity: health.Failing, Where: fmt.Sprintf("image %s of the bootc-owned store", short(d.ID)),
		Why: "bootc's cleanup removes it, podman refuses that, and bootc upgrade fails",
	}
	if d.Blocked == inventory.SeveralNames {
		f.What = "is not kept by any deployment, and has several names: " + strings.Join(d.Names, ", ")
		if more := removable(needs, d); len(more) > 0 {
			f.Fix = ex.command(append([]string{"image", "untag", d.ID}, more...)...)
		}
		return Problem{Finding: f}
	}
	f.What = "is not kept by any deployment, and a container of the bootc-owned store uses it"
	for _, need := range d.Needs {
		if need.By == inventory.ByContainer && need.Store == ex.survey.Store.Path() {
			f.What += ", " + short(need.ID)
			f.Fix = ex.command("exec", "--", "podman", "rm", "--force", need.ID)
			break
		}
	}
	return Problem{Finding: f}
}

// removable are all names of an image but one that the host can do without, as image untag
// judges it; none if it needs more than one.
func removable(needs *inventory.Needs, d inventory.Doomed) []string {
	for _, keep := range d.Names {
		after := needs.Bootc.After(func(img *cstorage.Image) (names []string, stays bool) {
			if img.ID == d.ID {
				return []string{keep}, true
			}
			return img.Names, true
		})
		if len(needs.Lost(after)) == 0 {
			return slices.DeleteFunc(slices.Clone(d.Names), func(name string) bool { return name == keep })
		}
	}
	return nil
}
