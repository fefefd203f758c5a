// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/dedup"
)

func TestDedupFailures(t *testing.T) {
	for _, tt := range []struct {
		failure
		args []string
	}{
		{failure{2, `dedup: unknown format "yaml": use text or json`, usageHintOf("dedup")}, []string{"dedup", "--format", "yaml"}},
		{failure{2, `dedup: unexpected argument "x"`, usageHintOf("dedup")}, []string{"dedup", "x"}},
		{failure{2, `dedup: unknown scope "all": use stores or host`, usageHintOf("dedup")}, []string{"dedup", "--scope", "all"}},
		{failure{2, `dedup: read --max-rate: "fast" is no number of bytes`, usageHintOf("dedup")}, []string{"dedup", "--max-rate", "fast"}},
		{failure{2, `dedup: read --max-rate: "0" is no number of bytes`, usageHintOf("dedup")}, []string{"dedup", "--max-rate", "0"}},
		{failure{2, "dedup: use file descriptor 1 for progress", usageHintOf("dedup")}, []string{"dedup", "--progress-fd", "1"}},
		{failure{1, "root is needed", "run it as root, for example with sudo"}, []string{"dedup"}},
		{failure{1, inventory.ErrNotOnHost.Error(), "run it on the bootc host itself, or name a host's root with --sysroot"}, []string{"--sysroot", "/", "dedup", "--dry-run"}},
	} {
		t.Run(tt.message, func(t *testing.T) {
			stdout, stderr, code := newTestApp(t).onHost(t, tt.args...)
			tt.check(t, stdout, stderr, code)
		})
	}
}

func TestDedupWithoutLayersInCommon(t *testing.T) {
	for _, args := range [][]string{{"dedup", "--dry-run", "--scope", "stores"}, {"--dry-run", "dedup", "--scope=stores"}} {
		a := newTestApp(t)
		a.addDefaultStore(t)
		stdout, stderr, code := a.onHost(t, args...)
		const want = "Layers:  0 in both stores\nFiles:   0, 0 B\nShared:  0 B before\nSaving:  0 B at most, as content was not compared\nNothing to do.\n"
		if stdout != want || stderr != "" || code != 0 {
			t.Errorf("%v: got %q, %q and %d", args, stdout, stderr, code)
		}
		stdout, _, _ = a.onHost(t, append(args, "--format", "json")...)
		var got dedup.Result
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || got != (dedup.Result{Scope: dedup.Stores, DryRun: true, Complete: true}) {
			t.Errorf("%v: got %q", args, stdout)
		}
	}
}

func TestDedupOfAHost(t *testing.T) {
	a := newTestApp(t)
	var out bytes.Buffer
	a.stdout = &out
	result := dedup.Result{Scope: dedup.Host, Complete: true, Layers: 4, Objects: 50, Files: 30, Bytes: 5e6, Saved: 5e6, UsedBefore: 15e6, UsedAfter: 10e6}
	const want = "Layers:  4 in the stores\nObjects: 50 in the repository of the host\nFiles:   30, 5 MB\nShared:  0 B before\n" +
		"Used:    10 MB of the filesystem, 15 MB before\nSaved:   5 MB\n"
	if err := a.printDedup(&result, "text"); err != nil || out.String() != want {
		t.Errorf("got %q, %v; want %q", out.String(), err, want)
	}
}

func TestDedupResult(t *testing.T) {
	const compared = "Layers:  2 in both stores\nFiles:   30, 5 MB\nShared:  1 MB before\n"
	base := dedup.Result{Complete: true, Layers: 2, Files: 30, Bytes: 5e6, Shared: 1e6}
	for want, change := range map[string]func(*dedup.Result){
		"Saved:   4 MB\n": func(r *dedup.Result) { r.Saved = 4e6 },
		"Saving:  4 MB at most, as content was not compared\n": func(r *dedup.Result) { r.DryRun, r.Saved = true, 4e6 },
		"Saved:   0 B\nNothing to do.\n":                       func(*dedup.Result) {},
		"Saved:   0 B\n":                                       func(r *dedup.Result) { r.Complete = false },
		"Saved:   0 B\nDiffer:  1, though in the same layer: one of each two is damaged\nFailed:  3\n": func(r *dedup.Result) { r.Different, r.Failed = 1, 3 },
	} {
		a := newTestApp(t)
		var out bytes.Buffer
		a.stdout = &out
		result := base
		change(&result)
		if err := a.printDedup(&result, "text"); err != nil || out.String() != compared+want {
			t.Errorf("got %q, %v; want %q", out.String(), err, compared+want)
		}
	}
}
