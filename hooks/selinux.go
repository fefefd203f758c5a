// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// hasSELinux reports whether the host confines containers by labels.
func (v *Invocation) hasSELinux() bool {
	f, err := v.open("sys/fs/selinux/enforce", unix.O_PATH)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// unlabelledLayer returns the first of the layers in the bootc-owned store whose
// content containers may not read by its SELinux type, "" when there is none.
func unlabelledLayer(bootc *graph, layers []Layer) string {
	for _, l := range layers {
		if l.Store != BootcStore || !cstorage.IsID(l.ID) {
			continue
		}
		diff, err := rooted.Open(bootc.Dir, bootc.Driver.Files(l.ID), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		label := make([]byte, 512)
		n, err := unix.Fgetxattr(int(diff.Fd()), "security.selinux", label)
		diff.Close()
		if err != nil {
			n = 0
		}
		if !isContainerLabel(strings.TrimRight(string(label[:n]), "\x00")) {
			return l.ID
		}
	}
	return ""
}

// isContainerLabel reports whether confined containers may read what has this label:
// user:role:type:level.
func isContainerLabel(label string) bool {
	parts := strings.Split(label, ":")
	return len(parts) >= 3 && slices.Contains([]string{
		"container_ro_file_t", "container_share_t", "container_file_t", "container_var_lib_t", "svirt_sandbox_file_t",
	}, parts[2])
}
