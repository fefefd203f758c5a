// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// scratchHost is a bootc host in a temporary directory.
type scratchHost struct {
	*testhost.Root
	// phys is the physical root.
	phys    string
	entries int
}

// scratch makes an empty host. What the caller has configured does not matter.
func scratch(t testing.TB) *scratchHost {
	t.Helper()
	h := &scratchHost{Root: testhost.New(t)}
	h.Isolate()
	h.phys = h.Path("sysroot")
	return h
}

// newHost makes a running ostree host without deployments, repository and store.
func newHost(t testing.TB) *scratchHost {
	t.Helper()
	h := scratch(t)
	h.Mkdir("sysroot/ostree/deploy")
	h.Write("run/ostree-booted", "")
	h.Write("proc/cmdline", "quiet\n")
	h.Write("usr/share/containers/storage.conf", storageconf.MinimalConf)
	return h
}

// newComposefsHost makes a running composefs host that has booted deployment "a";
// each deployment follows an image.
func newComposefsHost(t testing.TB, images map[string]string) *scratchHost {
	t.Helper()
	h := scratch(t)
	h.Mkdir("sysroot/composefs/bootc")
	h.Mkdir("sysroot/state/deploy")
	h.Mkdir("sysroot/ostree")
	must(t, os.Symlink("../composefs/bootc", filepath.Join(h.phys, "ostree/bootc")))
	for c, image := range images {
		state := "sysroot/state/deploy/" + verity(c) + "/"
		h.Write(state+verity(c)+".origin", "[origin]\ncontainer-image-reference = ostree-unverified-image:"+image+
			"\n[boot]\nboot_type = bls\n[image]\nmanifest_digest = sha256:"+strings.Repeat(c, 64)+"\n")
	}
	h.Write("proc/cmdline", "composefs="+verity("a")+"\n")
	h.Write("proc/self/mountinfo", "")
	return h
}

// verity makes the digest of a composefs deployment out of a character.
func verity(c string) string { return strings.Repeat(c, 128) }

// commitOf makes a checksum out of a character.
func commitOf(c string) string { return strings.Repeat(c, 64) }

// deploy adds a deployment, which boots after those before it, and returns its
// ID. With image "" it is not made from one.
func (h *scratchHost) deploy(commit, image string) (id string) {
	h.Helper()
	id = "default/" + commit + ".0"
	root := "sysroot/ostree/deploy/default/deploy/" + commit + ".0"
	h.Mkdir(root + "/usr")
	if image != "" {
		image = "container-image-reference=" + image + "\n"
	}
	h.Write(root+".origin", "[origin]\n"+image)
	h.entries++
	arg := fmt.Sprintf("ostree/boot.1/default/%s/%d", commitOf("b"), h.entries)
	h.Mkdir("sysroot/" + filepath.Dir(arg))
	must(h, os.Symlink("../../../deploy/default/deploy/"+commit+".0", filepath.Join(h.phys, arg)))
	h.Write(fmt.Sprintf("sysroot/boot/loader/entries/ostree-%d.conf", h.entries), fmt.Sprintf("version %d\noptions ostree=/%s\n", 99-h.entries, arg))
	if h.entries == 1 {
		h.boot(1)
	}
	return id
}

// boot boots a deployment, counted from one.
func (h *scratchHost) boot(n int) {
	h.Helper()
	h.Write("proc/cmdline", fmt.Sprintf("quiet ostree=/ostree/boot.1/default/%s/%d\n", commitOf("b"), n))
}

// rootOf is the root of an ostree deployment, relative to the host's.
func rootOf(id string) string {
	return "sysroot/ostree/deploy/default/deploy/" + strings.TrimPrefix(id, "default/")
}

// bind binds images in a root, by the names of units.
func (h *scratchHost) bind(root string, units map[string]string) {
	h.Helper()
	for unit, image := range units {
		section := "Image"
		if strings.HasSuffix(unit, ".container") {
			section = "Container"
		}
		h.Write(root+"/usr/share/"+unit, "["+section+"]\nImage="+image+"\n")
		link := filepath.Join(root, "usr/lib/bootc/bound-images.d", unit)
		h.Mkdir(filepath.Dir(link))
		must(h, os.Symlink("/usr/share/"+unit, h.Path(link)))
	}
}

// stored is an image to put in a store. Its layer has a size of size.
type stored struct {
	names []string
	size  int64
	// digest is that of the manifest, made up if it is "".
	digest string
}

const bootcStorage = "sysroot/ostree/bootc/storage"

// store makes a store below the host and returns the IDs of the images.
func (h *scratchHost) store(path string, images ...stored) (ids []string) {
	h.Helper()
	dir := h.Path(path)
	h.Mkdir(path + "/overlay-images")
	h.Mkdir(path + "/overlay-layers")
	records, layers := []object{}, []object{}
	for i, img := range images {
		config := encode(h, object{"architecture": "s390x", "os": "linux", "n": i, "names": img.names})
		manifest := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"digest":%q}}`, digestOf(config))
		imageID := digestOf(config)[len("sha256:"):]
		layer := digestOf([]byte("layer of " + imageID))[len("sha256:"):]
		record := imageRecord(imageID, layer, img.names...)
		digest := cmp.Or(img.digest, digestOf(manifest))
		record["digest"], record["big-data-digests"] = digest, object{"manifest": digest}
		records = append(records, record)
		layers = append(layers, layerRecord(layer, img.size))
		addBlob(h, dir, imageID, "manifest", manifest)
		addBlob(h, dir, imageID, "="+base64.StdEncoding.EncodeToString([]byte(digestOf(config))), config)
		ids = append(ids, imageID)
	}
	h.Write(path+"/overlay-images/images.json", string(encode(h, records)))
	h.Write(path+"/overlay-layers/layers.json", string(encode(h, layers)))
	return ids
}

func runOSTree(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		t.Skip("needs the program ostree")
	}
	out, err := exec.Command("ostree", args...).Output()
	if err != nil {
		t.Fatalf("ostree %.60q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// commit puts an image into the ostree repository. Its digests are made out of a
// character.
func (h *scratchHost) commit(c string, names ...string) (checksum string) {
	h.Helper()
	repo := "--repo=" + h.Path("sysroot/ostree/repo")
	if _, err := os.Stat(h.Path("sysroot/ostree/repo")); err != nil {
		h.Mkdir("sysroot/ostree/repo")
		runOSTree(h, repo, "init", "--mode=bare-user-only")
	}
	h.Mkdir("tree")
	args := []string{
		repo, "commit", "--no-bindings", "--timestamp=@0", "--tree=dir=" + h.Path("tree"), "--branch=tmp",
		"--add-metadata-string=ostree.manifest-digest=sha256:" + commitOf(c),
		"--add-metadata-string=ostree.manifest={\"config\":{\"digest\":\"sha256:" + commitOf(c) + "\"},\"layers\":[{\"digest\":\"sha256:l\",\"size\":1000},{\"digest\":\"sha256:" + c + "\",\"size\":20}]}",
		`--add-metadata-string=ostree.container.image-config={"architecture":"arm64","created":"2026-08-01T12:00:00+02:00","config":{"Labels":{"version":"` + c + `"}}}`,
	}
	checksum = runOSTree(h, args...)
	for _, name := range names {
		escaped, err := ostree.EscapeRef(name)
		must(h, err)
		// A ref of the same name moves.
		h.Write("sysroot/ostree/repo/refs/heads/"+ostree.ImageRefPrefix+escaped, checksum+"\n")
	}
	return checksum
}

// options looks at the running host. The environment of the tests must not
// matter, be it that of a container.
func (h *scratchHost) options() Options {
	return Options{
		Sysroot: host.Sysroot{Dir: h.Dir, Running: h.Dir}, Root: h.Dir,
		Env:    []string{"PATH=" + os.Getenv("PATH")},
		Runner: noPrograms{h},
	}
}

// noPrograms is a runner for which starting a program is an error.
type noPrograms struct{ t testing.TB }

func (n noPrograms) Run(_ context.Context, cmd wrapper.Cmd) error {
	n.t.Helper()
	n.t.Errorf("program started: %q", cmd.Args)
	return errors.New("no programs here")
}

func (n noPrograms) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	n.t.Helper()
	return nil, n.Run(ctx, cmd)
}

// row is a line for each image: type, store, name, beginning of its ID, what it
// is for, what keeps it, and whether it will be pruned.
func row(img Image, names map[string]string) string {
	short := func(id string) string { return cmp.Or(names[id], id) }
	line := fmt.Sprintf("%s %s %s", img.Type, cmp.Or(string(img.Store), "-"), img.Name)
	for _, d := range img.Deployments {
		line += fmt.Sprintf(" %s:%s", d.Role, short(d.ID))
	}
	for _, k := range img.KeptBy {
		line += fmt.Sprintf(" %s=%s", k.By, short(k.Deployment))
	}
	if img.Present != nil {
		line += fmt.Sprintf(" present=%t", *img.Present)
	}
	if img.WillBePruned {
		line += " pruned"
	}
	return line
}

func rows(list []Image, names map[string]string) (lines []string) {
	for _, img := range list {
		lines = append(lines, row(img, names))
	}
	return lines
}

// wantRows lists a host that nothing is wrong with.
func wantRows(t *testing.T, o Options, names map[string]string, want ...string) {
	t.Helper()
	list, problems := List(t.Context(), o)
	wantProblems(t, problems)
	if got := rows(list, names); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantProblems fails unless each problem is one line with the wanted text, in
// order.
func wantProblems(t *testing.T, problems []error, want ...string) {
	t.Helper()
	if len(problems) != len(want) {
		t.Fatalf("got %d problems %v; want %q", len(problems), problems, want)
	}
	for i, problem := range problems {
		if text := problem.Error(); !strings.Contains(text, want[i]) || strings.Contains(text, "\n") {
			t.Errorf("problem %q does not say %q in one line", text, want[i])
		}
	}
}

const quay = "ostree-unverified-registry:quay.io/example/"

func TestListShowsEveryImageOfAnOSTreeHost(t *testing.T) {
	h := newHost(t)
	one := h.commit("1", "docker://quay.io/example/os:42")
	two := h.commit("2", "docker://quay.io/example/os:41", "docker://quay.io/example/alias:1")
	h.commit("3", "docker://quay.io/example/os:40")
	a, b := h.deploy(one, quay+"os:42"), h.deploy(two, quay+"os:41")
	for _, root := range []string{rootOf(a), "."} {
		h.bind(root, map[string]string{"a.container": "quay.io/example/web:1", "b.image": "quay.io/example/absent:1", "c.image": "quay.io/example/bare"})
	}
	h.bind(rootOf(b), map[string]string{"old.image": "quay.io/example/old:1"})
	h.store(
		bootcStorage,
		stored{names: []string{"quay.io/example/web:1", "localhost/web:latest"}, size: 10},
		stored{names: []string{"quay.io/example/bare:latest"}},
		stored{names: nil, size: 5},
		stored{names: []string{"quay.io/example/old:1"}},
		stored{names: []string{"quay.io/example/os:42"}, digest: "sha256:" + commitOf("1")},
	)
	wantRows(t, h.options(), map[string]string{a: "a", b: "b"},
		"host ostree docker://quay.io/example/alias:1 rollback:b pruned",
		"host ostree docker://quay.io/example/os:40 pruned",
		"host ostree docker://quay.io/example/os:41 rollback:b origin=b",
		"host ostree docker://quay.io/example/os:42 booted:a origin=a",
		"unified bootc localhost/web:latest booted:a bound-image=a",
		"unified bootc quay.io/example/bare:latest booted:a pruned",
		"unified bootc quay.io/example/old:1 rollback:b bound-image=b",
		"unified bootc quay.io/example/os:42 booted:a origin=a",
		"unified bootc quay.io/example/web:1 booted:a bound-image=a",
		"logical - quay.io/example/absent:1 booted:a present=false",
		"logical bootc quay.io/example/bare booted:a present=true pruned",
		"logical bootc quay.io/example/web:1 booted:a bound-image=a present=true",
	)
}

func TestListSelectsTypesAsBootcDoes(t *testing.T) {
	h := newHost(t)
	h.deploy(h.commit("1", "docker://quay.io/example/os:42"), quay+"os:42")
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	h.store("var/lib/containers/storage", stored{names: []string{"localhost/mine:latest"}})
	for _, test := range []struct {
		typ  Type
		all  bool
		want []Type
	}{
		{"", false, []Type{Host, Unified, Logical}},
		{"", true, []Type{Host, Unified, Logical, Default}},
		{Host, false, []Type{Host, Unified}},
		{Host, true, []Type{Host, Unified, Default}},
		{Unified, false, []Type{Unified}},
		{Logical, false, []Type{Logical}},
		{Logical, true, []Type{Logical, Default}},
	} {
		o := h.options()
		o.Type, o.AllStores = test.typ, test.all
		list, problems := List(t.Context(), o)
		wantProblems(t, problems)
		var got []Type
		for _, img := range list {
			got = append(got, img.Type)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("type %q, all stores %t: got %q, want %q", test.typ, test.all, got, test.want)
		}
	}
}

func TestListComparesNamesAsBootcDoes(t *testing.T) {
	digest := "sha256:" + commitOf("d")
	for _, test := range []struct {
		name, bound, stored string
		digest              string
		pruned              bool
	}{
		{name: "same", bound: "quay.io/x/y:1", stored: "quay.io/x/y:1"},
		{name: "no tag", bound: "quay.io/x/y", stored: "quay.io/x/y:latest", pruned: true},
		{name: "tag and digest", bound: "quay.io/x/y:1@" + digest, stored: "quay.io/x/y@" + digest, digest: digest, pruned: true},
		{name: "digest", bound: "quay.io/x/y@" + digest, stored: "quay.io/x/y@" + digest, digest: digest},
		{name: "docker hub", bound: "busybox:1", stored: "docker.io/library/busybox:1", pruned: true},
		{name: "docker hub by its domain", bound: "docker.io/busybox:1", stored: "docker.io/library/busybox:1", pruned: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			a := h.deploy(commitOf("1"), "")
			h.bind(rootOf(a), map[string]string{"a.image": test.bound})
			h.bind(".", map[string]string{"a.image": test.bound})
			h.Write("etc/containers/registries.conf", "unqualified-search-registries = ['docker.io']\n")
			h.store(bootcStorage, stored{names: []string{test.stored}, digest: test.digest})
			fate := " bound-image=a"
			if test.pruned {
				fate = ""
			}
			end := map[bool]string{true: " pruned"}[test.pruned]
			wantRows(t, h.options(), map[string]string{a: "a"},
				"unified bootc "+test.stored+" booted:a"+fate+end,
				"logical bootc "+test.bound+" booted:a"+fate+" present=true"+end)
		})
	}
}

func TestListShowsAnImageThatIsBoundTwiceTwice(t *testing.T) {
	h := newHost(t)
	a := h.deploy(commitOf("1"), quay+"web:1")
	for _, root := range []string{rootOf(a), "."} {
		h.bind(root, map[string]string{"a.image": "quay.io/example/web:1", "b.container": "quay.io/example/web:1"})
	}
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	wantRows(t, h.options(), map[string]string{a: "a"},
		"unified bootc quay.io/example/web:1 booted:a origin=a bound-image=a",
		"logical bootc quay.io/example/web:1 booted:a origin=a bound-image=a present=true",
		"logical bootc quay.io/example/web:1 booted:a origin=a bound-image=a present=true")
}

func TestListOrdersBoundImagesByName(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("1"), "")
	h.bind(".", map[string]string{"a.image": "quay.io/z:1", "z.image": "quay.io/a:1"})
	wantRows(t, h.options(), nil, "logical - quay.io/a:1 present=false", "logical - quay.io/z:1 present=false")
}

func TestListNamesAllThatHaveAnImageBoundByAnyName(t *testing.T) {
	h := newHost(t)
	a, b := h.deploy(commitOf("1"), ""), h.deploy(commitOf("2"), quay+"web:latest")
	h.bind(rootOf(a), map[string]string{"a.image": "quay.io/example/web"})
	h.bind(".", map[string]string{"a.image": "quay.io/example/web"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:latest"}})
	wantRows(t, h.options(), map[string]string{a: "a", b: "b"},
		"unified bootc quay.io/example/web:latest booted:a rollback:b origin=b",
		"logical bootc quay.io/example/web booted:a rollback:b origin=b present=true")
}

// What is behind a ref is not what its name says after an upgrade through the
// bootc-owned store: that leaves the ref of the origin where it was, and makes
// another one that nothing keeps.
func TestListKnowsDeploymentsByCommit(t *testing.T) {
	h := newHost(t)
	old := h.commit("1", "docker://quay.io/example/os:42")
	upgraded := h.commit("2", "containers-storage:quay.io/example/os:42")
	a, b := h.deploy(upgraded, quay+"os:42"), h.deploy(old, quay+"os:42")
	h.store(bootcStorage, stored{names: []string{"quay.io/example/os:42"}, digest: "sha256:" + commitOf("2")})
	wantRows(t, h.options(), map[string]string{a: "a", b: "b"},
		"host ostree containers-storage:quay.io/example/os:42 booted:a pruned",
		"host ostree docker://quay.io/example/os:42 rollback:b origin=a origin=b",
		"unified bootc quay.io/example/os:42 booted:a origin=a origin=b")
}

// An origin with tag and digest does not name the ref of what was pulled by it.
func TestListComparesOriginsWithRefsAsOSTreeDoes(t *testing.T) {
	digest := "@sha256:" + commitOf("1")
	h := newHost(t)
	a := h.deploy(h.commit("1", "docker://quay.io/example/os"+digest), quay+"os:42"+digest)
	wantRows(t, h.options(), map[string]string{a: "a"}, "host ostree docker://quay.io/example/os"+digest+" booted:a pruned")
}

// ostree-ext does, bootc does not.
func TestListKeepsWhatPackagesWereLayeredOnInTheRepositoryOnly(t *testing.T) {
	h := newHost(t)
	one := h.commit("1", "docker://quay.io/example/os:1")
	a := h.deploy(one, "")
	h.Write(rootOf(a)+".origin", "[origin]\ncontainer-image-reference="+quay+"os:1\n[packages]\nrequested=vim\n")
	h.store(bootcStorage, stored{names: []string{"quay.io/example/os:1"}})
	wantRows(t, h.options(), map[string]string{a: "a"},
		"host ostree docker://quay.io/example/os:1 booted:a origin=a",
		"unified bootc quay.io/example/os:1 pruned")
}

func TestListReadsComposefsHosts(t *testing.T) {
	h := newComposefsHost(t, map[string]string{"a": "docker://quay.io/example/os:42", "c": "containers-storage:localhost/os"})
	// Nothing but the booted root can be looked into, and bound images are not
	// kept on such a host.
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1"})
	h.store("sysroot/composefs/bootc/storage",
		stored{names: []string{"quay.io/example/os:42"}, digest: "sha256:" + commitOf("a")},
		stored{names: []string{"localhost/os:latest"}, digest: "sha256:" + commitOf("c")},
		stored{names: []string{"quay.io/example/web:1"}})
	wantRows(t, h.options(), map[string]string{verity("a"): "a", verity("c"): "c"},
		"host composefs containers-storage:localhost/os rollback:c origin=c",
		"host composefs docker://quay.io/example/os:42 booted:a origin=a",
		"unified bootc localhost/os:latest rollback:c pruned",
		"unified bootc quay.io/example/os:42 booted:a origin=a",
		"unified bootc quay.io/example/web:1 booted:a pruned",
		"logical bootc quay.io/example/web:1 booted:a present=true pruned")
	list, _ := List(t.Context(), h.options())
	if img := list[1]; img.Digest != "sha256:"+commitOf("a") || img.Size != nil || img.ID != "" {
		t.Errorf("composefs image is %+v", img)
	}
}

func TestListPrunesNothingWhereNoComposefsDeploymentFollowsAnImage(t *testing.T) {
	h := newComposefsHost(t, nil)
	h.Write("sysroot/state/deploy/"+verity("a")+"/"+verity("a")+".origin", "[boot]\nboot_type = bls\n")
	h.store("sysroot/composefs/bootc/storage", stored{names: []string{"localhost/x:1"}})
	wantRows(t, h.options(), nil, "unified bootc localhost/x:1")
}

func TestListPrunesNothingWhereBootcGivesUp(t *testing.T) {
	for name, spoil := range map[string]func(h *scratchHost, booted, rollback string) (want []string){
		// bootc's list does not look at units of roots that do not run.
		"bad unit in the rollback": func(h *scratchHost, _, rollback string) []string {
			h.Write(rootOf(rollback)+"/usr/lib/bootc/bound-images.d/a.image", "no link")
			return nil
		},
		"dangling unit": func(h *scratchHost, booted, _ string) []string {
			h.Mkdir(rootOf(booted) + "/usr/lib/bootc/bound-images.d")
			must(t, os.Symlink("gone", h.Path(rootOf(booted)+"/usr/lib/bootc/bound-images.d/a.image")))
			return nil
		},
		"bad origin": func(h *scratchHost, _, rollback string) []string {
			h.Write(rootOf(rollback)+".origin", "[origin]\ncontainer-image-reference=nonsense\n")
			return []string{rootOf(rollback) + ".origin"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			one := h.commit("1", "docker://quay.io/example/other:1")
			a, b := h.deploy(one, quay+"os:42"), h.deploy(commitOf("2"), quay+"os:41")
			h.store(bootcStorage, stored{names: []string{"localhost/x:1"}}, stored{names: []string{"quay.io/example/os:42"}, digest: "sha256:" + commitOf("1")})
			want := spoil(h, a, b)
			list, problems := List(t.Context(), h.options())
			wantProblems(t, problems, want...)
			got := rows(list, map[string]string{a: "a", b: "b"})
			if want := []string{
				"host ostree docker://quay.io/example/other:1 booted:a",
				"unified bootc localhost/x:1",
				"unified bootc quay.io/example/os:42 booted:a origin=a",
			}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestListNamesTheRootWithABadUnit(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("1"), "")
	h.Write("usr/lib/bootc/bound-images.d/a.image", "no link")
	_, problems := List(t.Context(), h.options())
	wantProblems(t, problems, fmt.Sprintf("root directory %q: read \"usr/lib/bootc/bound-images.d/a.image\"", h.Dir))
}

func TestListTakesTheFirstDeploymentOfAPhysicalRoot(t *testing.T) {
	h := newHost(t)
	one := h.commit("1", "docker://quay.io/example/os:42")
	a, b := h.deploy(one, quay+"os:42"), h.deploy(commitOf("2"), quay+"os:41")
	h.bind(rootOf(a), map[string]string{"a.image": "quay.io/example/a:1"})
	h.bind(rootOf(b), map[string]string{"b.image": "quay.io/example/b:1"})
	h.bind(".", map[string]string{"c.image": "quay.io/example/c:1"})
	o := h.options()
	o.Sysroot = host.At(h.phys)
	names := map[string]string{a: "a", b: "b"}
	wantRows(t, o, names,
		"host ostree docker://quay.io/example/os:42 other:a origin=a",
		"logical - quay.io/example/a:1 other:a present=false")
	// A root with a sysroot below is that of one deployment or another.
	o.Sysroot = host.At(h.Dir)
	wantRows(t, o, names,
		"host ostree docker://quay.io/example/os:42 other:a origin=a",
		"logical - quay.io/example/c:1 present=false")
}

func TestListOfAHostWithoutStoreHasNoUnifiedImages(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("1"), "")
	wantRows(t, h.options(), nil)
	h.Mkdir(bootcStorage)
	wantRows(t, h.options(), nil)
	h.store(bootcStorage)
	wantRows(t, h.options(), nil)
}

func TestListListsWhatItCanRead(t *testing.T) {
	h := newHost(t)
	a := h.deploy(h.commit("1", "docker://quay.io/example/os:42"), quay+"os:42")
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1", "b.image": "web"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	h.store("var/lib/containers/storage", stored{names: []string{"localhost/mine:1"}})
	names := map[string]string{a: "a"}
	o := h.options()
	o.AllStores = true
	hostRow, mine := "host ostree docker://quay.io/example/os:42 booted:a origin=a", "default default localhost/mine:1"
	check := func(o Options, problem string, want ...string) {
		t.Helper()
		list, problems := List(t.Context(), o)
		wantProblems(t, problems, problem)
		if got := rows(list, names); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}

	config, err := os.ReadFile(h.Path("sysroot/ostree/repo/config"))
	must(t, err)
	h.Write("sysroot/ostree/repo/config", "[core")
	check(o, "ostree/repo/config", "unified bootc quay.io/example/web:1 pruned",
		"logical bootc quay.io/example/web:1 present=true pruned", "logical - web present=false", mine)
	logical := o
	logical.Type, logical.AllStores = Logical, false
	wantRows(t, logical, names, "logical bootc quay.io/example/web:1 present=true pruned", "logical - web present=false")
	h.Write("sysroot/ostree/repo/config", string(config))

	// That images.json is damaged is said once, not for each bound image.
	h.Write(bootcStorage+"/overlay-images/images.json", "[{")
	check(o, "images.json", hostRow, "logical - quay.io/example/web:1", "logical - web", mine)

	must(t, os.RemoveAll(h.Path(bootcStorage)))
	h.Write(bootcStorage, "a file")
	check(o, "not a directory", hostRow, "logical - quay.io/example/web:1", "logical - web", mine)
}

func TestListSaysOnceWhatIsWrongWithAnImage(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("1"), "")
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1", "b.image": "localhost/web:1"})
	ids := h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1", "localhost/web:1"}})
	blobs, err := filepath.Glob(h.Path(bootcStorage + "/overlay-images/" + ids[0] + "/=*"))
	must(t, err)
	must(t, os.WriteFile(blobs[0], []byte("{}"), 0o600))
	list, problems := List(t.Context(), h.options())
	wantProblems(t, problems, "does not match digest")
	if len(list) != 4 {
		t.Errorf("got %q; want two rows of either type", rows(list, nil))
	}
}

// bootc takes whatever podman makes of a name for its absence.
func TestListTakesABoundNameThatIsNoneForMissing(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("1"), "")
	h.bind(".", map[string]string{"bad.image": "quay.io/UPPER"})
	h.store(bootcStorage)
	list, problems := List(t.Context(), h.options())
	wantProblems(t, problems)
	if got, want := rows(list, nil), []string{"logical - quay.io/UPPER present=false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// asNobody runs do as a user without privileges.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	must(t, syscall.Setresuid(-1, 65534, -1))
	defer func() { must(t, syscall.Setresuid(-1, 0, -1)) }()
	do()
}

// As another user, with boot entries and the store closed to all but root.
func TestListNeedsNoPrivilegesForWhatIsReadable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	h := newHost(t)
	h.deploy(commitOf("1"), quay+"os:42")
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	must(t, os.Chmod(h.Path(bootcStorage), 0o700))
	must(t, os.Chmod(h.Path("sysroot/boot"), 0o700))
	must(t, os.Chmod(filepath.Dir(h.Dir), 0o755))
	must(t, os.Chmod(h.Dir, 0o755))
	o := h.options()
	o.Euid = 65534
	var list []Image
	var problems []error
	var status *Status
	var found bool
	var err error
	asNobody(t, func() {
		list, problems = List(t.Context(), o)
		found, err = Exists(t.Context(), o, BootcStore, "quay.io/example/web:1")
		status, _ = ReadStatus(t.Context(), o)
	})
	wantProblems(t, problems, "open bootc-owned store")
	if got, want := rows(list, nil), []string{"logical - quay.io/example/web:1"}; !slices.Equal(got, want) || !errors.Is(problems[0], fs.ErrPermission) {
		t.Errorf("got %q, %v; want %q", got, problems, want)
	}
	if found || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Exists() = %v, %v; want no permission", found, err)
	}
	if status.Unified != (Unification{Reason: "the bootc-owned store cannot be read"}) || status.Bound.Total != 1 || len(status.Bound.Missing) != 0 || status.Filesystem == nil {
		t.Errorf("status is %+v", status)
	}
}

// The directory of a composefs repository is root's alone, and the store in it.
func TestListOnAComposefsHostNeedsNoPrivilegesForTheRest(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	h := newComposefsHost(t, map[string]string{"a": "docker://quay.io/example/os:42"})
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1"})
	h.store("sysroot/composefs/bootc/storage", stored{names: []string{"quay.io/example/os:42"}, digest: "sha256:" + commitOf("a")})
	must(t, os.Chmod(h.Path("sysroot/composefs"), 0o700))
	must(t, os.Chmod(filepath.Dir(h.Dir), 0o755))
	o := h.options()
	o.Euid = 65534
	asNobody(t, func() {
		list, problems := List(t.Context(), o)
		wantProblems(t, problems, "open bootc store")
		if got, want := rows(list, map[string]string{verity("a"): "a"}), []string{
			"host composefs docker://quay.io/example/os:42 booted:a origin=a",
			"logical - quay.io/example/web:1 booted:a",
		}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		status, problems := ReadStatus(t.Context(), o)
		wantProblems(t, problems, "open bootc store")
		if status.Unified != (Unification{Reason: "the bootc-owned store cannot be read"}) || status.Filesystem == nil {
			t.Errorf("status is %+v", status)
		}
	})
}

func TestListWantsABootcHost(t *testing.T) {
	dir := t.TempDir()
	list, problems := List(t.Context(), Options{Sysroot: host.At(dir)})
	if len(list) != 0 || len(problems) != 1 || !errors.Is(problems[0], storageconf.ErrNotBootcHost) {
		t.Errorf("got %v, %v; want ErrNotBootcHost", list, problems)
	}
}

func TestListInAContainerKnowsBoundImagesOnly(t *testing.T) {
	h := newHost(t)
	h.deploy(commitOf("1"), quay+"os:42")
	h.bind(".", map[string]string{"a.image": "quay.io/example/web:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	o := h.options()
	o.Env = append(o.Env, "container=podman")
	for _, typ := range []Type{"", Logical} {
		o.Type = typ
		// The host's store is not visible in there.
		wantRows(t, o, nil, "logical - quay.io/example/web:1")
	}
	for _, typ := range []Type{Host, Unified} {
		o.Type = typ
		if list, problems := List(t.Context(), o); len(list) != 0 || len(problems) != 1 || !errors.Is(problems[0], ErrNotOnHost) {
			t.Errorf("type %s: got %v, %v; want ErrNotOnHost", typ, list, problems)
		}
	}
	if _, err := Exists(t.Context(), o, BootcStore, "x"); !errors.Is(err, ErrNotOnHost) {
		t.Errorf("Exists() = %v; want ErrNotOnHost", err)
	}
	if status, problems := ReadStatus(t.Context(), o); status != nil || len(problems) != 1 || !errors.Is(problems[0], ErrNotOnHost) {
		t.Errorf("ReadStatus() = %v, %v; want ErrNotOnHost", status, problems)
	}
	// Another host can be looked at from there.
	o.Sysroot, o.Type = host.At(h.Dir), Unified
	wantRows(t, o, nil, "unified bootc quay.io/example/web:1 pruned")
}

// TestListHasBoundImagesWithAnEmptyName, as bootc's has; no store has such an image.
func TestListHasBoundImagesWithAnEmptyName(t *testing.T) {
	h := newHost(t)
	a := h.deploy(commitOf("c"), "")
	h.bind(rootOf(a), map[string]string{"a.image": ""})
	h.bind(".", map[string]string{"a.image": ""})
	h.store(bootcStorage, stored{names: []string{"localhost/x:1"}}, stored{})
	wantRows(t, h.options(), map[string]string{a: "a"}, "unified bootc localhost/x:1 pruned", "logical -  booted:a present=false")
	status, problems := ReadStatus(t.Context(), h.options())
	wantProblems(t, problems)
	if want := (BoundStatus{Total: 1, Missing: []string{""}}); !reflect.DeepEqual(status.Bound, want) {
		t.Errorf("got %+v, want %+v", status.Bound, want)
	}
}

// TestWhatIsBootedGoesByDigest: a newer image of the same name is not what is booted,
// although bootc's garbage collection keeps it.
func TestWhatIsBootedGoesByDigest(t *testing.T) {
	for _, test := range []struct {
		name   string
		digest string
		want   []DeploymentRef
	}{
		{"booted", "sha256:" + strings.Repeat("a", 64), []DeploymentRef{{ID: verity("a"), Role: host.Booted}}},
		{"newer", "sha256:" + strings.Repeat("b", 64), []DeploymentRef{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newComposefsHost(t, map[string]string{"a": "docker://quay.io/example/os:42"})
			h.store("sysroot/composefs/bootc/storage", stored{names: []string{"quay.io/example/os:42"}, digest: test.digest})
			o := h.options()
			o.Type = Unified
			list, problems := List(t.Context(), o)
			wantProblems(t, problems)
			if len(list) != 1 || !slices.Equal(list[0].Deployments, test.want) || len(list[0].KeptBy) != 1 {
				t.Errorf("got %+v, want deployments %v", list, test.want)
			}
		})
	}
}

var update = flag.Bool("update", false, "write golden files")

// The golden file was checked against docs/list-v1.schema.json by hand.
func TestListIsAsDocumentedInJSON(t *testing.T) {
	h := newHost(t)
	one := h.commit("1", "docker://quay.io/example/os:42")
	a := h.deploy(one, quay+"os:42")
	h.bind(rootOf(a), map[string]string{"a.container": "quay.io/example/web:1", "b.image": "quay.io/example/absent:1"})
	h.bind(".", map[string]string{"a.container": "quay.io/example/web:1", "b.image": "quay.io/example/absent:1"})
	h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}, size: 10})
	h.store("var/lib/containers/storage", stored{names: []string{"localhost/mine:latest"}, size: 1 << 40})
	o := h.options()
	o.AllStores = true
	list, problems := List(t.Context(), o)
	wantProblems(t, problems)
	got, err := json.MarshalIndent(list, "", "  ")
	must(t, err)
	got = append([]byte(strings.ReplaceAll(string(got), one, commitOf("c"))), '\n')
	const golden = "testdata/list.json"
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if string(got) != string(want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
	conforms(t, "list-v1", got)
}

func TestListRowsAreThoseOfTheSchema(t *testing.T) {
	schema := readSchema(t, "list-v1")
	sameMembers(t, schema, schema, reflect.TypeFor[[]Image](), "list")
}
