// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"
)

func TestInitPrintsWhatItWouldDo(t *testing.T) {
	a := newTestApp(t)
	a.remove(t, "sysroot/ostree/bootc")
	before, stderr, code := a.onHost(t, "--dry-run", "init")
	if want := "# rename \"" + a.store() + ".bootc-podman.tmp\" to \"" + a.store() + "\"\n"; code != 0 || stderr != "" || !strings.HasSuffix(before, want) {
		t.Errorf("exit status %d, %q, want %q at the end of\n%s", code, stderr, want, before)
	}
	if after, _, _ := a.onHost(t, "init", "--dry-run"); after != before {
		t.Errorf("--dry-run after the command gives\n%s, before it\n%s", after, before)
	}
	if _, err := os.Lstat(a.store()); err == nil || len(a.runner.cmds) != 0 {
		t.Errorf("the dry run made a store: %v, %v", a.runner.cmds, err)
	}
}

func TestInitLeavesAStoreAlone(t *testing.T) {
	a := newTestApp(t)
	// A store that is there is not even opened.
	a.euid = 0
	stdout, stderr, code := a.onHost(t, "init")
	if stdout != "" || stderr != "" || code != 0 {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
	if len(a.runner.cmds) != 0 {
		t.Errorf("ran %v", a.runner.cmds)
	}
}

func TestEnvRepeatsTheGlobalOptions(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, "auth.json", 0o600, "{}")
	t.Chdir(a.dir)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{name: "sysroot", want: "--sysroot " + a.sysroot},
		{name: "log level", args: []string{"--log-level", "info"}, want: "--sysroot " + a.sysroot + " --log-level info"},
		{name: "credentials", args: []string{"--authfile", a.dir + "/auth.json"}, want: "--sysroot " + a.sysroot + " --authfile " + a.dir + "/auth.json"},
		// The lines are evaluated in one directory and used in another.
		{name: "credentials by a relative path", args: []string{"--authfile", "auth.json"}, want: "--sysroot " + a.sysroot + " --authfile " + a.dir + "/auth.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := a.onHost(t, append(tt.args, "env")...)
			if want := "\nbootc_store() { " + a.self + " " + tt.want + " exec -- \"$@\"; }\n"; !strings.HasSuffix(stdout, want) || code != 0 {
				t.Errorf("exit status %d, %q, want %q at the end of\n%s", code, stderr, want, stdout)
			}
		})
	}
}

// goldenConf is the private storage.conf of a host without configuration.
func goldenConf(t *testing.T, driver string) string {
	t.Helper()
	golden, err := os.ReadFile("../../storageconf/testdata/plain.conf")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(golden), `driver = "overlay"`, `driver = "`+driver+`"`, 1)
}

func TestStorageConfIsPrinted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		with   func(t *testing.T, a *testApp)
		driver string
	}{
		{name: "with a store", with: func(*testing.T, *testApp) {}, driver: "overlay"},
		{
			name: "with a store of another driver", driver: "vfs",
			with: func(t *testing.T, a *testApp) { a.makeDir(t, "sysroot/ostree/bootc/storage/vfs-images") },
		},
		{
			name: "without a store", driver: "overlay",
			with: func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree/bootc") },
		},
		{
			name: "on what is no bootc host", driver: "overlay",
			with: func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			tt.with(t, a)
			stdout, stderr, code := a.onHost(t, "storage-conf")
			if want := goldenConf(t, tt.driver); stdout != want || stderr != "" || code != 0 {
				t.Errorf("exit status %d, %q, got\n%swant\n%s", code, stderr, stdout, want)
			}
		})
	}
}

func TestStorageConfChecksAFile(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, "same.conf", 0o644, goldenConf(t, "overlay"))
	a.writeFile(t, "differs.conf", 0o644, goldenConf(t, "vfs"))

	stdout, stderr, code := a.onHost(t, "storage-conf", "--check", a.dir+"/same.conf")
	if stdout != "" || stderr != "" || code != 0 {
		t.Errorf("same file: exit status %d, %q, %q", code, stdout, stderr)
	}
	stdout, stderr, code = a.onHost(t, "storage-conf", "--check", a.dir+"/differs.conf")
	if !strings.Contains(stdout, "\n-driver = \"vfs\"\n+driver = \"overlay\"\n") || stderr != "" || code != 1 {
		t.Errorf("different file: exit status %d, %q, %q", code, stdout, stderr)
	}
	stdout, stderr, code = a.onHost(t, "storage-conf", "--check", a.dir+"/missing.conf")
	failure{code: 125, message: a.dir + "/missing.conf"}.check(t, stdout, stderr, code)

	// 1 would say that the file differs.
	a.writeFile(t, "root/etc/containers/storage.conf", 0o644, "[")
	stdout, stderr, code = a.onHost(t, "storage-conf", "--check", a.dir+"/same.conf")
	failure{code: 125, message: "storage.conf", hint: confHint}.check(t, stdout, stderr, code)
}
