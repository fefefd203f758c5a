// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// cloneTree copies the tree src to dst.
func cloneTree(t *testing.T, src, dst string) error {
	t.Helper()
	return cloneTreeBy(t, src, dst, byReflink, &Counts{})
}

// cloneTreeBy is cloneTree that begins with one of the ways to copy contents.
func cloneTreeBy(t *testing.T, src, dst string, way int32, n *Counts) error {
	t.Helper()
	from, links := openDirectory(t, src), dst+".links"
	var copiers Copiers
	c, _, err := copiers.from(from)
	must(t, err)
	c.way.Store(way)
	err = Copy(t.Context(), openDirectory(t, dst), from, openDirectory(t, links), &copiers, n, nil, 3)
	if err == nil {
		left, _ := os.ReadDir(links)
		if len(left) > 0 {
			t.Errorf("%d hard links are left behind", len(left))
		}
	}
	return err
}

// openDirectory opens a directory, which it makes if there is none.
func openDirectory(t *testing.T, dir string) *os.File {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	f, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// must fails the test for an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hardTree makes a directory with everything that a layer can hold, and more.
func hardTree(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, size int) {
		must(t, os.WriteFile(at(name), []byte(strings.Repeat("0123456789abcdef", size/16)), 0o644))
	}
	mkdir := func(name string, mode uint32) {
		must(t, os.MkdirAll(at(name), 0o755))
		must(t, unix.Chmod(at(name), mode))
	}
	xattr := func(name, key string, value []byte) {
		must(t, unix.Lsetxattr(at(name), key, value, 0))
	}
	mkdir("d", 0o755)
	for _, size := range []int{0, 16, 4096, 1 << 20} {
		write(fmt.Sprintf("d/%d bytes", size), size)
	}
	// Names.
	write("d/größe ☃", 16)
	write("d/new\nline", 16)
	write("d/\xff not UTF-8", 16)
	write("d/"+strings.Repeat("n", 255), 16)
	// Hard links, in one directory and across, of links and devices.
	mkdir("links/deep", 0o755)
	must(t, os.Link(at("d/4096 bytes"), at("links/a")))
	must(t, os.Link(at("d/4096 bytes"), at("links/deep/b")))
	must(t, os.Symlink("../d/nowhere", at("links/symlink")))
	must(t, os.Link(at("links/symlink"), at("links/symlink2")))
	must(t, unix.Lchown(at("links/symlink"), 7, 8))
	must(t, os.Symlink(strings.Repeat("x/", 500), at("links/long")))
	// Owners, modes and what they take away.
	write("d/setuid", 16)
	must(t, unix.Chown(at("d/setuid"), 1000, 1001))
	must(t, unix.Chmod(at("d/setuid"), 0o6755))
	write("d/capable", 16)
	must(t, unix.Chown(at("d/capable"), 5, 6))
	xattr("d/capable", "security.capability", []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	write("d/nobody may", 16)
	must(t, unix.Chmod(at("d/nobody may"), 0))
	write("d/all may", 16)
	must(t, unix.Chmod(at("d/all may"), 0o1777))
	mkdir("none", 0)
	mkdir("sticky", 0o1777)
	mkdir("setgid", 0o755)
	must(t, unix.Chown(at("setgid"), 0, 50))
	must(t, unix.Chmod(at("setgid"), 0o2775))
	write("setgid/of the group", 16)
	mkdir("setgid/sub", 0o755)
	must(t, unix.Lchown(at("setgid/sub"), 3, 4))
	// Extended attributes, and access control lists with what they inherit.
	xattr("d/16 bytes", "user.empty", nil)
	xattr("d/16 bytes", "user.large", []byte(strings.Repeat("v", 2000)))
	xattr("links/symlink", "trusted.of.a.link", []byte("value"))
	write("d/many", 16)
	for i := range 60 {
		err := unix.Setxattr(at("d/many"), fmt.Sprintf("user.%s%d", strings.Repeat("n", 100), i), []byte("v"), 0)
		if errors.Is(err, unix.ENOSPC) { // ext4 has less room
			break
		}
		must(t, err)
	}
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 42, 0, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	mkdir("acl", 0o755)
	write("acl/before", 16)
	xattr("acl", "system.posix_acl_default", acl)
	xattr("acl/before", "system.posix_acl_access", acl)
	// Whiteouts in each form.
	mkdir("whiteouts", 0o755)
	must(t, unix.Mknod(at("whiteouts/gone"), unix.S_IFCHR, 0))
	must(t, os.Link(at("whiteouts/gone"), at("whiteouts/gone too")))
	xattr("whiteouts", "trusted.overlay.opaque", []byte("y"))
	mkdir("escaped", 0o755)
	xattr("escaped", "trusted.overlay.opaque", []byte("x"))
	write("escaped/gone", 0)
	xattr("escaped/gone", "trusted.overlay.whiteout", []byte("y"))
	// What is no file.
	must(t, unix.Mknod(at("d/device"), unix.S_IFBLK|0o640, int(unix.Mkdev(8, 300))))
	must(t, unix.Mknod(at("d/fifo"), unix.S_IFIFO|0o622, 0))
	must(t, unix.Chmod(at("d/fifo"), 0o622))
	must(t, unix.Lchown(at("d/fifo"), 9, 9))
	// Holes: at the start, in between, at the end, all of it.
	for name, data := range map[string][]int64{"front": {1 << 20}, "middle": {0, 2 << 20}, "end": {0}, "whole": nil} {
		f, err := os.OpenFile(at("d/sparse "+name), os.O_RDWR|os.O_CREATE, 0o600)
		must(t, err)
		for _, off := range data {
			_, err := f.WriteAt([]byte(strings.Repeat("data", 4096)), off)
			must(t, err)
		}
		if name != "front" {
			must(t, f.Truncate(3<<20+5))
		}
		must(t, f.Close())
	}
	// Many entries, and a path that is longer than the kernel takes.
	mkdir("many", 0o755)
	for i := range 3 * batch {
		write(fmt.Sprintf("many/%d", i), 16*(i%5))
		mkdir(fmt.Sprintf("many/dir%d", i), 0o755)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range 30 {
		name := strings.Repeat("p", 200)
		must(t, unix.Mkdirat(fd, name, 0o711))
		sub, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Symlinkat("target", sub, "link"))
		unix.Close(fd)
		fd = sub
	}
	unix.Close(fd)
	// Times, of directories last.
	for i, name := range []string{"d/16 bytes", "d/fifo", "links/long", "whiteouts/gone", "d", "none", "."} {
		times := []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: int64(-i), Nsec: 123456789}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), times, unix.AT_SYMLINK_NOFOLLOW))
	}
	must(t, unix.Chown(dir, 11, 12))
	must(t, unix.Chmod(dir, 0o751))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
}

func TestTreeIsCopiedWhole(t *testing.T) {
	for _, tt := range []struct {
		kind    string
		way     int32
		reflink bool
	}{
		{kind: "xfs", reflink: true},
		{kind: "btrfs", reflink: true},
		{kind: "ext4"},
		{kind: "xfs", way: byKernel},
		{kind: "ext4", way: byHand},
	} {
		t.Run(fmt.Sprintf("%s,%d", tt.kind, tt.way), func(t *testing.T) {
			dir := testfs.New(t, tt.kind)
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			must(t, os.Mkdir(src, 0o755))
			hardTree(t, src)
			want := testfs.Snapshot(t, src)
			var n Counts
			must(t, cloneTreeBy(t, src, dst, tt.way, &n))
			t.Cleanup(func() { _ = os.RemoveAll(dst) })
			testfs.Compare(t, testfs.Snapshot(t, dst), want)
			testfs.Compare(t, testfs.Snapshot(t, src), want)
			if shared := n.Copied.Load() == 0; shared != tt.reflink {
				t.Errorf("copied %d of %d bytes", n.Copied.Load(), n.Bytes.Load())
			}
			for _, name := range []string{"front", "middle", "end", "whole"} {
				var st unix.Stat_t
				must(t, unix.Stat(filepath.Join(dst, "d/sparse "+name), &st))
				if used := st.Blocks * 512; used > 256<<10 {
					t.Errorf("sparse %s: uses %d bytes", name, used)
				}
			}
		})
	}
}

func TestFileThatTheKernelDoesNotCopyIsCopiedByHand(t *testing.T) {
	path := filepath.Join(testfs.New(t, "xfs"), "file")
	must(t, os.WriteFile(path, []byte(strings.Repeat("content", 10000)), 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	// The ranges overlap: EINVAL of both.
	c := &Copier{}
	var n Counts
	err = c.copy(int(f.Fd()), int(f.Fd()), &st, &n)
	if copied := n.Copied.Load(); err != nil || copied != st.Size || n.Bytes.Load() != st.Size || c.way.Load() != byReflink {
		t.Errorf("copied %d bytes, %v, way %d", n.Copied.Load(), err, c.way.Load())
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != strings.Repeat("content", 10000) {
		t.Errorf("%v, another content", err)
	}
}

func TestHardLinksOutsideOfTheTreeStayThere(t *testing.T) {
	dir := testfs.New(t, "xfs")
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	must(t, os.Mkdir(src, 0o755))
	must(t, os.WriteFile(filepath.Join(src, "a"), []byte("content"), 0o600))
	must(t, os.Link(filepath.Join(src, "a"), filepath.Join(src, "b")))
	must(t, os.Link(filepath.Join(src, "a"), filepath.Join(dir, "outside")))
	err := cloneTree(t, src, dst)
	must(t, err)
	var a, b unix.Stat_t
	must(t, unix.Stat(filepath.Join(dst, "a"), &a))
	must(t, unix.Stat(filepath.Join(dst, "b"), &b))
	if a.Ino != b.Ino || a.Nlink != 2 {
		t.Errorf("inodes %d and %d with %d links", a.Ino, b.Ino, a.Nlink)
	}
}

func TestWhatOnlyMountsKnewIsLeftOut(t *testing.T) {
	dir := testfs.New(t, "xfs")
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	must(t, os.Mkdir(src, 0o755))
	must(t, os.WriteFile(filepath.Join(src, "a"), nil, 0o600))
	must(t, unix.Setxattr(filepath.Join(src, "a"), "trusted.overlay.origin", []byte("x"), 0))
	must(t, unix.Setxattr(src, "trusted.overlay.impure", []byte("y"), 0))
	err := cloneTree(t, src, dst)
	must(t, err)
	for _, line := range testfs.Snapshot(t, dst) {
		if strings.Contains(line, "overlay") {
			t.Errorf("has %q", line)
		}
	}
}

func TestTreesOfOtherFormsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"redirect": func(file string) error { return unix.Setxattr(file, "trusted.overlay.redirect", []byte("/x"), 0) },
		"metacopy": func(file string) error { return unix.Setxattr(file, "trusted.overlay.metacopy", nil, 0) },
		"force_mask": func(file string) error {
			return unix.Setxattr(file, "user.containers.override_stat", []byte("0:0:0755"), 0)
		},
		"mount program": func(file string) error { return os.WriteFile(filepath.Join(filepath.Dir(file), ".wh.x"), nil, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := testfs.New(t, "xfs")
			src := filepath.Join(dir, "src")
			must(t, os.MkdirAll(filepath.Join(src, "sub"), 0o755))
			file := filepath.Join(src, "sub", "file")
			must(t, os.WriteFile(file, nil, 0o600))
			must(t, spoil(file))
			err := cloneTree(t, src, filepath.Join(dir, "dst"))
			if !errors.Is(err, clonejob.ErrUnsupported) {
				t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
			}
		})
	}
}

func TestPropertiesOfAFilesystemStayThere(t *testing.T) {
	src := filepath.Join(testfs.New(t, "btrfs"), "src")
	must(t, os.Mkdir(src, 0o755))
	must(t, os.WriteFile(filepath.Join(src, "file"), nil, 0o600))
	must(t, unix.Setxattr(filepath.Join(src, "file"), "btrfs.compression", []byte("zstd"), 0))
	must(t, unix.Setxattr(src, "btrfs.compression", []byte("zstd"), 0))
	must(t, cloneTree(t, src, filepath.Join(testfs.New(t, "xfs"), "dst")))
}

func TestAttributesThatTheFilesystemLacksAreRefused(t *testing.T) {
	f, err := os.OpenFile(filepath.Join(testfs.New(t, "xfs"), "file"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	defer f.Close()
	err = setXattr(fileAttributes(f.Fd()), "btrfs.compression", []byte("zstd"))
	if !errors.Is(err, clonejob.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
	}
}

func TestFullFilesystemIsSaid(t *testing.T) {
	src := filepath.Join(testfs.New(t, "xfs"), "src")
	must(t, os.Mkdir(src, 0o755))
	for i := range 40 {
		must(t, os.WriteFile(filepath.Join(src, fmt.Sprint(i)), make([]byte, 16<<20), 0o600))
	}
	err := cloneTree(t, src, filepath.Join(testfs.NewOfSize(t, "ext4", 64<<20), "dst"))
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want %v", err, unix.ENOSPC)
	}
}

func TestCopyOfTreeEndsWithItsContext(t *testing.T) {
	src, dst, links := t.TempDir(), t.TempDir(), t.TempDir()
	for i := range 1000 {
		must(t, os.Mkdir(filepath.Join(src, fmt.Sprint(i)), 0o755))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var dirs []*os.File
	for _, dir := range []string{dst, src, links} {
		f, err := os.Open(dir)
		must(t, err)
		defer f.Close()
		dirs = append(dirs, f)
	}
	before := openFiles(t)
	err := Copy(ctx, dirs[0], dirs[1], dirs[2], &Copiers{}, &Counts{}, nil, 3)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files stay open", after-before)
	}
}

func TestTreeThatDisappearsIsNoFailureOfItsOwn(t *testing.T) {
	src := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(src, "dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(src, "file"), nil, 0o600))
	must(t, os.Symlink("target", filepath.Join(src, "link")))
	root, err := os.Open(src)
	must(t, err)
	defer root.Close()
	must(t, os.RemoveAll(src))
	fd := int(root.Fd())
	w := worker{tree: &tree{counts: &Counts{}}, dirents: make([]byte, 4096)}
	d := &directory{name: ".", src: fd, dst: fd}
	for name, do := range map[string]func() error{
		"directory": func() error { return w.do(item{dir: d, name: "dir"}) },
		"file":      func() error { return w.copyRegular(d, "file", &unix.Stat_t{}) },
		"link": func() error {
			_, err := w.copyEntry(d, dirent{name: "link", kind: unix.DT_LNK})
			return err
		},
		"itself": func() error { return w.readDirectory(d) },
	} {
		if err := do(); !errors.Is(err, clonejob.ErrChanged) {
			t.Errorf("%s: error %v, want %v", name, err, clonejob.ErrChanged)
		}
	}
}

func TestWorkersKeepToDirectoriesOfTheirOwn(t *testing.T) {
	a, b, c := &directory{name: "a"}, &directory{name: "b"}, &directory{name: "c"}
	work := &tree{stacks: make([][]item, 3)}
	work.ready = sync.NewCond(&work.mu)
	work.push(0, item{dir: a}, item{dir: b})
	work.push(0, item{dir: c, name: "first"}, item{dir: c, name: "second"})
	for _, step := range []struct {
		worker int
		want   *directory
		name   string
	}{
		{worker: 0, want: c, name: "second"}, // depth first
		{worker: 1, want: a},                 // the oldest of the other
		{worker: 2, want: b},
		{worker: 2, want: c, name: "first"},
	} {
		it, ok := work.next(step.worker)
		if !ok || it.dir != step.want || it.name != step.name {
			t.Fatalf("worker %d took %v %q, want %s %q", step.worker, it.dir, it.name, step.want.name, step.name)
		}
	}
	for range 4 {
		work.done()
	}
	if it, ok := work.next(0); ok {
		t.Errorf("took %v when there is none", it)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

func TestTreatmentOfExtendedAttributes(t *testing.T) {
	for name, want := range map[string]treatment{
		"user.anything":                  keep,
		"security.capability":            keep,
		"security.selinux":               drop,
		"trusted.overlay.opaque":         keep,
		"trusted.overlay.whiteout":       keep,
		"trusted.overlay.overlay.opaque": keep,
		"trusted.overlay.origin":         drop,
		"trusted.overlay.redirect":       refuse,
		"trusted.overlay.of.the.future":  refuse,
		"user.containers.override_stat":  refuse,
		"user.overlay.opaque":            keep,
		"btrfs.compression":              drop,
	} {
		if got := treat(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func FuzzParseDirents(f *testing.F) {
	f.Add(slices.Concat(make([]byte, 16), []byte{24, 0, 8}, []byte("name\x00")))
	f.Fuzz(func(_ *testing.T, buf []byte) { _, _ = parseDirents(nil, buf) })
}
