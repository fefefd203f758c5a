// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command bootc-podman is podman for the bootc-owned containers-storage.
package main

import (
	"context"
	"io/fs"
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
	// may be another user's, who could name an image store for root to write to; and
	// with a relative XDG_CONFIG_HOME it would be one in the working directory.
	if dir := configHome(); dir != "" {
		_ = os.Setenv("XDG_CONFIG_HOME", dir) // fails for an invalid name only
	}
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: env, euid: os.Geteuid(), self: self, root: "/", confPath: storageconf.ConfPath,
		execer: wrapper.System{}, runner: wrapper.System{}, journal: toJournal,
	}
	os.Exit(a.run(context.Background(), os.Args))
}

// configHome returns the configuration directory to set: that of the user with links
// resolved if it is really that user's and no other user can write it, else one that does
// not exist. It returns "" to leave XDG_CONFIG_HOME unset, which some podmans take for no
// user's configuration at all, where the one in the home directory can be trusted.
func configHome() string {
	const none = "/proc/none"
	dir, set := os.LookupEnv("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(os.Getenv("HOME"), ".config")
	}
	// A link could lead elsewhere by the time the file is read.
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil || !filepath.IsAbs(resolved) || !ownDir(resolved, 0o002) { // /tmp is root's too
		return none
	}
	if set {
		return resolved
	}
	if resolved != dir && !ownDir(filepath.Dir(dir), 0o022) {
		return none
	}
	return ""
}

// ownDir reports whether a directory is this user's and has none of these permissions.
func ownDir(dir string, forbidden fs.FileMode) bool {
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode()&forbidden != 0 {
		return false
	}
	owner, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}

// toJournal writes a record to the journal, if there is one.
func toJournal(message string, fields map[string]string) {
	fields["SYSLOG_IDENTIFIER"] = "bootc-podman"
	_ = journal.Send(message, journal.PriInfo, fields) // what it tells was done all the same
}
