// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const (
	usageHint     = "See 'bootc-podman --help'"
	misplacedHint = "options of all commands go before the command"
	sysrootHint   = "--sysroot names the root directory of a host, or its physical root"
	confHint      = "fix that file, or move it aside: podman fails on it, too"
)

func usageHintOf(verb string) string { return "See 'bootc-podman " + verb + " --help'" }

func TestVersion(t *testing.T) {
	stdout, stderr, code := runApp(t, "--version")
	if want := "bootc-podman version " + version() + "\n"; stdout != want || stderr != "" || code != 0 {
		t.Errorf("--version: got %q, %q, exit status %d, want %q", stdout, stderr, code, want)
	}
	stdout, _, code = runApp(t, "version")
	if want := "bootc-podman version " + version() + " (" + runtime.Version() + ", linux/" + runtime.GOARCH + ")\n"; stdout != want || code != 0 {
		t.Errorf("version: got %q, exit status %d, want %q", stdout, code, want)
	}
	stdout, _, _ = runApp(t, "version", "--format", "json")
	checkSchema(t, "../../docs/version-v1.schema.json", stdout)
}

func TestHelpListsEveryCommandAndOption(t *testing.T) {
	for name, args := range map[string][]string{
		"no arguments": nil, "help": {"help"}, "--help": {"--help"}, "-h": {"-h"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := runApp(t, args...)
			if stderr != "" || code != 0 {
				t.Fatalf("exit status %d: %s", code, stderr)
			}
			tree := newTestApp(t).command(&options{})
			for _, c := range tree.VisibleCommands() {
				if !strings.Contains(unfolded(stdout), " "+c.Name+" "+c.Usage+" ") {
					t.Errorf("command %s is missing in\n%s", c.Name, stdout)
				}
			}
			for _, f := range tree.Flags {
				if !strings.Contains(unfolded(stdout), " --"+f.Names()[0]+" ") {
					t.Errorf("option --%s is missing in\n%s", f.Names()[0], stdout)
				}
			}
		})
	}
}

func TestHelpOfACommand(t *testing.T) {
	for _, c := range newTestApp(t).command(&options{}).Commands {
		t.Run(c.Name, func(t *testing.T) {
			stdout, stderr, code := runApp(t, "help", c.Name)
			if got := unfolded(stdout); !strings.Contains(got, "Usage: "+c.UsageText+" ") || !strings.HasPrefix(got, c.Usage) || stderr != "" || code != 0 {
				t.Errorf("got exit status %d, %q and\n%s", code, stderr, stdout)
			}
			if c.SkipFlagParsing || c.Name == "help" { // its own is that of all
				return
			}
			own, _, code := runApp(t, c.Name, "--help")
			if own != stdout || code != 0 {
				t.Errorf("%s --help has exit status %d and says\n%s, help %s\n%s", c.Name, code, own, c.Name, stdout)
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		name, message, hint string
		args                []string
	}{
		{
			name: "unknown command", args: []string{"bogus"}, message: `unknown command "bogus"`,
			hint: `"bootc-podman help" lists the commands; podman's others are not for this store`,
		},
		{
			name: "podman's own word for an image command", args: []string{"pull", "x"}, message: `unknown command "pull"`,
			hint: `did you mean "bootc-podman image pull"?`,
		},
		{name: "unknown global option", args: []string{"--bogus", "version"}, message: "-bogus", hint: usageHint},
		{name: "unknown option of a command", args: []string{"init", "--bogus"}, message: "-bogus", hint: usageHintOf("init")},
		{name: "global option after the command", args: []string{"env", "--sysroot", "/"}, message: "-sysroot", hint: misplacedHint},
		{name: "option without its value", args: []string{"--sysroot"}, message: "-sysroot", hint: usageHint},
		{name: "command option without its value", args: []string{"storage-conf", "--check"}, message: "-check", hint: usageHintOf("storage-conf")},
		{name: "argument to env", args: []string{"env", "x"}, message: `env: unexpected argument "x"`, hint: usageHintOf("env")},
		{name: "argument to init", args: []string{"init", "x"}, message: `init: unexpected argument "x"`, hint: usageHintOf("init")},
		{name: "argument to storage-conf", args: []string{"storage-conf", "x"}, message: `storage-conf: unexpected argument "x"`, hint: usageHintOf("storage-conf")},
		{name: "argument to version", args: []string{"version", "x"}, message: `version: unexpected argument "x"`, hint: usageHintOf("version")},
		{name: "option of another command", args: []string{"status", "-q"}, message: "-q", hint: usageHintOf("status")},
		{name: "two arguments to help", args: []string{"help", "list", "x"}, message: `help: unexpected argument "x"`, hint: usageHintOf("list")},
		{name: "two arguments to help, of which none is known", args: []string{"help", "bogus", "x"}, message: `help: unexpected argument "x"`, hint: usageHintOf("help")},
		{name: "a word of help's own that it had", args: []string{"h"}, message: `unknown command "h"`, hint: `"bootc-podman help" lists the commands; podman's others are not for this store`},
		{
			name: "another root for hooks", args: []string{"--sysroot", "/mnt", "hooks", "install"}, hint: usageHintOf("hooks"),
			message: `hooks: --sysroot "/mnt" is not supported: the command acts on the running host; use --root after hooks for another root directory`,
		},
		{name: "another root for usage", args: []string{"--sysroot=/mnt", "usage"}, message: `usage: --sysroot "/mnt" is not supported`, hint: usageHintOf("usage")},
		{name: "another root for bound", args: []string{"--sysroot=/mnt", "bound", "lock"}, message: `bound lock: --sysroot "/mnt" is not supported: the command acts on the running host`, hint: usageHintOf("bound")},
		{name: "unknown log level", args: []string{"--log-level", "loud", "version"}, message: `read --log-level: unknown level "loud": use trace, debug, info, warn, error, fatal or panic`, hint: usageHint},
		{name: "empty sysroot", args: []string{"--sysroot=", "version"}, message: "read --sysroot: empty path", hint: usageHint},
		{
			name: "help of an unknown command", args: []string{"help", "bogus"}, message: "bogus",
			hint: `"bootc-podman help" lists the commands; podman's others are not for this store`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := runApp(t, tt.args...)
			failure{code: 2, message: tt.message, hint: tt.hint}.check(t, stdout, stderr, code)
		})
	}
}

// TestUsageErrorsOfAPassthrough is about mistakes before the command: 1 and 2 would be
// an answer of the program, to "image exists" for one.
func TestUsageErrorsOfAPassthrough(t *testing.T) {
	for _, options := range [][]string{
		{"--bogus"}, {"--log-level=loud"}, {"--log-level", "loud"}, {"--sysroot", ""}, {"--version"}, {"--dry-run=maybe"},
	} {
		for _, command := range []string{"image", "images", "run", "exec"} {
			t.Run(strings.Join(options, " ")+" "+command, func(t *testing.T) {
				stdout, stderr, code := runApp(t, slices.Concat(options, []string{command, "ls"})...)
				failure{code: 125, hint: usageHint}.check(t, stdout, stderr, code)
			})
		}
	}
}

func TestAFullDiskIsReportedBesideAnAnswer(t *testing.T) {
	a := newTestApp(t)
	var stderr bytes.Buffer
	a.stdout, a.stderr = failingWriter{}, &stderr
	if code := a.run(t.Context(), []string{"bootc-podman", "hooks", "verify", "--root", a.root}); code != exitNo || !strings.Contains(stderr.String(), "Error: write standard output: ") {
		t.Errorf("exit status %d, %q", code, &stderr)
	}
}

func TestAFullDiskIsAnErrorOfEveryVerb(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help"}, {"help", "list"}, {"list", "--help"}, {"version"}, {"--version"}, {"storage-conf"}, {"completion", "bash"}, {"exec", "--help"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			a := newTestApp(t)
			var stderr bytes.Buffer
			a.stdout, a.stderr = full, &stderr
			if code := a.run(t.Context(), append([]string{"bootc-podman", "--sysroot", a.sysroot}, args...)); code == 0 || !strings.Contains(stderr.String(), "no space left on device") {
				t.Errorf("exit status %d, %q", code, &stderr)
			}
		})
	}
}

func TestNotRootIsReportedBeforeAnythingIsDone(t *testing.T) {
	for _, tt := range []struct {
		deed string // "" for the usage line
		code int
		args []string
	}{
		{"", 1, []string{"set-unified"}},
		{"", 1, []string{"unset-unified"}},
		{"", 1, []string{"copy-to-storage"}},
		{"", 1, []string{"pull-from-default-storage", "x"}},
		{"", 1, []string{"dedup"}},
		{"fetch bound images", 1, []string{"bound", "fetch"}},
		{"refresh bound images", 1, []string{"bound", "refresh", "--all"}},
		{"compare bound images with their registries", 125, []string{"bound", "outdated"}},
		{"fix findings", 125, []string{"doctor", "--fix"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			a := newTestApp(t)
			stdout, stderr, code := a.onHost(t, tt.args...)
			if tt.deed == "" {
				tt.deed = a.command(&options{}).Command(tt.args[0]).Usage
			}
			failure{code: tt.code, message: tt.deed + ": root is needed", hint: "run it as root, for example with sudo"}.check(t, stdout, stderr, code)
			if _, err := os.Lstat(filepath.Dir(a.confPath)); err == nil {
				t.Error("the directory of the lock was made")
			}
		})
	}
}

func TestSysrootIsMadeAbsolute(t *testing.T) {
	a := newTestApp(t)
	t.Chdir(a.dir)
	for _, args := range [][]string{{"env"}, {"--dry-run", "image", "ls"}} {
		t.Run(args[0], func(t *testing.T) {
			stdout, stderr, code := a.start(t, append([]string{"--sysroot", "bin/../sysroot"}, args...)...)
			if code != 0 || !strings.Contains(stdout, a.store()) || strings.Contains(stdout, "..") {
				t.Errorf("exit status %d, %q, want %q in\n%s", code, stderr, a.store(), stdout)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const (
		rootHint        = "run it as root, for example with sudo"
		hostHint        = "name the root of a bootc host with --sysroot"
		noStoreHint     = `"bootc-podman --sysroot SYSROOT init" makes an empty one; so does "bootc-podman --sysroot SYSROOT image pull"`
		containerHint   = "run it on the bootc host itself, or name a host's root with --sysroot"
		otherPodmanHint = "name podman itself with $BOOTC_PODMAN_PODMAN"
		podmanHint      = "install podman, or name it with $BOOTC_PODMAN_PODMAN"
	)
	tests := []struct {
		name string
		// with changes the host that is there by default.
		with func(t *testing.T, a *testApp)
		// here is for this machine, "/", instead of that host.
		here bool
		args []string
		failure
	}{
		{
			name: "passthrough without root", args: []string{"image", "ls"},
			failure: failure{code: 125, message: "root is needed", hint: rootHint},
		},
		{
			name: "exec without root", args: []string{"exec", "tool"},
			failure: failure{code: 125, message: "root is needed", hint: rootHint},
		},
		{
			name: "our own command without root", args: []string{"init"},
			failure: failure{code: 1, message: "root is needed", hint: rootHint},
		},
		{
			name: "passthrough in a container", here: true, args: []string{"images"},
			failure: failure{code: 125, message: "inside a container", hint: containerHint},
		},
		{
			name: "our own command in a container", here: true, args: []string{"init"},
			failure: failure{code: 1, message: "inside a container", hint: containerHint},
		},
		{
			name: "passthrough without bootc host", args: []string{"--dry-run", "image", "pull", "x"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree") },
			failure: failure{code: 125, message: "no ostree or composefs directory", hint: hostHint},
		},
		{
			name: "our own command without bootc host", args: []string{"env"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree") },
			failure: failure{code: 1, message: "no ostree or composefs directory", hint: hostHint},
		},
		{
			name: "a sysroot that is missing", args: []string{"init", "--dry-run"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "sysroot") },
			failure: failure{code: 1, message: "no such file or directory", hint: sysrootHint},
		},
		{
			name: "passthrough without store", args: []string{"--dry-run", "image", "ls"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree/bootc") },
			failure: failure{code: 125, message: "no bootc-owned store", hint: noStoreHint},
		},
		{
			name: "exec without store", args: []string{"--dry-run", "exec", "tool"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree/bootc") },
			failure: failure{code: 125, message: "no bootc-owned store", hint: noStoreHint},
		},
		{
			name: "credentials that are missing", args: []string{"--authfile", "/missing", "--dry-run", "images"},
			failure: failure{code: 125, message: "read credentials", hint: "name a file as \"podman login --authfile\" writes it, with --authfile"},
		},
		{
			name: "passthrough with a malformed storage.conf", args: []string{"--dry-run", "images"},
			with:    func(t *testing.T, a *testApp) { a.writeFile(t, "root/etc/containers/storage.conf", 0o644, "[") },
			failure: failure{code: 125, message: "storage.conf", hint: confHint},
		},
		{
			name: "our own command with a malformed storage.conf", args: []string{"storage-conf"},
			with:    func(t *testing.T, a *testApp) { a.writeFile(t, "root/etc/containers/storage.conf", 0o644, "[") },
			failure: failure{code: 1, message: "storage.conf", hint: confHint},
		},
		{
			name: "no podman", args: []string{"--dry-run", "images"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "bin/podman") },
			failure: failure{code: 127, message: `run "podman"`, hint: podmanHint},
		},
		{
			name: "no podman to help", args: []string{"image", "--help"},
			with:    func(t *testing.T, a *testApp) { a.remove(t, "bin/podman") },
			failure: failure{code: 127, message: `run "podman"`, hint: podmanHint},
		},
		{
			name: "our own command without podman", args: []string{"init", "--dry-run"},
			with: func(t *testing.T, a *testApp) {
				a.remove(t, "bin/podman")
				a.remove(t, "sysroot/ostree/bootc")
			},
			failure: failure{code: 1, message: `run "podman"`, hint: podmanHint},
		},
		{
			name: "podman is not executable", args: []string{"--dry-run", "images"},
			with: func(t *testing.T, a *testApp) {
				a.remove(t, "bin/podman")
				a.writeFile(t, "bin/podman", 0o644, "")
			},
			failure: failure{code: 126, message: "permission denied", hint: "make it executable, with chmod +x, if it is a program; " + otherPodmanHint},
		},
		{
			name: "podman is named wrongly", args: []string{"--dry-run", "images"},
			with:    func(_ *testing.T, a *testApp) { a.env = append(a.env, "BOOTC_PODMAN_PODMAN=podman; true") },
			failure: failure{code: 125, message: "BOOTC_PODMAN_PODMAN"},
		},
		{
			name: "podman is ourselves", args: []string{"--dry-run", "images"},
			with: func(t *testing.T, a *testApp) {
				a.writeFile(t, "bin/bootc-podman", 0o755, "")
				a.env = append(a.env, "BOOTC_PODMAN_PODMAN="+a.self)
			},
			failure: failure{code: 126, message: "bootc-podman itself", hint: otherPodmanHint},
		},
		{
			name: "podman that called us", args: []string{"--dry-run", "images"},
			with:    func(_ *testing.T, a *testApp) { a.env = append(a.env, "_BOOTC_PODMAN_BECAME="+a.bin+"/podman") },
			failure: failure{code: 126, message: "it called bootc-podman, which would run it again", hint: otherPodmanHint},
		},
		{
			name: "an option that names another store", args: []string{"image", "--root", "/x", "ls"},
			failure: failure{
				code: 125, message: "pass on --root: it leads podman to another store",
				hint: `any podman command line runs on the bootc-owned store with "bootc-podman exec -- podman ..."; for another store call podman itself`,
			},
		},
		{
			name: "a link to nothing", args: []string{"--dry-run", "images"},
			with: func(t *testing.T, a *testApp) {
				a.remove(t, "sysroot/ostree/bootc/storage")
				a.link(t, "nowhere", "sysroot/ostree/bootc/storage")
			},
			failure: failure{code: 125, message: "symbolic link to nothing", hint: "restore what the link points to, or remove the link"},
		},
		{
			name: "exec of a program that is missing", args: []string{"--dry-run", "exec", "missing"},
			failure: failure{code: 127, message: `run "missing"`},
		},
		{
			name: "exec of a file that is no program", args: []string{"--dry-run", "exec", "/dev/null"},
			failure: failure{code: 126, message: `run "/dev/null"`, hint: "make it executable, with chmod +x, if it is a program"},
		},
		{
			name: "exec of nothing", args: []string{"exec"},
			failure: failure{code: 125, message: "exec: no command given", hint: usageHintOf("exec")},
		},
		{
			name: "exec of nothing after two dashes", args: []string{"exec", "--"},
			failure: failure{code: 125, message: "exec: no command given", hint: usageHintOf("exec")},
		},
		{
			name: "exec with an option", args: []string{"exec", "--bogus", "tool"},
			failure: failure{code: 125, message: `exec: unknown option "--bogus"`, hint: usageHintOf("exec")},
		},
		{
			name: "env does not guess a host", here: true, args: []string{"--sysroot", "/missing", "env"},
			failure: failure{code: 1, message: "/missing", hint: sysrootHint},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			if tt.with != nil {
				tt.with(t, a)
			}
			start := a.onHost
			if tt.here {
				start = a.start
			}
			stdout, stderr, code := start(t, tt.args...)
			tt.hint = strings.ReplaceAll(tt.hint, "SYSROOT", a.sysroot)
			tt.check(t, stdout, stderr, code)
			if n := len(a.execer.cmds) + len(a.runner.cmds); n != 0 {
				t.Errorf("%d programs were run", n)
			}
			if _, err := os.Lstat(filepath.Dir(a.confPath)); err == nil {
				t.Errorf("%s was written", a.confPath)
			}
		})
	}
}

// TestPassthroughIsTheSameWithAndWithoutTheCommandTree compares "image …", which
// goes past the tree of commands, with what an option of ours in front does.
func TestPassthroughIsTheSameWithAndWithoutTheCommandTree(t *testing.T) {
	for _, args := range [][]string{
		{"images"},
		{"image"},
		{"images", "-q", "--no-trunc"},
		{"image", "ls", "--filter", "dangling=true", "x", "-a"},
		{"image", "rm", "--", "--", "x"},
		{"image", "--sysroot", "/x", "--dry-run", "ls"},
		{"image", "--log-level", "debug", "ls"},
		{"image", "help"},
		{"images", "help"},
		{"images", "h"},
		{"image", "rm", ""},
		{"images", "--generate-bash-completion"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			a := newTestApp(t)
			want, stderr, code := a.onHost(t, append([]string{"--dry-run"}, args...)...)
			if want == "" || stderr != "" || code != 0 {
				t.Fatalf("exit status %d: %s", code, stderr)
			}
			var got, errs bytes.Buffer
			a.stdout, a.stderr = &got, &errs
			o := &options{sysroot: a.sysroot, dryRun: true}
			if err := a.dispatch(t.Context(), o, append([]string{"bootc-podman"}, args...)); err != nil || errs.String() != "" {
				t.Fatalf("%v, %s", err, errs.String())
			}
			// The credentials get the lowest free one of this process.
			descriptor := regexp.MustCompile(`(descriptor |/fd/)1[0-9]`)
			if descriptor.ReplaceAllString(got.String(), "$1") != descriptor.ReplaceAllString(want, "$1") {
				t.Errorf("without the tree\n%s\nwith it\n%s", got.String(), want)
			}
		})
	}
	// Help needs no host: podman is run in both ways. The rest is refused.
	for _, args := range [][]string{
		{"image", "--help"}, {"images", "x", "--help"}, {"images", "-h"}, {"image", "ls"}, {"images", "--version"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			a := newTestApp(t)
			stdout, stderr, code := a.start(t, args...)
			short := a.execer.cmds
			a.execer.cmds = nil
			treeOut, treeErr, treeCode := a.start(t, append([]string{"--sysroot", "/"}, args...)...)
			if stdout != treeOut || stderr != treeErr || code != treeCode {
				t.Errorf("without the tree exit status %d, %q, %q; with it %d, %q, %q", code, stdout, stderr, treeCode, treeOut, treeErr)
			}
			if fmt.Sprint(short) != fmt.Sprint(a.execer.cmds) {
				t.Errorf("without the tree became %v, with it %v", short, a.execer.cmds)
			}
		})
	}
}

func TestErrorsSideBySideGetALineEach(t *testing.T) {
	one, two, three := errors.New("one"), errors.New("two"), errors.New("three")
	for _, tt := range []struct {
		name string
		err  error
		want []string
	}{
		{name: "one", err: one, want: []string{"one"}},
		{name: "one problem", err: problems{one}, want: []string{"one"}},
		{name: "problems", err: problems{one, two}, want: []string{"one", "two"}},
		{name: "joined", err: errors.Join(one, two), want: []string{"one", "two"}},
		{name: "joined with an exit status", err: orCode(errors.Join(one, two), exitUnknown), want: []string{"one", "two"}},
		{name: "joined once more", err: problems{errors.Join(one, two), three}, want: []string{"one", "two", "three"}},
		{name: "joined, in a sentence", err: fmt.Errorf("read: %w", errors.Join(one, two)), want: []string{`read: one\ntwo`}},
		{name: "twice the same", err: problems{one, errors.New("one"), errors.Join(two, one)}, want: []string{"one", "two"}},
		{name: "a sentence of two", err: fmt.Errorf("%w: %w", one, two), want: []string{"one: two"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := messages(tt.err)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrorsDoNotReachTheTerminalRaw(t *testing.T) {
	a := newTestApp(t)
	// A program's last words, and the name of a file: they arrive without quotes.
	a.execer.err = errors.New("exit status 1: \x1b[2J\nHint: rm -rf \xff")
	stdout, stderr, code := a.start(t, "image", "--help")
	failure{code: 125, message: `exit status 1: \x1b[2J\nHint: rm -rf \xff`}.check(t, stdout, stderr, code)
}

// TestPathsMeanWhatTheShellMeans: "..", after a link, is the parent of what the link
// leads to.
func TestPathsMeanWhatTheShellMeans(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, err := range []error{os.MkdirAll("far/away", 0o755), os.Symlink("far/away", "link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o := options{sysroot: "link/..", authFile: "link/../auth.json"}
	if err := newTestApp(t).before(&o); err != nil || o.sysroot != dir+"/far" || o.authFile != dir+"/far/auth.json" {
		t.Errorf("%+v, %v", o, err)
	}
}
