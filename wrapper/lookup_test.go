// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// programs makes one directory of everything a lookup can meet, and makes it
// the working directory.
func programs(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, path := range []string{
		"bin/podman", "other/podman", "other dir/my podman", "self/bootc-podman",
	} {
		writeFile(t, filepath.Join(dir, path), 0o755, path)
	}
	writeFile(t, filepath.Join(dir, "plain/podman"), 0o644, "")
	makeDir(t, dir, "directory/podman")
	for _, link := range []string{"hard", "symbolic", "dangling", "loop", "to-bin", "to-directory"} {
		makeDir(t, dir, link)
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "self/bootc-podman"), filepath.Join(dir, "hard/podman")),
		os.Symlink("../self/bootc-podman", filepath.Join(dir, "symbolic/podman")),
		os.Symlink("missing", filepath.Join(dir, "dangling/podman")),
		os.Symlink("podman", filepath.Join(dir, "loop/podman")),
		os.Symlink("..", filepath.Join(dir, "to-directory/podman")),
		os.Symlink("../bin/podman", filepath.Join(dir, "to-bin/podman")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

// pathOf is PATH of the named directories below dir.
func pathOf(dir string, names ...string) string {
	path := "PATH="
	for i, name := range names {
		if i > 0 {
			path += ":"
		}
		path += filepath.Join(dir, name)
	}
	return path
}

func TestFindPodman(t *testing.T) {
	dir := programs(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	path := pathOf(dir, "bin", "other dir")
	tests := []struct {
		name string
		env  []string
		want []string
	}{
		{name: "PATH by default", env: []string{path}, want: []string{in("bin/podman")}},
		{name: "the first in PATH", env: []string{pathOf(dir, "missing", "other", "bin")}, want: []string{in("other/podman")}},
		{
			name: "a link in PATH is not resolved: podman may look at its name",
			env:  []string{pathOf(dir, "to-bin", "bin")}, want: []string{in("to-bin/podman")},
		},
		{name: "the first of two PATHs", env: []string{path, pathOf(dir, "other")}, want: []string{in("bin/podman")}},
		{
			name: "a command line with options",
			env:  []string{path, EnvPodman + "=podman --log-level=debug  --x ''"},
			want: []string{in("bin/podman"), "--log-level=debug", "--x", ""},
		},
		{
			name: "a command line with quotes",
			env:  []string{path, EnvPodman + `='` + in("other dir") + `/my podman' "a; b" c\ d`},
			want: []string{in("other dir/my podman"), "a; b", "c d"},
		},
		{
			name: "nothing in a command line is expanded",
			env:  []string{path, EnvPodman + "=podman $HOME $(id) `id` ~ *"},
			want: []string{in("bin/podman"), "$HOME", "$(id)", "`id`", "~", "*"},
		},
		{name: "bootc's variable", env: []string{path, EnvBootcTool + "=" + in("other/podman")}, want: []string{in("other/podman")}},
		{
			name: "bootc's variable is one program, spaces and all",
			env:  []string{path, EnvBootcTool + "=my podman"}, want: []string{in("other dir/my podman")},
		},
		{
			name: "bootc's variable that names ourselves, as bootc-tool is, names nothing",
			env:  []string{path, EnvBootcTool + "=" + in("symbolic/podman")}, want: []string{in("bin/podman")},
		},
		{
			name: "our variable goes before bootc's",
			env:  []string{path, EnvBootcTool + "=" + in("other/podman"), EnvPodman + "=podman"}, want: []string{in("bin/podman")},
		},
		{
			name: "empty variables name nothing",
			env:  []string{path, EnvBootcTool + "=", EnvPodman + "="}, want: []string{in("bin/podman")},
		},
		{
			name: "an empty variable leaves it to bootc's",
			env:  []string{path, EnvPodman + "=", EnvBootcTool + "=" + in("other/podman")}, want: []string{in("other/podman")},
		},
		{
			name: "a program with a slash is relative to the working directory, not to PATH",
			env:  []string{path, EnvPodman + "=other/podman"}, want: []string{"other/podman"},
		},
		{name: "an executable after one that is not", env: []string{pathOf(dir, "plain", "bin")}, want: []string{in("bin/podman")}},
		{name: "an executable after a directory", env: []string{pathOf(dir, "directory", "bin")}, want: []string{in("bin/podman")}},
		{name: "an executable after broken links", env: []string{pathOf(dir, "dangling", "loop", "bin")}, want: []string{in("bin/podman")}},
		{name: "a file in PATH instead of a directory", env: []string{pathOf(dir, "bin/podman", "other")}, want: []string{in("other/podman")}},
		{name: "a relative directory in PATH", env: []string{"PATH=missing:bin"}, want: []string{"bin/podman"}},
		{name: "ourselves by a symbolic link are passed over", env: []string{pathOf(dir, "symbolic", "bin")}, want: []string{in("bin/podman")}},
		{name: "ourselves by a hard link are passed over", env: []string{pathOf(dir, "hard", "bin")}, want: []string{in("bin/podman")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FindPodman(tt.env, in("self/bootc-podman"))
			if err != nil {
				t.Fatal(err)
			}
			equalStrings(t, "podman", got, tt.want)
		})
	}
	t.Run("of an unknown executable everything is somebody else", func(t *testing.T) {
		got, err := FindPodman([]string{pathOf(dir, "symbolic", "bin")}, "")
		if err != nil {
			t.Fatal(err)
		}
		equalStrings(t, "podman", got, []string{in("symbolic/podman")})
	})
}

func TestFindPodmanSaysWhyNot(t *testing.T) {
	dir := programs(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	path := pathOf(dir, "bin")
	tests := []struct {
		name    string
		env     []string
		code    int
		program string
		source  string
	}{
		{name: "no PATH", env: []string{EnvPodman + "=no-such-podman"}, code: ExitNotFound, program: "no-such-podman", source: EnvPodman},
		{name: "an empty PATH", env: []string{"PATH="}, code: ExitNotFound, program: "podman"},
		{name: "nowhere in PATH", env: []string{pathOf(dir, "missing", "self", "dangling")}, code: ExitNotFound, program: "podman"},
		{name: "a file instead of a directory", env: []string{pathOf(dir, "bin/podman")}, code: ExitNotFound, program: "podman"},
		{name: "without execute permission", env: []string{pathOf(dir, "plain", "missing")}, code: ExitNotExecutable, program: in("plain/podman")},
		{name: "a directory", env: []string{pathOf(dir, "directory")}, code: ExitNotExecutable, program: in("directory/podman")},
		{name: "a link to a directory", env: []string{pathOf(dir, "to-directory")}, code: ExitNotExecutable, program: in("to-directory/podman")},
		{name: "a link to itself", env: []string{pathOf(dir, "loop")}, code: ExitNotExecutable, program: in("loop/podman")},
		{name: "no program but ourselves", env: []string{pathOf(dir, "symbolic", "hard")}, code: ExitNotFound, program: "podman"},
		{name: "a missing file", env: []string{path, EnvPodman + "=/missing/podman x"}, code: ExitNotFound, program: "/missing/podman", source: EnvPodman},
		{
			name: "a missing file of bootc's variable", env: []string{path, EnvBootcTool + "=podman x"},
			code: ExitNotFound, program: "podman x", source: EnvBootcTool,
		},
		{
			name: "a file that cannot be executed", env: []string{path, EnvBootcTool + "=" + in("plain/podman")},
			code: ExitNotExecutable, program: in("plain/podman"), source: EnvBootcTool,
		},
		{
			name: "a variable that names ourselves", env: []string{path, EnvPodman + "=" + in("self/bootc-podman")},
			code: ExitNotExecutable, program: in("self/bootc-podman"), source: EnvPodman,
		},
		{
			name: "a variable that names a link to ourselves", env: []string{path, EnvPodman + "=" + in("symbolic/podman")},
			code: ExitNotExecutable, program: in("symbolic/podman"), source: EnvPodman,
		},
		{
			name: "a variable that names ourselves in PATH", env: []string{pathOf(dir, "self"), EnvPodman + "=bootc-podman"},
			code: ExitNotFound, program: "bootc-podman", source: EnvPodman,
		},
		{name: "an empty program", env: []string{path, EnvPodman + "=''"}, code: ExitNotFound, program: "", source: EnvPodman},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FindPodman(tt.env, in("self/bootc-podman"))
			var lookup *LookupError
			if !errors.As(err, &lookup) {
				t.Fatalf("got %q, %v, want a *LookupError", got, err)
			}
			if lookup.Code != tt.code || lookup.Program != tt.program || lookup.Source != tt.source {
				t.Errorf("got code %d for %q from %q, want %d for %q from %q: %v",
					lookup.Code, lookup.Program, lookup.Source, tt.code, tt.program, tt.source, err)
			}
		})
	}
}

func TestFindPodmanRefusesWhoCalledUs(t *testing.T) {
	dir := programs(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name string
		env  []string
		loop bool
	}{
		{name: "the caller", env: []string{pathOf(dir, "bin"), envBecame + "=" + in("bin/podman")}, loop: true},
		{name: "the caller by another name", env: []string{pathOf(dir, "to-bin"), envBecame + "=" + in("bin/podman")}, loop: true},
		{name: "the caller in a variable", env: []string{EnvPodman + "=bin/podman x", envBecame + "=" + in("bin/podman")}, loop: true},
		{name: "the caller's caller", env: []string{pathOf(dir, "bin"), envBecame + "=" + in("bin/podman") + ":" + in("other/podman")}, loop: true},
		{name: "the caller's caller, the other way round", env: []string{pathOf(dir, "other"), envBecame + "=" + in("bin/podman") + ":" + in("other/podman")}, loop: true},
		{name: "a caller that names the real one", env: []string{EnvPodman + "=other/podman", envBecame + "=" + in("bin/podman")}},
		{name: "a caller that is gone", env: []string{pathOf(dir, "bin"), envBecame + "=" + in("gone")}},
		{name: "none", env: []string{pathOf(dir, "bin"), envBecame + "="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FindPodman(tt.env, "")
			var lookup *LookupError
			switch {
			case !tt.loop && err != nil, tt.loop != errors.Is(err, ErrLoop):
				t.Errorf("got %v", err)
			case tt.loop && (!errors.As(err, &lookup) || lookup.Code != ExitNotExecutable || !lookup.Podman):
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestLookPathWithoutPATHIsThatOfTheSystem(t *testing.T) {
	got, err := LookPath("sh", []string{"HOME=/"})
	if err != nil || got != "/bin/sh" {
		t.Errorf("got %q, %v", got, err)
	}
	// As for execvp(3), an empty one is not an unset one.
	if got, err := LookPath("sh", []string{"PATH="}); err == nil {
		t.Errorf("with an empty PATH: got %q", got)
	}
}

func TestFindPodmanRefusesWhatIsNoCommandLine(t *testing.T) {
	dir := programs(t)
	for _, tt := range []struct{ name, line string }{
		{name: "semicolon", line: "podman; reboot"},
		{name: "pipe", line: "podman | tee log"},
		{name: "ampersand", line: "podman &"},
		{name: "redirection", line: "podman >log"},
		{name: "input redirection", line: "podman <in"},
		{name: "parentheses", line: "(podman)"},
		{name: "single quote without end", line: "podman 'x"},
		{name: "double quote without end", line: `podman "x`},
		{name: "backslash without end", line: `podman \`},
		{name: "only blanks", line: " \t"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FindPodman([]string{pathOf(dir, "bin"), EnvPodman + "=" + tt.line}, "")
			if err == nil {
				t.Fatalf("got %q, want an error", got)
			}
			if errors.As(err, new(*LookupError)) {
				t.Errorf("got %v; a malformed command line is no failed lookup", err)
			}
		})
	}
}

func TestLookPathNamesAFileThatNoPATHIsNeededFor(t *testing.T) {
	dir := programs(t)
	t.Chdir(filepath.Join(dir, "bin"))
	for _, tt := range []struct{ name, path string }{
		{name: "the working directory by name", path: "."},
		{name: "the working directory by an empty entry", path: ":" + filepath.Join(dir, "missing")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := LookPath("podman", []string{"PATH=" + tt.path})
			if err != nil {
				t.Fatal(err)
			}
			// Without a slash, os/exec and a shell look it up once more.
			if got != "./podman" {
				t.Errorf("got %q, want %q", got, "./podman")
			}
		})
	}
}

func TestLookupErrorNamesProgramAndVariable(t *testing.T) {
	dir := programs(t)
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{name: "not in PATH", env: []string{"PATH="}, want: `run "podman": executable file not found in $PATH`},
		{name: "no such file", env: []string{EnvPodman + "=./missing"}, want: `run "./missing" from $BOOTC_PODMAN_PODMAN: no such file or directory`},
		{
			name: "ourselves", env: []string{EnvPodman + "=self/bootc-podman"},
			want: `run "self/bootc-podman" from $BOOTC_PODMAN_PODMAN: that is bootc-podman itself`,
		},
		{
			name: "our caller", env: []string{pathOf(dir, "bin"), envBecame + "=" + filepath.Join(dir, "bin/podman")},
			want: `run "` + filepath.Join(dir, "bin/podman") + `": it called bootc-podman, which would run it again`,
		},
		{
			name: "not executable", env: []string{EnvBootcTool + "=plain/podman"},
			want: `run "plain/podman" from $BOOTC_EXP_EXTERNAL_CONTAINER_TOOL: permission denied`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FindPodman(tt.env, filepath.Join(dir, "self/bootc-podman"))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
