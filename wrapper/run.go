// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"os"
	"slices"
)

// Run runs cmd inside the store's namespace and waits for it. A missing store is
// made. The error is an *ExitError when the program fails. After a Run that made
// the store, its driver is known to a new session only.
func (s *Session) Run(ctx context.Context, cmd Cmd) error {
	if s.host.DryRun != nil {
		change := s.Change
		own := change.apply(s.host.Env)
		if n := len(own); len(cmd.Env) >= n && slices.Equal(cmd.Env[:n], own) {
			change.Set = append(slices.Clone(change.Set), cmd.Env[n:]...)
		} else {
			change = EnvChange{} // plain podman's
		}
		return s.explainRun(s.Store.Path(), change, cmd)
	}
	done := make(chan error, 1)
	// The thread that enters the namespace ends with its goroutine.
	go func() {
		ns, err := s.enter(ctx)
		if err == nil {
			if ns.runRoot != nil {
				cmd.Files = append([]*os.File{ns.runRoot}, cmd.Files...)
			}
			err = s.host.Runner.Run(ctx, cmd)
		}
		done <- err
	}()
	return <-done
}

// DefaultPodman returns the command line that runs podman with args on the store
// it uses by itself, with the caller's own environment.
func (h Host) DefaultPodman(args ...string) (Cmd, error) {
	podman, err := FindPodman(h.Env, h.Self)
	if err != nil {
		return Cmd{}, err
	}
	// Where podman is told to use another host's, its own store is still this one's.
	env := EnvChange{Unset: remote()}.apply(h.Env)
	if Getenv(env, "HOME") == "" {
		env = append(env, "HOME=/root")
	}
	return Cmd{Path: podman[0], Args: append(podman, args...), Env: env}, nil
}
