// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

// lastUnchecked is the newest commit whose subject is not checked; older ones can be longer.
const lastUnchecked = "7fd172456beb202566f66b6064f57bc6ce056bd6"

const maxSubject = 72

// TestCommitSubjectsAreShort needs the history: not a tarball, nor a shallow clone.
func TestCommitSubjectsAreShort(t *testing.T) {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", top}, args...)...).Output()
		return string(out), err
	}
	if _, err := git("merge-base", "--is-ancestor", lastUnchecked, "HEAD"); err != nil {
		t.Skipf("the history since %s is not here: %v", lastUnchecked, err)
	}
	log, err := git("log", "--no-merges", "--format=%h %s", lastUnchecked+"..HEAD")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log) {
		hash, subject, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if n := utf8.RuneCountInString(subject); n > maxSubject {
			t.Errorf("commit %s: the subject has %d characters, want %d at most: %s", hash, n, maxSubject, subject)
		}
	}
}
