// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package clonejob_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

var job = clonejob.Job{
	Source:      clonejob.Store{GraphRoot: "/var/lib/containers/storage", RunRoot: "/run/containers/storage", Driver: "overlay"},
	Destination: clonejob.Store{GraphRoot: "/run/bootc/storage", RunRoot: "/proc/self/fd/3", Driver: "overlay", Options: []string{"overlay.mountopt=nodev"}},
	Image:       "abc", Names: []string{"localhost/a:1"}, Verify: clonejob.VerifyFull,
}

// answering is a program that reads a job and gives answers.
func answering(t *testing.T, exit error, lines ...string) func(context.Context, wrapper.Cmd) error {
	return func(_ context.Context, cmd wrapper.Cmd) error {
		got, err := clonejob.ReadJob(cmd.Stdin)
		if err != nil || !reflect.DeepEqual(got, job) {
			t.Errorf("read job %+v, %v, want %+v", got, err, job)
		}
		if cmd.Path != "/libexec/program" || len(cmd.Args) != 1 {
			t.Errorf("run %q %q", cmd.Path, cmd.Args)
		}
		// However the lines are cut.
		for b := range strings.SplitSeq(strings.Join(lines, "\n")+"\n", "") {
			_, _ = io.WriteString(cmd.Stdout, b)
		}
		return exit
	}
}

func TestAnswersAreReported(t *testing.T) {
	want := clonejob.Result{Image: "abc", Digests: []string{"sha256:1"}, Layers: []clonejob.Layer{{ID: "1", Files: 2, Bytes: 3}}}
	line, err := json.Marshal(clonejob.Answer{Result: &want})
	if err != nil {
		t.Fatal(err)
	}
	var progress []clonejob.Progress
	got, err := clonejob.Run(t.Context(), answering(t, nil, `{"progress":{"layer":1,"layers":2,"files":7}}`, string(line)), "/libexec/program", job, io.Discard,
		func(a clonejob.Answer) { progress = append(progress, *a.Progress) })
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("result %+v, %v, want %+v", got, err, want)
	}
	if !reflect.DeepEqual(progress, []clonejob.Progress{{Layer: 1, Layers: 2, Files: 7}}) {
		t.Errorf("progress %+v", progress)
	}
}

func TestFailuresAreErrorsOfTheirKinds(t *testing.T) {
	killed := &wrapper.ExitError{Code: 137}
	for _, tt := range []struct {
		name string
		line string
		exit error
		want error
	}{
		{"unsupported", `{"failure":{"kind":"unsupported","message":"driver vfs"}}`, nil, clonejob.ErrUnsupported},
		{"changed", `{"failure":{"kind":"changed","message":"x"}}`, nil, clonejob.ErrChanged},
		{"not found", `{"failure":{"kind":"not-found","message":"x"}}`, nil, clonejob.ErrNotFound},
		{"not verified", `{"failure":{"kind":"not-verified","message":"x"}}`, nil, clonejob.ErrNotVerified},
		{"no space", `{"failure":{"kind":"no-space","message":"x"}}`, nil, clonejob.ErrNoSpace},
		{"damaged", `{"failure":{"kind":"damaged","message":"x"}}`, nil, clonejob.ErrDamaged},
		{"killed", ``, killed, killed},
		{"killed, after an answer", `{"failure":{"kind":"no-space","message":"x"}}`, killed, clonejob.ErrNoSpace},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines []string
			if tt.line != "" {
				lines = []string{tt.line}
			} else {
				lines = []string{`{"progress":{}}`}
			}
			result, err := clonejob.Run(t.Context(), answering(t, tt.exit, lines...), "/libexec/program", job, nil, nil)
			if result != nil || !errors.Is(err, tt.want) {
				t.Errorf("%+v, error %v, want %v", result, err, tt.want)
			}
		})
	}
}

func TestOddAnswersAreErrors(t *testing.T) {
	for name, lines := range map[string][]string{"no JSON": {"panic"}, "nothing": {`{}`}} {
		t.Run(name, func(t *testing.T) {
			if result, err := clonejob.Run(t.Context(), answering(t, nil, lines...), "/libexec/program", job, nil, nil); err == nil {
				t.Errorf("no error but %+v", result)
			}
		})
	}
}

func TestEndOfContextIsTheError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	run := func(context.Context, wrapper.Cmd) error {
		cancel()
		return errors.New("terminated")
	}
	if _, err := clonejob.Run(ctx, run, "/libexec/program", job, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestJobsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, text := range []string{
		``, `{}`, `{"verify":"somewhat"}`, `{"verify":"full","more":1}`,
		`{"verify":"full","names":["localhost/a"]}`, `{"verify":"full","names":["MyOrg/a:1"]}`, `{"verify":"full","names":["a:1"]}`,
		`{"verify":"full","names":["[::1]:5000/a:1"]}`, `{"verify":"full","blobs":[{}],"names":["localhost/a:1"]}`, `{"verify":"full","blobs":[{}],"ostree":{}}`,
	} {
		if job, err := clonejob.ReadJob(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read %+v", text, job)
		}
	}
}

func TestLentImagesHaveIDsOfTheirOwn(t *testing.T) {
	ids := map[string]bool{}
	for _, image := range []string{"1", "11"} {
		for _, layers := range []int{1, 11} {
			id := clonejob.LentImage(image, layers)
			if len(id) != 64 || ids[id] || id != clonejob.LentImage(image, layers) {
				t.Errorf("%d layers of %s: ID %q", layers, image, id)
			}
			ids[id] = true
		}
	}
}

func TestProgramIsFoundBesideUsOrInLibexec(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"usr/bin/bootc-podman", "build/bin/bootc-podman", "build/bin/bootc-podman-store", "usr/libexec/bootc-podman/bootc-podman-store", "lone/bootc-podman"} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("usr/bin/bootc-podman", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for self, want := range map[string]string{
		"usr/bin/bootc-podman":   "usr/libexec/bootc-podman/bootc-podman-store",
		"build/bin/bootc-podman": "build/bin/bootc-podman-store",
		"link":                   "usr/libexec/bootc-podman/bootc-podman-store",
	} {
		got, err := clonejob.FindProgram(filepath.Join(dir, self))
		if err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %q, %v, want %q", self, got, err, want)
		}
	}
	if got, err := clonejob.FindProgram(filepath.Join(dir, "lone/bootc-podman")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q, %v, want %v", got, err, fs.ErrNotExist)
	}
}

func TestStoresAreThoseOfThePackages(t *testing.T) {
	got := clonejob.BootcStore(storageconf.Config{Driver: "overlay", MountOpt: "nodev"})
	want := clonejob.Store{
		GraphRoot: "/run/bootc/storage", RunRoot: "/proc/self/fd/3", Driver: "overlay",
		Options: []string{"overlay.mountopt=nodev"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
