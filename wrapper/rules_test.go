// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// What podmans of three generations do with an error in a drop-in and in a key, recorded
// from 5.8.6, 5.4.2 and 4.3.1.
const (
	newerPodman = `#!/bin/sh
echo "$*" >>"$0.log"
for file in "$CONTAINERS_STORAGE_CONF" "$XDG_CONFIG_HOME"/containers/storage.conf.d/*.conf; do
    [ -e "$file" ] && grep -q 'imagestore = 1' "$file" && {
        echo "Failed to obtain podman configuration: decode configuration \"$file\": toml: line 2 (last key \"storage.imagestore\")" >&2
        exit 1
    }
done
echo podman version 5.8.6
`
	olderPodman = `#!/bin/sh
echo "$*" >>"$0.log"
[ -e "$CONTAINERS_STORAGE_CONF" ] && grep -q 'imagestore = 1' "$CONTAINERS_STORAGE_CONF" && {
    echo 'time="" level=warning msg="Failed to read"' >&2
    echo 'Failed to obtain podman configuration: toml: line 5 (last key "storage.imagestore"): incompatible types' >&2
    exit 1
}
echo podman version 5.4.2
`
	oldestPodman = `#!/bin/sh
echo "$*" >>"$0.log"
echo podman version 4.3.1
`
)

func TestPodmanIsAskedForItsRulesOnce(t *testing.T) {
	for _, tt := range []struct {
		name, podman string
		// imageStore and mountOpt are what is in effect.
		imageStore, mountOpt string
	}{
		{name: "newer", podman: newerPodman, imageStore: "/drop-in", mountOpt: "nodev"},
		{name: "older", podman: olderPodman, imageStore: "/main"},
		{name: "oldest", podman: oldestPodman},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.DryRun, m.Runner, m.Euid = nil, System{}, 0
			m.configure(t, "[storage]\ndriver = \"overlay\"\nimagestore = \"/main\"\n")
			dropIn := filepath.Join(m.Root, "etc/containers/storage.conf.d/50.conf")
			writeFile(t, dropIn, 0o644, "[storage]\nimagestore = \"/drop-in\"\n[storage.options.overlay]\nmountopt = \"nodev\"\n")
			writeFile(t, m.podman, 0o755, tt.podman)
			m.Env[0] += ":" + os.Getenv("PATH")
			for range 2 {
				s := m.open(t)
				if got := s.Config; got.ImageStore != tt.imageStore || got.MountOpt != tt.mountOpt {
					t.Errorf("got %+v", got)
				}

			}
			expectAsked(t, m, 2)
			if names, err := os.ReadDir(filepath.Dir(m.ConfPath)); err != nil || len(names) != 1 {
				t.Errorf("left %v, %v", names, err)
			}
			// Another program of the same name.
			if err := os.Remove(m.podman); err != nil {
				t.Fatal(err)
			}
			writeFile(t, m.podman, 0o755, tt.podman+"\n")
			m.open(t)
			expectAsked(t, m, 4)
		})
	}
}

// expectAsked checks how often podman was started, and that it was only for its version.
func expectAsked(t *testing.T, m *machine, times int) {
	t.Helper()
	log, err := os.ReadFile(m.podman + ".log")
	if want := strings.Repeat("--version\n", times); string(log) != want && err == nil || err != nil && times > 0 {
		t.Errorf("podman was run with\n%s, %v, want %d times --version", log, err, times)
	}
}

func TestPodmanIsNotAskedInVain(t *testing.T) {
	const dropIn = "[storage]\nimagestore = \"/drop-in\"\n"
	for _, tt := range []struct {
		name, dropIn string
		change       func(m *machine)
	}{
		{name: "all podmans agree", dropIn: "[storage.options]\nadditionalimagestores = []\n"},
		{name: "a dry run", dropIn: dropIn, change: func(m *machine) { m.DryRun = &m.explained }},
		{name: "another user", dropIn: dropIn, change: func(m *machine) { m.DryRun, m.Euid = &m.explained, 1000 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.DryRun, m.Runner, m.Euid = nil, System{}, 0
			m.configure(t, "[storage]\ndriver = \"overlay\"\n")
			writeFile(t, filepath.Join(m.Root, "etc/containers/storage.conf.d/50.conf"), 0o644, tt.dropIn)
			writeFile(t, m.podman, 0o755, newerPodman)
			m.Env[0] += ":" + os.Getenv("PATH")
			if tt.change != nil {
				tt.change(m)
			}
			m.open(t)
			expectAsked(t, m, 0)
		})
	}
}

func TestAPodmanThatCannotBeAskedIsNoError(t *testing.T) {
	m := newMachine(t)
	m.DryRun, m.Runner, m.Euid = nil, System{}, 0
	m.configure(t, "[storage]\nimagestore = \"/main\"\n")
	writeFile(t, m.podman, 0o755, "#!/nonexistent\n")
	if got := m.open(t).Config.ImageStore; got != "/main" {
		t.Errorf("image store %q", got)
	}
	if _, ok := storageconf.RulesOf(filepath.Join(filepath.Dir(m.ConfPath), "podman.json"), m.podman); ok {
		t.Error("an answer is remembered")
	}
}
