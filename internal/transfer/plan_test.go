// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// scratchHost is a running ostree host in a temporary directory.
type scratchHost struct{ *testhost.Root }

// stored is an image to put in a store.
type stored struct {
	names []string
	// digest is that of the manifest; of is that of the image it is an export of.
	digest, of string
	// size is that of its only layer, of which damaged leaves out the files.
	size    int64
	damaged bool
}

const (
	bootcStorage   = "sysroot/ostree/bootc/storage"
	defaultStorage = "var/lib/containers/storage"
	registryOrigin = "ostree-unverified-registry:" + imageName
)

var (
	bootedDigest = "sha256:" + strings.Repeat("b", 64)
	otherDigest  = "sha256:" + strings.Repeat("c", 64)
	update       = flag.Bool("update", false, "write golden files")
)

// newHost makes a host without deployments and stores.
func newHost(t testing.TB) *scratchHost {
	t.Helper()
	h := &scratchHost{testhost.New(t)}
	h.Isolate()
	makeDir(t, h.Path("sysroot/ostree/deploy"))
	makeDir(t, h.Path("tmp"))
	h.Write("run/ostree-booted", "")
	h.Write("proc/cmdline", "quiet\n")
	h.Write(vendorConf, storageconf.MinimalConf)
	return h
}

// vendorConf is the storage.conf of the distribution.
const vendorConf = "usr/share/containers/storage.conf"

// layout writes an OCI image layout with an image for each tag, with its manifest digest.
func (h *scratchHost) layout(dir string, images map[string]string) {
	h.Helper()
	manifests := []string{}
	for _, tag := range slices.Sorted(maps.Keys(images)) {
		manifests = append(manifests, fmt.Sprintf(`{"digest":%q,"annotations":{"org.opencontainers.image.ref.name":%q}}`, images[tag], tag))
		h.Write(dir+"/blobs/"+strings.ReplaceAll(images[tag], ":", "/"), `{"config":{"digest":"sha256:c0","size":2},"layers":[{"digest":"sha256:1a","size":3}]}`)
	}
	h.Write(dir+"/blobs/sha256/c0", "{}")
	h.Write(dir+"/blobs/sha256/1a", "tar")
	h.Write(dir+"/index.json", `{"manifests":[`+strings.Join(manifests, ",")+`]}`)
}

// layerFiles makes the parts of a layer in a store. below are those it lies on, the
// topmost first.
func (h *scratchHost) layerFiles(store, id string, below ...string) {
	h.Helper()
	makeDir(h, h.Path(store+"/overlay/"+id+"/diff"))
	link := func(layer string) string { return "LINK" + strings.TrimLeft(layer, "0") }
	h.Write(store+"/overlay/"+id+"/link", link(id))
	h.Write(store+"/overlay-layers/"+id+".tar-split.gz", "something")
	var lower []string
	for _, layer := range below {
		lower = append(lower, "l/"+link(layer))
	}
	if len(below) > 0 {
		h.Write(store+"/overlay/"+id+"/lower", strings.Join(lower, ":"))
	}
}

func (h *scratchHost) remove(path string) {
	h.Helper()
	if err := os.Remove(h.Path(path)); err != nil {
		h.Fatal(err)
	}
}

// boot deploys a commit and boots it. origin is the text of the deployment's
// origin file.
func (h *scratchHost) boot(commit, origin string) {
	h.Helper()
	root := "sysroot/ostree/deploy/default/deploy/" + commit + ".0"
	makeDir(h, h.Path(root+"/usr"))
	h.Write(root+".origin", origin)
	arg := "ostree/boot.1/default/" + strings.Repeat("b", 64) + "/0"
	makeDir(h, filepath.Dir(h.Path("sysroot/"+arg)))
	if err := os.Symlink("../../../deploy/default/deploy/"+commit+".0", h.Path("sysroot/"+arg)); err != nil {
		h.Fatal(err)
	}
	h.Write("sysroot/boot/loader/entries/ostree-1.conf", "version 1\noptions ostree=/"+arg+"\n")
	h.Write("proc/cmdline", "quiet ostree=/"+arg+"\n")
}

// bootComposefs makes a composefs host that boots the image imageName; digest is ""
// where an old bootc deployed it.
func (h *scratchHost) bootComposefs(digest string) {
	h.Helper()
	h.deployComposefs("a", digest)
	h.Write("proc/cmdline", "composefs="+strings.Repeat("a", 128)+"\n")
	h.Write("proc/self/mountinfo", "")
	makeDir(h, h.Path("sysroot/composefs/bootc"))
	makeDir(h, h.Path("sysroot/ostree"))
	if err := errors.Join(
		os.RemoveAll(h.Path("sysroot/ostree/deploy")), os.Remove(h.Path("run/ostree-booted")),
		os.Symlink("../composefs/bootc", h.Path("sysroot/ostree/bootc")),
	); err != nil {
		h.Fatal(err)
	}
}

// deployComposefs makes a composefs deployment whose digest is all of one digit.
func (h *scratchHost) deployComposefs(digit, digest string) {
	h.Helper()
	verity := strings.Repeat(digit, 128)
	text := "[origin]\ncontainer-image-reference = ostree-unverified-image:docker://" + imageName + "\n[boot]\nboot_type = bls\n"
	if digest != "" {
		text += "[image]\nmanifest_digest = " + digest + "\n"
	}
	h.Write("sysroot/state/deploy/"+verity+"/"+verity+".origin", text)
}

// follow makes an origin file that follows an image.
func follow(image string) string { return "[origin]\ncontainer-image-reference=" + image + "\n" }

// commit puts the image imageName of digest bootedDigest into the ostree repository.
func (h *scratchHost) commit() (checksum string) {
	h.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		h.Skip("needs the program ostree")
	}
	repo := h.Path("sysroot/ostree/repo")
	makeDir(h, repo)
	testhost.Run(h, "ostree", "--repo="+repo, "init", "--mode=bare-user-only")
	makeDir(h, h.Path("tree"))
	escaped, err := ostree.EscapeRef("docker://" + imageName)
	if err != nil {
		h.Fatal(err)
	}
	return testhost.Run(
		h, "ostree", "--repo="+repo, "commit", "--no-bindings", "--tree=dir="+h.Path("tree"),
		"--branch="+ostree.ImageRefPrefix+escaped,
		"--add-metadata-string=ostree.manifest-digest="+bootedDigest,
		`--add-metadata-string=ostree.manifest={"config":{"digest":"sha256:config"},"layers":[{"digest":"sha256:1","size":1000},{"digest":"sha256:2","size":20}]}`,
		`--add-metadata-string=ostree.container.image-config={"architecture":"amd64"}`,
	)
}

// store writes a container store and returns the IDs of its images.
func (h *scratchHost) store(path string, list ...stored) (ids []string) {
	h.Helper()
	type object = map[string]any
	records, layers := []object{}, []object{}
	for _, img := range list {
		// The ID is the same whatever the image is called.
		config := h.encode(object{"architecture": "amd64", "os": "linux", "history": img.digest})
		sum := fmt.Sprintf("%x", sha256.Sum256(config))
		manifest := object{"schemaVersion": 2, "config": object{"digest": "sha256:" + sum}}
		if img.of != "" {
			manifest["annotations"] = object{cstorage.OriginalDigest: img.of, cstorage.ExportedConfig: "sha256:" + sum}
		}
		records = append(records, object{
			"id": sum, "digest": img.digest, "names": img.names, "layer": sum, "created": created,
			"big-data-names": []string{"manifest"}, "big-data-sizes": object{"manifest": 7},
			"big-data-digests": object{"manifest": img.digest},
		})
		layers = append(layers, object{"id": sum, "diff-digest": "sha256:" + sum, "diff-size": img.size, "created": created})
		if !img.damaged {
			h.layerFiles(path, sum)
		}
		blobs := path + "/overlay-images/" + sum + "/"
		h.Write(blobs+"manifest", string(h.encode(manifest)))
		h.Write(blobs+"="+base64.StdEncoding.EncodeToString([]byte("sha256:"+sum)), string(config))
		ids = append(ids, sum)
	}
	h.Write(path+"/overlay-images/images.json", string(h.encode(records)))
	h.Write(path+"/overlay-layers/layers.json", string(h.encode(layers)))
	return ids
}

func (h *scratchHost) encode(v any) []byte {
	h.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		h.Fatal(err)
	}
	return content
}

// addProgram makes a program that only has to be found.
func (h *scratchHost) addProgram(name string) {
	h.Helper()
	h.Write("bin/"+name, "#!/bin/false\n")
	if err := os.Chmod(h.Path("bin/"+name), 0o755); err != nil {
		h.Fatal(err)
	}
}

// query looks at the host. That the tests may run in a container does not matter.
func (h *scratchHost) query() inventory.Options {
	return inventory.Options{
		Sysroot: host.Sysroot{Dir: h.Dir, Running: h.Dir}, Root: h.Dir,
		Env: []string{"PATH=" + h.Path("bin") + ":" + os.Getenv("PATH"), "TMPDIR=" + h.Path("tmp")}, Runner: wrapper.System{},
	}
}

// facts are what a plan depends on besides the host.
type facts struct {
	// extents is whether files can share extents, No if it is "".
	extents   inventory.Capability
	noProgram error
	record    *plan.Record
}

// plan plans for the host.
func (h *scratchHost) plan(choice plan.Choice, known facts) (*plan.Plan, error) {
	h.Helper()
	s, err := inventory.NewSurvey(h.Context(), h.query())
	if err != nil {
		h.Fatal(err)
	}
	defer s.Close()
	choice.Alternatives = true
	return plan.New(&plan.View{
		Survey: s, Record: known.record, NoProgram: known.noProgram, RepoPath: h.Path("sysroot/ostree/repo"),
		ComposefsPath: h.Path("sysroot/composefs"), ComposefsLayers: Options{Options: h.query()}.composefsLayers,
		Sharing:       func(_, _ string) inventory.Capability { return cmp.Or(known.extents, inventory.No) },
		ExportedBytes: func(string) (int64, error) { return 3000, nil },
		ArchiveDigest: func(image host.ImageReference) (string, error) { return lookAt(s.Root(), image) },
	}, choice)
}

// booted makes a host that boots an image of a transport, from the ostree
// repository, and its containers-storages; nil leaves one out.
func booted(t testing.TB, image string, bootc, podman []stored) (h *scratchHost, commit string) {
	t.Helper()
	h = newHost(t)
	h.layout("srv/os", map[string]string{"42": bootedDigest, "43": otherDigest})
	h.Write("srv/os.tar", "")
	commit = h.commit()
	h.boot(commit, follow(image))
	if bootc != nil {
		h.store(bootcStorage, bootc...)
	}
	if podman != nil {
		h.store(defaultStorage, podman...)
	}
	return h, commit
}

func TestPlanTakesTheNearestSourceThatHasTheBootedImage(t *testing.T) {
	var (
		exact    = []stored{{names: []string{imageName}, digest: bootedDigest, size: 5000}}
		elsewise = []stored{{names: []string{"localhost/other:1"}, digest: bootedDigest, size: 5000}}
		newer    = []stored{{names: []string{imageName}, digest: otherDigest, size: 6000}}
		damaged  = []stored{{names: []string{imageName}, digest: bootedDigest, size: 5000, damaged: true}}
		exported = []stored{{names: []string{imageName}, digest: otherDigest, of: bootedDigest}}
		replaced = append(newer[:1:1], elsewise...)
	)
	for _, tt := range []struct {
		// name is that of the golden file too.
		name string
		// image is what the deployment follows; registryOrigin if it is "".
		image         string
		bootc, podman []stored
		choice        plan.Choice
		facts         facts
	}{
		{name: "bootc-exact", bootc: exact, podman: exact},
		{name: "bootc-other-name", bootc: elsewise, podman: exact},
		{name: "bootc-damaged", bootc: damaged, podman: exact},
		{name: "both-damaged", bootc: damaged, podman: damaged},
		{name: "bootc-export", bootc: exported},
		{name: "bootc-other-image-has-the-name", bootc: replaced},
		{name: "without-bootc", bootc: elsewise, choice: plan.Choice{Without: []plan.Source{plan.FromBootc}}},
		{name: "default-exact", podman: exact},
		{name: "default-by-podman", podman: exact, choice: plan.Choice{Method: plan.ByPodman}},
		{name: "default-without-program", podman: exact, facts: facts{noProgram: fs.ErrNotExist}},
		{name: "default-export", podman: exported},
		{name: "default-exact-replaces", bootc: newer, podman: exact},
		{name: "default-moved-on", podman: newer},
		{name: "default-other-name", podman: elsewise},
		{name: "default-moved-on-accepted", podman: newer, choice: plan.Choice{AcceptNewer: true}},
		{name: "nowhere"},
		{name: "nowhere-replaces", bootc: newer},
		{name: "nowhere-newer-accepted", choice: plan.Choice{AcceptNewer: true}},
		{name: "without-registry", choice: plan.Choice{Without: []plan.Source{plan.FromRegistry}}},
		{name: "without-default", podman: exact, choice: plan.Choice{Without: []plan.Source{plan.FromDefault}}},
		{name: "default-shared", podman: exact, facts: facts{extents: inventory.Yes}},
		{name: "default-perhaps-shared", podman: exact, facts: facts{extents: inventory.Unknown}},
		{name: "ostree-shared", choice: plan.Choice{From: plan.FromOSTree}, facts: facts{extents: inventory.Yes}},
		{name: "ostree-by-podman", choice: plan.Choice{From: plan.FromOSTree, Method: plan.ByPodman}, facts: facts{extents: inventory.Yes}},
		{name: "from-default", podman: exact, choice: plan.Choice{From: plan.FromDefault}},
		{name: "from-registry", podman: exact, choice: plan.Choice{From: plan.FromRegistry}},
		{name: "from-ostree", podman: exact, choice: plan.Choice{From: plan.FromOSTree}},
		{name: "from-ostree-although-there", bootc: exact, choice: plan.Choice{From: plan.FromOSTree}},
		{name: "storage-present", image: "ostree-unverified-image:containers-storage:" + imageName, bootc: exact},
		{name: "storage-absent", image: "ostree-unverified-image:containers-storage:" + imageName},
		{name: "oci", image: "ostree-unverified-image:oci:/srv/os:42"},
		{name: "oci-newer-accepted", image: "ostree-unverified-image:oci:/srv/os:42", choice: plan.Choice{AcceptNewer: true}},
		{name: "oci-present", image: "ostree-unverified-image:oci:/srv/os:42", bootc: []stored{{names: []string{"localhost/bootc:latest"}, digest: bootedDigest}}},
		{name: "oci-exported", image: "ostree-unverified-image:oci:/srv/os:42", podman: []stored{{names: []string{"localhost/bootc:latest"}, digest: otherDigest, of: bootedDigest}}},
		{name: "oci-vanished", image: "ostree-unverified-image:oci:/srv/missing:42"},
		{name: "oci-moved-on", image: "ostree-unverified-image:oci:/srv/os:43"},
		{name: "oci-moved-on-accepted", image: "ostree-unverified-image:oci:/srv/os:43", choice: plan.Choice{AcceptNewer: true}},
		{name: "archive", image: "ostree-unverified-image:oci-archive:/srv/os.tar:42"},
		{name: "archive-vanished", image: "ostree-unverified-image:docker-archive:/srv/missing.tar"},
		{name: "without-transport", image: "ostree-unverified-image:oci:/srv/os:42", choice: plan.Choice{Without: []plan.Source{plan.FromTransport}}},
		{name: "no-tag", image: "ostree-unverified-registry:quay.io/example/os"},
		{name: "no-tag-present", image: "ostree-unverified-registry:quay.io/example/os", bootc: []stored{{names: []string{"quay.io/example/os:latest"}, digest: bootedDigest}}},
		{name: "digest", image: "ostree-unverified-registry:" + exactOf(bootedDigest)},
		{name: "tag-and-digest", image: "ostree-unverified-registry:quay.io/example/os:42@" + bootedDigest, podman: elsewise},
		{name: "tag-and-digest-newer-accepted", image: "ostree-unverified-registry:quay.io/example/os:42@" + bootedDigest, choice: plan.Choice{AcceptNewer: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image := cmp.Or(tt.image, registryOrigin)
			h, commit := booted(t, image, tt.bootc, tt.podman)
			p, err := h.plan(tt.choice, tt.facts)
			if err != nil {
				t.Fatal(err)
			}
			if p.Available == 0 || p.Reflink == "" {
				t.Errorf("nothing is known of the filesystem: %d bytes, reflinks %q", p.Available, p.Reflink)
			}
			checkGolden(t, tt.name, p, commit)
		})
	}
}

// TestPlanShowsTheWayToEachSource: the golden files have the rest.
func TestPlanShowsTheWayToEachSource(t *testing.T) {
	exact := []stored{{names: []string{imageName}, digest: bootedDigest, size: 5000}}
	newer := []stored{{names: []string{imageName}, digest: otherDigest, size: 6000}}
	const network, disk, metadata = plan.TimeNetwork, plan.TimeDisk, plan.TimeMetadata
	for _, tt := range []struct {
		name, image   string
		bootc, podman []stored
		choice        plan.Choice
		facts         facts
		time          plan.TimeClass
		// others are source, options, digest and time of each alternative.
		others, refused []string
	}{
		{
			name: "registry or ostree", time: network,
			others:  []string{"ostree, --from ostree, another, disk"},
			refused: []string{"default: does not have it"},
		},
		{
			name: "registry or ostree, with reflinks", time: network, facts: facts{extents: inventory.Yes},
			others:  []string{"ostree, --from ostree, another, metadata"},
			refused: []string{"default: does not have it"},
		},
		{
			name: "ostree as asked for", time: metadata, choice: plan.Choice{From: plan.FromOSTree}, facts: facts{extents: inventory.Yes},
			others:  []string{"registry, --from registry, booted, network"},
			refused: []string{"default: does not have it"},
		},
		{
			name: "podman's own store", time: disk, podman: exact,
			others: []string{"registry, --from registry, booted, network", "ostree, --from ostree, another, disk"},
		},
		{
			name: "podman's own store has another", time: network, podman: newer,
			others: []string{"default, --from default --accept-newer, " + otherDigest + ", disk", "ostree, --from ostree, another, disk"},
		},
		{
			name: "another one accepted", time: disk, podman: newer, choice: plan.Choice{AcceptNewer: true},
			others: []string{"registry, --from registry --accept-newer, another, network", "ostree, --from ostree --accept-newer, another, disk"},
		},
		{
			name: "layout with another", image: "ostree-unverified-image:oci:/srv/os:43", time: disk,
			others:  []string{"transport, --from transport --accept-newer, " + otherDigest + ", disk"},
			refused: []string{"default: does not have it"},
		},
		{
			name: "vanished layout", image: "ostree-unverified-image:oci:/missing:42", time: disk,
			refused: []string{"default: does not have it", "transport: open HOST/missing/index.json: no such file or directory"},
		},
		{name: "there", bootc: exact, time: plan.TimeInstant},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, cmp.Or(tt.image, registryOrigin), tt.bootc, tt.podman)
			p, err := h.plan(tt.choice, tt.facts)
			if err != nil {
				t.Fatal(err)
			}
			var others, refused []string
			for _, other := range p.Alternatives {
				digest := cmp.Or(other.Digest, "another")
				if other.Exact {
					digest = strings.Replace(digest, bootedDigest, "booted", 1)
				}
				others = append(others, fmt.Sprintf("%s, %s, %s, %s", other.Source, other.Choose, digest, other.Time))
			}
			for _, r := range p.Refused {
				refused = append(refused, fmt.Sprintf("%s: %s", r.Source, strings.ReplaceAll(r.Reason, h.Dir, "HOST")))
			}
			if p.Time != tt.time || !slices.Equal(others, tt.others) || !slices.Equal(refused, tt.refused) {
				t.Errorf("got %s, %q, %q; want %s, %q, %q", p.Time, others, refused, tt.time, tt.others, tt.refused)
			}
			// Nothing is shown that the plan for it would not do.
			for _, other := range p.Alternatives {
				p, err := h.plan(plan.Choice{From: other.Source, AcceptNewer: strings.Contains(other.Choose, "newer")}, tt.facts)
				if err != nil || p.Source != other.Source || p.Method != other.Method || p.Fetch != other.Fetch || p.Exact != other.Exact || p.Time != other.Time {
					t.Errorf("%s: got %+v, %v; want %+v", other.Choose, p, err, other)
				}
			}
		})
	}
}

// TestPlanShowsHowBootcUpgradesAfterwards: see UpgradeTargets for what bootc looks for.
func TestPlanShowsHowBootcUpgradesAfterwards(t *testing.T) {
	const unread = "skopeo ignores the bootc store: neither /etc/containers/storage.conf nor /usr/share/containers/storage.conf exists"
	for _, tt := range []struct {
		name, image string
		noConf      bool
		podman      string
		want        plan.Upgrade
		reason      string
	}{
		{name: "with a storage.conf", image: registryOrigin, want: plan.UpgradeUnified},
		{name: "without", image: registryOrigin, noConf: true, want: plan.UpgradeFails, reason: unread},
		{name: "local image without", image: "ostree-unverified-image:containers-storage:" + imageName, noConf: true, want: plan.UpgradeFails, reason: unread},
		{
			name: "archive", image: "ostree-unverified-image:oci-archive:/srv/os.tar", want: plan.UpgradeOrigin,
			reason: "bootc looks for oci-archive:/srv/os.tar, not for localhost/bootc:latest",
		},
		{
			name: "archive without", image: "ostree-unverified-image:oci-archive:/srv/os.tar", noConf: true, want: plan.UpgradeOrigin,
			reason: "bootc looks for oci-archive:/srv/os.tar, not for localhost/bootc:latest",
		},
		{name: "no tag", image: "ostree-unverified-registry:quay.io/example/os", want: plan.UpgradeUnified},
		{
			name: "another image of the name in podman's own store", image: registryOrigin, podman: otherDigest, want: plan.UpgradeHidden,
			reason: "podman's own store, where skopeo looks first, has another image of this name, " + otherDigest + `; "podman untag ` + imageName + " " + imageName + `" takes the name from it`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var podman []stored
			if tt.podman != "" {
				podman = []stored{{names: []string{imageName}, digest: tt.podman}}
			}
			h, _ := booted(t, tt.image, nil, podman)
			if tt.noConf {
				h.remove(vendorConf)
			}
			p, err := h.plan(plan.Choice{From: plan.FromOSTree}, facts{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Upgrade != tt.want || p.UpgradeReason != tt.reason {
				t.Errorf("got %s: %q, want %s: %q", p.Upgrade, p.UpgradeReason, tt.want, tt.reason)
			}
		})
	}
	t.Run("composefs without", func(t *testing.T) {
		h := newHost(t)
		h.bootComposefs(bootedDigest)
		h.remove(vendorConf)
		p, err := h.plan(plan.Choice{}, facts{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Upgrade != plan.UpgradeUnified {
			t.Errorf("got %s: %q", p.Upgrade, p.UpgradeReason)
		}
	})
}

// checkGolden compares a plan with a file.
func checkGolden(t *testing.T, name string, p *plan.Plan, commit string) {
	t.Helper()
	p.Available, p.Reflink = 1, "any"
	got, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(regexp.QuoteMeta(os.TempDir())+`/[^ "]*/001/`).ReplaceAllString(strings.ReplaceAll(string(got), commit, "COMMIT"), "/") + "\n"
	golden := "testdata/plan/" + name + ".json"
	if *update {
		makeDir(t, "testdata/plan")
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("got %s\nwant %s", text, want)
	}
}

func TestPlanOfComposefsHosts(t *testing.T) {
	exact := []stored{{names: []string{imageName}, digest: bootedDigest, size: 5000}}
	exported := []stored{{names: []string{imageName}, digest: otherDigest}}
	id := newHost(t).store(bootcStorage, exported...)[0]
	for _, tt := range []struct {
		name          string
		bootc, podman []stored
		choice        plan.Choice
		facts         facts
		// staged is the digest of a staged deployment of the same name, "" for none.
		staged, refused string
	}{
		{name: "composefs-present", bootc: exact},
		{name: "composefs-default", podman: exact},
		{name: "composefs-registry"},
		{name: "composefs-export", choice: plan.Choice{Without: []plan.Source{plan.FromRegistry}}},
		{name: "composefs-exported", bootc: exported, facts: facts{record: &plan.Record{ID: id, Digest: bootedDigest}}},
		{name: "composefs-staged", staged: otherDigest},
		{
			name: "composefs-export-of-staged", staged: otherDigest, choice: plan.Choice{From: plan.FromComposefs},
			refused: "composefs: bootc would export the staged deployment, " + otherDigest + " of the same name",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			h.bootComposefs(bootedDigest)
			if tt.staged != "" {
				h.deployComposefs("b", tt.staged)
				h.Write("run/composefs/staged-deployment", `{"depl_id":"`+strings.Repeat("b", 128)+`"}`)
			}
			h.addProgram("bootc")
			const composefsStorage = "sysroot/composefs/bootc/storage"
			if tt.bootc != nil {
				h.store(composefsStorage, tt.bootc...)
			}
			if tt.podman != nil {
				h.store(defaultStorage, tt.podman...)
			}
			p, err := h.plan(tt.choice, tt.facts)
			if tt.refused != "" {
				if !errors.Is(err, plan.ErrNoSource) || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %+v, %v, want an error with %q", p, err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, tt.name, p, "no commit")
		})
	}
	for name, tt := range map[string]struct {
		choice plan.Choice
		facts  facts
		change func(h *scratchHost) error
	}{
		"composefs-clone":        {},
		"composefs-clone-shared": {facts: facts{extents: inventory.Yes}},
		"composefs-method":       {choice: plan.Choice{From: plan.FromComposefs, Method: plan.ByPodman}},
		"composefs-program":      {choice: plan.Choice{From: plan.FromComposefs}, facts: facts{noProgram: fs.ErrNotExist}},
		"composefs-lacks-layer": {choice: plan.Choice{From: plan.FromComposefs}, change: func(h *scratchHost) error {
			return os.Remove(h.Path("sysroot/composefs/streams/oci-layer-" + testcomposefs.DiffIDs()[1]))
		}},
		"composefs-not-cloned": {choice: plan.Choice{From: plan.FromComposefs, NotCloned: errors.New("what a clone said")}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.bootComposefs(testcomposefs.Manifest)
			h.addProgram("bootc")
			if err := testcomposefs.Extract(testcomposefs.Cfsctl094, h.Path("sysroot")); err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				if err := tt.change(h); err != nil {
					t.Fatal(err)
				}
			}
			p, err := h.plan(tt.choice, tt.facts)
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name, p, "no commit")
		})
	}
	t.Run("without bootc", func(t *testing.T) {
		h := newHost(t)
		h.bootComposefs(bootedDigest)
		if p, err := h.plan(plan.Choice{From: plan.FromComposefs}, facts{}); !errors.Is(err, plan.ErrNoSource) || !strings.Contains(err.Error(), `composefs: run "bootc"`) {
			t.Errorf("got %+v, %v, want it to say that bootc is missing", p, err)
		}
	})
}

func exactOf(digest string) string { return "quay.io/example/os@" + digest }

func TestPlanRefusesWhatCannotBeOnboarded(t *testing.T) {
	moved := []stored{{names: []string{imageName}, digest: otherDigest}}
	elsewise := []stored{{names: []string{"localhost/other:1"}, digest: bootedDigest}}
	all := []plan.Source{plan.FromBootc, plan.FromDefault, plan.FromRegistry, plan.FromTransport, plan.FromOSTree}
	withDigest := "ostree-unverified-registry:" + exactOf(bootedDigest)
	for _, tt := range []struct {
		name, image   string
		bootc, podman []stored
		choice        plan.Choice
		facts         facts
		is            error
		want          string
		// moved reports that --accept-newer would help.
		moved bool
	}{
		{
			name: "newer image in place of an archive's", image: "ostree-unverified-image:oci:/srv/os", podman: []stored{{names: []string{"localhost/bootc:latest"}, digest: otherDigest}},
			choice: plan.Choice{AcceptNewer: true, From: plan.FromDefault}, is: plan.ErrNoSource, want: "default: has " + otherDigest + " under this name",
		},
		{name: "transport for an image of a registry", choice: plan.Choice{From: plan.FromTransport}, is: plan.ErrNoSource, want: "transport: image is of transport registry"},
		{name: "default store without it", choice: plan.Choice{From: plan.FromDefault}, is: plan.ErrNoSource, want: "default: does not have it"},
		{name: "default store with another", podman: moved, choice: plan.Choice{From: plan.FromDefault}, is: plan.ErrNoSource, want: "default: has " + otherDigest + " under this name", moved: true},
		{
			name: "registry for a local image", image: "ostree-unverified-image:containers-storage:" + imageName,
			choice: plan.Choice{From: plan.FromRegistry}, is: plan.ErrNoSource, want: "registry: image is of transport containers-storage",
		},
		{
			name: "clone without the program", podman: []stored{{names: []string{imageName}, digest: bootedDigest}},
			choice: plan.Choice{From: plan.FromDefault, Method: plan.Clone}, facts: facts{noProgram: fs.ErrNotExist}, is: plan.ErrNoSource, want: "default: bootc-podman-store is not installed",
		},
		{
			name: "composefs on another host", choice: plan.Choice{From: plan.FromComposefs}, is: plan.ErrNoSource,
			want: "no source has the booted image: bootc: does not have it; composefs: the host has no such source",
		},
		{name: "none left", choice: plan.Choice{Without: all}, is: plan.ErrNoSource, want: "no source has the booted image: ", moved: true},
		{
			name: "name with a digest for another image", image: withDigest, bootc: elsewise,
			choice: plan.Choice{Without: []plan.Source{plan.FromRegistry}}, is: plan.ErrNoSource,
			want: "bootc: a name with a digest comes from a registry only; default: does not have it; ostree: a name with a digest comes from a registry only",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image := cmp.Or(tt.image, registryOrigin)
			h, _ := booted(t, image, tt.bootc, tt.podman)
			p, err := h.plan(tt.choice, tt.facts)
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) || errors.Is(err, plan.ErrMovedOn) != tt.moved {
				t.Errorf("got %+v, %v, want an error with %q", p, err, tt.want)
			}
		})
	}
}

func TestPlanRefusesHostsThatBootNoImage(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(h *scratchHost)
		want error
	}{
		{"not booted", func(h *scratchHost) {
			h.boot(h.commit(), follow(registryOrigin))
			h.Write("proc/cmdline", "quiet\n")
			if err := os.Remove(h.Path("run/ostree-booted")); err != nil {
				h.Fatal(err)
			}
		}, plan.ErrNotBooted},
		{"not from an image", func(h *scratchHost) {
			h.boot(h.commit(), "[origin]\nrefspec=fedora:42\n")
		}, plan.ErrNotFromImage},
		{"packages are layered on it", func(h *scratchHost) {
			h.boot(h.commit(), follow(registryOrigin)+"[packages]\nrequested=strace;\n")
		}, plan.ErrNotFromImage},
		{"composefs, by an old bootc", func(h *scratchHost) { h.bootComposefs("") }, plan.ErrNoDigest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			tt.make(h)
			if p, err := h.plan(plan.Choice{}, facts{}); p != nil || !errors.Is(err, tt.want) {
				t.Errorf("got %+v, %v, want %v", p, err, tt.want)
			}
		})
	}
}
