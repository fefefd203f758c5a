// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"os"
	"path/filepath"
	"testing"
)

// testHost is a host in a temporary directory.
type testHost struct {
	t    *testing.T
	root string
}

func newTestHost(t *testing.T) *testHost {
	t.Helper()
	h := &testHost{t: t, root: t.TempDir()}
	if err := os.Chmod(h.root, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	h.write("proc/self/mountinfo", "")
	h.dir("run")
	return h
}

func (h *testHost) path(name string) string { return filepath.Join(h.root, name) }

func (h *testHost) dir(name string) {
	h.t.Helper()
	if err := os.MkdirAll(h.path(name), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h *testHost) write(name, content string) {
	h.t.Helper()
	h.dir(filepath.Dir(name))
	if err := os.WriteFile(h.path(name), []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *testHost) link(target, name string) {
	h.t.Helper()
	h.dir(filepath.Dir(name))
	if err := os.Symlink(target, h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *testHost) read(name string) string {
	h.t.Helper()
	content, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(content)
}

func (h *testHost) exists(name string) bool {
	_, err := os.Lstat(h.path(name))
	return err == nil
}
