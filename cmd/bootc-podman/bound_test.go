// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/bootc-podman/bootc-podman/internal/bound"
	"github.com/bootc-podman/bootc-podman/internal/health"
)

// lintApp is an app with units below the directory "image", which is the working directory.
func lintApp(t *testing.T, units map[string]string) *testApp {
	t.Helper()
	a := newTestApp(t)
	a.makeDir(t, "image/usr/lib/bootc/bound-images.d")
	a.writeFile(t, "image/etc/containers/storage.conf", 0o644, "")
	for name, content := range units {
		a.writeFile(t, "image/usr/share/containers/systemd/"+name, 0o644, content)
		a.link(t, "/usr/share/containers/systemd/"+name, "image/usr/lib/bootc/bound-images.d/"+name)
	}
	t.Chdir(a.dir + "/image")
	return a
}

func TestBoundLintExitsBySeverity(t *testing.T) {
	const good, risk, bad = "[Image]\nImage=quay.io/a/b:1\n", "[Image]\nImage=quay.io/a/b:latest\n", "[Image]\nImage=quay.io/a/b:%a\n"
	for _, tt := range []struct {
		unit string
		args []string
		code int
	}{
		{good, nil, 0},
		{good, []string{"--strict"}, 0},
		{risk, nil, 0},
		{risk, []string{"--strict"}, 1},
		{bad, nil, 1},
	} {
		a := lintApp(t, map[string]string{"x.image": tt.unit})
		stdout, stderr, code := a.start(t, append([]string{"bound", "lint", "--root", "."}, tt.args...)...)
		if code != tt.code || stderr != "" || (stdout == "") != (tt.unit == good) {
			t.Errorf("%q: exit status %d, %q, %q", tt.unit, code, stdout, stderr)
		}
		if len(a.runner.cmds)+len(a.execer.cmds) > 0 {
			t.Errorf("ran %v, became %v", a.runner.cmds, a.execer.cmds)
		}
	}
	a := lintApp(t, nil)
	stdout, stderr, code := a.start(t, "bound", "lint", "--root", "none")
	failure{code: 125, message: "open root directory: "}.check(t, stdout, stderr, code)
	a.writeFile(t, "image/etc/containers/storage.conf", 0o644, "[")
	a.writeFile(t, "image/usr/share/containers/systemd/y.container", 0o644, "[Container]\nImage=quay.io/a/b:1\n")
	a.link(t, "/usr/share/containers/systemd/y.container", "image/usr/lib/bootc/bound-images.d/y.container")
	if stdout, stderr, code = a.start(t, "bound", "lint", "--root", "."); code != 125 || !strings.Contains(stdout, "[unreadable]") || stderr != "" {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
}

func TestBoundLintPrintsEachFormat(t *testing.T) {
	units := map[string]string{"a.image": "[Image]\nImage=quay.io/a/b\n", "b\n.kube": ""}
	const what, why = `bootc's cleanup does not recognise "quay.io/a/b", which has no tag: podman stores it with one`, ", so that bootc pulls the image, and deletes it in the cleanup of the same upgrade"
	for format, want := range map[string][]string{
		"text": {
			"usr/share/containers/systemd/a.image:2: failing: " + what + why + " [bound-untagged]\n    replace with: Image=quay.io/a/b:latest\n",
			"usr/share/containers/systemd/a.image:2: risk: the tag latest moves",
			`usr/lib/bootc/bound-images.d/b\n.kube: failing: name ends in neither`,
		},
		"github": {
			"::error file=usr/share/containers/systemd/a.image,line=2,title=bound-untagged::" + what + why + "; replace with: Image=quay.io/a/b:latest\n",
			"::warning file=usr/share/containers/systemd/a.image,line=2,title=bound-moving-tag::",
			"::error file=usr/lib/bootc/bound-images.d/b%0A.kube,title=bound-unit-type::name ends",
		},
		"sarif": {`"ruleId": "bound-untagged"`, `"uri": "usr/share/containers/systemd/a.image"`, `"startLine": 2`, `"text": "Image=quay.io/a/b:latest\n"`, `"uri": "usr/lib/bootc/bound-images.d/b%0A.kube"`},
		"json":  {`"rule": "bound-untagged"`, `"file": "usr/share/containers/systemd/a.image"`, `"line": 2`, `"units": 2`},
	} {
		var stdout, stderr string
		var code int
		t.Run(format, func(t *testing.T) { // in its own working directory
			stdout, stderr, code = lintApp(t, units).start(t, "bound", "lint", "--root", ".", "--format", format)
		})
		if code != 1 || stderr != "" {
			t.Errorf("exit status %d, %q", code, stderr)
		}
		for _, part := range want {
			if !strings.Contains(stdout, part) {
				t.Errorf("%s has no\n%s\nin\n%s", format, part, stdout)
			}
		}
		var doc any
		if err := json.Unmarshal([]byte(stdout), &doc); (err == nil) != (format == "json" || format == "sarif") {
			t.Errorf("%s: %v", format, err)
		}
		if format == "json" {
			conforms(t, "bound-lint-v1", doc)
		}
	}
}

// conforms fails unless a document is as its schema says.
func conforms(t *testing.T, name string, doc any) {
	t.Helper()
	schema, err := jsonschema.Compile("../../docs/" + name + ".schema.json")
	if err == nil {
		err = schema.Validate(doc)
	}
	if err != nil {
		t.Errorf("%s: %#v", name, err)
	}
}

func TestBoundLintReportsThatItCannotPrint(t *testing.T) {
	report := bound.LintReport{Findings: []bound.LintFinding{{Finding: health.Finding{Rule: health.BoundUntagged}}}}
	for _, format := range lintFormats() {
		if err := printLint(failingWriter{}, format, report); err == nil {
			t.Errorf("%s: no error", format)
		}
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestBoundListAndCheckPrintTheStateOfImages(t *testing.T) {
	a, _, app, _ := newListApp(t)
	const heading = "IMAGE               UNIT           DEPLOYMENT  DIGEST               STATE\n"
	stdout, stderr, code := a.onHost(t, "bound", "list")
	digest := regexp.MustCompile(`sha256:[0-9a-f]{12}\b`)
	checkOutput(t, digest.ReplaceAllString(stdout, "sha256:DIGEST......"), stderr, code, heading+
		"quay.io/app:latest  app.image      other       sha256:DIGEST......  present\n"+
		"quay.io/missing     missing.image  other       <none>               missing\n")
	a.writeStore(t, defaultStore, &storedImage{}, &storedImage{}, &storedImage{names: []string{"quay.io/app:latest"}})
	stdout, stderr, code = a.onHost(t, "bound", "check")
	for _, want := range []string{
		"damaged, shadowed\n", "<none>               missing\n", "[image-damaged]\n",
		"risk: bound image quay.io/app:latest: podman's own store has another image of its name",
		"failing: bound image quay.io/missing: is not in the bootc-owned store", "[bound-missing]\n",
	} {
		if !strings.Contains(stdout, want) || stderr != "" || code != 1 {
			t.Errorf("exit status %d, %q, no %q in\n%s", code, stderr, want, stdout)
		}
	}
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"bound", "list", "--format", "json"}, 0},
		{[]string{"bound", "check", "--format", "json"}, 1},
		{[]string{"bound", "check", "--format", "json", "--deployment", "booted"}, 0},
	} {
		stdout, stderr, code := a.onHost(t, tt.args...)
		var doc any
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != tt.code || stderr != "" {
			t.Errorf("%q: exit status %d, %q, %v", tt.args, code, stderr, err)
		}
		conforms(t, "bound-"+tt.args[1]+"-v1", doc)
		if tt.code == 1 && !strings.Contains(stdout, app.id) {
			t.Errorf("%q: no %s in\n%s", tt.args, app.id, stdout)
		}
	}
	if len(a.runner.cmds)+len(a.execer.cmds) > 0 {
		t.Errorf("ran %v, became %v", a.runner.cmds, a.execer.cmds)
	}
	// What cannot be read may be what matters.
	a.writeFile(t, bootcStore+"/overlay-images/images.json", 0o600, "[")
	if stdout, stderr, code = a.onHost(t, "bound", "check"); code != 125 || !strings.Contains(stdout, "unknown: ") || stderr != "" {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
	stdout, stderr, code = a.onHost(t, "bound", "list")
	if code != 1 || !strings.Contains(stdout, "unknown\n") || !strings.Contains(stderr, "images.json") {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
	if _, _, code = a.onHost(t, "bound", "list", "--lenient"); code != 0 {
		t.Errorf("--lenient: exit status %d", code)
	}
}

func TestActionsOfBoundTakeTheirOptions(t *testing.T) {
	for _, tt := range []struct {
		args, message string
	}{
		{"bound lock --strict", "bound lock: there is no option --strict"},
		{"bound check --format sarif", `bound check: unknown format "sarif": use text or json`},
		{"bound list --strict", "bound list: there is no option --strict"},
		{"bound list --deployment x", `bound: unknown deployment "x": use booted, staged, rollback or all`},
		{"bound fetch --jobs 0", "bound fetch: --jobs 0 is less than 1"},
		{"bound refresh --all --retry -1", "bound refresh: cannot retry -1 times"},
		{"bound lint x", `bound lint: unexpected argument "x"`},
		{"bound lint --root=", "bound lint: --root is empty"},
		{"bound lint --format table", `bound: unknown format "table": use text, json, sarif or github`},
		{"--sysroot /mnt bound lint", `bound lint: --sysroot "/mnt" is not supported: use --root`},
	} {
		stdout, stderr, code := runApp(t, strings.Fields(tt.args)...)
		failure{code: 2, message: tt.message, hint: usageHintOf("bound")}.check(t, stdout, stderr, code)
	}
}
