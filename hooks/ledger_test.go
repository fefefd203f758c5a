// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

var leasePath = "run/bootc-podman/leases/" + id(5) + ".json"

// ledgerHost is a host with container 5 of image 7, which podman named; the upper
// layer of the image lies in podman's own store, the lower in the bootc-owned one.
func ledgerHost(t *testing.T) *testHost {
	h := newTestHost(t)
	h.image(podmans, 7, "localhost/app:1")
	h.image(bootcRoot, 8, "localhost/base:1")
	h.container(podmans, 5, 7, "localhost/app:1", 7, 8)
	h.process("S", 4711)
	return h
}

func TestLedgerWritesALeaseAndTakesItBack(t *testing.T) {
	h := ledgerHost(t)
	identity := NewIdentity(h.Dir, "ostree")
	identity.Digest = "sha256:booted"
	if err := WriteIdentity(h.Dir, identity); err != nil {
		t.Fatal(err)
	}
	if code, out := h.run(stateOf(5, "creating", 42), Ledger); code != 0 || out != "" {
		t.Errorf("exit status %d, %q", code, out)
	}
	leases, problems := Leases(h.Dir)
	want := []Lease{{
		Schema: 1, ID: id(5), Name: "name", Image: Image{ID: id(7), Name: "localhost/app:1", Digest: "sha256:" + id(7)}, Store: podmans,
		Layers: []Layer{{ID: id(7), Store: DefaultStore, Path: podmans}, {ID: id(8), Store: BootcStore, Path: bootcRoot}},
		PID:    42, PIDStart: 4711, BootID: testBoot, BootedDigest: "sha256:booted", Started: time.Unix(1e9, 0).UTC(), State: LeaseRunning,
	}}
	if !reflect.DeepEqual(leases, want) || problems != nil {
		t.Errorf("got %+v, %v, want %+v", leases, problems, want)
	}
	if got := leases[0].Stores(); !slices.Equal(got, []StoreKind{DefaultStore, BootcStore}) {
		t.Errorf("stores %v", got)
	}
	if r := h.journal.records; len(r) != 1 || r[0].fields["IMAGE_DIGEST"] != "sha256:"+id(7) || r[0].fields["CONTAINER_ID_FULL"] != id(5) {
		t.Errorf("journal %+v", r)
	}
	h.process("Z", 4711)
	for range 2 { // it may come twice
		h.run(stateOf(5, "stopped", 0), Ledger)
	}
	if h.Exists(leasePath) {
		t.Error("the lease is still there")
	}
	if text := h.journal.text(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "container name stopped") {
		t.Errorf("journal:\n%s", text)
	}
}

func TestLedgerKeepsTheLeaseOfAContainerThatStartedAgain(t *testing.T) {
	h := ledgerHost(t)
	h.run(stateOf(5, "creating", 42), Ledger)
	// The end of its former life comes late.
	h.run(stateOf(5, "stopped", 0), Ledger)
	if !h.Exists(leasePath) {
		t.Error("the lease of a running container is gone")
	}
}

func TestLeasesAreStaleWhenTheirProcessIsNot(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(h *testHost)
		want LeaseState
	}{
		{name: "running", with: func(*testHost) {}, want: LeaseRunning},
		{name: "ended", with: func(h *testHost) { _ = os.RemoveAll(h.Path("proc/42")) }, want: LeaseGone},
		{name: "not waited for", with: func(h *testHost) { h.process("Z", 4711) }, want: LeaseGone},
		{name: "another process", with: func(h *testHost) { h.process("S", 4712) }, want: LeaseGone},
		{name: "a boot before", with: func(h *testHost) {
			h.Write("proc/sys/kernel/random/boot_id", strings.Repeat("0", 36))
		}, want: LeaseRebooted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := ledgerHost(t)
			h.run(stateOf(5, "creating", 42), Ledger)
			tt.with(h)
			leases, problems := Leases(h.Dir)
			if len(leases) != 1 || leases[0].State != tt.want || problems != nil {
				t.Errorf("got %+v, %v", leases, problems)
			}
		})
	}
}

// slowReader never ends.
type slowReader struct{}

func (slowReader) Read([]byte) (int, error) { select {} }

// endlessReader gives n bytes.
type endlessReader struct{ n int64 }

func (r *endlessReader) Read(p []byte) (int, error) {
	if r.n <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), r.n)
	for i := range n {
		p[i] = 'x'
	}
	r.n -= n
	return int(n), nil
}

func TestLedgerSucceedsWhateverItIsGiven(t *testing.T) {
	good := stateOf(5, "creating", 42)
	huge := &endlessReader{n: 100 << 20}
	for _, tt := range []struct {
		name  string
		stdin io.Reader
		args  []string
		want  string // in the journal
	}{
		{name: "nothing", stdin: strings.NewReader(""), want: "decode state"},
		{name: "truncated", stdin: strings.NewReader(good[:50]), want: "decode state"},
		{name: "no JSON", stdin: strings.NewReader("\x00\x01"), want: "decode state"},
		{name: "a list", stdin: strings.NewReader("[]"), want: "decode state"},
		{name: "100 MB", stdin: huge, want: "more than"},
		{name: "an endless wait", stdin: slowReader{}, want: "out of time"},
		{name: "an ID that leads elsewhere", stdin: strings.NewReader(strings.ReplaceAll(good, id(5), "../../x")), want: "no container ID"},
		{name: "a hidden ID", stdin: strings.NewReader(strings.ReplaceAll(good, id(5), ".x")), want: "no container ID"},
		{name: "an unknown status", stdin: strings.NewReader(strings.ReplaceAll(good, "creating", "paused")), want: "unknown status"},
		{name: "an unknown option", stdin: strings.NewReader(good), args: []string{"--new"}, want: "started"},
		{name: "another engine's container", stdin: strings.NewReader(strings.ReplaceAll(good, podmans, "/elsewhere/x")), want: "started"},
		{name: "a failing read", stdin: io.MultiReader(strings.NewReader("{"), failingReader{}), want: "read state"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := ledgerHost(t)
			v, out := h.invocation("")
			v.Stdin, v.Patience = tt.stdin, time.Minute
			if tt.stdin == (slowReader{}) {
				v.Patience = 100 * time.Millisecond
			}
			if code := v.Run(append([]string{Ledger}, tt.args...)); code != 0 || out.Len() > 0 {
				t.Errorf("exit status %d, %q", code, out)
			}
			if !strings.Contains(h.journal.text(), tt.want) {
				t.Errorf("journal %q, want %q", h.journal.text(), tt.want)
			}
		})
	}
	if huge.n != 0 {
		t.Errorf("%d bytes were left unread", huge.n)
	}
}

func TestAJournalThatDoesNotAnswerIsNotWaitedForTwice(t *testing.T) {
	h := guardHost(t)
	mounts := strings.Repeat(`{"type":"bind","source":"/boot","destination":"/m"},`, 100)
	v, out := h.invocation(`{"mounts":[` + strings.TrimSuffix(mounts, ",") + `]}`)
	v.Journal = func(journal.Priority, string, map[string]string) { select {} }
	before := time.Now()
	if code := v.Run([]string{MountGuard}); code != 0 || out.Len() == 0 || time.Since(before) > Timeout/2*time.Second {
		t.Errorf("exit status %d after %v", code, time.Since(before))
	}
}

func TestLedgerWritesALeaseOfAContainerWhoseStoreDoesNotAnswer(t *testing.T) {
	h := ledgerHost(t)
	// No process writes into the pipe.
	path := h.Path(podmans + "/overlay-containers/containers.json")
	_ = os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	h.run(stateOf(5, "creating", 42), Ledger)
	if leases, problems := Leases(h.Dir); len(leases) != 1 || leases[0].State != LeaseRunning || problems != nil {
		t.Errorf("got %+v, %v", leases, problems)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestLedgerFollowsNoLinks(t *testing.T) {
	for _, name := range []string{"run/bootc-podman", "run/bootc-podman/leases"} {
		t.Run(name, func(t *testing.T) {
			h := ledgerHost(t)
			h.Mkdir("elsewhere")
			h.Link(h.Path("elsewhere"), name)
			h.run(stateOf(5, "creating", 42), Ledger)
			if entries, _ := os.ReadDir(h.Path("elsewhere")); len(entries) != 0 {
				t.Errorf("%v were written elsewhere", entries)
			}
		})
	}
	t.Run("the lease", func(t *testing.T) {
		h := ledgerHost(t)
		h.Write("secret", "kept")
		h.Mkdir("run/bootc-podman/leases")
		h.Link(h.Path("secret"), leasePath)
		h.run(stateOf(5, "creating", 42), Ledger)
		if h.Read("secret") != "kept" {
			t.Error("a file elsewhere was overwritten")
		}
		if fi, err := os.Lstat(h.Path(leasePath)); err != nil || !fi.Mode().IsRegular() {
			t.Errorf("the lease is %v, %v", fi, err)
		}
	})
}

func TestLedgerRefusesAStateThatOthersMayWrite(t *testing.T) {
	h := ledgerHost(t)
	h.Mkdir("run/bootc-podman")
	if err := os.Chmod(h.Path("run/bootc-podman"), 0o777); err != nil {
		t.Fatal(err)
	}
	h.run(stateOf(5, "creating", 42), Ledger)
	// The directory that they may write to is named, not the one in it.
	if h.Exists("run/bootc-podman/leases") || !strings.Contains(h.journal.text(), h.Path("run/bootc-podman")+"\": others may write to it") {
		t.Errorf("journal %q", h.journal.text())
	}
}

func TestStateHasItsModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o277} {
		h := ledgerHost(t)
		old := syscall.Umask(umask)
		err := WriteIdentity(h.Dir, NewIdentity(h.Dir, "ostree"))
		h.run(stateOf(5, "creating", 42), Ledger)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{
			"run/bootc-podman": 0o755, "run/bootc-podman/leases": 0o700, "run/bootc-podman/host.json": 0o644,
		} {
			if fi, err := os.Stat(h.Path(path)); err != nil || fi.Mode().Perm() != want {
				t.Errorf("umask %#o: %s: %v, %v, want %v", umask, path, fi, err, want)
			}
		}
	}
}

func TestRecordsThatAreTooLargeAreNamed(t *testing.T) {
	h := newTestHost(t)
	h.Write("run/bootc-podman/denied/x.json", strings.Repeat(" ", maxRecord+1))
	if _, problems := Denials(h.Dir); len(problems) != 1 || !strings.Contains(problems[0].Error(), "denied/x.json") {
		t.Errorf("got %v", problems)
	}
}

func TestLedgerSaysThatLayersLackALabel(t *testing.T) {
	h := ledgerHost(t)
	h.Write("sys/fs/selinux/enforce", "1")
	diff := h.Path(bootcRoot + "/overlay/" + id(8) + "/diff")
	start := func() string {
		h.journal.records = nil
		h.run(stateOf(5, "creating", 42), Ledger)
		return h.journal.text()
	}
	if text := start(); !strings.Contains(text, "lacks a container label") || !strings.Contains(text, id(8)) {
		t.Errorf("no label: journal %q", text)
	}
	for label, want := range map[string]bool{
		"system_u:object_r:container_ro_file_t:s0\x00": false, "system_u:object_r:usr_t:s0": true,
	} {
		if err := syscall.Setxattr(diff, "security.selinux", []byte(label), 0); err != nil {
			t.Skipf("label a directory: %v", err)
		}
		if text := start(); strings.Contains(text, "lacks a container label") != want {
			t.Errorf("label %q: journal %q", label, text)
		}
	}
}

func TestLedgerSweepsStaleLeases(t *testing.T) {
	for _, status := range []string{"creating", "stopped"} {
		t.Run(status, func(t *testing.T) {
			h := ledgerHost(t)
			h.run(stateOf(5, "creating", 42), Ledger)
			old := time.Unix(1e9-100, 0)
			for name, content := range map[string]string{
				id(1) + ".json":         strings.Replace(strings.ReplaceAll(h.Read(leasePath), id(5), id(1)), `"pid":42`, `"pid":43`, 1),
				id(2) + ".json":         strings.Replace(strings.ReplaceAll(h.Read(leasePath), id(5), id(2)), testBoot, strings.Repeat("0", 36), 1),
				id(3) + ".json":         strings.ReplaceAll(h.Read(leasePath), id(5), id(3)), // runs
				id(4) + ".json":         "{",
				id(6) + ".json":         "",
				"x.json":                "{}",
				"." + id(7) + ".json.1": "",
			} {
				h.Write("run/bootc-podman/leases/"+name, content)
				if err := os.Chtimes(h.Path("run/bootc-podman/leases/"+name), old, old); err != nil {
					t.Fatal(err)
				}
			}
			// One that failed to start a moment ago.
			h.Write("run/bootc-podman/leases/"+id(8)+".json", "{")
			if err := os.Chtimes(h.Path("run/bootc-podman/leases/"+id(8)+".json"), time.Unix(1e9-1, 0), time.Unix(1e9-1, 0)); err != nil {
				t.Fatal(err)
			}
			h.run(stateOf(9, status, 42), Ledger)
			entries, err := os.ReadDir(h.Path("run/bootc-podman/leases"))
			var left []string
			for _, e := range entries {
				left = append(left, strings.TrimSuffix(e.Name(), ".json"))
			}
			want := []string{id(3), id(5), id(8)}
			if status == "creating" {
				want = append(want, id(9))
			}
			if err != nil || !slices.Equal(left, want) {
				t.Errorf("left %v, %v, want %v", left, err, want)
			}
		})
	}
}

func TestLedgerLooksAtFewLeases(t *testing.T) {
	h := ledgerHost(t)
	v, _ := h.invocation("")
	later := 0
	v.Now = func() time.Time { later++; return time.Now().Add(time.Hour + time.Duration(later)*time.Microsecond) }
	for n := 100; n < 300; n++ { // no poststop hook ran for these
		h.Write("run/bootc-podman/leases/"+id(n)+".json", "")
	}
	for want := 200 - 16; want > 8; want -= 16 {
		v.Stdin = strings.NewReader(stateOf(1, "stopped", 0))
		v.Run([]string{Ledger})
		if entries, err := os.ReadDir(h.Path("run/bootc-podman/leases")); err != nil || len(entries) != want {
			t.Fatalf("%d are left, %v, want %d", len(entries), err, want)
		}
	}
}

func TestLedgerIsSilentInAUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of others")
	}
	for uidMap, silent := range map[string]bool{
		"         0          0 4294967295\n": false, "0 1000 1\n1 100000 65536\n": true, "": true,
	} {
		h := ledgerHost(t)
		h.Mkdir("run/bootc-podman")
		h.Write("proc/self/uid_map", uidMap)
		// As the host's root is seen there.
		if err := os.Chown(h.Path("run/bootc-podman"), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		h.run(stateOf(5, "creating", 42), Ledger)
		if text := h.journal.text(); (text == "") != silent {
			t.Errorf("%q: journal %q", uidMap, text)
		}
	}
}

func TestStateMayBeOfTheGroupRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of others")
	}
	for gid, works := range map[int]bool{0: true, 1: false} {
		h := ledgerHost(t)
		h.Mkdir("run/bootc-podman")
		if err := errors.Join(os.Chown(h.Path("run/bootc-podman"), 0, gid), os.Chmod(h.Path("run/bootc-podman"), 0o775)); err != nil {
			t.Fatal(err)
		}
		h.run(stateOf(5, "creating", 42), Ledger)
		if h.Exists(leasePath) != works {
			t.Errorf("group %d: journal %q", gid, h.journal.text())
		}
	}
}

func TestLayersInAStoreThatOnlyTheMountTells(t *testing.T) {
	for _, form := range []string{"lowerdir=%s/overlay/l/" + linkName(9), "lowerdir+=%s/overlay/" + id(9) + "/diff"} {
		h := newTestHost(t)
		elsewhere := t.TempDir()
		other := &testHost{Root: &testhost.Root{TB: t, Dir: elsewhere}, t: t}
		other.layer("", 9)
		h.container(podmans, 5, 9, "x", 9)
		h.Write("proc/self/mountinfo", "307 303 0:90 / "+podmans+"/overlay/"+id(1005)+"/merged rw,relatime - overlay overlay rw,"+
			strings.Replace(form, "%s", elsewhere, 1)+",upperdir=/x\n")
		h.run(stateOf(5, "creating", 42), Ledger)
		leases, _ := Leases(h.Dir)
		if want := []Layer{{ID: id(9), Store: OtherStore, Path: elsewhere}}; len(leases) != 1 || !slices.Equal(leases[0].Layers, want) {
			t.Errorf("%s: got %+v", form, leases)
		}
	}
}

func TestUnknownHooksPassTheirInputOn(t *testing.T) {
	h := newTestHost(t)
	if code, out := h.run("input", "hook-of-tomorrow", "--x"); code != 0 || out != "input" {
		t.Errorf("exit status %d, %q", code, out)
	}
}

func TestIdentityIsOfThisBoot(t *testing.T) {
	h := newTestHost(t)
	want := NewIdentity(h.Dir, "ostree")
	want.Image, want.Digest, want.Version = "registry:quay.io/os:42", "sha256:x", "42"
	if err := WriteIdentity(h.Dir, want); err != nil {
		t.Fatal(err)
	}
	if got := ReadIdentity(h.Dir); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if fi, err := os.Stat(h.Path("run/bootc-podman/host.json")); err != nil || fi.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	h.Write("proc/sys/kernel/random/boot_id", strings.Repeat("0", 36))
	if got := ReadIdentity(h.Dir); got != (Identity{}) {
		t.Errorf("after a reboot: %+v", got)
	}
}

// FuzzState reads states of containers: whatever they are, the hook succeeds and
// writes nothing but leases.
func FuzzState(f *testing.F) {
	f.Add([]byte(stateOf(5, "creating", 42)))
	f.Add([]byte(stateOf(5, "stopped", 0)))
	f.Add([]byte(`{"id":"../x","status":"creating"}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		h := newTestHost(t)
		v, out := h.invocation("")
		v.Stdin = bytes.NewReader(state)
		if code := v.Run([]string{Ledger}); code != 0 || out.Len() != 0 {
			t.Errorf("exit status %d, %q", code, out)
		}
		entries, _ := os.ReadDir(h.Path("run/bootc-podman/leases"))
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), ".json"); !ok || !validID(name) {
				t.Errorf("%s was written", strconv.Quote(e.Name()))
			}
		}
		for _, dir := range []string{"", "run", "run/bootc-podman"} {
			entries, _ := os.ReadDir(h.Path(dir))
			for _, e := range entries {
				if !slices.Contains([]string{"proc", "run", "bootc-podman", "leases"}, e.Name()) {
					t.Errorf("%s was written", strconv.Quote(e.Name()))
				}
			}
		}
	})
}
