// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package bound

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ini"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// Fetch brings the images bound to deployments into the bootc-owned store that are not there,
// or damaged there: see transfer.Fetch. Unlike bootc, it takes the credentials that AuthFile of
// a unit names. It returns how many images are bound. A unit that bootc cannot read is an
// error; the images of the others are fetched all the same.
func Fetch(ctx context.Context, o transfer.Options, which Which, from plan.Source, jobs int) (n int, err error) {
	wanted, failed := wantedBy(o, which)
	if len(wanted) > 0 {
		failed = append(failed, transfer.Fetch(ctx, o, wanted, from, jobs))
	}
	return len(wanted), errors.Join(failed...)
}

// Outdated compares the images bound to deployments with their registries, jobs of them at a
// time: see transfer.Compare. The problems are units and deployments that cannot be read.
func Outdated(ctx context.Context, o transfer.Options, which Which, jobs int) (list []*transfer.Compared, problems []error, err error) {
	wanted, problems := wantedBy(o, which)
	list, err = transfer.Compare(ctx, o, wanted, jobs)
	return list, problems, err
}

// ErrNotBound reports that no deployment has an image bound.
var ErrNotBound = errors.New("no deployment has it bound")

// Refresh brings bound images again that their registries have replaced, all or those of the
// given names: see transfer.Refresh. The error is ErrNotBound for another name.
func Refresh(ctx context.Context, o transfer.Options, which Which, names []string, jobs int) ([]transfer.Refreshed, error) {
	wanted, problems := wantedBy(o, which)
	if len(names) > 0 {
		all := wanted
		wanted = nil
		for _, name := range names {
			i := slices.IndexFunc(all, func(w transfer.Wanted) bool { return w.Name == name })
			if i < 0 {
				return nil, errors.Join(append(problems, fmt.Errorf("refresh image %q: %w", name, ErrNotBound))...)
			}
			wanted = append(wanted, all[i])
		}
		problems = nil // those are of other images
	}
	if len(wanted) == 0 {
		return nil, errors.Join(problems...)
	}
	list, err := transfer.Refresh(ctx, o, wanted, jobs, time.Now())
	return list, errors.Join(append(problems, err)...)
}

// wantedBy returns the images bound to deployments, each once.
func wantedBy(o transfer.Options, which Which) (wanted []transfer.Wanted, failed []error) {
	h, problems := host.ReadSysroot(o.Sysroot)
	if h == nil {
		return nil, problems
	}
	failed = problems
	for _, d := range h.Deployments {
		if which != All && Which(d.Role) != which {
			continue
		}
		roots, err := rootsOf(o, d)
		if err != nil && (which != All || !errors.Is(err, host.ErrNoRoot)) {
			failed = append(failed, fmt.Errorf("%s deployment %s: %w", d.Role, d.ID(), err))
		}
		for _, root := range roots {
			list, problems := wantedIn(o, root)
			root.Close()
			for _, err := range problems {
				failed = append(failed, fmt.Errorf("%s deployment %s: %w", d.Role, d.ID(), err))
			}
			for _, w := range list {
				if !slices.ContainsFunc(wanted, func(have transfer.Wanted) bool { return have.Name == w.Name }) {
					wanted = append(wanted, w)
				}
			}
		}
	}
	return wanted, failed
}

// rootsOf opens the root directories that bind images to a deployment: its own and, if it is
// booted, the running one, which need not be as it was made.
func rootsOf(o transfer.Options, d host.Deployment) (roots []*os.File, err error) {
	root, err := o.Sysroot.OpenRoot(d)
	if err == nil {
		roots = append(roots, root)
	}
	if d.Role == host.Booted && o.Sysroot.Running != "" {
		running, runErr := os.Open(o.Sysroot.Running)
		if runErr != nil {
			return roots, errors.Join(err, runErr)
		}
		roots = append(roots, running)
	}
	return roots, err
}

// wantedIn returns the images that the units of a root name.
func wantedIn(o transfer.Options, root *os.File) (wanted []transfer.Wanted, failed []error) {
	units, err := host.BoundUnits(root)
	if err != nil {
		failed = append(failed, err)
	}
	for _, u := range units {
		if u.Err != nil && !errors.Is(u.Err, host.ErrAuthFile) {
			failed = append(failed, fmt.Errorf("read %q: %w", filepath.Join(host.BoundImagesDir, u.Unit), u.Err))
			continue
		}
		wanted = append(wanted, transfer.Wanted{Name: u.Image, AuthFile: authFile(o, root, u)})
	}
	return wanted, failed
}

// authFile returns the file of credentials that a unit names, "" for none: the one of the
// running host, else that of the deployment, whose etc is in usr/etc before it is booted.
func authFile(o transfer.Options, root *os.File, u host.BoundUnit) string {
	unit, err := ini.ParseTini(u.Data)
	path := unit[u.Section]["AuthFile"]
	if err != nil || path == "" {
		return ""
	}
	running := filepath.Join("/", o.Sysroot.Running, path)
	if _, err := os.Stat(running); err == nil && o.Sysroot.Running != "" {
		return running
	}
	for _, below := range []string{path, "usr" + path} {
		if strings.HasPrefix(path, "/") && rooted.Exists(root, below) {
			return filepath.Join(root.Name(), below)
		}
	}
	return running
}
