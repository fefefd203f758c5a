// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Offer is what a registry has under a name.
type Offer struct {
	// Digests are those of the manifest and, for a manifest list, of the one in it for this
	// machine, which is the last.
	Digests []string
	// Config is the digest of the configuration, by which podman identifies the image.
	Config string
	// Layers are those of the image.
	Layers []host.Descriptor
}

// Is reports whether the offer is an image, perhaps with a manifest that differs in how its
// layers are compressed.
func (o *Offer) Is(img *cstorage.Image) bool {
	return slices.ContainsFunc(o.Digests, img.Has) || o.Config == "sha256:"+img.ID
}

// offer reads what a registry has under a full name, through skopeo with the credentials of a
// session.
func offer(ctx context.Context, session *wrapper.Session, name string) (*Offer, error) {
	name = bareName(name)
	raw, err := inspectRaw(ctx, session, name)
	if err != nil {
		return nil, err
	}
	found := &Offer{Digests: []string{fmt.Sprintf("sha256:%x", sha256.Sum256(raw))}}
	instance, list, err := cstorage.Instance(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read manifest of %s: %w", name, err)
	case list && instance == "":
		return nil, fmt.Errorf("read manifest list of %s: %w", name, errNoInstance)
	case list:
		found.Digests = append(found.Digests, instance)
		parsed, err := cstorage.ParseName(name)
		if err != nil {
			return nil, err
		}
		if raw, err = inspectRaw(ctx, session, parsed.Repository()+"@"+instance); err != nil {
			return nil, err
		}
	}
	var manifest host.Manifest
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("read manifest of %s: %w", name, err)
	}
	found.Config, found.Layers = manifest.Config.Digest, manifest.Layers
	return found, nil
}

// inspectRaw returns a manifest as a registry has it.
func inspectRaw(ctx context.Context, session *wrapper.Session, name string) ([]byte, error) {
	cmd, err := session.Program("skopeo", "inspect", "--raw", "docker://"+name)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	err = session.Run(ctx, cmd)
	if exit, ok := errors.AsType[*wrapper.ExitError](err); ok {
		exit.Stderr = plainLog(exit.Stderr)
	}
	return out.Bytes(), err
}

// plainLog returns the message of a line as logrus writes it, by which skopeo reports errors.
func plainLog(line string) string {
	if i := strings.Index(line, ` msg="`); i >= 0 {
		if message, err := strconv.Unquote(line[i+len(" msg="):]); err == nil {
			return message
		}
	}
	return line
}

// bareName is a name without the transport of a registry, as stores have it.
func bareName(name string) string { return strings.TrimPrefix(name, "docker://") }

// credentialsOf describes the credentials of a session, for messages.
func credentialsOf(session *wrapper.Session) string {
	if path := session.Auth.Path; path != "" {
		return fmt.Sprintf("the credentials of %q", path)
	}
	return "no credentials"
}
