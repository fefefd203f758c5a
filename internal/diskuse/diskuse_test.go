// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package diskuse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestMain(m *testing.M) { os.Exit(testfs.Main(m)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The directories of the stores below the root of a test host.
const (
	repo  = "ostree/repo"
	bootc = "ostree/bootc/storage"
	own   = "var/lib/containers/storage"
)

// newHost makes a host without deployments, and an empty store in each place.
func newHost(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{repo + "/objects", bootc + "/overlay", own + "/overlay", "ostree/deploy"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
}

func write(t *testing.T, path string, size int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	content := make([]byte, size)
	_, _ = rand.Read(content)
	must(t, os.WriteFile(path, content, 0o644))
}

// read measures the host in root.
func read(t *testing.T, root string) *Report {
	t.Helper()
	report, problems := Read(t.Context(), options(root))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return report
}

func options(root string) Options {
	return Options{Options: inventory.Options{Sysroot: host.At(root), Root: root}}
}

func (r *Report) store(t *testing.T, name inventory.StoreName) Store {
	t.Helper()
	i := slices.IndexFunc(r.Stores, func(s Store) bool { return s.Store == name })
	if i < 0 {
		t.Fatalf("no store %s in %+v", name, r.Stores)
	}
	return r.Stores[i]
}

// used is how much of a filesystem is in use once all is written.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Syncfs(fd))
	var st unix.Statfs_t
	must(t, unix.Fstatfs(fd, &st))
	return int64(st.Blocks-st.Bfree) * st.Frsize
}

// close2 fails the test unless two numbers differ by at most 2 %.
func close2(t *testing.T, what string, got, want int64) {
	t.Helper()
	if diff := got - want; diff > want/50 || -diff > want/50 {
		t.Errorf("%s: %d, the filesystem has %d", what, got, want)
	}
}

// fill puts content into the stores: some only in one, some cloned between them and within
// one where clone is true, else copied.
func fill(t *testing.T, root string, clone bool) {
	t.Helper()
	reflink := "--reflink=never"
	if clone {
		reflink = "--reflink=always"
	}
	for i := range 60 {
		write(t, filepath.Join(root, repo, "objects", fmt.Sprintf("%02d/x.file", i)), 20000+i*7000)
	}
	write(t, filepath.Join(root, bootc, "overlay/own/diff/blob"), 9<<20)
	write(t, filepath.Join(root, own, "overlay/own/diff/blob"), 5<<20)
	for _, to := range []string{bootc + "/overlay/a/diff", bootc + "/overlay/b/diff", own + "/overlay/a/diff"} {
		must(t, os.MkdirAll(filepath.Join(root, to), 0o755))
		testhost.Run(t, "cp", "-r", reflink, filepath.Join(root, repo, "objects"), filepath.Join(root, to))
	}
	must(t, os.Link(filepath.Join(root, bootc, "overlay/own/diff/blob"), filepath.Join(root, bootc, "overlay/own/diff/link")))
	// A hole, a file cut in two by another's extent, a file larger than its content.
	sparse := filepath.Join(root, bootc, "overlay/own/diff/sparse")
	write(t, sparse, 1<<20)
	must(t, os.Truncate(sparse, 1<<30))
	preallocated, err := os.OpenFile(filepath.Join(root, own, "overlay/own/diff/preallocated"), os.O_WRONLY|os.O_CREATE, 0o600)
	must(t, err)
	defer preallocated.Close()
	must(t, unix.Fallocate(int(preallocated.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 3<<20))
	must(t, os.Symlink("/nowhere", filepath.Join(root, own, "overlay/own/diff/symlink")))
}

func TestTotalAgreesWithTheFilesystem(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			testhost.Need(t, "du", "find")
			root := testfs.New(t, kind)
			newHost(t, root)
			before := used(t, root)
			fill(t, root, kind != "ext4")
			want := used(t, root) - before
			r := read(t, root)
			close2(t, "total", *r.Total.Disk, want)
			var sum, between int64
			for _, s := range r.Stores {
				dir := s.Paths[0]
				close2(t, string(s.Store)+" allocated", s.Allocated, number(t, testhost.Run(t, "du", "-s", "-B1", dir)))
				if s.Logical != logical(t, dir) {
					t.Errorf("%s: logical size %d, want %d", s.Store, s.Logical, logical(t, dir))
				}
				sum += *s.Disk
				between += *s.SharedStores
			}
			if kind == "ext4" {
				if *r.Total.Shared != 0 || sum != *r.Total.Disk {
					t.Errorf("%d bytes are shared, the stores have %d of %d", *r.Total.Shared, sum, *r.Total.Disk)
				}
				return
			}
			// Three stores have the same.
			if between != 3**r.Total.SharedStores || sum-*r.Total.Disk != 2**r.Total.SharedStores || *r.Total.SharedStores == 0 {
				t.Errorf("shared between stores: %d, by stores %d; stores have %d, total %d", *r.Total.SharedStores, between, sum, *r.Total.Disk)
			}
			if kind == "btrfs" {
				btrfsAgrees(t, root, r)
			}
		})
	}
}

// btrfsAgrees compares with the sum of btrfs(8) for one directory.
func btrfsAgrees(t *testing.T, root string, r *Report) {
	t.Helper()
	testhost.Need(t, "btrfs")
	lines := strings.Split(strings.TrimSpace(testhost.Run(t, "btrfs", "filesystem", "du", "-s", "--raw", filepath.Join(root, bootc))), "\n")
	// Total, exclusive, set shared, filename.
	fields := strings.Fields(lines[len(lines)-1])
	s := r.store(t, inventory.BootcStore)
	if want := number(t, fields[1]) + number(t, fields[2]); *s.Disk != want {
		t.Errorf("%d bytes, btrfs filesystem du has %d: %v", *s.Disk, want, lines)
	}
	if want := number(t, fields[2]); *s.Shared != want {
		t.Errorf("%d bytes shared, btrfs filesystem du has %d", *s.Shared, want)
	}
}

// number is the first word of a text.
func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
	must(t, err)
	return n
}

// logical is the size of files and links below a directory by find(1).
func logical(t *testing.T, dir string) (size int64) {
	t.Helper()
	met := map[string]bool{}
	for line := range strings.Lines(testhost.Run(t, "find", dir, "-not", "-type", "d", "-printf", "%i %s\n")) {
		inode, rest, _ := strings.Cut(line, " ")
		if !met[inode] {
			met[inode] = true
			size += number(t, rest)
		}
	}
	return size
}

// TestSubvolumesAreOneFilesystem: each has a device number of its own, and inodes too.
func TestSubvolumesAreOneFilesystem(t *testing.T) {
	testhost.Need(t, "btrfs")
	root := testfs.New(t, "btrfs")
	newHost(t, root)
	from, to := filepath.Join(root, bootc, "overlay/a"), filepath.Join(root, own, "btrfs/subvolumes/a")
	write(t, filepath.Join(from, "blob"), 4<<20)
	must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	testhost.Run(t, "btrfs", "subvolume", "create", to)
	testhost.Run(t, "cp", "--reflink=always", filepath.Join(from, "blob"), to)
	used(t, root)
	r := read(t, root)
	if *r.Total.Disk != 4<<20 || *r.Total.SharedStores != 4<<20 || r.store(t, inventory.DefaultStore).Logical != 4<<20 {
		t.Errorf("got %d bytes, %d between the stores: %+v", *r.Total.Disk, *r.Total.SharedStores, r.Stores)
	}
	if len(r.Filesystems) != 1 || len(r.Filesystems[0].Stores) != 3 {
		t.Errorf("filesystems %+v", r.Filesystems)
	}
}

// TestCompressedExtentsHaveAnUpperBound: FIEMAP does not report their size on the disk.
func TestCompressedExtentsHaveAnUpperBound(t *testing.T) {
	testhost.Need(t, "btrfs")
	root := testfs.New(t, "btrfs")
	newHost(t, root)
	testhost.Run(t, "btrfs", "property", "set", filepath.Join(root, bootc), "compression", "zstd")
	before := used(t, root)
	dir := filepath.Join(root, bootc, "overlay/a/diff")
	must(t, os.MkdirAll(dir, 0o755))
	testhost.Run(t, "btrfs", "property", "set", dir, "compression", "zstd")
	must(t, os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("the same words again\n", 400_000)), 0o600))
	write(t, filepath.Join(dir, "random"), 1<<20)
	want := used(t, root) - before
	// A neighbour on the disk that is of another store.
	dir = filepath.Join(root, own, "overlay/a/diff")
	must(t, os.MkdirAll(dir, 0o755))
	testhost.Run(t, "btrfs", "property", "set", dir, "compression", "zstd")
	must(t, os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("others come second\n", 400_000)), 0o600))
	used(t, root)
	s := read(t, root).store(t, inventory.BootcStore)
	if *s.SharedStores != 0 {
		t.Errorf("%d bytes are shared between stores", *s.SharedStores)
	}
	if s.Compressed < 8_000_000 || *s.Disk < want*98/100 || *s.Disk >= s.Allocated || *s.Shared != 0 {
		t.Errorf("%d of the disk, %d shared, %d compressed, %d allocated; the filesystem has %d", *s.Disk, *s.Shared, s.Compressed, s.Allocated, want)
	}
}

// TestContentAmongMetadataCountsByItsLength: stat(2) rounds it to blocks.
func TestContentAmongMetadataCountsByItsLength(t *testing.T) {
	root := testfs.New(t, "btrfs")
	newHost(t, root)
	for i := range 100 {
		write(t, filepath.Join(root, bootc, "overlay/a/diff", strconv.Itoa(i)), 300)
	}
	used(t, root)
	s := read(t, root).store(t, inventory.BootcStore)
	if *s.Disk != 30_000 || s.Allocated != 100*4096 {
		t.Errorf("%d bytes of the disk, %d allocated", *s.Disk, s.Allocated)
	}
}

func TestMountPointsAreNotCrossed(t *testing.T) {
	root := testfs.New(t, "ext4")
	newHost(t, root)
	other := t.TempDir()
	write(t, filepath.Join(other, "elsewhere"), 2<<20)
	write(t, filepath.Join(root, "outside/file"), 2<<20)
	write(t, filepath.Join(root, bootc, "overlay/a/diff/file"), 1<<20)
	must(t, os.MkdirAll(filepath.Join(root, bootc, "overlay/a/merged"), 0o755))
	must(t, os.Symlink(filepath.Join(root, "outside"), filepath.Join(root, bootc, "overlay/l")))
	write(t, filepath.Join(root, bootc, "overlay/a/covered"), 10)
	mount := func(from, to string) {
		must(t, unix.Mount(from, to, "", unix.MS_BIND, ""))
		t.Cleanup(func() { must(t, unix.Unmount(to, unix.MNT_DETACH)) })
	}
	// As podman does: what is below counts.
	overlay := filepath.Join(root, bootc, "overlay")
	mount(overlay, overlay)
	// Directories and a file of another filesystem and of this one.
	mount(other, filepath.Join(overlay, "a/merged"))
	mount(filepath.Join(root, "outside"), filepath.Join(overlay, "a/merged"))
	mount(filepath.Join(root, "outside/file"), filepath.Join(overlay, "a/covered"))
	s := read(t, root).store(t, inventory.BootcStore)
	if s.Files != 2 || s.Logical != 1<<20+int64(len(filepath.Join(root, "outside"))) {
		t.Errorf("%d files of %d bytes", s.Files, s.Logical)
	}
}

func TestStoresThatAreOneCountOnce(t *testing.T) {
	root := t.TempDir()
	newHost(t, root)
	write(t, filepath.Join(root, bootc, "overlay/a/diff/file"), 100)
	must(t, os.MkdirAll(filepath.Join(root, "etc/containers"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc/containers/storage.conf"),
		[]byte("[storage]\ndriver = \"overlay\"\ngraphroot = \"/"+bootc+"\"\n"), 0o644))
	r := read(t, root)
	if len(r.Stores) != 2 || r.Total.Files != 1 || r.Stores[1].Store != inventory.BootcStore {
		t.Errorf("got %+v", r.Stores)
	}
}

func TestComposefsRepositoryIsCountedWithoutTheStoreInIt(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "composefs/objects/00/aa"), 5000)
	write(t, filepath.Join(root, "composefs/bootc/storage/overlay/a/diff/file"), 300)
	must(t, os.MkdirAll(filepath.Join(root, "ostree"), 0o755))
	must(t, os.Symlink("../composefs/bootc", filepath.Join(root, "ostree/bootc")))
	must(t, os.MkdirAll(filepath.Join(root, "state/deploy"), 0o755))
	r := read(t, root)
	if got := []int64{r.store(t, inventory.ComposefsStore).Logical, r.store(t, inventory.BootcStore).Logical, r.Total.Logical}; !slices.Equal(got, []int64{5000, 300, 5300}) {
		t.Errorf("got %v", got)
	}
}

func TestNoExtents(t *testing.T) {
	root := t.TempDir()
	newHost(t, root)
	write(t, filepath.Join(root, bootc, "overlay/a/diff/file"), 5000)
	o := options(root)
	o.NoExtents = true
	r, problems := Read(t.Context(), o)
	if len(problems) > 0 || r.Extents || r.Total.Disk != nil || r.Total.Shared != nil || r.Total.Logical != 5000 || r.Total.Allocated < 5000 {
		t.Errorf("got %+v, %v", r, problems)
	}
}

func TestReadReportsWhatItCannotRead(t *testing.T) {
	if _, problems := Read(t.Context(), options(t.TempDir())); len(problems) != 1 || !errors.Is(problems[0], storageconf.ErrNotBootcHost) {
		t.Errorf("no host: %v", problems)
	}
	root := t.TempDir()
	newHost(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, problems := Read(ctx, options(root)); r != nil || len(problems) != 1 || !errors.Is(problems[0], context.Canceled) {
		t.Errorf("interrupted: %+v, %v", r, problems)
	}
}
