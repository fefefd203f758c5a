// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// stateRoot is where hooks keep their records, until the next boot.
const stateRoot = "run/bootc-podman"

// maxRecord bounds a file of the state; the lease of an image of a hundred layers has 20 kB.
const maxRecord = 1 << 20

// openState opens the directory name in the state of the host whose root is root,
// "." for the state itself, and makes what is missing if it should. No link is
// followed, and a directory that somebody else could write to is refused: others
// may own /run/bootc-podman on a host where we never ran.
func openState(root, name string, create bool) (*os.File, error) {
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
	return dir, nil
}

// othersMayWrite reports whether somebody but root, or the user that we run as, may write
// to a directory.
func othersMayWrite(st *unix.Stat_t) bool {
	return st.Uid != 0 && int(st.Uid) != os.Geteuid() || st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && st.Gid != 0
}

// inUserNamespace reports whether we are not in the host's own user namespace, as with
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

// records reads the records in a directory of the state, with names as in "lease" and
// "leases". Each problem names one that cannot be read. There are none where the directory
// does not exist.
func records[T any](root, dir, one, many string, read func(dir *os.File, name string) (T, error)) (all []T, problems []error) {
	d, err := openState(root, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("read %s: %w", many, err)}
	}
	defer d.Close()
	names, err := recordNames(d)
	if err != nil {
		problems = append(problems, fmt.Errorf("read %s: %w", many, err))
	}
	for _, name := range names {
		record, err := read(d, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was removed meanwhile
		case err != nil:
			problems = append(problems, fmt.Errorf("read %s: %w", one, err))
		default:
			all = append(all, record)
		}
	}
	return all, problems
}

// recordNames lists the records in the directory, NAME.json each, by name.
func recordNames(dir *os.File) ([]string, error) {
	names, err := rooted.Names(dir, ".")
	return slices.DeleteFunc(names, func(name string) bool {
		return name[0] == '.' || !strings.HasSuffix(name, ".json")
	}), err
}

// readRecord decodes a file of the state.
func readRecord[T any](dir *os.File, name string) (record T, err error) {
	content, err := rooted.ReadFile(dir, name, maxRecord)
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(content, &record); err != nil {
		return record, fmt.Errorf("decode %q: %w", name, err)
	}
	return record, nil
}

// writeRecord writes a file of the state, indented.
func writeRecord(dir *os.File, name string, record any, mode uint32) error {
	content, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return rooted.WriteVolatile(dir, name, append(content, '\n'), mode)
}

// removeRecord removes a file that need not be there.
func removeRecord(dir *os.File, name string) error {
	if err := rooted.Remove(dir, name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// age is how long ago a file was written.
func age(dir *os.File, name string, now time.Time) time.Duration {
	st, err := rooted.Stat(dir, name, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return 0
	}
	return now.Sub(time.Unix(st.Mtim.Unix()))
}

// sweep removes what processes that died were writing, and those of the records that
// are stale. It looks at a few records only, at others each time.
func sweep(dir *os.File, now time.Time, isStale func(name string) bool) {
	const few = 16
	records, _ := rooted.Names(dir, ".")
	records = slices.DeleteFunc(records, func(name string) bool {
		if name[0] == '.' && age(dir, name, now) > time.Minute {
			_ = removeRecord(dir, name)
		}
		return name[0] == '.'
	})
	if len(records) == 0 {
		return
	}
	first := int(now.UnixNano()/1000) % len(records)
	for i := range min(few, len(records)) {
		// One of a moment ago may be of a container that is being made.
		name := records[(first+i)%len(records)]
		if strings.HasSuffix(name, ".json") && age(dir, name, now) > time.Minute && isStale(name) {
			_ = removeRecord(dir, name)
		}
	}
}
