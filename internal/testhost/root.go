// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package testhost has what tests of hosts need: a root directory to fill, and the programs
// that judge the results.
package testhost

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Root is the root directory of a host, a temporary one. Paths are relative to it; a method
// that fails ends the test.
type Root struct {
	testing.TB
	// Dir is the path of the directory.
	Dir string
}

// New makes an empty root directory, of mode 0755 whatever the umask.
func New(t testing.TB) *Root {
	t.Helper()
	r := &Root{t, t.TempDir()}
	r.Chmod(".", 0o755)
	return r
}

// Isolate makes the variables that lead to the user's configuration name a directory below
// the root.
func (r *Root) Isolate() {
	r.Helper()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"} {
		r.Setenv(name, r.Path("home"))
	}
}

// Path returns the whole path of a file.
func (r *Root) Path(name string) string { return filepath.Join(r.Dir, name) }

// Mkdir makes a directory, and those above it.
func (r *Root) Mkdir(name string) {
	r.Helper()
	r.ok(os.MkdirAll(r.Path(name), 0o755))
}

// Write writes a file, and makes the directories above it.
func (r *Root) Write(name, content string) {
	r.Helper()
	r.Mkdir(filepath.Dir(name))
	r.ok(os.WriteFile(r.Path(name), []byte(content), 0o644))
}

// Link makes a symbolic link, and the directories above it.
func (r *Root) Link(target, name string) {
	r.Helper()
	r.Mkdir(filepath.Dir(name))
	r.ok(os.Symlink(target, r.Path(name)))
}

// Chmod changes the mode of a file to that of chmod(2).
func (r *Root) Chmod(name string, mode uint32) {
	r.Helper()
	r.ok(unix.Chmod(r.Path(name), mode))
}

// Read returns the content of a file.
func (r *Root) Read(name string) string {
	r.Helper()
	content, err := os.ReadFile(r.Path(name))
	r.ok(err)
	return string(content)
}

// Exists reports whether there is a file of that name, or a link wherever it leads.
func (r *Root) Exists(name string) bool {
	_, err := os.Lstat(r.Path(name))
	return err == nil
}

func (r *Root) ok(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// Need skips a test for which a program, or root, is missing.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs the program %s", program)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for owners and devices of files")
	}
}

// Run runs a program and returns what it prints, without white space around it.
func Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "CHARSET=UTF-8")
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %.80q: %v: %v", program, args, err, stderr)
	}
	return strings.TrimSpace(string(out))
}
