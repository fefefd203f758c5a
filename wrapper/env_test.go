// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteEnvIsForAShellToEvaluate(t *testing.T) {
	for _, tt := range []struct {
		name, dir string
		options   []string
	}{
		{name: "plain", dir: "plain"},
		{name: "spaces and quotes", dir: `it's "a" dir`},
		{name: "shell syntax", dir: "$(id);#`id`&\\"},
		{name: "a newline", dir: "one\necho two"},
		{name: "an equals sign", dir: "a=b"},
		{name: "global options", dir: "plain", options: []string{"--sysroot", "/it's", "--log-level", "debug"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachineIn(t, filepath.Join(t.TempDir(), tt.dir))
			if err := os.Symlink(testBinary(t), m.Self); err != nil {
				t.Fatal(err)
			}
			var lines strings.Builder
			if err := m.WriteEnv(&lines, tt.options); err != nil {
				t.Fatal(err)
			}
			env := append(os.Environ(), "LINES_TO_EVALUATE="+lines.String(), envAct+"=dump")

			const store = `set -eu; eval "$LINES_TO_EVALUATE"; printf %s "$BOOTC_PODMAN_STORE"`
			if got := string(runShell(t, store, env)); got != m.store() {
				t.Errorf("store %q, want %q", got, m.store())
			}
			const call = `set -eu; eval "$LINES_TO_EVALUATE"; bootc_store podman image ls "it's" ""`
			want := append(append([]string{m.Self}, tt.options...), "exec", "--", "podman", "image", "ls", "it's", "")
			equalStrings(t, "arguments", undump(t, runShell(t, call, env)).Args, want)
		})
	}
}

func TestWriteEnvNamesWhereAStoreWouldBe(t *testing.T) {
	m := newMachine(t)
	m.removeStore(t)
	var lines strings.Builder
	if err := m.WriteEnv(&lines, nil); err != nil {
		t.Fatal(err)
	}
	if want := "\nBOOTC_PODMAN_STORE=" + m.store() + "\n"; !strings.Contains(lines.String(), want) {
		t.Errorf("got %s, want a line %q", &lines, want)
	}
}
