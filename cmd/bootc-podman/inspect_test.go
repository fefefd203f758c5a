// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

func inspected() []inventory.Inspection {
	size := int64(1234567)
	booted := &inventory.DeploymentRef{ID: "default/" + strings.Repeat("c", 64) + ".0", Role: host.Booted}
	return []inventory.Inspection{{
		Name: "os:42", NotLooked: []inventory.StoreName{inventory.DefaultStore},
		Places: []inventory.Placed{
			{
				Store: inventory.OSTreeStore, Path: "/sysroot/ostree/repo", Names: []string{"docker://quay.io/os:42"}, Relation: inventory.First,
				ID: strings.Repeat("1a", 32), Digest: "sha256:" + strings.Repeat("2b", 32), Size: &size, Layers: 2, State: inventory.Whole,
				Shared:   []inventory.Shared{{Store: inventory.BootcStore, Layers: 1, Size: 999}},
				NeededBy: []inventory.Need{{By: inventory.ByOrigin, Deployment: booted, Name: "docker://quay.io/os:42"}},
			},
			{
				Store: inventory.BootcStore, Path: "/b", Names: []string{"localhost/\x1b[2J:1", ""}, Relation: inventory.Exported, Digest: "sha256:3c",
				Digests: []string{"sha256:3c", "sha256:4d"}, Original: "sha256:2b", State: inventory.Damaged, Damage: "layer is missing", WillBePruned: true,
				Shared: []inventory.Shared{{Store: inventory.BootcStore, Layers: 2, Size: 1000}},
			},
		},
	}}
}

func TestInspectAsText(t *testing.T) {
	digest, id, commit := strings.Repeat("2b", 32), strings.Repeat("1a", 32), strings.Repeat("c", 64)
	want := `Image:      os:42

Store:      ostree, /sysroot/ostree/repo, whole
Names:      docker://quay.io/os:42
Digest:     sha256:` + digest + `
ID:         ` + id + `
Size:       1.23 MB in 2 layers
            1 layer (999 B) also in the store bootc
Needed by:  booted deployment default/` + commit + `.0, which follows docker://quay.io/os:42

Store:      bootc, /b, damaged: layer is missing
Names:      localhost/\x1b[2J:1
            an empty name
Digest:     sha256:3c
            same files, new digest (ostree does not keep the archive)
            sha256:4d
            exported from sha256:2b
            2 layers (1 kB) also in other images of this store
State:      will be removed by bootc's next cleanup

Store:      default, not looked at
`
	var out bytes.Buffer
	if err := printInspections(&out, inspected(), 0); err != nil || out.String() != want {
		t.Errorf("%v, got\n%swant\n%s", err, &out, want)
	}
	out.Reset()
	if err := printInspections(&out, inspected(), 60); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 61 {
			t.Errorf("%q is wider than 60", line)
		}
	}
}

// TestInspectOfAnotherManifest: podman load and a registry compress the layers of an image
// differently, which has nothing to do with ostree.
func TestInspectOfAnotherManifest(t *testing.T) {
	in := []inventory.Inspection{{Name: "x", Places: []inventory.Placed{
		{Store: inventory.BootcStore, Relation: inventory.First, ID: "1a", Digest: "sha256:2b", State: inventory.Whole},
		{Store: inventory.DefaultStore, Relation: inventory.Exported, ID: "1a", Digest: "sha256:3c", State: inventory.Whole},
	}}}
	var out bytes.Buffer
	want := "Digest:  sha256:3c\n         same image ID, another manifest\nID:"
	if err := printInspections(&out, in, 0); err != nil || !strings.Contains(out.String(), want) {
		t.Errorf("%v, got\n%s", err, &out)
	}
}

func TestInspectOfWhatIsNotKnown(t *testing.T) {
	a, _, _, own := newListApp(t)
	stdout, stderr, code := a.onHost(t, "inspect", "--format", "{{.Name}}: {{range .Places}}{{.Store}}{{end}}", "nothing", own.id[:12])
	if stdout != own.id[:12]+": default\n" || code != 125 || !strings.HasPrefix(stderr, "Error: inspect nothing: image not known\nHint: \"bootc-podman list --all-stores\" shows") {
		t.Errorf("exit status %d, %q, %q", code, stdout, stderr)
	}
	stdout, _, code = a.onHost(t, "inspect", "--format", "json", "nothing")
	if stdout != "[]\n" || code != 125 {
		t.Errorf("exit status %d, %q", code, stdout)
	}
	for args, message := range map[string]string{
		"inspect": "inspect: no image given", "inspect --format {{.Nope}} x": "no field .Nope: use .Name, .NotLooked, .Places",
		"inspect --format {{ x": "inspect: read --format: ", "inspect --format jsn x": `inspect: unknown format "jsn"`,
	} {
		stdout, stderr, code := a.onHost(t, strings.Fields(args)...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, message) {
			t.Errorf("%s: exit status %d, %q, %q", args, code, stdout, stderr)
		}
	}
}
