// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

const identityName = "host.json"

// Identity is what the host booted, for programs in containers. It is
// in /run/bootc-podman/host.json, which anybody may read.
type Identity struct {
	// Schema is 1.
	Schema int `json:"schema"`
	// Kind is ostree or composefs.
	Kind host.Kind `json:"kind"`
	// Image is the reference of the booted deployment as list spells it,
	// "docker://quay.io/example/os:42" for one; Digest is that of its manifest.
	Image  string `json:"image"`
	Digest string `json:"digest"`
	// Version is the image's own.
	Version string `json:"version"`
	// Deployment names the deployment.
	Deployment string `json:"deployment"`
	BootID     string `json:"boot_id"`
}

// NewIdentity is the identity of the running host before anything is known of what
// it booted.
func NewIdentity(root string, kind host.Kind) Identity {
	return Identity{Schema: 1, Kind: kind, BootID: bootID(root)}
}

// WriteIdentity writes the identity of the running host for containers and hooks.
// Only root can.
func WriteIdentity(root string, id Identity) error {
	dir, err := openState(root, ".", true)
	if err == nil {
		defer dir.Close()
		err = writeRecord(dir, identityName, id, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write host identity: %w", err)
	}
	return nil
}

// ReadIdentity reads what was written since the boot; it is the zero Identity
// where nothing was.
func ReadIdentity(root string) Identity {
	dir, err := openState(root, ".", false)
	if err != nil {
		return Identity{}
	}
	defer dir.Close()
	id, err := readRecord[Identity](dir, identityName)
	if err != nil || id.BootID != bootID(root) {
		return Identity{}
	}
	return id
}
