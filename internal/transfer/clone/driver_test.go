// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"testing"

	"go.podman.io/storage/pkg/lockfile"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
)

// TestDriverIsKeptWhenOthersCloseTheStore does what podman does when it exits, after each
// layer is staged: the library makes its graph driver again then.
func TestDriverIsKeptWhenOthersCloseTheStore(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", manyLayers(t, 3, 30)...)
	lock, err := lockfile.GetLockFile(b.job.GraphRoot + "/storage.lock")
	must(t, err)
	must(t, a.cloneWatched(t.Context(), b, id, func(int) {
		lock.Lock()
		defer lock.Unlock()
		_, err := lock.RecordWrite()
		must(t, err)
	}))
	equal(t, b, a, id)
}
