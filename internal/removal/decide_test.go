// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package removal

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

// object is a JSON object of a store's files.
type object = map[string]any

const store = "sysroot/ostree/bootc/storage"

// image is an image for a store: its layers are those of parents and its own.
type image struct {
	names  []string
	parent string
}

// idOf makes the ID of an image or a layer out of a word.
func idOf(word string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(word))) }

// look makes a host that follows quay.io/os:1, and has app bound, and reads what it needs of
// a store with these images.
func look(t *testing.T, images map[string]image) *inventory.Needs {
	t.Helper()
	v := lookWith(t, images, func(*testhost.Root) {})
	if v.Err != nil {
		t.Fatal(v.Err)
	}
	return v.Needs
}

// lookWith is look at a host that more is done to.
func lookWith(t *testing.T, images map[string]image, more func(h *testhost.Root)) View {
	t.Helper()
	h := testhost.New(t)
	h.Isolate()
	h.Mkdir("sysroot/ostree/deploy")
	h.Write("run/ostree-booted", "")
	h.Write("etc/containers/registries.conf", "unqualified-search-registries = [\"docker.io\"]\n")
	commit := idOf("commit")
	root := "sysroot/ostree/deploy/default/deploy/" + commit + ".0"
	h.Mkdir(root)
	h.Write(root+".origin", "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os:1\n")
	h.Link("../../../deploy/default/deploy/"+commit+".0", "sysroot/ostree/boot.1/default/"+commit+"/0")
	h.Write("sysroot/boot/loader/entries/ostree-1.conf", "version 1\noptions ostree=/ostree/boot.1/default/"+commit+"/0\n")
	h.Write("proc/cmdline", "ostree=/ostree/boot.1/default/"+commit+"/0\n")
	h.Write("usr/share/app.container", "[Container]\nImage=app\n")
	h.Link("/usr/share/app.container", "usr/lib/bootc/bound-images.d/app.container")
	records, layers, containers := []object{}, []object{}, []object{}
	for _, key := range slices.Sorted(maps.Keys(images)) {
		img, id := images[key], idOf(key)
		records = append(records, object{"id": id, "names": img.names, "layer": idOf("layer " + key), "digest": "sha256:" + id})
		l := object{"id": idOf("layer " + key), "diff-digest": "sha256:" + id, "diff-size": 1}
		if img.parent != "" {
			l["parent"] = idOf("layer " + img.parent)
		}
		layers = append(layers, l)
		if key == "used" {
			containers = append(containers, object{"id": idOf("container"), "names": []string{"c"}, "image": id, "layer": idOf("c")})
		}
	}
	for file, list := range map[string][]object{"images/images.json": records, "layers/layers.json": layers, "containers/containers.json": containers} {
		content, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(store+"/overlay-"+file, string(content))
	}
	more(h)
	v := Look(t.Context(), inventory.Options{
		Sysroot: host.Sysroot{Dir: h.Dir, Running: h.Dir}, Root: h.Dir, Env: []string{"PATH=" + os.Getenv("PATH")},
	})
	t.Cleanup(v.Close)
	return v
}

// TestLeasesOfRunningContainersCount: those of containers that have exited and damaged ones do
// not, and those that cannot be read are a reason to refuse.
func TestLeasesOfRunningContainersCount(t *testing.T) {
	id := idOf("leased container")
	const boot = "11111111-1111-1111-1111-111111111111"
	lease := func(start int) string {
		content, err := json.Marshal(object{
			"schema": 1, "id": id, "name": "c", "image": object{"id": idOf("free")}, "store": "/elsewhere", "pid": 7, "pid_start": start,
			"boot_id": boot, "layers": []object{{"id": idOf("layer free"), "store": "bootc", "path": "/x"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	for _, test := range []struct {
		name, content string
		needs         int
	}{{"running", lease(99), 1}, {"exited", lease(98), 0}, {"damaged", "{", 0}, {"unreadable", "", -1}} {
		v := lookWith(t, testImages(), func(h *testhost.Root) {
			h.Write("proc/sys/kernel/random/boot_id", boot)
			h.Write("proc/7/stat", "7 (x) S"+strings.Repeat(" 0", 18)+" 99 0\n")
			if test.needs < 0 {
				h.Write("run/bootc-podman/leases", "")
			} else {
				h.Write("run/bootc-podman/leases/"+id+".json", test.content)
			}
		})
		switch {
		case test.needs < 0:
			if v.Err == nil {
				t.Errorf("%s: no error", test.name)
			}
		case v.Err != nil:
			t.Errorf("%s: %v", test.name, v.Err)
		case len(v.Of(v.Bootc.ByID(idOf("free")))) != test.needs:
			t.Errorf("%s: needed by %v", test.name, v.Of(v.Bootc.ByID(idOf("free"))))
		}
	}
}

func testImages() map[string]image {
	return map[string]image{
		"os":      {names: []string{"quay.io/os:1"}},
		"app":     {names: []string{"localhost/app:latest", "quay.io/app:1"}},
		"hub":     {names: []string{"docker.io/library/app:latest"}},
		"used":    {names: []string{"quay.io/used:1"}},
		"free":    {names: []string{"quay.io/free:1"}},
		"two":     {names: []string{"quay.io/two:1", "quay.io/two:2"}},
		"unnamed": {},
		"upon":    {names: []string{"quay.io/upon:1"}, parent: "os"},
	}
}

func TestCheckRefusesWhatTakesAwayWhatIsNeeded(t *testing.T) {
	n := look(t, testImages())
	for _, test := range []struct {
		line string
		// lost are the images that would be missing.
		lost string
	}{
		{"image rm quay.io/free:1", ""},
		{"image rm -f " + idOf("free"), ""},
		{"image rm quay.io/two:1 quay.io/two:2", ""},
		{"image rm quay.io/none:1", ""},
		{"image rm", ""},
		{"image rm quay.io/upon:1", ""},
		{"image rm docker.io/library/app:latest", ""},
		{"image rm " + idOf("unnamed"), ""},
		{"image rm quay.io/os:1", "quay.io/os:1"},
		{"image rm quay.io/os", ""},
		{"rmi " + idOf("os"), "quay.io/os:1"},
		{"rmi " + idOf("os")[:12], "quay.io/os:1"},
		{"rmi containers-storage:[overlay@/run/bootc/storage+/x:o=1]quay.io/os:1", "quay.io/os:1"},
		{"rmi sha256:" + idOf("os"), "quay.io/os:1"},
		{"rmi quay.io/os@sha256:" + idOf("os"), "quay.io/os:1"},
		{"image rm quay.io/free:1 quay.io/os:1", "quay.io/os:1"},
		{"image rm app", "localhost/app:latest"},
		{"image rm localhost/app", "localhost/app:latest"},
		{"image rm quay.io/app:1", ""},
		{"image rm quay.io/app:1 localhost/app:latest", "localhost/app:latest"},
		{"image rm " + idOf("app"), "localhost/app:latest"},
		{"image rm -f quay.io/used:1", "quay.io/used:1"},
		{"image rm --all", "localhost/app:latest quay.io/os:1 quay.io/used:1"},
		{"image rm --all x", ""},
		{"image untag quay.io/os:1", "quay.io/os:1"},
		{"image untag quay.io/os:1 quay.io/none:1", ""},
		{"image untag quay.io/os:1 quay.io/os:1", "quay.io/os:1"},
		{"image untag app quay.io/app:1", ""},
		{"image untag app app", "localhost/app:latest"},
		{"image untag " + idOf("app") + " localhost/app", "localhost/app:latest"},
		{"image untag quay.io/used:1", ""},
		{"image tag quay.io/free:1 quay.io/os:1", "quay.io/os:1"},
		{"tag " + idOf("free")[:9] + " quay.io/x:1 quay.io/os:1", "quay.io/os:1"},
		{"tag quay.io/free:1 app", "localhost/app:latest"},
		{"tag quay.io/free:1 quay.io/app:1 docker.io/library/app quay.io/used:1 quay.io/os", ""},
		{"tag quay.io/os:1 quay.io/os:1 quay.io/x", ""},
		{"tag quay.io/none:1 quay.io/os:1", ""},
		{"skopeo delete containers-storage:quay.io/os:1", "quay.io/os:1"},
		{"skopeo delete containers-storage:[overlay@/run/bootc/storage+/x]quay.io/os:1", "quay.io/os:1"},
		{"skopeo delete containers-storage:quay.io/app:1", "localhost/app:latest"},
		{"skopeo delete containers-storage:@" + idOf("os"), "quay.io/os:1"},
		{"skopeo delete containers-storage:quay.io/free:1", ""},
		{"buildah rmi quay.io/os:1", "quay.io/os:1"},
		{"buildah prune -a", "localhost/app:latest quay.io/os:1 quay.io/used:1"},
		{"buildah prune", ""},
		{"manifest rm quay.io/os:1", "quay.io/os:1"},
		{"system check --repair", "localhost/app:latest quay.io/os:1 quay.io/used:1"},
		{"image untag", ""},
		{"image untag quay.io/free:1", ""},
		{"system prune -a", "localhost/app:latest quay.io/os:1 quay.io/used:1"},
		{"system prune", ""},
		{"image prune -a", "localhost/app:latest quay.io/os:1 quay.io/used:1"},
		{"image prune", ""},
		{"system reset", "localhost/app:latest quay.io/os:1 quay.io/used:1"},
	} {
		argv := strings.Fields(test.line)
		if argv[0] != "skopeo" && argv[0] != "buildah" {
			argv = append([]string{"podman"}, argv...)
		}
		c, ok := ParseProgram(argv)
		if !ok {
			t.Fatalf("%s is not recognised", test.line)
		}
		var lost []string
		for _, err := range joined(c.Check(n)) {
			needed, ok := errors.AsType[*NeededError](err)
			if !ok {
				t.Fatalf("%s: %v", test.line, err)
			}
			lost = append(lost, needed.Image)
		}
		slices.Sort(lost)
		if got := strings.Join(lost, " "); got != test.lost {
			t.Errorf("%s: lost %q, want %q", test.line, got, test.lost)
		}
	}
}

// joined are the errors of errors.Join.
func joined(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return nil
}

// TestParentsWithoutANameCount: podman removes them along with the last image upon them.
func TestParentsWithoutANameCount(t *testing.T) {
	images := map[string]image{"used": {}, "upon": {names: []string{"quay.io/upon:1"}, parent: "used"}, "other": {names: []string{"quay.io/other:1"}}}
	n := look(t, images)
	for line, want := range map[string]bool{
		"rmi quay.io/upon:1": true, "rmi --no-prune quay.io/upon:1": false, "rmi quay.io/other:1": false, "image untag quay.io/upon:1": false,
	} {
		c, _ := Parse(strings.Fields(line))
		err := c.Check(n)
		if needed, ok := errors.AsType[*NeededError](err); ok != want || ok && !needed.Parent {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestChooseKeepsWhatIsNeeded(t *testing.T) {
	n := look(t, testImages())
	c := Command{All: true, Filters: []string{"label=a"}}
	var listed strings.Builder
	for key := range testImages() {
		fmt.Fprintf(&listed, "sha256:%s\nsha256:%s\n", idOf(key), idOf(key))
	}
	listed.WriteString("sha256:" + idOf("of another store") + "\n")
	remove, keep := c.Choose(n, listed.String())
	operands := Operands(n, remove)
	slices.Sort(operands)
	want := []string{idOf("hub"), idOf("free"), "quay.io/two:1", "quay.io/two:2", idOf("unnamed"), idOf("upon")}
	slices.Sort(want)
	if len(keep) != 3 || !slices.Equal(operands, want) {
		t.Errorf("keeps %v, removes %v", keep, operands)
	}
	if got := strings.Join(c.Candidates(), " "); !strings.HasSuffix(got, "--filter containers=false --filter readonly=false --filter label=a") {
		t.Errorf("asks podman for %s", got)
	}
	if got := strings.Join((Command{}).Candidates(), " "); !strings.HasSuffix(got, "--filter dangling=true") {
		t.Errorf("without --all, asks podman for %s", got)
	}
	if !c.MayLose(n) || (Command{}).MayLose(n) {
		t.Error("dangling images are not needed, all images are")
	}
}

// TestNamesThatPodmanDoesNotFindAnImageByAreLeftToItsID: an invalid name, one with a digest,
// and one that stands for another image.
func TestNamesThatPodmanDoesNotFindAnImageByAreLeftToItsID(t *testing.T) {
	for _, name := range []string{"quay.io/Invalid:1", "quay.io/free@sha256:" + idOf("other"), "app:latest"} {
		n := look(t, map[string]image{"app": {names: []string{"localhost/app:latest"}}, "free": {names: []string{"quay.io/free:1", name, "quay.io/free:2"}}})
		got := Operands(n, []*cstorage.Image{n.Bootc.ByID(idOf("free"))})
		if want := []string{"quay.io/free:1", "quay.io/free:2", idOf("free")}; !slices.Equal(got, want) {
			t.Errorf("%s: operands %q, want %q", name, got, want)
		}
	}
}

func TestParentsOfWhatIsPrunedGoToo(t *testing.T) {
	n := look(t, map[string]image{
		"dangling": {parent: "inner"}, "inner": {parent: "used"}, "used": {}, "other": {}, "upon": {names: []string{"quay.io/x:1"}, parent: "other"},
	})
	var got []string
	for _, img := range (Command{}).WithParents(n, []*cstorage.Image{n.Bootc.ByID(idOf("dangling"))}) {
		got = append(got, img.ID)
	}
	if want := []string{idOf("dangling"), idOf("inner")}; !slices.Equal(got, want) {
		t.Errorf("removes %v, want %v", got, want)
	}
}
