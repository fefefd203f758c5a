// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bootc-podman/bootc-podman/internal/ini"
)

// Origin is what the origin file of a deployment says.
type Origin struct {
	// Image is the reference the deployment follows, nil when it was not made
	// from a container image.
	Image *SignedReference
	// Incompatible reports that rpm-ostree changed the deployment, which bootc
	// cannot represent. Image is nil then, and Layered what it would else be, nil
	// too if that does not parse.
	Incompatible bool
	Layered      *SignedReference
	// Pinned reports that the deployment must not be removed (ostree admin pin).
	Pinned bool
	// BootType is how a composefs deployment boots, "bls" or "uki".
	BootType string
	// BootDigest and ManifestDigest are as written in a composefs origin, each
	// "" when an older bootc did not write it.
	BootDigest, ManifestDigest string
}

// originKey is in section "origin" of both kinds of file.
const originKey = "container-image-reference"

// ParseOSTreeOrigin parses the contents of <commit>.<serial>.origin, a
// GKeyFile; see ostree-admin-pin(1) and, for the image, ostree-ext's
// container/deploy.rs. Errors do not name the file.
func ParseOSTreeOrigin(data []byte) (Origin, error) {
	file, err := ini.ParseKeyFile(data)
	if err != nil {
		return Origin{}, err
	}
	// libostree asks for a boolean and takes all that is none for false.
	pinned := strings.TrimRight(file["libostree-transient"]["pinned"], " \t\f\r")
	origin := Origin{Pinned: pinned == "true" || pinned == "1"}
	for _, group := range []string{"rpmostree", "packages", "overrides", "modules"} {
		origin.Incompatible = origin.Incompatible || file[group] != nil
	}
	ref, ok := file["origin"][originKey]
	if !ok {
		return origin, nil
	}
	// GLib escapes so when it writes, and undoes it when it reads a string.
	ref = strings.NewReplacer(`\\`, `\`, `\s`, " ", `\n`, "\n", `\t`, "\t", `\r`, "\r").Replace(ref)
	image, err := parseOriginImage(ref)
	switch {
	case origin.Incompatible:
		origin.Layered = image
	case err != nil:
		return Origin{}, err
	default:
		origin.Image = image
	}
	return origin, nil
}

// ParseComposefsOrigin parses the contents of <verity>.origin; see bootc's
// bootc_composefs/status.rs and state.rs. As for bootc, a file without boot
// type is an error. Errors do not name the file.
func ParseComposefsOrigin(data []byte) (Origin, error) {
	file, err := ini.ParseTini(data)
	if err != nil {
		return Origin{}, err
	}
	origin := Origin{
		BootType:       file["boot"]["boot_type"],
		BootDigest:     file["boot"]["digest"],
		ManifestDigest: file["image"]["manifest_digest"],
	}
	switch origin.BootType {
	case "bls", "uki":
	case "":
		return Origin{}, errors.New("no boot_type in section boot")
	default:
		return Origin{}, fmt.Errorf("unknown boot_type %q", origin.BootType)
	}
	if ref, ok := file["origin"][originKey]; ok {
		if origin.Image, err = parseOriginImage(ref); err != nil {
			return Origin{}, err
		}
	}
	return origin, nil
}

func parseOriginImage(text string) (*SignedReference, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("parse signed image reference %q: not UTF-8", text)
	}
	ref, err := ParseSignedReference(text)
	if err != nil {
		return nil, err
	}
	return &ref, nil
}
