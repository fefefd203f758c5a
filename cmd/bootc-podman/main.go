// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command bootc-podman is podman for the bootc-owned containers-storage.
package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func main() {
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	env := os.Environ()
	// The storage library also reads the user's own storage.conf. Under sudo that
	// may be another user's, who could name a mount_program for root to run; and
	// with a relative XDG_CONFIG_HOME it would be one in the working directory.
	_ = os.Setenv("XDG_CONFIG_HOME", configHome()) // fails for an invalid name only
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: env, euid: os.Geteuid(), self: self, root: "/", confPath: storageconf.ConfPath,
		execer: wrapper.System{}, runner: wrapper.System{}, journal: toJournal,
	}
	os.Exit(a.run(context.Background(), os.Args))
}

// configHome is the user's configuration directory if it is really that user's
// and nobody else can write to it, else one that does not exist.
func configHome() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(os.Getenv("HOME"), ".config")
	}
	const none = "/proc/none"
	// A link could lead elsewhere by the time the file is read.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil || !filepath.IsAbs(dir) {
		return none
	}
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode()&0o002 != 0 { // /tmp is root's too
		return none
	}
	if owner, ok := fi.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
		return none
	}
	return dir
}

// toJournal writes a record to the journal, if there is one.
func toJournal(message string, fields map[string]string) {
	fields["SYSLOG_IDENTIFIER"] = "bootc-podman"
	_ = journal.Send(message, journal.PriInfo, fields) // what it tells was done all the same
}
