// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"strings"
	"syscall"
	"testing"
)

// wantProblems fails unless each problem is one line with the wanted text, in
// order.
func wantProblems(t *testing.T, problems []error, want ...string) {
	t.Helper()
	if len(problems) != len(want) {
		t.Fatalf("got %d problems %v; want %q", len(problems), problems, want)
	}
	for i, problem := range problems {
		if text := problem.Error(); !strings.Contains(text, want[i]) || strings.Contains(text, "\n") {
			t.Errorf("problem %q does not say %q in one line", text, want[i])
		}
	}
}

// asNobody runs do as a user without privileges.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	must(t, syscall.Setresuid(-1, 65534, -1))
	defer func() { must(t, syscall.Setresuid(-1, 0, -1)) }()
	do()
}
