// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

func TestWhatLiesOnOneFilesystemIsSummed(t *testing.T) {
	systems := map[string]filesystem{
		"/store": {"8:1", "/sysroot", 100}, "/vartmp": {"8:1", "/var", 90}, "/tmp": {"0:5", "/tmp", 50},
	}
	of := func(dir string) (filesystem, error) {
		if on, ok := systems[dir]; ok {
			return on, nil
		}
		return filesystem{}, fs.ErrPermission
	}
	store := func(n int64) demand { return demand{"the store", "/store", n} }
	for _, tt := range []struct {
		name string
		list []demand
		want string
		is   error
	}{
		{name: "nothing", list: []demand{store(0), {"x", "/denied", 0}}},
		{name: "each fits", list: []demand{store(100), {"the files", "/tmp", 50}}},
		{name: "first does not", list: []demand{store(101), {"the files", "/tmp", 50}}, is: ErrNoSpace, want: "copy x: not enough free space: 101 bytes are needed on /sysroot, for the store, and 100 are free"},
		{name: "second does not", list: []demand{store(100), {"the files", "/tmp", 51}}, is: ErrNoSpace, want: "51 bytes are needed on /tmp, for the files, and 50 are free"},
		{name: "both do", list: []demand{store(45), {"the files", "/vartmp", 45}}},
		{name: "both do not", list: []demand{store(60), {"the files", "/vartmp", 60}}, is: ErrNoSpace, want: "120 bytes are needed on /sysroot, for the store and the files, and 90 are free"},
		{name: "not known", list: []demand{{"x", "/denied", 1}}, is: fs.ErrPermission, want: "permission denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := fit("copy x", tt.list, of)
			if !errors.Is(err, tt.is) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSpaceIsThatOfTheNearestDirectory(t *testing.T) {
	dir := t.TempDir()
	on, err := filesystemOf(dir)
	if err != nil || on.free == 0 || !strings.HasPrefix(dir, on.mountpoint) {
		t.Fatalf("%s: got %+v, %v", dir, on, err)
	}
	missing, err := filesystemOf(dir + "/a/b")
	if missing.id != on.id || missing.mountpoint != on.mountpoint || err != nil {
		t.Errorf("a directory that is not there: got %+v, %v, want %+v", missing, err, on)
	}
	if on, err := filesystemOf("/proc/self/fd"); err != nil || on.mountpoint != "/proc" || on.free != 0 {
		t.Errorf("/proc: got %+v, %v", on, err)
	}
	o := Options{}
	const vast = 1 << 60
	for _, tt := range []struct {
		dir   string
		bytes int64
		force bool
		is    error
	}{
		{dir: dir + "/a/b", bytes: 1},
		{dir: dir + "/a/b", bytes: vast, is: ErrNoSpace},
		{dir: dir, bytes: vast, is: ErrNoSpace},
		{dir: dir, bytes: vast, force: true},
		{dir: "/proc", bytes: 1, is: ErrNoSpace},
	} {
		o.Force = tt.force
		if err := o.checkSpace("copy x", demand{"x", tt.dir, tt.bytes}); !errors.Is(err, tt.is) {
			t.Errorf("%d bytes into %s: got %v, want %v", tt.bytes, tt.dir, err, tt.is)
		}
	}
}

func TestExtentsAreSharedWithinAFilesystem(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	own, err := inventory.FilesystemOf(f)
	if err != nil {
		t.Fatal(err)
	}
	if got := sharing(dir+"/a/b", filepath.Join(dir, "c")); got != own.Reflink {
		t.Errorf("within one: got %q, want %q", got, own.Reflink)
	}
	if got := sharing("/proc", dir); got != inventory.No {
		t.Errorf("between two: got %q", got)
	}
}

func TestPlansThatDoNotFitAreRefused(t *testing.T) {
	const vast = 1 << 60
	h := newHost(t)
	o := (&fakePodman{scratchHost: h}).options()
	for _, tt := range []struct {
		name  string
		plan  plan.Plan
		force bool
		want  string
	}{
		{name: "nothing is known", plan: plan.Plan{Spooled: vast}},
		{name: "fits", plan: plan.Plan{Write: new(int64(100)), Spooled: 100}},
		{name: "written", plan: plan.Plan{Name: "os:1", Write: new(int64(vast))}, want: "bring os:1 into the bootc-owned store: not enough free space: 1152921504606846976 bytes are needed on "},
		{name: "temporary files", plan: plan.Plan{Write: new(int64), Spooled: vast}, want: ", for podman's temporary files in \"" + h.Path("tmp") + "\" (TMPDIR), and "},
		{name: "both", plan: plan.Plan{Write: new(int64(vast)), Spooled: vast}, want: "2305843009213693952 bytes"},
		{name: "exports are looked at later", plan: plan.Plan{Write: new(int64(vast)), Method: plan.Reexport}},
		{name: "by force", plan: plan.Plan{Write: new(int64(vast))}, force: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o.Force = tt.force
			err := o.checkPlan(t.Context(), o.places(nil).bootc, &tt.plan)
			if (err != nil) != (tt.want != "") || err != nil && (!errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// vastly is an image that fits nowhere.
func vastly(names ...string) []stored {
	return []stored{{names: names, digest: bootedDigest, size: 1 << 60}}
}

func TestCopiesThatDoNotFitAreRefused(t *testing.T) {
	for _, method := range []plan.Method{plan.Clone, plan.ByPodman} {
		for _, tt := range []struct {
			name          string
			bootc, podman []stored
			do            func(o Options) error
		}{
			{"copy-to-storage", vastly(imageName), []stored{}, func(o Options) error {
				_, err := CopyToStorage(t.Context(), o, plan.CopyChoice{Target: "localhost/x"})
				return err
			}},
			{"pull-from-default-storage", nil, vastly("localhost/x:1"), func(o Options) error {
				_, err := PullFromDefault(t.Context(), o, []string{"localhost/x:1"})
				return err
			}},
			{"pull-from-default-storage of two", nil, append(vastly("localhost/x:1"), stored{names: []string{"localhost/y:1"}, digest: otherDigest}), func(o Options) error {
				_, err := PullFromDefault(t.Context(), o, []string{"localhost/y:1", "localhost/x:1"})
				return err
			}},
		} {
			t.Run(tt.name+" by "+string(method), func(t *testing.T) {
				h, _ := booted(t, registryOrigin, nil, tt.podman)
				podman := &fakePodman{scratchHost: h, images: tt.bootc}
				if method == plan.Clone {
					podman.installPrivate() // which clones nothing here
				}
				o := podman.options()
				o.Method = method
				if method == plan.Clone && sharing(h.Path(defaultStorage), h.Path(bootcStorage)) != inventory.No {
					t.Skip("files share extents here")
				}
				err := tt.do(o)
				if !errors.Is(err, ErrNoSpace) || len(podman.ran) != 0 {
					t.Errorf("got %v, ran %q", err, podman.ran)
				}
				if o.Force = true; method == plan.Clone {
					return
				}
				if err := tt.do(o); errors.Is(err, ErrNoSpace) {
					t.Errorf("by force: %v", err)
				}
			})
		}
	}
}

func TestLayersThatAreThereAreNotCounted(t *testing.T) {
	h := newHost(t)
	full := func(id string) string { return strings.Repeat(id, 64) }
	record := func(id, parent, blob string) map[string]any {
		return map[string]any{"id": full(id), "parent": full(parent), "diff-digest": "sha256:" + id, "compressed-diff-digest": blob, "diff-size": 10}
	}
	o := (&fakePodman{scratchHost: h}).options()
	h.Write(bootcStorage+"/overlay-layers/layers.json", string(h.encode([]any{
		record("a", "", "sha256:blob"), record("b", "a", ""), record("c", "b", ""), record("d", "", ""), record("e", "", ""),
	})))
	h.layerFiles(bootcStorage, full("a"))
	h.layerFiles(bootcStorage, full("b"), full("a"))
	h.layerFiles(bootcStorage, full("c"), full("b"), full("a"))
	h.layerFiles(bootcStorage, full("d"))
	at := o.places(nil)
	defer at.close()
	to, err := at.bootc.destination()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		layers string
		want   int64
	}{
		{"", 0},
		{"a b c", 0},
		{"blob b", 0},
		{"a b x", 1},
		{"a x c", 2},
		{"b", 1}, // it lies on another there
		{"d b", 1},
		{"x", 1},
		{"e", 1}, // its files are missing
	} {
		var layers []host.Descriptor
		for name := range strings.FieldsSeq(tt.layers) {
			layers = append(layers, host.Descriptor{Digest: "sha256:" + name, Size: 1})
		}
		if got := to.Missing(layers); got != tt.want {
			t.Errorf("%q: %d bytes are missing, want %d", tt.layers, got, tt.want)
		}
	}
}

func TestLentLayersAreNotFetched(t *testing.T) {
	layers := []host.Descriptor{{Digest: "a", Size: 1}, {Digest: "b", Size: 10}, {Digest: "c", Size: 100}}
	two := &plan.Loan{Blobs: make([]clonejob.Blob, 2)}
	for _, tt := range []struct {
		loan             *plan.Loan
		shared           inventory.Capability
		fetched, written int64
	}{
		{fetched: 111, written: 111},
		{loan: two, shared: inventory.Yes, fetched: 100, written: 100},
		{loan: two, shared: inventory.Unknown, fetched: 100, written: 100},
		{loan: two, shared: inventory.No, fetched: 100, written: 111},
	} {
		if fetched, written := (plan.Destination{}).Pulled(layers, tt.loan, tt.shared); fetched != tt.fetched || written != tt.written {
			t.Errorf("%+v: %d are fetched, %d written", tt, fetched, written)
		}
	}
}

func TestExportsAreMeasuredWithoutReading(t *testing.T) {
	h := newHost(t)
	shell := strings.Repeat("x", 1000)
	commit := h.exportable(map[string]string{"usr/bin/sh": shell, "usr/bin/same": shell}, map[string]string{"usr/bin/sh": strings.Repeat("y", 30)})
	h.boot(commit, follow(registryOrigin))
	podman := &fakePodman{scratchHost: h}
	podman.installPrivate()
	o := podman.options()
	p, err := PlanUnified(t.Context(), o, plan.Choice{From: plan.FromOSTree, Method: plan.ByPodman})
	if err != nil || p.Write == nil || *p.Write != 1030 { // a name more of a file takes nothing
		t.Errorf("planned %+v, %v, want 1030 bytes", p, err)
	}
	// A layer is missing: that is for the export to say.
	refs, err := filepath.Glob(h.Path("sysroot/ostree/repo/refs/heads/ostree/container/blob/*"))
	if err != nil || len(refs) == 0 {
		t.Fatalf("refs %q, %v", refs, err)
	}
	slices.Sort(refs)
	if err := os.Remove(refs[0]); err != nil {
		t.Fatal(err)
	}
	p, err = PlanUnified(t.Context(), o, plan.Choice{From: plan.FromOSTree, Method: plan.ByPodman})
	if err != nil || p.Write != nil || p.WriteReason == "" {
		t.Errorf("planned %+v, %v", p, err)
	}
}
