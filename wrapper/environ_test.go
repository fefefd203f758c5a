// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestGetenvReturnsTheFirst(t *testing.T) {
	env := []string{"A", "AB=other", "A=", "B=x=y", "B=z", "C=\xff"}
	for name, want := range map[string]string{"A": "", "B": "x=y", "C": "\xff", "D": ""} {
		if got := Getenv(env, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// values returns every entry of a variable in env.
func values(env []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return !strings.HasPrefix(kv, name+"=") })
}

func TestDroppedVariablesDoNotReachPodman(t *testing.T) {
	for _, name := range Dropped() {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			// One alike stays; twice set is dropped twice.
			m.Env = append(m.Env, name+"=caller", name+"_ALIKE=caller", name+"=again")
			s := m.open(t)
			program, err := s.Program("podman")
			if err != nil {
				t.Fatal(err)
			}
			podman, err := s.Podman(t.Context(), "images")
			if err != nil {
				t.Fatal(err)
			}
			var want []string // of a program
			switch name {
			case "CONTAINERS_STORAGE_CONF":
				want = []string{name + "=" + s.confPath()}
			case "REGISTRY_AUTH_FILE":
				want = []string{name + "=" + s.authPath()}
			}
			for what, cmd := range map[string]Cmd{"podman": podman, "program": program} {
				want := want
				if what == "podman" && name == "CONTAINERS_STORAGE_CONF" {
					want = nil // It reads the host's, as bootc's does.
				}
				equalStrings(t, name+" of "+what, values(cmd.Env, name), want)
				equalStrings(t, "alike of "+what, values(cmd.Env, name+"_ALIKE"), []string{name + "_ALIKE=caller"})
			}
			if dropped := slices.Contains(s.Change.Unset, name); dropped != (want == nil) {
				t.Errorf("listed as dropped is %v, replaced by %q", dropped, want)
			}

			// Nor the podman that opens no store.
			if _, err := s.host.PodmanVersion(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := m.BecomePodman(t.Context(), nil, []string{"image", "--help"}); err != nil {
				t.Fatal(err)
			}
			if got, want := m.explained.String(), "env -u "+name+" "+m.podman+" image --help\n"; got != want {
				t.Errorf("dry run of help %q, want %q", got, want)
			}
			m.DryRun = nil
			if err := m.BecomePodman(t.Context(), nil, []string{"image", "--help"}); err != nil {
				t.Fatal(err)
			}
			for what, cmd := range map[string]Cmd{"help": m.execer.cmds[0], "--version": m.runner.cmds[0]} {
				equalStrings(t, name+" of "+what, values(cmd.Env, name), nil)
				equalStrings(t, "alike of "+what, values(cmd.Env, name+"_ALIKE"), []string{name + "_ALIKE=caller"})
			}
		})
	}
}

func TestDroppedVariablesDoNotReachThePodmanThatMakesAStore(t *testing.T) {
	m := newMachine(t)
	m.removeStore(t)
	for _, name := range Dropped() {
		m.Env = append(m.Env, name+"=caller")
	}
	s := m.open(t)
	cmd, err := s.createCmd()
	if err != nil {
		t.Fatal(err)
	}
	// No storage.conf of ours: bootc names no driver and no options either.
	equalStrings(t, "environment", cmd.Env, append(m.Env[:2:2], "REGISTRY_AUTH_FILE="+s.authPath()))
}

func TestHomeIsSetOnlyWhenMissing(t *testing.T) {
	for _, tt := range []struct {
		name      string
		env, want []string
	}{
		{name: "missing", want: []string{"HOME=/root"}},
		{name: "empty", env: []string{"HOME="}, want: []string{"HOME=/root"}},
		{name: "set", env: []string{"HOME=/home/user"}, want: []string{"HOME=/home/user"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.Env = append([]string{m.Env[0]}, tt.env...)
			equalStrings(t, "HOME", values(m.podmanCmd(t, "images").Env, "HOME"), tt.want)
		})
	}
}

func TestOtherVariablesSurviveByteForByteAndInOrder(t *testing.T) {
	m := newMachine(t)
	kept := []string{
		"B=1", "A=\xff\xfe", "odd", "=C:=x", "", "B=2", "\xff=x", "EMPTY=", "LINES=one\ntwo\n",
		"TMPDIR=/var/tmp", "BOOTC_PODMAN_STORAGE_DRIVER=x", "storage_driver=x",
	}
	m.Env = append(m.Env, kept...)
	caller := slices.Clone(m.Env)
	s := m.open(t)
	cmd, err := s.Podman(t.Context(), "images")
	if err != nil {
		t.Fatal(err)
	}
	equalStrings(t, "podman's environment", cmd.Env,
		append(slices.Clone(caller), "REGISTRY_AUTH_FILE="+s.authPath()))
	equalStrings(t, "the caller's own", m.Env, caller)
}

func TestPlainPodmanIsItsOwnInTheNamespaceToo(t *testing.T) {
	for _, tt := range []struct{ name, conf, want string }{
		{name: "the caller's configuration", conf: "/home/storage.conf", want: "/home/storage.conf /auth"},
		{name: "our own", conf: storageconf.ConfPath},
		{name: "our own of another sysroot", conf: "/run/bootc-podman/storage-43cee21668f8fb12.conf"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.Env = append(m.Env, "CONTAINERS_STORAGE_CONF="+tt.conf, "REGISTRY_AUTH_FILE=/auth")
			cmd, err := m.DefaultPodman("images")
			if err != nil {
				t.Fatal(err)
			}
			got := strings.TrimSpace(Getenv(cmd.Env, "CONTAINERS_STORAGE_CONF") + " " + Getenv(cmd.Env, "REGISTRY_AUTH_FILE"))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatBecomesPodmanIsNoted(t *testing.T) {
	m := newMachine(t)
	s := m.open(t)
	podman, err := s.Podman(t.Context(), "images")
	if err != nil {
		t.Fatal(err)
	}
	create, err := s.createCmd()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := m.DefaultPodman("images")
	if err != nil {
		t.Fatal(err)
	}
	// What exec becomes may well call us.
	program, err := s.Program("podman", "images")
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]bool{"podman": podman.Podman, "init": create.Podman, "plain podman": plain.Podman, "exec": !program.Podman} {
		if !is {
			t.Errorf("%s is not noted as it should be", name)
		}
	}
}
