// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package removal

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
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
		{line: "system reset --help=0", want: Command{Verb: SystemReset}},
		{line: "image rm --help --help=false a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image rm --help=false --help a", want: Command{Verb: Remove, Help: true, Operands: []string{"a"}}},
		{line: "--help image rm a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		// "--" before a command hides the word after it from podman.
		{line: "-- x rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image -- x rm -f a", want: Command{Verb: Remove, Force: true, Operands: []string{"a"}}},
		{line: "--out -- x rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--out --root x rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--out --help rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--out -r rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--module -r rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--log-level image --log-level=debug image rm a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "-- untag rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--from-the-future image rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--root /a rmi --root=/b a", want: Command{Verb: Remove, Root: "/b", Operands: []string{"a"}}},
		{line: "rmi a --out --root=/x", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--remote rmi a", want: Command{Verb: Remove, Remote: true, Operands: []string{"a"}}},
		{line: "--remote=0 rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--remote=F --url= rmi a", want: Command{Verb: Remove, Remote: true, Operands: []string{"a"}}},
		// Where the reading for a service is not clear, the store counts.
		{line: "--remote -h rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--remote --out --url x rmi a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "--log-level debug -c x rmi a", want: Command{Verb: Remove, Remote: true, Operands: []string{"a"}}},
		{line: "rmi -fi=1 a", want: Command{Verb: Remove, Force: true, Operands: []string{"a"}}},
		{line: "rmi -a=false -f=0 a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "image tag a b c", want: Command{Verb: Tag, Operands: []string{"a", "b", "c"}}},
		{line: "tag --force-in-use a b", want: Command{Verb: Tag, ForceInUse: true, Operands: []string{"a", "b"}}, args: "tag a b"},
		{line: "manifest rm a", want: Command{Verb: Remove, Operands: []string{"a"}}},
		{line: "manifest push -f oci --rm a docker://b", want: Command{Verb: Remove, NoPrune: true, Operands: []string{"a"}, purge: true}},
		{line: "manifest push -p a docker://b", want: Command{Verb: Remove, NoPrune: true, Operands: []string{"a"}, purge: true}},
		{line: "manifest push a docker://b"},
		{line: "manifest remove a b"},
		{line: "system check --repair", want: Command{Verb: SystemCheck, repair: true}},
		{line: "system check -qrf -m 1h", want: Command{Verb: SystemCheck, Force: true, repair: true}},
		{line: "system check"},
		{line: "artifact rm a"},
		{line: "image ls"},
		{line: "image ls rm"},
		{line: "image build -t rm ."},
		{line: "image push rm"},
		{line: "container prune"},
		{line: "volume prune"},
		{line: "tag system reset", want: Command{Verb: Tag, Operands: []string{"system", "reset"}}},
		{line: "system info reset"},
		{line: "rm a"},
		{line: "--log-level image rm"},
		{line: "image -- ls rm", want: Command{Verb: Remove}},
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
		want.Program = "podman"
		if want.Args = args; test.args != "" {
			want.Args = strings.Fields(test.args)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", test.line, got, want)
		}
	}
}

// TestOtherProgramsAreRead: each in its own way.
func TestOtherProgramsAreRead(t *testing.T) {
	for line, want := range map[string]Command{
		"/usr/bin/podman system reset":                          {Verb: SystemReset},
		"podman-remote system reset":                            {},
		"buildah rmi -f a":                                      {Verb: Remove, Force: true, Operands: []string{"a"}},
		"buildah --root /x --log-level error rmi -a":            {Verb: Remove, All: true, Root: "/x"},
		"buildah rmi -h=0 a":                                    {Verb: Remove, Operands: []string{"a"}},
		"buildah rmi --help a":                                  {Verb: Remove, Help: true, Operands: []string{"a"}},
		"buildah --log-level -- rmi a":                          {Verb: Remove, Operands: []string{"a"}},
		"buildah -- x rmi a":                                    {},
		"buildah rmi -p":                                        {Verb: Prune, prune: true},
		"buildah prune -a -f":                                   {Verb: Prune, All: true, Force: true},
		"buildah tag a b":                                       {Verb: Tag, Operands: []string{"a", "b"}},
		"buildah manifest rm a":                                 {Verb: Remove, Operands: []string{"a"}},
		"buildah manifest push --rm a docker://b":               {Verb: Remove, NoPrune: true, Operands: []string{"a"}, purge: true},
		"buildah rm -a":                                         {},
		"skopeo delete containers-storage:a":                    {Verb: Delete, Operands: []string{"containers-storage:a"}},
		"skopeo -- x delete containers-storage:a":               {Verb: Delete, Operands: []string{"containers-storage:a"}},
		"skopeo --override-os x delete -- containers-storage:a": {Verb: Delete, Operands: []string{"containers-storage:a"}},
		"skopeo delete containers-storage:[overlay@/x+/y:o]a":   {Verb: Delete, Root: "/x", Operands: []string{"containers-storage:[overlay@/x+/y:o]a"}},
		"skopeo delete containers-storage:[/x]a":                {Verb: Delete, Root: "/x", Operands: []string{"containers-storage:[/x]a"}},
		"skopeo delete docker://a":                              {},
		"skopeo copy containers-storage:a dir:delete":           {},
	} {
		argv := strings.Fields(line)
		got, ok := ParseProgram(argv)
		if want.Verb != "" {
			want.Program, want.Args = filepath.Base(argv[0]), argv[1:]
		}
		if ok != (want.Verb != "") || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %t, want %+v", line, got, ok, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("image rm --force-in-use a")
	f.Add("--x y image prune --filter --dry-run")
	f.Add("-- --force-in-use x rmi --force-in-use")
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
