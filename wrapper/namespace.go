// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// ReadOnlyError reports that the filesystem of a store cannot be written.
type ReadOnlyError struct {
	// Path is the store, Mountpoint where its filesystem is mounted, Source and
	// FSType what is mounted there.
	Path, Mountpoint, Source, FSType string
	// Medium reports that the block device itself is read-only, as of a live ISO,
	// and not only the mount.
	Medium bool
}

func (e *ReadOnlyError) Error() string {
	what := "filesystem is mounted read-only"
	if e.Medium {
		what = "read-only medium"
	}
	return fmt.Sprintf("open %q for writing: %s (%s, %s, on %q)", e.Path, what, e.Source, e.FSType, e.Mountpoint)
}

// ErrChroot reports that "/" is not a mount point, so that mounts below it would
// reach the host.
var ErrChroot = errors.New(`"/" is not a mount point`)

// ErrNotPrivileged reports that root lacks the capability to mount.
var ErrNotPrivileged = errors.New("CAP_SYS_ADMIN is needed")

// namespace is a private mount namespace of the calling thread. A Go process
// cannot move all its threads into one, and does not have to: execve(2)
// ends every thread but the calling one, and a forked child has the namespace
// of the thread that forked it. So the goroutine that enters stays locked to its
// thread.
type namespace struct {
	// runRoot is the directory GraphRoot that the store's mount covers.
	runRoot *os.File
	// bound reports whether the store was in place before.
	bound bool
}

// enterNamespace moves the calling thread into a namespace whose mounts do not reach the
// host, with the run root and the credentials in place, and with nothing but the store mounted
// on GraphRoot. private is the directory for the files of the namespace. If the process is in a
// namespace of that store, it is used: a second one is made only for other credentials, to hide
// the first.
func enterNamespace(st storageconf.Store, private string, auth storageconf.Auth) (*namespace, error) {
	ns := &namespace{}
	if runRoot := inside(st, private); runRoot != nil {
		path := filepath.Join(private, storageconf.PrivateAuth)
		if auth.Path == path || storageconf.Holds(path, auth.Bytes()) {
			return &namespace{runRoot: runRoot, bound: true}, nil
		}
		runRoot.Close()
		ns.bound = true
	}
	// Not earlier: the first such call makes Go start a thread, 0.05 ms.
	runtime.LockOSThread()
	if err := makeAll(storageconf.GraphRoot); err != nil {
		return nil, fmt.Errorf("make run root: %w", err)
	}
	if err := os.Mkdir(private, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make directory for credentials: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = ErrNotPrivileged
		}
		return nil, fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = ErrChroot
		}
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	// The copy of the run root that the other namespace has, if it is one of this store.
	path := filepath.Join(private, storageconf.PrivateRunRoot)
	if !ns.bound {
		if err := uncoverRunRoot(); err != nil {
			return nil, fmt.Errorf("uncover run root: %w", err)
		}
		path = storageconf.GraphRoot
	}
	// A directory that was opened before is that of the other namespace.
	var err error
	if ns.runRoot, err = openDir(path); err != nil {
		return nil, fmt.Errorf("open run root: %w", err)
	}
	return ns, ns.mountPrivate(private, auth)
}

// mountPrivate mounts the filesystem for the files of the namespace on dir and puts them
// into it. The run root is mounted there, too, and opened by that path: the link
// /proc/self/fd/3, read by a program that resolves it, names the run root and not the
// store, which is mounted on the other.
func (ns *namespace) mountPrivate(dir string, auth storageconf.Auth) error {
	if err := unix.Mount("bootc-podman", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
		return fmt.Errorf("mount %q: %w", dir, err)
	}
	if err := os.WriteFile(filepath.Join(dir, storageconf.PrivateAuth), auth.Bytes(), 0o600); err != nil {
		return fmt.Errorf("hand over credentials: %w", err)
	}
	path := filepath.Join(dir, storageconf.PrivateRunRoot)
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("place run root: %w", err)
	}
	if err := unix.Mount(procFD(ns.runRoot), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount run root on %q: %w", path, err)
	}
	ns.runRoot.Close()
	var err error
	if ns.runRoot, err = openDir(path); err != nil {
		return fmt.Errorf("open run root: %w", err)
	}
	return nil
}

// bind mounts dir, opened in this namespace, on GraphRoot.
func (*namespace) bind(dir *os.File) error {
	if err := unix.Mount(procFD(dir), storageconf.GraphRoot, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %q on %q: %w", dir.Name(), storageconf.GraphRoot, err)
	}
	return nil
}

// unbind undoes bind, and unmounts what podman mounted below it.
func (*namespace) unbind() error {
	if err := unix.Unmount(storageconf.GraphRoot, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %q: %w", storageconf.GraphRoot, err)
	}
	return nil
}

// placeRunRoot makes the run root descriptor 3, to be inherited. A descriptor 3 of the
// caller is closed, as by bootc.
func (ns *namespace) placeRunRoot() error {
	fd := int(ns.runRoot.Fd())
	var err error
	if fd == storageconf.RunRootFD {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	} else {
		err = unix.Dup3(fd, storageconf.RunRootFD, 0)
	}
	if err != nil {
		return fmt.Errorf("place run root on descriptor %d: %w", storageconf.RunRootFD, err)
	}
	return nil
}

// inside opens the run root if this process is in a namespace of this very store, made by
// enterNamespace, where the store can be written. It returns nil if not. Descriptor 3 is
// not checked: shells and sudo close or reuse it.
func inside(st storageconf.Store, private string) (runRoot *os.File) {
	if !isMountpoint(storageconf.GraphRoot) {
		return nil
	}
	// A store mounted there in the host's own namespace was leaked by another program, and
	// podman would add its mounts to it.
	if leaked, err := mountedByHost(storageconf.GraphRoot); err != nil || leaked {
		return nil
	}
	store, err := st.Open()
	if err != nil {
		return nil
	}
	defer store.Close()
	want, err := store.Stat()
	if err != nil {
		return nil
	}
	if have, err := os.Stat(storageconf.GraphRoot); err != nil || !os.SameFile(have, want) || !writable(storageconf.GraphRoot) {
		return nil
	}
	path := filepath.Join(private, storageconf.PrivateRunRoot)
	if !isMountpoint(path) {
		return nil
	}
	runRoot, err = openDir(path)
	if err != nil {
		return nil
	}
	return runRoot
}

// uncoverRunRoot unmounts everything on GraphRoot in this namespace: mounts of bootc or
// ours, of a namespace that we were started in or, leaked, of the host's.
func uncoverRunRoot() error {
	for isMountpoint(storageconf.GraphRoot) {
		if err := (*namespace)(nil).unbind(); err != nil {
			return err
		}
	}
	return nil
}

// mountedByHost reports whether the mount on path is one of the host's own mounts. No
// mount is in two namespaces, so comparing the namespaces is enough: hosts
// can have hundreds of mounts, and reading their table takes longer than everything
// else. Only root without CAP_SYS_PTRACE has to.
func mountedByHost(path string) (bool, error) {
	var own, host unix.Stat_t
	if unix.Stat("/proc/self/ns/mnt", &own) == nil && unix.Stat("/proc/1/ns/mnt", &host) == nil {
		return own.Ino == host.Ino, nil
	}
	id, err := mountID(path)
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile("/proc/1/mountinfo")
	// Mostly there is no mount.
	if err != nil || !bytes.Contains(table, []byte(" "+path+" ")) {
		return false, err
	}
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(table), func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != path || m.ID != id, false
	})
	return len(mounts) > 0, err
}

// ensureWritable makes the mount that dir lies on writable in this namespace.
// Only the mount is changed, never the filesystem behind it, which the host
// shares: that would show in the host's mount table.
func ensureWritable(dir *os.File) error {
	if writable(procFD(dir)) {
		return nil
	}
	m, err := mountOf(procFD(dir))
	if err != nil {
		return fmt.Errorf("find mount of %q: %w", dir.Name(), err)
	}
	if slices.Contains(strings.Split(m.VFSOptions, ","), "ro") {
		return &ReadOnlyError{
			Path: dir.Name(), Mountpoint: m.Mountpoint, Source: m.Source, FSType: m.FSType,
			Medium: readOnlyDevice(m.Major, m.Minor),
		}
	}
	attr := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, m.Mountpoint, 0, &attr); err != nil {
		return fmt.Errorf("make %q writable: %w", m.Mountpoint, err)
	}
	if !writable(procFD(dir)) {
		return fmt.Errorf("make %q writable: %w", m.Mountpoint, unix.EROFS)
	}
	return nil
}

// ReadOnlyMount returns the mount point of the filesystem of path if that mount is
// read-only, else "".
func ReadOnlyMount(path string) string {
	if writable(path) {
		return ""
	}
	m, err := mountOf(path)
	if err != nil {
		return ""
	}
	return m.Mountpoint
}

// mountOf returns the mount that path lies on, as the mount table describes it.
func mountOf(path string) (*mountinfo.Info, error) {
	id, err := mountID(path)
	if err != nil {
		return nil, err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.ID != id, m.ID == id
	})
	if err != nil || len(mounts) == 0 {
		return nil, errors.Join(err, unix.ENOENT)
	}
	return mounts[0], nil
}

// refuseMounts returns an error if anything is mounted on name in dir or
// below it: only files of ours may be removed.
func refuseMounts(dir *os.File, name string) error {
	path, err := os.Readlink(procFD(dir))
	if err != nil {
		return err
	}
	path = filepath.Join(path, name)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil || len(mounts) == 0 {
		return err
	}
	return fmt.Errorf("remove stale %q: something is mounted on %q", path, mounts[0].Mountpoint)
}

func readOnlyDevice(major, minor int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/ro", major, minor))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

func writable(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_RDONLY == 0
}

func isMountpoint(path string) bool {
	own, err := mountID(path)
	if err != nil {
		return false
	}
	parent, err := mountID(filepath.Dir(path))
	return err == nil && own != parent
}

func mountID(path string) (int, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &stat); err != nil {
		return 0, err
	}
	return int(stat.Mnt_id), nil
}

func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
}

// procFD returns the path of an open file, on the mount that it was opened on.
func procFD(f *os.File) string {
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
}
