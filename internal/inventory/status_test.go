// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// bootcRunner is bootc that prints out, or fails. No other program may start.
type bootcRunner struct {
	noPrograms
	out string
	err error
	// ran are the command lines of bootc.
	ran [][]string
}

func (r *bootcRunner) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	if filepath.Base(cmd.Path) != "bootc" {
		return r.noPrograms.Output(ctx, cmd)
	}
	r.ran = append(r.ran, cmd.Args)
	return []byte(r.out), r.err
}

// withBootc gives a host bootc, which prints status.
func (h *scratchHost) withBootc(status string) (Options, *bootcRunner) {
	h.Helper()
	h.Write("bin/bootc", "")
	must(h, os.Chmod(h.Path("bin/bootc"), 0o755))
	r := &bootcRunner{noPrograms: noPrograms{h}, out: status}
	o := h.options()
	o.Env = []string{"PATH=" + h.Path("bin") + ":" + os.Getenv("PATH")}
	o.Runner = r
	return o, r
}

// bootcStatus is what bootc prints of a host.
func bootcStatus(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../host/testdata/status", name+".json"))
	must(t, err)
	return string(data)
}

// withStaged stages a deployment of another image in a status.
func withStaged(t testing.TB, status, image string) string {
	t.Helper()
	var doc, other object
	must(t, json.Unmarshal([]byte(status), &doc))
	must(t, json.Unmarshal([]byte(bootcStatus(t, "composefs")), &other))
	staged := other["status"].(object)["rollback"].(object)
	transport, name, _ := strings.Cut(image, ":")
	staged["image"].(object)["image"] = object{"transport": transport, "image": name}
	doc["status"].(object)["staged"] = staged
	doc["status"].(object)["rollback"] = nil
	return string(encode(t, doc))
}

func TestStatusTellsWhetherStorageIsUnified(t *testing.T) {
	const os42, os43 = "quay.io/example/os:42", "quay.io/example/os:43"
	digest := func(c string) string { return "sha256:" + commitOf(c) }
	composefs := bootcStatus(t, "composefs")
	for _, test := range []struct {
		name   string
		status string
		store  []stored
		want   Unification
	}{
		{
			"no store", bootcStatus(t, "ostree-booted"), nil,
			Unification{false, "there is no bootc-owned store"},
		}, {
			"empty store", bootcStatus(t, "ostree-booted"),
			[]stored{},
			Unification{false, "the bootc-owned store does not have " + os42},
		}, {
			"booted image", bootcStatus(t, "ostree-booted"),
			[]stored{{names: []string{os42}, digest: digest("1")}},
			Unification{true, "the bootc-owned store has the booted image " + os42},
		}, {
			"other digest", bootcStatus(t, "ostree-booted"),
			[]stored{{names: []string{os42}, digest: digest("8")}},
			Unification{true, "the bootc-owned store has an image " + os42 + ", but " + digest("8") + ", not the booted " + digest("1")},
		}, {
			"booted image, another staged", bootcStatus(t, "ostree-staged-rollback"),
			[]stored{{names: []string{os42}, digest: digest("1")}},
			Unification{false, "the bootc-owned store does not have " + os43},
		}, {
			"staged image", bootcStatus(t, "ostree-staged-rollback"),
			[]stored{{names: []string{os43}, digest: digest("a")}},
			Unification{true, "the bootc-owned store has the staged image " + os43},
		}, {
			"staged image, nothing booted from one", bootcStatus(t, "null-image"),
			[]stored{{names: []string{os42}, digest: digest("1")}},
			Unification{true, "the bootc-owned store has the staged image " + os42},
		}, {
			"packages layered", bootcStatus(t, "incompatible"),
			[]stored{{names: []string{os42}}},
			Unification{false, "the booted deployment was not made from an image"},
		}, {
			"other transport", bootcStatus(t, "ostree-pinned-others"),
			[]stored{},
			Unification{false, "bootc looks for oci:/var/mnt/os:latest, which is in no store"},
		}, {
			"composefs", composefs,
			[]stored{{names: []string{"localhost/os:dev"}, digest: digest("5")}},
			Unification{true, "the bootc-owned store has the booted image containers-storage:localhost/os:dev"},
		}, {
			"composefs, target", withStaged(t, composefs, "registry:"+os43),
			[]stored{{names: []string{os43}, digest: digest("6")}},
			Unification{true, "the bootc-owned store has the staged image " + os43},
		}, {
			"composefs, booted", withStaged(t, composefs, "registry:"+os43),
			[]stored{{names: []string{"localhost/os:dev"}, digest: digest("5")}},
			Unification{true, "the bootc-owned store has the booted image containers-storage:localhost/os:dev"},
		}, {
			"composefs, booted, target of another transport", withStaged(t, composefs, "oci:/x"),
			[]stored{{names: []string{"localhost/os:dev"}, digest: digest("5")}},
			Unification{true, "the bootc-owned store has the booted image containers-storage:localhost/os:dev"},
		}, {
			"composefs, neither", withStaged(t, composefs, "registry:"+os43),
			[]stored{},
			Unification{false, "the bootc-owned store does not have " + os43},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			if test.store != nil {
				h.store(bootcStorage, test.store...)
			}
			o, _ := h.withBootc(test.status)
			status, problems := ReadStatus(t.Context(), o)
			wantProblems(t, problems)
			if status.Source != FromBootc {
				t.Fatalf("source is %s: %s", status.Source, status.SourceReason)
			}
			if status.Unified != test.want {
				t.Errorf("got %+v, want %+v", status.Unified, test.want)
			}
		})
	}
}

// TestStatusIsNotUnifiedWhereSkopeoIgnoresTheStore: bootc finds the image there, and fails
// to upgrade the host.
func TestStatusIsNotUnifiedWhereSkopeoIgnoresTheStore(t *testing.T) {
	for _, test := range []struct {
		name, status, image, conf string
		on                        bool
		want                      string
	}{
		{
			"no storage.conf", "ostree-booted", "quay.io/example/os:42", "", false,
			"the bootc-owned store has the booted image quay.io/example/os:42, but bootc upgrade fails: skopeo ignores the bootc store: neither /etc/containers/storage.conf nor /usr/share/containers/storage.conf exists",
		},
		{
			"driver without additional stores", "ostree-booted", "quay.io/example/os:42", "[storage]\ndriver = \"vfs\"\n", false,
			"the bootc-owned store has the booted image quay.io/example/os:42, but bootc upgrade fails: skopeo ignores the bootc store: the storage driver \"vfs\" of podman's configuration takes no additional image stores",
		},
		{"no image", "ostree-booted", "quay.io/example/os:41", "", false, "the bootc-owned store does not have quay.io/example/os:42"},
		{"composefs", "composefs", "localhost/os:dev", "", true, "the bootc-owned store has the booted image containers-storage:localhost/os:dev"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			must(t, os.Remove(h.Path("usr/share/containers/storage.conf")))
			if test.conf != "" {
				h.Write("etc/containers/storage.conf", test.conf)
			}
			o, _ := h.withBootc(bootcStatus(t, test.status))
			var digest struct {
				Status struct {
					Booted struct{ Image struct{ ImageDigest string } }
				}
			}
			must(t, json.Unmarshal([]byte(bootcStatus(t, test.status)), &digest))
			h.store(bootcStorage, stored{names: []string{test.image}, digest: digest.Status.Booted.Image.ImageDigest})
			status, problems := ReadStatus(t.Context(), o)
			wantProblems(t, problems)
			if status.Unified.On != test.on || status.Unified.Reason != test.want {
				t.Errorf("got %+v, want %s", status.Unified, test.want)
			}
		})
	}
}

func TestStatusOfAnImageThatCannotBeLookedUpIsNotUnified(t *testing.T) {
	h := newHost(t)
	h.store(bootcStorage, stored{names: []string{"quay.io/example/os:42"}})
	h.Write(bootcStorage+"/overlay-images/images.json", "[")
	o, _ := h.withBootc(bootcStatus(t, "ostree-booted"))
	status, problems := ReadStatus(t.Context(), o)
	wantProblems(t, problems, "images.json")
	if status.Unified.On || !strings.Contains(status.Unified.Reason, "images.json") {
		t.Errorf("unified is %+v", status.Unified)
	}
	// What cannot be read is not said to be empty.
	if len(status.Stores) != 0 {
		t.Errorf("stores are %+v", status.Stores)
	}
}

func TestStatusSaysWhoToldAndWhy(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(o *Options, r *bootcRunner)
		source Source
		reason string
		asked  bool
	}{
		{"bootc", func(*Options, *bootcRunner) {}, FromBootc, "bootc status", true},
		{"not the running host", func(o *Options, _ *bootcRunner) { o.Sysroot.Running = "" }, FromSysroot, "not the running host", false},
		{"no bootc", func(o *Options, _ *bootcRunner) { o.Env = []string{"PATH=" + os.Getenv("PATH") + "/none"} }, FromSysroot, "bootc is not installed", false},
		{"not root", func(o *Options, _ *bootcRunner) { o.Euid = 1000 }, FromSysroot, "bootc needs root", false},
		{"failure", func(_ *Options, r *bootcRunner) { r.err = errors.New("exit status 1: no luck") }, FromSysroot, "bootc status failed: exit status 1: no luck", true},
		{"garbage", func(_ *Options, r *bootcRunner) { r.out = "{" }, FromSysroot, "bootc status is not understood: parse bootc status: unexpected end of JSON input", true},
		{"not booted by bootc", func(_ *Options, r *bootcRunner) { r.out = bootcStatus(t, "not-booted") }, FromSysroot, "bootc reports no deployment", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.deploy(commitOf("c"), "")
			o, r := h.withBootc(bootcStatus(t, "ostree-booted"))
			test.change(&o, r)
			status, problems := ReadStatus(t.Context(), o)
			wantProblems(t, problems)
			if status.Source != test.source || status.SourceReason != test.reason {
				t.Errorf("source is %s: %q; want %s: %q", status.Source, status.SourceReason, test.source, test.reason)
			}
			if asked := len(r.ran) > 0; asked != test.asked || asked && !slices.Equal(r.ran[0], []string{"bootc", "status", "--format=json"}) {
				t.Errorf("ran %q", r.ran)
			}
			id := "default/" + commitOf("c") + ".0"
			if test.source == FromBootc {
				id = "default/" + commitOf("2") + ".0"
			}
			if status.Booted != nil && status.Booted.ID != id || status.Booted == nil && len(status.Others) != 1 {
				t.Errorf("booted is %+v, others %+v", status.Booted, status.Others)
			}
		})
	}
}

// nativeHost is a host with all that a status has; see the wanted status in
// TestStatusIsTheSameFromBothSources.
func nativeHost(t *testing.T) (h *scratchHost, booted, rollback string) {
	t.Helper()
	h = newHost(t)
	one := h.commit("1", "docker://quay.io/example/os:42")
	two := h.commit("2", "docker://quay.io/example/os:41")
	// Not bootable yet, so without boot entry.
	staged, err := os.ReadFile("../host/testdata/staged-deployment")
	must(t, err)
	h.Write("run/ostree/staged-deployment", string(staged))
	const commit = "be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5"
	root := "sysroot/ostree/deploy/default/deploy/" + commit + ".3"
	h.Mkdir(root)
	h.Write(root+".origin", "[origin]\nrefspec=x\n")
	h.deploy(two, quay+"os:41")
	h.deploy(one, quay+"os:42")
	h.Write("sysroot/ostree/deploy/default/deploy/"+two+".0.origin", "[origin]\ncontainer-image-reference="+quay+"os:41\n[libostree-transient]\npinned=true\n")
	h.deploy(commitOf("f"), "")
	h.boot(2)
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1", "b.image": "quay.io/example/absent:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1", "quay.io/example/os:42"}, size: 10, digest: "sha256:" + commitOf("1")})
	h.store("var/lib/containers/storage", stored{names: []string{"localhost/mine:1"}, size: 90}, stored{size: 3})
	return h, one, two
}

func TestStatusIsTheSameFromBothSources(t *testing.T) {
	h, booted, rollback := nativeHost(t)
	entry := func(commit string, serial int, pinned bool, name, c string) object {
		e := object{"ostree": object{"stateroot": "default", "checksum": commit, "deploySerial": serial}, "pinned": pinned, "incompatible": false, "image": nil}
		if name != "" {
			e["image"] = object{
				"image": object{"transport": "registry", "image": name}, "imageDigest": "sha256:" + commitOf(c),
				"version": c, "architecture": "arm64", "timestamp": "2026-08-01T10:00:00Z",
			}
		}
		return e
	}
	const staged = "be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5"
	o, r := h.withBootc(string(encode(t, object{"apiVersion": "org.containers.bootc/v1", "kind": "BootcHost", "status": object{
		"staged": entry(staged, 3, false, "", ""), "booted": entry(booted, 0, false, "quay.io/example/os:42", "1"),
		"rollback": entry(rollback, 0, true, "quay.io/example/os:41", "2"), "otherDeployments": []any{entry(commitOf("f"), 0, false, "", "")},
		"rollbackQueued": true,
	}})))
	fromBootc, problems := ReadStatus(t.Context(), o)
	wantProblems(t, problems)
	if fromBootc.Source != FromBootc {
		t.Fatalf("source is %s: %s", fromBootc.Source, fromBootc.SourceReason)
	}
	r.err = errors.New("no")
	native, problems := ReadStatus(t.Context(), o)
	wantProblems(t, problems)
	if native.Source != FromSysroot {
		t.Fatalf("source is %s", native.Source)
	}
	native.Source, native.SourceReason = fromBootc.Source, fromBootc.SourceReason
	// Others may write to the filesystem meanwhile.
	native.Filesystem.Available, native.Filesystem.Free = fromBootc.Filesystem.Available, fromBootc.Filesystem.Free
	if !reflect.DeepEqual(native, fromBootc) {
		t.Errorf("from files %s\nfrom bootc %s", encode(t, native), encode(t, fromBootc))
	}

	deployments := fmt.Sprintf("%s %s %s %d", native.Booted.ID, native.Rollback.ID, native.Staged.ID, len(native.Others))
	if want := fmt.Sprintf("default/%s.0 default/%s.0 default/%s.3 1", booted, rollback, staged); deployments != want || !native.RollbackQueued || !native.Rollback.Pinned {
		t.Errorf("deployments are %s, want %s", deployments, want)
	}
	if b := native.Booted; b.Image != "docker://quay.io/example/os:42" || b.Digest != "sha256:"+commitOf("1") || b.Version != "1" || b.Architecture != "arm64" || b.Created == nil {
		t.Errorf("booted is %+v", b)
	}
	if want := (BoundStatus{Present: 1, Total: 2, Missing: []string{"quay.io/example/absent:1"}}); !reflect.DeepEqual(native.Bound, want) {
		t.Errorf("bound images are %+v, want %+v", native.Bound, want)
	}
	// The layer that both images of the repository have counts once.
	if want := []StoreUsage{
		{OSTreeStore, h.Path("sysroot/ostree/repo"), 2, 1040},
		{BootcStore, h.Path(bootcStorage), 1, 17},
		{DefaultStore, h.Path("var/lib/containers/storage"), 2, 107},
	}; !slices.Equal(native.Stores, want) {
		t.Errorf("stores are %+v, want %+v", native.Stores, want)
	}
	conforms(t, "status-v1", encode(t, native))
}

func TestStatusOfHosts(t *testing.T) {
	composefs := newComposefsHost(t, map[string]string{"a": "docker://quay.io/example/os:42", "c": "docker://quay.io/example/os:41"})
	fresh := newHost(t)
	runOSTree(t, "--repo="+fresh.Path("sysroot/ostree/repo"), "init", "--mode=bare-user-only")
	for _, test := range []struct {
		name   string
		host   *scratchHost
		kind   host.Kind
		stores []StoreUsage
	}{
		{"composefs", composefs, host.Composefs, []StoreUsage{}},
		{"without deployments", fresh, host.OSTree, []StoreUsage{{OSTreeStore, fresh.Path("sysroot/ostree/repo"), 0, 0}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, problems := ReadStatus(t.Context(), test.host.options())
			wantProblems(t, problems)
			if status.Kind != test.kind || !slices.Equal(status.Stores, test.stores) || status.Filesystem == nil {
				t.Errorf("got %+v", status)
			}
			conforms(t, "status-v1", encode(t, status))
		})
	}
}

func TestStatusToldFromTheSysrootAloneHasNothingBooted(t *testing.T) {
	h, _, _ := nativeHost(t)
	o := h.options()
	o.Sysroot = host.At(h.phys)
	status, problems := ReadStatus(t.Context(), o)
	wantProblems(t, problems)
	if status.Booted != nil || status.Staged != nil || status.Rollback != nil || len(status.Others) != 3 || status.Others[1].Version != "1" {
		t.Errorf("got %+v", status)
	}
	if want := (Unification{Reason: "no deployment is booted here"}); status.Unified != want {
		t.Errorf("unified is %+v", status.Unified)
	}
	conforms(t, "status-v1", encode(t, status))
}

func TestStatusNamesACommitThatIsNoImage(t *testing.T) {
	h := newHost(t)
	h.commit("1", "docker://quay.io/example/os:42")
	h.deploy(commitOf("e"), quay+"os:42")
	status, problems := ReadStatus(t.Context(), h.options())
	wantProblems(t, problems, "describe deployment default/"+commitOf("e")+".0")
	if status.Booted == nil || status.Booted.Digest != "" {
		t.Errorf("booted is %+v", status.Booted)
	}
}

func TestStatusWithADamagedRepositoryHasItsDeploymentsAllTheSame(t *testing.T) {
	h, _, _ := nativeHost(t)
	h.Write("sysroot/ostree/repo/config", "[core")
	status, problems := ReadStatus(t.Context(), h.options())
	wantProblems(t, problems, "ostree/repo/config")
	if status.Booted == nil || status.Booted.Image != "docker://quay.io/example/os:42" || status.Booted.Digest != "" || len(status.Stores) != 2 {
		t.Errorf("got %+v", status)
	}
}

func TestStatusWantsABootcHost(t *testing.T) {
	status, problems := ReadStatus(t.Context(), Options{Sysroot: host.At(t.TempDir())})
	if status != nil || len(problems) != 1 || !errors.Is(problems[0], storageconf.ErrNotBootcHost) {
		t.Errorf("got %v, %v; want ErrNotBootcHost", status, problems)
	}
}

func TestStatusMembersAreThoseOfTheSchema(t *testing.T) {
	schema := readSchema(t, "status-v1")
	sameMembers(t, schema, schema, reflect.TypeFor[Status](), "status")
}

// layer makes a commit that rpm-ostree would make by adding a package to the image of another
// commit.
func (h *scratchHost) layer(base string, metadata ...string) string {
	h.Helper()
	h.Write("layered/usr/bin/htop", "")
	args := []string{
		"--repo=" + h.Path("sysroot/ostree/repo"), "commit", "--no-bindings", "--tree=dir=" + h.Path("layered"), "--branch=rpmostree/app",
		"--parent=" + base,
	}
	return runOSTree(h, append(args, metadata...)...)
}

func TestStatusHasTheImageThatPackagesWereLayeredOn(t *testing.T) {
	for _, tt := range []struct {
		name     string
		metadata []string
	}{
		{"by rpm-ostree of today", []string{"--add-metadata=rpmostree.clientlayer=true", "--add-metadata=rpmostree.clientlayer_version=uint32 6"}},
		{"by an old rpm-ostree", []string{"--add-metadata=rpmostree.spec=@a{sv} {}"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			const image = "docker://quay.io/example/os:42"
			base := h.commit("1", image)
			d := h.deploy(h.layer(base, tt.metadata...), quay+"os:42")
			h.Write(rootOf(d)+".origin", h.Read(rootOf(d)+".origin")+"[packages]\nrequested=htop;\n")
			// A newer image of the name is not the base.
			h.commit("2", image)
			want := &Base{Image: image, Digest: "sha256:" + commitOf("1"), Version: "1", Commit: base}
			s, problems := ReadStatus(t.Context(), h.options())
			wantProblems(t, problems)
			if b := s.Booted; !b.Incompatible || b.Image != "" || b.Digest != "" || b.Base == nil || *b.Base != *want {
				t.Errorf("got %+v and %+v, want %+v", b, b.Base, want)
			}
			commit, _, _ := strings.Cut(strings.TrimPrefix(d, "default/"), ".")
			o, _ := h.withBootc(fmt.Sprintf(`{"apiVersion": "org.containers.bootc/v1", "status": {"booted": {"image": null,
				"incompatible": true, "ostree": {"stateroot": "default", "checksum": %q, "deploySerial": 0}}}}`, commit))
			o.Euid = 0
			s, problems = ReadStatus(t.Context(), o)
			wantProblems(t, problems)
			if s.Source != FromBootc || s.Booted.Base == nil || *s.Booted.Base != *want {
				t.Errorf("by bootc: got %+v, want %+v", s.Booted, want)
			}
		})
	}
	t.Run("without a container image", func(t *testing.T) {
		h := newHost(t)
		d := h.deploy(h.layer(h.commit("1"), "--add-metadata=rpmostree.clientlayer=true"), "")
		h.Write(rootOf(d)+".origin", "[origin]\nbaserefspec=fedora:fedora/40\n[packages]\nrequested=htop;\n")
		s, problems := ReadStatus(t.Context(), h.options())
		wantProblems(t, problems)
		if !s.Booted.Incompatible || s.Booted.Base != nil {
			t.Errorf("got %+v", s.Booted)
		}
	})
}
