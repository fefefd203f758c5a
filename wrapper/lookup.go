// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-shellwords"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Exit statuses of a passthrough that could not start the program, as in
// podman(1), "Exit Codes".
const (
	ExitFailed        = 125 // we failed before the program ran
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// Variables that name podman, in the order they are read.
const (
	// EnvPodman is a command line: "podman --log-level=debug" works.
	EnvPodman = "BOOTC_PODMAN_PODMAN"
	// EnvBootcTool is bootc's own, a single program.
	EnvBootcTool = "BOOTC_EXP_EXTERNAL_CONTAINER_TOOL"
)

var (
	errSelf = errors.New("that is bootc-podman itself")
	// ErrLoop reports that podman is a program that called us.
	ErrLoop = errors.New("it called bootc-podman, which would run it again")
)

// envBecame lists the programs that were run as podman on the way here.
const envBecame = "_BOOTC_PODMAN_BECAME"

// LookupError reports that a program cannot be run.
type LookupError struct {
	// Program is what was looked for; Source is the environment variable that
	// named it, if one did.
	Program, Source string
	// Podman reports that the program is podman.
	Podman bool
	// Code is the exit status: ExitNotFound or ExitNotExecutable.
	Code int
	Err  error
}

func (e *LookupError) Error() string {
	if e.Source != "" {
		return fmt.Sprintf("run %q from $%s: %v", e.Program, e.Source, e.Err)
	}
	return fmt.Sprintf("run %q: %v", e.Program, e.Err)
}

func (e *LookupError) Unwrap() error { return e.Err }

// FindPodman returns the argument vector that podman's own arguments are
// appended to, its first word resolved to a file. It is $BOOTC_PODMAN_PODMAN, a
// command line in shell words; else bootc's $BOOTC_EXP_EXTERNAL_CONTAINER_TOOL, unless
// that is bootc-tool, which is our own executable;
// else podman in PATH. self is our own executable ("" for unknown): a PATH entry
// that is the same file is ignored, $BOOTC_PODMAN_PODMAN that names it is an error. So is
// a program that called us as podman, ErrLoop.
// Errors are *LookupError, or plain for a malformed command line.
func FindPodman(env []string, self string) ([]string, error) {
	words, source := []string{"podman"}, ""
	if line := Getenv(env, EnvPodman); line != "" {
		parser := shellwords.NewParser()
		parsed, err := parser.Parse(line)
		// The parser stops at a shell operator without an error.
		if err == nil && parser.Position >= 0 {
			err = fmt.Errorf("unquoted shell operator at byte %d", parser.Position)
		}
		if err == nil && len(parsed) == 0 {
			err = errors.New("no command")
		}
		if err != nil {
			return nil, fmt.Errorf("read $%s %q: %w", EnvPodman, line, err)
		}
		words, source = parsed, EnvPodman
	} else if tool := Getenv(env, EnvBootcTool); tool != "" && !isProgram(tool, env, self) {
		words, source = []string{tool}, EnvBootcTool
	}
	path, err := lookPath(words[0], env, self)
	if err != nil {
		if le, ok := errors.AsType[*LookupError](err); ok {
			le.Podman, le.Source = true, source
		}
		return nil, err
	}
	for _, caller := range filepath.SplitList(Getenv(env, envBecame)) {
		if sameFile(path, caller) {
			return nil, &LookupError{Program: path, Source: source, Podman: true, Code: ExitNotExecutable, Err: ErrLoop}
		}
	}
	return append([]string{path}, words[1:]...), nil
}

// defaultPath is what execvp(3) uses where PATH is not set.
const defaultPath = "/bin:/usr/bin"

// LookPath finds the file of a program as execvp(3) does, in the PATH of env.
// Errors are *LookupError.
func LookPath(program string, env []string) (string, error) {
	return lookPath(program, env)
}

// isProgram reports whether the file of a program is that of path.
func isProgram(program string, env []string, path string) bool {
	found, err := lookPath(program, env)
	return err == nil && sameFile(found, path)
}

// lookPath is LookPath that passes over the files of others in PATH. One that program names
// by itself is an error.
func lookPath(program string, env []string, others ...string) (string, error) {
	isOther := func(path string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return sameFile(path, other) })
	}
	if program == "" {
		return "", lookupError(program, fs.ErrNotExist)
	}
	if strings.Contains(program, "/") {
		if err := executable(program); err != nil {
			return "", lookupError(program, err)
		}
		if isOther(program) {
			return "", &LookupError{Program: program, Code: ExitNotExecutable, Err: errSelf}
		}
		return program, nil
	}
	missing, problem := program, fs.ErrNotExist
	path, set := LookupEnv(env, "PATH")
	if !set {
		path = defaultPath
	}
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		path := dir + "/" + program
		err := executable(path)
		if err == nil {
			if !isOther(path) {
				return path, nil
			}
			continue
		}
		// As execvp(3): note that it exists, and continue.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			missing, problem = path, err
		}
	}
	return "", lookupError(missing, problem)
}

func lookupError(program string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		if !strings.Contains(program, "/") {
			err = exec.ErrNotFound // says that PATH was searched
		}
		return &LookupError{Program: program, Code: ExitNotFound, Err: err}
	}
	return &LookupError{Program: program, Code: ExitNotExecutable, Err: err}
}

func executable(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return rooted.Cause(err)
	}
	if fi.IsDir() {
		return unix.EISDIR
	}
	// Not access(2): for root a file is executable if any of its bits is set, as for
	// execve(2).
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

func sameFile(path, other string) bool {
	if other == "" {
		return false
	}
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := os.Stat(other)
	return err == nil && os.SameFile(a, b)
}
