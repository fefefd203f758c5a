// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package clonejob

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Program is the file name of the private program.
const Program = "bootc-podman-store"

// libexecDir is the directory of the private program that this one was built for; the
// Makefile sets it.
var libexecDir string

// NoProgramError reports that the private program cannot be found.
type NoProgramError struct{ Err error }

func (e *NoProgramError) Error() string { return fmt.Sprintf("find %s: %v", Program, e.Err) }

func (e *NoProgramError) Unwrap() error { return e.Err }

// FindProgram returns the path of the private program that belongs to the executable
// self: beside it in a build tree, else in the libexec directory of the same prefix,
// else in the one that this program was built for. The error is a *NoProgramError, of
// fs.ErrNotExist when it is not installed.
func FindProgram(self string) (string, error) {
	real, err := filepath.EvalSymlinks(self)
	if err != nil {
		return "", &NoProgramError{err}
	}
	dir := filepath.Dir(real)
	dirs := []string{dir, filepath.Join(dir, "../libexec/bootc-podman")}
	if filepath.IsAbs(libexecDir) {
		dirs = append(dirs, libexecDir)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, Program)
		if _, err = os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", &NoProgramError{err}
}

// Run has the private program, of which program is the path, do a job. run is what
// runs it where both stores are at the paths that the job says, mostly the method Run
// of a wrapper.Session. each, if not nil, is called with all answers but the last, from one
// goroutine at a time. stderr gets what the program says besides.
//
// The program does not inherit the caller's environment: how the stores are opened
// is in the job alone.
//
// Errors are *Failure, which wrap ErrUnsupported, ErrNotFound, ErrChanged,
// ErrNotVerified, ErrDamaged or ErrNoSpace; those of run, when the program was killed; and that of
// ctx.
func Run(ctx context.Context, run func(context.Context, wrapper.Cmd) error, program string, job Job, stderr io.Writer, each func(Answer)) (*Result, error) {
	cmd, _, err := Command(program, job)
	if err != nil {
		return nil, err
	}
	answers := &answers{each: each}
	cmd.Stdout, cmd.Stderr = answers, stderr
	err = run(ctx, cmd)
	// After ctx a registry ends by itself, and its failure is why podman could not pull.
	canceled := answers.failure == nil || answers.failure.Kind == Canceled
	switch {
	case ctx.Err() != nil && answers.result == nil && canceled:
		return nil, ctx.Err()
	case answers.err != nil:
		return nil, fmt.Errorf("read answers of %s: %w", Program, answers.err)
	case answers.failure != nil:
		return nil, answers.failure
	case err != nil:
		return nil, err
	case answers.result == nil:
		return nil, fmt.Errorf("run %s: %w", Program, errors.New("exited without a result"))
	}
	return answers.result, nil
}

// Command is how the program is run, and what it reads from standard input.
func Command(program string, job Job) (cmd wrapper.Cmd, input []byte, err error) {
	if input, err = json.Marshal(job); err != nil {
		return cmd, nil, fmt.Errorf("write job: %w", err)
	}
	return wrapper.Cmd{Path: program, Args: []string{Program}, Env: Environment(), Stdin: bytes.NewReader(input)}, input, nil
}

// Environment is that of the program: its storage library reads a storage.conf even
// where its caller passes every setting.
func Environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "CONTAINERS_STORAGE_CONF=/dev/null"}
}

// answers reads the lines that are written to it.
type answers struct {
	each    func(Answer)
	line    []byte
	result  *Result
	failure *Failure
	err     error
}

// maxLine is the longest line that is read, in bytes.
const maxLine = 4 << 20

func (a *answers) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n':
			a.read()
			a.line = a.line[:0]
		case len(a.line) < maxLine:
			a.line = append(a.line, b)
		}
	}
	return len(p), nil
}

func (a *answers) read() {
	var answer Answer
	if err := json.Unmarshal(a.line, &answer); err != nil {
		a.err = err
		return
	}
	switch {
	case answer.Result != nil:
		a.result = answer.Result
	case answer.Failure != nil:
		a.failure = answer.Failure
	case a.each != nil:
		a.each(answer)
	}
}
