// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/bootc-podman/bootc-podman/hooks"
)

func TestHooksKeepTheirExitStatusAndOutput(t *testing.T) {
	for _, tt := range []struct {
		name, stdin, want string
		args              []string
		code              int
	}{
		{name: "ledger", args: []string{"ledger"}, stdin: "no JSON"},
		{name: "unknown", args: []string{"of-tomorrow", "--option"}, stdin: "{}", want: "{}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			a.stdin = strings.NewReader(tt.stdin)
			stdout, stderr, code := a.start(t, append([]string{"hook"}, tt.args...)...)
			if stdout != tt.want || stderr != "" || code != tt.code {
				t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

func TestHookExplainsItself(t *testing.T) {
	for _, args := range [][]string{{"hook"}, {"hook", "--help"}} {
		stdout, stderr, code := runApp(t, args...)
		if !strings.Contains(stdout, "hook ledger") || stderr != "" || code != 0 {
			t.Errorf("%q: exit status %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// lease writes the lease of a container of this boot.
func (a *testApp) lease(t *testing.T, id, name string, pid int) {
	t.Helper()
	a.writeFile(t, "root/proc/sys/kernel/random/boot_id", 0o644, strings.Repeat("0", 36))
	if pid > 0 {
		a.writeFile(t, fmt.Sprintf("root/proc/%d/stat", pid), 0o644, "1 (x) S"+strings.Repeat(" 7", 50))
	}
	name = strings.ReplaceAll(name, "\x1b", `\u001b`)
	a.writeFile(t, "root/run/bootc-podman/leases/"+id+".json", 0o600, fmt.Sprintf(
		`{"schema":1,"id":%q,"name":"%s","image":{"id":"abc","name":"localhost/app:1","digest":""},"layers":[{"store":"bootc"},{"store":"default"},{"store":"bootc"}],"pid":%d,"pid_start":7,"boot_id":%q,"started":"2026-08-01T10:00:00Z"}`,
		id, name, pid, strings.Repeat("0", 36)))
}

func TestUsageListsWhatRuns(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, "root/usr/bin/bootc-podman", 0o755, "#!/bin/sh\nexec bootc-podman \"$@\"\n")
	stdout, stderr, code := a.start(t, "usage")
	if strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "the hook ledger does not run, containers are not recorded: not installed") || code != 0 {
		t.Errorf("without hooks: exit status %d, %q, %q", code, stdout, stderr)
	}
	usage := func() (out usageOutput) {
		t.Helper()
		stdout, _, _ := a.start(t, "usage", "--format", "json")
		checkSchema(t, "../../docs/usage-v1.schema.json", stdout)
		if err := json.Unmarshal([]byte(stdout), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := usage(); out.Ledger.Installed || out.Ledger.Problem != "not installed" || out.Ledger.Since != nil || len(out.Containers) != 0 {
		t.Errorf("without hooks: %+v", out)
	}
	a.writeFile(t, "root/proc/stat", 0o644, "cpu  1 2\nbtime 1000000000\n")
	a.start(t, "hooks", "install", "--program", "/usr/bin/bootc-podman")
	file := filepath.Join(a.root, "etc/bootc-podman/hooks.d/50-bootc-podman-ledger.json")
	for written, want := range map[int64]int64{999999999: 1000000000, 1000000001: 1000000001} {
		if err := os.Chtimes(file, time.Time{}, time.Unix(written, 0)); err != nil {
			t.Fatal(err)
		}
		if out := usage(); !out.Ledger.Installed || out.Ledger.Since == nil || out.Ledger.Since.Unix() != want {
			t.Errorf("written at %d: %+v", written, out.Ledger)
		}
	}
	if _, stderr, _ = a.start(t, "usage"); !strings.HasPrefix(stderr, "Containers are recorded since 2001-09-09T") {
		t.Errorf("with hooks: %q", stderr)
	}
	a.lease(t, "one", "app\x1b[m", 42)
	a.lease(t, "two", "ended", 0)
	const template = "{{.ID}} {{.Name}} {{.Image}} {{.Stores}} {{.PID}} {{.State}}"
	stdout, stderr, code = a.start(t, "usage", "--format", template)
	if want := "one app\\x1b[m localhost/app:1 bootc,default 42 running\n"; stdout != want || stderr != "" || code != 0 {
		t.Errorf("exit status %d, %q, %q, want %q", code, stdout, stderr, want)
	}
	stdout, _, _ = a.start(t, "usage", "--all", "--format", "{{.ID}} {{.State}}")
	if want := "one running\ntwo gone\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	stdout, _, _ = a.start(t, "usage")
	if out := usage(); len(out.Containers) != 1 || out.Containers[0].ID != "one" {
		t.Errorf("%+v", out)
	}
	if lines := strings.Split(stdout, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "CONTAINER ID  NAME") {
		t.Errorf("table:\n%s", stdout)
	}
	if err := os.WriteFile(filepath.Join(a.root, "run/bootc-podman/leases/three.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code = a.start(t, "usage", "--format", "{{.ID}}")
	if stdout != "one\n" || !strings.HasPrefix(stderr, "Warning: ") || !strings.Contains(stderr, "three.json") || code != 0 {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
	stdout, stderr, code = a.start(t, "usage", "--format", "{{.Nothing}}")
	failure{code: 2, message: "Nothing", hint: usageHintOf("usage")}.check(t, stdout, stderr, code)
	if err := os.Chmod(filepath.Join(a.root, "run/bootc-podman"), 0o777); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code = a.start(t, "usage")
	failure{code: 1, message: "others may write to it"}.check(t, stdout, stderr, code)
	if _, stderr, code = a.start(t, "usage", "--lenient"); code != 0 || !strings.HasPrefix(stderr, "Warning: ") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}

func TestHooksDeniedSaysWhyTheLastFirst(t *testing.T) {
	a := newTestApp(t)
	denied := func(args ...string) (string, string, int) {
		return a.start(t, append([]string{"hooks", "denied"}, args...)...)
	}
	if stdout, stderr, code := denied(); stdout != "DENIED  CONTAINER ID  NAME  HOOK  REASON\n" || stderr != "" || code != 0 {
		t.Errorf("without any: exit status %d, %q, %q", code, stdout, stderr)
	}
	for i, id := range []string{"b", "a", "c"} {
		a.writeFile(t, "root/run/bootc-podman/denied/"+strings.Repeat(id, 64)+".json", 0o600, fmt.Sprintf(
			`{"schema":1,"id":%q,"hook":"bound-gate","reason":"is \u001b[31m not bound","name":"app","image":null,"time":"2026-08-0%dT10:00:00Z"}`, strings.Repeat(id, 64), i+1))
	}
	a.writeFile(t, "root/run/bootc-podman/denied/x.json", 0o600, "{")
	stdout, stderr, code := denied()
	lines := strings.Split(stdout, "\n")
	if len(lines) != 5 || !strings.Contains(lines[1], "cccccccccccc  app   bound-gate  is \\x1b[31m not bound") || !strings.Contains(lines[3], "bbbbbbbbbbbb  ") ||
		!strings.Contains(stderr, "x.json") || code != 0 {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
	stdout, _, _ = denied("--format", "json")
	var all []hooks.Denial
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || len(all) != 3 || all[0].ID[0] != 'c' || all[2].ID[0] != 'b' {
		t.Errorf("%s: %v", stdout, err)
	}
	stdout, stderr, code = denied("--format", "x")
	failure{code: 2, message: `unknown format "x"`, hint: usageHintOf("hooks")}.check(t, stdout, stderr, code)
}

func TestHooksRefusesUnknownWords(t *testing.T) {
	for _, tt := range []struct{ args, message string }{
		{"hooks", "no action given"},
		{"hooks remove", `unknown action "remove"`},
		{"hooks verify x", `unexpected argument "x"`},
		{"hooks explain", "name one config.json"},
		{"hooks explain a b", "name one config.json"},
		{"hooks install --mode x", `unknown mode "x"`},
		{"hooks install --program x", `program "x" is no absolute path`},
		{"hooks verify --mode deny", "there is no option --mode"},
		{"hooks identity --root /x", "there is no option --root"},
		{"hooks list --format json", "there is no option --format"},
		// As of a script whose variable is not set: it does not mean this host.
		{"hooks install --root=", "--root is empty"},
		{"bound", "no action given"},
		{"bound unlock", `unknown action "unlock"`},
		{"bound lock x", `unexpected argument "x"`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, code := runApp(t, strings.Fields(tt.args)...)
			failure{code: 2, message: tt.message, hint: usageHintOf(strings.Fields(tt.args)[0])}.check(t, stdout, stderr, code)
		})
	}
}

func TestActionsHaveHelp(t *testing.T) {
	for _, args := range []string{"hooks verify --help", "hooks install -h", "hooks --help explain", "bound lock --help", "usage -h"} {
		stdout, stderr, code := runApp(t, strings.Fields(args)...)
		if want := "bootc-podman " + strings.Fields(args)[0]; !strings.Contains(stdout, want) || stderr != "" || code != 0 {
			t.Errorf("%s: exit status %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestHooksExplainNamesTheFile(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, "config.json", 0o644, "{")
	file := filepath.Join(a.dir, "config.json")
	stdout, stderr, code := a.start(t, "hooks", "explain", file)
	failure{code: 1, message: fmt.Sprintf("explain %q: decode config", file)}.check(t, stdout, stderr, code)
}

func TestHooksAreInstalledAndVerified(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, "root/usr/bin/bootc-podman", 0o755, "#!/bin/sh\nexec bootc-podman \"$@\"\n")
	run := func(want int, args ...string) string {
		t.Helper()
		stdout, stderr, code := a.start(t, append([]string{"hooks"}, args...)...)
		if code != want {
			t.Errorf("%q: exit status %d: %s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	if out := run(1, "verify"); !strings.Contains(out, "so that the hooks do not run") {
		t.Errorf("not installed: %q", out)
	}
	run(0, "install", "--program", "/usr/bin/bootc-podman", "--mode", "enforce")
	if out := run(0, "verify"); out != "" {
		t.Errorf("verify: %q", out)
	}
	if out := run(0, "list"); strings.Count(out, "\n") != 4 || !strings.Contains(out, "/usr/bin/bootc-podman hook mount-guard --mode enforce") {
		t.Errorf("list:\n%s", out)
	}
	a.stdin = strings.NewReader(`{"process":{"args":["x"]}}`)
	if out := run(0, "explain", "-"); !strings.Contains(out, "ledger.json: runs at createRuntime, poststop\n  writes a lease") {
		t.Errorf("explain:\n%s", out)
	}
	a.writeFile(t, "root/etc/containers/containers.conf", 0o644, "[")
	run(125, "verify")
	run(0, "uninstall")
	if _, err := os.Stat(filepath.Join(a.root, "etc/bootc-podman")); err == nil {
		t.Error("something is left")
	}
}

// checkSchema compares JSON with a schema of the documentation.
func checkSchema(t *testing.T, schema, text string) {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	if err := jsonschema.MustCompile(schema).Validate(value); err != nil {
		t.Errorf("%v", err)
	}
}
