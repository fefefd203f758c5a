// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// HasUserMounts reports whether the configuration of a container, config.json in the OCI
// runtime specification, has mounts of the user's own.
func HasUserMounts(config []byte) (bool, error) {
	d, err := parseDocument(config)
	return err == nil && d.hasUserMounts(), err
}

// hasUserMounts reports whether there is an overlay, or a bind mount that is none of a
// file that podman makes.
func (d *document) hasUserMounts() bool {
	id := d.containerID()
	return slices.ContainsFunc(d.mounts, func(m mount) bool {
		return m.Type == "overlay" || m.Type == "bind" && (id == "" || !isUserdata(filepath.Clean(m.Source), id))
	})
}

// Preview returns what one of our hooks, with these options, would do to a container of
// this configuration on the host whose root is root.
func Preview(root string, raw []byte, name string, options []string) []string {
	v := &Invocation{Root: root, Stdin: bytes.NewReader(raw), Stdout: io.Discard, Now: time.Now}
	switch name {
	case Ledger:
		return []string{"writes a lease while the container runs"}
	case MountGuard:
		mode, _ := GuardMode(options)
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
