// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// Cmd is a command line as plain data, so that tests compare values.
type Cmd struct {
	// Path is the program's file.
	Path string
	// Args is the argument vector, with argv[0].
	Args []string
	// Env is the whole environment.
	Env []string
	// Stdin, Stdout and Stderr are used by a Runner only; nil is /dev/null for
	// the first two.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Podman reports that the program is podman, which must not call us to run the same
	// podman again.
	Podman bool
	// Files become descriptors 3 and up. Used by a Runner only.
	Files []*os.File
}

// String is the command line quoted for a POSIX shell, environment left out.
func (c Cmd) String() string {
	return Quote(append([]string{c.Path}, c.Args[1:]...)...)
}

// Quote returns words quoted for a POSIX shell. It is written here because libraries for it
// compile regular expressions before main.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		if quoted[i] = word; word == "" || strings.ContainsFunc(word, special) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// special reports whether a character may need quoting.
func special(r rune) bool {
	plain := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	return !plain
}

// environ returns Env with the podman that this is in envBecame.
func (c Cmd) environ() []string {
	if !c.Podman {
		return c.Env
	}
	before := Getenv(c.Env, envBecame)
	if before != "" {
		before += ":"
	}
	return EnvChange{Set: []string{envBecame + "=" + before + c.Path}}.apply(c.Env)
}

// Execer becomes another program.
type Execer interface {
	// Exec replaces this process and so returns only on failure, with a
	// *LookupError when the program cannot be run.
	Exec(cmd Cmd) error
}

// Runner runs another program and waits for it.
type Runner interface {
	// Run returns an *ExitError when the program fails.
	Run(ctx context.Context, cmd Cmd) error
	// Output is Run with standard output captured.
	Output(ctx context.Context, cmd Cmd) ([]byte, error)
}

// ExitError is the end of a program that a Runner started and that failed.
type ExitError struct {
	Cmd Cmd
	// Code is the exit status; for a killed program 128 plus the signal, which
	// Signal then is.
	Code   int
	Signal syscall.Signal
	// Stderr is the end of what it wrote to standard error, if captured.
	Stderr string
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("signal %d, %s", int(e.Signal), e.Signal)
	}
	if e.Stderr != "" {
		how += ": " + e.Stderr
	}
	return fmt.Sprintf("run %s: %s", e.Cmd, how)
}

// System is the Execer and Runner of the running system.
type System struct{}

// Exec implements Execer.
func (System) Exec(cmd Cmd) error {
	// The words are the user's, and can have secrets; --dry-run prints them.
	logrus.Debugf("Becoming %s with %d arguments", cmd.Path, len(cmd.Args)-1)
	err := syscall.Exec(cmd.Path, cmd.Args, cmd.environ())
	code := ExitNotExecutable
	if errors.Is(err, syscall.ENOENT) {
		code = ExitNotFound
	}
	return &LookupError{Program: cmd.Path, Podman: cmd.Podman, Code: code, Err: err}
}

// patience is how long a program may take to end after SIGTERM.
const patience = 10 * time.Second

// Run implements Runner. The program gets SIGTERM when ctx ends, and is killed if it does not
// end, or if this process dies.
func (System) Run(ctx context.Context, cmd Cmd) error {
	logrus.Debugf("Running %s", cmd)
	c := exec.CommandContext(ctx, cmd.Path)
	// Package exec takes an empty environment for that of this process.
	c.Args, c.Env, c.ExtraFiles = cmd.Args, append([]string{}, cmd.environ()...), cmd.Files
	c.Stdin, c.Stdout, c.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
	// The kernel sends it when the thread that started the program ends, as one does with
	// the goroutine that made it enter a namespace: it is kept out of others' reach.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = patience
	tail := &tailBuffer{}
	if cmd.Stderr == nil {
		c.Stderr = tail
	}
	err := c.Run()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if !failed {
		if err != nil {
			err = fmt.Errorf("run %s: %w", cmd, err)
		}
		return err
	}
	end := &ExitError{Cmd: cmd, Code: exit.ExitCode(), Stderr: tail.reason()}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		end.Signal = ws.Signal()
		end.Code = 128 + int(end.Signal)
	}
	return end
}

// Output implements Runner.
func (s System) Output(ctx context.Context, cmd Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout = &out
	err := s.Run(ctx, cmd)
	return out.Bytes(), err
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ buf []byte }

const tailSize = 4096

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailSize; extra > 0 {
		t.buf = t.buf[extra:]
	}
	return len(p), nil
}

// reason returns podman's error line, else the last line.
func (t *tailBuffer) reason() string {
	lines := strings.Split(strings.TrimRight(string(t.buf), "\n"), "\n")
	for _, line := range slices.Backward(lines) {
		if reason, ok := strings.CutPrefix(line, "Error: "); ok {
			return reason
		}
	}
	return lines[len(lines)-1]
}
