// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// envAct makes the test binary do something else than run the tests: it is the
// program that the tests start, become and find as podman.
const envAct = "BOOTC_PODMAN_TEST_ACT"

func TestMain(m *testing.M) {
	var err error
	switch act := os.Getenv(envAct); act {
	case "":
		os.Exit(m.Run())
	case "dump":
		err = dumpProcess()
	case "become":
		err = System{}.Exec(Cmd{Path: os.Args[1], Args: os.Args[1:], Env: becomeEnv()})
	case "run":
		err = System{}.Run(context.Background(), Cmd{
			Path: os.Args[1], Args: os.Args[1:], Env: []string{}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		})
	default:
		err = fmt.Errorf("unknown act %q", act)
	}
	code := 0
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	// Not os.Exit: with -cover it would complain on standard error.
	syscall.Exit(code)
}

// process is what a program sees of itself, to the byte.
type process struct {
	PID       int
	Args, Env []string
}

func dumpProcess() error {
	// Not os.Environ, which tidies up.
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return err
	}
	var env []string
	if len(environ) > 0 {
		env = strings.Split(strings.TrimSuffix(string(environ), "\x00"), "\x00")
	}
	return gob.NewEncoder(os.Stdout).Encode(process{PID: os.Getpid(), Args: os.Args, Env: env})
}

// undump reads what dumpProcess wrote.
func undump(t *testing.T, dump []byte) process {
	t.Helper()
	var p process
	if err := gob.NewDecoder(bytes.NewReader(dump)).Decode(&p); err != nil {
		t.Fatalf("not a dump: %v: %q", err, dump)
	}
	return p
}

func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// recordingExecer keeps what would have become of this process.
type recordingExecer struct {
	cmds []Cmd
	err  error
}

func (r *recordingExecer) Exec(cmd Cmd) error {
	r.cmds = append(r.cmds, cmd)
	return r.err
}

// recordingRunner keeps what would have run, and answers for it.
type recordingRunner struct {
	cmds   []Cmd
	output string
	err    error
}

func (r *recordingRunner) Run(_ context.Context, cmd Cmd) error {
	r.cmds = append(r.cmds, cmd)
	return r.err
}

func (r *recordingRunner) Output(ctx context.Context, cmd Cmd) ([]byte, error) {
	err := r.Run(ctx, cmd)
	return []byte(r.output), err
}

// machine is a bootc host in a temporary directory.
type machine struct {
	Host
	execer *recordingExecer
	runner *recordingRunner
	// explained is what a dry run writes.
	explained strings.Builder
	// dir holds everything, podman is a program that only has to be found.
	dir, podman string
}

// newMachine makes a host with a store, a podman in PATH and no configuration.
// It is a dry run by a user who is not root, so that no test can come to mount
// anything.
func newMachine(t *testing.T) *machine {
	t.Helper()
	return newMachineIn(t, t.TempDir())
}

func newMachineIn(t *testing.T, dir string) *machine {
	t.Helper()
	// The storage library reads the user's storage.conf by these.
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	m := &machine{
		execer: &recordingExecer{}, runner: &recordingRunner{},
		dir: dir, podman: filepath.Join(dir, "bin", "podman"),
	}
	m.Host = Host{
		Env:      []string{"PATH=" + filepath.Dir(m.podman), "HOME=/home/user"},
		Euid:     1000,
		Self:     filepath.Join(dir, "bin", "bootc-podman"),
		Root:     filepath.Join(dir, "root"),
		Sysroot:  filepath.Join(dir, "sysroot"),
		ConfPath: filepath.Join(dir, "run", "storage.conf"),
		Execer:   m.execer,
		Runner:   m.runner,
		DryRun:   &m.explained,
	}
	writeFile(t, m.podman, 0o755, "#!/bin/false\n")
	makeDir(t, m.Sysroot, "ostree", "repo")
	makeDir(t, m.store(), "overlay-images")
	return m
}

func (m *machine) store() string { return filepath.Join(m.Sysroot, "ostree", "bootc", "storage") }

// removeStore leaves a bootc host that has no store yet.
func (m *machine) removeStore(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Dir(m.store())); err != nil {
		t.Fatal(err)
	}
}

// configure writes the host's storage.conf.
func (m *machine) configure(t *testing.T, content string) {
	t.Helper()
	writeFile(t, filepath.Join(m.Root, "etc", "containers", "storage.conf"), 0o644, content)
}

func (m *machine) open(t *testing.T) *Session {
	t.Helper()
	s, err := m.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// podmanCmd is the command line for podman on the store.
func (m *machine) podmanCmd(t *testing.T, args ...string) Cmd {
	t.Helper()
	s := m.open(t)
	cmd, err := s.Podman(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

// onStore are the options with which podman opens a store made by default.
func onStore(args ...string) []string {
	return append([]string{
		"--root", storageconf.GraphRoot, "--runroot", storageconf.RunRoot,
	}, args...)
}

func makeDir(t *testing.T, path ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(path...), 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path string, mode os.FileMode, content string) {
	t.Helper()
	makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func equalStrings(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}
