// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// The files as podman reads them are the subject of bats/290-run.bats.
func TestForAppsAddsTheStoreAndKeepsTheRest(t *testing.T) {
	const (
		store  = "sysroot/ostree/bootc/storage/"
		dropIn = "etc/containers/storage.conf.d/50-more.conf = "
		roots  = "[storage]\ndriver = \"overlay\"\ngraphroot = \"/srv/g\"\nrunroot = \"/run/g\"\n"
	)
	for _, tc := range []struct {
		name string
		tree []string
		want string // STORE is the path of the store
	}{
		{
			"no file", nil,
			"[storage]\ndriver = \"overlay\"\ngraphroot = \"/var/lib/containers/storage\"\nrunroot = \"/run/containers/storage\"\n[storage.options]\nadditionalimagestores = [\"STORE\"]\n",
		},
		{
			"roots of the host",
			[]string{adminFile + " = " + roots},
			roots + "[storage.options]\nadditionalimagestores = [\"STORE\"]\n",
		},
		{
			"options of drivers and of no driver that is known",
			[]string{adminFile + " = " + roots + "[storage.options.overlay]\nmountopt = \"nodev\"\n[storage.options.later]\nx = [1, 2]\n"},
			roots + "[storage.options]\nadditionalimagestores = [\"STORE\"]\n[storage.options.later]\nx = [1, 2]\n[storage.options.overlay]\nmountopt = \"nodev\"\n",
		},
		{
			"another store before",
			[]string{adminFile + " = " + roots + "[storage.options]\nadditionalimagestores = [\"/srv/a\"]\n"},
			roots + "[storage.options]\nadditionalimagestores = [\"/srv/a\", \"STORE\"]\n",
		},
		{
			"the store by another name",
			[]string{adminFile + " = " + roots + "[storage.options]\nadditionalimagestores = [\"/usr/lib/bootc/storage\"]\n", "usr/lib/bootc/storage -> ../../../../sysroot/ostree/bootc/storage"},
			roots + "[storage.options]\nadditionalimagestores = [\"/usr/lib/bootc/storage\"]\n",
		},
		{
			"a drop-in that adds",
			[]string{adminFile + " = " + roots + "[storage.options]\nadditionalimagestores = [\"/srv/a\"]\n[storage.options.overlay]\nmountopt = \"nodev\"\n", dropIn + "[storage.options]\nadditionalimagestores = [\"/srv/b\", {append=true}]\n"},
			roots + "[storage.options]\nadditionalimagestores = [\"/srv/a\", \"/srv/b\", \"STORE\"]\n[storage.options.overlay]\nmountopt = \"nodev\"\n",
		},
		{
			"a drop-in that replaces one key of a table",
			[]string{adminFile + " = " + roots + "[storage.options.overlay]\nmountopt = \"nodev\"\nsize = \"1G\"\n", dropIn + "[storage.options.overlay]\nsize = \"2G\"\n"},
			roots + "[storage.options]\nadditionalimagestores = [\"STORE\"]\n[storage.options.overlay]\nmountopt = \"nodev\"\nsize = \"2G\"\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			root := makeTree(t, append(tc.tree, store)...)
			st, err := storageconf.Locate(root)
			must(t, err)
			got, err := storageconf.ForApps(root, st)
			must(t, err)
			want := strings.ReplaceAll(tc.want, "STORE", filepath.Join(root, store))
			if _, rest, _ := strings.Cut(string(got), "\n[storage]"); "[storage]"+rest != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestForAppsRefusesWhatPodmanWouldFailWith(t *testing.T) {
	isolate(t)
	root := makeTree(t, "sysroot/ostree/repo/", adminFile+" = [storage]\ndriver = \"overlay\"\n")
	st, err := storageconf.Locate(root)
	must(t, err)
	if _, err := storageconf.ForApps(root, st); !errors.Is(err, storageconf.ErrNoStore) {
		t.Errorf("missing store: got %v", err)
	}
	root = makeTree(t, "sysroot/ostree/bootc/storage/", adminFile+" = [storage]\ndriver = \"vfs\"\n")
	st, err = storageconf.Locate(root)
	must(t, err)
	if _, err := storageconf.ForApps(root, st); !errors.As(err, new(*storageconf.DriverError)) {
		t.Errorf("vfs: got %v", err)
	}
	must(t, os.Remove(filepath.Join(root, adminFile)))
	must(t, unix.Mkfifo(filepath.Join(root, adminFile), 0o644))
	if _, err := storageconf.ForApps(root, st); !errors.As(err, new(*storageconf.ConfError)) {
		t.Errorf("a FIFO: got %v", err)
	}
}
