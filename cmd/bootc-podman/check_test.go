// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/health"
)

func TestDoctorWritesMetrics(t *testing.T) {
	a := newTestApp(t)
	file := filepath.Join(a.dir, "collector", "host.prom")
	a.writeFile(t, "collector/host.prom", 0o600, "old")
	_, stderr, code := a.onHost(t, "--dry-run", "doctor", "--metrics", file)
	if old, err := os.ReadFile(file); err != nil || string(old) != "old" || stderr != "Would write \""+file+"\"\n" {
		t.Errorf("a dry run wrote %q (%v), and printed %q", old, err, stderr)
	}
	_, stderr, again := a.onHost(t, "doctor", "--metrics", file)
	text, err := os.ReadFile(file)
	if err != nil || stderr != "" || again != code || !strings.Contains(string(text), "bootc_podman_store_images{store=\"bootc\"} 0\n") || !strings.HasSuffix(string(text), "# EOF\n") {
		t.Errorf("got %q and %d (%v), and wrote\n%s", stderr, again, err, text)
	}
	// An exporter runs as another user.
	if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o644 {
		t.Errorf("mode %v (%v)", fi.Mode(), err)
	}
	if names, err := os.ReadDir(filepath.Dir(file)); err != nil || len(names) != 1 {
		t.Errorf("left %v (%v)", names, err)
	}
}

func TestDoctorWithMetricsThatCannotBeWritten(t *testing.T) {
	a := newTestApp(t)
	a.makeDir(t, "collector/host.prom")
	for _, tt := range []struct {
		file, message string
		code          int
	}{
		{filepath.Join(a.dir, "none/host.prom"), "no such file or directory", 1},
		{filepath.Join(a.dir, "collector/host.prom"), "write metrics: ", 1},
		{"", `doctor: read --metrics: "" is no file`, 2},
		{a.dir + "/", "is no file", 2},
	} {
		t.Run(tt.file, func(t *testing.T) {
			stdout, stderr, code := a.onHost(t, "doctor", "--metrics", tt.file)
			if code != tt.code || !strings.Contains(stderr, tt.message) {
				t.Errorf("got %d and %q", code, stderr)
			}
			// What was found is printed all the same.
			if (tt.code == 1) != (stdout != "") {
				t.Errorf("printed %q", stdout)
			}
			if names, err := os.ReadDir(filepath.Join(a.dir, "collector")); err != nil || len(names) != 1 {
				t.Errorf("left %v (%v)", names, err)
			}
		})
	}
}

// TestMetricsReplaceNoOtherKindOfFile: of /dev/stdout, a renamed file would take the place.
func TestMetricsReplaceNoOtherKindOfFile(t *testing.T) {
	a := newTestApp(t)
	a.makeDir(t, "collector")
	fifo, link := filepath.Join(a.dir, "collector/fifo"), filepath.Join(a.dir, "collector/link")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("fifo", link)); err != nil {
		t.Fatal(err)
	}
	for file, kind := range map[string]os.FileMode{fifo: os.ModeNamedPipe, link: os.ModeSymlink} {
		_, stderr, code := a.onHost(t, "doctor", "--metrics", file)
		if code != 1 || !strings.HasPrefix(stderr, "Error: write metrics: write "+file+": not a regular file") {
			t.Errorf("got %d and %q", code, stderr)
		}
		if fi, err := os.Lstat(file); err != nil || fi.Mode().Type() != kind {
			t.Errorf("%s has become %v (%v)", file, fi.Mode(), err)
		}
	}
}

// findingsOf are findings of these severities.
func findingsOf(severities ...health.Severity) (list []health.Finding) {
	for i, s := range severities {
		list = append(list, health.Finding{Rule: []health.Rule{health.HookMissing, health.BoundMissing}[i%2], Severity: s})
	}
	return list
}

func TestRecordOfACheck(t *testing.T) {
	for _, tt := range []struct {
		message string
		found   []health.Finding
		p       journal.Priority
		fields  map[string]string
	}{
		{"host checked, nothing is wrong", nil, journal.PriInfo, map[string]string{"MESSAGE_ID": messageHealthy}},
		{
			"host checked, nothing is wrong: 0 failing, 0 unknown, 0 risk, 1 information", findingsOf(health.Information), journal.PriInfo,
			map[string]string{"MESSAGE_ID": messageHealthy, "BOOTC_PODMAN_INFORMATION": "1", "BOOTC_PODMAN_RULES": "hook-missing"},
		},
		{
			"host checked, something is wrong: 2 failing, 1 unknown, 0 risk, 0 information", findingsOf(health.Failing, health.Unknown, health.Failing), journal.PriWarning,
			map[string]string{"MESSAGE_ID": messageFaulty, "BOOTC_PODMAN_FAILING": "2", "BOOTC_PODMAN_UNKNOWN": "1", "BOOTC_PODMAN_RULES": "bound-missing hook-missing"},
		},
		{
			"host checked, something could not be read: 0 failing, 1 unknown, 0 risk, 0 information", findingsOf(health.Unknown), journal.PriWarning,
			map[string]string{"MESSAGE_ID": messageUndetermined, "BOOTC_PODMAN_UNKNOWN": "1", "BOOTC_PODMAN_RULES": "hook-missing"},
		},
	} {
		t.Run(tt.message, func(t *testing.T) {
			want := map[string]string{"BOOTC_PODMAN_FAILING": "0", "BOOTC_PODMAN_UNKNOWN": "0", "BOOTC_PODMAN_RISK": "0", "BOOTC_PODMAN_INFORMATION": "0", "BOOTC_PODMAN_RULES": ""}
			maps.Copy(want, tt.fields)
			p, message, fields := checkRecord(tt.found)
			if p != tt.p || message != tt.message || !maps.Equal(fields, want) {
				t.Errorf("got %d, %q and %v", p, message, fields)
			}
		})
	}
}

func TestDoctorWritesOneRecord(t *testing.T) {
	a := newTestApp(t)
	records := 0
	a.journal = func(journal.Priority, string, map[string]string) { records++ }
	for _, args := range [][]string{{"doctor"}, {"--dry-run", "doctor", "--journal"}} {
		if a.onHost(t, args...); records != 0 {
			t.Errorf("%v wrote a record", args)
		}
	}
	if a.onHost(t, "doctor", "--journal"); records != 1 {
		t.Errorf("got %d records", records)
	}
}

// TestManualPagesHaveTheRecordsOfTheJournal: scripts look for them by the pages.
func TestManualPagesHaveTheRecordsOfTheJournal(t *testing.T) {
	_, _, fields := checkRecord(findingsOf(health.Failing))
	words := slices.Collect(maps.Keys(fields))
	for _, pattern := range []string{"*.go", "../../hooks/*.go", "../../internal/transfer/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			for _, id := range regexp.MustCompile(`\bmessage\w+ *= "([0-9a-f]{32})"`).FindAllStringSubmatch(readAll(t, file), -1) {
				words = append(words, id[1])
			}
		}
	}
	if len(words) < 11 {
		t.Errorf("found only %v", words)
	}
	pages := ""
	for _, page := range []string{"doctor", "hook", "set-unified"} {
		pages += readAll(t, filepath.Join(manDir, "bootc-podman-"+page+".8.md"))
	}
	for _, word := range words {
		if !strings.Contains(pages, word) {
			t.Errorf("no page has %s", word)
		}
	}
}

func readAll(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
