// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package testfs has what tests of files need: filesystems of their own, and descriptions of
// trees that can be compared.
package testfs

import (
	"bytes"
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

	"golang.org/x/sys/unix"
)

// Main runs the tests of a package in a mount namespace of their own, if it may: what they
// mount ends with it. status is for os.Exit.
func Main(m *testing.M) (status int) {
	const inside = "TESTFS_INSIDE"
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		unix.Umask(0o022)
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1", "CONTAINERS_STORAGE_CONF=/dev/null")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// New mounts a new filesystem of a kind on a loop device, until the test ends, and returns
// where. The test is skipped where that is not possible.
func New(t *testing.T, kind string) string {
	t.Helper()
	return NewOfSize(t, kind, 2<<30)
}

// NewOfSize is New for a filesystem on a device of so many bytes.
func NewOfSize(t *testing.T, kind string, size int64) string {
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

// Snapshot describes all of a tree but SELinux labels and times of access, a line for
// each name, sorted. It uses no paths, which may be too long.
func Snapshot(t *testing.T, dir string) []string {
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

// Compare fails the test for each line in which two snapshots differ, and if there are none.
func Compare(t *testing.T, got, want []string) {
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
