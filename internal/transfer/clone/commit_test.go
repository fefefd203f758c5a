// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// manyLayers are the archives of an image, each with some files.
func manyLayers(t *testing.T, layers, files int) (archives [][]byte) {
	for i := range layers {
		l := newArchive(t)
		for j := range files {
			l.add(tar.Header{Name: fmt.Sprintf("%d/%d/%d", i, j%7, j)}, fmt.Sprint(j))
		}
		archives = append(archives, l.bytes())
	}
	return archives
}

// cloneWatched clones an image, and calls watch at the end of each layer.
func (s *testStore) cloneWatched(ctx context.Context, to *testStore, id string, watch func(done int)) error {
	s.Free()
	to.Free()
	done := 0
	_, err := Image(ctx, clonejob.Job{Source: s.job, Destination: to.job, Image: id, Verify: clonejob.VerifyFull}, func(p clonejob.Progress) {
		if p.Done && !p.Shared {
			done++
			watch(done)
		}
	})
	return err
}

// has fails the test unless a store has so many images and layers.
func (s *testStore) has(t *testing.T, images, layers int) {
	t.Helper()
	i, err := s.Images()
	must(t, err)
	l, err := s.Layers()
	must(t, err)
	if len(i) != images || len(l) != layers {
		t.Errorf("%d images and %d layers, want %d and %d", len(i), len(l), images, layers)
	}
}

// whenPlaced calls do once a store has so many layers on the disk.
func (s *testStore) whenPlaced(t *testing.T, layers int, do func()) {
	go func() {
		for t.Context().Err() == nil {
			if placed, _ := filepath.Glob(tarSplitPath(layersDir(s.job.GraphRoot), "*")); len(placed) >= layers {
				do()
				return
			}
		}
	}()
}

func TestCanceledCloneIsAllOrNothing(t *testing.T) {
	const layers = 20
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", manyLayers(t, layers, 3)...)
	t.Run("before a layer is in place", func(t *testing.T) {
		b := newStore(t, dir+"/before")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := a.cloneWatched(ctx, b, id, func(done int) {
			if done == layers {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
		b.check(t)
		b.has(t, 0, 0)
	})
	t.Run("after", func(t *testing.T) {
		b := newStore(t, dir+"/after")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b.whenPlaced(t, 2, cancel)
		must(t, a.cloneWatched(ctx, b, id, func(int) {}))
		if ctx.Err() == nil {
			t.Error("it was not canceled")
		}
		b.check(t)
		b.has(t, 1, layers)
	})
}

// TestDiskThatGetsFullInBetween fills the disk when all layers are staged, up to what
// some of them need to get into their places.
func TestDiskThatGetsFullInBetween(t *testing.T) {
	const layers = 12
	a := newStore(t, testfs.New(t, "xfs")+"/a")
	id := a.put(t, "localhost/image:1", manyLayers(t, layers, 3)...)
	failed, done := 0, 0
	for _, free := range []int64{0, 64 << 10, 128 << 10, 256 << 10, 400 << 10, 800 << 10} {
		t.Run(fmt.Sprintf("%d KiB", free>>10), func(t *testing.T) {
			disk := testfs.NewOfSize(t, "ext4", 32<<20)
			b := newStore(t, disk+"/b")
			err := a.cloneWatched(t.Context(), b, id, func(done int) {
				if done == layers {
					must(t, syncfs(disk))
					fill(t, disk+"/filler", free)
				}
			})
			if err != nil {
				failed++
				if f := Failure(err); f.Kind != clonejob.NoSpace {
					t.Errorf("failure %+v, want one of space", f)
				}
				must(t, os.Remove(disk+"/filler"))
				b.check(t)
				b.has(t, 0, 0)
				_, err = a.clone(t, b, id, clonejob.VerifyFull)
				must(t, err)
			} else {
				done++
				must(t, os.Remove(disk+"/filler"))
			}
			b.check(t)
			b.has(t, 1, layers)
		})
	}
	if failed < 2 || done < 1 {
		t.Errorf("%d had not enough room, and %d had", failed, done)
	}
}

func syncfs(dir string) error { return exec.Command("sync", "-f", dir).Run() }

// fill fills a filesystem but for so many bytes.
func fill(t *testing.T, path string, free int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	defer f.Close()
	size, block := int64(0), make([]byte, 4096)
	for err == nil {
		var n int
		n, err = f.Write(block)
		size += int64(n)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	must(t, errors.Join(f.Sync(), f.Truncate(max(0, size-free)), f.Sync()))
}

func TestLayersThatSomebodyElsePulledAreLeftAlone(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	// One of them without files, which cannot be seen to be there.
	archives := append([][]byte{newArchive(t).bytes()}, manyLayers(t, 2, 3)...)
	id := a.put(t, "localhost/image:1", archives...)
	lowest := layerID("", digest.FromBytes(archives[0]))
	next := layerID(lowest, digest.FromBytes(archives[1]))
	inodes := func() (inodes [2]uint64) {
		for i, id := range []string{lowest, next} {
			var st unix.Stat_t
			must(t, unix.Stat(b.diff(id), &st))
			inodes[i] = st.Ino
		}
		return inodes
	}
	var want [2]uint64
	err := a.cloneWatched(t.Context(), b, id, func(done int) {
		if done == len(archives) {
			b.reopen(t)
			_, _, err := b.PutLayer(lowest, "", nil, "", false, nil, bytes.NewReader(archives[0]))
			must(t, err)
			_, _, err = b.PutLayer(next, lowest, nil, "", false, nil, bytes.NewReader(archives[1]))
			must(t, err)
			want = inodes()
			b.Free()
		}
	})
	must(t, err)
	if got := inodes(); got != want {
		t.Errorf("inodes %v, want %v", got, want)
	}
	b.check(t)
	b.has(t, 1, 3)
}

// TestDriverReplacesNoLayer: the library would, had it been made in the last moment.
func TestDriverReplacesNoLayer(t *testing.T) {
	dir := testfs.New(t, "xfs")
	b := newStore(t, dir+"/b")
	layer := hardLayers(t)[0]
	_, _, err := b.PutLayer(layerID("", digest.FromBytes(layer)), "", nil, "", false, nil, bytes.NewReader(layer))
	must(t, err)
	b.Free()
	store, err := open(t.Context(), b.job, false)
	must(t, err)
	defer store.Free()
	graphDriver, err := store.GraphDriver()
	must(t, err)
	d, ok := graphDriver.(*driver)
	if !ok {
		t.Fatalf("driver %T", graphDriver)
	}
	if err := d.ApplyDiffFromStagingDirectory(layerID("", digest.FromBytes(layer)), "", nil, nil); !errors.Is(err, storage.ErrDuplicateID) {
		t.Errorf("error %v, want %v", err, storage.ErrDuplicateID)
	}
}

func TestLayerThatIsRemovedFromTheDestinationIsCloned(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	archives := manyLayers(t, 3, 3)
	base := b.put(t, "localhost/base:1", archives[0])
	id := a.put(t, "localhost/image:1", archives...)
	removed := false
	err := a.cloneWatched(t.Context(), b, id, func(int) {
		if removed {
			return
		}
		removed = true
		b.reopen(t)
		_, err := b.DeleteImage(base, true)
		must(t, err)
		b.Free()
	})
	must(t, err)
	b.check(t)
	b.has(t, 1, 3)
}

func TestSourceThatDisappearsIsSaid(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", manyLayers(t, 2, 5000)...)
	image, err := a.Image(id)
	must(t, err)
	// Without the lock, as the library never does. The others wait for the callback.
	a.Free()
	b.Free()
	removed := false
	_, err = Image(t.Context(), clonejob.Job{Source: a.job, Destination: b.job, Image: id, Workers: 2, Verify: clonejob.VerifyNone}, func(p clonejob.Progress) {
		if p.Layer == 1 && !removed {
			removed = true
			must(t, os.RemoveAll(filepath.Dir(a.diff(image.TopLayer))))
		}
	})
	if !removed {
		t.Skip("too fast to be seen")
	}
	if f := Failure(err); f.Kind != clonejob.Changed {
		t.Errorf("failure %+v, want %s", f, clonejob.Changed)
	}
	b.check(t)
	b.has(t, 0, 0)
}

// podman 4 lists no image of a store in which one has no manifest.
func TestAnImageHasItsDocumentsWheneverItHasARecord(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)[0])
	a.Free()
	records := filepath.Join(b.job.GraphRoot, "overlay-images")
	isThere := func(name string) bool {
		_, err := os.Stat(filepath.Join(records, id, name))
		return err == nil
	}
	hasRecord := func() bool {
		text, err := os.ReadFile(filepath.Join(records, "images.json"))
		return err == nil && bytes.Contains(text, []byte(id))
	}
	done, seen, looks := make(chan struct{}), 0, 0
	var watch sync.WaitGroup
	watch.Go(func() {
		for ; ; looks++ {
			select {
			case <-done:
				return
			default:
			}
			// Between the first two it may be removed.
			if hasRecord() && !isThere("manifest") && hasRecord() && !isThere("manifest") {
				seen++
			}
		}
	})
	for range 20 {
		_, err := a.clone(t, b, id, clonejob.VerifyNone, "localhost/image:1")
		must(t, err)
		b.reopen(t)
		_, err = b.DeleteImage(id, true)
		must(t, err)
		b.Free()
	}
	close(done)
	watch.Wait()
	if seen > 0 {
		t.Errorf("the image had no manifest %d times of %d", seen, looks)
	}
	b.check(t)
	b.has(t, 0, 0)
}

func TestLayerThatDisappearsIsSaid(t *testing.T) {
	src := filepath.Join(t.TempDir(), "diff")
	must(t, os.Mkdir(src, 0o755))
	root, err := os.Open(src)
	must(t, err)
	defer root.Close()
	layer := &sourceLayer{tree: root}
	must(t, layer.isThere())
	must(t, os.Remove(src))
	if err := layer.isThere(); !errors.Is(err, clonejob.ErrChanged) {
		t.Errorf("error %v, want %v", err, clonejob.ErrChanged)
	}
}

func TestSourceIsNotRemovedWhileItIsRead(t *testing.T) {
	for name, remove := range map[string]func(t *testing.T, a *testStore, id string){
		"library": func(t *testing.T, a *testStore, id string) {
			a.reopen(t)
			if _, err := a.DeleteImage(id, true); err != nil {
				t.Error(err)
			}
			a.Free()
		},
		"podman": func(t *testing.T, a *testStore, id string) { a.podman(t, "rmi", "-f", id) },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); name == "podman" && err != nil {
				t.Skip("needs podman")
			}
			dir := testfs.New(t, "xfs")
			a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
			id := a.put(t, "localhost/image:1", append(hardLayers(t), manyLayers(t, 3, 100)...)...)
			layers, err := a.Layers()
			must(t, err)
			want := map[string][]string{}
			for _, l := range layers {
				want[l.ID] = testfs.Snapshot(t, a.diff(l.ID))
			}
			removed := make(chan struct{})
			err = a.cloneWatched(t.Context(), b, id, func(done int) {
				if done > 1 {
					return
				}
				go func() {
					defer close(removed)
					remove(t, a, id)
				}()
				select {
				case <-removed:
					t.Error("it is removed already")
				case <-time.After(500 * time.Millisecond):
				}
			})
			must(t, err)
			<-removed
			b.check(t)
			b.has(t, 1, len(layers))
			for id := range want {
				testfs.Compare(t, testfs.Snapshot(t, b.diff(id)), want[id])
			}
			a.check(t)
			a.has(t, 0, 0)
		})
	}
}

func TestSourceThatIsRemovedBeforeItIsReadIsSaid(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	a.Free()
	store, err := open(t.Context(), a.job, true)
	must(t, err)
	defer store.Free()
	src, err := readSource(store, id)
	must(t, err)
	a.reopen(t)
	_, err = a.DeleteImage(id, true)
	must(t, err)
	if _, err := src.lock(t.Context(), src.layers); !errors.Is(err, clonejob.ErrChanged) {
		t.Errorf("error %v, want %v", err, clonejob.ErrChanged)
	}
}

// podman holds the lock on the store when it waits for the one on the layers, as it does
// whenever it exits (Shutdown in the library's store.go).
func TestSourceIsLockedInAnOrderThatPodmanDoesNotBlock(t *testing.T) {
	a := newStore(t, testfs.New(t, "xfs")+"/a")
	id := a.put(t, "localhost/image:1", manyLayers(t, 5, 1)...)
	a.Free()
	store, err := open(t.Context(), a.job, true)
	must(t, err)
	defer store.Free()
	src, err := readSource(store, id)
	must(t, err)

	storeLock, layersLock := filepath.Join(a.job.GraphRoot, "storage.lock"), filepath.Join(layersDir(a.job.GraphRoot), "layers.lock")
	done, exits := make(chan struct{}), 0
	var podman sync.WaitGroup
	podman.Go(func() {
		for ; ; exits++ {
			select {
			case <-done:
				return
			default:
			}
			unlockStore := lockAsOther(t, storeLock)
			locked := make(chan func(), 1)
			go func() { locked <- lockAsOther(t, layersLock) }()
			select {
			case unlock := <-locked:
				unlock()
				unlockStore()
			case <-time.After(10 * time.Second):
				t.Error("podman and a clone wait for each other")
				unlockStore()
				(<-locked)()
				return
			}
		}
	})
	for range 300 {
		unlock, err := src.lock(t.Context(), src.layers)
		must(t, err)
		unlock()
		if t.Failed() {
			break
		}
	}
	close(done)
	podman.Wait()
	if exits == 0 {
		t.Error("podman never had the locks")
	}
}

// lockAsOther takes a lock of the library as another process.
func lockAsOther(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		t.Error(err)
	}
	return func() { f.Close() }
}

func TestNobodyWaitsForALockLongerThanForTheContext(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", manyLayers(t, 3, 3)...)
	b.put(t, "localhost/other:1", hardLayers(t)[0])
	lock := func(t *testing.T, s *testStore) (unlock func()) {
		t.Helper()
		return lockAsOther(t, filepath.Join(layersDir(s.job.GraphRoot), "layers.lock"))
	}
	job := clonejob.Job{Source: a.job, Destination: b.job, Image: id, Verify: clonejob.VerifyNone}
	a.Free()
	b.Free()
	for name, run := range map[string]func(t *testing.T, ctx context.Context, unlock *func()) error{
		"source": func(t *testing.T, ctx context.Context, unlock *func()) error {
			*unlock = lock(t, a)
			_, err := Image(ctx, job, nil)
			return err
		},
		"destination": func(t *testing.T, ctx context.Context, unlock *func()) error {
			*unlock = lock(t, b)
			_, err := Image(ctx, job, nil)
			return err
		},
		"destination, staged": func(t *testing.T, ctx context.Context, unlock *func()) error {
			return a.cloneWatched(ctx, b, id, func(done int) {
				if done == 3 {
					*unlock = lock(t, b)
				}
			})
		},
		"source, planned": func(t *testing.T, ctx context.Context, unlock *func()) error {
			store, err := open(ctx, a.job, true)
			must(t, err)
			defer store.Free()
			src, err := readSource(store, id)
			must(t, err)
			*unlock = lock(t, a)
			_, err = src.lock(ctx, src.layers)
			return err
		},
	} {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			unlock := func() {}
			ended := make(chan error)
			go func() { ended <- run(t, ctx, &unlock) }()
			select {
			case err := <-ended:
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
				}
				unlock()
			case <-time.After(10 * time.Second):
				t.Error("still waiting")
				unlock()
				<-ended
			}
			b.check(t)
			b.has(t, 1, 1)
			b.Free()
		})
	}
}
