// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-shellwords"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/hooks/setup"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// fault is something to plant in a healthy host.
type fault struct {
	name  string
	plant func(h *scratchHost)
	// rules are those of the findings, and quick reports that status --check has them, too.
	rules []health.Rule
	quick bool
	// where, what and fix are parts of the first finding.
	where, what, fix string
	// fixed reports that Fix fixes it without podman and without the private program.
	fixed bool
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
		{"nothing", func(*scratchHost) {}, nil, true, "", "", "", false},
		{"hooks installed", installed, nil, true, "", "", "", false},
		{"bound image missing", func(h *scratchHost) {
			h.drop(1)
		}, []health.Rule{health.BoundMissing}, true, appImage, "is not in the bootc-owned store", "bootc-podman bound fetch", false},
		{"bound image of another deployment missing", func(h *scratchHost) {
			h.deploySecond(unit("quay.io/next:1"))
		}, []health.Rule{health.BoundMissing}, true, "quay.io/next:1", "is not in the bootc-owned store", "bootc-podman bound fetch", false},
		{"bound image shadowed", func(h *scratchHost) {
			h.add(ownStore, stored{names: []string{appImage}, text: "other"})
		}, []health.Rule{health.BoundShadowed}, true, appImage, "another image", "podman untag ", false},
		{"bound image damaged", func(h *scratchHost) {
			h.remove(bootcStore + "/overlay/" + stored{text: "app"}.layer())
		}, []health.Rule{health.ImageDamaged}, true, appImage, "is missing", "", false},
		{"image records damaged", func(h *scratchHost) {
			h.Write(bootcStore+"/overlay-images/images.json", "[{")
		}, []health.Rule{health.Unreadable}, true, "", "images.json", "", false},
		{"image records damaged, storage unified before", func(h *scratchHost) {
			h.Write("var/lib/bootc-podman/unified.json", `{"schema":1,"image":"docker://`+osImage+`","name":"`+osImage+`","id":"`+h.os+`"}`)
			h.Write(bootcStore+"/overlay-images/images.json", "[{")
		}, []health.Rule{health.Unreadable}, true, "", "images.json", "", false},
		{"unified image gone", func(h *scratchHost) {
			h.Write("var/lib/bootc-podman/unified.json", `{"schema":1,"image":"docker://`+osImage+`","name":"`+osImage+`","id":"`+h.os+`"}`)
			h.drop(0)
		}, []health.Rule{health.UnifiedGone}, true, "booted deployment", osImage, "bootc-podman set-unified", false},
		{"never unified", func(h *scratchHost) {
			h.drop(0)
		}, nil, true, "", "", "", false},
		{
			"no storage.conf", func(h *scratchHost) { h.remove("etc/containers/storage.conf") },
			[]health.Rule{health.UpgradeFails},
			true, "booted deployment", "skopeo ignores", "printf", false,
		},
		{
			"upgrade hidden", func(h *scratchHost) { h.add(ownStore, stored{text: "os"}) },
			[]health.Rule{health.UpgradeHidden},
			true, osImage, "without the name", "podman tag ", false,
		},
		{"additional store missing", func(h *scratchHost) {
			h.Write("etc/containers/storage.conf", storageWith("/srv/none"))
			h.Write("usr/share/app.container", unit(appImage)+"GlobalArgs=--storage-opt=additionalimagestore=/srv/none\n")
		}, []health.Rule{health.AdditionalMissing}, true, "/srv/none", "does not exist", "mkdir -p /srv/none", false},
		{
			"database with other paths", func(h *scratchHost) { h.database("/srv/bootc/storage") },
			[]health.Rule{health.DatabasePaths},
			true, "db.sql", "graph root", "bootc-podman doctor --fix", true,
		},
		{"database of bootc's", func(h *scratchHost) { h.database(storageconf.GraphRoot) }, nil, true, "", "", "", false},
		{
			"database damaged", func(h *scratchHost) { h.Write(bootcStore+"/db.sql", "SQLite format 2") },
			[]health.Rule{health.DatabaseDamaged},
			true, bootcStore, "database", "bootc-podman doctor --fix", true,
		},
		{"database with other paths, and containers", func(h *scratchHost) {
			h.database("/srv/bootc/storage")
			h.Write(bootcStore+"/overlay-containers/containers.json", `[{"id":"c1","image":"`+h.app+`","layer":"y"}]`)
		}, []health.Rule{health.DatabasePaths}, true, "db.sql", "graph root", "podman --root /srv/bootc/storage rm --all --force", false},
		{"unit asks for the gate", func(h *scratchHost) {
			h.Write("etc/containers/systemd/app.container", "[Container]\n# none\nAnnotation="+hooks.Require+"="+hooks.RequireBound+"\n")
		}, []health.Rule{health.GateMissing}, true, "/etc/containers/systemd/app.container", "not installed", "bootc-podman hooks install", false},
		{"unit speaks of the gate", func(h *scratchHost) {
			h.Write("etc/containers/systemd/app.container", "[Container]\n#Annotation="+hooks.Require+"="+hooks.RequireBound+"\n")
		}, nil, true, "", "", "", false},
		{"container asks for the gate", func(h *scratchHost) {
			h.Write(ownStore+"/overlay-containers/containers.json", `[{"id":"c1","names":["web"],"image":"x","layer":"y"}]`)
			h.Write(ownStore+"/overlay-containers/c1/userdata/config.json", `{"annotations":{"`+hooks.Require+`":"bound"}}`)
		}, []health.Rule{health.GateMissing}, true, "container web", "not installed", "bootc-podman hooks install", false},
		{"program of the hooks missing", func(h *scratchHost) {
			installed(h)
			h.remove("usr/bin/bootc-podman")
		}, []health.Rule{health.HookMissing, health.HookMissing, health.HookMissing}, true, "hook ledger", "is missing", "hooks install", false},
		{"gate off", func(h *scratchHost) {
			installed(h)
			h.Write("run/bootc-podman/gate-off", "")
		}, []health.Rule{health.GateOff}, true, "gate-off", "", "rm ", false},
		{"own image damaged", func(h *scratchHost) {
			h.remove(ownStore + "/overlay/" + stored{text: "own"}.layer() + "/link")
		}, []health.Rule{health.ImageDamaged}, false, "podman's own store", "link", "podman image rm ", false},
		{"unneeded image of the bootc store damaged", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"localhost/x:1"}, text: "x"})
			h.remove(bootcStore + "/overlay/" + stored{text: "x"}.layer() + "/link")
		}, []health.Rule{health.ImageDamaged}, false, "bootc-owned store", "link", "bootc-podman repair localhost/x:1", false},
		{"name that podman cannot read", func(h *scratchHost) {
			h.rename(bootcStore, 1, appImage, "localhost/MyOrg:1")
		}, []health.Rule{health.NameUnreadable}, false, "bootc-owned store", "MyOrg", "bootc-podman doctor --fix", false},
		{"unit of a bound image that bootc cannot read", func(h *scratchHost) {
			h.Write("usr/share/app.container", unit("quay.io/%i:1"))
		}, []health.Rule{health.BoundSpecifier}, false, "usr/share/app.container:2", "specifier", "", false},
		{"one unit of the running root and of the booted deployment", func(h *scratchHost) {
			for _, in := range []string{"", bootedRoot + "/"} {
				h.Write(in+"usr/share/app.container", unit(appImage)+"AutoUpdate=registry\n")
			}
		}, []health.Rule{health.BoundPulledAnew}, false, "usr/share/app.container:4", "AutoUpdate=registry", "", false},
		{"storage.conf of a deployment that does not run", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"quay.io/next:1"}, text: "next"})
			h.deploySecond("[Container]\nImage=quay.io/next:1\n")
			h.Write(secondRoot+"/etc/containers/storage.conf", storageWith("/srv/none"))
		}, nil, false, "", "", "", false},
		{"bound image by a name that bootc's cleanup does not recognise", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"quay.io/next:latest"}, text: "next"})
			h.deploySecond(unit("quay.io/next"))
		}, []health.Rule{health.BoundUntagged, health.BoundMovingTag}, false, "next.container:2", "bootc's cleanup does not recognise", "", false},
		{"second name of a bound image that bootc's cleanup does not recognise", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"localhost/x:1", "quay.io/next:latest"}, text: "next"})
			h.deploySecond(unit("quay.io/next"))
		}, []health.Rule{health.BoundUntagged, health.BoundMovingTag, health.CleanupBlocked}, false, "next.container:2", "", "", false},
		{"second name of a needed image", func(h *scratchHost) {
			h.rename(bootcStore, 1, appImage, "localhost/second:1")
		}, nil, false, "", "", "", false},
		{"second name of an unneeded image", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"localhost/x:1", "localhost/x:2"}, text: "x"})
		}, []health.Rule{health.CleanupBlocked}, false, "image ", "localhost/x:1, localhost/x:2", "bootc-podman image untag ", false},
		{"container of the bootc store", func(h *scratchHost) {
			id := h.add(bootcStore, stored{names: []string{"localhost/x:1"}, text: "x"})
			h.Write(bootcStore+"/overlay-containers/containers.json", `[{"id":"c1","image":"`+id+`","layer":"y"}]`)
		}, []health.Rule{health.CleanupBlocked}, false, "image ", "container", "podman rm --force c1", false},
		{"layers borrowed", func(h *scratchHost) {
			h.add(ownStore, stored{names: []string{"localhost/borrowed:1"}, text: "app"})
			h.stores[ownStore] = h.stores[ownStore][:1]
			h.records(ownStore)
			h.borrow(stored{names: []string{"localhost/borrowed:1"}, text: "app"})
		}, []health.Rule{health.LayersBorrowed}, false, "localhost/borrowed:1", "bootc-owned store", "bootc-podman localize localhost/borrowed:1", false},
		{"container without its layers", func(h *scratchHost) {
			h.container(strings.Repeat("1", 64), strings.Repeat("9", 64))
		}, []health.Rule{health.ContainerDamaged}, false, "container web", "no store has", "podman rm --force ", false},
		{"container on a bound image", func(h *scratchHost) {
			h.container(strings.Repeat("1", 64), stored{text: "app"}.layer())
		}, nil, false, "", "", "", false},
		{"container on an image that nothing keeps", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"localhost/x:1"}, text: "x"})
			h.container(strings.Repeat("1", 64), stored{text: "x"}.layer())
		}, []health.Rule{health.ContainerUnkept}, false, "container web", "localhost/x:1", "bootc-podman localize localhost/x:1", false},
		{"layer incomplete", func(h *scratchHost) {
			h.addRecord(bootcStore, object{"id": strings.Repeat("1", 64), "flags": object{"incomplete": true}})
		}, []health.Rule{health.LayerIncomplete}, false, "layer 111111111111 of the bootc-owned store", "was killed", "doctor --fix", false},
		{"layer without a record", func(h *scratchHost) {
			h.Mkdir(ownStore + "/overlay/" + strings.Repeat("2", 64) + "/diff")
		}, []health.Rule{health.LayerUnknown}, false, "layer 222222222222 of podman's own store", "no record", "doctor --fix", false},
		{"record of a layer lost", func(h *scratchHost) {
			h.Mkdir(ownStore + "/overlay/" + strings.Repeat("2", 64) + "/diff")
			h.Write(ownStore+"/overlay-layers/layers.json", "[]")
		}, []health.Rule{health.ImageDamaged}, false, "podman's own store", "is missing", "", false},
		{
			"making of a store interrupted", func(h *scratchHost) { h.Mkdir("sysroot/ostree/bootc/storage.tmp/overlay") },
			[]health.Rule{health.Leftover},
			false, "ostree/bootc/storage.tmp", "interrupted", "doctor --fix", true,
		},
		{"clone interrupted", func(h *scratchHost) {
			h.Write(bootcStore+"/bootc-podman.staging/x/staging.lock", "")
			h.age(bootcStore + "/bootc-podman.staging/x")
		}, []health.Rule{health.Leftover}, false, "bootc-podman.staging/x", "clone", "doctor --fix", false},
		{"record of podman's interrupted in its own store", func(h *scratchHost) {
			h.Write(ownStore+"/overlay-layers/.tmp-layers.json123", "[")
			h.age(ownStore + "/overlay-layers/.tmp-layers.json123")
		}, []health.Rule{health.Leftover}, false, ".tmp-layers.json123", "did not finish", "doctor --fix", true},
		{"what no podman makes in the place of leftovers", func(h *scratchHost) {
			h.Mkdir(bootcStore + "/overlay-images/.tmp-images.json123")
			h.age(bootcStore + "/overlay-images/.tmp-images.json123")
			h.Link("/srv", bootcStore+"/bootc-podman.staging/x")
		}, nil, false, "", "", "", false},
		{"clone that begins", func(h *scratchHost) {
			h.Write(bootcStore+"/bootc-podman.staging/x/staging.lock", "")
		}, nil, false, "", "", "", false},
		{"bound image by a name that is none", func(h *scratchHost) {
			h.deploySecond(unit("--creds=a:b"))
		}, []health.Rule{health.BoundMissing, health.BoundInvalidName}, false, "--creds=a:b", "is not in the bootc-owned store", "", false},
		{"clone at work", func(h *scratchHost) {
			h.Write(bootcStore+"/bootc-podman.staging/x/staging.lock", "")
			h.lock(bootcStore + "/bootc-podman.staging/x/staging.lock")
			h.age(bootcStore + "/bootc-podman.staging/x")
		}, nil, false, "", "", "", false},
		{"podman at work", func(h *scratchHost) {
			h.addRecord(bootcStore, object{"id": strings.Repeat("1", 64), "flags": object{"incomplete": true}})
			h.Write(bootcStore+"/overlay-layers/layers.lock", "")
			h.lock(bootcStore + "/overlay-layers/layers.lock")
		}, nil, false, "", "", "", false},
		{"record of podman's interrupted", func(h *scratchHost) {
			h.Write(bootcStore+"/overlay-images/.tmp-images.json123", "[")
			h.age(bootcStore + "/overlay-images/.tmp-images.json123")
		}, []health.Rule{health.Leftover}, false, ".tmp-images.json123", "did not finish", "doctor --fix", true},
		{"record of podman's not finished yet", func(h *scratchHost) {
			h.Write(bootcStore+"/overlay-images/.tmp-images.json123", "[")
		}, nil, false, "", "", "", false},
		{"set-unified interrupted", func(h *scratchHost) {
			h.Write("var/lib/bootc-podman/unified.json", `{"schema":1,"image":"docker://`+osImage+`","name":"`+osImage+`"}`)
		}, []health.Rule{health.Leftover}, false, osImage, "set-unified", "bootc-podman set-unified", false},
		{
			"export interrupted", func(h *scratchHost) { h.Mkdir("run/bootc-podman/export") },
			[]health.Rule{health.Leftover},
			false, "run/bootc-podman/export", "transfer", "doctor --fix", true,
		},
		{
			"link to the store missing", func(h *scratchHost) { h.remove("usr/lib/bootc/storage") },
			[]health.Rule{health.StoreLinkMissing},
			false, "/usr/lib/bootc/storage", "ln -s ../../../sysroot/ostree/bootc/storage /usr/lib/bootc/storage", "", false,
		},
		{"stores are one", func(h *scratchHost) {
			h.remove(ownStore)
			h.Link("../../../"+bootcStore, ownStore)
		}, []health.Rule{health.StoresAreOne}, false, ownStore, "bootc-owned store", "", false},
		{
			"credentials damaged", func(h *scratchHost) { h.Write("etc/ostree/auth.json", `{"auths":{"x":{"auth":"c2VjcmV0"}`) },
			[]health.Rule{health.CredentialsDamaged},
			false, "etc/ostree/auth.json", "damaged at byte", "", false,
		},
		{
			"labels wrong", func(h *scratchHost) { h.labelled("container_file_t") },
			[]health.Rule{health.LabelWrong},
			false, bootcStore, "SELinux label", "doctor --fix", true,
		},
		{"service of podman's interrupted", func(h *scratchHost) { h.Mkdir("run/bootc-podman/service") }, []health.Rule{health.Leftover}, false, "run/bootc-podman/service", "transfer", "doctor --fix", true},
		{"export of another user's in the bootc store", func(h *scratchHost) {
			h.add(bootcStore, stored{names: []string{"localhost/bootc-podman/export:latest"}, text: "x"})
		}, nil, false, "", "", "", false},
		{"export left in podman's own store", func(h *scratchHost) {
			h.add(ownStore, stored{names: []string{"localhost/bootc-podman/export:latest"}, text: "x"})
		}, []health.Rule{health.Leftover}, false, "image localhost/bootc-podman/export:latest of podman's own store", "transfer", "doctor --fix", false},
		{"repair interrupted", func(h *scratchHost) {
			h.Write("var/lib/bootc-podman/removed.json", encode(object{"schema": 1, "verb": "repair", "id": strings.Repeat("1", 64), "digest": "sha256:" + strings.Repeat("1", 64), "names": []string{"quay.io/example/gone:1"}}))
		}, []health.Rule{health.Leftover}, false, "quay.io/example/gone:1", "was removed by repair", "bootc-podman repair quay.io/example/gone:1", false},
		{"composefs host, and a bound image with a second name", func(h *scratchHost) {
			h.rename(bootcStore, 1, "localhost/first:1", appImage)
			h.toComposefs()
		}, []health.Rule{health.BoundPruned, health.CleanupBlocked}, false, "bound image " + appImage, "composefs", "", false},
		{"composefs host, where bootc removes bound images", (*scratchHost).toComposefs, []health.Rule{health.BoundPruned}, false, "bound image " + appImage, "composefs", "", false},
		{"composefs host without its link", func(h *scratchHost) {
			h.unbound()
			h.toComposefs()
			h.remove("sysroot/ostree/bootc")
		}, []health.Rule{health.ComposefsLinkMissing}, false, "ostree/bootc", "is missing", "doctor --fix", true},
		{"composefs host with two directories", func(h *scratchHost) {
			h.unbound()
			h.toComposefs()
			h.remove("sysroot/ostree/bootc")
			h.Mkdir("sysroot/ostree/bootc")
		}, []health.Rule{health.StoresAreTwo}, false, "ostree/bootc", "composefs/bootc", "", false},
		{"composefs repository without fs-verity", func(h *scratchHost) {
			h.unbound()
			h.toComposefs()
			h.remove("sysroot/ostree/bootc")
			if err := testcomposefs.Extract(testcomposefs.Bootc1169, h.Path("sysroot")); err != nil {
				h.Fatal(err)
			}
			h.remove("sysroot/state/deploy/" + testcomposefs.Deployment)
		}, []health.Rule{health.NoVerity}, false, "sysroot/composefs", "not protected by fs-verity", "", false},
		{"labels right", func(h *scratchHost) { h.labelled("container_ro_file_t") }, nil, false, "", "", "", false},
	}
}

func TestExamineFindsEachFaultAndOnlyIt(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			h := newHost(t)
			f.plant(h)
			before := h.walk()
			problems := Examine(t.Context(), h.options())
			if after := h.walk(); after != before {
				t.Errorf("changed from\n%s\nto\n%s", before, after)
			}
			if f.quick && slices.Contains(f.rules, health.HookMissing) {
				return // verify looks at more
			}
			f.check(t, Findings(slices.DeleteFunc(problems, func(p Problem) bool { return p.Rule == health.NoReflinks })))
			if !f.fixed {
				return
			}
			Fix(t.Context(), problems, func(string) {}, func(action string, err error) { t.Errorf("%s: %v", action, err) })
			for _, p := range Examine(t.Context(), h.options()) {
				if p.Severity != health.Information {
					t.Errorf("after the fix: %v", p.Finding)
				}
			}
		})
	}
}

// TestFindingOfAUnitHasTheLineToWrite: doctor prints no replacements, as bound lint does.
func TestFindingOfAUnitHasTheLineToWrite(t *testing.T) {
	h := newHost(t)
	h.add(bootcStore, stored{names: []string{"quay.io/next:latest"}, text: "next"})
	h.deploySecond(unit("quay.io/next"))
	for _, p := range Examine(t.Context(), h.options()) {
		if p.Rule == health.BoundUntagged && strings.HasSuffix(p.Why, `; the line has to be "Image=quay.io/next:latest"`) {
			return
		}
	}
	t.Errorf("got %+v", Findings(Examine(t.Context(), h.options())))
}

// TestSecondNameThatTheHostNeedsIsNotTakenAway has it after and before the other one.
func TestSecondNameThatTheHostNeedsIsNotTakenAway(t *testing.T) {
	for _, names := range [][]string{{"localhost/x:1", "quay.io/next:latest"}, {"quay.io/next:latest", "localhost/x:1"}} {
		h := newHost(t)
		h.add(bootcStore, stored{names: names, text: "next"})
		h.deploySecond(unit("quay.io/next"))
		found := false
		for _, p := range Examine(t.Context(), h.options()) {
			if p.Rule == health.CleanupBlocked {
				found = strings.HasSuffix(p.Fix, " localhost/x:1") && !strings.Contains(p.Fix, "quay.io/next")
			}
		}
		if !found {
			t.Errorf("%q: got %+v", names, Findings(Examine(t.Context(), h.options())))
		}
	}
}

// storageWith is a storage.conf with an additional image store.
func storageWith(dir string) string {
	return "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/" + ownStore +
		"\"\n[storage.options]\nadditionalimagestores = [\"" + dir + "\"]\n"
}

func TestQuickCheckFindsEachFaultAndOnlyIt(t *testing.T) {
	for _, f := range faults() {
		if !f.quick {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			h := newHost(t)
			f.plant(h)
			before := h.walk()
			f.check(t, QuickCheck(t.Context(), h.options()))
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
	want := Faulty
	if !slices.ContainsFunc(findings, func(f health.Finding) bool { return f.Severity != health.Information }) {
		want = Healthy
	}
	if v := ResultOf(findings); v != want {
		t.Errorf("result %v, want %v", v, want)
	}
}

func TestResultIsTheWorst(t *testing.T) {
	finding := func(severities ...health.Severity) (list []health.Finding) {
		for _, s := range severities {
			list = append(list, health.Finding{Severity: s})
		}
		return list
	}
	for _, tt := range []struct {
		findings []health.Finding
		want     Result
	}{
		{nil, Healthy},
		{finding(health.Information), Healthy},
		{finding(health.Unknown, health.Information), Undetermined},
		{finding(health.Unknown, health.Risk), Faulty},
		{finding(health.Failing), Faulty},
	} {
		if got := ResultOf(tt.findings); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.findings, got, tt.want)
		}
	}
}

func TestAHostWithoutDeploymentsIsUndetermined(t *testing.T) {
	h := newHost(t)
	h.remove("sysroot")
	h.Mkdir("sysroot")
	if v := ResultOf(QuickCheck(t.Context(), h.options())); v != Undetermined {
		t.Errorf("result %v", v)
	}
}

// TestEachCommandExists: what findings name as a fix is a verb of this program with options
// that it has, by its manual pages, a command of podman's, or one of four others.
func TestEachCommandExists(t *testing.T) {
	podman := map[string][]string{
		"image pull": nil, "image rm": {"--force"}, "image untag": nil, "rm": {"--force", "--all"}, "rmi": {"--force"}, "tag": nil, "untag": nil,
	}
	isPodman := func(words []string) bool {
		for len(words) > 1 && words[0] == "--root" {
			words = words[2:]
		}
		for command, options := range podman {
			if rest, ok := strings.CutPrefix(strings.Join(words, " "), command+" "); ok {
				return !slices.ContainsFunc(strings.Fields(rest), func(word string) bool { return strings.HasPrefix(word, "-") && !slices.Contains(options, word) })
			}
		}
		return false
	}
	isOurs := func(verb string, args []string) bool {
		page, err := os.ReadFile("../../contrib/man/bootc-podman-" + verb + ".8.md")
		return err == nil && !slices.ContainsFunc(args, func(word string) bool {
			return strings.HasPrefix(word, "-") && !strings.Contains(string(page), "**"+word+"**")
		})
	}
	seen := 0
	for _, f := range faults() {
		h := newHost(t)
		f.plant(h)
		for _, problem := range Examine(t.Context(), h.options()) {
			if problem.Fix == "" {
				continue
			}
			seen++
			words, err := shellwords.Parse(strings.ReplaceAll(problem.Fix, ">", " "))
			exists := false
			switch {
			case err != nil || len(words) < 2:
			case words[0] == "podman":
				exists = isPodman(words[1:])
			case words[0] == "bootc-podman" && words[1] == "exec":
				exists = words[2] == "--" && words[3] == "podman" && isPodman(words[4:])
			case words[0] == "bootc-podman" && words[1] == "image":
				exists = isPodman(words[1:])
			case words[0] == "bootc-podman":
				exists = isOurs(words[1], words[2:])
			default:
				exists = slices.Contains([]string{"mkdir", "printf", "rm"}, words[0])
			}
			if !exists {
				t.Errorf("%s: no such command: %s", f.name, problem.Fix)
			}
			if promised := strings.HasSuffix(problem.Fix, "doctor --fix"); promised != (problem.Apply != nil) {
				t.Errorf("%s: %q and a fix: %v", f.name, problem.Fix, problem.Apply != nil)
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d commands", seen)
	}
}

// TestEachRuleHasAFault: the page of the rules and the faults of the tests have the same
// rules of doctor.
func TestEachRuleHasAFault(t *testing.T) {
	page, err := os.ReadFile("../../docs/findings.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "## Doctor")
	table, _, _ := strings.Cut(rest, "## ")
	planted := map[string]bool{}
	for _, f := range faults() {
		for _, rule := range f.rules {
			planted[string(rule)] = true
		}
	}
	// Those that other tests have.
	elsewhere := []string{"content-differs", "credentials", "database-old", "labels-unread", "no-reflinks", "verity-missing"}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "`")
		if len(cells) < 3 {
			continue
		}
		if rule := cells[1]; !planted[rule] && !slices.Contains(elsewhere, rule) {
			t.Errorf("no fault for %q", rule)
		}
	}
}

// rulesOf are the rules of what Examine finds, with these options.
func rulesOf(t *testing.T, o Options) (rules []health.Rule, first health.Finding) {
	t.Helper()
	for _, p := range Examine(t.Context(), o) {
		if p.Rule == health.NoReflinks {
			continue
		}
		if len(rules) == 0 {
			first = p.Finding
		}
		rules = append(rules, p.Rule)
	}
	return rules, first
}

func TestOldDatabaseIsAFaultForPodman6Only(t *testing.T) {
	h := newHost(t)
	content, err := os.ReadFile("../../storageconf/testdata/podman-4.3.1.bolt_state.db")
	if err != nil {
		t.Fatal(err)
	}
	h.Write(bootcStore+"/libpod/bolt_state.db", string(content))
	for version, want := range map[string][]health.Rule{"": nil, "4.3.1": nil, "5.8.6": nil, "6.0.0": {health.DatabaseOld}, "10.1.0": {health.DatabaseOld}} {
		o := h.options()
		o.Podman.Version = version
		if rules, _ := rulesOf(t, o); !slices.Equal(rules, want) {
			t.Errorf("podman %q: %q, want %q", version, rules, want)
		}
	}
	o := h.options()
	o.Podman.Version = "6.0.0"
	Fix(t.Context(), Examine(t.Context(), o), func(string) {}, func(action string, err error) { t.Errorf("%s: %v", action, err) })
	if rules, _ := rulesOf(t, o); rules != nil || !h.Exists(bootcStore+"/libpod/bolt_state.db.bak") {
		t.Errorf("after the fix: %q", rules)
	}
}

func TestDatabaseStaysIfContainersCameMeanwhile(t *testing.T) {
	h := newHost(t)
	h.database("/srv/bootc/storage")
	found := Examine(t.Context(), h.options())
	h.Write(bootcStore+"/overlay-containers/containers.json", `[{"id":"c1","image":"`+h.app+`","layer":"y"}]`)
	failed := false
	Fix(t.Context(), found, func(string) {}, func(string, error) { failed = true })
	if !failed || !h.Exists(bootcStore+"/db.sql") {
		t.Error("the database was moved")
	}
}

// TestManyFindings: a store with very many damaged images is reported in seconds.
func TestManyFindings(t *testing.T) {
	h := newHost(t)
	records := make([]object, 50_000)
	for i := range records {
		records[i] = object{"id": sum(fmt.Sprint(i)), "names": []string{fmt.Sprintf("localhost/x%d:1", i)}, "layer": sum(fmt.Sprint("layer", i))}
	}
	h.Write(ownStore+"/overlay-images/images.json", encode(records))
	for i := range records {
		records[i] = object{"id": sum(fmt.Sprint(i)), "layer": sum(fmt.Sprint("layer", i)), "image": "x"}
	}
	h.Write(ownStore+"/overlay-containers/containers.json", encode(records))
	begun := time.Now()
	if found := Examine(t.Context(), h.options()); len(found) < len(records) || time.Since(begun) > 30*time.Second {
		t.Errorf("%d findings in %v", len(found), time.Since(begun))
	}
}

func TestCredentialsOfARegistryAreNamedWithoutTheSecret(t *testing.T) {
	h := newHost(t)
	for _, tt := range []struct{ file, registry, want string }{
		{"", "quay.io", "no file"},
		{`{"auths":{"quay.io":{"auth":"c2VjcmV0"}}}`, "quay.io", `the entry "quay.io"`},
		{`{"auths":{"quay.io":{"auth":"c2VjcmV0"}}}`, "quay.io/example/app", `the entry "quay.io"`},
		{`{"auths":{"quay.io":{"auth":"c2VjcmV0"},"quay.io/example":{"auth":"c2VjcmV0"}}}`, "quay.io/example/app", `the entry "quay.io/example"`},
		{`{"auths":{"quay.io/other":{"auth":"c2VjcmV0"}}}`, "quay.io/example/app", "no entry"},
		{`{"credHelpers":{"quay.io":"secretservice"}}`, "quay.io/example/app", `the credential helper "secretservice"`},
	} {
		if tt.file != "" {
			h.Write("etc/ostree/auth.json", tt.file)
		}
		o := h.options()
		o.Registry = tt.registry
		rules, found := rulesOf(t, o)
		if !slices.Equal(rules, []health.Rule{health.Credentials}) || found.Severity != health.Information ||
			!strings.Contains(found.What, tt.want) || strings.Contains(found.String(), "c2VjcmV0") {
			t.Errorf("%s: %+v", tt.file, found)
		}
	}
}

// TestSharedExtents compares with the filesystem of the temporary directory.
func TestSharedExtents(t *testing.T) {
	h := newHost(t)
	kind := strings.TrimSpace(testhost.Run(t, "stat", "-f", "-c", "%T", h.Dir))
	found := slices.ContainsFunc(Examine(t.Context(), h.options()), func(p Problem) bool { return p.Rule == health.NoReflinks && p.Severity == health.Information })
	switch kind {
	case "ext2/ext3", "tmpfs":
		if !found {
			t.Errorf("no finding on %s", kind)
		}
	default:
		if found {
			t.Errorf("a finding on %s", kind)
		}
	}
}

func TestObjectsWithoutVerityAreCounted(t *testing.T) {
	if found := verityMissing("/sysroot/composefs", 3, nil); found != nil {
		t.Errorf("%+v", found)
	}
	found := verityMissing("/sysroot/composefs", 3, []string{"objects/aa/b", "objects/cc/d"})
	if len(found) != 1 || found[0].Rule != health.VerityMissing || found[0].Where != "/sysroot/composefs/objects/aa/b" || !strings.Contains(found[0].What, "2 of 3") {
		t.Errorf("%+v", found)
	}
}

// answering is a runner whose programs answer.
type answering struct {
	noPrograms
	answer string
}

func (a answering) Run(_ context.Context, cmd wrapper.Cmd) error {
	_, err := io.WriteString(cmd.Stdout, a.answer)
	return err
}

func TestLayersOfAComposefsRepositoryAreCheckedWithDeep(t *testing.T) {
	h := newHost(t)
	h.unbound()
	h.toComposefs()
	h.remove("sysroot/ostree/bootc")
	if err := testcomposefs.Extract(testcomposefs.Bootc1169, h.Path("sysroot")); err != nil {
		t.Fatal(err)
	}
	h.remove("sysroot/state/deploy/" + testcomposefs.Deployment)
	h.remove("sysroot/composefs/bootc/storage")
	h.remove(ownStore)
	h.Write("bin/bootc-podman", "")
	h.Write("bin/bootc-podman-store", "")
	h.Chmod("bin/bootc-podman-store", 0o755)
	for _, deep := range []bool{false, true} {
		o := h.options()
		o.Deep, o.Host.Self = deep, h.Path("bin/bootc-podman")
		o.Host.Runner = answering{noPrograms{t}, `{"result":{"problems":[{"layer":"sha256:1","message":"its archive has the digest sha256:2"}]}}` + "\n"}
		found := Findings(Examine(t.Context(), o))
		has := slices.ContainsFunc(found, func(f health.Finding) bool {
			return f.Rule == health.ContentDiffers && strings.Contains(f.Where, "layer sha256:1 in ") && strings.Contains(f.What, "sha256:2")
		})
		if has != deep {
			t.Errorf("with deep %v: %v", deep, found)
		}
	}
}

func TestDeepWithoutRootIsReportedAsUnknown(t *testing.T) {
	h := newHost(t)
	o := h.options()
	o.Euid, o.Deep = 1000, true
	found := Findings(Examine(t.Context(), o))
	if !slices.ContainsFunc(found, func(f health.Finding) bool {
		return f.Severity == health.Unknown && strings.Contains(f.What, "layers with their digests: root is needed")
	}) {
		t.Errorf("got %v", found)
	}
}

func TestLabelsAreNotComparedWithoutAPolicy(t *testing.T) {
	h := newHost(t)
	h.Write("sys/fs/selinux/enforce", "1")
	o := h.options()
	o.Env = []string{"PATH=" + h.Dir}
	rules, found := rulesOf(t, o)
	if !slices.Equal(rules, []health.Rule{health.LabelsUnread}) || found.Severity != health.Information {
		t.Errorf("%+v", found)
	}
}

// TestNothingIsWaitedFor: a FIFO in the place of any file is not waited for, and what others
// put where leftovers may be is left alone.
func TestNothingIsWaitedFor(t *testing.T) {
	h := newHost(t)
	image := bootcStore + "/overlay-images/" + h.app + "/"
	for _, name := range []string{
		bootcStore + "/overlay-images/images.json", ownStore + "/overlay-images/images.json", bootcStore + "/overlay-layers/layers.json", ownStore + "/overlay-layers/layers.json",
		bootcStore + "/overlay-containers/containers.json", ownStore + "/overlay-containers/containers.json", bootcStore + "/overlay-layers/layers.lock",
		ownStore + "/overlay-layers/volatile-layers.json", image + "manifest", image + "=" + base64.StdEncoding.EncodeToString([]byte("sha256:"+h.app)),
		bootcStore + "/overlay/" + stored{text: "app"}.layer() + "/link", bootcStore + "/overlay/" + stored{text: "app"}.layer() + "/lower",
		bootcStore + "/overlay-layers/" + stored{text: "app"}.layer() + ".tar-split.gz", bootcStore + "/db.sql", bootcStore + "/libpod/bolt_state.db",
		bootcStore + "/bootc-podman.staging/x", bootcStore + "/overlay-images/.tmp-images.json1", "etc/ostree/auth.json",
		"etc/containers/systemd/x.container", "usr/lib/bootc/bound-images.d/x.image", "usr/share/app.container", "var/lib/bootc-podman/unified.json",
		"var/lib/bootc-podman/removed.json", "run/bootc-podman/transfer.lock", "run/bootc-podman/gate-off", "etc/subuid", "etc/passwd", "proc/locks",
	} {
		h := newHost(t)
		h.Mkdir(filepath.Dir(name))
		h.remove(name)
		if err := unix.Mkfifo(h.Path(name), 0o600); err != nil {
			t.Fatal(err)
		}
		h.age(name)
		done := make(chan []Problem)
		go func() { done <- Examine(t.Context(), h.options()) }()
		select {
		case found := <-done:
			for i, p := range found {
				if strings.HasPrefix(p.Action, "remove ") {
					t.Errorf("%s: %s", name, p.Action)
				}
				for _, other := range found[:i] {
					if strings.HasSuffix(p.What, ": "+other.What) {
						t.Errorf("%s: %q reported twice", name, p.What)
					}
				}
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is waited for", name)
		}
	}
}
