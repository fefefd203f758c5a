// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// complete returns what "__complete" prints for the words of a command line:
// candidates without descriptions, and the directive.
func (a *testApp) complete(t *testing.T, words ...string) (candidates []string, how int) {
	t.Helper()
	stdout, stderr, code := a.start(t, append([]string{"__complete"}, words...)...)
	if stderr != "" || code != 0 {
		t.Fatalf("exit status %d, standard error %q", code, stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	end := len(lines) - 1
	for _, line := range lines[:end] {
		word, _, _ := strings.Cut(line, "\t")
		candidates = append(candidates, word)
	}
	how, err := strconv.Atoi(strings.TrimPrefix(lines[end], ":"))
	if err != nil || lines[end][0] != ':' {
		t.Fatalf("no directive at the end of %q", stdout)
	}
	return candidates, how
}

func TestCompleteOwnCommandLines(t *testing.T) {
	const (
		files   = 0
		nothing = 4
		dirs    = 16
	)
	for _, tt := range []struct {
		name, words string // blanks are between words
		want        string
		how         int
	}{
		{name: "a command", words: "st", want: "storage-conf status", how: nothing},
		{name: "a hidden command", words: "__", how: nothing},
		{name: "a command after options", words: "--sysroot /mnt --dry-run lis", want: "list", how: nothing},
		{name: "a command after two dashes", words: "-- lis", want: "list", how: nothing},
		{name: "options of a command after two dashes", words: "-- list --ty", want: "--type", how: nothing},
		{name: "nothing after an unknown command", words: "bogus ", how: nothing},
		{name: "a global option", words: "--s", want: "--sysroot", how: nothing},
		{name: "the option every command has", words: "list --he", want: "--help", how: nothing},
		{name: "an option of a command", words: "list --no", want: "--no-trunc --noheading", how: nothing},
		{name: "no global option after the command", words: "list --sys", how: nothing},
		{name: "an option after an operand", words: "exists x --st", want: "--store", how: nothing},
		{name: "no option after two dashes", words: "exists -- --st", how: nothing},
		{name: "options of one letter", words: "list -q", want: "-q", how: nothing},
		{name: "a value", words: "list --type l", want: "logical", how: nothing},
		{name: "a value after =", words: "list --type=l", want: "logical", how: nothing},
		{name: "a value in one dash", words: "list -type=l", want: "logical", how: nothing},
		{name: "a field of a template", words: "usage --format {{.ImageI", want: "{{.ImageID}}", how: nothing},
		{name: "one more field", words: "usage --format={{.ID}}:{{.ImageI", want: "{{.ID}}:{{.ImageID}}", how: nothing},
		{name: "no field of a value", words: "gc --format {{.", how: nothing},
		{name: "no value of a switch", words: "list --quiet=", how: nothing},
		{name: "the word after a switch", words: "exists --help -", want: "--store --dry-run --help -h", how: nothing},
		{name: "the word after a value with =", words: "--sysroot=/mnt lis", want: "list", how: nothing},
		{name: "no second operand", words: "completion bash ", how: nothing},
		{name: "an operand", words: "completion z", want: "zsh", how: nothing},
		{name: "a command for help", words: "help ini", want: "init", how: nothing},
		{name: "a hook", words: "hook l", want: "ledger", how: nothing},
		{name: "an action", words: "hooks un", want: "uninstall", how: nothing},
		{name: "a file for an action", words: "hooks explain x", how: files},
		{name: "no operand of an action", words: "hooks verify ", how: nothing},
		{name: "an action of bound", words: "bound ", want: "check fetch lint list lock outdated refresh", how: nothing},
		{name: "no operand", words: "init ", how: nothing},
		{name: "directories", words: "--sysroot /m", how: dirs},
		{name: "directories after =", words: "--sysroot=/m", how: dirs},
		{name: "a program", words: "exec to", want: "tool", how: nothing},
		{name: "a program after two dashes", words: "exec -- to", want: "tool", how: nothing},
		{name: "a program by its path", words: "exec ./to", how: files},
		{name: "files for a program", words: "exec tool to", how: files},
		{name: "options of a program", words: "exec tool --", how: files},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			got, how := a.complete(t, strings.Split(tt.words, " ")...)
			if strings.Join(got, " ") != tt.want || how != tt.how {
				t.Errorf("got %q and %d, want %q and %d", got, how, tt.want, tt.how)
			}
			if n := len(a.execer.cmds) + len(a.runner.cmds); n != 0 {
				t.Errorf("%d programs were run", n)
			}
		})
	}
}

func TestCompleteDirectoriesOfAnImageLayout(t *testing.T) {
	a := newTestApp(t)
	for _, name := range []string{"images/one", "images/only", "images/.hidden", "two"} {
		a.makeDir(t, name)
	}
	a.writeFile(t, "images/other", 0o644, "")
	t.Chdir(a.dir)
	const nothing = noFiles | noSpace
	for words, want := range map[string]string{
		"--from o": "oci:", "--from oci:images/o": "oci:images/one/ oci:images/only/", "--from oci:tw": "oci:two/",
		"--from=oci:images/on": "oci:images/one/ oci:images/only/", "--from oci:images/.": "oci:images/.hidden/",
		"--from oci:images/": "oci:images/one/ oci:images/only/", "--from oci:none/": "",
	} {
		got, how := a.complete(t, strings.Split("bound fetch "+words, " ")...)
		if strings.Join(got, " ") != want || how != int(nothing) {
			t.Errorf("%s: got %q and %d, want %q", words, got, how, want)
		}
	}
}

func TestCompleteValuesOfEveryOption(t *testing.T) {
	want := map[string]string{
		"--authfile": ":0", "--log-level": "trace debug info warn error fatal panic :4", "--sysroot": ":16",
		"exists --store": "bootc default ostree :4", "storage-conf --check": ":0",
		"list --format": "table json :4", "list --type": "all host logical unified :4", "inspect --format": "text json :4", "list --sort": "created id repository size tag :4",
		"list --filter": "after= before= containers= digest= id= label= reference= since= store= until= :6", "status --format": "text json :4", "usage --format": "table json :4",
		"set-unified --format": "text json :4", "copy-to-storage --format": "text json :4", "pull-from-default-storage --format": "text json :4", "set-unified --from": "default registry transport ostree composefs :4",
		"copy-to-storage --from": "default bootc registry ostree composefs :4", "unset-unified --progress-fd": ":4",
		"hooks --format": "table json :4", "hooks --mode": "warn enforce deny :4", "hooks --program": ":0", "hooks --root": ":16",
		"set-unified --progress-fd": ":4", "copy-to-storage --progress-fd": ":4", "pull-from-default-storage --progress-fd": ":4",
		"set-unified --retry": ":4", "set-unified --method": "auto clone podman :4", "copy-to-storage --method": "auto clone podman :4", "pull-from-default-storage --method": "auto clone podman :4",
		"set-unified --verify": "none metadata full :4", "copy-to-storage --verify": "none metadata full :4", "pull-from-default-storage --verify": "none metadata full :4",
		"copy-to-storage --source": ":4", "copy-to-storage --target": ":4",
		"bound --format": "text json sarif github :4", "bound --deployment": "booted staged rollback all :4", "bound --root": ":16",
		"bound --from": "default registry oci: :4", "bound --jobs": ":4", "bound --method": "auto clone podman :4", "bound --progress-fd": ":4", "bound --retry": ":4", "bound --verify": "none metadata full :4",
		"dedup --format": "text json :4", "dedup --scope": "stores host :4", "dedup --max-rate": ":4", "df --format": "table json :4",
		"gc --format": "text json :4", "version --format": "text json :4", "dedup --progress-fd": ":4",
		"doctor --format": "text json :4", "doctor --registry": ":4", "doctor --metrics": ":0", "repair --progress-fd": ":4", "localize --progress-fd": ":4",
	}
	a := newTestApp(t)
	check := func(prefix string, flags []cli.Flag) {
		for _, flag := range flags {
			if !takesValue(flags, flag.Names()[0]) {
				continue
			}
			line := prefix + "--" + flag.Names()[0]
			values, how := a.complete(t, append(strings.Split(line, " "), "")...)
			got := strings.Join(append(values, ":"+strconv.Itoa(how)), " ")
			if got != want[line] {
				t.Errorf("%s: got %q, want %q", line, got, want[line])
			}
		}
	}
	tree := a.command(&options{})
	check("", tree.Flags)
	for _, c := range tree.Commands {
		check(c.Name+" ", c.Flags)
	}
}

func TestCompleteDescribesCommandsAndOptions(t *testing.T) {
	stdout, _, _ := runApp(t, "__complete", "lis")
	if want := "list\tlist which image is where, without podman\n:4\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	stdout, _, _ = runApp(t, "__complete", "--sys")
	if want := "--sysroot\tuse the host whose root is DIR\n:4\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
}

func TestCompleteCommandsWithoutAnyWord(t *testing.T) {
	got, how := newTestApp(t).complete(t)
	if !slices.Contains(got, "image") || !slices.Contains(got, "help") || how != 4 {
		t.Errorf("got %q and %d", got, how)
	}
}

// answeringRunner is a podman that prints the same for all arguments.
type answeringRunner struct {
	recordingRunner
	answer string
	err    error
}

func (r *answeringRunner) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	_ = r.Run(ctx, cmd)
	return []byte(r.answer), r.err
}

func TestCompletePassesPodmansAnswerOn(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		err          error
		want         string
	}{
		{name: "candidates", answer: "a\tan a\nb\n:6\n", want: "a\tan a\nb\n:6\n"},
		{name: "control characters", answer: "a\x1b[2J\nb\n:4\n", want: "b\n:4\n"},
		{name: "candidates that do not begin with the word", answer: "a\n:4\n", want: "a\n:4\n"},
		{name: "none", answer: ":0\n", want: ":0\n"},
		{name: "nothing", answer: "", want: ":4\n"},
		{name: "no directive", answer: "usage: podman\n", want: ":4\n"},
		{name: "a directive that is none", answer: "a\n:b\n", want: ":4\n"},
		{name: "failure", answer: "a\n:0\n", err: errors.New("exit status 125"), want: ":4\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			a.app.runner = &answeringRunner{answer: tt.answer, err: tt.err}
			stdout, stderr, code := a.start(t, "__complete", "image", "rm", "x")
			if stdout != tt.want || stderr != "" || code != 0 {
				t.Errorf("got %q, %q, exit status %d, want %q", stdout, stderr, code, tt.want)
			}
		})
	}
}

func TestCompleteAsksPodmanWithoutOurOptions(t *testing.T) {
	a := newTestApp(t)
	a.complete(t, "--log-level", "debug", "--sysroot", a.sysroot, "--dry-run", "image", "rm", "--", "")
	if len(a.runner.cmds) != 1 {
		t.Fatalf("%d programs were run, want 1", len(a.runner.cmds))
	}
	want := []string{a.bin + "/podman", "__complete", "--root", "/proc/none", "--runroot", "/proc/none", "image", "rm", "--", ""}
	if got := a.runner.cmds[0].Args; !slices.Equal(got, want) {
		t.Errorf("ran %q, want %q", got, want)
	}
}

func TestCompleteIsSilentWhateverIsLogged(t *testing.T) {
	stdout, stderr, code := runApp(t, "--log-level", "trace", "__complete", "image", "")
	if stdout != ":4\n" || stderr != "" || code != 0 {
		t.Errorf("got %q, %q, exit status %d", stdout, stderr, code)
	}
}

func TestCompletePassthroughIsSilentWithoutPodman(t *testing.T) {
	a := newTestApp(t)
	a.remove(t, "bin/podman")
	if got, how := a.complete(t, "image", ""); len(got) != 0 || how != 4 {
		t.Errorf("got %q and %d", got, how)
	}
}

func TestCompleteNamesOfImages(t *testing.T) {
	a := newTestApp(t)
	a.env = slices.DeleteFunc(a.env, func(kv string) bool { return strings.HasPrefix(kv, "container=") })
	a.writeFile(t, "sysroot/ostree/bootc/storage/overlay-images/images.json", 0o644, `[
		{"id": "`+strings.Repeat("a", 64)+`", "names": ["localhost/app:1", "quay.io/example/os:1"]},
		{"id": "`+strings.Repeat("b", 64)+`", "names": ["localhost/app:2", "localhost/a\nb", "localhost/\u001b[2J"]}]`)
	for _, tt := range []struct {
		name  string
		words []string
		want  []string
	}{
		{name: "all", words: []string{"exists", ""}, want: []string{"localhost/app:1", "localhost/app:2", "quay.io/example/os:1"}},
		{name: "some", words: []string{"exists", "l"}, want: []string{"localhost/app:1", "localhost/app:2"}},
		{name: "of the store named", words: []string{"exists", "--store", "bootc", "q"}, want: []string{"quay.io/example/os:1"}},
		{name: "no name of another store", words: []string{"exists", "--store=ostree", ""}},
		{name: "no name of an unknown store", words: []string{"exists", "--store=bogus", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, how := a.complete(t, append([]string{"--sysroot", a.sysroot}, tt.words...)...)
			if !slices.Equal(got, tt.want) || how != 4 {
				t.Errorf("got %q and %d, want %q", got, how, tt.want)
			}
		})
	}
	t.Run("broken store", func(t *testing.T) {
		a.writeFile(t, "sysroot/ostree/bootc/storage/overlay-images/images.json", 0o644, "[")
		if got, how := a.complete(t, "--sysroot", a.sysroot, "exists", ""); len(got) != 0 || how != 4 {
			t.Errorf("got %q and %d", got, how)
		}
	})
}

func TestCompletionPrintsAScriptForEveryShell(t *testing.T) {
	for _, shell := range shells() {
		t.Run(shell, func(t *testing.T) {
			stdout, stderr, code := runApp(t, "completion", shell)
			if !strings.Contains(stdout, "__complete") || !strings.Contains(stdout, " in "+shell) || stderr != "" || code != 0 {
				t.Errorf("exit status %d, %q and\n%s", code, stderr, stdout)
			}
		})
	}
	stdout, stderr, code := runApp(t, "completion", "csh")
	failure{code: 2, message: `completion: unknown shell "csh"`, hint: usageHintOf("completion")}.check(t, stdout, stderr, code)
	stdout, stderr, code = runApp(t, "completion")
	failure{code: 2, message: "completion: no shell given", hint: usageHintOf("completion")}.check(t, stdout, stderr, code)
}
