// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package bootctool

import (
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

const to = "containers-storage:[overlay@/run/bootc/storage+/proc/self/fd/3]"

func TestOnlyTheCopyOfBootcIsCloned(t *testing.T) {
	push := []string{"image", "push", "--remove-signatures", "a", to + "a"}
	if name, ok := copied(push); name != "a" || !ok {
		t.Errorf("got %q, %v", name, ok)
	}
	for _, args := range [][]string{
		nil,
		push[:4],
		append(slices.Clone(push), "x"),
		{"image", "push", "a", to + "a"},
		{"push", "--remove-signatures", "a", to + "a"},
		{"image", "push", "--remove-signatures", "a", to + "b"},
		{"image", "push", "--remove-signatures", "a", "containers-storage:a"},
		{"image", "push", "--remove-signatures", "a", "containers-storage:[overlay@/run/bootc/storage+/run/x]a"},
		{"image", "push", "--remove-signatures", "a", "containers-storage:[vfs@/run/bootc/storage+/proc/self/fd/3]a"},
		{"image", "push", "--remove-signatures", "", to},
		{"image", "push", "--remove-signatures", "--quiet", to + "--quiet"},
		{"image", "push", "--remove-signatures", "--", "a", to + "a"},
	} {
		if name, ok := copied(args); ok {
			t.Errorf("%q: got %q", args, name)
		}
	}
}

func TestFullName(t *testing.T) {
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for name, want := range map[string]string{
		"quay.io/x/y:1":                       "quay.io/x/y:1",
		"localhost/bootc":                     "localhost/bootc:latest",
		"docker.io/library/x:1":               "docker.io/library/x:1",
		"127.0.0.1:5000/x":                    "127.0.0.1:5000/x:latest",
		"x":                                   "",
		"x/y:1":                               "",
		"docker.io/x":                         "docker.io/library/x:latest",
		"quay.io/x" + digest:                  "",
		"sha256:" + digest[8:]:                "",
		digest[8:]:                            "",
		"localhost/bootc-podman-unfinished:1": "",
		"Quay.io/X":                           "",
	} {
		if got, err := fullName(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
}

// execer keeps what would have become of this process.
type execer []wrapper.Cmd

func (e *execer) Exec(cmd wrapper.Cmd) error {
	*e = append(*e, cmd)
	return nil
}

// TestWhatCannotBeClonedIsPodmans is in no namespace of bootc.
func TestWhatCannotBeClonedIsPodmans(t *testing.T) {
	dir := t.TempDir()
	podman := filepath.Join(dir, "podman")
	if err := os.WriteFile(podman, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []bool{false, true} {
		if program {
			if err := os.WriteFile(filepath.Join(dir, "bootc-podman-store"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var became execer
		var stderr strings.Builder
		self := filepath.Join(dir, "bootc-podman")
		if err := os.WriteFile(self, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		tool := Tool{
			Host:   wrapper.Host{Env: []string{"PATH=" + dir}, Self: self, Root: dir, Execer: &became},
			Args:   []string{"/x/bootc-tool", "image", "push", "--remove-signatures", "quay.io/a", to + "quay.io/a"},
			Stderr: &stderr,
		}
		if err := tool.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(became) != 1 || became[0].Path != podman || !slices.Equal(became[0].Args[1:], tool.Args[1:]) {
			t.Errorf("became %q", became)
		}
		if !strings.HasPrefix(stderr.String(), "Warning: copy quay.io/a with podman: ") {
			t.Errorf("standard error: %q", &stderr)
		}
	}
}

// TestASignalEndsAClone sends the signal to this process.
func TestASignalEndsAClone(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) { // by nohup: it stays so
			continue
		}
		ctx, caught := untilSignal(t.Context())
		if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("%v: the context does not end", sig)
		}
		if got := caught(); got != sig {
			t.Errorf("%v: got %v", sig, got)
		}
	}
	ctx, caught := untilSignal(t.Context())
	if got := caught(); got != 0 || ctx.Err() == nil {
		t.Errorf("without a signal: got %v", got)
	}
}
