// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"strings"
	"testing"
)

func TestArgumentsThatAskForHelp(t *testing.T) {
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
		{name: "--help after the command of a command", args: []string{"trust", "show", "--help"}, want: true},
		{name: "--help after the name of an image", args: []string{"rm", "x", "--help"}, want: true},
		{name: "--help after an option without a value", args: []string{"ls", "-a", "--help"}, want: true},
		{name: "--help after letters", args: []string{"ls", "-aq", "-h"}, want: true},
		{name: "--help after a long option", args: []string{"build", "--no-cache", "--help"}, want: true},
		{name: "--help after an option with its value", args: []string{"ls", "--filter", "x", "--help"}, want: true},
		{name: "--help after an option and its value in one", args: []string{"ls", "--format=x", "-fx", "--help"}, want: true},
		{name: "--help after a global option with its value", args: []string{"--log-level", "debug", "ls", "--help"}, want: true},
		{name: "--help as the value of a letter", args: []string{"ls", "-f", "--help"}},
		{name: "--help as the value of the last of letters", args: []string{"ls", "-qf", "--help"}},
		{name: "a letter takes a value, or not, by its command", args: []string{"rm", "-f", "--help"}, want: true},
		{name: "--help after an unknown option", args: []string{"ls", "--new", "--help"}},
		{name: "--help after an unknown letter", args: []string{"ls", "-X", "--help"}},
		{name: "--help with a value", args: []string{"ls", "--help=false"}},
		{name: "--help that is taken back", args: []string{"rm", "--help", "--help=0", "x"}},
		{name: "--help that is given again", args: []string{"rm", "--help", "--help=0", "x", "--help"}, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := inspectArguments(tt.args)
			if got != tt.want || err != nil {
				t.Errorf("%q: got %v, %v", tt.args, got, err)
			}
		})
	}
}

func TestArgumentsThatNameAnotherStoreAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string // what is named, "" for nothing
	}{
		{name: "before the command", args: []string{"image", "--root", "/x", "ls"}, want: "--root"},
		{name: "joined", args: []string{"image", "--root=/x", "ls"}, want: "--root"},
		{name: "after an option's value", args: []string{"image", "--log-level", "debug", "--runroot", "/x", "ls"}, want: "--runroot"},
		{name: "after the command", args: []string{"image", "ls", "--root", "/x"}, want: "--root"},
		{name: "after an operand", args: []string{"image", "rm", "x", "--storage-driver=vfs"}, want: "--storage-driver"},
		{name: "after an option", args: []string{"image", "ls", "-a", "--storage-opt", "x"}, want: "--storage-opt"},
		{name: "after an unknown option", args: []string{"image", "ls", "--new", "--imagestore", "/x"}, want: "--imagestore"},
		{name: "after two dashes before the command", args: []string{"image", "--", "x", "rm", "--root=/x", "y"}, want: "--root"},
		{name: "after the command of a command", args: []string{"image", "trust", "show", "--root", "/x"}, want: "--root"},
		{name: "what would go into the database", args: []string{"image", "ls", "--volumepath", "/x"}, want: "--volumepath"},
		{name: "a database of another kind", args: []string{"image", "--db-backend", "sqlite", "ls"}, want: "--db-backend"},
		{name: "state elsewhere", args: []string{"image", "--tmpdir=/x", "ls"}, want: "--tmpdir"},
		{name: "transient", args: []string{"image", "ls", "--transient-store"}, want: "--transient-store"},
		{name: "with help", args: []string{"image", "--root", "/x", "--help"}, want: "--root"},
		{name: "images", args: []string{"images", "-a", "--root", "/x"}, want: "--root"},
		{name: "images first", args: []string{"images", "--root", "/x"}, want: "--root"},
		{name: "another host", args: []string{"image", "--url", "ssh://x", "ls"}, want: "--url"},
		{name: "another host by name", args: []string{"image", "--connection=x", "ls"}, want: "--connection"},
		{name: "another host's key", args: []string{"image", "--identity", "x", "ls"}, want: "--identity"},
		{name: "remote", args: []string{"image", "--remote", "ls"}, want: "--remote"},
		{name: "remote, a letter", args: []string{"image", "-r", "ls"}, want: "-r"},
		{name: "another host by name, a letter", args: []string{"image", "-cx", "ls"}, want: "-c"},

		{name: "a value", args: []string{"image", "ls", "--filter", "--root"}},
		{name: "a value that is joined", args: []string{"image", "ls", "--filter=--root=/x"}},
		{name: "a value before the command", args: []string{"image", "--log-level", "--root", "ls"}},
		{name: "a letter's value", args: []string{"image", "import", "-m", "--root=/x", "x.tar"}},
		{name: "the value of the last of letters", args: []string{"image", "ls", "-qf", "--root"}},
		{name: "a letter's value that is joined", args: []string{"image", "import", "-c--root", "x.tar"}},
		{name: "of the runtime", args: []string{"image", "build", "--runtime-flag", "--root=/x", "."}},
		{name: "after two dashes", args: []string{"image", "rm", "--", "--root"}},
		{name: "an option alike", args: []string{"image", "build", "--root-of-all", "."}},
		{name: "one dash", args: []string{"image", "ls", "-root"}},
		{name: "a word", args: []string{"image", "rm", "root", "remote"}},
		{name: "the command's own letters", args: []string{"image", "build", "-c", "2", "--ssh", "default", "."}},
		{name: "another host after the command is podman's to refuse", args: []string{"image", "ls", "--remote"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			err := m.BecomePodman(t.Context(), nil, tt.args)
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, ErrOtherStore) || !strings.Contains(err.Error(), " "+tt.want+":") {
				t.Errorf("got %v, want an error about %s", err, tt.want)
			}
			// Nor does the tab key do it.
			if _, err := m.Complete(t.Context(), append(tt.args, "")); !errors.Is(err, ErrOtherStore) {
				t.Errorf("completion: got %v", err)
			}
			m.nothingHappened(t)
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
		{name: "images -a --help", args: []string{"images", "-a", "--help"}},
		{name: "image trust show --help", args: []string{"image", "trust", "show", "--help"}},
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
			if !cmd.Podman {
				t.Error("podman is not noted to be podman")
			}
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
	if want := " --log-level debug images -a\n"; !strings.HasSuffix(m.explained.String(), want) {
		t.Errorf("got %s, want it to end with %q", &m.explained, want)
	}
}
