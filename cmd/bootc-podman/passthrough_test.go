// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

func TestArgumentsOfAPassthroughAreNotOurs(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{name: "a command", args: []string{"image", "ls", "-a"}, want: "image ls -a"},
		{name: "images", args: []string{"images", "--quiet"}, want: "images --quiet"},
		{name: "two dashes first", args: []string{"image", "--", "x"}, want: "image -- x"},
		{name: "two dashes twice", args: []string{"image", "rm", "--", "--", "x"}, want: "image rm -- -- x"},
		{name: "our options", args: []string{"image", "--dry-run", "--sysroot", "/x", "ls"}, want: "image --dry-run --sysroot /x ls"},
		{name: "--version", args: []string{"image", "--version"}, want: "image --version"},
		{name: "help as the name of an image", args: []string{"image", "rm", "--", "--help"}, want: "image rm -- --help"},
		{name: "help as a value", args: []string{"images", "--filter", "--help"}, want: "images --filter --help"},
		{name: "the word h", args: []string{"images", "h"}, want: "images h"},
		{name: "a command of ours", args: []string{"image", "init"}, want: "image init"},
		{name: "twice the command", args: []string{"image", "image", "ls"}, want: "image image ls"},
		{name: "an empty argument", args: []string{"image", "rm", ""}, want: "image rm ''"},
		{name: "what asks other programs for completions", args: []string{"image", "ls", "--generate-bash-completion"}, want: "image ls --generate-bash-completion"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			if got := a.dryRun(t, tt.args...); !strings.HasSuffix(got, " "+tt.want) {
				t.Errorf("got %s, want it to end with %q", got, tt.want)
			}
			// An option of theirs does not make it a dry run, which would be possible
			// without root.
			stdout, stderr, code := a.onHost(t, tt.args...)
			if stdout != "" || code != 125 || !strings.Contains(stderr, wrapper.ErrNotRoot.Error()) {
				t.Errorf("without root: exit status %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

func TestPodmansHelpIsPodmans(t *testing.T) {
	for _, args := range [][]string{
		{"image"},
		{"image", "--help"},
		{"image", "-h"},
		{"image", "pull", "--help"},
		{"images", "--help"},
		{"images", "-h"},
		{"image", "trust", "show", "--help"},
		{"images", "-a", "--help"},
		{"image", "rm", "x", "--help"},
		{"images", "x", "--help"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			a := newTestApp(t)
			stdout, stderr, code := a.start(t, args...)
			if stdout != "" || stderr != "" || code != 0 {
				t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
			}
			if len(a.execer.cmds) != 1 || !slices.Equal(a.execer.cmds[0].Args[1:], args) {
				t.Errorf("became %q, want podman with %q", a.execer.cmds, args)
			}

			stdout, _, _ = a.start(t, append([]string{"--dry-run"}, args...)...)
			if want := a.bin + "/podman " + strings.Join(args, " ") + "\n"; stdout != want {
				t.Errorf("dry run %q, want %q", stdout, want)
			}
		})
	}
}

func TestAPodmanThatCannotBeExecutedHasPodmansStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
	}{
		{name: "not found", err: &wrapper.LookupError{Program: "podman", Code: wrapper.ExitNotFound, Err: errors.New("gone")}, code: 127},
		{name: "not executable", err: &wrapper.LookupError{Program: "podman", Code: wrapper.ExitNotExecutable, Err: errors.New("text file busy")}, code: 126},
		{name: "anything else", err: errors.New("no memory"), code: 125},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			a.execer.err = tt.err
			stdout, stderr, code := a.start(t, "image", "--help")
			failure{code: tt.code, message: tt.err.Error(), hint: hint(tt.err, nil)}.check(t, stdout, stderr, code)
		})
	}
}

func TestLogLevelIsPodmansToo(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{name: "image", args: []string{"--log-level", "error", "image", "ls"}, want: " --log-level error image ls"},
		{name: "images", args: []string{"--log-level=panic", "images"}, want: " --log-level panic images"},
		{name: "not given", args: []string{"images"}, want: " images"},
		{name: "exec runs any program", args: []string{"--log-level", "error", "exec", "tool"}, want: "/tool"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := newTestApp(t).dryRun(t, tt.args...); !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %s, want it to end with %q", got, tt.want)
			}
		})
	}
}

func TestLogMessagesGoToStandardError(t *testing.T) {
	a := newTestApp(t)
	a.env = append(a.env, "STORAGE_DRIVER=vfs")
	stdout, quiet, _ := a.onHost(t, "--dry-run", "images")
	verbose, stderr, _ := a.onHost(t, "--log-level", "debug", "--dry-run", "images")
	if quiet != "" || !strings.Contains(stderr, "STORAGE_DRIVER") {
		t.Errorf("by default %q, at level debug %q", quiet, stderr)
	}
	if verbose != strings.Replace(stdout, " images\n", " --log-level debug images\n", 1) {
		t.Errorf("the log level changed standard output from\n%s to\n%s", stdout, verbose)
	}
}

func TestAuthfileReplacesBootcsCredentials(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, "sysroot/etc/ostree/auth.json", 0o600, "{}")
	a.writeFile(t, "named.json", 0o600, "{}")
	for want, args := range map[string][]string{
		"the content of \"" + a.sysroot + "/etc/ostree/auth.json\"\n": {"--dry-run", "images"},
		"the content of \"" + a.dir + "/named.json\"\n":               {"--authfile", a.dir + "/named.json", "--dry-run", "images"},
	} {
		if stdout, _, _ := a.onHost(t, args...); !strings.Contains(stdout, want) {
			t.Errorf("%q: want %q in\n%s", args, want, stdout)
		}
	}
}

func TestExecRunsAnyProgramWithItsArguments(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{name: "a program", args: []string{"tool"}, want: "tool"},
		{name: "options of the program", args: []string{"tool", "--dry-run", "x"}, want: "tool --dry-run x"},
		{name: "help of the program", args: []string{"tool", "--help"}, want: "tool --help"},
		{name: "short help of the program", args: []string{"tool", "-h"}, want: "tool -h"},
		{name: "after two dashes", args: []string{"--", "tool", "--help"}, want: "tool --help"},
		{name: "only the first two dashes are ours", args: []string{"--", "tool", "--", "x"}, want: "tool -- x"},
		{name: "two dashes of the program", args: []string{"tool", "--", "x"}, want: "tool -- x"},
		{name: "a command of ours as program", args: []string{"podman", "help"}, want: "podman help"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			if got := a.dryRun(t, append([]string{"exec"}, tt.args...)...); !strings.HasSuffix(got, " "+a.bin+"/"+tt.want) {
				t.Errorf("got %s, want it to end with %q", got, tt.want)
			}
		})
	}
	t.Run("help is no program's name, but after two dashes it is", func(t *testing.T) {
		a := newTestApp(t)
		stdout, stderr, code := a.onHost(t, "--dry-run", "exec", "--", "--help")
		failure{code: 127, message: `run "--help"`}.check(t, stdout, stderr, code)
	})
}

func TestExecHelpIsOurs(t *testing.T) {
	for _, arg := range []string{"--help", "-h"} {
		a := newTestApp(t)
		stdout, stderr, code := a.start(t, "exec", arg, "tool")
		if !strings.Contains(stdout, "bootc-podman [options] exec [--] command") || stderr != "" || code != 0 {
			t.Errorf("%s: exit status %d, %q, %q", arg, code, stdout, stderr)
		}
		if len(a.execer.cmds) != 0 {
			t.Errorf("%s: became %v", arg, a.execer.cmds)
		}
	}
}
