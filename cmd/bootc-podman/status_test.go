// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// fullStatus is a status in which nothing is left out.
func fullStatus() *inventory.Status {
	created := inventory.Time{Time: time.Now().Add(-5 * 24 * time.Hour)}
	return &inventory.Status{
		Schema: 1, Kind: host.OSTree, Source: inventory.FromBootc, SourceReason: "bootc status",
		Booted: &inventory.Deployment{
			ID: "default/b.0", Role: host.Booted, Pinned: true, Image: "docker://quay.io/example/os:42",
			Digest: "sha256:0123", Version: "42.1", Architecture: "amd64", Created: &created,
		},
		Staged:   &inventory.Deployment{ID: "default/s.0", Role: host.Staged, Image: "docker://quay.io/example/os:43"},
		Rollback: &inventory.Deployment{ID: "default/r.1", Role: host.Rollback, Incompatible: true},
		Others:   []inventory.Deployment{{ID: "other/o.0", Role: host.Other}}, RollbackQueued: true,
		Unified: inventory.Unification{On: true, Reason: "the bootc-owned store has it"},
		Stores: []inventory.StoreUsage{
			{Store: inventory.OSTreeStore, Path: "/sysroot/ostree/repo", Images: 1, Size: 1234567890},
			{Store: inventory.BootcStore, Path: "/sysroot/ostree/bootc/storage", Images: 2, Size: 999},
			{Store: inventory.DefaultStore, Path: "/var/lib/containers/storage"},
		},
		Bound: inventory.BoundStatus{Present: 1, Total: 3, Missing: []string{"quay.io/a", "quay.io/b"}},
		Hooks: []inventory.HookStatus{
			{Name: "ledger", Installed: true},
			{Name: "mount-guard", Installed: true},
			{Name: "bound-gate", Problem: `program "/usr/bin/bootc-podman" is missing`},
		},
		Problems:   []string{"open: denied"},
		Filesystem: &inventory.Filesystem{Type: "xfs", Reflink: inventory.Yes, Size: 2e12, Available: 1.5e12},
	}
}

func TestStatusFitsTheTerminal(t *testing.T) {
	s := fullStatus()
	s.Booted.Digest, s.Booted.ID = "sha256:"+strings.Repeat("2b", 32), "default/"+strings.Repeat("c", 64)+".0"
	s.Unified.Reason = "the bootc-owned store has an image quay.io/example/os:42, but sha256:" + strings.Repeat("3", 64)
	for _, columns := range []int{50, 60, 80, 100} {
		var out bytes.Buffer
		if err := printStatus(&out, s, columns); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > columns+1 {
				t.Errorf("%q is wider than %d", line, columns)
			}
		}
		digest, whole := "             sha256:2b2b2b2b2b2b\n", "             "+s.Booted.Digest+"\n"
		if got := strings.Contains(out.String(), whole); got != (columns == 100) || !got && !strings.Contains(out.String(), digest) {
			t.Errorf("%d columns: got\n%s", columns, &out)
		}
	}
}

func TestStatusOfLayeredPackages(t *testing.T) {
	s := &inventory.Status{Booted: &inventory.Deployment{
		ID: "default/r.1", Role: host.Booted, Incompatible: true,
		Base: &inventory.Base{Image: "docker://quay.io/example/os:42", Digest: "sha256:0123"},
	}}
	var out bytes.Buffer
	const want = "Booted:    packages layered locally on docker://quay.io/example/os:42\n           sha256:0123\n           default/r.1\n"
	if err := printStatus(&out, s, 0); err != nil || !strings.Contains(out.String(), want) {
		t.Errorf("%v, got\n%swant\n%s", err, &out, want)
	}
}

func TestStatusSaysWhatWasNotLookedAt(t *testing.T) {
	s := fullStatus()
	s.Rollback, s.Filesystem, s.Hooks, s.Stores, s.Unified.On = nil, nil, nil, nil, false
	s.NotLooked = []inventory.NotLooked{
		inventory.NotRollback, inventory.NotUnified, inventory.NotBound, inventory.NotFilesystem, inventory.NotHooks,
		inventory.NotLooked(inventory.OSTreeStore), inventory.NotLooked(inventory.BootcStore), inventory.NotLooked(inventory.DefaultStore),
	}
	var out bytes.Buffer
	if err := printStatus(&out, s, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Rollback:    not looked at\n", "Unified:     not looked at: the bootc-owned store has it\n",
		"Store:       ostree, not looked at\nStore:       bootc, not looked at\nStore:       default, not looked at\n",
		"Bound:       3 images, not looked at\n", "Filesystem:  not looked at\n", "Hooks:       not looked at\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "off") {
		t.Errorf("off:\n%s", &out)
	}
}

func TestStatusAsText(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		status     *inventory.Status
	}{
		{
			name: "everything", status: fullStatus(),
			want: `Host:        ostree (read from bootc: bootc status)
Booted:      docker://quay.io/example/os:42
             sha256:0123
             default/b.0, version 42.1, built 5 days ago, pinned
Staged:      docker://quay.io/example/os:43
             default/s.0
Rollback:    packages were layered on the image locally
             default/r.1
Other:       not from a container image
             other/o.0
             the rollback deployment boots next
Unified:     on: the bootc-owned store has it
Store:       ostree, 1.23 GB in 1 image, /sysroot/ostree/repo
Store:       bootc, 999 B in 2 images, /sysroot/ostree/bootc/storage
Store:       default, 0 B in 0 images, /var/lib/containers/storage
Bound:       1 of 3 images present
             missing: quay.io/a
             missing: quay.io/b
Filesystem:  xfs, 1.5 TB of 2 TB free, reflinks: yes
Hooks:       ledger, mount-guard
             does not run: bound-gate: program "/usr/bin/bootc-podman" is missing
`,
		},
		{
			name: "nothing", status: &inventory.Status{Source: inventory.FromSysroot, SourceReason: "not the running host", Unified: inventory.Unification{Reason: "no deployment is booted here"}},
			want: `Host:      no deployments (read from sysroot: not the running host)
Booted:    none
Staged:    none
Rollback:  none
Unified:   off: no deployment is booted here
Bound:     0 of 0 images present
`,
		},
		{
			name: "text that a terminal would obey",
			status: &inventory.Status{
				Kind: host.Composefs, Source: inventory.FromSysroot, SourceReason: "\x1b[2J",
				Booted:  &inventory.Deployment{ID: "a\tb", Image: "x\n\x1b[2J", Version: "\x9b", Digest: "\r"},
				Unified: inventory.Unification{Reason: "\a"}, Bound: inventory.BoundStatus{Missing: []string{"a\nb", ""}},
				Stores: []inventory.StoreUsage{{Store: inventory.BootcStore, Path: "\v"}},
			},
			want: `Host:      composefs (read from sysroot: \x1b[2J)
Booted:    x\n\x1b[2J
           \r
           a\tb, version \x9b
Staged:    none
Rollback:  none
Unified:   off: \a
Store:     bootc, 0 B in 0 images, \v
Bound:     0 of 0 images present
           missing: a\nb
           missing: an image with an empty name
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, format := range []string{"text", ""} {
				show, err := statusPrinter(format, 0)
				var out bytes.Buffer
				if err == nil {
					err = show(&out, tt.status)
				}
				if err != nil || out.String() != tt.want {
					t.Errorf("format %q: %v, got\n%swant\n%s", format, err, out.String(), tt.want)
				}
			}
		})
	}
}

func TestStatusAsJSONAndTemplate(t *testing.T) {
	for _, tt := range []struct{ name, format, want string }{
		{name: "field", format: "{{.Booted.Digest}}", want: "sha256:0123\n"},
		{name: "of the manual page", format: "{{.Unified.On}}", want: "true\n"},
		{name: "tab", format: `{{.Kind}}\t{{.Source}}`, want: "ostree\tbootc\n"},
		{name: "range over stores", format: "{{range .Stores}}{{.Store}} {{end}}", want: "ostree bootc default \n"},
		{name: "index of a store", format: "{{(index .Stores 1).Path}}", want: "/sysroot/ostree/bootc/storage\n"},
		{name: "other deployments", format: "{{(index .Others 0).ID}}", want: "other/o.0\n"},
		{name: "JSON of a part", format: "{{json .Bound}}", want: `{"present":1,"total":3,"missing":["quay.io/a","quay.io/b"]}` + "\n"},
		{name: "filesystem", format: "{{.Filesystem.Type}}", want: "xfs\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			show, err := statusPrinter(tt.format, 0)
			var out bytes.Buffer
			if err == nil {
				err = show(&out, fullStatus())
			}
			if err != nil || out.String() != tt.want {
				t.Errorf("got %q, %v, want %q", out.String(), err, tt.want)
			}
		})
	}
	t.Run("JSON keeps text as it is", func(t *testing.T) {
		status := fullStatus()
		status.Booted.Version = "\x1b<\n"
		show, err := statusPrinter("json", 0)
		var out bytes.Buffer
		if err == nil {
			err = show(&out, status)
		}
		var back *inventory.Status
		if err == nil {
			err = json.Unmarshal(out.Bytes(), &back)
		}
		// The monotonic clock is not written.
		status.Booted.Created.Time = status.Booted.Created.UTC().Round(0)
		back.Booted.Created.Time = back.Booted.Created.UTC()
		if err != nil || !reflect.DeepEqual(status, back) || !strings.HasPrefix(out.String(), "{\n  \"schema\": 1,\n") {
			t.Errorf("%v, got\n%s", err, out.String())
		}
	})
	t.Run("text that a terminal would obey", func(t *testing.T) {
		status := fullStatus()
		status.Booted.Version = "\x1b[2J\n"
		show, err := statusPrinter("{{.Booted.Version}}", 0)
		var out bytes.Buffer
		if err == nil {
			err = show(&out, status)
		}
		if want := `\x1b[2J\n` + "\n"; err != nil || out.String() != want {
			t.Errorf("got %q, %v, want %q", out.String(), err, want)
		}
	})
}

// newStatusApp is the host of newListApp, without a repository that
// describes the deployment.
func newStatusApp(t *testing.T) *testApp {
	t.Helper()
	a, _, _, _ := newListApp(t)
	a.remove(t, "sysroot/ostree/repo")
	return a
}

func TestStatusOfAHost(t *testing.T) {
	a := newStatusApp(t)
	stdout, stderr, code := a.onHost(t, "status")
	// How large this machine's disk is does not matter here.
	stdout, _, _ = strings.Cut(stdout, "Filesystem:")
	checkOutput(t, stdout, stderr, code, `Host:        ostree (read from sysroot: not the running host)
Booted:      none
Staged:      none
Rollback:    none
Other:       docker://quay.io/os:1
             default/`+commit+`
Unified:     off: no deployment is booted here
Store:       bootc, 1.23 GB in 2 images, `+a.store()+`
Store:       default, 5 B in 3 images, `+a.root+`/var/lib/containers/storage
Bound:       1 of 2 images present
             missing: quay.io/missing
`)
	if n := len(a.execer.cmds); n != 0 {
		t.Errorf("became %v", a.execer.cmds)
	}
}

func TestStatusUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		args          []string
	}{
		{name: "operand", args: []string{"x"}, message: `status: unexpected argument "x"`},
		{name: "malformed template", args: []string{"--format", "{{"}, message: "status: read --format: "},
		{name: "unknown field", args: []string{"--format", "{{.Nope}}"}, message: "Nope"},
		{name: "unknown field of a deployment", args: []string{"--format", "{{.Staged.Nope}}"}, message: "Nope"},
		{name: "unknown field of a store", args: []string{"--format", "{{range .Stores}}{{.Nope}}{{end}}"}, message: "Nope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			a.remove(t, "sysroot")
			stdout, stderr, code := a.onHost(t, append([]string{"status"}, tt.args...)...)
			failure{code: 2, message: tt.message, hint: usageHintOf("status")}.check(t, stdout, stderr, code)
		})
	}
}

func TestStatusPrintsNothingWhenATemplateFailsLate(t *testing.T) {
	a := newStatusApp(t)
	stdout, stderr, code := a.onHost(t, "status", "--format", "{{.Kind}} {{.Booted.Digest}}")
	failure{code: 1, message: "print status: template: "}.check(t, stdout, stderr, code)
}

func TestStatusPrintsEachProblemOnALine(t *testing.T) {
	a := newStatusApp(t)
	a.writeFile(t, deployment+commit+"/usr/lib/bootc/bound-images.d/a.image", 0o644, "")
	a.writeFile(t, bootcStore+"/overlay-layers/layers.json", 0o644, "{")
	stdout, stderr, code := a.onHost(t, "status")
	lines := strings.Split(stderr, "\n")
	if !strings.HasPrefix(stdout, "Host: ") || code != 1 || len(lines) < 4 || lines[len(lines)-2] != "Hint: --lenient makes this a warning" {
		t.Fatalf("exit status %d, %q and\n%s", code, stdout, stderr)
	}
	for _, line := range lines[:len(lines)-2] {
		if !strings.HasPrefix(line, "Error: ") {
			t.Errorf("line %q is no error", line)
		}
	}
	stdout, _, code = a.onHost(t, "status", "--format", "json")
	var status struct{ Problems []string }
	if err := json.Unmarshal([]byte(stdout), &status); err != nil || code != 1 {
		t.Fatalf("exit status %d, %v: %s", code, err, stdout)
	}
	for i, problem := range status.Problems {
		if i >= len(lines)-2 || "Error: "+problem != lines[i] {
			t.Errorf("problem %d is %q, want that of\n%s", i, problem, stderr)
		}
	}
	stdout, stderr, code = a.onHost(t, "status", "--lenient", "--format", "{{.Kind}}")
	if stdout != "ostree\n" || code != 0 || strings.Count(stderr, "Warning: ") != len(lines)-2 || strings.Count(stderr, "\n") != len(lines)-2 {
		t.Errorf("lenient: exit status %d, %q and\n%s", code, stdout, stderr)
	}
}

// There is nothing that --lenient could show then, not even null.
func TestStatusOfWhatIsNoHost(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"status", "--lenient"}, {"status", "--lenient", "--format", "json"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			a := newTestApp(t)
			a.remove(t, "sysroot/ostree")
			stdout, stderr, code := a.onHost(t, args...)
			failure{code: 1, message: "no ostree or composefs directory", hint: "name the root of a bootc host with --sysroot"}.check(t, stdout, stderr, code)

			stdout, stderr, code = a.start(t, args...)
			failure{
				code: 1, message: "read status: a container has no deployments",
				hint: "run it on the bootc host itself, or name a host's root with --sysroot",
			}.check(t, stdout, stderr, code)
		})
	}
}
