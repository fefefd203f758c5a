// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

type object = map[string]any

const (
	bootcStore = "sysroot/ostree/bootc/storage"
	ownStore   = "var/lib/containers/storage"
	osImage    = "quay.io/example/os:42"
	appImage   = "quay.io/example/app:1"
)

// scratchHost is a running ostree host in a temporary directory.
type scratchHost struct {
	*testhost.Root
	// stores are the images by the path of the store.
	stores map[string][]stored
	// os and app are the IDs of the images.
	os, app string
	runner  wrapper.Runner
}

// stored is an image to put into a store, with one layer of its own upon those of another.
type stored struct {
	names []string
	// text makes the image another one; upon is the text of the image below, "" for none.
	text, upon string
}

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func (img stored) layer() string { return sum("layer " + img.text) }

func (img stored) config() string {
	diffs := []string{"sha256:" + sum("diff "+img.text)}
	if img.upon != "" {
		diffs = append([]string{"sha256:" + sum("diff "+img.upon)}, diffs...)
	}
	return encode(object{"architecture": "amd64", "os": "linux", "text": img.text, "rootfs": object{"type": "layers", "diff_ids": diffs}})
}

func (img stored) id() string { return sum(img.config()) }

func (img stored) manifest() string {
	return encode(object{"schemaVersion": 2, "config": object{"digest": "sha256:" + img.id()}})
}

func encode(v any) string {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(content)
}

// newHost makes a healthy host: it boots an image that the bootc store has, and has an image
// bound.
func newHost(t *testing.T) *scratchHost {
	t.Helper()
	h := &scratchHost{Root: testhost.New(t), stores: map[string][]stored{}, runner: noPrograms{t}}
	h.Isolate()
	h.Write("run/ostree-booted", "")
	h.Write("etc/containers/storage.conf", storageconf.MinimalConf)
	commit := strings.Repeat("c", 64)
	root := bootedRoot
	arg := "ostree/boot.1/default/" + strings.Repeat("b", 64) + "/0"
	h.Mkdir(root + "/usr")
	h.Write(root+".origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:"+osImage+"\n")
	h.Link("../../../deploy/default/deploy/"+commit+".0", "sysroot/"+arg)
	h.Write("sysroot/boot/loader/entries/ostree-1.conf", "version 1\noptions ostree=/"+arg+"\n")
	h.Write("proc/cmdline", "quiet ostree=/"+arg+"\n")
	h.Link("../../../sysroot/ostree/bootc/storage", "usr/lib/bootc/storage")
	for _, in := range []string{"", root + "/"} {
		h.Write(in+"usr/share/app.container", unit(appImage))
		h.Link("/usr/share/app.container", in+"usr/lib/bootc/bound-images.d/app.container")
	}
	h.os, h.app = h.add(bootcStore, stored{names: []string{osImage}, text: "os"}), h.add(bootcStore, stored{names: []string{appImage}, text: "app"})
	h.add(ownStore, stored{names: []string{"localhost/own:1"}, text: "own"})
	return h
}

// unbound takes the bound images from the host.
func (h *scratchHost) unbound() {
	h.Helper()
	h.remove("usr/lib/bootc/bound-images.d")
	h.remove(bootedRoot + "/usr/lib/bootc/bound-images.d")
	h.drop(1)
}

// toComposefs makes the host a composefs one that has booted a deployment of its image.
func (h *scratchHost) toComposefs() {
	h.Helper()
	verity := strings.Repeat("a", 128)
	h.remove("sysroot/boot")
	h.Mkdir("sysroot/composefs/bootc")
	if err := os.Rename(h.Path(bootcStore), h.Path("sysroot/composefs/bootc/storage")); err != nil {
		h.Fatal(err)
	}
	h.remove("sysroot/ostree")
	h.Link("../composefs/bootc", "sysroot/ostree/bootc")
	h.Write("sysroot/state/deploy/"+verity+"/"+verity+".origin", "[origin]\ncontainer-image-reference = ostree-unverified-image:docker://"+osImage+
		"\n[boot]\nboot_type = bls\n[image]\nmanifest_digest = sha256:"+sum(stored{text: "os"}.manifest())+"\n")
	h.Write("proc/cmdline", "composefs="+verity+"\n")
	h.Write("proc/self/mountinfo", "")
	h.Write("proc/locks", "")
}

// unit is a quadlet without a finding.
func unit(image string) string {
	return "[Container]\nImage=" + image + "\nGlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n"
}

// bootedRoot is the root of the booted deployment, secondRoot that of the one that
// deploySecond adds.
var (
	bootedRoot = "sysroot/ostree/deploy/default/deploy/" + strings.Repeat("c", 64) + ".0"
	secondRoot = "sysroot/ostree/deploy/default/deploy/" + strings.Repeat("d", 64) + ".0"
)

// deploySecond adds a deployment that does not run, and has this quadlet bound.
func (h *scratchHost) deploySecond(quadlet string) {
	h.Helper()
	commit, root := strings.Repeat("d", 64), secondRoot
	arg := "ostree/boot.1/default/" + strings.Repeat("e", 64) + "/0"
	h.Write(root+".origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:"+osImage+"\n")
	h.Link("../../../deploy/default/deploy/"+commit+".0", "sysroot/"+arg)
	h.Write("sysroot/boot/loader/entries/ostree-2.conf", "version 2\noptions ostree=/"+arg+"\n")
	h.Write(root+"/usr/share/next.container", quadlet)
	h.Link("../../../share/next.container", root+"/usr/lib/bootc/bound-images.d/next.container")
}

// add puts an image into a store, and returns its ID.
func (h *scratchHost) add(store string, img stored) string {
	h.Helper()
	h.stores[store] = append(h.stores[store], img)
	h.addLayer(store, img.text)
	if img.upon != "" {
		h.addLayer(store, img.upon)
	}
	dir := store + "/overlay-images/" + img.id() + "/"
	h.Write(dir+"manifest", img.manifest())
	h.Write(dir+"="+base64.StdEncoding.EncodeToString([]byte("sha256:"+img.id())), img.config())
	h.records(store)
	return img.id()
}

// addLayer makes the files of a layer.
func (h *scratchHost) addLayer(store, text string) {
	h.Helper()
	layer := stored{text: text}.layer()
	h.Write(store+"/overlay/"+layer+"/diff/file", text)
	h.Write(store+"/overlay/"+layer+"/link", strings.ToUpper(layer[:26]))
	h.Write(store+"/overlay-layers/"+layer+".tar-split.gz", "x")
}

// records writes images.json and layers.json.
func (h *scratchHost) records(store string) {
	h.Helper()
	images, layers := []object{}, []object{}
	for _, img := range h.stores[store] {
		digest := "sha256:" + sum(img.manifest())
		config := "sha256:" + img.id()
		images = append(images, object{
			"id": img.id(), "digest": digest, "names": img.names, "layer": img.layer(), "created": "2026-05-06T07:08:09Z",
			"big-data-names": []string{"manifest", config}, "big-data-sizes": object{"manifest": len(img.manifest()), config: len(img.config())},
			"big-data-digests": object{"manifest": digest, config: config},
		})
		for _, text := range []string{img.upon, img.text} {
			if text == "" {
				continue
			}
			layer := object{"id": stored{text: text}.layer(), "diff-digest": "sha256:" + sum("diff "+text), "diff-size": 1024}
			if text == img.text && img.upon != "" {
				layer["parent"] = stored{text: img.upon}.layer()
			}
			layers = append(layers, layer)
		}
	}
	h.Write(store+"/overlay-images/images.json", encode(images))
	h.Write(store+"/overlay-layers/layers.json", encode(layers))
}

// options examine the host.
func (h *scratchHost) options() Options {
	env := []string{"PATH=" + os.Getenv("PATH")}
	return Options{Options: transfer.Options{
		Options: inventory.Options{Sysroot: host.Sysroot{Dir: h.Dir, Running: h.Dir}, Root: h.Dir, Env: env, Runner: h.runner},
		Host:    wrapper.Host{Env: env, Root: h.Dir, Sysroot: h.Dir, ConfPath: h.Path("run/bootc-podman/storage.conf"), Runner: h.runner},
		Dir:     h.Path("run/bootc-podman"),
	}}
}

// noPrograms is a runner for which starting a program is an error.
type noPrograms struct{ t testing.TB }

func (n noPrograms) Run(_ context.Context, cmd wrapper.Cmd) error {
	n.t.Errorf("program started: %q", cmd.Args)
	return errors.New("no programs here")
}

func (n noPrograms) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	return nil, n.Run(ctx, cmd)
}

// remove removes a file or a tree.
func (h *scratchHost) remove(name string) {
	h.Helper()
	if err := os.RemoveAll(h.Path(name)); err != nil {
		h.Fatal(err)
	}
}

// database gives the bootc store podman's database, made with another graph root.
func (h *scratchHost) database(graphRoot string) {
	h.Helper()
	content, err := os.ReadFile("../../storageconf/testdata/podman-5.8.6.db.sql")
	if err != nil || len(graphRoot) != len(storageconf.GraphRoot) {
		h.Fatal(err, graphRoot)
	}
	h.Write(bootcStore+"/db.sql", strings.ReplaceAll(string(content), storageconf.GraphRoot, graphRoot))
}

// walk describes all files of the host, by another program.
func (h *scratchHost) walk() string {
	h.Helper()
	return testhost.Run(h, "sh", "-c", `cd "$1" && find . ! -type f -printf '%p %m %l\n' | LC_ALL=C sort && find . -type f -exec sha256sum {} + | LC_ALL=C sort -k 2`, "sh", h.Dir)
}

// drop removes an image from the bootc store.
func (h *scratchHost) drop(i int) {
	h.Helper()
	h.remove(bootcStore + "/overlay/" + h.stores[bootcStore][i].layer())
	h.stores[bootcStore] = slices.Delete(h.stores[bootcStore], i, i+1)
	h.records(bootcStore)
}

// rename gives an image of a store these names.
func (h *scratchHost) rename(store string, i int, names ...string) {
	h.Helper()
	h.stores[store][i].names = names
	h.records(store)
}

// addRecord adds the record of a layer to a store.
func (h *scratchHost) addRecord(store string, record object) {
	h.Helper()
	path := store + "/overlay-layers/layers.json"
	h.Write(path, strings.TrimSuffix(h.Read(path), "]")+","+encode(record)+"]")
}

// link makes the link of a layer that lists of lower layers have.
func (h *scratchHost) link(store, text string) (name string) {
	h.Helper()
	layer := stored{text: text}.layer()
	name = strings.ToUpper(layer[:26])
	h.Link("../"+layer+"/diff", store+"/overlay/l/"+name)
	return name
}

// container adds a container to podman's own store, the layer of which is upon another.
func (h *scratchHost) container(layer, upon string) {
	h.Helper()
	h.Write(ownStore+"/overlay-containers/containers.json", `[{"id":"`+strings.Repeat("c", 64)+`","names":["web"],"image":"x","layer":"`+layer+`"}]`)
	h.addRecord(ownStore, object{"id": layer, "parent": upon})
	h.Write(ownStore+"/overlay/"+layer+"/diff/file", "")
	h.Write(ownStore+"/overlay/"+layer+"/link", "OWN")
	link := "NONE"
	for _, img := range h.stores[bootcStore] {
		if img.layer() == upon {
			link = h.link(bootcStore, img.text)
		}
	}
	h.Write(ownStore+"/overlay/"+layer+"/lower", "l/"+link)
}

// borrow adds the record of an image to podman's own store whose layers are in the bootc store.
func (h *scratchHost) borrow(img stored) {
	h.Helper()
	layers := h.Read(ownStore + "/overlay-layers/layers.json")
	h.stores[ownStore] = append(h.stores[ownStore], img)
	h.records(ownStore)
	h.Write(ownStore+"/overlay-layers/layers.json", layers)
	h.remove(ownStore + "/overlay/" + img.layer())
	h.link(bootcStore, img.text)
}

// age makes a file one that was last changed yesterday.
func (h *scratchHost) age(name string) {
	h.Helper()
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(h.Path(name), yesterday, yesterday); err != nil {
		h.Fatal(err)
	}
}

// lock takes the lock that a process has on a file while it is at work.
func (h *scratchHost) lock(name string) {
	h.Helper()
	f, err := os.OpenFile(h.Path(name), os.O_RDWR, 0)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { f.Close() })
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		h.Fatal(err)
	}
}

// labelled makes the host one with SELinux, all files of whose bootc store have a type. The
// policy gives them another one, container_ro_file_t.
func (h *scratchHost) labelled(kind string) {
	h.Helper()
	testhost.Need(h)
	h.Write("sys/fs/selinux/enforce", "1")
	// What it prints for a file by another kind is not the label of the file.
	h.Write("bin/matchpathcon", `#!/bin/sh
[ "$1$2$3" = -n-N-m ] || exit 1
kind=$4
shift 4
for p; do
	file='`+h.Path(bootcStore)+`'/${p#`+labelReference+`/}
	if [ -L "$file" ]; then is=lnk_file; elif [ -d "$file" ]; then is=dir; else is=file; fi
	case $p in
	*/overlay/l/*) echo '<<none>>' ;;
	*) [ "$kind" = "$is" ] && echo system_u:object_r:container_ro_file_t:s0:c1 || echo system_u:object_r:default_t:s0 ;;
	esac
done
`)
	h.Chmod("bin/matchpathcon", 0o755)
	h.Setenv("PATH", h.Path("bin")+":"+os.Getenv("PATH"))
	h.runner = wrapper.System{}
	err := filepath.WalkDir(h.Path(bootcStore), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "/overlay/l/") {
			err = unix.Lsetxattr(path, labelAttribute, []byte("system_u:object_r:"+kind+":s0"), 0)
		}
		return err
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		h.Skip(err)
	}
	if err != nil {
		h.Fatal(err)
	}
}
