// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// explainedAs compares a dry run with a text in which DIR is the directory of
// the machine, PRIVATE and CREDENTIALS the files of the session and STORE the options of a
// default store.
func (m *machine) explainedAs(t *testing.T, s *Session, want string) {
	t.Helper()
	want = strings.NewReplacer(
		"DIR", m.dir, "PRIVATE", s.confPath(), "CREDENTIALS", s.authPath(), "STORE", strings.Join(onStore(), " "),
	).Replace(want)
	if got := m.explained.String(); got != want {
		t.Errorf("explained\n%swant\n%s", got, want)
	}
}

func TestDryRunOfAPassthrough(t *testing.T) {
	m := newMachine(t)
	m.Env = append(m.Env, "STORAGE_OPTS=x", "CONTAINER_HOST=ssh://other", "REGISTRY_AUTH_FILE=x")
	s := m.open(t)
	cmd, err := s.Podman(t.Context(), "image", "ls", "--format", "{{.ID}}")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Become(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	m.explainedAs(t, s, `# in a private mount namespace: "DIR/sysroot/ostree/bootc/storage" bound on /run/bootc/storage
# descriptor 3: the directory /run/bootc/storage under that mount
# the file "CREDENTIALS": {}, no credentials found
env -u CONTAINER_HOST -u STORAGE_OPTS REGISTRY_AUTH_FILE=CREDENTIALS DIR/bin/podman STORE image ls --format '{{.ID}}'
`)
}

func TestDryRunThatWouldMakeAStore(t *testing.T) {
	const created = `# in a private mount namespace: "DIR/sysroot/ostree/bootc/storage.bootc-podman.tmp" bound on /run/bootc/storage
# descriptor 3: the directory /run/bootc/storage under that mount
# the file "CREDENTIALS": the content of "DIR/sysroot/etc/ostree/auth.json"
env -u STORAGE_DRIVER REGISTRY_AUTH_FILE=CREDENTIALS HOME=/root DIR/bin/podman --root /run/bootc/storage --runroot /proc/self/fd/3 images
# rename "DIR/sysroot/ostree/bootc/storage.bootc-podman.tmp" to "DIR/sysroot/ostree/bootc/storage"
`
	m := newMachine(t)
	m.removeStore(t)
	writeFile(t, filepath.Join(m.Sysroot, "etc/ostree/auth.json"), 0o600, "{}")
	// Options of the host are for podman on the finished store: podman records
	// the options of its command line in a new database.
	m.configure(t, "[storage.options.overlay]\nmountopt = \"nodev\"\n")
	m.Env = []string{m.Env[0], "STORAGE_DRIVER=vfs"}
	s := m.open(t)
	if _, err := s.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.explainedAs(t, s, created)

	m.explained.Reset()
	if err := m.BecomePodman(t.Context(), nil, []string{"image", "pull", "x"}); err != nil {
		t.Fatal(err)
	}
	m.explainedAs(t, s, created+`# in a private mount namespace: "DIR/sysroot/ostree/bootc/storage" bound on /run/bootc/storage
# descriptor 3: the directory /run/bootc/storage under that mount
# the file "CREDENTIALS": the content of "DIR/sysroot/etc/ostree/auth.json"
env -u STORAGE_DRIVER REGISTRY_AUTH_FILE=CREDENTIALS HOME=/root DIR/bin/podman STORE --storage-opt overlay.mountopt=nodev image pull x
`)
}

// runShell runs a script that must succeed without a word on standard error.
func runShell(t *testing.T, script string, env []string) []byte {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("sh: %v\n%s\nof the script\n%s", err, &stderr, script)
	}
	return stdout.Bytes()
}

// useDumpingPodman replaces the machine's podman by one that prints how it was
// called.
func (m *machine) useDumpingPodman(t *testing.T) {
	t.Helper()
	if err := os.Remove(m.podman); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(testBinary(t), m.podman); err != nil {
		t.Fatal(err)
	}
	// The shell has to find env(1), too.
	m.Env[0] += ":" + os.Getenv("PATH")
	m.Env = append(m.Env, envAct+"=dump")
}

// withoutShells sorts an environment and takes out what shells put in.
func withoutShells(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"PWD", "OLDPWD", "SHLVL", "_"}, name)
	})
	slices.Sort(env)
	return env
}

// runExplained runs the dry run of a command in a shell, and checks that
// podman is then called with the very arguments and environment of the command.
func (m *machine) runExplained(t *testing.T, args ...string) {
	t.Helper()
	cmd := m.podmanCmd(t, args...)
	if err := m.BecomePodman(t.Context(), nil, args); err != nil {
		t.Fatal(err)
	}
	got := undump(t, runShell(t, m.explained.String(), m.Env))
	equalStrings(t, "arguments", got.Args, cmd.Args)
	equalStrings(t, "environment", withoutShells(got.Env), withoutShells(cmd.Env))
}

func TestADryRunIsAShellScript(t *testing.T) {
	for name, args := range oddArgs() {
		if len(args) > 100 {
			continue // More than a single argument of "sh -c" holds.
		}
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.useDumpingPodman(t)
			for _, name := range Dropped() {
				m.Env = append(m.Env, name+"=caller")
			}
			m.Env = append(m.Env, "KEPT='\"$HOME\\\n\xff", "EMPTY=")
			m.runExplained(t, append([]string{"image"}, args...)...)
		})
	}
}

func TestADryRunIsAShellScriptWhateverThePaths(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{
		{name: "spaces and quotes", dir: `it's "a" dir`},
		{name: "shell syntax", dir: "$(id);#`id`&\\"},
		{name: "bytes that are not UTF-8", dir: "\xff\xfe"},
		// To the program "env" such a word is one more variable.
		{name: "an equals sign", dir: "a=b"},
		// A comment ends with its line.
		{name: "a newline", dir: "one\necho two"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachineIn(t, filepath.Join(t.TempDir(), tt.dir))
			m.useDumpingPodman(t)
			writeFile(t, filepath.Join(m.Sysroot, "etc/ostree/auth.json"), 0o600, "{}")
			m.runExplained(t, "image", "ls")
		})
	}
}

func TestADryRunOfHelpIsAShellScript(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{
		{name: "spaces and quotes", dir: `it's "a" dir`},
		{name: "an equals sign", dir: "a=b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachineIn(t, filepath.Join(t.TempDir(), tt.dir))
			m.useDumpingPodman(t)
			if err := m.BecomePodman(t.Context(), nil, []string{"image", "--help", "it's"}); err != nil {
				t.Fatal(err)
			}
			got := undump(t, runShell(t, m.explained.String(), m.Env))
			equalStrings(t, "arguments", got.Args, []string{m.podman, "image", "--help", "it's"})
		})
	}
}

func TestADryRunThatNeedsAStoreMakesItOnce(t *testing.T) {
	m := newMachine(t)
	m.removeStore(t)
	s := m.open(t)
	cmd, err := s.Podman(t.Context(), "image", "tag", "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Run(t.Context(), cmd); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for line := range strings.Lines(m.explained.String()) {
		switch {
		case strings.HasPrefix(line, "# rename"):
			lines = append(lines, "rename")
		case strings.HasSuffix(line, " images\n"):
			lines = append(lines, "images")
		case strings.HasSuffix(line, " image tag a b\n"):
			lines = append(lines, "tag")
		}
	}
	equalStrings(t, "steps", lines, []string{"images", "rename", "tag", "tag"})
	if _, err := os.Stat(m.store()); err == nil {
		t.Error("the dry run made a store")
	}
}
