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
	// Without a root podman would complete the images of its own store.
	cmd, err := h.podman(dropped(h.Env), append([]string{podmanComplete, "--root", noStore, "--runroot", noStore}, args...)...)
	if err != nil {
		return nil, err
	}
	return h.Runner.Output(ctx, cmd)
}

func (h Host) completeInStore(ctx context.Context, args []string) ([]byte, error) {
	s, err := h.Open()
	if err != nil {
		return nil, err
	}
	if !s.Store.Exists {
		return nil, fmt.Errorf("open %q: %w", s.Store.Path(), storageconf.ErrNoStore)
	}
	cmd, err := s.completionCmd(args)
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

// completionCmd is Podman with the private storage.conf: podman does not apply every option
// before it completes.
func (s *Session) completionCmd(args []string) (Cmd, error) {
	return s.host.podman(s.Change, slices.Concat([]string{podmanComplete}, s.Config.Flags(), args)...)
}
