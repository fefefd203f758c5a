// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

// testHost is a host in a temporary directory.
type testHost struct {
	*testhost.Root
	t *testing.T
}

func newTestHost(t *testing.T) *testHost {
	t.Helper()
	h := &testHost{Root: testhost.New(t), t: t}
	h.Write("proc/self/mountinfo", "")
	h.Mkdir("run")
	return h
}
