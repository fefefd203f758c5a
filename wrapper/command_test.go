// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

func shell(script string) Cmd {
	return Cmd{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ()}
}

// TestProgramsOutliveThreads: a goroutine in a namespace takes its thread with it, which must
// be none that started a program.
func TestProgramsOutliveThreads(t *testing.T) {
	const programs = 8
	ends := make(chan error, programs)
	var inputs []io.Closer
	started := make(chan bool, programs)
	for range programs {
		r, w := io.Pipe()
		inputs = append(inputs, w)
		cmd := shell("echo started; exec cat")
		cmd.Stdin, cmd.Stdout = r, writerFunc(func(p []byte) (int, error) {
			started <- true
			return len(p), nil
		})
		go func() { ends <- System{}.Run(t.Context(), cmd) }()
	}
	for range programs {
		<-started
	}
	var threads sync.WaitGroup
	for range 64 {
		threads.Go(runtime.LockOSThread)
	}
	threads.Wait()
	for _, input := range inputs {
		_ = input.Close()
	}
	for range programs {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

func TestRunReportsHowAProgramEnded(t *testing.T) {
	tests := []struct {
		name   string
		script string
		code   int
		text   string
	}{
		{name: "success", script: "exit 0"},
		{name: "failure", script: "exit 1", code: 1, text: "exit status 1"},
		{name: "failure with a message", script: "echo first >&2; echo last >&2; exit 3", code: 3, text: "exit status 3: last"},
		{name: "killed", script: "kill -9 $$", code: 137, text: "signal 9, killed"},
		{name: "terminated after a message", script: "echo bye >&2; kill -15 $$", code: 143, text: "signal 15, terminated: bye"},
		{name: "what a shell says of a killed child is a status", script: "exit 137", code: 137, text: "exit status 137"},
		{name: "a high status is no signal", script: "exit 255", code: 255, text: "exit status 255"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := shell(tt.script)
			err := System{}.Run(t.Context(), cmd)
			if tt.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var exit *ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("got %v, want an *ExitError", err)
			}
			if exit.Code != tt.code {
				t.Errorf("code %d, want %d", exit.Code, tt.code)
			}
			if want := "run " + cmd.String() + ": " + tt.text; err.Error() != want {
				t.Errorf("text %q, want %q", err, want)
			}
		})
	}
}

func TestRunFindsNoProgram(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	err := System{}.Run(t.Context(), Cmd{Path: missing, Args: []string{"missing", "a b"}, Env: []string{}})
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*ExitError)) {
		t.Errorf("got %v, want fs.ErrNotExist and no *ExitError", err)
	}
	if want := "run " + missing + " 'a b': "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want it to start with %q", err, want)
	}
}

func TestRunIsOverBeforeItStartsWhenTheContextIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (System{}).Run(ctx, shell("exit 0")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// writerFunc is called with everything that a program writes.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRunEndsTheProgramWhenTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Nothing is written to this pipe, so cat ends when it is killed; or, lest a
	// failure hangs, when the pipe does.
	stdin, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer writer.Close()
	defer time.AfterFunc(20*time.Second, func() { writer.Close() }).Stop()
	cmd := shell("echo started; exec cat")
	cmd.Stdin = stdin
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	var exit *ExitError
	if err := (System{}).Run(ctx, cmd); !errors.As(err, &exit) || exit.Signal != syscall.SIGTERM {
		t.Errorf("got %v, want the end by SIGTERM", err)
	}
}

func TestRunLeavesNoProgramBehindWhenWeDie(t *testing.T) {
	stdin, keepOpen, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer keepOpen.Close()
	output, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	we := exec.Command(testBinary(t), "/bin/sh", "-c", "echo started; exec cat")
	we.Env = append(os.Environ(), envAct+"=run")
	we.Stdin, we.Stdout = stdin, stdout
	if err := we.Start(); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	stdout.Close()
	// Only reached when the program lives on.
	if err := output.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(output, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	if err := we.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = we.Wait()
	// The pipe ends when the last process that can write to it does.
	if rest, err := io.ReadAll(output); err != nil || len(rest) != 0 {
		t.Errorf("the program lives on: %q, %v", rest, err)
	}
}

func TestRunConnectsFilesAndStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	writeFile(t, path, 0o644, "from descriptor 3")
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var stdout, stderr strings.Builder
	cmd := shell("cat; cat <&3; echo talk >&2; exit 1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("from standard input, "), &stdout, &stderr
	cmd.Files = []*os.File{file}
	var exit *ExitError
	if err := (System{}).Run(t.Context(), cmd); !errors.As(err, &exit) || exit.Stderr != "" {
		t.Errorf("got %v, want an *ExitError without what went to the caller's Stderr", err)
	}
	if stdout.String() != "from standard input, from descriptor 3" || stderr.String() != "talk\n" {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
}

func TestRunGivesTheProgramJustItsEnvironment(t *testing.T) {
	t.Setenv("BOOTC_PODMAN_TEST_LEAK", "leaked")
	env := []string{envAct + "=dump", "A=one\ntwo", "odd", "B=\xff"}
	out, err := System{}.Output(t.Context(), Cmd{Path: testBinary(t), Args: []string{"x"}, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	equalStrings(t, "environment", undump(t, out).Env, env)
}

// For Exec an Env that is nil is empty; os/exec takes it for our own.
func TestRunTakesNoEnvironmentForNone(t *testing.T) {
	t.Setenv("BOOTC_PODMAN_TEST_LEAK", "leaked")
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	out, err := System{}.Output(t.Context(), Cmd{Path: env, Args: []string{"env"}})
	if err != nil || strings.Contains(string(out), "LEAK") {
		t.Errorf("our own environment reached the program (%d bytes), %v", len(out), err)
	}
}

func TestOutputCapturesStandardOutput(t *testing.T) {
	out, err := System{}.Output(t.Context(), shell("cat; echo data; echo talk >&2; exit 4"))
	if string(out) != "data\n" {
		t.Errorf("output %q", out)
	}
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != 4 || exit.Stderr != "talk" {
		t.Errorf("got %v, want exit status 4 with what it said last", err)
	}
}

// becomeEnv is the environment that the act "become" hands over.
func becomeEnv() []string {
	return []string{envAct + "=dump", "A=one\ntwo", "odd", "B=\xff", "A=again"}
}

func TestExecReplacesTheProcess(t *testing.T) {
	argv := []string{testBinary(t), "", "--help", "--", "a\nb", "\xff", "'\"$HOME\\"}
	cmd := exec.Command(argv[0], argv...)
	cmd.Env = append(os.Environ(), envAct+"=become")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := undump(t, out)
	if got.PID != cmd.Process.Pid {
		t.Errorf("process %d became process %d", cmd.Process.Pid, got.PID)
	}
	equalStrings(t, "arguments", got.Args, argv)
	equalStrings(t, "environment", got.Env, becomeEnv())
}

func TestExecSaysWhyItReturned(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "plain"), 0o644, "#!/bin/sh\n")
	tests := []struct {
		name string
		path string
		code int
	}{
		{name: "missing program", path: "missing", code: ExitNotFound},
		{name: "file without execute permission", path: "plain", code: ExitNotExecutable},
		{name: "directory", path: ".", code: ExitNotExecutable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.path)
			err := System{}.Exec(Cmd{Path: path, Args: []string{"x"}})
			var lookup *LookupError
			if !errors.As(err, &lookup) || lookup.Code != tt.code || lookup.Program != path {
				t.Errorf("got %#v, want code %d for %q", err, tt.code, path)
			}
		})
	}
}

func TestCmdStringIsQuotedForAShell(t *testing.T) {
	cmd := Cmd{Path: "/a dir/podman", Args: []string{"podman", "plain", "", "it's", "$HOME", "a\nb"}, Env: []string{"SECRET=x"}}
	want := `'/a dir/podman' plain '' 'it'"'"'s' '$HOME' 'a` + "\n" + `b'`
	if got := cmd.String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTailBufferKeepsTheEnd(t *testing.T) {
	long := strings.Repeat("x", tailSize)
	tests := []struct {
		name   string
		writes []string
		want   string
	}{
		{name: "nothing"},
		{name: "podman's reason before advice", writes: []string{"Error: why\nTry this\n"}, want: "why"},
		{name: "one line", writes: []string{"one\n"}, want: "one"},
		{name: "a line without its end", writes: []string{"one\ntwo"}, want: "two"},
		{name: "empty lines at the end", writes: []string{"one\n", "\n\n"}, want: "one"},
		{name: "a line in pieces", writes: []string{"one\ntw", "o\n"}, want: "two"},
		{name: "a short line after more than is kept", writes: []string{long, long + "\nlast\n"}, want: "last"},
		{name: "a line longer than what is kept", writes: []string{"start" + long, "end"}, want: long[3:] + "end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tail tailBuffer
			for _, p := range tt.writes {
				if n, err := tail.Write([]byte(p)); n != len(p) || err != nil {
					t.Errorf("wrote %d of %d bytes: %v", n, len(p), err)
				}
			}
			if got := tail.reason(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if len(tail.buf) > tailSize {
				t.Errorf("keeps %d bytes, want no more than %d", len(tail.buf), tailSize)
			}
		})
	}
}

// TestPodmanIsNoted is about the variable by which FindPodman recognises a loop.
func TestPodmanIsNoted(t *testing.T) {
	self := testBinary(t)
	for _, tt := range []struct {
		name      string
		podman    bool
		env, want []string
	}{
		{name: "podman", podman: true, want: []string{envBecame + "=" + self}},
		{name: "podman that podman called", podman: true, env: []string{envBecame + "=/bin/podman"}, want: []string{envBecame + "=/bin/podman:" + self}},
		{name: "any other program"},
		{name: "any other program that podman called", env: []string{envBecame + "=/bin/podman"}, want: []string{envBecame + "=/bin/podman"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := System{}.Output(t.Context(), Cmd{
				Path: self, Args: []string{"podman"}, Env: append([]string{envAct + "=dump"}, tt.env...), Podman: tt.podman,
			})
			if err != nil {
				t.Fatal(err)
			}
			equalStrings(t, "note", values(undump(t, out).Env, envBecame), tt.want)
		})
	}
}

// TestWordsOfTheUserAreNotLogged: they can have secrets.
func TestWordsOfTheUserAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	level := logrus.GetLevel()
	logrus.SetOutput(&log)
	logrus.SetLevel(logrus.DebugLevel)
	t.Cleanup(func() {
		logrus.SetOutput(os.Stderr)
		logrus.SetLevel(level)
	})
	program := filepath.Join(t.TempDir(), "podman")
	_ = System{}.Exec(Cmd{Path: program, Args: []string{"podman", "pull", "--creds=user:secret"}, Env: []string{"TOKEN=secret"}})
	if got := log.String(); !strings.Contains(got, program) || strings.Contains(got, "secret") {
		t.Errorf("got %q", got)
	}
}
