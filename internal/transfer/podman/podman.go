// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package podman runs podman on the two stores of a host, with progress, retries and a
// directory for temporary files that does not outlive it, or prints what it would run.
package podman

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// ErrPull is returned where podman could not pull and that is not its exit status.
var ErrPull = errors.New("podman failed")

// Host is a host to run podman on. Where wrapper.Host.DryRun is set, commands are printed
// there in place of being run.
type Host struct {
	wrapper.Host
	// Dir is a directory for short-lived files, /run/bootc-podman.
	Dir string
	// Stderr gets what podman prints while it works, Progress how far it is.
	Stderr   io.Writer
	Progress *progress.Reporter
	// Retry is how often a pull that failed for a passing reason is tried again; Retrying
	// is called before.
	Retry    int
	Retrying func(Retry)
	// Version is podman's, zero where a pull has to ask for it.
	Version [2]int
	// Worker distinguishes hosts that pull at the same time, "" for a single one.
	Worker string
}

// Store is one of the two stores of a host, for commands that work on it.
type Store struct {
	*Host
	// Session is that of the bootc-owned store, nil for podman's own.
	Session *wrapper.Session
}

// Podman returns the command line that runs podman on the store, and on no other one.
func (s *Store) Podman(ctx context.Context, args ...string) (wrapper.Cmd, error) {
	if s.Session != nil {
		return s.Session.Podman(ctx, args...)
	}
	own, err := storageconf.ReadDefaultStore(s.Root)
	if err != nil {
		return wrapper.Cmd{}, err
	}
	return s.DefaultPodman(append(own.WithoutImageStores(), args...)...)
}

// Image runs "podman image" on the store.
func (s *Store) Image(ctx context.Context, args ...string) error {
	return s.image(ctx, nil, args, s.start)
}

// ImagePull is Image for a pull: env is added to podman's environment, and layers go to
// a directory for temporary files.
func (s *Store) ImagePull(ctx context.Context, env []string, args ...string) error {
	return s.image(ctx, env, args, s.Run)
}

func (s *Store) image(ctx context.Context, env, args []string, run func(context.Context, wrapper.Cmd, ...string) error) error {
	cmd, err := s.Podman(ctx, append([]string{"image"}, args...)...)
	if err != nil {
		return err
	}
	cmd.Env, cmd.Stderr = append(cmd.Env, env...), s.Stderr
	return run(ctx, cmd, env...)
}

// PullUnnamed pulls an image that has no name for the store beforehand, and returns its
// ID, "IMAGE" in a dry run.
func (s *Store) PullUnnamed(ctx context.Context, reference string) (id string, err error) {
	cmd, err := s.Podman(ctx, "image", "pull", "--quiet", "--", reference)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, s.Stderr
	if err := s.Run(ctx, cmd); err != nil {
		return "", err
	}
	if s.DryRun != nil {
		return "IMAGE", nil
	}
	return strings.TrimSpace(out.String()), nil
}

// Run runs a program on the store that may put layers into temporary files. env is what
// of its environment a dry run has to print.
func (s *Store) Run(ctx context.Context, cmd wrapper.Cmd, env ...string) error {
	return s.spooled(ctx, cmd, func(cmd wrapper.Cmd) error { return s.start(ctx, cmd, env...) })
}

// RunPrivate runs the private program, which gets nothing of the caller's environment.
func (s *Store) RunPrivate(ctx context.Context, cmd wrapper.Cmd) error {
	return s.start(ctx, cmd, append([]string{"-i"}, cmd.Env...)...)
}

func (s *Store) start(ctx context.Context, cmd wrapper.Cmd, env ...string) error {
	switch {
	case s.Session != nil:
		return s.Session.Run(ctx, cmd)
	case s.DryRun != nil:
		return wrapper.Explain(s.DryRun, cmd, env...)
	}
	return s.Runner.Run(ctx, cmd)
}
