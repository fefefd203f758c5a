// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// repository makes an ostree repository whose objects have the contents of the regular
// files of a directory. The names of the objects are any checksums.
func (m machine) repository(dir string) {
	m.t.Helper()
	repo := m.path("ostree/repo")
	must(m.t, os.MkdirAll(repo+"/refs/heads", 0o755))
	write(m.t, repo+"/config", []byte("[core]\nrepo_version=1\nmode=bare\n"))
	n := 0
	must(m.t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		n++
		object := fmt.Sprintf("%s/objects/%02x/%062x.file", repo, n%256, n)
		must(m.t, os.MkdirAll(filepath.Dir(object), 0o755))
		var st unix.Stat_t
		must(m.t, unix.Stat(path, &st))
		if st.Blocks*512 < st.Size { // sparse
			run(m.t, "cp", "--reflink=never", "--sparse=always", path, object)
			return nil
		}
		content, err := os.ReadFile(path)
		must(m.t, err)
		write(m.t, object, content)
		return nil
	}))
	write(m.t, repo+"/objects/00/"+strings.Repeat("0", 62)+".dirtree", random(1, 5000))
}

func (m machine) hostOptions() Options {
	o := m.options()
	o.Scope = Host
	return o
}

// triplets is twins with the same files in a repository.
func triplets(t *testing.T, mkfs ...string) (m machine, duplicate int64) {
	m, duplicate = twins(t, mkfs...)
	m.repository(m.layer(bootcStore, "b"))
	return m, duplicate
}

func TestFilesOfAHostShareTheirExtents(t *testing.T) {
	for _, fstype := range []string{"xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			m, duplicate := triplets(t, fstype)
			// As on a host.
			run(t, "mount", "--bind", m.path("ostree"), m.path("ostree"))
			run(t, "mount", "-o", "remount,bind,ro", m.path("ostree"))
			before, content := m.used(), snapshot(t, m.dir)
			places := placesOf(t, m.path("ostree/repo"))
			dry := m.hostOptions()
			dry.DryRun = true
			planned := m.run(dry)
			if m.used() != before || planned.Saved < 2*duplicate*95/100 {
				t.Errorf("the dry run said %+v; used %d before, %d now", planned, before, m.used())
			}
			got := m.run(m.hostOptions())
			freed := before - m.used()
			if freed < 2*duplicate*95/100 {
				t.Errorf("%d bytes are free of %d that were there twice", freed, duplicate)
			}
			if got.Saved < freed*99/100 || got.Saved > freed*101/100 || planned.Saved < got.Saved || got.UsedBefore-got.UsedAfter != freed {
				t.Errorf("%d bytes are free, planned %+v, got %+v", freed, planned, got)
			}
			if got.Layers != 2 || got.Objects < 313 || got.Files < 600 || got.Failed+got.Different != 0 {
				t.Errorf("got %+v", got)
			}
			again := m.run(m.hostOptions())
			if again.Saved != 0 || again.Files != got.Files || again.Shared != again.Bytes {
				t.Errorf("the second run did %+v", again)
			}
			if now := snapshot(t, m.dir); !maps.Equal(now, content) {
				t.Error("files changed")
			}
			if !maps.Equal(placesOf(t, m.path("ostree/repo")), places) {
				t.Error("objects lie in other places")
			}
		})
	}
}

// placesOf is where the files below a directory lie on the disk.
func placesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		must(t, err)
		defer f.Close()
		var w worker
		list, err := places(&w.fiemap, int(f.Fd()), 1<<40, nil)
		must(t, err)
		var text string
		for _, e := range list {
			text += fmt.Sprint(e.Logical, e.Physical, ";")
		}
		all[path] = text
		return nil
	}))
	return all
}

// Files have other paths in another image, and the same content.
func TestEqualFilesOfDifferentLayers(t *testing.T) {
	for _, fstype := range []string{"xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			m := newMachine(t, mountNew(t, fstype))
			m.store(bootcStore, "a 1", "b 2")
			m.store(podmanStore, "c 3")
			for i := range 40 {
				write(t, fmt.Sprintf("%s/usr/etc/%d", m.layer(bootcStore, "a"), i), random(uint64(i), 20_000))
				write(t, fmt.Sprintf("%s/etc/%d", m.layer(bootcStore, "b"), i), random(uint64(i), 20_000))
				write(t, fmt.Sprintf("%s/other/n%d", m.layer(podmanStore, "c"), i), random(uint64(i), 20_000))
			}
			before := m.used()
			got := m.run(m.hostOptions())
			if freed := before - m.used(); got.Files != 80 || got.Saved != 80*20_480 || freed < got.Saved {
				t.Errorf("got %+v, %d bytes are free", got, freed)
			}
			if again := m.run(m.hostOptions()); again.Saved != 0 || again.Shared != got.Bytes {
				t.Errorf("the second run did %+v", again)
			}
		})
	}
}

// Two that already share files, as a clone between stores leaves them.
func TestFilesThatShareGetTheExtentsOfTheRepository(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	write(t, m.layer(bootcStore, "b")+"/file", random(1, 1<<20))
	m.repository(m.layer(bootcStore, "b"))
	run(t, "cp", "--reflink=always", m.layer(bootcStore, "b")+"/file", m.layer(podmanStore, "a")+"/file")
	dry := m.hostOptions()
	dry.DryRun = true
	before := m.used()
	planned, got := m.run(dry), m.run(m.hostOptions())
	if freed := before - m.used(); freed != 1<<20 || got.Saved != freed || planned.Saved != freed {
		t.Errorf("planned %+v, got %+v, %d bytes are free", planned, got, freed)
	}
}

func TestOneSizeAndSampleDoNotMakeFilesEqual(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	m.store(bootcStore, "b 1", "c 2")
	// All parts that are sampled are equal.
	content := func(i int) []byte {
		text := random(1, 100_000)
		text[20_000] = byte(i)
		return text
	}
	for i := range 5 {
		write(t, fmt.Sprintf("%s/%d", m.layer(bootcStore, "b"), i), content(i))
		write(t, fmt.Sprintf("%s/again%d", m.layer(bootcStore, "c"), i), content(i))
	}
	before, files := m.used(), snapshot(t, m.dir)
	got := m.run(m.hostOptions())
	if freed := before - m.used(); got.Files != 5 || got.Different != 0 || got.Saved != freed || freed != 5*102_400 {
		t.Errorf("got %+v, %d bytes are free", got, freed)
	}
	if !maps.Equal(snapshot(t, m.dir), files) {
		t.Error("files changed")
	}
}

func TestLayersThatContainersWriteToAreLeftAlone(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	// The layer of a container has no digest; c is recorded as one all the same.
	m.store(podmanStore, "a 1", "b<a", "c<a 2")
	text, err := json.Marshal([]map[string]string{{"id": id("f"), "layer": id("c")}})
	must(t, err)
	write(t, m.path(podmanStore+"/overlay-containers/containers.json"), text)
	for _, name := range []string{"a", "b", "c"} {
		write(t, m.layer(podmanStore, name)+"/file", random(1, 50_000))
	}
	before := m.used()
	if got := m.run(m.hostOptions()); got.Layers != 1 || got.Files != 0 || m.used() != before {
		t.Errorf("got %+v", got)
	}
}

func TestAHostReportsFilesThatDiffer(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	write(t, m.layer(bootcStore, "b")+"/file", random(1, 50_000))
	write(t, m.layer(bootcStore, "b")+"/good", random(2, 50_000))
	m.repository(m.layer(bootcStore, "b"))
	write(t, m.layer(podmanStore, "a")+"/file", append(random(1, 49_999), 'x'))
	write(t, m.layer(podmanStore, "a")+"/good", random(2, 50_000))
	o := m.hostOptions()
	var warnings []error
	o.Warn = func(err error) { warnings = append(warnings, err) }
	if got := m.run(o); got.Different != 1 || got.Saved != 3*53_248 || len(warnings) != 1 || !errors.Is(warnings[0], errDiffers) {
		t.Errorf("got %+v, %v", got, warnings)
	}
}

func TestPodmansStoreElsewhere(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	must(t, os.MkdirAll(m.path("var"), 0o755))
	run(t, "mount", "-t", "tmpfs", "tmpfs", m.path("var"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	write(t, m.layer(bootcStore, "b")+"/file", random(1, 50_000))
	write(t, m.layer(podmanStore, "a")+"/file", random(1, 50_000))
	m.repository(m.layer(bootcStore, "b"))
	o := m.hostOptions()
	var warnings []error
	o.Warn = func(err error) { warnings = append(warnings, err) }
	got := m.run(o)
	if got.Saved != 53_248 || len(warnings) == 0 || !errors.Is(warnings[0], ErrNoReflink) {
		t.Errorf("got %+v, %v", got, warnings)
	}
}

func TestAHostWithoutReflinkIsRefused(t *testing.T) {
	m, _ := twins(t, "ext4")
	if result, err := Run(t.Context(), m.hostOptions()); result != nil || !errors.Is(err, ErrNoReflink) || !strings.Contains(err.Error(), bootcStore) {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestAStoppedRunOfAHostIsGoneOnWith(t *testing.T) {
	m, _ := triplets(t, "xfs")
	content := snapshot(t, m.dir)
	for n := range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*2*time.Millisecond)
		_, err := Run(ctx, m.hostOptions())
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	got := m.run(m.hostOptions())
	if again := m.run(m.hostOptions()); again.Saved != 0 || again.Shared != again.Bytes || again.Bytes != got.Bytes {
		t.Errorf("first %+v, then %+v", got, again)
	}
	if !maps.Equal(snapshot(t, m.dir), content) {
		t.Error("files changed")
	}
}

// What is opened a second time, by its path, may be another file by then.
func TestFilesAreExchangedMeanwhile(t *testing.T) {
	m, _ := triplets(t, "xfs")
	outside := m.path("outside")
	write(t, outside+"/file", random(1, 4000))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			name := fmt.Sprintf("%s/many/%d", m.layer(bootcStore, "b"), i)
			_ = os.Remove(name)
			switch i % 4 {
			case 0:
				_ = os.Symlink(outside+"/file", name)
			case 1:
				_ = unix.Mkfifo(name, 0o600)
			case 2:
				_ = os.Mkdir(name, 0o700)
			}
		}
	}()
	before := snapshot(t, outside)
	o := m.hostOptions()
	o.Warn = nil
	m.run(o)
	<-done
	m.run(o)
	if !maps.Equal(snapshot(t, outside), before) {
		t.Error("a file outside of the layers changed")
	}
}

func TestNamesAreKeptInTheIndex(t *testing.T) {
	for _, name := range []string{
		"a", strings.Repeat("x", 255), strings.Repeat("a", 255), strings.Repeat("0", 62) + ".file", strings.Repeat("f", 31) + "g",
		strings.Repeat("1", 126), strings.Repeat("d", 33), "\xff\x00\n",
	} {
		if got := unpackName(append(packName(nil, name), "more"...)); got != name || len(packName(nil, name)) > maxPacked {
			t.Errorf("%q became %q", name, got)
		}
	}
}

// A file that was shared piece by piece lies in the same place as its source.
func TestTheDivisionIntoExtentsDoesNotMatter(t *testing.T) {
	x := newIndex()
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		places := make([]uint64, 12)
		for i := range places {
			places[i] = uint64(r.IntN(2) * (1 + i + r.IntN(2)*100))
		}
		places[3] = 7
		a, okA := x.fingerprint(5, blocks(r, places))
		b, okB := x.fingerprint(5, blocks(r, places))
		if a != b || !okA || !okB {
			t.Fatalf("%v: two fingerprints", places)
		}
		places[r.IntN(12)] = 1000
		if c, _ := x.fingerprint(5, blocks(r, places)); a == c {
			t.Fatalf("%v: the same fingerprint for another place", places)
		}
	}
}

// With an index of 2 million files the process takes less than 200 MB.
func TestMemoryOfTheIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	debug.FreeOSMemory()
	// Makes VmHWM, the most memory that was in use, what is in use now, see proc(5).
	must(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
	x := newIndex()
	at := &part{}
	var dir uint32
	for i := range uint64(2_000_000) {
		if i%10 == 0 {
			dir = x.addDir(at, fmt.Sprintf("usr/lib/python3/dist-packages/%d", i))
		}
		name := fmt.Sprintf("a-file-of-%d.conf", i)
		if i%2 == 0 {
			name = fmt.Sprintf("%x.file", sha256.Sum256([]byte(name)))
		}
		s, size := x.of(int64(i * 7919 % 1_000_003))
		s.add(entry{place: uint32(x.hash(i)), size: size, dir: dir, sample: uint32(i % 2 * 5)}, name)
	}
	text, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, peak, _ := strings.Cut(string(text), "VmHWM:")
	var kib int
	_, err = fmt.Sscan(peak, &kib)
	must(t, err)
	t.Logf("with 2 million files the process takes %d kB", kib)
	// All else of a run takes a few more.
	if kib*1024 > 180e6 {
		t.Errorf("with 2 million files the process takes %d kB", kib)
	}
	runtime.KeepAlive(x)
}

func TestTheRateBoundsWhatIsRead(t *testing.T) {
	start := time.Now()
	r := newRate(100_000)
	for range 5 {
		if !r.wait(t.Context(), 5000) {
			t.Error("did not wait")
		}
	}
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("25,000 bytes took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r.wait(ctx, 1) || newRate(0).wait(ctx, 1) || !newRate(0).wait(t.Context(), 1<<60) {
		t.Error("waits after its end, or without a bound")
	}
}

// enableVerity makes a file immutable, as composefs does with objects. It returns false where
// the filesystem or the kernel cannot.
func enableVerity(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	// struct fsverity_enable_arg and FS_IOC_ENABLE_VERITY of linux/fsverity.h.
	arg := [32]uint32{0: 1, 1: 1, 2: 4096}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x40806685, uintptr(unsafe.Pointer(&arg)))
	return errno == 0
}

func TestObjectsOfComposefsKeepTheirExtents(t *testing.T) {
	m := newMachine(t, mountNew(t, "btrfs"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	must(t, os.MkdirAll(m.path("composefs/objects"), 0o755))
	write(t, m.path("composefs/meta.json"), []byte(`{"version":1,"algorithm":"fsverity-sha256-12"}`))
	protected := true
	for i := range 50 {
		object := fmt.Sprintf("%s/%02x/%062x", m.path("composefs/objects"), i, i)
		content := random(uint64(i), 10_000+i)
		write(t, object, content)
		protected = protected && enableVerity(t, object)
		write(t, fmt.Sprintf("%s/usr/%d", m.layer(bootcStore, "b"), i), content)
		write(t, fmt.Sprintf("%s/usr/%d", m.layer(podmanStore, "a"), i), content)
	}
	t.Logf("objects with fs-verity: %v", protected)
	write(t, m.path("composefs/objects/00/other"), random(1, 10_001))
	before, content, places := m.used(), snapshot(t, m.dir), placesOf(t, m.path("composefs"))
	got := m.run(m.hostOptions())
	if freed := before - m.used(); got.Objects != 50 || got.Files != 100 || got.Saved != 100*12_288 || freed < got.Saved {
		t.Errorf("got %+v, %d bytes are free", got, freed)
	}
	if !maps.Equal(snapshot(t, m.dir), content) || !maps.Equal(placesOf(t, m.path("composefs")), places) {
		t.Error("files changed")
	}
	if again := m.run(m.hostOptions()); again.Saved != 0 || again.Shared != got.Bytes {
		t.Errorf("the second run did %+v", again)
	}
}
