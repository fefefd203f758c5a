// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
)

// Events is what the caller of a transfer learns while it works. A transfer calls one
// method at a time.
type Events interface {
	// Waiting is called once before waiting for another transfer.
	Waiting()
	// Damaged is called for each damaged image of the two stores, which is never used as a
	// source; for one image perhaps several times.
	Damaged(damage inventory.Damage)
	// Missed is called before the next source is tried, with the source of the plan and
	// why it failed.
	Missed(source plan.Source, why error)
	// Retrying is called before a pull is tried again.
	Retrying(retry podman.Retry)
	// Fallback is called before podman copies an image that cannot be cloned.
	Fallback(why error)
	// NotLent is called before podman fetches layers that the other store has and that
	// were not lent.
	NotLent(why error)
	// Hidden is called for each image of the bootc store that bootc will not find when it
	// upgrades, because podman's own store has another image of its name.
	Hidden(hidden *inventory.HiddenError)
	// Journal gets records for the administrator, with fields as in
	// systemd.journal-fields(7).
	Journal(message string, fields map[string]string)
}
