// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/doctor"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// tools is where "make test-monitoring" puts the parsers of Prometheus.
const tools = "../../build/tools"

// fullCheck has a value for each metric.
func fullCheck(image string) *Check {
	on := true
	return &Check{
		Version: "0.1.0", Ended: time.Unix(1795957389, 5e8), Took: 250 * time.Millisecond,
		Findings: []health.Finding{
			{Rule: health.BoundMissing, Severity: health.Failing, What: "a"},
			{Rule: health.BoundMissing, Severity: health.Failing, What: "b"},
			{Rule: health.NoReflinks, Severity: health.Information},
		},
		State: &doctor.State{
			Deployments: []host.Deployment{
				{Role: host.Booted, Image: reference(image), ManifestDigest: "sha256:0123", Version: "42.1", Created: time.Unix(1795000000, 0)},
				{Role: host.Rollback},
			},
			Unified: &on, BoundPresent: 2, BoundMissing: 1,
			Stores:     []inventory.StoreUsage{{Store: inventory.BootcStore, Images: 3, Size: 1234567890123}, {Store: inventory.DefaultStore}},
			Filesystem: &inventory.Filesystem{Size: 2e12, Available: 1.5e12},
			Hooks:      []setup.Effect{{Hook: "ledger", Installed: true}, {Hook: "bound-gate"}},
		},
	}
}

func reference(name string) *host.SignedReference {
	return &host.SignedReference{Image: host.ImageReference{Transport: host.Registry, Name: name}}
}

const fullText = `# HELP bootc_podman_build_info The version of bootc-podman that checked the host, always 1.
# TYPE bootc_podman_build_info gauge
bootc_podman_build_info{version="0.1.0"} 1
# HELP bootc_podman_check_timestamp_seconds When the last check of the host ended, in seconds since 1970.
# TYPE bootc_podman_check_timestamp_seconds gauge
bootc_podman_check_timestamp_seconds 1795957389
# HELP bootc_podman_check_duration_seconds How long the last check took.
# TYPE bootc_podman_check_duration_seconds gauge
bootc_podman_check_duration_seconds 0.25
# HELP bootc_podman_findings What doctor found, by severity.
# TYPE bootc_podman_findings gauge
bootc_podman_findings{severity="failing"} 2
bootc_podman_findings{severity="unknown"} 0
bootc_podman_findings{severity="risk"} 0
bootc_podman_findings{severity="information"} 1
# HELP bootc_podman_rule_findings What doctor found, by rule; rules without a finding are left out.
# TYPE bootc_podman_rule_findings gauge
bootc_podman_rule_findings{rule="bound-missing",severity="failing"} 2
bootc_podman_rule_findings{rule="no-reflinks",severity="information"} 1
# HELP bootc_podman_unified Whether bootc upgrades the host through the bootc-owned store.
# TYPE bootc_podman_unified gauge
bootc_podman_unified 1
# HELP bootc_podman_bound_images Bound images of all deployments, by whether the bootc-owned store has them.
# TYPE bootc_podman_bound_images gauge
bootc_podman_bound_images{state="present"} 2
bootc_podman_bound_images{state="missing"} 1
# HELP bootc_podman_store_images Images in a store.
# TYPE bootc_podman_store_images gauge
bootc_podman_store_images{store="bootc"} 3
bootc_podman_store_images{store="default"} 0
# HELP bootc_podman_store_bytes What the layers of a store hold, each counted once, shared extents not subtracted.
# TYPE bootc_podman_store_bytes gauge
bootc_podman_store_bytes{store="bootc"} 1234567890123
bootc_podman_store_bytes{store="default"} 0
# HELP bootc_podman_filesystem_size_bytes Size of the filesystem of the bootc-owned store.
# TYPE bootc_podman_filesystem_size_bytes gauge
bootc_podman_filesystem_size_bytes 2000000000000
# HELP bootc_podman_filesystem_available_bytes What root can still write to the filesystem of the bootc-owned store.
# TYPE bootc_podman_filesystem_available_bytes gauge
bootc_podman_filesystem_available_bytes 1500000000000
# HELP bootc_podman_hook_runs Whether podman runs a hook when containers start.
# TYPE bootc_podman_hook_runs gauge
bootc_podman_hook_runs{hook="ledger"} 1
bootc_podman_hook_runs{hook="bound-gate"} 0
# HELP bootc_podman_deployment_info A deployment and its image, always 1.
# TYPE bootc_podman_deployment_info gauge
bootc_podman_deployment_info{role="booted",image="docker://quay.io/example/os:42",digest="sha256:0123",version="42.1"} 1
bootc_podman_deployment_info{role="rollback",image="",digest="",version=""} 1
# HELP bootc_podman_deployment_created_timestamp_seconds When the image of a deployment was built, in seconds since 1970.
# TYPE bootc_podman_deployment_created_timestamp_seconds gauge
bootc_podman_deployment_created_timestamp_seconds{role="booted"} 1795000000
# EOF
`

func TestTextOfAFullCheck(t *testing.T) {
	if got := string(Text(fullCheck("quay.io/example/os:42"))); got != fullText {
		t.Errorf("got\n%s", got)
	}
	// Each metric has a value in it, so that the parsers below read all.
	for _, m := range All() {
		if !strings.Contains(fullText, "# TYPE "+prefix+m.Name+" gauge\n") {
			t.Errorf("%s has no value", m.Name)
		}
	}
}

func TestAHostThatCannotBeReadHasItsFindingsAndNoOtherFigure(t *testing.T) {
	check := Check{Version: "0.1.0", Ended: time.Unix(1, 0), Findings: []health.Finding{{Rule: health.Unreadable, Severity: health.Unknown}}}
	got := string(Text(&check))
	for _, line := range []string{`bootc_podman_findings{severity="unknown"} 1`, `bootc_podman_rule_findings{rule="unreadable",severity="unknown"} 1`, "bootc_podman_check_timestamp_seconds 1"} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	check.State = &doctor.State{BoundUnknown: true}
	for _, got := range []string{got, string(Text(&check))} {
		if strings.Contains(got, "unified") || strings.Contains(got, "bytes") || strings.Contains(got, "bound_images") {
			t.Errorf("got\n%s", got)
		}
	}
}

// hostileNames are names of images that a file of the host may have.
func hostileNames() map[string]string {
	return map[string]string{
		"quotes":       `a"} 1` + "\n" + `bootc_podman_unified 7` + "\n#",
		"backslash":    `a\`,
		"backslash n":  `a\nb`,
		"end of file":  "a\n# EOF\n",
		"control":      "a\x00\x1b[2J\r\x7f\u0085\u2028",
		"no UTF-8":     "a\xff\xfe",
		"other script": "образ/образ:Ω",
		"braces":       `{x="y",z="1"}`,
		"long":         strings.Repeat("ä", 100000),
	}
}

func TestHostileNamesStayOneLine(t *testing.T) {
	for name, image := range hostileNames() {
		t.Run(name, func(t *testing.T) {
			got := Text(fullCheck(image))
			if !utf8.Valid(got) || bytes.Count(got, []byte("\n")) != strings.Count(fullText, "\n") {
				t.Errorf("got\n%s", got)
			}
			for line := range strings.Lines(string(got)) {
				if len(line) > 1024 {
					t.Errorf("a line of %d bytes", len(line))
				}
			}
		})
	}
}

// parse has both parsers read a text: that of the textfile collector, by promtool, which
// also checks names, and that of OpenMetrics. It returns the samples of the latter.
func parse(t *testing.T, text []byte) (samples []parsed) {
	t.Helper()
	promtool := exec.Command(filepath.Join(tools, "promtool"), "check", "metrics")
	promtool.Stdin = bytes.NewReader(text)
	if out, err := promtool.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("promtool: %v: %s\n%s", err, out, text)
	}
	const script = `
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
text = sys.stdin.buffer.read().decode()
print(json.dumps([{"name": s.name, "labels": s.labels, "value": s.value} for f in text_string_to_metric_families(text) for s in f.samples]))
`
	python := exec.Command("python3", "-c", script)
	python.Stdin, python.Env = bytes.NewReader(text), append(os.Environ(), "PYTHONPATH="+filepath.Join(tools, "python"))
	var stderr bytes.Buffer
	python.Stderr = &stderr
	out, err := python.Output()
	if err != nil {
		t.Fatalf("OpenMetrics: %v: %s\n%s", err, &stderr, text)
	}
	if err := json.Unmarshal(out, &samples); err != nil {
		t.Fatal(err)
	}
	return samples
}

// parsed is a sample as a parser read it.
type parsed struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

// needTools skips a test where the parsers are not there, but not in continuous integration.
func needTools(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(tools, "promtool")); err != nil {
		if os.Getenv("NEED_MONITORING_TOOLS") != "" {
			t.Fatal(err)
		}
		t.Skip(`promtool is not in build/tools; "make test-monitoring" puts it there`)
	}
}

func TestParsersOfPrometheusAndOpenMetricsReadTheText(t *testing.T) {
	needTools(t)
	samples := parse(t, Text(fullCheck("quay.io/example/os:42")))
	if want := strings.Count(fullText, "\n") - strings.Count(fullText, "\n# ") - 1; len(samples) != want {
		t.Errorf("got %d samples, want %d", len(samples), want)
	}
	if !slices.ContainsFunc(samples, func(s parsed) bool {
		return s.Name == "bootc_podman_store_bytes" && s.Labels["store"] == "bootc" && s.Value == 1234567890123
	}) {
		t.Errorf("got %v", samples)
	}
}

func TestParsersReadHostileNamesBack(t *testing.T) {
	needTools(t)
	// One text, as promtool takes a while to start.
	check := fullCheck("")
	check.State.Deployments = nil
	for name, image := range hostileNames() {
		check.State.Deployments = append(check.State.Deployments, host.Deployment{Role: host.Role(name), Image: reference(image), Version: image})
	}
	read := 0
	for _, s := range parse(t, Text(check)) {
		if s.Name == "bootc_podman_unified" && s.Value != 1 {
			t.Errorf("a name changed a value: %v", s)
		}
		if s.Name != "bootc_podman_deployment_info" {
			continue
		}
		read++
		name, got := s.Labels["role"], s.Labels["image"]
		image := hostileNames()[name]
		switch name {
		case "control", "no UTF-8", "long":
			if first, _ := utf8.DecodeRuneInString(image); !strings.HasPrefix(got, "docker://"+string(first)) {
				t.Errorf("%s: got %q", name, got)
			}
		default:
			if got != "docker://"+image || s.Labels["version"] != image {
				t.Errorf("%s: got %q, want %q", name, got, image)
			}
		}
	}
	if read != len(hostileNames()) {
		t.Errorf("%d names were read", read)
	}
}

// FuzzText: no name makes the text have another line.
func FuzzText(f *testing.F) {
	for _, image := range hostileNames() {
		f.Add(image)
	}
	want := strings.Count(fullText, "\n")
	f.Fuzz(func(t *testing.T, image string) {
		text := string(Text(fullCheck(image)))
		if strings.Count(text, "\n") != want || !utf8.ValidString(text) {
			t.Errorf("got\n%s", text)
		}
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(line, `bootc_podman_deployment_info{role="booted",image="`); ok {
				if got := unescape(t, value); !strings.HasPrefix(got, "docker://") {
					t.Errorf("got %q", got)
				}
			}
		}
	})
}

// unescape reads a value up to its quotes, as the format has it.
func unescape(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			if !strings.HasPrefix(text[i:], fmt.Sprintf(`",digest=%q`, "sha256:0123")) {
				t.Errorf("the value ends early: %q", text)
			}
			return out.String()
		case '\\':
			i++
			out.WriteByte(map[byte]byte{'n': '\n', '\\': '\\', '"': '"'}[text[i]])
		default:
			out.WriteByte(text[i])
		}
	}
	t.Errorf("the value does not end: %q", text)
	return ""
}
