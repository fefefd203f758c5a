// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCompleteWithoutTheStoreOffersNoOthersImages(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(t *testing.T, m *machine)
	}{
		{name: "not root"},
		{name: "no store", with: func(t *testing.T, m *machine) {
			m.removeStore(t)
			m.Euid = 0
		}},
		{name: "no bootc host", with: func(_ *testing.T, m *machine) { m.Sysroot, m.Euid = filepath.Join(m.dir, "bin"), 0 }},
		{name: "in a container", with: func(_ *testing.T, m *machine) {
			m.Sysroot, m.Euid, m.Env = "/", 0, append(m.Env, "container=podman")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.Env = append(m.Env, "CONTAINER_HOST=ssh://elsewhere", EnvPodman+"=podman --log-level=info")
			if tt.with != nil {
				tt.with(t, m)
			}
			m.runner.output = ":4\n"
			out, err := m.Complete(t.Context(), []string{"image", "rm", ""})
			if err != nil || string(out) != ":4\n" {
				t.Errorf("got %q, %v", out, err)
			}
			if len(m.runner.cmds) != 1 || len(m.execer.cmds) != 0 || m.explained.Len() != 0 {
				t.Fatalf("ran %v, became %v, explained %q", m.runner.cmds, m.execer.cmds, &m.explained)
			}
			cmd := m.runner.cmds[0]
			equalStrings(t, "arguments", cmd.Args, []string{
				m.podman, "--log-level=info", "__complete", "--root", "/proc/none", "--runroot", "/proc/none", "image", "rm", "",
			})
			if slices.ContainsFunc(cmd.Env, func(kv string) bool { return strings.HasPrefix(kv, "CONTAINER_HOST=") }) {
				t.Errorf("podman would ask another host: %q", cmd.Env)
			}
			if cmd.Path != m.podman {
				t.Errorf("path %q, want %q", cmd.Path, m.podman)
			}
		})
	}
}

func TestCompleteWithoutPodmanIsAnError(t *testing.T) {
	m := newMachine(t)
	m.Env = []string{"PATH=" + m.Sysroot}
	if _, err := m.Complete(t.Context(), []string{"image", ""}); !errors.As(err, new(*LookupError)) {
		t.Errorf("got %v, want a *LookupError", err)
	}
}

func TestCompletionOnTheStoreHasItsOptionsAfterTheCommand(t *testing.T) {
	m := newMachine(t)
	m.Env = append(m.Env, EnvPodman+"=podman --log-level=info")
	cmd, err := m.open(t).completionCmd([]string{"image", "rm", ""})
	if err != nil {
		t.Fatal(err)
	}
	want := append([]string{m.podman, "--log-level=info", "__complete"}, onStore("image", "rm", "")...)
	equalStrings(t, "arguments", cmd.Args, want)
	if !slices.Contains(cmd.Env, envStorageConf+"="+m.open(t).confPath()) {
		t.Errorf("the private storage.conf is not in %q", cmd.Env)
	}
}
