// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// makeTree fills a fresh directory and returns its path. "a/b/" is a directory,
// "a -> b" a symbolic link, "a = text" a file; parents are made as needed.
func makeTree(t *testing.T, entries ...string) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, entry := range entries {
		path, target, isLink := strings.Cut(entry, " -> ")
		if isLink {
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(top, path)), 0o755))
			must(t, os.Symlink(target, filepath.Join(top, path)))
			continue
		}
		if path, content, isFile := strings.Cut(entry, " = "); isFile {
			writeFile(t, filepath.Join(top, path), content)
			continue
		}
		must(t, os.MkdirAll(filepath.Join(top, entry), 0o755))
	}
	return top
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}

// open opens a file or directory until the end of the test.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// procFD names an open file as /dev/fd does.
func procFD(f *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
}

// isolate keeps every configuration file and variable of the person who runs
// the tests out of them.
func isolate(t testing.TB) {
	t.Helper()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"} {
		t.Setenv(name, t.TempDir())
	}
	for _, name := range []string{"CONTAINERS_STORAGE_CONF", "CONTAINERS_STORAGE_CONF_OVERRIDE", "STORAGE_DRIVER", "STORAGE_OPTS"} {
		unsetenv(t, name)
	}
}

// unsetenv is t.Setenv for no value: for the storage library an empty variable is set.
func unsetenv(t testing.TB, name string) {
	t.Helper()
	t.Setenv(name, "")
	must(t, os.Unsetenv(name))
}
