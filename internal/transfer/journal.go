// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// The message IDs by which bootc marks its own records of set-unified, from its
// image.rs, and what it has in its field "bootc.status".
const (
	messageOSTree    = "1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d"
	messageComposefs = "2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e"

	alreadyUnified = "already_unified"
	unified        = "set_unified_complete"
	unifying       = ""
)

// journal writes a record as bootc does, so that its readers find both. journald
// stores fields in upper case only (systemd.journal-fields(7)), also bootc's.
func (o Options) journal(v *plan.View, p *plan.Plan, status string) {
	if o.dryRun() {
		return
	}
	fields := map[string]string{
		"MESSAGE_ID":            messageOSTree,
		"BOOTC_IMAGE_REFERENCE": p.Reference.Name,
		"BOOTC_IMAGE_TRANSPORT": string(p.Reference.Transport),
		"BOOTC_IMAGE_DIGEST":    p.Digest,
	}
	if v.Host.Kind == host.Composefs {
		fields["MESSAGE_ID"] = messageComposefs
	}
	message := "Bringing " + p.Name + " into the bootc-owned store"
	switch status {
	case alreadyUnified:
		message = "Image " + p.Name + " is already in bootc storage"
	case unified:
		message = "Unified storage enabled for " + p.Name
		if p.Upgrade != plan.UpgradeUnified {
			message = "Image " + p.Name + " is in bootc storage; unified storage is off: " + p.UpgradeReason
		}
	}
	if status != unifying {
		fields["BOOTC_STATUS"] = status
	}
	o.Events.Journal(message, fields)
}
