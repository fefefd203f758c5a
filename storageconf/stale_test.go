// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestRemoveStale(t *testing.T) {
	const used, unused = "storage-00000000000000aa", "storage-00000000000000bb"
	names := []string{
		"storage.conf", "storage.database", "podman.json", "host.json", "leases", "private", "storage-.conf",
		"storage-zz.conf", "storage-00000000000000cc.txt", used + ".conf", used + ".database",
		unused + ".conf", unused + ".database", ".tmp-storage.conf1", "ask-1",
	}
	gone := []string{unused + ".conf", unused + ".database", ".tmp-storage.conf1", "ask-1"}
	for _, tc := range []struct {
		name   string
		old    bool
		secret bool
		want   []string
	}{
		{name: "not touched for long", old: true, want: gone},
		{name: "recent"},
		{name: "environment that cannot be read", old: true, secret: true, want: gone[2:]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, proc := t.TempDir(), t.TempDir()
			for _, name := range names {
				path := filepath.Join(dir, name)
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
				if then := time.Now().Add(-2 * time.Hour); tc.old {
					if err := os.Chtimes(path, then, then); err != nil {
						t.Fatal(err)
					}
				}
			}
			for pid, environ := range map[string]string{
				"1": "", "self": unused, "2": "A=B\x00CONTAINERS_STORAGE_CONF=" + filepath.Join(dir, used+".conf") + "\x00",
			} {
				if err := os.MkdirAll(filepath.Join(proc, pid), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(proc, pid, "environ"), []byte(environ), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.RemoveAll(filepath.Join(proc, "1/environ")); err != nil {
				t.Fatal(err)
			}
			// One of init, and one of a process that has ended.
			if err := errors.Join(os.Mkdir(filepath.Join(proc, "1/environ"), 0o700), os.Mkdir(filepath.Join(proc, "3"), 0o700)); err != nil {
				t.Fatal(err)
			}
			if tc.secret {
				// Root can read every file, but no directory.
				if err := os.MkdirAll(filepath.Join(proc, "4/environ"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := RemoveStale(dir, proc); err != nil {
					t.Fatal(err)
				}
			}
			got := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
				_, err := os.Lstat(filepath.Join(dir, name))
				return err == nil
			})
			if !slices.Equal(got, tc.want) {
				t.Errorf("removed %q, want %q", got, tc.want)
			}
		})
	}
}
