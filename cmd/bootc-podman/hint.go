// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/removal"
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

// step returns what to do after an error, "" if it is not about that error.
type step func(err error) string

// is is a step after any of these errors.
func is(text string, targets ...error) step {
	return func(err error) string {
		if slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) }) {
			return text
		}
		return ""
	}
}

// as is a step after errors of a type.
func as[T error](text func(T) string) step {
	return func(err error) string {
		if target, ok := errors.AsType[T](err); ok {
			return text(target)
		}
		return ""
	}
}

// nextStep returns the first step that is about the error.
func nextStep(err error, words []string) string {
	for _, step := range slices.Concat(commandSteps(), storeSteps(words), transferSteps(), systemSteps()) {
		if text := step(err); text != "" {
			return text
		}
	}
	return ""
}

// commandSteps are about commands that cannot run as they were given.
func commandSteps() []step {
	return []step{
		as(func(ignored *inventory.IgnoredError) string {
			return readStore(ignored) + "; --skip-upgrade-check brings the image all the same"
		}),
		as(neededHint),
		as(func(*removal.UnknownError) string {
			return "--force-in-use goes on although the host may need what is removed"
		}),
		as(func(run *wrapper.ContainerError) string {
			if command, ok := strings.CutSuffix(run.Command, " run"); ok && command != "podman pod" {
				return "bootc-podman run ... runs images of this store in podman's own"
			}
			return run.Command + " ... without exec, with CONTAINERS_STORAGE_CONF naming what \"bootc-podman storage-conf --apps\" prints"
		}),
		as(func(login *wrapper.LoginError) string {
			return fmt.Sprintf("%s --authfile %s ... without exec", login.Command, wrapper.Quote(login.File))
		}),
		is("save and load it: bootc-podman image save IMAGE | sudo -u USER podman load", wrapper.ErrScp),
		is("\"bootc-podman image rm\" removes single images; for all, answer y on standard input", errNotConfirmed),
		is("run it as root, for example with sudo", wrapper.ErrNotRoot),
		is("grant CAP_SYS_ADMIN, which a unit's CapabilityBoundingSet= or an unprivileged container takes away", wrapper.ErrNotPrivileged),
		is("run it on the bootc host itself, or name a host's root with --sysroot", wrapper.ErrContainer, inventory.ErrNotOnHost),
	}
}

// neededHint returns how to go on with a removal that the host would suffer from.
func neededHint(err *removal.NeededError) string {
	switch {
	case err.Verb == removal.Prune, err.Verb == removal.SystemPrune:
		return "\"bootc-podman image prune\" keeps these images; --force-in-use, after the command, prunes them, too"
	case err.Verb == removal.Untag, err.Verb == removal.Tag:
		return "--force-in-use takes the name away all the same"
	case err.Parent:
		return "--no-prune keeps parents without a name; --force-in-use removes them, too"
	}
	return "--force-in-use removes it all the same"
}

// storeSteps are about hosts, their bootc-owned store and their configuration. words are
// the global options as they were given.
func storeSteps(words []string) []step {
	self := wrapper.Quote(append([]string{"bootc-podman"}, words...)...)
	return []step{
		is(fmt.Sprintf("%q makes an empty one; so does %q", self+" init", self+" image pull"), storageconf.ErrNoStore),
		is("name the root of a bootc host with --sysroot", storageconf.ErrNotBootcHost),
		as(func(readOnly *wrapper.ReadOnlyError) string {
			if readOnly.Medium {
				return "install the host first, or name another with --sysroot: a read-only medium keeps no images"
			}
			return fmt.Sprintf("mount -o remount,rw %s, once it is clear why the host mounted it read-only", wrapper.Quote(readOnly.Mountpoint))
		}),
		as(func(mismatch *storageconf.MismatchError) string {
			return moveAside(mismatch.Database) + ", if the store has no containers, which are all that the database describes: " +
				"another tool opened the store by another path first"
		}),
		is("any podman command line runs on the bootc-owned store with \"bootc-podman exec -- podman ...\"; for another store call podman itself", wrapper.ErrOtherStore),
		is("restore what the link points to, or remove the link", storageconf.ErrDangling),
		func(err error) string {
			if errors.Is(err, storageconf.ErrSysroot) && errors.Is(err, fs.ErrNotExist) {
				return "--sysroot names the root directory of a host, or its physical root"
			}
			return ""
		},
		is("name a file as \"podman login --authfile\" writes it, with --authfile", storageconf.ErrCredentials),
		as(func(conf *storageconf.ConfError) string {
			if errors.Is(conf, fs.ErrPermission) {
				return ""
			}
			return "fix that file, or move it aside: podman fails on it, too"
		}),
		is("--program names the path of bootc-podman there, /usr/bin/bootc-podman for one", setup.ErrNoProgram, setup.ErrOtherProgram),
		is("ls -ld "+wrapper.Quote(filepath.Dir(storageconf.ConfPath))+" shows who made it; remove it as root", wrapper.ErrStateDir),
		is("in a chroot, bind-mount the new root on itself before entering it", wrapper.ErrChroot),
	}
}

// transferSteps are about images, and about moving them.
func transferSteps() []step {
	return []step{
		as(func(lock *hooks.LockError) string {
			if !errors.Is(lock, cstorage.ErrNotFound) {
				return ""
			}
			return "\"bootc-podman bound fetch\" brings bound images that are missing"
		}),
		as(func(layered *plan.LayeredError) string {
			return wrapper.Quote("bootc-podman", "copy-to-storage", "--source", layered.Base.String()) + " copies the image without these packages"
		}),
		is("\"bootc-podman bound list\" prints the bound images, as their units spell them", bound.ErrNotBound),
		as(func(*clonejob.NoProgramError) string {
			return "install bootc-podman as a whole: \"make install\" and packages bring this program, too"
		}),
		is("without --no-wait, it waits for the other to end", transfer.ErrBusy),
		as(func(origin *plan.OriginError) string {
			if !errors.Is(origin, cstorage.ErrUnreadable) {
				return ""
			}
			return "bootc switch with a name that podman reads, such as registry.example/os:1, lets the deployment follow it"
		}),
		as(func(space *transfer.SpaceError) string {
			if errors.Is(space, transfer.ErrNoSpace) {
				return fmt.Sprintf("make room on %s, or try without this check with --force", wrapper.Quote(space.Mountpoint))
			}
			return "make room on " + wrapper.Quote(space.Mountpoint)
		}),
		as((*plan.DamagedError).Advice),
		is("remove the images that have this layer, with \"bootc-podman image rm\" or, from podman's own store, with \"podman image rm\"; then run this again", clonejob.ErrDamaged),
		as(func(*differError) string { return damagedStoreHint }),
		is("--accept-newer takes another image of the same name", plan.ErrMovedOn),
		is("give it one in podman's own store: podman tag IMAGE NAME:TAG", transfer.ErrNoTag),
		is("\"bootc-podman list --all-stores\" shows the images of this host", cstorage.ErrNotFound),
		is("\"bootc-podman image rm\" removes an image that nothing needs", transfer.ErrNotOnboarded),
		is("\"bootc-podman list\" shows what needs it", transfer.ErrNeeded),
	}
}

// systemSteps are about what is left: programs, rights and usage.
func systemSteps() []step {
	return []step{
		as(func(lookup *wrapper.LookupError) string {
			if lookup.Code == wrapper.ExitNotExecutable {
				return notExecutable(lookup)
			}
			return ""
		}),
		is("root may be needed", fs.ErrPermission),
		is("\"bootc-podman list --all-stores\" shows the images of this host", inventory.ErrNotKnown),
		as(func(lookup *wrapper.LookupError) string {
			if !lookup.Podman || lookup.Code != wrapper.ExitNotFound {
				return ""
			}
			return fmt.Sprintf("install podman, or name it with $%s", wrapper.EnvPodman)
		}),
		is(helpAdvice("exec"), errMisplaced),
		as((*unknownCommandError).advice),
		as(func(exit *exitError) string { return exit.advice }),
	}
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
