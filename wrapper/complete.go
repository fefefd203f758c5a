// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

const (
	// podmanComplete is podman's hidden command for shell completion. Podman
	// looks for it in its second argument only.
	podmanComplete = "__complete"
	// noStore is a path where no store can exist or be made.
	noStore = "/proc/none"
)

// Complete asks podman to complete its command line args, which starts with
// "image" or "images" and whose last word, maybe empty, is the one being typed.
// It returns what podman's command __complete prints. Names are those of the
// bootc-owned store or, when that cannot be opened, none: podman then completes
// only what needs no store. The error is ErrOtherStore as of BecomePodman. Complete
// makes no store, and may leave the calling thread in the store's namespace.
func (h Host) Complete(ctx context.Context, args []string) ([]byte, error) {
	h.DryRun = nil // it belongs to the command that is typed
	if _, err := inspectPassthrough(args); err != nil {
		return nil, err
	}
	out, err := h.completeInStore(ctx, args)
	if err == nil {
		return out, nil
	}
	logrus.Debugf("Completing without the store: %v", err)
	podman, err := FindPodman(h.Env, h.Self)
	if err != nil {
		return nil, err
	}
	// Without it podman would complete the images of its own store.
	argv := append(podman, podmanComplete, "--root", noStore, "--runroot", noStore)
	return h.Runner.Output(ctx, Cmd{
		Path: podman[0], Args: append(argv, args...), Env: dropped(h.Env).apply(h.Env), Podman: true,
	})
}

func (h Host) completeInStore(ctx context.Context, args []string) ([]byte, error) {
	s, err := h.Open()
	if err != nil {
		return nil, err
	}
	if !s.Store.Exists {
		return nil, fmt.Errorf("open %q: %w", s.Store.Path(), storageconf.ErrNoStore)
	}
	cmd, err := s.completionCmd(ctx, args)
	if err != nil {
		return nil, err
	}
	if err := s.placeConf(cmd); err != nil {
		return nil, err
	}
	ns, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	cmd.Files = []*os.File{ns.runRoot}
	return h.Runner.Output(ctx, cmd)
}

func (s *Session) completionCmd(ctx context.Context, args []string) (Cmd, error) {
	podman, err := FindPodman(s.host.Env, s.host.Self)
	if err != nil {
		return Cmd{}, err
	}
	cmd, err := s.Podman(ctx, args...)
	if err != nil {
		return Cmd{}, err
	}
	cmd.Args = slices.Insert(cmd.Args, len(podman), podmanComplete)
	// podman does not apply every option before it completes.
	cmd.Env = s.Change.apply(s.host.Env)
	return cmd, nil
}
