// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package bootctool is bootc's external container tool: the program that bootc runs in place
// of podman and skopeo. It clones the image that bootc copies from podman's own store to the
// bootc-owned one, and becomes the real program for all else.
package bootctool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Tool is a process that bootc started as its tool. Its mount namespace and its descriptors
// are those that bootc made for podman.
type Tool struct {
	Host wrapper.Host
	// Args is the argument vector.
	Args   []string
	Stderr io.Writer
	// Journal writes a record to the system's journal; nil does not.
	Journal func(message string, fields map[string]string)
}

// SignalError is the end of a clone by a signal. The process is to end by it, too.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return fmt.Sprintf("clone: %s", e.Signal) }

// Run clones, or becomes the real program. It returns nil after a clone, a *SignalError, or a
// *wrapper.LookupError. Any other failure is a warning: the real program does what a clone
// did not.
func (t Tool) Run(ctx context.Context) error {
	called := wrapper.ReadTool(t.Args)
	if name, ok := copied(called.Args[1:]); ok && t.Host.Euid == 0 && !t.Host.Called() {
		err := t.clone(ctx, name)
		if err == nil || errors.As(err, new(*SignalError)) {
			return err
		}
		t.warn("copy %s with podman: %v", name, err)
	}
	change, err := t.Host.Repair(called)
	if err != nil {
		t.warn("write storage.conf for skopeo: %v", err)
	}
	return t.Host.PassOn(called, change)
}

func (t Tool) warn(format string, args ...any) {
	fmt.Fprintf(t.Stderr, "Warning: %s\n", fmt.Sprintf(format, args...))
}

// destination is the bootc-owned store as bootc names it for podman: see pull_from_host_storage
// in crates/lib/src/podstorage.rs.
const destination = "containers-storage:[overlay@" + storageconf.GraphRoot + "+" + storageconf.RunRoot + "]"

// copied returns the name of the image that a command line copies to the bootc-owned store,
// if it is the one of bootc, word for word.
func copied(args []string) (name string, ok bool) {
	command := []string{"image", "push", "--remove-signatures"}
	if len(args) != len(command)+2 || !slices.Equal(args[:len(command)], command) {
		return "", false
	}
	name = args[len(command)]
	return name, name != "" && name[0] != '-' && args[len(args)-1] == destination+name
}

// clone clones an image to the store that bootc mounted.
func (t Tool) clone(ctx context.Context, name string) error {
	program, err := clonejob.FindProgram(t.Host.Self)
	if err != nil {
		return err
	}
	runRoot, err := openStore()
	if err != nil {
		return err
	}
	defer runRoot.Close()
	job, err := t.job(name)
	if err != nil {
		return err
	}
	run := func(ctx context.Context, cmd wrapper.Cmd) error {
		cmd.Files = []*os.File{runRoot}
		return t.Host.Runner.Run(ctx, cmd)
	}
	ctx, caught := untilSignal(ctx)
	result, err := clonejob.Run(ctx, run, program, job, t.Stderr, nil)
	if sig := caught(); sig != 0 && err != nil {
		return &SignalError{sig}
	}
	if err != nil {
		return err
	}
	if t.Journal != nil {
		t.Journal(fmt.Sprintf("Cloned %s to the bootc-owned store for bootc", job.Names[0]), map[string]string{
			"BOOTC_PODMAN_IMAGE": job.Names[0], "BOOTC_PODMAN_DIGEST": strings.Join(result.Digests[:min(1, len(result.Digests))], ""),
		})
	}
	return nil
}

// errNoStore reports that this process was not started as bootc starts podman.
var errNoStore = errors.New("no store of bootc is mounted on " + storageconf.GraphRoot)

// openStore checks that bootc has mounted a store, and returns another descriptor of the
// run root, which is number 3.
func openStore() (runRoot *os.File, err error) {
	var store, above unix.Statx_t
	for path, st := range map[string]*unix.Statx_t{storageconf.GraphRoot: &store, storageconf.GraphRoot + "/..": &above} {
		if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, st); err != nil {
			return nil, &os.PathError{Op: "statx", Path: path, Err: err}
		}
	}
	if _, err := os.Stat(storageconf.GraphRoot + "/overlay"); err != nil || store.Mnt_id == above.Mnt_id {
		return nil, errors.Join(errNoStore, err)
	}
	fd, err := unix.FcntlInt(storageconf.RunRootFD, unix.F_DUPFD_CLOEXEC, storageconf.RunRootFD+1)
	if err != nil {
		return nil, &os.PathError{Op: "duplicate", Path: storageconf.RunRoot, Err: err}
	}
	runRoot = os.NewFile(uintptr(fd), storageconf.RunRoot)
	if fi, err := runRoot.Stat(); err != nil || !fi.IsDir() {
		runRoot.Close()
		return nil, fmt.Errorf("use run root %q: %w", storageconf.RunRoot, errors.Join(err, unix.ENOTDIR))
	}
	return runRoot, nil
}

// job is the copy of an image of podman's own store that has just this name. What podman
// would find by another rule is left to podman.
func (t Tool) job(name string) (job clonejob.Job, err error) {
	full, err := fullName(name)
	if err != nil {
		return job, err
	}
	store, problems := inventory.OpenDefaultStore(t.Host.Root, t.Host.Euid)
	if store == nil {
		return job, errors.Join(append(problems, fmt.Errorf("look up image %q: %w", name, cstorage.ErrNotFound))...)
	}
	defer store.Close()
	image := store.Named(full)
	if image == nil {
		return job, fmt.Errorf("look up image %q: %w", name, cstorage.ErrNotFound)
	}
	if err := store.Damage(image); err != nil {
		return job, err
	}
	own, err := storageconf.ReadDefaultStore(t.Host.Root)
	return clonejob.Job{
		Source: clonejob.DefaultStore(own),
		// bootc names no options.
		Destination: clonejob.Store{GraphRoot: storageconf.GraphRoot, RunRoot: storageconf.RunRoot, Driver: "overlay"},
		Image:       image.ID, Names: []string{full}, Verify: clonejob.VerifyMetadata,
	}, err
}

// errShort reports a name that podman completes by its configuration, or means an ID.
var errShort = errors.New("not a full name with a registry and without a digest")

// fullName returns a name as podman stores it.
func fullName(name string) (string, error) {
	n, err := cstorage.ParseStorable(name)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(name, n.Domain+"/") || n.Domain == "" || n.Digest != "" || strings.HasPrefix(name, clonejob.Unfinished) {
		return "", fmt.Errorf("image name %q: %w", name, errShort)
	}
	return n.Stored().String(), nil
}

// untilSignal returns a context that ends with a signal that ends podman. caught returns the
// signal, 0 for none, and lets signals do again what they did before.
func untilSignal(parent context.Context) (ctx context.Context, caught func() syscall.Signal) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	go func() {
		select {
		case sig := <-signals:
			number, _ := sig.(syscall.Signal)
			cancel(&SignalError{number})
		case <-ctx.Done():
		}
	}()
	return ctx, func() syscall.Signal {
		signal.Stop(signals)
		cancel(nil)
		if end, ok := errors.AsType[*SignalError](context.Cause(ctx)); ok {
			return end.Signal
		}
		return 0
	}
}
