// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
)

// Care has the private program do something to one of the two stores of a host.
func Care(ctx context.Context, o Options, bootc bool, care clonejob.Care) (*clonejob.Result, error) {
	if !care.Check {
		unlock, err := o.lock(ctx)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	at := o.places(nil)
	defer at.close()
	to := at.own
	if bootc {
		to = at.bootc
		if err := at.openBootc(); err != nil {
			return nil, err
		}
	}
	program, err := clonejob.FindProgram(o.Host.Self)
	if err != nil {
		return nil, err
	}
	job := clonejob.Job{Names: []string{}, Verify: clonejob.VerifyNone, Care: &care}
	if job.Destination, err = to.endpoint(); err != nil {
		return nil, err
	}
	result, err := clonejob.Run(ctx, to.RunPrivate, program, job, o.Stderr, nil)
	if err != nil {
		return nil, fmt.Errorf("care for %s: %w", to.name, err)
	}
	return result, nil
}

// CheckComposefs has the private program compare the layers of the host's composefs repository
// with their diff IDs. It reads only.
func CheckComposefs(ctx context.Context, o Options) (*clonejob.Result, error) {
	program, err := clonejob.FindProgram(o.Host.Self)
	if err != nil {
		return nil, err
	}
	job := clonejob.Job{Names: []string{}, Verify: clonejob.VerifyNone, Care: &clonejob.Care{Check: true, Composefs: o.Sysroot.Dir}}
	return clonejob.Run(ctx, o.Host.Runner.Run, program, job, o.Stderr, nil)
}

// Left are the images that an interrupted transfer left in a store, by IDs and names. If a
// transfer is at work, they may be its own: see AtWork.
func Left(store *cstorage.Store) []string {
	left := lent(store)
	if store.Named(plan.ExportName) != nil {
		left = append(left, plan.ExportName)
	}
	for _, img := range store.Images {
		for _, name := range img.Names {
			if strings.HasPrefix(name, clonejob.Unfinished) {
				left = append(left, name)
			}
		}
	}
	return left
}

// LeftFiles are the directories of an interrupted transfer in its directory dir.
func LeftFiles(dir string) (paths []string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if name := entry.Name(); name == exportDir || strings.HasPrefix(name, podman.ServiceDir) || strings.HasPrefix(name, layoutDir) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// AtWork reports whether a transfer is at work whose directory is dir, by the table of locks
// in proc; see proc_locks(5).
func AtWork(dir, proc string) (bool, error) {
	var st unix.Stat_t
	err := unix.Stat(filepath.Join(dir, lockName), &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "stat", Path: filepath.Join(dir, lockName), Err: err}
	}
	table, err := os.ReadFile(filepath.Join(proc, "locks"))
	if err != nil {
		return false, err
	}
	return strings.Contains(string(table), fmt.Sprintf("%02x:%02x:%d ", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)), nil
}

// Tidy removes what an interrupted transfer left: images in both stores, and files.
func Tidy(ctx context.Context, o Options) error {
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	at := o.places(nil)
	defer at.close()
	_, err = at.tidy(ctx)
	return err
}
