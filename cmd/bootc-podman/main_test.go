// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// recordingExecer keeps what would have become of this process.
type recordingExecer struct {
	cmds []wrapper.Cmd
	err  error
}

func (r *recordingExecer) Exec(cmd wrapper.Cmd) error {
	r.cmds = append(r.cmds, cmd)
	return r.err
}

// recordingRunner keeps what would have run.
type recordingRunner struct{ cmds []wrapper.Cmd }

func (r *recordingRunner) Run(_ context.Context, cmd wrapper.Cmd) error {
	r.cmds = append(r.cmds, cmd)
	return nil
}

func (r *recordingRunner) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	return nil, r.Run(ctx, cmd)
}

// testApp is the program on a bootc host in a temporary directory.
type testApp struct {
	app
	execer *recordingExecer
	runner *recordingRunner
	// bin is the only directory in PATH; podman and tool are in it, which only
	// have to be found.
	dir, sysroot, bin string
}

// newTestApp makes a host with a store. The user is not root and "/" is said to
// be a container's, so that no test can come to touch this machine.
func newTestApp(t *testing.T) *testApp {
	t.Helper()
	dir := t.TempDir()
	// The storage library finds the user's configuration and store by these.
	t.Setenv("HOME", filepath.Join(dir, "home"))
	for _, name := range []string{"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, filepath.Join(dir, strings.ToLower(name)))
	}
	a := &testApp{
		execer: &recordingExecer{}, runner: &recordingRunner{},
		dir: dir, sysroot: filepath.Join(dir, "sysroot"), bin: filepath.Join(dir, "bin"),
	}
	a.app = app{
		stdin:    strings.NewReader(""),
		env:      []string{"PATH=" + a.bin, "HOME=/home/user", "container=unit-test"},
		euid:     1000,
		self:     filepath.Join(a.bin, "bootc-podman"),
		root:     filepath.Join(dir, "root"),
		confPath: filepath.Join(dir, "run", "storage.conf"),
		execer:   a.execer,
		runner:   a.runner,
	}
	a.writeFile(t, "bin/podman", 0o755, "#!/bin/false\n")
	a.writeFile(t, "bin/tool", 0o755, "#!/bin/false\n")
	a.makeDir(t, "root")
	a.makeDir(t, "sysroot/ostree/repo/objects")
	a.makeDir(t, "sysroot/ostree/repo/refs/heads")
	a.writeFile(t, "sysroot/ostree/repo/config", 0o644, "[core]\nrepo_version=1\nmode=bare\n")
	a.makeDir(t, "sysroot/ostree/bootc/storage")
	return a
}

func (a *testApp) store() string { return filepath.Join(a.sysroot, "ostree/bootc/storage") }

func (a *testApp) makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(a.dir, path), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (a *testApp) writeFile(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	a.makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(a.dir, path), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func (a *testApp) link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(a.dir, path)); err != nil {
		t.Fatal(err)
	}
}

func (a *testApp) remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(a.dir, path)); err != nil {
		t.Fatal(err)
	}
}

// start runs the program as it is called on a command line.
func (a *testApp) start(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	a.stdout, a.stderr = &out, &errs
	code = a.run(t.Context(), append([]string{"bootc-podman"}, args...))
	return out.String(), errs.String(), code
}

// onHost runs the program on the host in the temporary directory.
func (a *testApp) onHost(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return a.start(t, append([]string{"--sysroot", a.sysroot}, args...)...)
}

// dryRun returns the command line that a command on the host comes to, the last
// line of a dry run.
func (a *testApp) dryRun(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := a.onHost(t, append([]string{"--dry-run"}, args...)...)
	if code != 0 {
		t.Fatalf("exit status %d: %s", code, stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	return lines[len(lines)-1]
}

// runApp runs the program where nothing of the host is needed.
func runApp(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return newTestApp(t).start(t, args...)
}

// failure is what a user gets to see of an error.
type failure struct {
	code int
	// message is a part of the line "Error: ", hint the whole line "Hint: ", or the line that
	// names the help; "" for none.
	message, hint string
}

// check compares an outcome with the failure, and with the form of errors:
// once, with at most one hint, and never on standard output.
func (f failure) check(t *testing.T, stdout, stderr string, code int) {
	t.Helper()
	if code != f.code {
		t.Errorf("exit status %d, want %d", code, f.code)
	}
	if stdout != "" {
		t.Errorf("an error wrote to standard output: %q", stdout)
	}
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	message, isError := strings.CutPrefix(lines[0], "Error: ")
	if !isError || !strings.Contains(message, f.message) {
		t.Errorf("first line %q, want an error with %q", lines[0], f.message)
	}
	var hint string
	if len(lines) > 1 {
		hint = strings.TrimPrefix(lines[1], "Hint: ")
	}
	if hint != f.hint || len(lines) > 2 || strings.Count(stderr, "Error") != 1 {
		t.Errorf("standard error\n%swant one error, and the hint %q", stderr, f.hint)
	}
}

func TestConfigHomeIsTheUsersOwn(t *testing.T) {
	const none = "/proc/none"
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"own": 0o700, "home/.config": 0o755, "group": 0o775, "all": 0o777, "sticky": 0o777 | os.ModeSticky} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	// Root makes a directory of another user; others use one that exists.
	others := "/proc/1"
	if os.Geteuid() == 0 {
		others = filepath.Join(dir, "others")
		if err := os.Mkdir(others, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(others, 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"to-own": dir + "/own", "to-sticky": dir + "/sticky", "to-others": others} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, tt := range []struct{ name, xdg, home, want string }{
		{name: "XDG_CONFIG_HOME", xdg: dir + "/own", home: dir + "/home", want: dir + "/own"},
		{name: "HOME", home: dir + "/home", want: dir + "/home/.config"},
		{name: "neither", want: none},
		{name: "missing", xdg: dir + "/missing", want: none},
		{name: "relative", xdg: "own", want: none},
		{name: "relative home", home: "home", want: none},
		{name: "another user's", xdg: others, want: none},
		{name: "the group's too", xdg: dir + "/group", want: dir + "/group"},
		{name: "everybody's", xdg: dir + "/all", want: none},
		{name: "everybody's like /tmp", xdg: dir + "/sticky", want: none},
		{name: "link", xdg: dir + "/to-own", want: dir + "/own"},
		{name: "link to everybody's", xdg: dir + "/to-sticky", want: none},
		{name: "link to another user's", xdg: dir + "/to-others", want: none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", tt.xdg)
			t.Setenv("HOME", tt.home)
			if got := configHome(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	// Not set, it stays so where no other user can say which directory that is.
	for home, want := range map[string]string{"home": "", "missing": none, "linked": "", "all": none, "sticky": none} {
		t.Run("not set, "+home, func(t *testing.T) {
			if path := filepath.Join(dir, home, ".config"); home == "linked" || home == "all" {
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(dir+"/own", path)); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("XDG_CONFIG_HOME", "")
			if err := os.Unsetenv("XDG_CONFIG_HOME"); err != nil {
				t.Fatal(err)
			}
			t.Setenv("HOME", filepath.Join(dir, home))
			if got := configHome(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
