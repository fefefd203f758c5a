// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// stateRoot is where hooks keep what they know, until the next boot.
const stateRoot = "run/bootc-podman"

// stateDir is stateRoot or a directory in it.
type stateDir struct{ dir *os.File }

// openState opens the directory name in the state of the host whose root is root,
// "." for the state itself, and makes what is missing if it should. No link is
// followed, and a directory that somebody else could write to is refused: others
// may own /run/bootc-podman on a host where we never ran.
func openState(root, name string, create bool) (*stateDir, error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(stateRoot, name)
	parts := strings.Split(path, "/")
	for i, part := range parts {
		mode := uint32(0o755)
		if i == 2 {
			mode = 0o700
		}
		at := filepath.Join(root, filepath.Join(parts[:i+1]...))
		next, err := openSub(dir, part, mode, create && i > 0)
		dir.Close()
		if err != nil {
			return nil, fmt.Errorf("open %q: %w", at, err)
		}
		if dir = next; i == 0 {
			continue
		}
		var st unix.Stat_t
		if err = unix.Fstat(int(dir.Fd()), &st); err == nil && othersMayWrite(&st) {
			if err = errors.New("others may write to it"); inUserNamespace(root) {
				err = fs.ErrPermission // the host's root is another one there
			}
		}
		if err != nil {
			dir.Close()
			return nil, fmt.Errorf("open %q: %w", at, err)
		}
	}
	return &stateDir{dir}, nil
}

// othersMayWrite tells whether somebody but root, or the user that we run as, may write
// to a directory.
func othersMayWrite(st *unix.Stat_t) bool {
	return st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && st.Gid != 0
}

// inUserNamespace tells whether we are not in the host's own user namespace, as with
// rootless podman: that one maps all users to themselves.
func inUserNamespace(root string) bool {
	content, err := readBelow(root, "proc/self/uid_map", maxConf)
	return err == nil && !slices.Equal(strings.Fields(string(content)), []string{"0", "0", "4294967295"})
}

// openSub opens a directory, or makes it with this mode whatever the umask.
func openSub(dir *os.File, name string, mode uint32, create bool) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0)
	if errors.Is(err, fs.ErrNotExist) && create {
		made := unix.Mkdirat(int(dir.Fd()), name, mode)
		if made != nil && !errors.Is(made, fs.ErrExist) {
			return nil, made
		}
		if fd, err = unix.Openat(int(dir.Fd()), name, flags, 0); err == nil && made == nil {
			if err = unix.Fchmod(fd, mode); err != nil {
				unix.Close(fd)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d *stateDir) close() { d.dir.Close() }

// write replaces the file name by one with this content. There is no fsync: what
// is here is gone with a crash anyway.
func (d *stateDir) write(name string, content []byte, mode uint32) error {
	tmp := "." + name + "." + strconv.Itoa(os.Getpid())
	at := int(d.dir.Fd())
	fd, err := unix.Openat(at, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, fs.ErrExist) { // of a process that died, with our number
		_ = unix.Unlinkat(at, tmp, 0)
		fd, err = unix.Openat(at, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(os.FileMode(mode)) // whatever the umask
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = unix.Renameat(at, tmp, at, name)
	}
	if err != nil {
		_ = unix.Unlinkat(at, tmp, 0)
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

// read reads a regular file of no more than limit bytes.
func (d *stateDir) read(name string, limit int64) ([]byte, error) {
	fd, err := unix.Openat(int(d.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("open %q: not a regular file", name)
	}
	content, err := rooted.ReadLimited(f, limit)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	return content, nil
}

func (d *stateDir) remove(name string) error {
	err := unix.Unlinkat(int(d.dir.Fd()), name, 0)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("remove %q: %w", name, err)
}

// names lists the records in the directory, NAME.json each, by name.
func (d *stateDir) names() ([]string, error) {
	names, err := d.entries()
	names = slices.DeleteFunc(names, func(name string) bool {
		return name[0] == '.' || !strings.HasSuffix(name, ".json")
	})
	slices.Sort(names)
	return names, err
}

func (d *stateDir) entries() ([]string, error) {
	if _, err := d.dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return d.dir.Readdirnames(-1)
}

// age is how long ago a file was written.
func (d *stateDir) age(name string, now time.Time) time.Duration {
	var st unix.Stat_t
	if unix.Fstatat(int(d.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return now.Sub(time.Unix(st.Mtim.Unix()))
}

// sweep removes what processes that died were writing, and those of the records that
// are stale. It looks at a few records only, at others each time.
func (d *stateDir) sweep(now time.Time, isStale func(name string) bool) {
	const few = 16
	entries, _ := d.entries()
	var records []string
	for _, name := range entries {
		switch {
		case name[0] != '.':
			records = append(records, name)
		case d.age(name, now) > time.Minute:
			_ = d.remove(name)
		}
	}
	if len(records) == 0 {
		return
	}
	first := int(now.UnixNano()/1000) % len(records)
	for i := range min(few, len(records)) {
		// One of a moment ago may be of a container that is being made.
		name := records[(first+i)%len(records)]
		if strings.HasSuffix(name, ".json") && d.age(name, now) > time.Minute && isStale(name) {
			_ = d.remove(name)
		}
	}
}
