// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"slices"

	"github.com/sirupsen/logrus"
)

// BecomePodman makes this process podman with the given global options and
// then args, which start with "image" or "images", on the bootc-owned store. It
// returns only on failure, or after a dry run. A missing store is made for a
// command that can put an image into it and is storageconf.ErrNoStore for any
// other; help needs neither store nor root. An option that names another store is
// ErrOtherStore, a copy between the users of this host ErrScp.
func (h Host) BecomePodman(ctx context.Context, options, args []string) error {
	verb, rest := args[0], args[1:]
	help, err := inspectPassthrough(args)
	if err != nil {
		return err
	}
	if help {
		return h.becomeHelp(args)
	}
	if err := refuseScp(readProgram(append([]string{"podman"}, args...))); err != nil {
		return err
	}
	s, err := h.Open()
	if err != nil {
		return err
	}
	if !s.Store.Exists && verb == "image" && bringsImage(rest) {
		if s, err = s.createFirst(ctx); err != nil {
			return err
		}
	}
	cmd, err := s.Podman(ctx, append(slices.Clone(options), args...)...)
	if err != nil {
		return err
	}
	return s.Become(ctx, cmd)
}

// createFirst makes the missing store and opens it again, as the driver that podman chose
// is known only then.
func (s *Session) createFirst(ctx context.Context) (*Session, error) {
	if _, err := s.Create(ctx); err != nil {
		return s, err
	}
	if s.host.DryRun != nil {
		return s, nil
	}
	return s.host.Open()
}

func (h Host) becomeHelp(args []string) error {
	change := dropped(h.Env)
	cmd, err := h.podman(change, args...)
	if err != nil {
		return err
	}
	if h.DryRun != nil {
		return Explain(h.DryRun, cmd, change.words()...)
	}
	return h.Execer.Exec(cmd)
}

// inspectPassthrough is inspectArguments for "image" or "images" and what follows.
func inspectPassthrough(args []string) (help bool, err error) {
	if args[0] == "images" {
		return inspectArguments(append([]string{"list"}, args[1:]...))
	}
	return inspectArguments(args[1:])
}

// BecomeProgram makes this process the program argv[0], found in PATH, inside
// the namespace of the store, which must exist. It returns only on failure, or
// after a dry run. For commands that cannot work there, the error is a *ContainerError, a
// *LoginError or ErrScp.
func (h Host) BecomeProgram(ctx context.Context, argv []string) error {
	s, err := h.Open()
	if err != nil {
		return err
	}
	if err := s.refuse(argv); err != nil {
		return err
	}
	cmd, err := s.Program(argv...)
	if err != nil {
		return err
	}
	if s.Store.Exists && s.host.DryRun == nil {
		if err := s.ensureDatabase(ctx); err != nil {
			logrus.Debugf("Leaving podman's database: %v", err)
		}
	}
	return s.Become(ctx, cmd)
}

// bringsImage reports whether the arguments of "podman image" are of a command
// that can put an image into an empty store. Only these make a missing store: commands
// that list or remove do not need one. A command after options does not make it either, as
// it could be the value of an option.
func bringsImage(args []string) bool {
	return len(args) > 0 && slices.Contains([]string{"build", "import", "load", "pull", "scp"}, args[0])
}
