// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// Record is what set-unified brought into the bootc-owned store of a host. It is
// written before anything is brought.
type Record struct {
	Schema int `json:"schema"`
	// Image is the reference that the deployment followed, Name that of the image in
	// the store, Digest the booted manifest digest.
	Image  string `json:"image"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// ID is that of the image which was verified, "" before.
	ID string `json:"id"`
	// Replaced is the ID of the image that had the name before, "" for none.
	Replaced string `json:"replaced"`
	// Names are those of the store before anything was brought, with the IDs of their
	// images, until the image is verified.
	Names map[string]string `json:"names,omitempty"`
}

// confirms reports whether an image is recorded as what was booted with a manifest digest.
// Where bootc exported it, only the record shows this.
func (r *Record) confirms(img *cstorage.Image, digest string) bool {
	return r != nil && r.ID == img.ID && r.Digest == digest
}

// Unfinished reports whether the record is of a run for the same image that did not
// finish.
func (r *Record) Unfinished(p *Plan) bool {
	return r != nil && r.ID == "" && r.Name == p.Stored.String() && r.Digest == p.Digest
}

// Gained are the names that an image has from being pulled by a plan and that it is not
// to keep: bootc cannot remove an image of two names. One from an archive may have been
// another image's.
func (r *Record) Gained(img *cstorage.Image, p *Plan) (names []string) {
	for _, name := range img.Names {
		if name == p.Stored.String() || r.Names[name] == img.ID {
			continue
		}
		if name == p.exact() || !p.Reference.NamesInRegistry() {
			names = append(names, name)
		}
	}
	return names
}
