// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import "time"

// The names of the hooks, as in "bootc-podman hook NAME".
const (
	Ledger     = "ledger"
	MountGuard = "mount-guard"
	BoundGate  = "bound-gate"
)

// Hook is one of our hooks.
type Hook struct {
	Name string
	// Does is the sentence that the manual page has for it.
	Does string
	// Stages are those of the OCI runtime specification, and podman's precreate.
	Stages []string
	// For is the annotation that a container asks for the hook with, any value of it. ""
	// is a hook for each container.
	For string
	// Annotations are all that the hook reads, For among them.
	Annotations []string
	// Modes are the values of the option --mode, the default first; nil is a hook without.
	Modes []Mode

	// run returns the exit status.
	run func(v *Invocation, options []string) int
	// preview returns what run would do to a container of this configuration.
	preview func(v *Invocation, config []byte, options []string) []string
}

// File is the name of the hook configuration.
func (h Hook) File() string { return "50-bootc-podman-" + h.Name + ".json" }

// Table lists the hooks, in the order they are shown in. A new hook is an entry here:
// installing, verifying, status and completion go by it, and tests compare the manual
// pages, the JSON schema and contrib/hooks with it.
func Table() []Hook {
	return []Hook{
		{
			Name: Ledger, Does: "records each container that starts, until it has stopped",
			Stages: []string{"createRuntime", "poststop"},
			run:    (*Invocation).ledger, preview: (*Invocation).previewLedger,
		},
		{
			// Not only where hasBindMounts: podman does not count those of --volumes-from.
			Name: MountGuard, Does: "looks for mounts through which a container could write to what the host boots",
			Stages: []string{"precreate"}, Annotations: []string{AllowHostRW},
			Modes: Modes(),
			run:   (*Invocation).mountGuard, preview: (*Invocation).previewMountGuard,
		},
		{
			Name: BoundGate, Does: "starts a container that asks for it only as what is bound to the booted deployment",
			// Any value of the annotation: a misspelt one must not open the gate.
			Stages: []string{"precreate"}, For: Require, Annotations: []string{Require, AllowChanges},
			run: (*Invocation).boundGate, preview: (*Invocation).previewBoundGate,
		},
	}
}

// Find returns the hook of a name.
func Find(name string) (Hook, bool) {
	for _, h := range Table() {
		if h.Name == name {
			return h, true
		}
	}
	return Hook{}, false
}

// Preview returns what the hook of this name would do with these options to a container
// of this configuration, config.json in the OCI runtime specification, on the host whose
// root is root. For a name that is not in Table it returns nothing.
func Preview(root string, config []byte, name string, options []string) []string {
	h, ok := Find(name)
	if !ok {
		return nil
	}
	return h.preview(&Invocation{Root: root, Now: time.Now}, config, options)
}

// Names are those of all hooks.
func Names() (names []string) {
	for _, h := range Table() {
		names = append(names, h.Name)
	}
	return names
}
