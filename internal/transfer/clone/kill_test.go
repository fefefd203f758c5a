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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	must(t, cmd.Start())
	return cmd
}

// TestKilledAtAnyMoment kills 10 processes, or as many as CLONE_TEST_KILLS says.
func TestKilledAtAnyMoment(t *testing.T) {
	moments := 10
	if n, err := strconv.Atoi(os.Getenv("CLONE_TEST_KILLS")); err == nil {
		moments = n
	}
	dir := filesystem(t, "xfs")
	a := newStore(t, dir+"/a")
	var layers [][]byte
	for i := range 4 {
		l := newArchive(t)
		for j := range 300 {
			l.add(tar.Header{Name: fmt.Sprintf("%d/%d/%d", i, j%7, j)}, strings.Repeat(fmt.Sprint(j), j))
		}
		layers = append(layers, l.bytes())
	}
	id := a.put(t, "localhost/image:1", append(layers, hardLayers(t)...)...)
	first := a.put(t, "localhost/first:1", hardLayers(t)[1])
	a.Free()
	run := func(n int) (*testStore, clonejob.Job, *exec.Cmd) {
		b := newStore(t, fmt.Sprintf("%s/b%d", dir, n))
		b.Free()
		// The library tries out the filesystem once, and cleans that up only when it ends.
		must(t, startJob(t, clonejob.Job{Source: a.job, Destination: b.job, Image: first, Verify: clonejob.VerifyNone}).Wait())
		job := clonejob.Job{Source: a.job, Destination: b.job, Image: id, Names: []string{"localhost/image:1"}, Verify: clonejob.VerifyMetadata}
		return b, job, startJob(t, job)
	}
	_, _, cmd := run(0)
	start := time.Now()
	must(t, cmd.Wait())
	whole := time.Since(start)
	images, layersLeft, staged := 0, 0, 0
	for n := 1; n <= moments; n++ {
		b, job, cmd := run(n)
		timer := time.AfterFunc(rand.N(whole), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		left, _ := filepath.Glob(filepath.Join(b.job.GraphRoot, "overlay/staging/*"))
		staged += len(left)
		b.reopen(t)
		// The library collects what is incomplete, and staging directories.
		_, err := b.Shutdown(false)
		must(t, err)
		b.check(t)
		records, err := b.Layers()
		must(t, err)
		layersLeft += len(records)
		if image, err := b.Image(id); err == nil {
			images++
			if l, err := chain(b.Store, image.TopLayer); err != nil || len(l) != 6 {
				t.Errorf("image with %d layers: %v", len(l), err)
			}
		}
		b.Free()
		must(t, startJob(t, job).Wait())
		equal(t, b, a, id)
		b.check(t)
		b.Free()
		if t.Failed() {
			break
		}
		must(t, os.RemoveAll(b.dir))
	}
	t.Logf("of %d killed, %d left the image, %d layers, %d staging directories", moments, images, layersLeft, staged)
}

// TestOthersStagingIsLeftAlone: a directory with a lock that is held is at work.
func TestOthersStagingIsLeftAlone(t *testing.T) {
	staging := t.TempDir()
	for _, name := range []string{"dead", "alive", "new"} {
		must(t, os.MkdirAll(filepath.Join(staging, name, "dir"), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(staging, "dead", "staging.lock"), nil, 0o600))
	lock, err := os.OpenFile(filepath.Join(staging, "alive", "staging.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer lock.Close()
	must(t, unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	must(t, prune(staging))
	for name, want := range map[string]bool{"dead": false, "alive": true, "new": true} {
		_, err := os.Stat(filepath.Join(staging, name, "dir"))
		if got := !errors.Is(err, os.ErrNotExist); got != want {
			t.Errorf("%s: there is %v, want %v", name, got, want)
		}
	}
	must(t, prune(filepath.Join(staging, "none")))
}
