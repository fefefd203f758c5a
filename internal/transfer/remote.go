// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Offer is what a registry has under a name.
type Offer struct {
	// Digests are those of the manifest and, for a manifest list, of the one in it for this
	// machine.
	Digests []string
	// Layers are those of the image, nil where they were not asked for.
	Layers []host.Descriptor
}

// offer asks the registry of a full name what it has, through skopeo with the credentials of
// a session. layers reports whether those of a manifest list's image matter, which take
// another request.
func offer(ctx context.Context, session *wrapper.Session, name string, layers bool) (*Offer, error) {
	name = bareName(name)
	raw, err := inspectRaw(ctx, session, name)
	if err != nil {
		return nil, err
	}
	found := &Offer{Digests: []string{digest.FromBytes(raw).String()}}
	instance, list, err := cstorage.Instance(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read manifest of %s: %w", name, err)
	case list && instance == "":
		return nil, fmt.Errorf("read manifest list of %s: %w", name, errNoInstance)
	case list:
		found.Digests = append(found.Digests, instance)
		if !layers {
			return found, nil
		}
		parsed, err := cstorage.ParseName(name)
		if err != nil {
			return nil, err
		}
		if raw, err = inspectRaw(ctx, session, parsed.Repository()+"@"+instance); err != nil {
			return nil, err
		}
	}
	var manifest struct {
		Layers []host.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("read manifest of %s: %w", name, err)
	}
	found.Layers = manifest.Layers
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
	return out.Bytes(), err
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
