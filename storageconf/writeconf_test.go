// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestWriteConfMakesAPrivateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "storage.conf")
	defer unix.Umask(unix.Umask(0o777))
	must(t, storageconf.WriteConf(path, []byte("content\n")))
	checkConf(t, path, "content\n")
}

func TestWriteConfLeavesAnEqualFileAlone(t *testing.T) {
	for _, content := range []string{"content\n", ""} {
		path := filepath.Join(t.TempDir(), "storage.conf")
		must(t, storageconf.WriteConf(path, []byte(content)))
		before, err := os.Lstat(path)
		must(t, err)
		must(t, storageconf.WriteConf(path, []byte(content)))
		after, err := os.Lstat(path)
		must(t, err)
		if !os.SameFile(before, after) {
			t.Errorf("want the same file with content %q, got a new one", content)
		}
	}
}

func TestWriteConfReplacesWhateverElseIsThere(t *testing.T) {
	for _, tc := range []struct {
		name  string
		setup func(t *testing.T, path, beside string) error
	}{
		{name: "other content", setup: func(_ *testing.T, path, _ string) error {
			return os.WriteFile(path, []byte("CONTENT\n"), 0o600)
		}},
		{name: "shorter content", setup: func(_ *testing.T, path, _ string) error {
			return os.WriteFile(path, []byte("content"), 0o600)
		}},
		{name: "longer content", setup: func(_ *testing.T, path, _ string) error {
			return os.WriteFile(path, []byte("content\n\n"), 0o600)
		}},
		{name: "file others can read", setup: func(_ *testing.T, path, _ string) error {
			return errors.Join(os.WriteFile(path, []byte("content\n"), 0o600), os.Chmod(path, 0o644))
		}},
		{name: "set-user-ID file", setup: func(_ *testing.T, path, _ string) error {
			return errors.Join(os.WriteFile(path, []byte("content\n"), 0o600), os.Chmod(path, 0o600|fs.ModeSetuid))
		}},
		{name: "link to an equal file", setup: func(_ *testing.T, path, beside string) error {
			return errors.Join(os.WriteFile(beside, []byte("content\n"), 0o600), os.Symlink(beside, path))
		}},
		{name: "link to another file", setup: func(_ *testing.T, path, beside string) error {
			return errors.Join(os.WriteFile(beside, []byte("precious"), 0o600), os.Symlink(beside, path))
		}},
		{name: "dangling link", setup: func(_ *testing.T, path, beside string) error {
			return os.Symlink(beside, path)
		}},
		{name: "named pipe", setup: func(_ *testing.T, path, _ string) error {
			return unix.Mkfifo(path, 0o600)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, beside := t.TempDir(), filepath.Join(t.TempDir(), "beside")
			path := filepath.Join(dir, "storage.conf")
			must(t, tc.setup(t, path, beside))
			wantBeside, errBeside := os.ReadFile(beside)
			must(t, storageconf.WriteConf(path, []byte("content\n")))
			checkConf(t, path, "content\n")
			gotBeside, err := os.ReadFile(beside)
			if !bytes.Equal(wantBeside, gotBeside) || errors.Is(err, fs.ErrNotExist) != errors.Is(errBeside, fs.ErrNotExist) {
				t.Errorf("want what the link names left alone: %q, %v, got %q, %v", wantBeside, errBeside, gotBeside, err)
			}
		})
	}
}

func TestWriteConfLeavesNothingBehindWhenItFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "storage.conf")
	must(t, os.MkdirAll(filepath.Join(path, "in the way"), 0o755))
	if err := storageconf.WriteConf(path, []byte("content\n")); err == nil {
		t.Error("want an error for a directory")
	}
	checkEntries(t, dir, "storage.conf")
	checkEntries(t, path, "in the way")
}

// TestWriteConfIsAtomic lets several processes' worth of writers race, with a
// reader that must never see anything but one writer's whole file.
func TestWriteConfIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "storage.conf")
	contents := make([][]byte, 8)
	for i := range contents {
		contents[i] = bytes.Repeat([]byte{'a' + byte(i)}, 10_000+i)
	}
	check := func() {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		for _, want := range contents {
			if bytes.Equal(want, got) {
				return
			}
		}
		t.Errorf("want one writer's file, got %d bytes", len(got))
	}
	must(t, storageconf.WriteConf(path, contents[0]))
	var writers, reader sync.WaitGroup
	done := make(chan struct{})
	for _, content := range contents {
		writers.Go(func() {
			for range 20 {
				if err := storageconf.WriteConf(path, content); err != nil {
					t.Error(err)
				}
			}
		})
	}
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				check()
			}
		}
	})
	writers.Wait()
	close(done)
	reader.Wait()
	check()
	checkEntries(t, filepath.Dir(path), "storage.conf")
}

// checkConf checks that path is a private regular file, alone in its directory.
func checkConf(t *testing.T, path, want string) {
	t.Helper()
	fi, err := os.Lstat(path)
	must(t, err)
	if fi.Mode() != 0o600 {
		t.Fatalf("want mode %v, got %v", fs.FileMode(0o600), fi.Mode())
	}
	if got := readFile(t, path); want != got {
		t.Errorf("want %q, got %q", want, got)
	}
	checkEntries(t, filepath.Dir(path), filepath.Base(path))
}

func checkEntries(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("want only %q in the directory, got %v", want, entries)
	}
}
