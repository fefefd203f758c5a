// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrRewritten reports that a commit does not have the documents of an image as they were.
var ErrRewritten = errors.New("the commit has the manifest or the configuration in another spelling than the image")

// Documents returns the manifest and the configuration of the image byte for byte. ostree-ext
// writes both anew, with sorted members. The spellings in which podman, buildah and rpm-ostree
// write them are tried until one has the digest, which a commit keeps. The error is
// ErrRewritten.
func (c *RepoCommit) Documents() (manifest, config []byte, err error) {
	if manifest = spelledAs(c.ManifestText, manifestMembers, c.ManifestDigest); manifest != nil {
		config = spelledAs(c.ConfigText, configMembers, c.Manifest.Config.Digest)
	}
	if config == nil {
		return nil, nil, ErrRewritten
	}
	return manifest, config, nil
}

// members are those of an object of the OCI image specification in the order of the structures
// in its package specs-go/v1, which is the one that Go programs write. of has the objects, and
// lists of objects, among them.
type members struct {
	order []string
	of    map[string]*members
}

var (
	descriptorMembers = &members{order: []string{"mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"}}
	manifestMembers   = &members{
		order: []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations"},
		of:    map[string]*members{"config": descriptorMembers, "layers": descriptorMembers, "subject": descriptorMembers},
	}
	configMembers = &members{
		order: []string{"created", "author", "architecture", "os", "os.version", "os.features", "variant", "config", "rootfs", "history"},
		of: map[string]*members{
			"config":  {order: []string{"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "ArgsEscaped"}},
			"rootfs":  {order: []string{"type", "diff_ids"}},
			"history": {order: []string{"created", "created_by", "author", "comment", "empty_layer"}},
		},
	}
)

// spelledAs returns a document in the spelling that has a digest, nil for none.
func spelledAs(text string, order *members, digest string) []byte {
	has := func(spelled []byte) bool { return fmt.Sprintf("sha256:%x", sha256.Sum256(spelled)) == digest }
	if has([]byte(text)) {
		return []byte(text)
	}
	spelled, err := order.spell([]byte(text))
	if err != nil {
		return nil
	}
	if has(spelled) {
		return spelled
	}
	var indented bytes.Buffer // as docker's buildkit writes manifests
	if err := json.Indent(&indented, spelled, "", "  "); err != nil || !has(indented.Bytes()) {
		return nil
	}
	return indented.Bytes()
}

// spell writes a value as Go does: objects with the members in their order, others with sorted
// members.
func (m *members) spell(text json.RawMessage) (json.RawMessage, error) {
	if m == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		return json.Marshal(value)
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		var items []json.RawMessage
		if err := json.Unmarshal(text, &items); err != nil {
			return nil, err
		}
		for i := range items {
			var err error
			if items[i], err = m.spell(items[i]); err != nil {
				return nil, err
			}
		}
		return append(append([]byte("["), bytes.Join(rawBytes(items), []byte(","))...), ']'), nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	var parts []json.RawMessage
	for _, name := range m.order {
		value, ok := object[name]
		if !ok {
			continue
		}
		spelled, err := m.of[name].spell(value)
		if err != nil {
			return nil, err
		}
		parts = append(parts, append(fmt.Appendf(nil, "%q:", name), spelled...))
	}
	if len(parts) != len(object) {
		return nil, ErrRewritten // with members that are not in the specification
	}
	return append(append([]byte("{"), bytes.Join(rawBytes(parts), []byte(","))...), '}'), nil
}

func rawBytes(list []json.RawMessage) [][]byte {
	out := make([][]byte, len(list))
	for i, one := range list {
		out[i] = one
	}
	return out
}
