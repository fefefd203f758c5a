// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"slices"
	"strings"
	"testing"
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
			var want []string
			switch name {
			case "CONTAINERS_STORAGE_CONF":
				want = []string{name + "=" + s.confPath()}
			case "REGISTRY_AUTH_FILE":
				want = []string{name + "=" + s.authPath()}
			}
			for what, cmd := range map[string]Cmd{"podman": podman, "program": program} {
				equalStrings(t, name+" of "+what, values(cmd.Env, name), want)
				equalStrings(t, "alike of "+what, values(cmd.Env, name+"_ALIKE"), []string{name + "_ALIKE=caller"})
			}
			if dropped := slices.Contains(s.Change.Unset, name); dropped != (want == nil) {
				t.Errorf("listed as dropped is %v, replaced by %q", dropped, want)
			}

			// podman's help opens no store and gets the caller's environment: were a
			// variable to get through above, it would be seen there as it is here.
			m.DryRun = nil
			if err := m.BecomePodman(t.Context(), nil, []string{"image", "--help"}); err != nil {
				t.Fatal(err)
			}
			equalStrings(t, name+" of help", values(m.execer.cmds[0].Env, name), []string{name + "=caller", name + "=again"})
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
		append(slices.Clone(caller), "CONTAINERS_STORAGE_CONF="+s.confPath(), "REGISTRY_AUTH_FILE="+s.authPath()))
	equalStrings(t, "the caller's own", m.Env, caller)
}
