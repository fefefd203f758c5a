// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package rooted opens, reads and writes files below a root directory: that of the
// host, of a deployment, of a mounted image, or of a store.
//
// There is one rule for links: they are resolved inside the root, as after a chroot.
// An absolute link begins at the root, and ".." does not leave it. The kernel does
// this (openat2(2), RESOLVE_IN_ROOT), so that no link can be exchanged between a check
// and its use.
//
// os.Root is not used because it fails on every absolute link, which hosts have in
// /etc and packages in /usr/bin. cyphar.com/go-pathrs has the same rule as this package,
// but binds a C library, and this project is built without cgo.
package rooted

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is the error for a FIFO, a device, a socket or a directory where a
// regular file was expected.
var ErrNotRegular = errors.New("not a regular file")

// OpenRoot opens a directory to resolve paths in. Links in path are followed by the
// usual rules. It needs no permission to read the directory.
func OpenRoot(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Open opens path below root with the given open(2) flags; O_CLOEXEC is added.
// Nothing outside root is reached: the packaged link /usr/lib/bootc/storage, for one,
// climbs a level too many. The path in the error is the one below root.Name().
func Open(root *os.File, path string, flags int) (*os.File, error) {
	fd, err := OpenFD(root, path, flags)
	full := filepath.Join(root.Name(), path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

// OpenFD is Open that returns a bare descriptor and the bare error of the kernel.
func OpenFD(root *os.File, path string, flags int) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err = unix.Openat2(int(root.Fd()), path, &how)
		// EAGAIN: a rename elsewhere raced with "..", openat2(2) asks to retry.
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// Exists reports whether path leads to a file below root.
func Exists(root *os.File, path string) bool {
	fd, err := OpenFD(root, path, unix.O_PATH)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Stat returns the status of the file that path leads to below root, or of the link
// that it is with AT_SYMLINK_NOFOLLOW in flags.
func Stat(root *os.File, path string, flags int) (st unix.Stat_t, err error) {
	how := unix.O_PATH
	if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
		how |= unix.O_NOFOLLOW
	}
	fd, err := OpenFD(root, path, how)
	if err == nil {
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
	}
	if err != nil {
		return st, &fs.PathError{Op: "stat", Path: filepath.Join(root.Name(), path), Err: err}
	}
	return st, nil
}

// Kind returns the type of the file at path below root, S_IFLNK for a link, and 0 for a
// file that cannot be looked at.
func Kind(root *os.File, path string) uint32 {
	st, err := Stat(root, path, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return 0
	}
	return st.Mode & unix.S_IFMT
}

// ReadFile returns the content of the regular file that path leads to below root. The
// error is ErrNotRegular for any other kind of file: a FIFO is not waited for. A file of
// more than limit bytes is an error, and so is one that keeps its reader waiting, as
// some below /proc do.
func ReadFile(root *os.File, path string, limit int64) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO would wait for a process that writes to it.
	fd, err := OpenFD(root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(root.Name(), path), Err: err}
	}
	defer unix.Close(fd)
	content, err := readRegular(fd, limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: filepath.Join(root.Name(), path), Err: err}
	}
	return content, nil
}

// ReadRegular is ReadFile for an open file, from where it is read next.
func ReadRegular(f *os.File, limit int64) ([]byte, error) {
	content, err := readRegular(int(f.Fd()), limit)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: err}
	}
	return content, nil
}

// readRegular reads with read(2): package os would wait for a descriptor that has
// nothing to read at the moment.
func readRegular(fd int, limit int64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, ErrNotRegular
	case st.Size > limit:
		return nil, tooLarge(limit)
	}
	// Files below /proc have the size 0, others may grow.
	content := make([]byte, 0, st.Size+512)
	for {
		content = slices.Grow(content, 512)
		n, err := unix.Read(fd, content[len(content):cap(content)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, err
		case n == 0:
			return content, nil
		default:
			if content = content[:len(content)+n]; int64(len(content)) > limit {
				return nil, tooLarge(limit)
			}
		}
	}
}

func tooLarge(limit int64) error { return fmt.Errorf("more than %d bytes", limit) }

// ReadLimited reads all of r. More than limit bytes are an error.
func ReadLimited(r io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = tooLarge(limit)
	}
	return content, err
}

// Names returns the sorted names in the directory dir below root.
func Names(root *os.File, dir string) ([]string, error) {
	f, err := Open(root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// MakeDirs makes the directory dir below root and its parents, mode 0755 whatever the
// umask, and calls made, unless it is nil, with each that was missing. Links to
// directories stay as they are; a dangling link is an error.
func MakeDirs(root *os.File, dir string, made func(dir string)) error {
	if dir = path.Clean("/" + dir); dir == "/" {
		return nil
	}
	f, err := Open(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		f.Close()
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := MakeDirs(root, path.Dir(dir), made); err != nil {
		return err
	}
	parent, err := Open(root, path.Dir(dir), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer parent.Close()
	err = unix.Mkdirat(int(parent.Fd()), path.Base(dir), 0o755)
	if errors.Is(err, unix.EEXIST) {
		// Another process made it, or it is a dangling link.
		if f, err := Open(root, dir, unix.O_PATH|unix.O_DIRECTORY); err == nil {
			f.Close()
			return nil
		}
	}
	if err == nil {
		if made != nil {
			made(dir)
		}
		err = unix.Fchmodat(int(parent.Fd()), path.Base(dir), 0o755, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: filepath.Join(root.Name(), dir), Err: err}
	}
	return nil
}

// WriteFile replaces the file at path below root, mode 0644 whatever the umask, so that
// after a crash it has the old or the new content. A file with this content is left as
// it is. The directory must exist.
func WriteFile(root *os.File, name string, content []byte) error {
	if old, err := ReadFile(root, name, int64(len(content))); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return replace(root, name, content, 0o644, true)
}

// WriteVolatile replaces the file at path below root, with this mode whatever the umask.
// Readers see the old or the new content; after a crash there may be neither. The
// directory must exist.
func WriteVolatile(root *os.File, name string, content []byte, mode uint32) error {
	return replace(root, name, content, mode, false)
}

func replace(root *os.File, name string, content []byte, mode uint32, lasting bool) error {
	dir, err := Open(root, path.Dir(name), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	// Several processes may write the same file.
	tmp := "." + path.Base(name) + "." + rand.Text() + ".tmp"
	fail := func(op string, err error) error {
		_ = unix.Unlinkat(int(dir.Fd()), tmp, 0)
		return &fs.PathError{Op: op, Path: filepath.Join(root.Name(), name), Err: err}
	}
	fd, err := unix.Openat(int(dir.Fd()), tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return fail("write", err)
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(os.FileMode(mode))
	}
	if err == nil && lasting {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fail("write", Cause(err))
	}
	if err := unix.Renameat(int(dir.Fd()), tmp, int(dir.Fd()), path.Base(name)); err != nil {
		return fail("write", err)
	}
	if !lasting {
		return nil
	}
	return dir.Sync()
}

// IsTemporary reports whether a name is one that WriteFile writes a file called base
// under: a process that was killed leaves it behind.
func IsTemporary(name, base string) bool {
	return strings.HasPrefix(name, "."+base+".") && strings.HasSuffix(name, ".tmp")
}

// Remove removes the file, the link or the empty directory at path below root. Links in
// its directory are followed.
func Remove(root *os.File, name string) error {
	dir, err := Open(root, path.Dir(name), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = unix.Unlinkat(int(dir.Fd()), path.Base(name), 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(int(dir.Fd()), path.Base(name), unix.AT_REMOVEDIR)
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: filepath.Join(root.Name(), name), Err: err}
	}
	return nil
}

// Cause returns the bare error of the kernel, without the path.
func Cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// ID names a file as the kernel does.
type ID struct{ Dev, Ino uint64 }

// Identify returns the identity of an open file.
func Identify(f *os.File) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ID{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return ID{Dev: st.Dev, Ino: st.Ino}, nil
}

// Abs returns an absolute path without ".." to what the shell means by path: in
// link/../x, ".." is the parent of the directory that the link leads to, which
// filepath.Abs gets wrong. The last element need not exist.
func Abs(path string) (string, error) {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = wd + "/" + path
	}
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != ".." {
			continue
		}
		base, err := filepath.EvalSymlinks(strings.Join(parts[:i+1], "/"))
		if err != nil {
			return "", err
		}
		return filepath.Join(append([]string{base}, parts[i+1:]...)...), nil
	}
	return filepath.Clean(path), nil
}

// maxLinks is how many links the kernel follows in one path, see path_resolution(7).
const maxLinks = 40

// Walk calls visit with every file that the kernel passes when it opens path below
// root: the root, each directory, each link, and the file at the end. name is the path
// without links, which begins with "/". An error of visit ends the walk.
func Walk(root *os.File, path string, visit func(name string, st unix.Stat_t) error) error {
	fail := func(name string, err error) error {
		return &fs.PathError{Op: "open", Path: filepath.Join(root.Name(), name), Err: err}
	}
	// The directories from the root down to the present one, as descriptors and names.
	fds, names := []int{int(root.Fd())}, []string{}
	up := func(depth int) {
		for _, fd := range fds[depth+1:] {
			unix.Close(fd)
		}
		fds, names = fds[:depth+1], names[:depth]
	}
	defer func() { up(0) }()
	var st unix.Stat_t
	if err := unix.Fstat(fds[0], &st); err != nil {
		return fail("", err)
	}
	if err := visit("/", st); err != nil {
		return err
	}
	todo, links := strings.Split(path, "/"), 0
	for len(todo) > 0 {
		part := todo[0]
		if todo = todo[1:]; part == "" || part == "." {
			continue
		}
		if part == ".." {
			up(max(0, len(names)-1))
			continue
		}
		name := "/" + strings.Join(append(slices.Clone(names), part), "/")
		fd, err := unix.Openat(fds[len(fds)-1], part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fail(name, err)
		}
		fds, names = append(fds, fd), append(names, part)
		if err := unix.Fstat(fd, &st); err != nil {
			return fail(name, err)
		}
		if err := visit(name, st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			continue
		}
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", target)
		if links++; err == nil && links > maxLinks {
			err = unix.ELOOP
		}
		if err != nil {
			return fail(name, err)
		}
		up(len(names) - 1)
		if target[0] == '/' {
			up(0)
		}
		todo = append(strings.Split(string(target[:n]), "/"), todo...)
	}
	return nil
}

// IsOneOf reports whether an error is one of those of the kernel.
func IsOneOf(err error, errnos ...unix.Errno) bool {
	return slices.ContainsFunc(errnos, func(errno unix.Errno) bool { return errors.Is(err, errno) })
}
