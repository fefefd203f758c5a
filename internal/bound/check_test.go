// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package bound

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

const (
	ostreeStore = "sysroot/ostree/bootc/storage"
	ownStore    = "var/lib/containers/storage"
)

// addImages makes a store of images without files, by their names.
func addImages(root *testhost.Root, store string, images ...string) {
	root.Helper()
	type object = map[string]any
	var records []object
	layers := []object{}
	for _, name := range images {
		config := encode(root, object{"architecture": "amd64", "os": "linux", "store": store, "name": name, "rootfs": object{"type": "layers", "diff_ids": []string{}}})
		id := fmt.Sprintf("%x", sha256.Sum256([]byte(config)))
		manifest := encode(root, object{"schemaVersion": 2, "config": object{"digest": "sha256:" + id}})
		root.Write(store+"/overlay-images/"+id+"/manifest", manifest)
		root.Write(store+"/overlay-images/"+id+"/="+base64.StdEncoding.EncodeToString([]byte("sha256:"+id)), config)
		records = append(records, object{
			"id": id, "names": []string{name}, "digest": fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest))),
			"big-data-names": []string{"manifest", "sha256:" + id}, "big-data-sizes": object{"manifest": len(manifest), "sha256:" + id: len(config)},
		})
	}
	root.Write(store+"/overlay-images/images.json", encode(root, records))
	root.Write(store+"/overlay-layers/layers.json", encode(root, layers))
}

func encode(t testing.TB, v any) string {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// newHost makes the root directory of a host without deployments.
func newHost(t testing.TB) *testhost.Root {
	root := newRoot(t)
	root.Write("etc/containers/storage.conf", storageconf.MinimalConf)
	root.Write("proc/self/mountinfo", "")
	return root
}

// deploy adds an ostree deployment, the first of which is booted. It returns its root.
func deploy(root *testhost.Root, n int, image string) string {
	root.Helper()
	commit := strings.Repeat(fmt.Sprint(n), 64)
	dir := "ostree/deploy/default/deploy/" + commit + ".0"
	root.Mkdir("sysroot/" + dir + "/usr")
	root.Write("sysroot/"+dir+".origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:"+image+"\n")
	arg := fmt.Sprintf("ostree/boot.1/default/%s/%d", strings.Repeat("b", 64), n)
	root.Link("../../../deploy/default/deploy/"+commit+".0", "sysroot/"+arg)
	root.Write(fmt.Sprintf("sysroot/boot/loader/entries/ostree-%d.conf", n), fmt.Sprintf("version %d\noptions ostree=/%s\n", 9-n, arg))
	if n == 1 {
		root.Write("run/ostree-booted", "")
		root.Write("proc/cmdline", "quiet ostree=/"+arg+"\n")
	}
	return "sysroot/" + dir
}

// bindIn binds an image in a deployment.
func bindIn(root *testhost.Root, deployment, unit, image string) {
	root.Helper()
	root.Write(deployment+"/usr/share/"+unit, "[Image]\nImage="+image+"\n")
	root.Link("/usr/share/"+unit, deployment+"/"+host.BoundImagesDir+"/"+unit)
}

// look reads a running host.
func look(root *testhost.Root) *inventory.Survey {
	root.Helper()
	at := host.Sysroot{Dir: root.Dir, Running: root.Dir}
	survey, problems := inventory.Look(inventory.Options{Sysroot: at, Root: root.Dir})
	if survey == nil || len(problems) > 0 {
		root.Fatal(problems)
	}
	root.Cleanup(survey.Close)
	return survey
}

// states returns the images of a report in a few words, and its rules.
func states(r Report) (list []string) {
	for _, c := range r.Images {
		text := fmt.Sprintf("%s %s", c.Deployment.Role, c.Image)
		for _, word := range []struct {
			is   bool
			word string
		}{{c.Present == nil, "unknown"}, {c.Present != nil && !*c.Present, "missing"}, {c.Damage != "", "damaged"}, {c.Shadow != "", "shadowed"}, {c.WillBePruned, "pruned"}} {
			if word.is {
				text += " " + word.word
			}
		}
		list = append(list, text)
	}
	for _, f := range r.Findings {
		list = append(list, fmt.Sprintf("%s %s", f.Severity, f.Rule))
	}
	return list
}

func wantStates(t *testing.T, r Report, want ...string) {
	t.Helper()
	if got := states(r); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCheckComparesEachBoundImageWithTheStores(t *testing.T) {
	root := newHost(t)
	booted, rollback := deploy(root, 1, "quay.io/os:1"), deploy(root, 2, "quay.io/os:2")
	bindIn(root, booted, "a.image", "quay.io/a:1")
	bindIn(root, booted, "b.image", "quay.io/b")
	bindIn(root, booted, "c.image", "quay.io/c:1")
	bindIn(root, rollback, "d.image", "quay.io/d:1")
	addImages(root, ostreeStore, "quay.io/a:1", "quay.io/b:latest", "quay.io/d:1")
	addImages(root, ownStore, "quay.io/d:1", "quay.io/other:1")
	s := look(root)
	wantStates(t, Check(s, All, nil),
		"booted quay.io/a:1", "booted quay.io/b pruned", "booted quay.io/c:1 missing", "rollback quay.io/d:1 shadowed",
		"risk bound-pruned", "failing bound-missing", "risk bound-shadowed")
	wantStates(t, Check(s, Rollback, nil), "rollback quay.io/d:1 shadowed", "risk bound-shadowed")
	wantStates(t, Check(s, Staged, nil))
	// Of the lock, only the digest counts.
	images, _ := List(s, Booted)
	lock := map[string]string{"quay.io/a:1": images[0].Digest, "quay.io/b": "sha256:0"}
	wantStates(t, Check(s, Booted, lock), "booted quay.io/a:1", "booted quay.io/b pruned", "booted quay.io/c:1 missing",
		"risk bound-pruned", "failing bound-locked", "failing bound-missing")
}

func TestCheckOfAComposefsHost(t *testing.T) {
	root := newHost(t)
	for _, c := range []string{"a", "c"} {
		verity := strings.Repeat(c, 128)
		root.Write("sysroot/state/deploy/"+verity+"/"+verity+".origin", "[origin]\ncontainer-image-reference = ostree-unverified-image:docker://quay.io/os:"+c+"\n[boot]\nboot_type = bls\n")
	}
	root.Mkdir("sysroot/ostree")
	root.Link("../composefs/bootc", "sysroot/ostree/bootc")
	root.Write("proc/cmdline", "composefs="+strings.Repeat("a", 128)+"\n")
	bindIn(root, ".", "a.image", "quay.io/a:1")
	addImages(root, "sysroot/composefs/bootc/storage", "quay.io/a:1")
	s := look(root)
	wantStates(t, Check(s, Booted, nil), "booted quay.io/a:1 pruned", "risk bound-pruned")
	wantStates(t, Check(s, All, nil), "booted quay.io/a:1 pruned", "information unreadable", "risk bound-pruned")
	r := Check(s, Rollback, nil)
	wantStates(t, r, "unknown unreadable")
	if f := r.Findings[0]; f.Severity != health.Unknown || !strings.Contains(f.What, "before it is booted") {
		t.Errorf("%+v", f)
	}
}

func TestCheckWithoutAStore(t *testing.T) {
	root := newHost(t)
	bindIn(root, deploy(root, 1, "quay.io/os:1"), "a.image", "quay.io/a:1")
	wantStates(t, Check(look(root), All, nil), "booted quay.io/a:1 missing", "failing bound-missing")
}
