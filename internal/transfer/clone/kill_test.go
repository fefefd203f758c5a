// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/testcomposefs"
	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// startJob starts a process that does a job.
func startJob(t *testing.T, job clonejob.Job) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(job)
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// TestKilledAtAnyMoment kills 10 processes, or as many as CLONE_TEST_KILLS says: half of
// them at work in a store that was never opened, where the library tries out the
// filesystem first. Only the next clone cleans up.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	moments := 10
	if n, err := strconv.Atoi(os.Getenv("CLONE_TEST_KILLS")); err == nil {
		moments = n
	}
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", append(manyLayers(t, 4, 300), hardLayers(t)...)...)
	first := a.put(t, "localhost/first:1", hardLayers(t)[1])
	a.Free()
	// start clones the image into a new store.
	start := func(n int, cold bool) (*testStore, clonejob.Job, *exec.Cmd) {
		b := &testStore{dir: fmt.Sprintf("%s/b%d", dir, n)}
		b.job = clonejob.Store{GraphRoot: b.dir + "/root", RunRoot: b.dir + "/run", Driver: "overlay"}
		job := clonejob.Job{Source: a.job, Destination: b.job, Image: first, Verify: clonejob.VerifyNone}
		if !cold {
			must(t, startJob(t, job).Wait())
		}
		job.Image, job.Names, job.Verify = id, []string{"localhost/image:1"}, clonejob.VerifyMetadata
		return b, job, startJob(t, job)
	}
	whole := map[bool]time.Duration{}
	for i, cold := range []bool{false, true} {
		_, _, cmd := start(-i, cold)
		begin := time.Now()
		must(t, cmd.Wait())
		whole[cold] = time.Since(begin)
	}
	images, layers, staged := 0, 0, 0
	for n := 1; n <= moments && !t.Failed(); n++ {
		cold := n%2 == 0
		b, job, cmd := start(n, cold)
		timer := time.AfterFunc(rand.N(whole[cold]), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		staged += len(b.staging())
		if !cold { // else this would warm it
			b.reopen(t)
			records, err := b.Layers()
			must(t, err)
			layers += len(records)
			if image, err := b.Image(id); err == nil {
				images++
				if l, err := chain(b.Store, image.TopLayer); err != nil || len(l) != 6 {
					t.Errorf("image with %d layers: %v", len(l), err)
				}
			}
			b.Free()
		}
		b.age(t)
		must(t, startJob(t, job).Wait())
		equal(t, b, a, id)
		b.check(t)
		b.Free()
		b.remove()
	}
	t.Logf("of %d killed, half of them left %d images and %d layers, all %d staging directories", moments, images, layers, staged)
}

// TestComposefsKilledAtAnyMoment kills 10 processes that clone out of a composefs repository:
// podman reads the store that is left, and the next clone completes it.
func TestComposefsKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	const moments = 10
	dir := testfs.New(t, "xfs")
	layers := hardLayers(t)
	for i := range 4 {
		l := newArchive(t)
		for j := range 300 {
			if j%100 == 0 {
				l.add(tar.Header{Name: fmt.Sprintf("%d-%d/", i, j/100), Typeflag: tar.TypeDir, Mode: 0o755}, "")
			}
			l.add(tar.Header{Name: fmt.Sprintf("%d-%d/%d", i, j/100, j)}, strings.Repeat("m", 65+j))
		}
		layers = append(layers, l.bytes())
	}
	pulled := newStore(t, dir+"/a")
	img := addComposefs(t, &testcomposefs.Repo{Dir: dir + "/composefs", Algorithm: composefs.SHA512}, pulled, layers...)
	before := testfs.Snapshot(t, img.repo.Dir)
	start := func(n int) (*testStore, *exec.Cmd) {
		s := newStore(t, fmt.Sprintf("%s/b%d", dir, n))
		s.Free()
		return s, startJob(t, clonejob.Job{
			Destination: s.job, Names: []string{"quay.io/test/os:1"}, Verify: clonejob.VerifyMetadata,
			Composefs: &clonejob.Composefs{Sysroot: img.repo.Dir, Digest: img.manifest},
		})
	}
	s, cmd := start(0)
	begin := time.Now()
	must(t, cmd.Wait())
	whole := time.Since(begin)
	s.remove()
	images, records, staged := 0, 0, 0
	for n := 1; n <= moments && !t.Failed(); n++ {
		s, cmd := start(n)
		timer := time.AfterFunc((time.Duration(n-1)*whole+rand.N(whole))/moments, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		staged += len(s.staging())
		s.reopen(t)
		left, err := s.Layers()
		must(t, err)
		records += len(left)
		if image, err := s.Image(img.id); err == nil {
			images++
			if l, err := chain(s.Store, image.TopLayer); err != nil || len(l) != len(layers) {
				t.Errorf("image with %d layers: %v", len(l), err)
			}
		}
		s.podman(t, "images", "--all")
		s.age(t)
		result, err := s.cloneComposefs(t, img.repo.Dir, img.manifest, clonejob.VerifyMetadata)
		must(t, err)
		equalPulled(t, s, pulled, img, result)
		s.remove()
	}
	testfs.Compare(t, testfs.Snapshot(t, img.repo.Dir), before)
	t.Logf("%d killed left %d images, %d layers and %d staging directories", moments, images, records, staged)
}

// remove makes room: removes a store, but for trials that are mounted or at work.
func (s *testStore) remove() {
	mounts, _ := filepath.Glob(filepath.Join(s.job.GraphRoot, "overlay/*/merged"))
	for _, path := range mounts {
		_ = unix.Unmount(path, unix.MNT_DETACH)
	}
	_ = os.RemoveAll(s.dir)
}

// TestOthersStagingIsLeftAlone: a directory with a lock that is held is at work.
func TestOthersStagingIsLeftAlone(t *testing.T) {
	staging := t.TempDir()
	for _, name := range []string{"dead", "alive", "new", "left", "at work", "podman 4"} {
		must(t, os.MkdirAll(filepath.Join(staging, name, "dir"), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(staging, "dead", "dir", "file"), nil, 0o600))
	// Without a lock: of a clone killed before it had one, and of versions without locks.
	must(t, os.Mkdir(filepath.Join(staging, "left", linksName), 0o700))
	must(t, os.WriteFile(filepath.Join(staging, "at work", "dir", "file"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(staging, "podman 4", "usr"), 0o700))
	old := time.Now().Add(-2 * tooOldToBeNew)
	for _, name := range []string{"left", "at work", "podman 4"} {
		must(t, os.Chtimes(filepath.Join(staging, name), old, old))
	}
	must(t, os.WriteFile(filepath.Join(staging, "dead", "staging.lock"), nil, 0o600))
	lock, err := os.OpenFile(filepath.Join(staging, "alive", "staging.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer lock.Close()
	must(t, unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	must(t, prune(staging))
	for name, want := range map[string]bool{"dead": false, "alive": true, "new": true, "left": false, "at work": true, "podman 4": true} {
		_, err := os.Stat(filepath.Join(staging, name, "dir"))
		if got := !errors.Is(err, os.ErrNotExist); got != want {
			t.Errorf("%s: there is %v, want %v", name, got, want)
		}
		_, err = os.Stat(filepath.Join(staging, name, "staging.lock"))
		if got := !errors.Is(err, os.ErrNotExist); got != (name == "alive") {
			t.Errorf("%s: has a lock: %v", name, got)
		}
	}
	must(t, prune(filepath.Join(staging, "none")))
}
