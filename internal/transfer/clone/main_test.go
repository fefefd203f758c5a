// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.podman.io/storage/pkg/reexec"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// TestMain runs the tests in a mount namespace of their own, if we may: what they
// mount is gone with them.
func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if job := os.Getenv(jobVariable); job != "" {
		os.Exit(doJob(job))
	}
	const inside = "CLONE_TEST_INSIDE"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		unix.Umask(0o022)
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1", "CONTAINERS_STORAGE_CONF=/dev/null")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// jobVariable has the job of a test's process that is to be killed.
const jobVariable = "CLONE_TEST_JOB"

func doJob(text string) (status int) {
	job, err := clonejob.ReadJob(strings.NewReader(text))
	if err == nil {
		_, err = Image(context.Background(), job, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// filesystem mounts a new filesystem of a kind on a loop device and returns where.
func filesystem(t *testing.T, kind string) string {
	t.Helper()
	return filesystemOf(t, kind, 2<<30)
}

func filesystemOf(t *testing.T, kind string, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for mounts")
	}
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("needs mkfs.%s", kind)
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close(), os.Mkdir(mount, 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.%s: %v\n%s", kind, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, mount).CombinedOutput(); err != nil {
		t.Skipf("needs loop devices and %s: %v: %s", kind, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-R", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return mount
}

// heritable makes directories that pass a group or an access control list on to all
// that is made in them.
var heritable = map[string]func(t *testing.T, dir string){
	"set-group-ID": func(t *testing.T, dir string) {
		must(t, unix.Chown(dir, 0, 999))
		must(t, unix.Chmod(dir, 0o2755))
	},
	"access control list": func(t *testing.T, dir string) {
		// The owner may all, user 42 may read, the others may nothing.
		acl := []byte{
			2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 42, 0, 0, 0,
			4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
		}
		must(t, unix.Setxattr(dir, "system.posix_acl_default", acl, 0))
	},
}

// snapshot describes all of a tree but SELinux labels and times of access, a line for
// each name, sorted. It finds its way without paths, which may be too long.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := snapshotter{t: t, links: map[uint64]string{}}
	s.directory(fd, "")
	slices.Sort(s.lines)
	// Which name of several comes first is up to the order of reading.
	names := map[string]string{}
	for i, line := range s.lines {
		name, rest, _ := strings.Cut(line, "\x00")
		if link, ok := strings.CutPrefix(rest, "link "); ok {
			if names[link] == "" {
				names[link] = name
			}
			s.lines[i] = name + "\x00link " + names[link]
		}
	}
	return s.lines
}

type snapshotter struct {
	t     *testing.T
	lines []string
	links map[uint64]string
}

func (s *snapshotter) directory(fd int, path string) {
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	s.entry(fd, ".", path)
	names, err := f.Readdirnames(-1)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			s.t.Fatal(err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			s.entry(fd, name, path+"/"+name)
			continue
		}
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		s.directory(sub, path+"/"+name)
	}
}

func (s *snapshotter) entry(dir int, name, path string) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		s.t.Fatal(err)
	}
	kind := st.Mode & unix.S_IFMT
	line := fmt.Sprintf("%s\x00mode %o uid %d gid %d rdev %x mtime %d.%09d xattrs %s",
		path, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec, s.xattrs(dir, name))
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		first, again := s.links[st.Ino]
		if !again {
			first = path
			s.links[st.Ino] = path
		}
		s.lines = append(s.lines, path+"\x00link "+first)
		line = fmt.Sprintf("inode of %d names\x00%s", st.Nlink, strings.SplitN(line, "\x00", 2)[1])
		if again {
			return
		}
	}
	switch kind {
	case unix.S_IFREG:
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			s.t.Fatal(err)
		}
		line += fmt.Sprintf(" size %d content %x", st.Size, sum.Sum(nil)[:8])
	case unix.S_IFLNK:
		buf := make([]byte, 4096)
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			s.t.Fatal(err)
		}
		line += fmt.Sprintf(" target %q", buf[:n])
	}
	s.lines = append(s.lines, line)
}

func (s *snapshotter) xattrs(dir int, name string) string {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		s.t.Fatal(err)
	}
	var all []string
	for name := range bytes.SplitSeq(bytes.TrimSuffix(buf[:n], []byte{0}), []byte{0}) {
		if len(name) == 0 || string(name) == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, string(name), value)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// compare reports where two snapshots differ.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(want) < 2 {
		t.Fatal("nothing to compare")
	}
	for _, line := range want {
		if _, ok := slices.BinarySearch(got, line); !ok {
			t.Errorf("lacks %q", line)
		}
	}
	for _, line := range got {
		if _, ok := slices.BinarySearch(want, line); !ok {
			t.Errorf("has %q", line)
		}
	}
}
