// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

const insideEnv = "DEDUP_TEST_INSIDE"

// TestMain runs the tests in a mount namespace of their own, with which their mounts
// and loop devices end.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" {
		self, err := os.Executable()
		if err == nil {
			cmd := exec.Command("unshare", append([]string{"--mount", "--propagation=private", self}, os.Args[1:]...)...)
			cmd.Env = append(os.Environ(), insideEnv+"=1")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			err = cmd.Run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program that a test cannot do without.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// mountNew makes a filesystem, the words of mkfs's command line, and mounts it.
func mountNew(t testing.TB, mkfs ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount filesystems")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	must(t, os.Mkdir(mnt, 0o755))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 4<<30))
	run(t, "mkfs."+mkfs[0], append(mkfs[1:], "-q", image)...)
	run(t, "mount", "-o", "loop", image, mnt)
	t.Cleanup(func() { _ = exec.Command("umount", "-R", mnt).Run() }) // a test may have done that
	return mnt
}

// machine is a host whose filesystems are below dir.
type machine struct {
	t   testing.TB
	dir string
}

func (m machine) path(p string) string { return filepath.Join(m.dir, p) }

const (
	bootcStore  = "ostree/bootc/storage"
	podmanStore = "var/lib/containers/storage"
)

func newMachine(t testing.TB, dir string) machine {
	t.Helper()
	m := machine{t, dir}
	must(t, os.MkdirAll(m.path("ostree/repo"), 0o755))
	return m
}

// record is a layer in layers.json; its ID is made out of a character.
type record struct {
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"`
	Diff   string `json:"diff-digest,omitempty"`
	TOC    string `json:"toc-digest,omitempty"`
}

func id(c string) string {
	if c == "" {
		return ""
	}
	return strings.Repeat(c, 64)
}

// store makes a store with layers and no files: "b<a 1" is layer b upon a, with the
// content 1.
func (m machine) store(path string, layers ...string) {
	m.t.Helper()
	var records []record
	for _, l := range layers {
		name, diff, _ := strings.Cut(l, " ")
		name, parent, _ := strings.Cut(name, "<")
		r := record{ID: id(name), Parent: id(parent)}
		if toc, ok := strings.CutPrefix(diff, "toc:"); ok {
			r.TOC = "sha256:" + id(toc)
		} else if diff != "" {
			r.Diff = "sha256:" + id(diff)
		}
		records = append(records, r)
		must(m.t, os.MkdirAll(m.layer(path, name), 0o755))
	}
	text, err := json.Marshal(records)
	must(m.t, err)
	must(m.t, os.MkdirAll(m.path(path+"/overlay-images"), 0o755))
	must(m.t, os.MkdirAll(m.path(path+"/overlay-layers"), 0o755))
	must(m.t, os.WriteFile(m.path(path+"/overlay-layers/layers.json"), text, 0o600))
}

func (m machine) layer(path, name string) string {
	return m.path(path + "/overlay/" + id(name) + "/diff")
}

func (m machine) options() Options {
	return Options{
		Options: inventory.Options{Sysroot: host.At(m.dir), Root: m.dir, Euid: os.Geteuid()},
		Warn:    func(err error) { m.t.Helper(); m.t.Errorf("warning: %v", err) },
	}
}

func (m machine) run(o Options) Result {
	m.t.Helper()
	result, err := Run(m.t.Context(), o)
	must(m.t, err)
	if !result.Complete {
		m.t.Error("not complete")
	}
	return *result
}

// used is how many bytes of the filesystem are taken.
func (m machine) used() int64 {
	m.t.Helper()
	f, err := os.Open(m.dir)
	must(m.t, err)
	defer f.Close()
	must(m.t, unix.Syncfs(int(f.Fd())))
	var st unix.Statfs_t
	must(m.t, unix.Fstatfs(int(f.Fd()), &st))
	return int64(st.Blocks-st.Bfree) * st.Frsize
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, content, 0o640))
}

func random(seed uint64, n int) []byte {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(content)
	return content
}

// hardTree makes files of all sizes and kinds, and returns what the regular ones take.
func hardTree(t *testing.T, dir string) {
	t.Helper()
	for i, size := range []int{0, 1, 100, 2000, 4095, 4096, 4097, 100_000, 1<<20 + 1, chunk, chunk + 5000, 2*chunk + 1} {
		write(t, fmt.Sprintf("%s/a/b/c/%d", dir, size), random(uint64(i), size))
	}
	for i := range 300 {
		write(t, fmt.Sprintf("%s/many/%d", dir, i), random(uint64(1000+i), 3000+i))
	}
	must(t, os.Link(dir+"/a/b/c/100000", dir+"/again"))
	must(t, os.Symlink("/etc/passwd", dir+"/link"))
	must(t, os.Symlink("a", dir+"/dirlink"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, unix.Mknod(dir+"/whiteout", unix.S_IFCHR, 0))
	sparse, err := os.OpenFile(dir+"/sparse", os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	defer sparse.Close()
	must(t, sparse.Truncate(100<<20))
	for _, at := range []int64{0, 20 << 20, 99<<20 + 77} {
		_, err := sparse.WriteAt(random(uint64(at), 70_000), at)
		must(t, err)
	}
	must(t, unix.Setxattr(dir+"/sparse", "trusted.test", []byte("x"), 0))
}

// snapshot is everything that may not change of a tree.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		text := fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, st.Ctim)
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			content, err := os.ReadFile(path)
			must(t, err)
			text += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		all[path] = text
		return nil
	}))
	return all
}

// twins is a machine with one layer of a hard tree, copied to both stores.
func twins(t *testing.T, mkfs ...string) (m machine, duplicate int64) {
	t.Helper()
	m = newMachine(t, mountNew(t, mkfs...))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	before := m.used()
	hardTree(t, m.layer(bootcStore, "b"))
	run(t, "cp", "-a", "--reflink=never", "--sparse=always", m.layer(bootcStore, "b")+"/.", m.layer(podmanStore, "a"))
	return m, (m.used() - before) / 2
}

func TestEqualFilesShareTheirExtents(t *testing.T) {
	for _, fstype := range []string{"xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			m, duplicate := twins(t, fstype)
			before, content := m.used(), snapshot(t, m.dir)
			dry := m.options()
			dry.DryRun = true
			planned := m.run(dry)
			if now := m.used(); now != before {
				t.Errorf("the dry run changed what is used from %d to %d", before, now)
			}
			got := m.run(m.options())
			if want := (Result{Scope: Stores, DryRun: true, Complete: true, Layers: 1, Files: got.Files, Bytes: got.Bytes, Saved: got.Saved}); planned != want {
				t.Errorf("the dry run said %+v, want %+v", planned, want)
			}
			freed := before - m.used()
			if freed < duplicate*95/100 {
				t.Errorf("%d bytes are free of %d that were there twice", freed, duplicate)
			}
			if got.Saved < freed*99/100 || got.Saved > freed*101/100 {
				t.Errorf("%d bytes are said to be saved, %d are", got.Saved, freed)
			}
			// The empty file has none; hard links are one.
			if got.Files != 11+300+1 || got.Layers != 1 || got.Shared != 0 {
				t.Errorf("got %+v", got)
			}
			again := m.run(m.options())
			if want := (Result{Scope: Stores, Complete: true, Layers: 1, Files: got.Files, Bytes: got.Bytes, Shared: got.Bytes}); again != want {
				t.Errorf("the second run did %+v, want %+v", again, want)
			}
			if now := snapshot(t, m.dir); !maps.Equal(now, content) {
				t.Error("files changed")
			}
		})
	}
}

func TestFilesOfAReadOnlyMountShareTheirExtents(t *testing.T) {
	for _, fstype := range []string{"xfs", "btrfs"} {
		t.Run(fstype, func(t *testing.T) {
			m, _ := twins(t, fstype)
			run(t, "mount", "--bind", m.path("ostree"), m.path("ostree"))
			run(t, "mount", "-o", "remount,bind,ro", m.path("ostree"))
			// Only this one has to be written, and podman mounts it itself.
			overlay := m.path(podmanStore + "/overlay")
			run(t, "mount", "--bind", overlay, overlay)
			run(t, "mount", "-o", "remount,bind,ro", overlay)
			before, err := os.ReadFile("/proc/self/mountinfo")
			must(t, err)
			got := m.run(m.options())
			if got.Saved == 0 || got.Saved < got.Bytes*99/100 {
				t.Errorf("got %+v", got)
			}
			after, err := os.ReadFile("/proc/self/mountinfo")
			must(t, err)
			if !bytes.Equal(before, after) {
				t.Errorf("mounts were\n%s\nare\n%s", before, after)
			}
		})
	}
}

// Kernels before 5.18 need both on one mount.
func TestOneMountForBothStores(t *testing.T) {
	m, _ := twins(t, "xfs")
	for _, path := range []string{bootcStore, podmanStore} {
		run(t, "mount", "--bind", m.path(path), m.path(path))
	}
	from, problems := inventory.OpenBootcStore(storageconf.Store{Sysroot: m.dir, Physical: ".", BootcRoot: "ostree/bootc", Exists: true}, m.dir)
	must(t, errors.Join(problems...))
	defer from.Close()
	to, problems := inventory.OpenDefaultStore(m.dir, 0)
	must(t, errors.Join(problems...))
	defer to.Close()
	r, err := newRoutes(from, to, false)
	must(t, err)
	defer r.close()
	// What is mounted at a place need not be what the table says first.
	must(t, os.MkdirAll(m.path("decoy/"+bootcStore+"/overlay"), 0o755))
	must(t, os.MkdirAll(m.path("decoy/"+podmanStore+"/overlay"), 0o755))
	run(t, "mount", "--bind", m.path("decoy"), m.path("decoy"))
	decoy := *r.to[0].mount
	decoy.Root, decoy.Mountpoint = "/", m.path("decoy")
	r.mounts = append([]*mountinfo.Info{&decoy}, r.mounts...)
	a, b, err := r.onOneMount(r.from[0], r.to[0])
	must(t, err)
	defer a.Close()
	defer b.Close()
	var statA, statB unix.Statx_t
	must(t, unix.Statx(int(a.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &statA))
	must(t, unix.Statx(int(b.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &statB))
	if statA.Mnt_id != statB.Mnt_id {
		t.Errorf("the stores are on the mounts %d and %d", statA.Mnt_id, statB.Mnt_id)
	}
	if !same(a, r.from[0].dir) || !same(b, r.to[0].dir) {
		t.Error("not the directories that were meant")
	}
	// Without a mount that has both there is no way.
	r.mounts = slices.DeleteFunc(r.mounts, func(i *mountinfo.Info) bool { return i.Root == "/" })
	if _, _, err := r.onOneMount(r.from[0], r.to[0]); !errors.Is(err, ErrMounts) {
		t.Errorf("got %v, want ErrMounts", err)
	}
}

func TestFilesystemsThatCannotAreRefused(t *testing.T) {
	for _, mkfs := range [][]string{{"ext4"}, {"xfs", "-m", "reflink=0"}} {
		t.Run(strings.Join(mkfs, " "), func(t *testing.T) {
			m, _ := twins(t, mkfs...)
			for _, dryRun := range []bool{true, false} {
				o := m.options()
				o.DryRun = dryRun
				result, err := Run(t.Context(), o)
				if result != nil || !errors.Is(err, ErrNoReflink) || !strings.Contains(err.Error(), mkfs[0]) ||
					!strings.Contains(err.Error(), bootcStore) || !strings.Contains(err.Error(), podmanStore) {
					t.Errorf("got %+v, %v", result, err)
				}
			}
		})
	}
}

func TestStoresOnTwoFilesystemsAreRefused(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	must(t, os.MkdirAll(m.path("var"), 0o755))
	run(t, "mount", "-t", "tmpfs", "tmpfs", m.path("var"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	result, err := Run(t.Context(), m.options())
	if result != nil || !errors.Is(err, ErrFilesystems) || !strings.Contains(err.Error(), "xfs") || !strings.Contains(err.Error(), "tmpfs") {
		t.Errorf("got %+v, %v", result, err)
	}
}

// An additional image store may be elsewhere, or be the bootc-owned store itself.
func TestAdditionalImageStores(t *testing.T) {
	m, _ := twins(t, "xfs")
	must(t, os.MkdirAll(m.path("mnt"), 0o755))
	run(t, "mount", "-t", "tmpfs", "tmpfs", m.path("mnt"))
	m.store("mnt/store", "c 1")
	write(t, m.path("etc/containers/storage.conf"), []byte(
		"[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [\"/mnt/store\", \"/ostree/bootc/storage\"]\n"))
	o := m.options()
	var warnings []error
	o.Warn = func(err error) { warnings = append(warnings, err) }
	got := m.run(o)
	if got.Layers != 1 || got.Saved == 0 || len(warnings) != 1 || !errors.Is(warnings[0], ErrFilesystems) {
		t.Errorf("got %+v and %v", got, warnings)
	}
}

func TestWhatDiffersIsLeftAlone(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	from, to := m.layer(bootcStore, "b"), m.layer(podmanStore, "a")
	write(t, from+"/equal", random(1, 50_000))
	write(t, to+"/equal", random(1, 50_000))
	write(t, from+"/content", random(2, 50_000))
	write(t, to+"/content", append(random(2, 49_999), 'x'))
	write(t, from+"/size", random(3, 50_000))
	write(t, to+"/size", random(3, 50_001))
	write(t, from+"/here", random(4, 50_000))
	write(t, to+"/there", random(4, 50_000))
	write(t, from+"/kind/file", random(4, 50_000))
	write(t, to+"/kind", random(4, 50_000))
	must(t, os.Symlink("equal", from+"/through"))
	write(t, to+"/through", random(1, 50_000))
	before := snapshot(t, m.dir)
	o := m.options()
	var warnings []string
	o.Warn = func(err error) { warnings = append(warnings, err.Error()) }
	got := m.run(o)
	if got.Different != 2 || got.Failed != 1 || got.Saved != 53_248 {
		t.Errorf("got %+v", got)
	}
	slices.Sort(warnings)
	if text := strings.Join(warnings, "\n"); len(warnings) != 3 || !strings.Contains(text, "/diff/content\": content differs") ||
		!strings.Contains(text, "/diff/size\": content differs") || !strings.Contains(text, "/diff/through\": too many levels") {
		t.Errorf("warnings are %q", warnings)
	}
	if !maps.Equal(snapshot(t, m.dir), before) {
		t.Error("files changed")
	}
}

func TestWhatAThirdFileSharesIsNotSaved(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1", "c<a 1")
	write(t, m.layer(bootcStore, "b")+"/file", random(1, 1<<20))
	write(t, m.layer(podmanStore, "a")+"/file", random(1, 1<<20))
	run(t, "cp", "--reflink=always", m.layer(podmanStore, "a")+"/file", m.layer(podmanStore, "c")+"/file")
	before := m.used()
	got := m.run(m.options())
	if freed := before - m.used(); got.Layers != 2 || got.Saved != 1<<20 || freed != 1<<20 {
		t.Errorf("got %+v, %d bytes are free", got, freed)
	}
	run(t, "cp", "--reflink=never", m.layer(podmanStore, "a")+"/file", m.path("new"))
	must(t, os.Rename(m.path("new"), m.layer(podmanStore, "a")+"/file"))
	run(t, "cp", "--reflink=always", m.layer(podmanStore, "a")+"/file", m.path("third"))
	if got := m.run(m.options()); got.Saved != 0 || got.Shared != 1<<20 {
		t.Errorf("got %+v", got)
	}
}

func TestALayerThatIsGoneIsSkipped(t *testing.T) {
	m := newMachine(t, mountNew(t, "xfs"))
	m.store(bootcStore, "a 1", "b 2", "c 3")
	m.store(podmanStore, "d 1", "e 2", "f 3")
	write(t, m.layer(bootcStore, "c")+"/file", random(1, 4096))
	write(t, m.layer(podmanStore, "f")+"/file", random(1, 4096))
	must(t, os.RemoveAll(filepath.Dir(m.layer(bootcStore, "a"))))
	must(t, os.RemoveAll(m.layer(podmanStore, "e")))
	if got := m.run(m.options()); got.Layers != 1 || got.Saved != 4096 {
		t.Errorf("got %+v", got)
	}
}

func TestAStoppedRunIsGoneOnWith(t *testing.T) {
	m, _ := twins(t, "xfs")
	write(t, m.layer(podmanStore, "a")+"/many/7", random(1, 3007))
	for _, path := range []string{"/last", "/a/last"} {
		write(t, m.layer(bootcStore, "b")+path, random(1, 3007))
		write(t, m.layer(podmanStore, "a")+path, random(1, 3007))
	}
	content := snapshot(t, m.dir)
	ctx, cancel := context.WithCancel(t.Context())
	o := m.options()
	o.Warn = func(error) { cancel() } // of many/7
	stopped, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || stopped.Complete || stopped.Files == 0 {
		t.Fatalf("got %+v, %v", stopped, err)
	}
	o.Warn = func(error) {}
	rest := m.run(o)
	if rest.Files <= stopped.Files || rest.Shared != stopped.Saved || rest.Shared+rest.Saved != rest.Bytes-4096 {
		t.Errorf("first %+v, then %+v", stopped, rest)
	}
	if !maps.Equal(snapshot(t, m.dir), content) {
		t.Error("files changed")
	}
}

func TestNothingToDo(t *testing.T) {
	for name, fill := range map[string]func(m machine){
		"no store at all":           func(machine) {},
		"only podman's own":         func(m machine) { m.store(podmanStore, "a 1") },
		"only the bootc-owned":      func(m machine) { m.store(bootcStore, "a 1") },
		"empty stores":              func(m machine) { m.store(podmanStore); m.store(bootcStore) },
		"nothing in common":         func(m machine) { m.store(podmanStore, "a 1"); m.store(bootcStore, "a 2") },
		"layers of unknown content": func(m machine) { m.store(podmanStore, "a"); m.store(bootcStore, "a") },
		"a digest of another thing": func(m machine) { m.store(podmanStore, "a 1"); m.store(bootcStore, "a toc:1") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, t.TempDir())
			fill(m)
			o := m.options()
			o.DryRun = true // not everybody is root
			if got := m.run(o); got != (Result{Scope: Stores, DryRun: true, Complete: true}) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	m := newMachine(t, t.TempDir())
	o := m.options()
	o.Euid = 1000
	if _, err := Run(t.Context(), o); !errors.Is(err, wrapper.ErrNotRoot) {
		t.Errorf("got %v, want ErrNotRoot", err)
	}
	o.Sysroot, o.Env = host.At("/"), []string{"container=test"}
	if _, err := Run(t.Context(), o); !errors.Is(err, inventory.ErrNotOnHost) {
		t.Errorf("got %v, want ErrNotOnHost", err)
	}
	m.store(bootcStore, "a 1")
	m.store(podmanStore, "a 1")
	o = m.options()
	o.DryRun = true
	must(t, os.WriteFile(m.path(podmanStore+"/overlay-layers/layers.json"), []byte("{"), 0o600))
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "layers.json") {
		t.Errorf("got %v, want an error with the file", err)
	}
	must(t, os.RemoveAll(m.path(podmanStore)))
	m.store(podmanStore, "a 1")
	for _, name := range []string{"-images", "-layers", ""} {
		must(t, os.Rename(m.path(podmanStore+"/overlay"+name), m.path(podmanStore+"/vfs"+name)))
	}
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrDriver) {
		t.Errorf("got %v, want ErrDriver", err)
	}
	must(t, os.RemoveAll(m.path("ostree")))
	if _, err := Run(t.Context(), o); !errors.Is(err, storageconf.ErrNotBootcHost) {
		t.Errorf("got %v, want ErrNotBootcHost", err)
	}
}

func TestPairsAreOfTheSameContent(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to []string
		want     string
	}{
		{"same chain", []string{"a 1", "b<a 2"}, []string{"c 1", "d<c 2"}, "ac bd"},
		{"upon other layers", []string{"a 1", "b<a 2"}, []string{"c 2"}, "bc"},
		{"the one upon the same layers", []string{"a 2", "b 1", "c<b 2"}, []string{"d 1", "e<d 2", "f 2"}, "bd ce af"},
		{"several in podman's own store", []string{"a 1"}, []string{"b 1", "c<b 1"}, "ab ac"},
		{"tables of contents", []string{"a toc:1"}, []string{"b toc:1", "c 1"}, "ab"},
		{"their own parents", []string{"a<b 1", "b<a 2"}, []string{"c<c 1"}, "ac"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, t.TempDir())
			m.store(bootcStore, tt.from...)
			m.store(podmanStore, tt.to...)
			var stores []*cstorage.Store
			for _, path := range []string{bootcStore, podmanStore} {
				dir, err := os.Open(m.path(path))
				must(t, err)
				store, problems := cstorage.Read(dir)
				must(t, errors.Join(problems...))
				defer store.Close()
				stores = append(stores, store)
			}
			list, err := pairs(stores[0], stores[1])
			must(t, err)
			var got []string
			for _, p := range list {
				got = append(got, p.from[:1]+p.to[:1])
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

// They have device numbers of their own, and no mount has both.
func TestSubvolumesMountedApart(t *testing.T) {
	top := mountNew(t, "btrfs")
	device, err := exec.Command("findmnt", "-no", "SOURCE", top).Output()
	must(t, err)
	run(t, "btrfs", "subvolume", "create", filepath.Join(top, "root"))
	run(t, "btrfs", "subvolume", "create", filepath.Join(top, "var"))
	m := newMachine(t, t.TempDir())
	must(t, os.RemoveAll(m.path("ostree")))
	for _, dir := range []string{"sysroot", "var"} {
		must(t, os.Mkdir(m.path(dir), 0o755))
		volume := strings.Replace(dir, "sysroot", "root", 1)
		run(t, "mount", "-o", "subvol="+volume, strings.TrimSpace(string(device)), m.path(dir))
		t.Cleanup(func() { run(t, "umount", m.path(dir)) })
	}
	run(t, "umount", top)
	m.store("sysroot/"+bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	write(t, m.layer("sysroot/"+bootcStore, "b")+"/file", random(1, 1<<20))
	write(t, m.layer(podmanStore, "a")+"/file", random(1, 1<<20))
	run(t, "mount", "-o", "remount,bind,ro", m.path("sysroot"))
	if got := m.run(m.options()); got.Saved != 1<<20 {
		t.Errorf("got %+v", got)
	}
	// The source need not be writable; the other must be.
	run(t, "cp", "--reflink=never", m.layer(podmanStore, "a")+"/file", m.path("var/new"))
	must(t, os.Rename(m.path("var/new"), m.layer(podmanStore, "a")+"/file"))
	run(t, "mount", "-o", "remount,bind,ro", m.path("var"))
	if result, err := Run(t.Context(), m.options()); result != nil || !errors.Is(err, ErrMounts) {
		t.Errorf("got %+v, %v, want ErrMounts", result, err)
	}
}

func TestCompressedFilesConverge(t *testing.T) {
	m := newMachine(t, mountNew(t, "btrfs"))
	run(t, "mount", "-o", "remount,compress-force=zstd", m.dir)
	m.store(bootcStore, "b 1")
	m.store(podmanStore, "a 1")
	// Half of it compresses; it is written in other pieces on either side.
	content := bytes.Repeat(append(random(1, 5000), bytes.Repeat([]byte("x"), 5000)...), 4000)
	write(t, m.layer(bootcStore, "b")+"/file", content)
	must(t, os.MkdirAll(m.layer(podmanStore, "a"), 0o755))
	f, err := os.OpenFile(m.layer(podmanStore, "a")+"/file", os.O_CREATE|os.O_WRONLY, 0o640)
	must(t, err)
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 777_777)
		_, err := f.Write(rest[:n])
		must(t, err)
		must(t, f.Sync())
		rest = rest[n:]
	}
	must(t, f.Close())
	before, files := m.used(), snapshot(t, m.dir)
	got := m.run(m.options())
	if freed := before - m.used(); freed <= 0 || got.Saved < freed {
		t.Errorf("got %+v, %d bytes are free", got, freed)
	}
	again := m.run(m.options())
	if again.Saved != 0 || again.Shared != again.Bytes {
		t.Errorf("the second run did %+v", again)
	}
	if !maps.Equal(snapshot(t, m.dir), files) {
		t.Error("files changed")
	}
}

func TestALayerMayBeRemovedMeanwhile(t *testing.T) {
	for _, gone := range []string{bootcStore, podmanStore} {
		t.Run(gone, func(t *testing.T) {
			m, _ := twins(t, "xfs")
			dir := filepath.Dir(m.layer(bootcStore, "b"))
			if gone == podmanStore {
				dir = filepath.Dir(m.layer(podmanStore, "a"))
			}
			removed := make(chan error, 1)
			go func() { removed <- os.RemoveAll(dir) }()
			m.run(m.options()) // without warnings
			must(t, <-removed)
		})
	}
}
