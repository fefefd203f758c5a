// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestAnswersToTyposNameTheRightWord(t *testing.T) {
	for line, want := range map[string]string{
		"imag ls":       `did you mean "bootc-podman image"?`,
		"lst":           `did you mean "bootc-podman list"?`,
		"statu":         `did you mean "bootc-podman status"?`,
		"stauts":        `did you mean "bootc-podman status"?`,
		"rmii x":        `did you mean "bootc-podman rmi"?`,
		"set-unifed":    `did you mean "bootc-podman set-unified"?`,
		"set_unified":   `did you mean "bootc-podman set-unified"?`,
		"copy-to-store": `did you mean "bootc-podman copy-to-storage"?`,
		"dedupe":        `did you mean "bootc-podman dedup"?`,
		"docter":        `did you mean "bootc-podman doctor"?`,
		"pul x":         `did you mean "bootc-podman image pull"?`,
		"push x":        `did you mean "bootc-podman image push"?`,
		"inspct x":      `did you mean "bootc-podman inspect"?`,
		"help lsit":     `did you mean "bootc-podman list"?`,
		"ps":            "podman's others are not for this store",
		"start x":       "podman's others are not for this store",
		"stop x":        "podman's others are not for this store",
		"run-it x":      "",

		"list --formt json":            "unknown flag: --formt|did you mean --format?",
		"list --al-stores":             "unknown flag: --al-stores|did you mean --all-stores?",
		"list -x":                      "unknown shorthand flag: 'x' in -x|See 'bootc-podman list --help'",
		"list --format":                "flag needs an argument: --format",
		"list --lenient=maybe":         `invalid argument "maybe" for "--lenient" flag: `,
		"set-unified --retry=x":        `invalid argument "x" for "--retry" flag: `,
		"list --sysroot /":             "options of all commands go before the command",
		"--sysrot / list":              "did you mean --sysroot?",
		"list --type hots":             `unknown type "hots": use all, host, logical or unified`,
		"list --format {{.Foo}}":       "no field .Foo: use .Architecture, .Created,",
		"usage --format {{.Foo}}":      "no field .Foo: use .",
		"status --format {{.Boot}}":    "no field .Boot: use .",
		"hooks instal":                 `unknown action "instal": use denied, explain`,
		"bound fetsh":                  `unknown action "fetsh": use check, fetch`,
		"list --format {{.Image.Foo}}": "can't evaluate field Foo",
		"doctor --fixx":                "did you mean --fix?",
		"set-unified --methid=clone":   "did you mean --method?",
		"set-unified --method=clon":    `use auto, clone or podman`,
		"storage-conf --app":           "did you mean --apps?",
		"pull-from-default-store x":    `did you mean "bootc-podman pull-from-default-storage"?`,
		"unset-unfied --frobnicate":    `did you mean "bootc-podman unset-unified"?`,
		"unset-unified --frobnicate":   "unknown flag: --frobnicate",
	} {
		t.Run(line, func(t *testing.T) {
			_, stderr, code := runApp(t, strings.Fields(line)...)
			if code == 0 {
				t.Error("exit status 0")
			}
			for part := range strings.SplitSeq(want, "|") {
				if !strings.Contains(stderr, part) {
					t.Errorf("got %q, want %q", stderr, part)
				}
			}
		})
	}
}
