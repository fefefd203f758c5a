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

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func main() {
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	env := os.Environ()
	// The storage library also reads the user's storage.conf. Under sudo this may be the
	// file of another user, who could name an image store for root to write to; with a
	// relative XDG_CONFIG_HOME it is a file in the working directory.
	if dir := configHome(); dir != "" {
		_ = os.Setenv("XDG_CONFIG_HOME", dir) // fails for an invalid name only
	}
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: env, euid: os.Geteuid(), self: self, root: "/", confPath: storageconf.ConfPath,
		execer: wrapper.System{}, runner: wrapper.System{}, journal: hooks.SystemJournal,
	}
	run := a.run
	if isTool() {
		run = a.runTool
	}
	os.Exit(run(context.Background(), os.Args))
}

// configHome returns the configuration directory to set: the user's, with links resolved,
// if this user owns it and no other user can write to it, else one that does not exist. It
// returns "" to leave XDG_CONFIG_HOME unset where the directory in the home directory can
// be trusted: some podmans ignore all user configuration where the variable is set.
func configHome() string {
	const none = "/proc/none"
	dir, set := os.LookupEnv("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(os.Getenv("HOME"), ".config")
	}
	// A link could be changed before the file is read.
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

// ownDir reports whether this user owns a directory that has no forbidden permission.
func ownDir(dir string, forbidden fs.FileMode) bool {
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode()&forbidden != 0 {
		return false
	}
	owner, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}
