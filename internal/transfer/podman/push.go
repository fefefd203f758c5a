// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// PushIn copies an image of podman's own store to the bootc-owned one, in the words of
// bootc (crates/lib/src/podstorage.rs). bytes are those of the layers that are copied, 0
// when not known.
func (s *Store) PushIn(ctx context.Context, name, as string, bytes int64) error {
	cmd, err := s.DefaultPodman("image", "push", "--remove-signatures", "--", name,
		fmt.Sprintf("containers-storage:[%s@%s+%s]%s", s.Session.Config.Driver, storageconf.GraphRoot, storageconf.RunRoot, as))
	if err != nil {
		return err
	}
	return s.push(ctx, cmd, as, bytes)
}

// PushOut copies an image of the bootc-owned store to podman's own, which own names as
// OwnTransport does.
func (s *Store) PushOut(ctx context.Context, id, own, as string, bytes int64) error {
	cmd, err := s.Podman(ctx, "image", "push", "--remove-signatures", "--", id, "containers-storage:"+own+as)
	if err != nil {
		return err
	}
	return s.push(ctx, cmd, as, bytes)
}

// push runs a podman that copies an image, and reports how the layers grow that it
// puts into temporary files, where they are whole before they are stored.
func (s *Store) push(ctx context.Context, cmd wrapper.Cmd, as string, bytes int64) error {
	cmd.Stderr = s.Stderr
	if s.DryRun != nil {
		return s.start(ctx, cmd)
	}
	job := s.Progress.Transfer(progress.Task{Name: "copying", Description: "Copying " + as, ID: as, Bytes: bytes})
	defer job.Stop()
	var most int64
	err := s.spooled(ctx, cmd, func(cmd wrapper.Cmd) error {
		defer watchBlobs(ctx, wrapper.Getenv(cmd.Env, "TMPDIR"), func(files map[string]int64) {
			most = max(most, min(sum(files), cmp.Or(bytes, math.MaxInt64)))
			job.Set(most)
		})()
		return s.start(ctx, cmd)
	})
	if err == nil {
		job.Set(cmp.Or(bytes, most))
		job.Done()
	}
	return err
}

// OwnTransport names podman's own store for containers-transports(5). It runs podman,
// which makes the store if it is missing: podman takes one that another program made for
// that of an older podman. made reports that it is not missing.
func (h *Host) OwnTransport(ctx context.Context, made bool) (string, error) {
	if h.DryRun != nil && !made {
		paths, err := storageconf.DefaultStores(h.Root, h.Euid)
		if err != nil {
			return "", err
		}
		return "[" + paths[0] + "]", nil
	}
	if h.DryRun != nil { // podman would lock its store to answer
		own, err := storageconf.ReadDefaultStore(h.Root)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("[%s@%s+%s]", own.Driver, own.GraphRoot, own.RunRoot), nil
	}
	cmd, err := h.DefaultPodman("system", "info", "--format", "[{{.Store.GraphDriverName}}@{{.Store.GraphRoot}}+{{.Store.RunRoot}}]")
	if err != nil {
		return "", err
	}
	out, err := h.Runner.Output(ctx, cmd)
	return strings.TrimSpace(string(out)), err
}

// MakeOwn has podman make its own store, see OwnTransport.
func (s *Store) MakeOwn(ctx context.Context) error {
	cmd, err := s.DefaultPodman("system", "info", "--format", "{{.Store.GraphRoot}}")
	if err != nil {
		return err
	}
	cmd.Stderr = s.Stderr
	return s.Run(ctx, cmd)
}

// BootcExport has bootc export the image of a composefs deployment to podman's own store.
func (s *Store) BootcExport(ctx context.Context, source, target string) error {
	bootc, err := wrapper.LookPath("bootc", s.Env)
	if err != nil {
		return err
	}
	args := []string{"bootc", "image", "copy-to-storage", "--source", source, "--target", strings.TrimSuffix(target, ":latest")}
	return s.Run(ctx, wrapper.Cmd{Path: bootc, Args: args, Env: s.Env, Stderr: s.Stderr})
}
