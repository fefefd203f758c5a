// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"os"
	"slices"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Run runs cmd inside the store's namespace and waits for it. A missing store is
// made. The error is an *ExitError when the program fails. After a Run that made
// the store, its driver is known to a new session only.
func (s *Session) Run(ctx context.Context, cmd Cmd) error {
	if s.host.DryRun != nil {
		if err := s.ExplainStore(); err != nil {
			return err
		}
		return s.explainRun(s.Store.Path(), s.envWords(cmd.Env), cmd)
	}
	if err := s.placeConf(cmd); err != nil {
		return err
	}
	done := make(chan error, 1)
	// The thread that enters the namespace ends with its goroutine.
	go func() {
		ns, err := s.enter(ctx)
		if err == nil {
			cmd.Files = append([]*os.File{ns.runRoot}, cmd.Files...)
			err = s.host.Runner.Run(ctx, cmd)
		}
		done <- err
	}()
	return <-done
}

// podman returns the command line that runs podman with args, with the caller's environment
// so changed.
func (h Host) podman(change EnvChange, args ...string) (Cmd, error) {
	podman, err := FindPodman(h.Env, h.Self)
	if err != nil {
		return Cmd{}, err
	}
	return Cmd{Path: podman[0], Args: append(podman, args...), Env: change.apply(h.Env), Podman: true}, nil
}

// DefaultPodman returns the command line that runs podman with args on the store
// it uses by itself, with the caller's own environment.
func (h Host) DefaultPodman(args ...string) (Cmd, error) {
	return h.podman(h.plainChange(), args...)
}

// plainChange is what plain podman gets.
func (h Host) plainChange() (c EnvChange) {
	// Variables that select another host do not change which store of this host is podman's.
	c.Unset = remote()
	// The same in the namespace of the bootc-owned store, whose configuration and credentials
	// are in the environment.
	if storageconf.IsPrivateConf(Getenv(h.Env, envStorageConf)) {
		c.Unset = append(c.Unset, envStorageConf, envAuthFile)
	}
	c.addHome(h.Env)
	return c
}

// envWords are the arguments of env(1) that make an environment out of the caller's.
func (s *Session) envWords(env []string) []string {
	for _, change := range []EnvChange{s.podmanChange(), s.Change} {
		own := change.apply(s.host.Env)
		if n := len(own); len(env) >= n && slices.Equal(env[:n], own) {
			return append(change.words(), env[n:]...)
		}
	}
	if slices.Equal(env, s.host.plainChange().apply(s.host.Env)) {
		return nil
	}
	return append([]string{"-i"}, env...)
}
