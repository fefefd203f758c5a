// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestExistsAnswersByExitStatus(t *testing.T) {
	a, os, _, own := newListApp(t)
	for _, tt := range []struct {
		name, args string
		code       int
	}{
		{name: "name", args: "quay.io/os:1"},
		{name: "ID", args: os.id},
		{name: "beginning of an ID", args: os.id[:12]},
		{name: "another tag", args: "quay.io/os:2", code: 1},
		{name: "in another store only", args: own.id, code: 1},
		{name: "name in the bootc-owned store", args: "--store bootc quay.io/os:1"},
		{name: "name in podman's store", args: "--store default quay.io/own:3"},
		{name: "ID in podman's store", args: "--store=default " + own.id},
		{name: "name that podman's store lacks", args: "--store default quay.io/app", code: 1},
		{name: "name that the repository lacks", args: "--store ostree quay.io/os:1", code: 1},
		{name: "option after the image", args: "quay.io/own:3 --store default"},
		{name: "option after the image, no", args: "quay.io/own:3 --store ostree", code: 1},
		{name: "after two dashes", args: "--store default -- quay.io/own:3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := a.onHost(t, append([]string{"exists"}, strings.Fields(tt.args)...)...)
			if stdout != "" || stderr != "" || code != tt.code {
				t.Errorf("exit status %d, %q, %q, want %d", code, stdout, stderr, tt.code)
			}
		})
	}
}

func TestExistsWithoutAStore(t *testing.T) {
	for _, store := range []string{"bootc", "default", "ostree"} {
		t.Run(store, func(t *testing.T) {
			a := newTestApp(t)
			a.remove(t, "sysroot/ostree/bootc")
			a.remove(t, "sysroot/ostree/repo")
			stdout, stderr, code := a.onHost(t, "exists", "--store", store, "quay.io/x")
			if stdout != "" || stderr != "" || code != 1 {
				t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

func TestExistsUsageErrors(t *testing.T) {
	for _, tt := range []struct{ name, args, message string }{
		{name: "no image", args: "", message: "exists: no image given"},
		{name: "no image, but an option", args: "--store default", message: "exists: no image given"},
		{name: "two images", args: "a b", message: `exists: unexpected argument "b"`},
		{name: "unknown store", args: "a --store composefs", message: `exists: unknown store "composefs"`},
		{name: "store without a value", args: "a --store", message: "-store"},
		{name: "option of another verb", args: "a --lenient", message: "-lenient"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := runApp(t, append([]string{"exists"}, strings.Fields(tt.args)...)...)
			failure{code: 2, message: tt.message, hint: usageHintOf("exists")}.check(t, stdout, stderr, code)
		})
	}
}

func TestExistsFailures(t *testing.T) {
	damage := func(store string) func(*testing.T, *testApp) {
		return func(t *testing.T, a *testApp) { a.writeFile(t, store+"/overlay-images/images.json", 0o644, "{") }
	}
	for _, tt := range []struct {
		name string
		args []string
		with func(t *testing.T, a *testApp)
		here bool
		failure
	}{
		{name: "no image name", args: []string{"quay.io/x:-"}, failure: failure{message: `look up image "quay.io/x:-": `}},
		{name: "empty image name", args: []string{""}, failure: failure{message: `look up image "": `}},
		{name: "image name that a terminal would obey", args: []string{"\x1b[2J\n"}, failure: failure{message: `look up image "\x1b[2J\n": `}},
		{name: "damaged store", args: []string{"x"}, with: damage(bootcStore), failure: failure{message: "images.json"}},
		{name: "damaged store of podman", args: []string{"x", "--store", "default"}, with: damage(defaultStore), failure: failure{message: "images.json"}},
		{
			name: "no bootc host", args: []string{"x"}, with: func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree") },
			failure: failure{message: "no ostree or composefs directory", hint: "name the root of a bootc host with --sysroot"},
		},
		{
			name: "damaged repository", args: []string{"x", "--store", "ostree"},
			with:    func(t *testing.T, a *testApp) { a.writeFile(t, "sysroot/ostree/repo/config", 0o644, "[core") },
			failure: failure{message: "line 1: malformed group header"},
		},
		{
			name: "container", args: []string{"x"}, here: true,
			failure: failure{message: "look into bootc store: a container has no deployments", hint: "run it on the bootc host itself, or name a host's root with --sysroot"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _, _, _ := newListApp(t)
			if tt.with != nil {
				tt.with(t, a)
			}
			start := a.onHost
			if tt.here {
				start = a.start
			}
			stdout, stderr, code := start(t, append([]string{"exists"}, tt.args...)...)
			tt.code = 125
			tt.check(t, stdout, stderr, code)
		})
	}
}
