// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"strings"
	"testing"
)

func TestAsksForHelp(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want bool
	}{
		{name: "no command: podman lists its commands", want: true},
		{name: "--help", args: []string{"--help"}, want: true},
		{name: "-h", args: []string{"-h"}, want: true},
		{name: "--help before a command", args: []string{"--help", "pull"}, want: true},
		{name: "--help after a command", args: []string{"ls", "--help"}, want: true},
		{name: "-h after a command", args: []string{"pull", "-h"}, want: true},
		{name: "a command", args: []string{"ls"}},
		{name: "a command with arguments", args: []string{"rm", "x"}},
		{name: "--help as the value of an option", args: []string{"ls", "--filter", "--help"}},
		{name: "--help as the value of an option before the command", args: []string{"--log-level", "--help", "ls"}},
		{name: "--help after two dashes", args: []string{"--", "--help"}},
		{name: "--help as the name of an image", args: []string{"rm", "--", "--help"}},
		{name: "help as a word", args: []string{"help"}, want: true},
		{name: "an option alike", args: []string{"--helpful"}},
		{name: "an empty argument", args: []string{""}},
		{name: "--help after an empty argument", args: []string{"", "--help"}, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := asksForHelp(tt.args); got != tt.want {
				t.Errorf("asksForHelp(%q) is %v", tt.args, got)
			}
		})
	}
}

func TestBringsImage(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want bool
	}{
		{name: "build", args: []string{"build", "."}, want: true},
		{name: "import", args: []string{"import", "x.tar"}, want: true},
		{name: "load", args: []string{"load"}, want: true},
		{name: "pull", args: []string{"pull", "x"}, want: true},
		{name: "scp", args: []string{"scp", "host::x"}, want: true},
		{name: "nothing"},
		{name: "only options", args: []string{"--a", "-b"}},
		{name: "ls", args: []string{"ls"}},
		{name: "rm", args: []string{"rm", "x"}},
		{name: "push", args: []string{"push", "x"}},
		{name: "an image called pull", args: []string{"rm", "pull"}},
		{name: "the value of an option called pull", args: []string{"ls", "--filter", "pull"}},
		{name: "a command alike", args: []string{"pulled"}},
		{name: "an empty argument", args: []string{"", "pull"}},
		{name: "an option before the command", args: []string{"--log-level=debug", "pull", "x"}},
		{name: "a value of an option before the command", args: []string{"--log-level", "debug", "pull", "x"}},
		{name: "a value called pull of an option before the command", args: []string{"--log-level", "pull", "ls"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := bringsImage(tt.args); got != tt.want {
				t.Errorf("bringsImage(%q) is %v", tt.args, got)
			}
		})
	}
}

func TestHelpNeedsNeitherStoreNorRootNorHost(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{
		{name: "image alone", args: []string{"image"}},
		{name: "image --help", args: []string{"image", "--help"}},
		{name: "image ls -h", args: []string{"image", "ls", "-h"}},
		{name: "images --help", args: []string{"images", "--help"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.Sysroot, m.Env = "/", append(m.Env, "container=podman", EnvPodman+"=podman --log-level=info")
			want := append([]string{m.podman, "--log-level=info"}, tt.args...)

			if err := m.BecomePodman(t.Context(), []string{"--log-level", "debug"}, tt.args); err != nil {
				t.Fatal(err)
			}
			if got := m.explained.String(); got != strings.Join(want, " ")+"\n" {
				t.Errorf("explained %q, want %q", got, want)
			}
			m.nothingHappened(t)

			m.DryRun = nil
			m.execer.err = errors.New("an error of execve")
			if err := m.BecomePodman(t.Context(), nil, tt.args); !errors.Is(err, m.execer.err) {
				t.Errorf("got %v, want %v", err, m.execer.err)
			}
			cmd := m.execer.cmds[0]
			if cmd.Path != m.podman {
				t.Errorf("path %q, want %q", cmd.Path, m.podman)
			}
			equalStrings(t, "arguments", cmd.Args, want)
			equalStrings(t, "environment", cmd.Env, m.Env)
		})
	}
	t.Run("but it needs podman", func(t *testing.T) {
		m := newMachine(t)
		m.Env = []string{"PATH=" + m.Sysroot}
		if err := m.BecomePodman(t.Context(), nil, []string{"image"}); !errors.As(err, new(*LookupError)) {
			t.Errorf("got %v, want a *LookupError", err)
		}
	})
}

func TestGlobalOptionsGoBeforeThePodmanCommand(t *testing.T) {
	m := newMachine(t)
	if err := m.BecomePodman(t.Context(), []string{"--log-level", "debug"}, []string{"images", "-a"}); err != nil {
		t.Fatal(err)
	}
	if want := " --storage-driver overlay --log-level debug images -a\n"; !strings.HasSuffix(m.explained.String(), want) {
		t.Errorf("got %s, want it to end with %q", &m.explained, want)
	}
}
