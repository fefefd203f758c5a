// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"strings"
	"testing"
)

func TestRunImageIsFoundBehindOptions(t *testing.T) {
	for args, want := range map[string]int{
		"":                        0,
		"app":                     0,
		"--rm app sh -c x":        1,
		"--name app app":          2,
		"--name=app app":          1,
		"-dit app":                1,
		"-itv /a:/b app":          2,
		"-itv/a:/b app":           1,
		"-m 1g app":               2,
		"-m=1g app":               1,
		"-e -d app":               2,
		"--tls-verify=false app":  1,
		"--rm -- app":             2,
		"--rm --":                 2,
		"--name":                  1,
		"--name app":              2,
		"--of-another-podman app": 2,
		"- app":                   0,
	} {
		if got := min(RunImage(strings.Fields(args)), len(strings.Fields(args))); got != want {
			t.Errorf("RunImage(%q) = %d, want %d", args, got, want)
		}
	}
}
