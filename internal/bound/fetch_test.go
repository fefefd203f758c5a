// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package bound

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
)

func TestCredentialsOfAUnitAreThoseOfTheHostThatRuns(t *testing.T) {
	root := newRoot(t)
	root.Write("etc/host.json", "{}")
	root.Write("deployment/etc/host.json", "{}")
	root.Write("deployment/etc/own.json", "{}")
	root.Write("deployment/usr/etc/new.json", "{}")
	dir, err := os.Open(root.Path("deployment"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, test := range []struct{ running, unit, section, want string }{
		{"", "[Image]\nImage=a\n", "Image", ""},
		{root.Dir, "[Image]\nImage=a\nAuthFile=/etc/host.json\n", "Image", root.Path("etc/host.json")},
		{root.Dir, "[Container]\nImage=a\nAuthFile=/etc/own.json\n", "Container", root.Path("deployment/etc/own.json")},
		{root.Dir, "[Image]\nImage=a\nAuthFile=/etc/new.json\n", "Image", root.Path("deployment/usr/etc/new.json")},
		{root.Dir, "[Image]\nImage=a\nAuthFile=/etc/none.json\n", "Image", root.Path("etc/none.json")},
		// Another root is not the one that runs.
		{"", "[Image]\nImage=a\nAuthFile=/etc/host.json\n", "Image", root.Path("deployment/etc/host.json")},
	} {
		o := transfer.Options{}
		o.Sysroot = host.Sysroot{Dir: root.Dir, Running: test.running}
		got := authFile(o, dir, host.BoundUnit{Section: test.section, Data: []byte(test.unit)})
		if got != test.want {
			t.Errorf("%q: got %q, want %q", test.unit, got, test.want)
		}
	}
}

func TestImagesOfUnreadableUnitsDoNotStopOthers(t *testing.T) {
	root := newHost(t)
	deployed := deploy(root, 1, "quay.io/os:1")
	bindIn(root, deployed, "a.image", "quay.io/a/a:1")
	bindIn(root, deployed, "b.image", "quay.io/a/b:1\nAuthFile=/etc/b.json")
	bindIn(root, deployed, "c.image", "quay.io/a/c:%v")
	bindIn(root, deployed, "d.image", "quay.io/a/a:1")
	o := transfer.Options{}
	o.Sysroot = host.Sysroot{Dir: root.Dir, Running: root.Dir}
	wanted, failed := wantedBy(o, All)
	want := []transfer.Wanted{{Name: "quay.io/a/a:1"}, {Name: "quay.io/a/b:1", AuthFile: root.Path("etc/b.json")}}
	if !reflect.DeepEqual(wanted, want) || len(failed) != 1 || !strings.Contains(failed[0].Error(), "c.image") {
		t.Errorf("got %+v, %v", wanted, failed)
	}
	if _, err := Refresh(context.Background(), o, All, []string{"quay.io/a/none:1"}, 1); !errors.Is(err, ErrNotBound) {
		t.Errorf("%v", err)
	}
}

func TestWithoutBoundImagesNothingIsRefreshed(t *testing.T) {
	root := newHost(t)
	deploy(root, 1, "quay.io/os:1")
	o := transfer.Options{Dir: root.Path("locks")}
	o.Sysroot = host.Sysroot{Dir: root.Dir, Running: root.Dir}
	if list, err := Refresh(t.Context(), o, All, nil, 1); len(list) != 0 || err != nil {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := os.Lstat(root.Path("locks")); err == nil {
		t.Error("the lock was taken")
	}
	// The host is read once: its error is one.
	o.Sysroot = host.Sysroot{Dir: t.TempDir()}
	if _, err := Refresh(t.Context(), o, All, nil, 1); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one error", err)
	}
}
