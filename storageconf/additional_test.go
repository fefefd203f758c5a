// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// TestCheckAdditional: each row was tried with skopeo 1.9.3, 1.18.0 and 1.22.0, see also
// "status, set-unified: a host whose skopeo ignores the store" in bats/200-transfer.bats.
func TestCheckAdditionalFindsWhatSkopeoGoesBy(t *testing.T) {
	const overlayConf = "[storage]\ndriver = \"overlay\"\n"
	for _, tc := range []struct {
		name string
		tree []string
		want string // in the error, "" for none
	}{
		{"nothing", nil, "neither /etc/containers/storage.conf nor /usr/share/containers/storage.conf exists"},
		{"minimal file", []string{adminFile + " = " + storageconf.MinimalConf}, ""},
		{"administrator's file", []string{adminFile + " = " + overlayConf}, ""},
		{"distribution's file", []string{vendorFile + " = " + overlayConf}, ""},
		{"old name of the driver", []string{vendorFile + " = [storage]\ndriver = \"overlay2\"\n"}, ""},
		{"empty file", []string{adminFile + " = "}, ""},
		{"link", []string{adminFile + " -> /usr/storage.conf", "usr/storage.conf = "}, ""},
		{"dangling link", []string{adminFile + " -> /usr/missing"}, "neither "},
		{"dangling link before the distribution's file", []string{adminFile + " -> /usr/missing", vendorFile + " = "}, ""},
		{"a file in place of the directory", []string{"etc/containers = "}, "neither "},
		{"drop-in only", []string{"etc/containers/storage.conf.d/10.conf = " + overlayConf}, "neither "},
		{"the distribution's drop-in only", []string{"usr/share/containers/storage.conf.d/10.conf = " + overlayConf}, "neither "},
		{"another driver", []string{adminFile + " = [storage]\ndriver = \"vfs\"\n"}, `the storage driver "vfs"`},
		{"a store made with another driver", []string{adminFile + " = ", "var/lib/containers/storage/vfs-images/"}, `the storage driver "vfs"`},
		{"a driver that is not the one the store was made with", []string{adminFile + " = " + overlayConf, "var/lib/containers/storage/vfs-images/"}, ""},
		{"malformed", []string{adminFile + " = ="}, adminFile},
		{"a directory in place of the file", []string{adminFile + "/"}, adminFile},
	} {
		t.Run(tc.name, func(t *testing.T) {
			isolate(t)
			t.Setenv("CONTAINERS_STORAGE_CONF", "/dev/null") // of the caller, not of bootc
			err := storageconf.CheckAdditional(makeTree(t, tc.tree...))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("want %q, got %v", tc.want, err)
			}
			if strings.HasPrefix(tc.want, "neither") != errors.Is(err, storageconf.ErrNoConf) {
				t.Errorf("got %v", err)
			}
		})
	}
}
