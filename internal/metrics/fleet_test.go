// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const fleetDocument = "../../docs/fleet.md"

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fenced returns the block of the document whose first line is "# " with a name.
func fenced(t *testing.T, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(readText(t, fleetDocument), "\n# "+name+"\n")
	block, _, ended := strings.Cut(rest, "\n```\n")
	if !found || !ended {
		t.Fatalf("%s has no block %q", fleetDocument, name)
	}
	return block + "\n"
}

func TestFleetDocumentHasTheMetrics(t *testing.T) {
	var table strings.Builder
	for _, m := range All() {
		var names []string
		for _, label := range m.Labels {
			names = append(names, "`"+label+"`")
		}
		fmt.Fprintf(&table, "| `%s%s` | %s | %s |\n", prefix, m.Name, strings.Join(names, ", "), m.Help)
	}
	if !strings.Contains(readText(t, fleetDocument), "\n| metric | labels | meaning |\n|---|---|---|\n"+table.String()+"\n") {
		t.Errorf("the table has to be\n%s", &table)
	}
}

func TestAlertsNameMetricsThatExist(t *testing.T) {
	var known []string
	for _, m := range All() {
		known = append(known, prefix+m.Name)
	}
	for _, text := range []string{fenced(t, "bootc-podman.rules.yml"), readText(t, "testdata/alerts.yml")} {
		names := regexp.MustCompile(`\bbootc_podman_\w+`).FindAllString(text, -1)
		if len(names) < 9 {
			t.Errorf("found only %v", names)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				t.Errorf("there is no metric %s", name)
			}
		}
	}
}

// TestAlertsEvaluateOnSampleData: testdata/alerts.yml has a healthy host, one for which each
// alert fires, and the times before.
func TestAlertsEvaluateOnSampleData(t *testing.T) {
	needTools(t)
	dir, rules, cases := t.TempDir(), fenced(t, "bootc-podman.rules.yml"), readText(t, "testdata/alerts.yml")
	for _, alert := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(rules, -1) {
		if silent, fires := "alertname: "+alert[1]+"}", "alertname: "+alert[1]+"\n        exp_alerts:"; !strings.Contains(cases, silent) || !strings.Contains(cases, fires) {
			t.Errorf("%s: a case is missing", alert[1])
		}
	}
	for name, text := range map[string]string{"bootc-podman.rules.yml": rules, "alerts.yml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool, err := filepath.Abs(filepath.Join(tools, "promtool"))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "bootc-podman.rules.yml"}, {"test", "rules", "alerts.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestPlayIsYAML: ansible-playbook checks it where that is installed.
func TestPlayIsYAML(t *testing.T) {
	needTools(t)
	play := filepath.Join(t.TempDir(), "fleet.yml")
	if err := os.WriteFile(play, []byte(fenced(t, "fleet.yml")), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys, yaml
(play,) = yaml.safe_load(open(sys.argv[1]))
assert play["hosts"] == "bootc" and len(play["tasks"]) == 7, play
for task in play["tasks"]:
    assert task["name"] and any(key.startswith("ansible.builtin.") for key in task), task
`
	cmd := exec.Command("python3", "-c", script, play)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(tools, "python"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Log("ansible-playbook is not installed: its syntax check is left out")
		return
	}
	if out, err := exec.Command("ansible-playbook", "--syntax-check", "-i", "localhost,", play).CombinedOutput(); err != nil {
		t.Errorf("ansible-playbook: %v\n%s", err, out)
	}
}
