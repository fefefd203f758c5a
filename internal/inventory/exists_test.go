// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"errors"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

func wantExists(t *testing.T, o Options, in StoreName, want map[string]bool) {
	t.Helper()
	for name, there := range want {
		if got, err := Exists(t.Context(), o, in, name); got != there || err != nil {
			t.Errorf("%s store, %q: got %t, %v; want %t", in, name, got, err, there)
		}
	}
}

func TestExistsLooksIntoEachStore(t *testing.T) {
	h := newHost(t)
	h.Write("etc/containers/registries.conf", "unqualified-search-registries = ['quay.io']\n")
	commit := h.commit("1", "docker://quay.io/example/os:42", "containers-storage:localhost/os", "oci:/var/os:1", "docker://quay.io/example/both:1@sha256:"+commitOf("1"))
	bootc := h.store(bootcStorage, stored{names: []string{"quay.io/example/web:1"}})
	podman := h.store("var/lib/containers/storage", stored{names: []string{"localhost/mine:latest"}})
	o := h.options()
	wantExists(t, o, BootcStore, map[string]bool{
		"quay.io/example/web:1": true, "quay.io/example/web": false, "example/web:1": true, "web:1": true,
		bootc[0]: true, bootc[0][:12]: true, podman[0]: false, "localhost/mine": false, "quay.io/example/os:42": false,
	})
	wantExists(t, o, DefaultStore, map[string]bool{
		"localhost/mine": true, "mine": true, podman[0]: true, bootc[0]: false, "quay.io/example/web:1": false,
	})
	wantExists(t, o, OSTreeStore, map[string]bool{
		// As listed, and as podman would have it.
		"docker://quay.io/example/os:42": true, "quay.io/example/os:42": true, "example/os:42": true, "quay.io/example/os": false,
		"containers-storage:localhost/os": true, "localhost/os": true, "localhost/os:latest": true, "localhost/os:1": false,
		"oci:/var/os:1": true,
		"quay.io/example/os@sha256:" + commitOf("1"): true, "quay.io/example/os@sha256:" + commitOf("2"): false,
		"docker://quay.io/example/both:1@sha256:" + commitOf("1"): true, "quay.io/example/both@sha256:" + commitOf("1"): true,
		// The configuration is named by it, a commit is not one of podman's.
		commitOf("1"): true, commitOf("1")[:12]: true, commit: false,
		"localhost/mine": false, "quay.io/example/web:1": false,
	})
}

func TestExistsTakesAMissingStoreForEmpty(t *testing.T) {
	h := newHost(t)
	for _, in := range []StoreName{BootcStore, DefaultStore, OSTreeStore} {
		wantExists(t, h.options(), in, map[string]bool{"quay.io/example/web:1": false, commitOf("1"): false})
	}
	composefs := newComposefsHost(t, map[string]string{"a": "docker://quay.io/example/os:42"})
	wantExists(t, composefs.options(), OSTreeStore, map[string]bool{"quay.io/example/os:42": false})
}

func TestExistsSaysWhenItCannotTell(t *testing.T) {
	h := newHost(t)
	h.commit("1", "docker://quay.io/example/os:42")
	// Two of them, yet the error is one line.
	h.Write("sysroot/ostree/repo/refs/heads/ostree/container/image/bad_", commitOf("e")+"\n")
	h.Write("sysroot/ostree/repo/refs/heads/ostree/container/image/worse_", commitOf("e")+"\n")
	h.store(bootcStorage)
	h.Write(bootcStorage+"/overlay-images/images.json", "[")
	h.Write("etc/containers/storage.conf", "[storage")
	o := h.options()
	wantExists(t, o, OSTreeStore, map[string]bool{"quay.io/example/os:42": true, "docker://quay.io/example/os:42": true})
	for _, test := range []struct {
		o    Options
		in   StoreName
		name string
		want string
	}{
		{o, OSTreeStore, "quay.io/example/other", "bad_"},
		{o, OSTreeStore, "quay.io/UPPER", "lower case"},
		{o, DefaultStore, "quay.io/example/os:42", "storage.conf"},
		{o, BootcStore, "quay.io/example/os:42", "storage.conf"},
	} {
		found, err := Exists(t.Context(), test.o, test.in, test.name)
		if found || err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s store, %q: got %t, %v; want an error with %q", test.in, test.name, found, err, test.want)
		}
	}
	h.Write("etc/containers/storage.conf", "")
	if _, err := Exists(t.Context(), o, BootcStore, "quay.io/example/os:42"); err == nil || !strings.Contains(err.Error(), "images.json") {
		t.Errorf("damaged images.json: got %v", err)
	}
	if _, err := Exists(t.Context(), Options{Sysroot: host.At(t.TempDir())}, BootcStore, "x"); !errors.Is(err, storageconf.ErrNotBootcHost) {
		t.Errorf("no bootc host: got %v", err)
	}
}
