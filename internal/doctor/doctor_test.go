// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// fault is something to plant in a healthy host.
type fault struct {
	name  string
	plant func(h *scratchHost)
	// rules are those of the findings, and glance reports that status --check has them, too.
	rules  []health.Rule
	glance bool
	// where, what and fix are parts of the first finding.
	where, what, fix string
}

// installed are the hooks, as installed by a program that exists.
func installed(h *scratchHost) {
	h.Write("usr/bin/bootc-podman", "#!/bin/sh\nexec bootc-podman\n")
	h.Chmod("usr/bin/bootc-podman", 0o755)
	if err := (setup.Install{Root: h.Dir, Program: "/usr/bin/bootc-podman", Mode: hooks.Warn}).Do(); err != nil {
		h.Fatal(err)
	}
}

func faults() []fault {
	return []fault{
		{"nothing", func(*scratchHost) {}, nil, true, "", "", ""},
		{"hooks installed", installed, nil, true, "", "", ""},
		{"bound image missing", func(h *scratchHost) {
			h.stores[bootcStore] = h.stores[bootcStore][:1]
			h.records(bootcStore)
		}, []health.Rule{health.BoundMissing}, true, appImage, "is not in the bootc-owned store", "bootc-podman image pull " + appImage},
		{"bound image shadowed", func(h *scratchHost) {
			h.add(ownStore, stored{names: []string{appImage}, text: "other"})
		}, []health.Rule{health.BoundShadowed}, true, appImage, "another image", "podman untag "},
		{"bound image damaged", func(h *scratchHost) {
			h.remove(bootcStore + "/overlay/" + stored{text: "app"}.layer())
		}, []health.Rule{health.ImageDamaged}, true, appImage, "is missing", ""},
		{"image records damaged", func(h *scratchHost) {
			h.Write(bootcStore+"/overlay-images/images.json", "[{")
		}, []health.Rule{health.Unreadable}, true, "", "images.json", ""},
		{"unified image gone", func(h *scratchHost) {
			h.Write("var/lib/bootc-podman/unified.json", `{"schema":1,"image":"docker://`+osImage+`","name":"`+osImage+`","id":"`+h.os+`"}`)
			h.stores[bootcStore] = h.stores[bootcStore][1:]
			h.records(bootcStore)
		}, []health.Rule{health.UnifiedGone}, true, "booted deployment", osImage, "bootc-podman set-unified"},
		{"never unified", func(h *scratchHost) {
			h.stores[bootcStore] = h.stores[bootcStore][1:]
			h.records(bootcStore)
		}, nil, true, "", "", ""},
		{
			"no storage.conf", func(h *scratchHost) { h.remove("etc/containers/storage.conf") },
			[]health.Rule{health.UpgradeFails},
			true, "booted deployment", "skopeo ignores", "printf",
		},
		{
			"upgrade hidden", func(h *scratchHost) { h.add(ownStore, stored{text: "os"}) },
			[]health.Rule{health.UpgradeHidden},
			true, osImage, "without the name", "podman tag ",
		},
		{"additional store missing", func(h *scratchHost) {
			h.Write("etc/containers/storage.conf", storageWith("/srv/none"))
		}, []health.Rule{health.AdditionalMissing}, true, "/srv/none", "does not exist", "mkdir -p /srv/none"},
		{
			"database with other paths", func(h *scratchHost) { h.database("/srv/bootc/storage") },
			[]health.Rule{health.DatabasePaths},
			true, "db.sql", "graph root", "",
		},
		{"database of bootc's", func(h *scratchHost) { h.database(storageconf.GraphRoot) }, nil, true, "", "", ""},
		{
			"database damaged", func(h *scratchHost) { h.Write(bootcStore+"/db.sql", "SQLite format 2") },
			[]health.Rule{health.DatabaseDamaged},
			true, bootcStore, "database", "",
		},
		{"unit asks for the gate", func(h *scratchHost) {
			h.Write("etc/containers/systemd/app.container", "[Container]\n# none\nAnnotation="+hooks.Require+"="+hooks.RequireBound+"\n")
		}, []health.Rule{health.GateMissing}, true, "/etc/containers/systemd/app.container", "not installed", "bootc-podman hooks install"},
		{"unit speaks of the gate", func(h *scratchHost) {
			h.Write("etc/containers/systemd/app.container", "[Container]\n#Annotation="+hooks.Require+"="+hooks.RequireBound+"\n")
		}, nil, true, "", "", ""},
		{"container asks for the gate", func(h *scratchHost) {
			h.Write(ownStore+"/overlay-containers/containers.json", `[{"id":"c1","names":["web"],"image":"x","layer":"y"}]`)
			h.Write(ownStore+"/overlay-containers/c1/userdata/config.json", `{"annotations":{"`+hooks.Require+`":"bound"}}`)
		}, []health.Rule{health.GateMissing}, true, "container web", "not installed", "bootc-podman hooks install"},
		{"program of the hooks missing", func(h *scratchHost) {
			installed(h)
			h.remove("usr/bin/bootc-podman")
		}, []health.Rule{health.HookMissing, health.HookMissing, health.HookMissing}, true, "hook ledger", "is missing", "hooks install"},
		{"gate off", func(h *scratchHost) {
			installed(h)
			h.Write("run/bootc-podman/gate-off", "")
		}, []health.Rule{health.GateOff}, true, "gate-off", "", "rm "},
	}
}

// storageWith is a storage.conf with an additional image store.
func storageWith(dir string) string {
	return "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/" + ownStore +
		"\"\n[storage.options]\nadditionalimagestores = [\"" + dir + "\"]\n"
}

func TestGlanceFindsEachFaultAndOnlyIt(t *testing.T) {
	for _, f := range faults() {
		if !f.glance {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			h := newHost(t)
			f.plant(h)
			before := h.walk()
			f.check(t, Glance(t.Context(), h.options()))
			if after := h.walk(); after != before {
				t.Errorf("changed from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// check compares findings with what is expected of a fault.
func (f fault) check(t *testing.T, findings []health.Finding) {
	t.Helper()
	var rules []health.Rule
	for _, found := range findings {
		rules = append(rules, found.Rule)
	}
	if !slices.Equal(rules, f.rules) {
		t.Fatalf("findings %+v, want %q", findings, f.rules)
	}
	if len(findings) == 0 {
		return
	}
	first := findings[0]
	for _, part := range [][2]string{{first.Where, f.where}, {first.What, f.what}, {first.Fix, f.fix}} {
		if !strings.Contains(part[0], part[1]) {
			t.Errorf("%q does not have %q", part[0], part[1])
		}
	}
	want := Ill
	if !slices.ContainsFunc(findings, func(f health.Finding) bool { return f.Severity != health.Information }) {
		want = Healthy
	}
	if v := VerdictOf(findings); v != want {
		t.Errorf("verdict %v, want %v", v, want)
	}
}

func TestVerdictIsTheWorst(t *testing.T) {
	finding := func(severities ...health.Severity) (list []health.Finding) {
		for _, s := range severities {
			list = append(list, health.Finding{Severity: s})
		}
		return list
	}
	for _, tt := range []struct {
		findings []health.Finding
		want     Verdict
	}{
		{nil, Healthy},
		{finding(health.Information), Healthy},
		{finding(health.Unknown, health.Information), Unclear},
		{finding(health.Unknown, health.Risk), Ill},
		{finding(health.Failing), Ill},
	} {
		if got := VerdictOf(tt.findings); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.findings, got, tt.want)
		}
	}
}

func TestAHostWithoutDeploymentsIsUnclear(t *testing.T) {
	h := newHost(t)
	h.remove("sysroot")
	h.Mkdir("sysroot")
	if v := VerdictOf(Glance(t.Context(), h.options())); v != Unclear {
		t.Errorf("verdict %v", v)
	}
}
