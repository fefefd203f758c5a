// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package removal

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

func TestParseReadsWhatPodmanReads(t *testing.T) {
	for _, test := range []struct {
		line string
		want Command
		// args are those for podman, those of line if empty.
		args string
	}{
		{line: "image rm a b", want: Command{Verb: Remove, Operands: []string{"a", "b"}}},
		{line: "rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image rm -af", want: Command{Verb: Remove, All: true, Force: true}},
		{line: "image rm -fai x", want: Command{Verb: Remove, All: true, Force: true, Operands: []string{"x"}}},
		{line: "image rm --all=true --force=0 --ignore --no-prune=t", want: Command{Verb: Remove, All: true, NoPrune: true}},
		{line: "image --force rm a", want: Command{Verb: Remove, Force: true, Operands: []string{"a"}}},
		{line: "--log-level debug image --log-level=info rm --log-level rm a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image rm a -f", want: Command{Verb: Remove, Force: true, Operands: []string{"a"}}},
		{line: "image rm a --force-in-use", want: Command{Verb: Remove, ForceInUse: true, Operands: []string{"a"}}, args: "image rm a"},
		{line: "image --force-in-use rm a", want: Command{Verb: Remove, ForceInUse: true, Operands: []string{"a"}}, args: "image rm a"},
		{line: "image rm -- --force-in-use a", want: Command{Verb: Remove, Operands: []string{"--force-in-use", "a"}}},
		{line: "image rm --log-level --force-in-use a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image rm --from-the-future --force-in-use a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image rm --from-the-future a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image rm --dry-run a", want: Command{Verb: Remove, DryRun: true, Operands: []string{"a"}}},
		{line: "image prune", want: Command{Verb: Prune}},
		{line: "image prune -a -f --external --build-cache", want: Command{Verb: Prune, All: true, Force: true, External: true, BuildCache: true}},
		{line: "image prune --filter label=a --filter=until=1h", want: Command{Verb: Prune, Filters: []string{"label=a", "until=1h"}}},
		{line: "image prune --filter --force-in-use", want: Command{Verb: Prune, Filters: []string{"--force-in-use"}}},
		{line: "image prune --dry-run -a", want: Command{Verb: Prune, DryRun: true, All: true}, args: "image prune -a"},
		{line: "image untag a b c", want: Command{Verb: Untag, Operands: []string{"a", "b", "c"}}},
		{line: "untag a", want: Command{Verb: Untag, Operands: []string{"a"}}},
		{line: "image rm --help", want: Command{Verb: Remove, Help: true}},
		{line: "image rm -h", want: Command{Verb: Remove, Help: true}},
		{line: "system prune -af --volumes", want: Command{Verb: SystemPrune, All: true, Force: true}},
		{line: "system prune --force-in-use", want: Command{Verb: SystemPrune, ForceInUse: true}, args: "system prune"},
		{line: "system reset", want: Command{Verb: SystemReset}},
		{line: "--out /x system reset -f", want: Command{Verb: SystemReset, Force: true}},
		{line: "--from-the-future x --trace system reset", want: Command{Verb: SystemReset}},
		{line: "system --log-level debug reset", want: Command{Verb: SystemReset}},
		{line: "image ls"},
		{line: "image ls rm"},
		{line: "image build -t rm ."},
		{line: "image push rm"},
		{line: "container prune"},
		{line: "volume prune"},
		{line: "tag system reset"},
		{line: "system info reset"},
		{line: "rm a"},
		{line: "--log-level image rm"},
		{line: "image -- ls rm"},
		{line: "image"},
		{line: ""},
	} {
		args := strings.Fields(test.line)
		got, ok := Parse(args)
		if ok != (test.want.Verb != "") {
			t.Errorf("%s: recognised: %t", test.line, ok)
			continue
		}
		if !ok {
			continue
		}
		want := test.want
		if want.Args = args; test.args != "" {
			want.Args = strings.Fields(test.args)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", test.line, got, want)
		}
	}
}

// TestResetsOfTheBootcStoreAreRecognised: other stores are the user's own.
func TestResetsOfTheBootcStoreAreRecognised(t *testing.T) {
	for line, want := range map[string]bool{
		"podman system reset -f":                                  true,
		"/usr/bin/podman system reset":                            true,
		"podman --runroot /run/x system reset --force":            true,
		"podman --root /run/bootc/storage/ system reset":          true,
		"podman --root=/run/bootc/x/../storage system reset":      true,
		"podman --root /x --root /run/bootc/storage system reset": true,
		"podman --out /x system reset":                            true,
		"podman --root=/x system reset -f":                        false,
		"podman system reset --root /x":                           false,
		"podman system reset --help":                              false,
		"podman -c other system reset":                            false,
		"podman --url unix:///x system reset":                     false,
		"buildah system reset":                                    false,
		"podman -- system reset":                                  false,
	} {
		args, ok := wrapper.PodmanArgs(strings.Fields(line))
		if ok {
			_, ok = Parse(args)
		}
		if ok != want {
			t.Errorf("%s: recognised: %t", line, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("image rm --force-in-use a")
	f.Add("--x y image prune --filter --dry-run")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		c, ok := Parse(args)
		if !ok {
			return
		}
		// Nothing but our own options is taken out, and what is left is read the same way.
		again, ok := Parse(c.Args)
		if !ok || again.ForceInUse || len(c.Args) > len(args) {
			t.Fatalf("%q became %q", args, c.Args)
		}
		c.ForceInUse, c.DryRun, again.DryRun = false, false, false
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%q is %+v, without our options %+v", args, c, again)
		}
	})
}
