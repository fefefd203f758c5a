// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

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

// Explain tells which hooks of the host whose root is root would run for a container
// of this configuration, config.json in the OCI runtime specification. For a hook
// that is for bind mounts, podman goes by what the user asked for; here, a bind mount
// that podman does not make for every container counts as one, although podman leaves
// out those of --volumes-from.
func Explain(root string, p Podman, config io.Reader) ([]Explained, error) {
	raw, err := rooted.ReadLimited(config, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, fmt.Errorf("decode config: %w", err)
	}
	d, err := parseDocument(raw)
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
		if e.Matches, err = c.Hook.When.Match(&spec, spec.Annotations, d.hasUserMounts()); err != nil {
			e.Effects = []string{err.Error()}
		}
		if c.Hook.When.HasBindMounts != nil && d.hasUserMounts() {
			e.Effects = []string{"podman does not count bind mounts that come from --volumes-from"}
		}
		if args := c.Hook.Hook.Args; e.Matches && len(args) > 2 && args[1] == "hook" {
			e.Effects = explainOurs(root, raw, args[2], args[3:])
		}
		out = append(out, e)
	}
	return out, nil
}

// hasUserMounts tells whether there is an overlay, or a bind mount that is none of a
// file that podman makes.
func (d *document) hasUserMounts() bool {
	id := d.containerID()
	return slices.ContainsFunc(d.mounts, func(m mount) bool {
		return m.Type == "overlay" || m.Type == "bind" && (id == "" || !isUserdata(filepath.Clean(m.Source), id))
	})
}

// explainOurs tells what one of our hooks would do.
func explainOurs(root string, raw []byte, name string, options []string) []string {
	v := &Invocation{Root: root, Stdin: bytes.NewReader(raw), Stdout: io.Discard, Now: time.Now}
	switch name {
	case Ledger:
		return []string{"writes a lease while the container runs"}
	case MountGuard:
		mode, _ := guardMode(options)
		verdict, err := v.judge(raw, mode)
		if err != nil {
			return []string{"leaves the mounts alone: " + err.Error()}
		}
		what := map[Mode]string{Warn: "warns of the ", Enforce: "makes read-only the ", Deny: "does not let start for the "}[mode]
		effects := []string{}
		for _, m := range verdict.found {
			effects = append(effects, what+m.String()[:len(m.String())-1])
		}
		for _, m := range verdict.parents {
			effects = append(effects, "leaves alone, with a journal record, the "+strings.TrimSuffix(m.containing(), ","))
		}
		if len(effects) == 0 {
			effects = []string{"leaves the mounts alone"}
		}
		if verdict.doubts != nil {
			effects = append(effects, "warns: "+strings.ReplaceAll(verdict.doubts.Error(), "\n", "; "))
		}
		return effects
	case BoundGate:
		verdict, err := v.admit(raw, func(gateVerdict) {})
		switch {
		case err == nil:
			return []string{"lets the container start"}
		case v.isGateOff():
			return []string{"lets the container start since the gate is off: " + err.Error()}
		case verdict.require == RequireBoundWarn:
			return []string{"only warns: " + err.Error()}
		}
		return []string{"does not let the container start: " + err.Error()}
	}
	return nil
}
