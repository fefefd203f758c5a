// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func TestHint(t *testing.T) {
	podman := func(program string, code int) error {
		return &wrapper.LookupError{Program: program, Podman: true, Code: code}
	}
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{name: "no root", err: wrapper.ErrNotRoot, want: "run it as root, for example with sudo"},
		{name: "in a container", err: wrapper.ErrContainer, want: "run it on the bootc host itself, or name a host's root with --sysroot"},
		{name: "in a container, without programs", err: inventory.ErrNotOnHost, want: "run it on the bootc host itself, or name a host's root with --sysroot"},
		{name: "no store", err: storageconf.ErrNoStore, want: `"bootc-podman init" makes an empty one; so does "bootc-podman image pull"`},
		{
			name: "no storage.conf", err: fmt.Errorf("onboard: %w", &inventory.IgnoredError{Err: storageconf.ErrNoConf}),
			want: `printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' >/etc/containers/storage.conf` +
				"; --skip-upgrade-check brings the image all the same",
		},
		{
			name: "driver without additional stores", err: &inventory.IgnoredError{Err: &storageconf.DriverError{Driver: "vfs"}},
			want: `set driver = "overlay" in /etc/containers/storage.conf; --skip-upgrade-check brings the image all the same`,
		},
		{
			name: "storage.conf that cannot be read", err: &inventory.IgnoredError{Err: fs.ErrPermission},
			want: "fix storage.conf; --skip-upgrade-check brings the image all the same",
		},
		{name: "no bootc host", err: storageconf.ErrNotBootcHost, want: "name the root of a bootc host with --sysroot"},
		{
			name: "root that may not mount", err: wrapper.ErrNotPrivileged,
			want: "grant CAP_SYS_ADMIN, which a unit's CapabilityBoundingSet= or an unprivileged container takes away",
		},
		{name: "no program for hooks", err: setup.ErrNoProgram, want: "--program names the path of bootc-podman there, /usr/bin/bootc-podman for one"},
		{name: "in a chroot", err: wrapper.ErrChroot, want: "in a chroot, bind-mount the new root on itself before entering it"},
		{
			name: "mounted read-only", err: &wrapper.ReadOnlyError{Mountpoint: "/sysroot"},
			want: "mount -o remount,rw /sysroot, once it is clear why the host mounted it read-only",
		},
		{
			name: "read-only medium", err: &wrapper.ReadOnlyError{Mountpoint: "/sysroot", Medium: true},
			want: "install the host first, or name another with --sysroot: a read-only medium keeps no images",
		},
		{
			name: "another tool's database", err: &storageconf.MismatchError{Database: "/store/db.sql"},
			want: "mv /store/db.sql /store/db.sql.bak, if the store has no containers, which are all that the database describes: " +
				"another tool opened the store by another path first",
		},
		{name: "no podman", err: podman("podman", wrapper.ExitNotFound), want: "install podman, or name it with $BOOTC_PODMAN_PODMAN"},
		{name: "no podman there", err: podman("/opt/bin/podman", wrapper.ExitNotFound), want: "install podman, or name it with $BOOTC_PODMAN_PODMAN"},
		{
			name: "podman that cannot be executed", err: podman("/opt/bin/podman", wrapper.ExitNotExecutable),
			want: "name podman itself with $BOOTC_PODMAN_PODMAN",
		},
		{
			name: "a program that cannot be executed", err: &wrapper.LookupError{Program: "/x", Code: wrapper.ExitNotExecutable, Err: fs.ErrPermission},
			want: "make it executable, with chmod +x, if it is a program",
		},
		{
			name: "what is no program", err: &wrapper.LookupError{Program: "/x", Code: wrapper.ExitNotExecutable, Err: syscall.ENOEXEC},
			want: "it is no program for this machine, or a script without #! in its first line",
		},
		{name: "a storage.conf for root only", err: &storageconf.ConfError{Err: fs.ErrPermission}, want: "root may be needed"},
		{name: "moved on", err: fmt.Errorf("%w: %w", plan.ErrNoSource, plan.ErrMovedOn), want: "--accept-newer takes another image of the same name"},
		{
			name: "no private program", err: &clonejob.NoProgramError{Err: fs.ErrNotExist},
			want: "install bootc-podman as a whole: \"make install\" and packages bring this program, too",
		},
		{
			name: "a bound image to lock that is missing", err: &hooks.LockError{Err: cstorage.ErrNotFound},
			want: "\"bootc-podman bound fetch\" brings bound images that are missing",
		},
		{name: "not bound", err: bound.ErrNotBound, want: "\"bootc-podman bound list\" prints the bound images, as their units spell them"},
		{name: "no name with a tag", err: transfer.ErrNoTag, want: "give it one in podman's own store: podman tag IMAGE NAME:TAG"},
		{
			name: "will not fit", err: &transfer.SpaceError{Mountpoint: "/sysroot", Err: transfer.ErrNoSpace},
			want: "make room on /sysroot, or try without this check with --force",
		},
		{name: "did not fit", err: &transfer.SpaceError{Mountpoint: "/var", Err: clonejob.ErrNoSpace}, want: "make room on /var"},
		{name: "no source at all", err: plan.ErrNoSource},
		{name: "file for root only", err: &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrPermission}, want: "root may be needed"},
		{name: "no such program", err: &wrapper.LookupError{Program: "podman", Code: wrapper.ExitNotFound}},
		{name: "usage", err: usageErrorf("read options: bogus"), want: usageHint},
		{
			name: "unknown command", err: unknownCommand(&cli.App{}, `a "b"`),
			want: `"bootc-podman help" lists the commands; podman's others are not for this store`,
		},
		{name: "another failure", err: errors.New("disk full")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for how, err := range map[string]error{
				"as it is": tt.err, "wrapped": fmt.Errorf("open: %w", tt.err), "with an exit status": orCode(tt.err, exitFailed),
			} {
				if got := hint(err, nil); got != tt.want {
					t.Errorf("%s: got %q, want %q", how, got, tt.want)
				}
			}
		})
	}
}

// TestHintAtLenient is about errors that the option --lenient makes warnings.
func TestHintAtLenient(t *testing.T) {
	const lenient = "--lenient makes this a warning"
	for want, err := range map[string]error{
		lenient:                          problems{errors.New("damaged"), errors.New("damaged too")},
		"root may be needed; " + lenient: problems{errors.New("damaged"), fmt.Errorf("open: %w", fs.ErrPermission)},
		"":                               errors.Join(errors.New("damaged")),
	} {
		if got := hint(err, nil); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

func TestPodmanImageCommandsAreHintedAt(t *testing.T) {
	for _, command := range []string{"build", "diff", "history", "import", "load", "ls", "mount", "prune", "pull", "push", "rm", "save", "scp", "search", "sign", "tag", "tree", "trust", "umount", "unmount", "untag"} {
		stdout, stderr, code := runApp(t, command, "--help")
		failure{
			code: 2, message: fmt.Sprintf("unknown command %q", command),
			hint: fmt.Sprintf("did you mean \"bootc-podman image %s\"?", command),
		}.check(t, stdout, stderr, code)
	}
}
