// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// hint returns the next step after an error, "" where there is none. words are the global
// options as they were given.
func hint(err error, words []string) string {
	step := nextStep(err, words)
	if !errors.As(err, new(problems)) {
		return step
	}
	if step != "" {
		step += "; "
	}
	return step + "--lenient makes this a warning"
}

func nextStep(err error, words []string) string {
	var (
		lookup   *wrapper.LookupError
		readOnly *wrapper.ReadOnlyError
		mismatch *storageconf.MismatchError
		exit     *exitError
		conf     *storageconf.ConfError
		damaged  *plan.DamagedError
		ignored  *inventory.IgnoredError
		run      *wrapper.ContainerError
		login    *wrapper.LoginError
		space    *transfer.SpaceError
	)
	switch {
	case errors.As(err, &ignored):
		return readStore(ignored) + "; --skip-upgrade-check brings the image all the same"
	case errors.As(err, &run):
		return "podman --storage-opt additionalimagestore=" + wrapper.Quote(run.Store) + strings.TrimPrefix(run.Command, "podman") +
			" ... without exec runs images of this store from podman's own"
	case errors.As(err, &login):
		return fmt.Sprintf("%s --authfile %s ... without exec", login.Command, wrapper.Quote(login.File))
	case errors.Is(err, wrapper.ErrScp):
		return "save and load it: bootc-podman image save IMAGE | sudo -u USER podman load"
	case errors.Is(err, errNotConfirmed):
		return "\"bootc-podman image rm\" removes single images; for all, answer y on standard input"
	case errors.Is(err, wrapper.ErrNotRoot):
		return "run it as root, for example with sudo"
	case errors.Is(err, wrapper.ErrNotPrivileged):
		return "grant CAP_SYS_ADMIN, which a unit's CapabilityBoundingSet= or an unprivileged container takes away"
	case errors.Is(err, wrapper.ErrContainer), errors.Is(err, inventory.ErrNotOnHost):
		return "run it on the bootc host itself, or name a host's root with --sysroot"
	case errors.Is(err, storageconf.ErrNoStore):
		self := wrapper.Quote(append([]string{"bootc-podman"}, words...)...)
		return fmt.Sprintf("%q makes an empty one; so does %q", self+" init", self+" image pull")
	case errors.Is(err, storageconf.ErrNotBootcHost):
		return "name the root of a bootc host with --sysroot"
	case errors.As(err, &readOnly) && readOnly.Medium:
		return "install the host first, or name another with --sysroot: a read-only medium keeps no images"
	case errors.As(err, &readOnly):
		return fmt.Sprintf("mount -o remount,rw %s, once it is clear why the host mounted it read-only", wrapper.Quote(readOnly.Mountpoint))
	case errors.As(err, &mismatch):
		return moveAside(mismatch.Database) + ", if the store has no containers, which are all that the database describes: " +
			"another tool opened the store by another path first"
	case errors.Is(err, wrapper.ErrOtherStore):
		return "any podman command line runs on the bootc-owned store with \"bootc-podman exec -- podman ...\"; for another store call podman itself"
	case errors.Is(err, storageconf.ErrDangling):
		return "restore what the link points to, or remove the link"
	case errors.Is(err, storageconf.ErrSysroot) && errors.Is(err, fs.ErrNotExist):
		return "--sysroot names the root directory of a host, or its physical root"
	case errors.Is(err, storageconf.ErrCredentials):
		return "name a file as \"podman login --authfile\" writes it, with --authfile"
	case errors.As(err, &conf) && !errors.Is(err, fs.ErrPermission):
		return "fix that file, or move it aside: podman fails on it, too"
	case errors.Is(err, setup.ErrNoProgram), errors.Is(err, setup.ErrOtherProgram):
		return "--program names the path of bootc-podman there, /usr/bin/bootc-podman for one"
	case errors.Is(err, wrapper.ErrStateDir):
		return "ls -ld " + wrapper.Quote(filepath.Dir(storageconf.ConfPath)) + " shows who made it; remove it as root"
	case errors.Is(err, wrapper.ErrChroot):
		return "in a chroot, bind-mount the new root on itself before entering it"
	case errors.Is(err, transfer.ErrBusy):
		return "without --no-wait, it waits for the other to end"
	case errors.As(err, new(*plan.OriginError)) && errors.Is(err, cstorage.ErrUnreadable):
		return "bootc switch with a name that podman reads, such as registry.example/os:1, lets the deployment follow it"
	case errors.As(err, &space) && errors.Is(err, transfer.ErrNoSpace):
		return fmt.Sprintf("make room on %s, or try without this check with --force", wrapper.Quote(space.Mountpoint))
	case errors.As(err, &space):
		return "make room on " + wrapper.Quote(space.Mountpoint)
	case errors.As(err, &damaged):
		return damaged.Advice()
	case errors.Is(err, clonejob.ErrDamaged):
		return "remove the images that have this layer, with \"bootc-podman image rm\" or, from podman's own store, with \"podman image rm\"; then run this again"
	case errors.As(err, new(*differError)):
		return damagedStoreHint
	case errors.Is(err, plan.ErrMovedOn):
		return "--accept-newer takes another image of the same name"
	case errors.Is(err, transfer.ErrNoTag):
		return "give it one in podman's own store: podman tag IMAGE NAME:TAG"
	case errors.Is(err, cstorage.ErrNotFound):
		return "\"bootc-podman list --all-stores\" shows the images of this host"
	case errors.Is(err, transfer.ErrNotOnboarded):
		return "\"bootc-podman image rm\" removes any image"
	case errors.Is(err, transfer.ErrNeeded):
		return "\"bootc-podman list\" shows what needs it"
	case errors.As(err, &lookup) && lookup.Code == wrapper.ExitNotExecutable:
		return notExecutable(lookup)
	case errors.Is(err, fs.ErrPermission):
		return "root may be needed"
	case errors.As(err, &lookup) && lookup.Podman && lookup.Code == wrapper.ExitNotFound:
		return fmt.Sprintf("install podman, or name it with $%s", wrapper.EnvPodman)
	case errors.Is(err, errMisplaced):
		return helpAdvice("exec")
	case errors.Is(err, errUnknownCommand):
		return unknownCommandHint(err)
	case errors.As(err, &exit):
		return exit.advice
	}
	return ""
}

// readStore returns what makes skopeo read the bootc store.
func readStore(err *inventory.IgnoredError) string {
	switch {
	case errors.Is(err, storageconf.ErrNoConf):
		return fmt.Sprintf("printf '%s' >%s", strings.ReplaceAll(storageconf.MinimalConf, "\n", `\n`), storageconf.AdminConf)
	case errors.As(err, new(*storageconf.DriverError)):
		return fmt.Sprintf("set driver = \"overlay\" in %s", storageconf.AdminConf)
	}
	return "fix storage.conf"
}

// moveAside returns the command line that renames a file, also where /sysroot is mounted
// read-only.
func moveAside(file string) string {
	mv := "mv " + wrapper.Quote(file, file+".bak")
	mountpoint := wrapper.ReadOnlyMount(file)
	if mountpoint == "" {
		return mv
	}
	return "unshare --mount sh -c " + wrapper.Quote("mount -o remount,bind,rw "+wrapper.Quote(mountpoint)+" && "+mv)
}

// notExecutable returns what to do about a program that cannot be executed.
func notExecutable(lookup *wrapper.LookupError) string {
	var steps []string
	switch {
	case errors.Is(lookup, fs.ErrPermission):
		steps = []string{"make it executable, with chmod +x, if it is a program"}
	case errors.Is(lookup, syscall.ENOEXEC):
		steps = []string{"it is no program for this machine, or a script without #! in its first line"}
	}
	if lookup.Podman {
		steps = append(steps, fmt.Sprintf("name podman itself with $%s", wrapper.EnvPodman))
	}
	return strings.Join(steps, "; ")
}

func unknownCommandHint(err error) string {
	_, word, _ := strings.Cut(err.Error(), `"`)
	if word = strings.TrimSuffix(word, `"`); isPodmanImageCommand(word) {
		return fmt.Sprintf("did you mean \"bootc-podman image %s\"?", word)
	}
	return `"bootc-podman help" lists the commands; podman's others are not for this store`
}
