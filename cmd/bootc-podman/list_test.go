// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
)

// storedImage is an image that a test puts into a containers-storage.
type storedImage struct {
	names []string
	// size is that of its only layer, in bytes.
	size int64
	id   string
}

// writeStore makes a containers-storage of these images, whose IDs it fills in,
// in a directory below the test's own.
func (a *testApp) writeStore(t *testing.T, dir string, stored ...*storedImage) {
	t.Helper()
	records, layers := []map[string]any{}, []map[string]any{}
	for i, img := range stored {
		config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","created":"2020-01-02T03:04:05.678Z","number":%d}`, i)
		img.id = fmt.Sprintf("%x", sha256.Sum256([]byte(config)))
		manifest := `{"schemaVersion":2,"config":{"digest":"sha256:` + img.id + `"}}`
		layer := fmt.Sprintf("%064d", i)
		layers = append(layers, map[string]any{"id": layer, "diff-digest": "sha256:" + layer, "diff-size": img.size})
		blobs := map[string]string{"manifest": manifest, "sha256:" + img.id: config}
		sizes := map[string]int64{}
		for name, content := range blobs {
			sizes[name] = 0 // so that the size is the layer's
			if name != "manifest" {
				name = "=" + base64.StdEncoding.EncodeToString([]byte(name))
			}
			a.writeFile(t, dir+"/overlay-images/"+img.id+"/"+name, 0o600, content)
		}
		records = append(records, map[string]any{
			"id": img.id, "names": img.names, "layer": layer, "created": "2020-01-02T03:04:05.678Z",
			"digest":         fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest))),
			"big-data-names": []string{"manifest", "sha256:" + img.id}, "big-data-sizes": sizes,
		})
	}
	a.writeFile(t, dir+"/overlay-images/images.json", 0o600, jsonOf(t, records))
	a.writeFile(t, dir+"/overlay-layers/layers.json", 0o600, jsonOf(t, layers))
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

const (
	bootcStore   = "sysroot/ostree/bootc/storage"
	defaultStore = "root/var/lib/containers/storage"
	deployment   = "sysroot/ostree/deploy/default/deploy/"
)

var commit = strings.Repeat("c", 64) + ".0"

// bind binds an image to the deployment of the test's host.
func (a *testApp) bind(t *testing.T, unit, image string) {
	t.Helper()
	a.writeFile(t, deployment+commit+"/usr/share/"+unit, 0o644, "[Image]\nImage="+image+"\n")
	a.makeDir(t, deployment+commit+"/usr/lib/bootc/bound-images.d")
	a.link(t, "/usr/share/"+unit, deployment+commit+"/usr/lib/bootc/bound-images.d/"+unit)
}

// newListApp is a host with a deployment of quay.io/os:1, whose ostree has no
// images. Its store has the image, and another with two names; the latter is
// bound, and one that is missing. Podman's own store has one image.
func newListApp(t *testing.T) (a *testApp, os, app, own *storedImage) {
	t.Helper()
	a = newTestApp(t)
	a.euid = 0
	os = &storedImage{names: []string{"quay.io/os:1"}, size: 1234567890}
	app = &storedImage{names: []string{"quay.io/app:latest", "localhost:5000/app:2"}, size: 999}
	a.writeStore(t, bootcStore, os, app)
	own = &storedImage{names: []string{"quay.io/own:3"}, size: 5}
	a.writeStore(t, defaultStore, &storedImage{names: []string{"quay.io/os:1"}}, &storedImage{names: []string{"quay.io/other:1"}}, own)
	a.writeFile(t, deployment+commit+".origin", 0o644, "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/os:1\n")
	a.bind(t, "app.image", "quay.io/app:latest")
	a.bind(t, "missing.image", "quay.io/missing")
	return a, os, app, own
}

// checkOutput fails unless a command succeeded and printed just this.
func checkOutput(t *testing.T, stdout, stderr string, code int, want string) {
	t.Helper()
	if stdout != want || stderr != "" || code != 0 {
		t.Errorf("exit status %d, %q, got\n%s\nwant\n%s", code, stderr, stdout, want)
	}
}

func TestListPrintsATable(t *testing.T) {
	a, _, _, _ := newListApp(t)
	stdout, stderr, code := a.onHost(t, "list", "--format", "table")
	if plain, _, _ := a.onHost(t, "list"); plain != stdout {
		t.Errorf("without --format got\n%s\nwith it\n%s", plain, stdout)
	}
	if bare, _, _ := a.onHost(t, "list", "-n"); bare == "" || !strings.HasSuffix(stdout, "\n"+bare) {
		t.Errorf("without heading got\n%s\nwith it\n%s", bare, stdout)
	}
	// How many years ago it was depends on the day, and with it the width.
	stdout = regexp.MustCompile(`\d+ years ago`).ReplaceAllString(stdout, "N years ago")
	var lines []string
	for line := range strings.Lines(stdout) {
		lines = append(lines, strings.Join(regexp.MustCompile(` {2,}`).Split(strings.TrimRight(line, "\n"), -1), "|"))
	}
	digest := regexp.MustCompile(`sha256:[0-9a-f]{12}\b`)
	want := `REPOSITORY|TAG|STORE|DIGEST|CREATED|SIZE|STATE
localhost:5000/app|2|bootc|DIGEST|N years ago|999 B|bound
quay.io/app|latest|bootc|DIGEST|N years ago|999 B|bound
quay.io/os|1|bootc|DIGEST|N years ago|1.23 GB|deployed
quay.io/missing|<none>|bootc|<none>|missing`
	got := digest.ReplaceAllString(strings.Join(lines, "\n"), "DIGEST")
	checkOutput(t, got, stderr, code, want)
}

func TestListPrintsIDsOnce(t *testing.T) {
	a, os, app, own := newListApp(t)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{name: "truncated", args: []string{"-q"}, want: app.id[:12] + "\n" + os.id[:12] + "\n"},
		{name: "whole", args: []string{"--quiet", "--no-trunc"}, want: app.id + "\n" + os.id + "\n"},
		{name: "of all stores", args: []string{"-q", "--all-stores"}, want: app.id[:12] + "\n" + os.id[:12] + "\n" + own.id[:12] + "\n"},
		{name: "of what is missing too", args: []string{"-q", "--type", "logical"}, want: app.id[:12] + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := a.onHost(t, append([]string{"list"}, tt.args...)...)
			checkOutput(t, stdout, stderr, code, tt.want)
		})
	}
	t.Run("two that begin alike", func(t *testing.T) {
		var out bytes.Buffer
		list := []inventory.Image{{ID: "0123456789abc"}, {}, {ID: "0123456789abd"}, {ID: "0123456789abc"}}
		if err := (listPrinter{quiet: true}).printList(&out, list); err != nil || out.String() != "0123456789ab\n0123456789ab\n" {
			t.Errorf("got %q, %v", out.String(), err)
		}
	})
}

func TestListOfNothing(t *testing.T) {
	const heading = "REPOSITORY  TAG         STORE       DIGEST      CREATED     SIZE        STATE\n"
	for _, tt := range []struct {
		args, want string
	}{
		{"list", heading},
		{"list --format table", heading},
		{"list --format table --noheading", ""},
		{"list --format json", "[]\n"},
		{"list --format {{.Image}}", ""},
		{"list -q", ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			a := newTestApp(t)
			stdout, stderr, code := a.onHost(t, strings.Fields(tt.args)...)
			checkOutput(t, stdout, stderr, code, tt.want)
		})
	}
}

func TestListSelectsByTypeAndStore(t *testing.T) {
	a, _, _, _ := newListApp(t)
	unified := "localhost:5000/app:2 quay.io/app:latest quay.io/os:1 "
	logical := "quay.io/app:latest quay.io/missing "
	for _, tt := range []struct{ args, want string }{
		{"", unified + logical},
		{"--type all", unified + logical},
		{"--type host", unified},
		{"--type unified", unified},
		{"--type logical", logical},
		{"--all-stores --type logical", logical + "quay.io/os:1 quay.io/other:1 quay.io/own:3 "},
	} {
		t.Run(tt.args, func(t *testing.T) {
			args := append([]string{"list", "--format", "json"}, strings.Fields(tt.args)...)
			stdout, stderr, code := a.onHost(t, args...)
			var list []inventory.Image
			if err := json.Unmarshal([]byte(stdout), &list); err != nil || stderr != "" || code != 0 {
				t.Fatalf("%v, exit status %d, %q, %s", err, code, stderr, stdout)
			}
			var got string
			for _, img := range list {
				got += img.Name + " "
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// fullImage is an image of which everything is known.
func fullImage() inventory.Image {
	size, created := int64(1234567), inventory.Time{Time: time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)}
	return inventory.Image{
		Type: inventory.Host, Name: "docker://quay.io/example/os:42",
		ID: strings.Repeat("1a", 32), Digest: "sha256:" + strings.Repeat("2b", 32),
		Size: &size, Created: &created, Architecture: "amd64", Store: inventory.OSTreeStore,
		Deployments: []inventory.DeploymentRef{{ID: "default/x.0", Role: host.Booted}, {ID: "default/y.0", Role: host.Rollback}},
		KeptBy:      []inventory.Keeper{},
		NeededBy: []inventory.Need{
			{By: inventory.ByOrigin, Deployment: &inventory.DeploymentRef{ID: "default/x.0", Role: host.Booted}},
			{By: inventory.ByOrigin, Deployment: &inventory.DeploymentRef{ID: "default/y.0", Role: host.Rollback}},
		},
	}
}

func printList(t *testing.T, p listPrinter, list ...inventory.Image) string {
	t.Helper()
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := p.printList(&out, list); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestListTemplateFields(t *testing.T) {
	img := fullImage()
	ago := inventory.Time{Time: time.Now().Add(-3 * 24 * time.Hour)}
	recent := img
	recent.Created = &ago
	for _, tt := range []struct {
		field, heading, want, bare string
		img                        inventory.Image
	}{
		{field: "Repository", heading: "REPOSITORY", want: "quay.io/example/os", bare: "<none>"},
		{field: "Tag", heading: "TAG", want: "42", bare: "<none>"},
		{field: "Type", heading: "TYPE", want: "host"},
		{field: "Image", heading: "IMAGE", want: "docker://quay.io/example/os:42"},
		{field: "ID", heading: "IMAGE ID", want: "1a1a1a1a1a1a"},
		{field: "Digest", heading: "DIGEST", want: "sha256:2b2b2b2b2b2b", bare: "<none>"},
		{field: "Created", heading: "CREATED", want: "3 days ago", img: recent},
		{field: "CreatedSince", heading: "CREATED", want: "3 days ago", img: recent},
		{field: "CreatedAt", heading: "CREATED AT", want: "2024-05-06 07:08:09 +0000 UTC"},
		{field: "Size", heading: "SIZE", want: "1.23 MB"},
		{field: "Architecture", heading: "ARCHITECTURE", want: "amd64"},
		{field: "Store", heading: "STORE", want: "ostree"},
		{field: "Deployments", heading: "DEPLOYMENTS", want: "default/x.0,default/y.0"},
		{field: "State", heading: "STATE", want: "booted, rollback"},
	} {
		t.Run(tt.field, func(t *testing.T) {
			if tt.img.ID == "" {
				tt.img = img
			}
			if got := printList(t, listPrinter{format: "{{." + tt.field + "}}"}, tt.img, inventory.Image{}); got != tt.want+"\n"+tt.bare+"\n" {
				t.Errorf("got %q, want %q, and for an image without %q", got, tt.want, tt.bare)
			}
			if got := printList(t, listPrinter{format: "table {{." + tt.field + "}}"}, tt.img); got != tt.heading+"\n"+tt.want+"\n" {
				t.Errorf("in a table got %q, want %q and %q", got, tt.heading, tt.want)
			}
		})
	}
}

// TestEachColumnIsEverywhere: a column is a field, a heading and a field in the manual page.
func TestEachColumnIsEverywhere(t *testing.T) {
	manual, err := os.ReadFile("../../contrib/man/bootc-podman-list.8.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(manual), "\n#### **--format**")
	text, _, _ = strings.Cut(text, "\n#### ")
	rows, columns := reflect.TypeFor[imageRow](), 0
	for field := range rows.Fields() {
		if !field.IsExported() {
			continue
		}
		columns++
		if field.Tag.Get("heading") == "" {
			t.Errorf("column %s is without heading", field.Name)
		}
		if !strings.Contains(text, "**."+field.Name+"**") {
			t.Errorf("column %s is not in the manual page", field.Name)
		}
	}
	if found := len(regexp.MustCompile(`\*\*\.[A-Z]`).FindAllString(text, -1)); found != columns {
		t.Errorf("the manual page has %d fields, and there are %d columns", found, columns)
	}
}

func TestListTemplates(t *testing.T) {
	img := fullImage()
	for _, tt := range []struct {
		name, want string
		printer    listPrinter
	}{
		{name: "whole digest and ID", printer: listPrinter{format: "{{.ID}} {{.Digest}}", whole: true}, want: img.ID + " " + img.Digest + "\n"},
		{name: "words of a table become columns", printer: listPrinter{format: "table {{.Tag}} {{.Store}}"}, want: "TAG         STORE\n42          ostree\n"},
		{name: "tab in a table", printer: listPrinter{format: `table {{.Tag}}\t{{.Store}}`}, want: "TAG         STORE\n42          ostree\n"},
		{name: "table without heading", printer: listPrinter{format: "table {{.Tag}}", noHeading: true}, want: "42\n"},
		{name: "tab without table", printer: listPrinter{format: `{{.Tag}}\t{{.Store}}`}, want: "42\tostree\n"},
		{name: "newline", printer: listPrinter{format: `{{.Tag}}\n{{.Store}}\n`}, want: "42\nostree\n"},
		{name: "range of its own", printer: listPrinter{format: "{{range .}}<{{.Tag}}>{{end}}"}, want: "<42>\n"},
		{name: "deployments joined", printer: listPrinter{format: `table {{join .Deployments ";"}}`}, want: "DEPLOYMENTS\ndefault/x.0;default/y.0\n"},
		{name: "deployments one by one", printer: listPrinter{format: `{{range .Deployments}}<{{.}}>{{end}}`}, want: "<default/x.0><default/y.0>\n"},
		{name: "JSON of a field", printer: listPrinter{format: "{{json .Tag}}"}, want: "\"42\"\n"},
		{name: "JSON of an image", printer: listPrinter{format: "{{json .}}"}, want: jsonOf(t, img) + "\n"},
		{name: "no template at all", printer: listPrinter{format: "x"}, want: "x\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := printList(t, tt.printer, img); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestListTakesNamesApartLikePodman(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		name, want string
		imageType  inventory.Type
	}{
		{name: "quay.io/x:1", want: "quay.io/x 1"},
		{name: "quay.io/x", want: "quay.io/x <none>"},
		{name: "host:5000/x", want: "host:5000/x <none>"},
		{name: "host:5000/x:1", want: "host:5000/x 1"},
		{name: "quay.io/x" + digest, want: "quay.io/x <none>"},
		{name: "quay.io/x:1" + digest, want: "quay.io/x 1"},
		{name: "host:5000/x" + digest, want: "host:5000/x <none>"},
		{name: "docker://quay.io/x:1", want: "quay.io/x 1"},
		{name: "docker://quay.io/x:1", imageType: inventory.Host, want: "quay.io/x 1"},
		{name: "containers-storage:localhost/x:1", imageType: inventory.Host, want: "localhost/x 1"},
		{name: "containers-storage:x", imageType: inventory.Host, want: "x <none>"},
		{name: "oci:dir", imageType: inventory.Host, want: "dir <none>"},
		{name: "oci:1", imageType: inventory.Logical, want: "oci 1"},
		{name: "oci-archive:/srv/x.tar", imageType: inventory.Host, want: "/srv/x.tar <none>"},
		{name: "", want: "<none> <none>"},
		{name: ":1", want: ":1 <none>"},
		{name: "docker://", imageType: inventory.Host, want: "<none> <none>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := inventory.Image{Name: tt.name, Type: tt.imageType}
			if got := printList(t, listPrinter{format: "{{.Repository}} {{.Tag}}"}, img); got != tt.want+"\n" {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestListState(t *testing.T) {
	yes, no := true, false
	booted, other := inventory.DeploymentRef{ID: "a", Role: host.Booted}, inventory.DeploymentRef{ID: "b", Role: host.Other}
	boots := func(d inventory.DeploymentRef) inventory.Need {
		return inventory.Need{By: inventory.ByOrigin, Deployment: &d, Name: "docker://quay.io/os:1"}
	}
	binds := inventory.Need{By: inventory.ByBinding, Deployment: &booted}
	web := inventory.Need{By: inventory.ByContainer, ID: strings.Repeat("c", 64), Name: "web"}
	unnamed := inventory.Need{By: inventory.ByImage, ID: strings.Repeat("d", 64)}
	for _, tt := range []struct {
		want string
		img  inventory.Image
	}{
		{want: "", img: inventory.Image{}},
		{want: "missing", img: inventory.Image{Type: inventory.Logical, Present: &no, NeededBy: []inventory.Need{binds}}},
		{want: "not looked at", img: inventory.Image{Type: inventory.Logical, NeededBy: []inventory.Need{binds}}},
		{want: "bound", img: inventory.Image{Type: inventory.Logical, Present: &yes}},
		{want: "will be removed by bootc's next cleanup", img: inventory.Image{WillBePruned: true}},
		{
			want: "booted, deployed, bound, needed by web, needed by dddddddddddd, will be removed by bootc's next cleanup",
			img: inventory.Image{
				Deployments: []inventory.DeploymentRef{booted, other}, WillBePruned: true,
				NeededBy: []inventory.Need{boots(booted), boots(other), boots(other), binds, web, web, unnamed},
			},
		},
		{want: "bound, needed by booted deployment", img: inventory.Image{
			Deployments: []inventory.DeploymentRef{booted}, NeededBy: []inventory.Need{binds, {By: inventory.ByName, Deployment: &booted}},
		}},
		{want: "bound", img: inventory.Image{Deployments: []inventory.DeploymentRef{booted}, NeededBy: []inventory.Need{binds}}},
	} {
		if got := printList(t, listPrinter{format: "{{.State}}"}, tt.img); got != tt.want+"\n" {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestListFitsTheTerminal(t *testing.T) {
	long := fullImage()
	long.Name = "docker://registry.example.com/a/rather/long/path/of/an/image/os:42"
	doomed := fullImage()
	doomed.WillBePruned = true
	for _, tt := range []struct {
		columns int
		list    []inventory.Image
		want    string
	}{
		{columns: 60, list: []inventory.Image{fullImage(), doomed}, want: `REPOSITORY          TAG  STORE   STATE
quay.io/example/os  42   ostree  booted, rollback
quay.io/example/os  42   ostree  booted, rollback, will be
                                 removed by bootc's next
                                 cleanup
`},
		{columns: 70, list: []inventory.Image{fullImage()}, want: `REPOSITORY          TAG  STORE   SIZE     STATE
quay.io/example/os  42   ostree  1.23 MB  booted, rollback
`},
		{columns: 60, list: []inventory.Image{long, fullImage()}, want: `REPOSITORY                     TAG  STORE   STATE
registry.example.com/a/rather/long/path/of/an/image/os
                               42   ostree  booted, rollback
quay.io/example/os             42   ostree  booted, rollback
`},
		{columns: 60, want: "REPOSITORY  TAG  STORE  DIGEST  CREATED  SIZE  STATE\n"},
	} {
		got := printList(t, listPrinter{columns: tt.columns}, tt.list...)
		if got != tt.want {
			t.Errorf("%d columns: got\n%swant\n%s", tt.columns, got, tt.want)
		}
		for line := range strings.Lines(got) {
			if len(line) > tt.columns+1 {
				t.Errorf("%q is wider than %d", line, tt.columns)
			}
		}
	}
	// A tag has up to 128 characters: it is whole, and the other lines are as they would be.
	tagged := fullImage()
	tagged.Name = "docker://quay.io/example/os:" + strings.Repeat("t", 128)
	want := `REPOSITORY          TAG                   STORE   STATE
quay.io/example/os  ` + strings.Repeat("t", 128) + `
                                          ostree  booted, rollback
quay.io/example/os  42                    ostree  booted, rollback
`
	if got := printList(t, listPrinter{columns: 66}, tagged, fullImage()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	wide, pipe := printList(t, listPrinter{columns: 200}, doomed), printList(t, listPrinter{}, doomed)
	if columns := len(strings.Fields(pipe)); len(strings.Fields(wide)) != columns || !strings.Contains(wide, "DIGEST") {
		t.Errorf("on a wide terminal got\n%s\nin a pipe\n%s", wide, pipe)
	}
}

func TestListSelects(t *testing.T) {
	a, os, app, own := newListApp(t)
	all := "localhost:5000/app:2 quay.io/app:latest quay.io/os:1 quay.io/app:latest quay.io/missing quay.io/os:1 quay.io/other:1 quay.io/own:3 "
	for _, tt := range []struct{ args, want string }{
		{"quay.io/app", "quay.io/app:latest quay.io/app:latest "},
		{"app", "localhost:5000/app:2 quay.io/app:latest quay.io/app:latest "},
		{"app:2 own", "localhost:5000/app:2 quay.io/own:3 "},
		{"missing", "quay.io/missing "},
		{"missing:latest", "quay.io/missing "},
		{"missing:1", ""},
		{"quay.io/o*", "quay.io/os:1 quay.io/os:1 quay.io/other:1 quay.io/own:3 "},
		{"docker://quay.io/own:3", "quay.io/own:3 "},
		{own.id[:8], "quay.io/own:3 "},
		{"--type unified sha256:" + app.id, "localhost:5000/app:2 quay.io/app:latest "},
		{"nothing", ""},
		{"--filter reference=own --filter reference=missing", "quay.io/missing quay.io/own:3 "},
		{"--filter reference!=quay.io/*", "localhost:5000/app:2 "},
		{"--filter store=default --filter id!=" + own.id[:12], "quay.io/os:1 quay.io/other:1 "},
		{"--filter store=bootc,id=" + os.id, "quay.io/os:1 "},
		{"--filter until=2020-01-02 ", ""},
		{"--filter until=2020-01-03 own", "quay.io/own:3 "},
		{"--filter until!=1h", "quay.io/missing "},
		{"--filter before=os:1", ""},
		{"--filter containers=true", ""},
		{"--filter containers=false", all},
		{"--filter label=x", ""},
		{"--filter label!=x", all},
		{"--filter digest=sha256:", "localhost:5000/app:2 quay.io/app:latest quay.io/os:1 quay.io/app:latest quay.io/os:1 quay.io/other:1 quay.io/own:3 "},
		{"--sort repository --type unified --filter store=bootc", "localhost:5000/app:2 quay.io/app:latest quay.io/os:1 "},
		{"--sort tag --type unified", "quay.io/os:1 localhost:5000/app:2 quay.io/app:latest "},
		{"--sort size os own other", "quay.io/os:1 quay.io/other:1 quay.io/own:3 quay.io/os:1 "},
		{"--sort created missing own", "quay.io/own:3 quay.io/missing "},
	} {
		args := append([]string{"list", "--all-stores", "--format", "{{.Image}} "}, strings.Fields(tt.args)...)
		if strings.Contains(tt.args, "--type") {
			args = slices.Delete(args, 1, 2)
		}
		stdout, stderr, code := a.onHost(t, args...)
		if got := strings.ReplaceAll(stdout, "\n", ""); got != tt.want || stderr != "" || code != 0 {
			t.Errorf("%s: exit status %d, got %q, want %q, %s", tt.args, code, got, tt.want, stderr)
		}
	}
	stdout, stderr, code := a.onHost(t, "list", "--filter", "since=nothing")
	failure{code: 1, message: "filter since=nothing: image not known", hint: `"bootc-podman list --all-stores" shows the images of this host`}.check(t, stdout, stderr, code)
}

func TestSizesAreSpelledLikePodman(t *testing.T) {
	for size, want := range map[int64]string{
		0: "0 B", 1: "1 B", 999: "999 B", 1000: "1 kB", 1234: "1.23 kB", 27983: "28 kB",
		123456789: "123 MB", 1234567890: "1.23 GB", 12345678901: "12.3 GB",
	} {
		if got := progress.Size(size); got != want {
			t.Errorf("%d: got %q, want %q", size, got, want)
		}
	}
}

func TestListUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		args          []string
	}{
		{name: "a filter without value", args: []string{"--filter", "label"}, message: `list: filter "label": not KEY=VALUE or KEY!=VALUE`},
		{name: "a filter with an empty value", args: []string{"--filter", "label="}, message: `list: filter "label=": empty value`},
		{name: "podman's filter that has no meaning here", args: []string{"--filter", "dangling=true"}, message: `list: filter "dangling=true": unknown key "dangling": use one of after, before, containers, digest,`},
		{name: "no time", args: []string{"--filter", "until=soon"}, message: `list: filter "until=soon": `},
		{name: "no boolean", args: []string{"--filter", "containers=maybe"}, message: `list: filter "containers=maybe": use true or false`},
		{name: "a name that is no pattern", args: []string{"[a"}, message: `list: name "[a": syntax error in pattern`},
		{name: "no pattern", args: []string{"--filter", "reference=["}, message: `list: filter "reference=[": `},
		{name: "no digest", args: []string{"--filter", "digest=abc"}, message: `list: filter "digest=abc": `},
		{name: "no store", args: []string{"--filter", "store=registry"}, message: `list: filter "store=registry": use one of `},
		{name: "unknown order", args: []string{"--sort", "name"}, message: `list: unknown key "name": use created, id, repository, size or tag`},
		{name: "unknown type", args: []string{"--type", "default"}, message: `list: unknown type "default"`},
		{name: "empty type", args: []string{"--type="}, message: `list: unknown type ""`},
		{name: "IDs in a format", args: []string{"-q", "--format", "json"}, message: "list: --quiet and --format exclude each other"},
		{name: "IDs in a table", args: []string{"--quiet", "--format=table"}, message: "list: --quiet and --format exclude each other"},
		{name: "a mistyped word", args: []string{"--format", "jsn"}, message: `list: unknown format "jsn": use table, json or a Go template`},
		{name: "malformed template", args: []string{"--format", "{{.Tag"}, message: "list: read --format: "},
		{name: "unknown function", args: []string{"--format", "{{nope .Tag}}"}, message: `"nope"`},
		{name: "unknown field", args: []string{"--format", "{{.Nope}}"}, message: "Nope"},
		{name: "unknown field of a table", args: []string{"--format", "table {{.Tag}} {{.Nope}}"}, message: "Nope"},
		{name: "what cannot be done to a field", args: []string{"--format", "{{slice .Tag 100}}"}, message: "list: read --format: "},
		{name: "a template with a newline", args: []string{"--format", "{{.Tag}}\n{{\x1b}}"}, message: "list: read --format: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// On a host that cannot be read: usage comes first.
			a := newTestApp(t)
			a.remove(t, "sysroot")
			stdout, stderr, code := a.onHost(t, append([]string{"list"}, tt.args...)...)
			failure{code: 2, message: tt.message, hint: usageHintOf("list")}.check(t, stdout, stderr, code)
		})
	}
}

func TestListPrintsNothingWhenATemplateFailsLate(t *testing.T) {
	a, _, _, _ := newListApp(t)
	// Only what is missing has no ID.
	for _, format := range []string{"{{slice .ID 0 5}}", "table {{slice .ID 0 5}}"} {
		stdout, stderr, code := a.onHost(t, "list", "--format", format)
		failure{code: 1, message: "print images: template: "}.check(t, stdout, stderr, code)
	}
}

func TestListPrintsEachProblemOnALine(t *testing.T) {
	a, _, _, _ := newListApp(t)
	a.writeFile(t, deployment+commit+"/usr/lib/bootc/bound-images.d/a.image", 0o644, "")
	a.writeFile(t, deployment+commit+"/usr/lib/bootc/bound-images.d/b\n\x1b.image", 0o644, "")
	a.writeFile(t, defaultStore+"/overlay-images/images.json", 0o644, "{")
	problems := []string{"images.json", `bound-images.d/a.image": not a symbolic link`, `b\n\x1b.image": not a symbolic link`}

	const want = "localhost:5000/app:2\nquay.io/app:latest\nquay.io/os:1\nquay.io/app:latest\nquay.io/missing\n"
	stdout, stderr, code := a.onHost(t, "list", "--all-stores", "--format", "{{.Image}}")
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if stdout != want || code != 1 || len(lines) != 4 || lines[3] != "Hint: --lenient makes this a warning" {
		t.Fatalf("exit status %d, %q and\n%s", code, stdout, stderr)
	}
	for i, want := range problems {
		if !strings.HasPrefix(lines[i], "Error: ") || !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q, want an error with %q", i, lines[i], want)
		}
	}

	stdout, lenient, code := a.onHost(t, "list", "--all-stores", "--lenient", "--format", "{{.Image}}")
	if stdout != want || code != 0 {
		t.Errorf("lenient: exit status %d and\n%swant\n%s", code, stdout, want)
	}
	if warnings := strings.ReplaceAll(strings.Join(lines[:3], "\n")+"\n", "Error: ", "Warning: "); lenient != warnings {
		t.Errorf("lenient: got\n%swant\n%s", lenient, warnings)
	}
}

func TestListOfWhatIsNoHost(t *testing.T) {
	const (
		hostHint      = "name the root of a bootc host with --sysroot"
		containerHint = "run it on the bootc host itself, or name a host's root with --sysroot"
	)
	for _, tt := range []struct {
		name, args string
		with       func(t *testing.T, a *testApp)
		here       bool
		failure
	}{
		{
			name: "no bootc host", args: "list", with: func(t *testing.T, a *testApp) { a.remove(t, "sysroot/ostree") },
			failure: failure{code: 1, message: "no ostree or composefs directory", hint: hostHint},
		},
		{
			name: "no sysroot", args: "list", with: func(t *testing.T, a *testApp) { a.remove(t, "sysroot") },
			failure: failure{code: 1, message: "no such file or directory", hint: sysrootHint},
		},
		{name: "container", args: "list --type unified", here: true, failure: failure{code: 1, message: "list unified images: a container has no deployments", hint: containerHint}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newTestApp(t)
			if tt.with != nil {
				tt.with(t, a)
			}
			start := a.onHost
			if tt.here {
				start = a.start
			}
			stdout, stderr, code := start(t, strings.Fields(tt.args)...)
			tt.check(t, stdout, stderr, code)
		})
	}
}

func TestTerminalsGetTextOnly(t *testing.T) {
	// What is written to a terminal here would clear it, set its title, begin a
	// row of its own, hide what follows, or end a cell of the table.
	const evil = "quay.io/\x1b[2J\x1b]0;x\a\r\nb\tc\u202e\u009b\xff"
	const tame = `quay.io/\x1b[2J\x1b]0;x\a\r\nb\tc\u202e\u009b\xff`
	img := fullImage()
	img.Name, img.ID, img.Digest, img.Architecture = "docker://"+evil+":\x1b[1m", evil, evil, evil
	img.Deployments = []inventory.DeploymentRef{{ID: evil, Role: host.Booted}}
	format := "{{.Image}} {{.Repository}} {{.Tag}} {{.ID}} {{.Digest}} {{.Architecture}} {{.Deployments}} {{.State}}"
	for _, p := range []listPrinter{
		{}, {quiet: true}, {format: format, whole: true}, {format: "table " + format, whole: true}, {format: "{{range .Deployments}}{{.}}{{end}}"},
	} {
		got := printList(t, p, img)
		if got = strings.ReplaceAll(got, "\n", ""); got != printable(got) || !strings.Contains(got, `\x1b[2J`) {
			t.Errorf("%+v printed %q", p, got)
		}
		if p.whole && (!strings.Contains(got, tame) || !strings.Contains(got, ` \x1b[1m`)) {
			t.Errorf("%+v printed\n%s\nwant %s", p, got, tame)
		}
	}
	var list []inventory.Image
	if err := json.Unmarshal([]byte(printList(t, listPrinter{format: "json"}, img)), &list); err != nil || list[0].Name != strings.ToValidUTF8(img.Name, "\ufffd") {
		t.Errorf("JSON is to keep names as they are: %v, %v", list, err)
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a b": "a b", `"\n"`: `"\n"`, "größe 日本 \ufffd": "größe 日本 \ufffd",
		"a\nb": `a\nb`, "\x00\x7f": `\x00\x7f`, "\xc3": `\xc3`, "\u2028": `\u2028`,
	} {
		if got := printable(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestProblemsDoNotReachTheTerminalRaw(t *testing.T) {
	a, _, _, _ := newListApp(t)
	a.writeFile(t, "sysroot/ostree/bootc/storage/overlay-images/images.json", 0o644, `[{"id": "\u001b[2J", "names": ["localhost/x:1"]}]`)
	for _, word := range []string{"Error", "Warning"} {
		args := []string{"list", "--format", "{{.Image}}"}
		if word == "Warning" {
			args = append(args, "--lenient")
		}
		_, stderr, _ := a.onHost(t, args...)
		if line, _, _ := strings.Cut(stderr, "\n"); !strings.HasPrefix(line, word+": ") || line != printable(line) || !strings.Contains(line, `images/\x1b[2J`) {
			t.Errorf("got %q, want it escaped", stderr)
		}
	}
}
