// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Explained is a hook that podman would run for a container, and what ours would
// do.
type Explained struct {
	File    string
	Stages  []string
	Matches bool
	Effects []string
}

// Explain returns which hooks of the host whose root is root would run for a container
// of this configuration, config.json in the OCI runtime specification. For a hook
// that is for bind mounts, podman goes by what the user asked for; here, a bind mount
// that podman does not make for every container counts as one, although podman leaves
// out those of --volumes-from.
func Explain(root string, p Podman, config io.Reader) ([]Explained, error) {
	raw, err := rooted.ReadLimited(config, hooks.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("decode config: %w", err)
	}
	hasMounts, err := hooks.HasUserMounts(raw)
	if err != nil {
		return nil, err
	}
	all, err := ConfiguredHooks(root, p)
	if err != nil {
		return nil, err
	}
	var out []Explained
	for _, c := range all {
		e := Explained{File: c.File}
		if c.Hook == nil {
			e.Effects = []string{"podman cannot read this file; no container starts"}
			out = append(out, e)
			continue
		}
		e.Stages = c.Hook.Stages
		if e.Matches, err = c.Hook.When.Match(&spec, spec.Annotations, hasMounts); err != nil {
			e.Effects = []string{err.Error()}
		}
		if c.Hook.When.HasBindMounts != nil && hasMounts {
			e.Effects = []string{"podman does not count bind mounts that come from --volumes-from"}
		}
		if args := c.Hook.Hook.Args; e.Matches && len(args) > 2 && args[1] == "hook" {
			e.Effects = hooks.Preview(root, raw, args[2], args[3:])
		}
		out = append(out, e)
	}
	return out, nil
}
