// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree lists what is below the test's directory, with what changes when it is written.
func (a *testApp) tree(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(a.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := ""
		if entry.Type().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(text)
		}
		all = append(all, fmt.Sprintf("%s %s %v %q", path, info.Mode(), info.ModTime().UnixNano(), content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// bootedApp is root on a running host, of which some verbs write down what it booted.
func bootedApp(t *testing.T) *testApp {
	t.Helper()
	a := newTestApp(t)
	a.env, a.euid = []string{"PATH=" + a.bin, "HOME=/root"}, 0
	a.makeDir(t, "root/run")
	a.writeFile(t, "root/usr/bin/bootc-podman", 0o755, "#!/bin/sh\nexec bootc-podman \"$@\"\n")
	a.self = "/usr/bin/bootc-podman"
	return a
}

// TestDryRunsChangeNothing runs every command there is, with --dry-run on either side.
func TestDryRunsChangeNothing(t *testing.T) {
	operands := map[string][]string{
		"image": {"ls"}, "exec": {"tool"}, "exists": {"x"}, "inspect": {"x"}, "pull-from-default-storage": {"x"}, "repair": {"x"}, "localize": {"x"},
		"hooks": {"install"}, "bound": {"lock"}, "completion": {"bash"}, "hook": {"--help"}, "help": {"list"},
	}
	lines := map[string][]string{}
	for _, c := range newTestApp(t).command(&options{}).VisibleCommands() {
		lines[c.Name] = append([]string{c.Name}, operands[c.Name]...)
	}
	for _, action := range slices.Sorted(maps.Keys(hooksActions())) {
		lines["hooks "+action] = []string{"hooks", action}
	}
	lines["hooks explain"] = append(lines["hooks explain"], "-")
	lines["image pull"] = []string{"image", "pull", "x"}
	for name, line := range lines {
		t.Run(name, func(t *testing.T) {
			variants := [][]string{append([]string{"--dry-run"}, line...)}
			if !slices.Contains([]string{"image", "images", "rmi", "run", "exec", "hook"}, line[0]) {
				variants = append(variants, append(slices.Clone(line), "--dry-run"))
			}
			for _, store := range []bool{true, false} {
				var outs []string
				for _, args := range variants {
					a := bootedApp(t)
					if !store {
						a.remove(t, "sysroot/ostree/bootc")
					}
					before := a.tree(t)
					start := a.start
					if !slices.Contains([]string{"bound", "hooks", "usage"}, line[0]) {
						start = a.onHost
					}
					stdout, stderr, code := start(t, args...)
					if code == 2 || strings.Contains(stderr, "not defined") {
						t.Errorf("%q: exit status %d, %s", args, code, stderr)
					}
					if after := a.tree(t); !slices.Equal(before, after) {
						t.Errorf("%q: before\n%s\nafter\n%s", args, strings.Join(before, "\n"), strings.Join(after, "\n"))
					}
					if len(a.execer.cmds) > 0 {
						t.Errorf("%q: became %v", args, a.execer.cmds)
					}
					outs = append(outs, fmt.Sprint(code, strings.ReplaceAll(stdout+stderr, a.dir, "DIR")))
				}
				if outs[0] != outs[len(outs)-1] {
					t.Errorf("--dry-run before it gives\n%s\nafter it\n%s", outs[0], outs[1])
				}
			}
		})
	}
}

func TestWhatHooksInstallWritesIsWhatItsDryRunSays(t *testing.T) {
	for _, action := range []string{"install", "uninstall"} {
		a := bootedApp(t)
		if action == "uninstall" {
			if _, stderr, code := a.start(t, "hooks", "install"); code != 0 {
				t.Fatal(stderr)
			}
		}
		said, _, code := a.start(t, "--dry-run", "hooks", action)
		if code != 0 || !strings.Contains(said, filepath.Join(a.root, "etc/containers/containers.conf.d/50-bootc-podman-hooks.conf")) {
			t.Errorf("%s: exit status %d, %q", action, code, said)
		}
	}
	a := bootedApp(t)
	said, _, _ := a.start(t, "hooks", "install", "--dry-run")
	if _, stderr, code := a.start(t, "hooks", "install"); code != 0 {
		t.Fatal(stderr)
	}
	for line := range strings.Lines(said) {
		path := strings.Trim(strings.TrimPrefix(line, "# write "), "\"\n")
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%q was not written: %v", path, err)
		}
	}
	if strings.Count(said, "\n") != 4 {
		t.Errorf("said\n%s", said)
	}
}
