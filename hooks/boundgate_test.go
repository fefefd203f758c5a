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

	"golang.org/x/sys/unix"
)

var testCommit = strings.Repeat("c", 64)

// gateHost booted a deployment with localhost/app:1 bound, which the bootc-owned
// store has as image 7. Container 5 in podman's own store runs image m.
func gateHost(t *testing.T, m int, name string) *testHost {
	h := newTestHost(t)
	h.image(bootcRoot, 7, "localhost/app:1")
	h.Write(bootcRoot+"/overlay-images/"+id(7)+"/manifest", `{"schemaVersion":2,"config":{"digest":"sha256:x"}}`)
	h.container(podmans, 5, m, name, 7)
	root := "sysroot/ostree/deploy/default/deploy/" + testCommit + ".0"
	h.Write(root+"/usr/share/containers/systemd/app.container", "[Container]\nImage=localhost/app:1\n")
	h.Link("/usr/share/containers/systemd/app.container", root+"/usr/lib/bootc/bound-images.d/app.container")
	h.Write("sysroot/ostree/deploy/default/deploy/"+testCommit+".0.origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os:42\n")
	h.Mkdir("sysroot/ostree/repo")
	h.Link("../deploy/default/deploy/"+testCommit+".0", "sysroot/ostree/boot.1.1/default/"+testCommit+"/0")
	h.Link("boot.1.1", "sysroot/ostree/boot.1")
	h.Link("sysroot/ostree", "ostree")
	h.Write("proc/cmdline", "ostree=/ostree/boot.1/default/"+testCommit+"/0\n")
	h.Write("run/ostree-booted", "")
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
		return func(h *testHost) { h.Write("etc/bootc-podman/bound.lock", content) }
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
			h.Write(bootcRoot+"/overlay-layers/layers.json", "[]")
		}, refuse: "is damaged"},
		{name: "no bootc-owned store", with: func(h *testHost) { _ = os.RemoveAll(h.Path("sysroot/ostree/bootc")) }, refuse: "no bootc-owned store"},
		{name: "a store that cannot be read", with: func(h *testHost) {
			h.Write(bootcRoot+"/overlay-images/images.json", "[")
		}, refuse: "images.json"},
		{name: "a host that booted nothing", with: func(h *testHost) { h.Write("proc/cmdline", "") }, refuse: "no deployment is booted here"},
		{name: "no bootc host", with: func(h *testHost) { _ = os.RemoveAll(h.Path("sysroot")) }, refuse: "no ostree or composefs"},
		{name: "bound images that cannot be read", image: 8, called: "x", with: func(h *testHost) {
			h.Link("nowhere", "sysroot/ostree/deploy/default/deploy/"+testCommit+".0/usr/lib/bootc/bound-images.d/bad.container")
		}, refuse: "of which not all can be read"},
		{name: "no container of podman's", config: `{"annotations":{"io.bootc-podman.require":"bound"},"root":{"path":"/rootfs"}}`, refuse: "find its image"},
		{name: "no record", with: func(h *testHost) { h.Write(podmans+"/overlay-containers/containers.json", "[]") }, refuse: "no record"},
		{name: "records that are none", with: func(h *testHost) { h.Write(podmans+"/overlay-containers/containers.json", "[{]") }, refuse: "decode"},
		{name: "a misspelt value", config: gateConfig("Bound"), refuse: `is "Bound"`},
		{name: "no value", config: gateConfig(""), refuse: `is ""`},
		{name: "empty input", config: " ", refuse: "decode config"},
		{name: "not JSON", config: "x", refuse: "decode config"},
		{name: "too large", config: strings.Repeat(" ", MaxConfig+1), refuse: "more than"},
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
				if err := json.Unmarshal([]byte(h.Read("run/bootc-podman/denied/"+id(5)+".json")), &denial); err != nil ||
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
			h.Write("run/bootc-podman/gate-off", "")
			if code, out := h.run(config, BoundGate); code != 0 || out != config || !strings.Contains(h.journal.text(), "the gate is off") {
				t.Errorf("gate off: exit status %d, %d bytes, %q", code, len(out), h.journal.text())
			}
		})
	}
}

func TestBoundGateKnowsWhereTheFilesAre(t *testing.T) {
	const other, merged = "/srv/other", podmans + "/overlay/%s/merged"
	mounted := func(h *testHost, lower string) {
		h.Write("proc/self/mountinfo", fmt.Sprintf("143 139 0:54 / "+merged+" rw,relatime - overlay overlay rw,lowerdir=%s,upperdir=%s,workdir=/y\n", id(1005), lower, upperOf(podmans, 5)))
	}
	for _, tt := range []struct {
		name   string
		with   func(h *testHost)
		refuse string // "" where the container may start
	}{
		{name: "not mounted", with: func(*testHost) {}},
		{name: "by its link", with: func(h *testHost) { mounted(h, bootcRoot+"/overlay/l/"+linkName(7)) }},
		{name: "by its name", with: func(h *testHost) { mounted(h, bootcRoot+"/overlay/"+id(7)+"/diff") }},
		{name: "below the driver's directory", with: func(h *testHost) { mounted(h, "l/"+linkName(7)) }},
		{name: "by a number", with: func(h *testHost) { mounted(h, "5") }},
		{name: "the store under another name", with: func(h *testHost) {
			h.Link("../../../sysroot/ostree/bootc/storage", "usr/lib/bootc/storage")
			mounted(h, "/usr/lib/bootc/storage/overlay/l/"+linkName(7))
		}},
		{name: "a program's mount", with: func(h *testHost) {
			h.Write("proc/self/mountinfo", fmt.Sprintf("143 139 0:54 / "+merged+" rw - fuse.fuse-overlayfs fuse-overlayfs rw\n", id(1005)))
		}},
		{name: "a layer of its own store", with: func(h *testHost) {
			h.layer(podmans, 9)
			h.container(podmans, 5, 7, "localhost/app:1", 9)
		}, refuse: "is in " + podmans},
		{name: "a link of that name in its own store", with: func(h *testHost) { h.layer(podmans, 7) }, refuse: "is in " + podmans},
		{name: "a layer that is in no store", with: func(h *testHost) { h.container(podmans, 5, 7, "localhost/app:1", 9) }, refuse: "is not in the bootc-owned store"},
		{name: "another layer of the store", with: func(h *testHost) {
			h.layer(bootcRoot, 8)
			h.container(podmans, 5, 7, "localhost/app:1", 8)
		}, refuse: "its layer"},
		{name: "one layer more", with: func(h *testHost) {
			h.layer(bootcRoot, 8)
			h.container(podmans, 5, 7, "localhost/app:1", 7, 8)
		}, refuse: "more layers than the bound image"},
		{name: "no layer", with: func(h *testHost) {
			h.Write(podmans+"/overlay/"+id(1005)+"/lower", "l/x")
			h.container(podmans, 5, 7, "x")
		}, refuse: "read link"},
		{name: "no list of layers", with: func(h *testHost) { _ = os.Remove(h.Path(podmans + "/overlay/" + id(1005) + "/lower")) }, refuse: "0 layers, and the bound image 1"},
		{name: "mounted of a copy of the store", with: func(h *testHost) {
			h.layer(other, 7)
			mounted(h, other+"/overlay/l/"+linkName(7))
		}, refuse: "its files are in /srv/other/overlay/l/"},
		{name: "mounted of nothing", with: func(h *testHost) { mounted(h, "/srv/gone/overlay/l/"+linkName(7)) }, refuse: "its files are in /srv/gone"},
		{name: "mounted of more", with: func(h *testHost) { mounted(h, bootcRoot+"/overlay/l/"+linkName(7)+":/srv") }, refuse: "more layers than the bound image"},
		{name: "a number more", with: func(h *testHost) { mounted(h, "5:6") }, refuse: "more layers"},
		{name: "a mount on a mount", with: func(h *testHost) {
			mounted(h, bootcRoot+"/overlay/l/"+linkName(7))
			table := h.Read("proc/self/mountinfo")
			mounted(h, "/srv/upon")
			h.Write("proc/self/mountinfo", table+h.Read("proc/self/mountinfo"))
		}, refuse: "its files are in /srv/upon"},
		{name: "a copy for a user namespace", with: func(h *testHost) {
			h.Mkdir(podmans + "/overlay/" + id(1005) + "/diff1")
			mounted(h, podmans+"/overlay/"+id(1005)+"/diff1:"+bootcRoot+"/overlay/l/"+linkName(7))
		}, refuse: "as for a user namespace of its own"},
		{name: "a copy for a user namespace, not mounted", with: func(h *testHost) {
			h.Mkdir(podmans + "/overlay/" + id(1005) + "/diff1")
		}, refuse: "as for a user namespace of its own"},
		{name: "mounted for a user namespace", with: func(h *testHost) {
			mounted(h, podmans+"/overlay/"+id(1005)+"/mapped/0/"+id(7)+"/diff")
		}, refuse: "as for a user namespace of its own"},
		{name: "a copy in a further store that podman is given", with: func(h *testHost) {
			h.image(other, 7, "localhost/app:1")
			h.Write("proc/77/cmdline", "podman\x00--storage-opt\x00additionalimagestore="+other+"\x00run\x00")
		}, refuse: "is shadowed: " + other},
		{name: "in one word", with: func(h *testHost) {
			h.image(other, 7, "localhost/app:1")
			h.Write("proc/77/cmdline", "podman\x00--storage-opt=overlay.imagestore="+other+"\x00run\x00")
		}, refuse: "is shadowed: " + other},
		{name: "in a list", with: func(h *testHost) {
			h.image(other, 7, "localhost/app:1")
			h.Write("proc/77/cmdline", "podman\x00--storage-opt=additionalimagestore=/srv,"+other+","+bootcRoot+"\x00run\x00")
		}, refuse: "is shadowed: " + other},
		{name: "in an image store", with: func(h *testHost) {
			h.image(other, 8, "localhost/app:1")
			h.Write("proc/77/cmdline", "podman\x00--imagestore\x00"+other+"\x00run\x00")
		}, refuse: "is shadowed: " + other},
		{name: "by the environment", with: func(h *testHost) {
			h.image(other, 8, "localhost/app:1")
			h.Write("proc/77/environ", "X=y\x00STORAGE_OPTS=a=b,additionalimagestore="+other+"\x00")
		}, refuse: "is shadowed: " + other},
		{name: "by a storage.conf in the environment", with: func(h *testHost) {
			h.image(other, 8, "localhost/app:1")
			h.Write("srv/storage.conf", "[storage.options]\nadditionalimagestores = [\""+other+"\"]\n")
			h.Write("proc/77/environ", "CONTAINERS_STORAGE_CONF=/srv/storage.conf\x00")
		}, refuse: "is shadowed: " + other},
		{name: "by the configuration", with: func(h *testHost) {
			h.image(other, 8, "localhost/app:1")
			h.Write("etc/containers/storage.conf", "[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [\""+other+"\"]\n")
		}, refuse: "is shadowed: " + other},
		{name: "in a store that podman is not given", with: func(h *testHost) {
			h.image(other, 7, "localhost/app:1")
			h.Write("proc/77/cmdline", "podman\x00--storage-opt\x00additionalimagestore="+bootcRoot+"\x00run\x00")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := gateHost(t, 7, "localhost/app:1")
			tt.with(h)
			v, _ := h.invocation(gateConfig("bound"))
			v.Parent = 77
			code := v.Run([]string{BoundGate})
			if tt.refuse == "" && code != 0 || tt.refuse != "" && (code != 1 || !strings.Contains(h.journal.text(), tt.refuse)) {
				t.Errorf("exit status %d, journal %q, want %q", code, h.journal.text(), tt.refuse)
			}
		})
	}
}

// TestBoundGateLooksAtTheContainersOwnLayer: podman's own additions are those of 4.3.1 to
// 6.1.1, as seen by a hook of the stage precreate.
func TestBoundGateLooksAtTheContainersOwnLayer(t *testing.T) {
	upper := upperOf(podmans, 5)
	layer := bootcRoot + "/overlay/" + id(7) + "/diff"
	const passwd, group = "root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n"
	inImage := func(h *testHost) {
		h.Write(layer+"/etc/passwd", passwd)
		h.Write(layer+"/etc/group", group)
	}
	attr := func(h *testHost, name, attr string) {
		if err := unix.Setxattr(h.Path(name), "user.overlay."+attr, []byte("y"), 0); err != nil {
			if os.Geteuid() != 0 {
				h.t.Skip(err)
			}
			h.t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		with   func(h *testHost)
		refuse string // "" where the container may start
	}{
		{name: "podman's link", with: func(*testHost) {}},
		{name: "nothing", with: func(h *testHost) { _ = os.RemoveAll(h.Path(upper + "/etc")) }},
		{name: "a user in no file", with: func(h *testHost) {
			h.Write(upper+"/etc/passwd", "1000:*:1000:0:container user:/:/bin/sh\n")
			h.Write(upper+"/etc/group", "0:x:0:1000\n")
			attr(h, upper+"/etc", "opaque")
		}},
		{name: "a user more", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/passwd", passwd+"1234:*:1234:5678:container user:/:/bin/sh\n")
			h.Write(upper+"/etc/group", group+"5678:x:5678:1234\n")
			attr(h, upper+"/etc", "origin")
			attr(h, upper+"/etc", "impure")
		}},
		{name: "a user more, behind a line without an end", with: func(h *testHost) {
			h.Write(layer+"/etc/passwd", strings.TrimSpace(passwd))
			h.Write(upper+"/etc/passwd", strings.TrimSpace(passwd)+"1:*:1:0::/:/bin/sh\n")
		}},
		{name: "a file by podman cp", with: func(h *testHost) { h.Write(upper+"/bin/sh", "x") }, refuse: "has /bin, which is not of the image"},
		{name: "a file of the same directory", with: func(h *testHost) { h.Write(upper+"/etc/shadow", "x") }, refuse: "has /etc/shadow"},
		{name: "an earlier run", with: func(h *testHost) { h.Write(upper+"/run/.containerenv", "") }, refuse: "has /run"},
		{name: "a hidden file", with: func(h *testHost) { h.Write(upper+"/.x", "") }, refuse: "has /.x"},
		{name: "another link", with: func(h *testHost) {
			_ = os.Remove(h.Path(upper + "/etc/mtab"))
			h.Link("/x", upper+"/etc/mtab")
		}, refuse: "has /etc/mtab"},
		{name: "no directory", with: func(h *testHost) {
			_ = os.RemoveAll(h.Path(upper + "/etc"))
			h.Link("/x", upper+"/etc")
		}, refuse: "has /etc,"},
		{name: "another root", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/passwd", passwd+"x::0:0::/:/bin/sh\n")
		}, refuse: "has /etc/passwd"},
		{name: "a group more of number 0", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/group", group+"x:x:0:1000\n")
		}, refuse: "has /etc/group"},
		{name: "a line that is none", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/passwd", passwd+"x\n")
		}, refuse: "has /etc/passwd"},
		{name: "a changed user", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/passwd", "root::0:0:root:/root:/bin/sh\n")
		}, refuse: "has /etc/passwd"},
		{name: "a line that goes on", with: func(h *testHost) {
			h.Write(layer+"/etc/passwd", "root:x:0:0:root:/root:/bin/sh")
			h.Write(upper+"/etc/passwd", "root:x:0:0:root:/root:/bin/sh/x:*:1:1::/:/\n")
		}, refuse: "has /etc/passwd"},
		{name: "a mode that is not the image's", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/passwd", passwd)
			h.Chmod(upper+"/etc/passwd", 0o666)
		}, refuse: "has /etc/passwd"},
		{name: "a directory for all", with: func(h *testHost) { h.Chmod(upper+"/etc", 0o777) }, refuse: "has /etc,"},
		{name: "a FIFO", with: func(h *testHost) {
			if err := unix.Mkfifo(h.Path(upper+"/etc/passwd"), 0o644); err != nil {
				h.t.Fatal(err)
			}
		}, refuse: "has /etc/passwd"},
		{name: "a directory that hides the image's", with: func(h *testHost) {
			inImage(h)
			attr(h, upper+"/etc", "opaque")
		}, refuse: "has /etc,"},
		{name: "a directory that is another of the image's", with: func(h *testHost) {
			attr(h, upper+"/etc", "redirect")
		}, refuse: "has /etc,"},
		{name: "a file whose content is elsewhere", with: func(h *testHost) {
			inImage(h)
			h.Write(upper+"/etc/passwd", passwd)
			attr(h, upper+"/etc/passwd", "metacopy")
		}, refuse: "has /etc/passwd"},
		{name: "another directory in the kernel", with: func(h *testHost) {
			h.Mkdir("srv/x")
			h.Write("proc/self/mountinfo", fmt.Sprintf("143 139 0:54 / %s/overlay/%s/merged rw - overlay overlay rw,lowerdir=%s,upperdir=/srv/x,workdir=/y\n",
				podmans, id(1005), bootcRoot+"/overlay/l/"+linkName(7)))
		}, refuse: "the container's own layer is /srv/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := gateHost(t, 7, "localhost/app:1")
			tt.with(h)
			code, _ := h.run(gateConfig("bound"), BoundGate)
			if tt.refuse == "" && code != 0 || tt.refuse != "" && (code != 1 || !strings.Contains(h.journal.text(), tt.refuse)) {
				t.Errorf("exit status %d, journal %q, want %q", code, h.journal.text(), tt.refuse)
			}
			// The annotation allows it, unless it comes from the image.
			allowed := strings.Replace(gateConfig("bound"), `"annotations":{`, `"annotations":{"`+AllowChanges+`":"true",`, 1)
			if code, _ := h.run(allowed, BoundGate); code != 0 {
				t.Errorf("allowed: exit status %d, journal %q", code, h.journal.text())
			}
			h.Write(bootcRoot+"/overlay-images/"+id(7)+"/manifest", `{"schemaVersion":2,"annotations":{"`+AllowChanges+`":"true"},"config":{"digest":"sha256:x"}}`)
			if code, _ := h.run(allowed, BoundGate); (code == 0) != (tt.refuse == "") {
				t.Errorf("allowed by the image: exit status %d, journal %q", code, h.journal.text())
			}
		})
	}
}

func TestBoundGateKnowsAnotherGraphRoot(t *testing.T) {
	const other = "/srv/other"
	for _, tt := range []struct {
		name, cmdline, refuse string
	}{
		// With --root podman forgets what is configured.
		{"podman's own store is not looked into", "podman\x00--root\x00" + other + "\x00", ""},
		{"unless it is named", "podman\x00--root\x00" + other + "\x00--storage-opt\x00additionalimagestore=" + podmans + "\x00", "is shadowed: " + podmans},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := gateHost(t, 7, "localhost/app:1")
			h.image(podmans, 8, "localhost/app:1")
			h.container(other, 5, 7, "localhost/app:1", 7)
			h.Write("proc/77/cmdline", tt.cmdline)
			v, _ := h.invocation(strings.ReplaceAll(gateConfig("bound"), podmans, other))
			v.Parent = 77
			code := v.Run([]string{BoundGate})
			if (code != 0) != (tt.refuse != "") || !strings.Contains(h.journal.text(), tt.refuse) {
				t.Errorf("exit status %d, journal %q, want %q", code, h.journal.text(), tt.refuse)
			}
		})
	}
}

// TestContainersOfATransientStore: their records are below the run root.
func TestContainersOfATransientStore(t *testing.T) {
	for _, runRoot := range []string{"/run/containers/storage", "/run/other"} {
		t.Run(runRoot, func(t *testing.T) {
			h := gateHost(t, 7, "localhost/app:1")
			h.Write(runRoot+"/overlay-containers/volatile-containers.json", h.Read(podmans+"/overlay-containers/containers.json"))
			h.Write(podmans+"/overlay-containers/containers.json", "[]")
			config := strings.Replace(gateConfig("bound"), `"root"`, fmt.Sprintf(`"mounts":[{"destination":"/run/.containerenv","type":"bind","source":"%s/overlay-containers/%s/userdata/.containerenv"}],"root"`, runRoot, id(5)), 1)
			if code, _ := h.run(config, BoundGate); code != 0 {
				t.Errorf("exit status %d, journal %q", code, h.journal.text())
			}
			h.Write(runRoot+"/overlay-containers/"+id(5)+"/userdata/config.json", config)
			h.process("S", 7)
			h.run(strings.Replace(stateOf(5, "created", 42), podmans, runRoot, 1), Ledger)
			leases, problems := Leases(h.Dir)
			if len(leases) != 1 || leases[0].Name != "name" || leases[0].Image.Name != "localhost/app:1" || len(leases[0].Layers) != 1 || leases[0].Store != podmans || problems != nil {
				t.Errorf("%+v, %v, journal %q", leases, problems, h.journal.text())
			}
		})
	}
}

func TestBoundGateTakesNoCopyOfAnotherDriver(t *testing.T) {
	h := gateHost(t, 7, "localhost/app:1")
	h.Write(podmans+"/vfs-containers/containers.json", fmt.Sprintf(`[{"id":%q,"image":%q,"layer":%q}]`, id(5), id(7), id(1005)))
	config := strings.Replace(gateConfig("bound"), "/overlay/"+id(1005)+"/merged", "/vfs/dir/"+id(1005), 1)
	if code, _ := h.run(config, BoundGate); code != 1 || !strings.Contains(h.journal.text(), "its files are a copy in "+podmans+", whose driver is vfs") {
		t.Errorf("exit status %d, journal %q", code, h.journal.text())
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
		_ = os.Chtimes(h.Path("run/bootc-podman/denied/"+id(n)+".json"), time.Time{}, time.Unix(int64(1000+n), 0))
	}
	entries, err := os.ReadDir(h.Path("run/bootc-podman/denied"))
	if err != nil || len(entries) != maxDenied || entries[0].Name() != id(2*maxDenied)+".json" {
		t.Errorf("%d are left, the first %v, %v", len(entries), entries[0], err)
	}
}

func TestLockIsOfWhatIsBound(t *testing.T) {
	h := gateHost(t, 7, "localhost/app:1")
	lock, warnings, err := MakeLock(h.Dir)
	if err != nil || len(warnings) > 0 || len(lock.Images) != 1 || lock.Images["localhost/app:1"] != "sha256:"+id(7) {
		t.Fatalf("got %+v, %v", lock, err)
	}
	if _, err := lock.Write(h.Dir); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.run(gateConfig("bound"), BoundGate); code != 0 {
		t.Errorf("exit status %d: %s", code, h.journal.text())
	}
	h.image(bootcRoot+"/../other", 9) // another store changes nothing
	h.Write(bootcRoot+"/overlay-images/images.json", "[]")
	if _, _, err := MakeLock(h.Dir); err == nil || !strings.Contains(err.Error(), `lock bound image "localhost/app:1"`) {
		t.Errorf("got %v", err)
	}
}

// stage makes a deployment of another commit the staged one, with localhost/next:1 bound.
// The file is one that ostree wrote, with another deployment in it.
func (h *testHost) stage() string {
	h.Helper()
	const written = "be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5.3"
	staged := strings.Repeat("d", 64) + ".0"
	content, err := os.ReadFile("../internal/host/testdata/staged-deployment")
	if err != nil {
		h.Fatal(err)
	}
	root := "sysroot/ostree/deploy/default/deploy/" + staged
	h.Write(root+"/usr/share/containers/systemd/next.container", "[Container]\nImage=localhost/next:1\n")
	h.Link("/usr/share/containers/systemd/next.container", root+"/usr/lib/bootc/bound-images.d/next.container")
	h.Write(root+".origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os:43\n")
	h.Write("run/ostree/staged-deployment", strings.ReplaceAll(string(content), written, staged))
	return root
}

// TestLockIsAlsoOfWhatTheStagedDeploymentHasBound: its containers start after the reboot.
func TestLockIsAlsoOfWhatTheStagedDeploymentHasBound(t *testing.T) {
	h := gateHost(t, 7, "localhost/app:1")
	root := h.stage()
	if _, _, err := MakeLock(h.Dir); err == nil || !strings.Contains(err.Error(), `lock bound image "localhost/next:1" of the staged deployment`) {
		t.Errorf("without the image: %v", err)
	}
	h.Write(bootcRoot+"/overlay-images/images.json", `[{"id":"`+id(7)+`","names":["localhost/app:1","localhost/next:1"],"digest":"sha256:`+id(7)+`"}]`)
	lock, warnings, err := MakeLock(h.Dir)
	if err != nil || len(warnings) > 0 || len(lock.Images) != 2 || lock.Images["localhost/next:1"] != "sha256:"+id(7) {
		t.Errorf("got %+v, %v, %v", lock, warnings, err)
	}
	h.Link("nowhere", root+"/usr/lib/bootc/bound-images.d/bad.container")
	if _, _, err := MakeLock(h.Dir); err == nil || !strings.Contains(err.Error(), "bad.container") {
		t.Errorf("with a unit that cannot be read: %v", err)
	}
	h.Write("run/ostree/staged-deployment", "x")
	if lock, warnings, err := MakeLock(h.Dir); err != nil || len(warnings) != 1 || len(lock.Images) != 1 {
		t.Errorf("with a staged deployment that cannot be read: %+v, %v, %v", lock, warnings, err)
	}
}

// TestLockWarnsOfAStagedDeploymentOfComposefs: its root directory is there once it has booted.
func TestLockWarnsOfAStagedDeploymentOfComposefs(t *testing.T) {
	h := newTestHost(t)
	booted, staged := strings.Repeat("a", 128), strings.Repeat("c", 128)
	for _, verity := range []string{booted, staged} {
		h.Write("sysroot/state/deploy/"+verity+"/"+verity+".origin",
			"[origin]\ncontainer-image-reference = ostree-unverified-image:docker://quay.io/example/os\n[boot]\nboot_type = bls\n[image]\nmanifest_digest = sha256:"+id(1)+"\n")
	}
	h.Mkdir("sysroot/composefs/bootc")
	h.Link("../composefs/bootc", "sysroot/ostree/bootc")
	h.image("sysroot/composefs/bootc/storage", 7, "localhost/app:1")
	h.Write("proc/cmdline", "composefs="+booted+"\n")
	h.Write("run/ostree-booted", "")
	h.Write("run/composefs/staged-deployment", `{"depl_id": "`+staged+`", "finalization_locked": false}`)
	h.Write("usr/share/containers/systemd/app.container", "[Container]\nImage=localhost/app:1\n")
	h.Link("/usr/share/containers/systemd/app.container", "usr/lib/bootc/bound-images.d/app.container")
	lock, warnings, err := MakeLock(h.Dir)
	if err != nil || len(lock.Images) != 1 || lock.Images["localhost/app:1"] == "" {
		t.Errorf("got %+v, %v", lock, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "not known before it boots") {
		t.Errorf("warnings: %v", warnings)
	}
}
