// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/diskuse"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

func TestDfPrintsATableWithBars(t *testing.T) {
	r := &diskuse.Report{
		Extents: true,
		Stores: []diskuse.Store{
			{Store: inventory.OSTreeStore, Estimate: true, Size: diskuse.Size{
				Files: 7, Logical: 9e6, Allocated: 9e6, Disk: new(int64(9e6)), Shared: new(int64(5e6)), Reclaimable: new(int64(2e6)), Upgrade: new(int64(0)),
			}},
			{Store: inventory.DefaultStore, Size: diskuse.Size{
				Files: 3, Logical: 6e6, Allocated: 6e6, Disk: new(int64(6e6)), Shared: new(int64(5e6)), Compressed: 1,
			}},
		},
		Total:       diskuse.Size{Files: 10, Logical: 15e6, Allocated: 15e6, Disk: new(int64(10e6)), Shared: new(int64(5e6)), Reclaimable: new(int64(2e6)), Upgrade: new(int64(0))},
		Filesystems: []diskuse.Filesystem{{Filesystem: inventory.Filesystem{Type: "xfs", Size: 50e9, Available: 20e9}, Stores: []inventory.StoreName{"ostree", "default"}}},
	}
	var out bytes.Buffer
	if err := printUse(&out, r, true); err != nil {
		t.Fatal(err)
	}
	want := `STORE    FILES  LOGICAL  ALLOCATED  ON DISK  SHARED  RECLAIMABLE  AT UPGRADE  OF TOTAL
ostree   7      9 MB     9 MB       9 MB     5 MB    2 MB*        0 B         [==========########  ]
default  3      6 MB     6 MB       6 MB*    5 MB    -            -           [==========##        ]
total    10     15 MB    15 MB      10 MB    5 MB    2 MB*        0 B         [==========##########]
* at most
Filesystem of ostree, default: xfs, 20 GB of 50 GB available
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	if err := printUse(failingWriter{}, r, false); err == nil {
		t.Error("no error")
	}
}

func TestDfNamesNoOptionOfOtherVerbs(t *testing.T) {
	a := newTestApp(t)
	a.writeFile(t, bootcStore+"/overlay-images/images.json", 0o600, "[")
	_, stderr, code := a.onHost(t, "df")
	if code != 1 || !strings.Contains(stderr, "Error: determine which images the host needs: ") || strings.Contains(stderr, "--force") {
		t.Errorf("exit status %d, %s", code, stderr)
	}
}

func TestDfIsAsItsSchema(t *testing.T) {
	a := newTestApp(t)
	if err := os.WriteFile(filepath.Join(a.store(), "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"df", "--format", "json"}, {"df", "--format", "json", "--no-extents"}} {
		stdout, stderr, code := a.onHost(t, args...)
		if code != 0 || stderr != "" {
			t.Errorf("%q: exit status %d, %s", args, code, stderr)
		}
		checkSchema(t, "../../docs/df-v1.schema.json", stdout)
		var r diskuse.Report
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || len(r.Stores) != 2 || r.Stores[1].Store != inventory.BootcStore || r.Stores[1].Logical != 7 {
			t.Errorf("%q: %v, %s", args, err, stdout)
		}
	}
}

func TestDfIsAboutHosts(t *testing.T) {
	a := newTestApp(t)
	stdout, stderr, code := a.start(t, "--sysroot", t.TempDir(), "df")
	failure{1, "no ostree or composefs directory", "name the root of a bootc host with --sysroot"}.check(t, stdout, stderr, code)
}
