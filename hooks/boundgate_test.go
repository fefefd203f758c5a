// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var testCommit = strings.Repeat("c", 64)

// gateHost booted a deployment with localhost/app:1 bound, which the bootc-owned
// store has as image 7. Container 5 in podman's own store runs image m.
func gateHost(t *testing.T, m int, name string) *testHost {
	h := newTestHost(t)
	h.image(bootcRoot, 7, "localhost/app:1")
	h.write(bootcRoot+"/overlay-images/"+id(7)+"/manifest", `{"schemaVersion":2,"config":{"digest":"sha256:x"}}`)
	h.container(podmans, 5, m, name, 7)
	root := "sysroot/ostree/deploy/default/deploy/" + testCommit + ".0"
	h.write(root+"/usr/share/containers/systemd/app.container", "[Container]\nImage=localhost/app:1\n")
	h.link("/usr/share/containers/systemd/app.container", root+"/usr/lib/bootc/bound-images.d/app.container")
	h.write("sysroot/ostree/deploy/default/deploy/"+testCommit+".0.origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os:42\n")
	h.dir("sysroot/ostree/repo")
	h.link("../deploy/default/deploy/"+testCommit+".0", "sysroot/ostree/boot.1.1/default/"+testCommit+"/0")
	h.link("boot.1.1", "sysroot/ostree/boot.1")
	h.link("sysroot/ostree", "ostree")
	h.write("proc/cmdline", "ostree=/ostree/boot.1/default/"+testCommit+"/0\n")
	h.write("run/ostree-booted", "")
	return h
}

// gateConfig is the configuration of container 5 with some value of the annotation.
func gateConfig(value string) string {
	return fmt.Sprintf(`{"annotations":{"io.bootc-podman.require":%q},"root":{"path":"%s/overlay/%s/merged"},"linux":{"cgroupsPath":"/libpod_parent/libpod-%s"}}`,
		value, podmans, id(1005), id(5))
}

func TestBoundGate(t *testing.T) {
	bound := gateConfig("bound")
	lock := func(content string) func(h *testHost) {
		return func(h *testHost) { h.write("etc/bootc-podman/bound.lock", content) }
	}
	for _, tt := range []struct {
		name   string
		image  int    // 7 if 0
		called string // localhost/app:1 if ""
		config string // bound if ""
		with   func(h *testHost)
		refuse string // "" where the container may start
	}{
		{name: "bound"},
		{name: "by its ID", called: id(7)},
		{name: "not asked", image: 8, config: `{"root":{"path":"x"}}`},
		{name: "not bound", image: 8, called: "localhost/other:1", refuse: "image localhost/other:1, 000000000000, is not bound"},
		{name: "another of the name", image: 8, refuse: "and the bound one is"},
		{name: "shadowed", image: 8, with: func(h *testHost) { h.image(podmans, 8, "localhost/app:1") }, refuse: "is shadowed: " + podmans},
		{name: "shadowed, but run by its ID", with: func(h *testHost) { h.image(podmans, 8, "localhost/app:1") }, refuse: "is shadowed: " + podmans},
		{name: "a copy", with: func(h *testHost) { h.image(podmans, 7, "localhost/app:1") }, refuse: "is shadowed"},
		{name: "a copy without a name", with: func(h *testHost) { h.image(podmans, 7, "localhost/copy:1") }, refuse: "is shadowed"},
		{name: "others beside it", with: func(h *testHost) { h.image(podmans, 8, "localhost/other:1") }},
		{name: "locked", with: lock(`{"schema":1,"images":{"localhost/app:1":"sha256:` + id(7) + `"}}`)},
		{name: "another digest", with: lock(`{"schema":1,"images":{"localhost/app:1":"sha256:0"}}`), refuse: "but sha256:0 is in " + LockPath},
		{name: "not in the lock", with: lock(`{"schema":1,"images":{}}`), refuse: "is not in " + LockPath},
		{name: "a lock that is none", with: lock(`{`), refuse: "decode " + LockPath},
		{name: "a lock of tomorrow", with: lock(`{"schema":2}`), refuse: "schema 2"},
		{name: "a layer that is missing", with: func(h *testHost) {
			h.write(bootcRoot+"/overlay-layers/layers.json", "[]")
		}, refuse: "is damaged"},
		{name: "no bootc-owned store", with: func(h *testHost) { _ = os.RemoveAll(h.path("sysroot/ostree/bootc")) }, refuse: "no bootc-owned store"},
		{name: "a store that cannot be read", with: func(h *testHost) {
			h.write(bootcRoot+"/overlay-images/images.json", "[")
		}, refuse: "images.json"},
		{name: "a host that booted nothing", with: func(h *testHost) { h.write("proc/cmdline", "") }, refuse: "no deployment is booted here"},
		{name: "no bootc host", with: func(h *testHost) { _ = os.RemoveAll(h.path("sysroot")) }, refuse: "no ostree or composefs"},
		{name: "bound images that cannot be read", image: 8, called: "x", with: func(h *testHost) {
			h.link("nowhere", "sysroot/ostree/deploy/default/deploy/"+testCommit+".0/usr/lib/bootc/bound-images.d/bad.container")
		}, refuse: "of which not all can be read"},
		{name: "no container of podman's", config: `{"annotations":{"io.bootc-podman.require":"bound"},"root":{"path":"/rootfs"}}`, refuse: "find its image"},
		{name: "no record", with: func(h *testHost) { h.write(podmans+"/overlay-containers/containers.json", "[]") }, refuse: "no record"},
		{name: "records that are none", with: func(h *testHost) { h.write(podmans+"/overlay-containers/containers.json", "[{]") }, refuse: "decode"},
		{name: "a misspelt value", config: gateConfig("Bound"), refuse: `is "Bound"`},
		{name: "no value", config: gateConfig(""), refuse: `is ""`},
		{name: "empty input", config: " ", refuse: "decode config"},
		{name: "not JSON", config: "x", refuse: "decode config"},
		{name: "too large", config: strings.Repeat(" ", maxConfig+1), refuse: "more than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image, called, config := tt.image, tt.called, tt.config
			if image == 0 {
				image = 7
			}
			if called == "" {
				called = "localhost/app:1"
			}
			if config == "" {
				config = bound
			}
			h := gateHost(t, image, called)
			if tt.with != nil {
				tt.with(h)
			}
			code, out := h.run(config, BoundGate)
			if tt.refuse == "" {
				if code != 0 || out != config {
					t.Fatalf("exit status %d, %q, journal %q", code, out, h.journal.text())
				}
				return
			}
			if code != 1 || !strings.Contains(h.journal.text(), tt.refuse) {
				t.Errorf("exit status %d, journal %q, want %q", code, h.journal.text(), tt.refuse)
			}
			if config == bound {
				var denial Denial
				if err := json.Unmarshal([]byte(h.read("run/bootc-podman/denied/"+id(5)+".json")), &denial); err != nil ||
					!strings.Contains(denial.Reason, tt.refuse) || denial.Hook != BoundGate || denial.ID != id(5) {
					t.Errorf("denial %+v, %v", denial, err)
				}
			}
			// The same, by the two ways round it.
			warn := strings.Replace(config, `"bound"`, `"bound-warn"`, 1)
			if warn != config {
				if code, out := h.run(warn, BoundGate); code != 0 || out != warn || !strings.Contains(h.journal.text(), "would not start") {
					t.Errorf("bound-warn: exit status %d, %q, %q", code, out, h.journal.text())
				}
			}
			h.write("run/bootc-podman/gate-off", "")
			if code, out := h.run(config, BoundGate); code != 0 || out != config || !strings.Contains(h.journal.text(), "the gate is off") {
				t.Errorf("gate off: exit status %d, %d bytes, %q", code, len(out), h.journal.text())
			}
		})
	}
}

func TestBoundGateRefusesWhenItIsSlow(t *testing.T) {
	h := gateHost(t, 7, "localhost/app:1")
	v, _ := h.invocation("")
	v.Stdin, v.Patience = slowReader{}, 50*time.Millisecond
	if code := v.Run([]string{BoundGate}); code != 1 {
		t.Errorf("exit status %d", code)
	}
}

func TestBoundGateKnowsEarlyWhoWantsToBeToldOnly(t *testing.T) {
	h := newTestHost(t) // without any store
	v, _ := h.invocation("")
	var told []gateVerdict
	_, err := v.admit([]byte(gateConfig("bound-warn")), func(verdict gateVerdict) { told = append(told, verdict) })
	if err == nil || len(told) != 1 || told[0].require != RequireBoundWarn || told[0].id != id(5) {
		t.Errorf("got %v, %+v", err, told)
	}
}

func TestDenialsAreBounded(t *testing.T) {
	h := newTestHost(t)
	v, _ := h.invocation("")
	for n := range 3 * maxDenied {
		v.deny(id(n), BoundGate, "reason", nil)
		_ = os.Chtimes(h.path("run/bootc-podman/denied/"+id(n)+".json"), time.Time{}, time.Unix(int64(1000+n), 0))
	}
	entries, err := os.ReadDir(h.path("run/bootc-podman/denied"))
	if err != nil || len(entries) != maxDenied || entries[0].Name() != id(2*maxDenied)+".json" {
		t.Errorf("%d are left, the first %v, %v", len(entries), entries[0], err)
	}
}

func TestLockIsOfWhatIsBound(t *testing.T) {
	h := gateHost(t, 7, "localhost/app:1")
	lock, err := MakeLock(h.root)
	if err != nil || len(lock.Images) != 1 || lock.Images["localhost/app:1"] != "sha256:"+id(7) {
		t.Fatalf("got %+v, %v", lock, err)
	}
	if err := lock.Write(h.root); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.run(gateConfig("bound"), BoundGate); code != 0 {
		t.Errorf("exit status %d: %s", code, h.journal.text())
	}
	h.image(bootcRoot+"/../other", 9) // another store changes nothing
	h.write(bootcRoot+"/overlay-images/images.json", "[]")
	if _, err := MakeLock(h.root); err == nil || !strings.Contains(err.Error(), `lock bound image "localhost/app:1"`) {
		t.Errorf("got %v", err)
	}
}
