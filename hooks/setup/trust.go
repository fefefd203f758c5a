// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// permissions is what the files on a path allow, each the first that does so.
type permissions struct {
	// replaceable is the file or directory that a user other than root may write to or
	// owns, with what makes it so; "" for none.
	replaceable string
	// unreachable is the directory that not every user may search, "" for none.
	unreachable string
	// st is the status of the last file that is there.
	st unix.Stat_t
}

// permissionsOf looks at each file that the kernel passes on the path below root. The
// error is that of a file that cannot be looked at; the permissions of those before it
// are returned, too.
func permissionsOf(root *os.File, path string) (permissions, error) {
	var p permissions
	err := rooted.Walk(root, path, func(name string, st unix.Stat_t) error {
		p.st = st
		isDir, isLink := st.Mode&unix.S_IFMT == unix.S_IFDIR, st.Mode&unix.S_IFMT == unix.S_IFLNK
		switch {
		case p.replaceable != "" || isLink: // its owner cannot change a link
		case !isOwner(root, st.Uid):
			p.replaceable = fmt.Sprintf("%s is owned by user %d", name, st.Uid)
		case st.Mode&0o022 != 0:
			// Sticky directories, too: in them any user may make the next file that the
			// path names, once that is removed. An ACL shows in the group's permissions.
			p.replaceable = fmt.Sprintf("%s has mode %#o", name, st.Mode&0o7777)
		}
		if isDir && st.Mode&0o011 != 0o011 && p.unreachable == "" {
			p.unreachable = fmt.Sprintf("%s has mode %#o", name, st.Mode&0o7777)
		}
		return nil
	})
	return p, err
}

// isOwner reports whether a file of this owner is trusted below root: one of root's, or,
// in a directory that a user puts an image together in, one of that user's own.
func isOwner(root *os.File, uid uint32) bool {
	return uid == 0 || root.Name() != "/" && int(uid) == os.Geteuid()
}

// checkProgram returns why a hook's program would not run, or would not be the one that
// was installed: podman runs it as root, and the podman of any user runs it, too. Links
// are followed in the host's root; many a package's program is an absolute one. The
// error is fs.ErrNotExist where there is none.
func checkProgram(root *os.File, program string) error {
	p, err := permissionsOf(root, program)
	if err != nil {
		return err
	}
	mode := p.st.Mode
	switch {
	case mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("program %q is %w", program, rooted.ErrNotRegular)
	case mode&0o111 == 0:
		return fmt.Errorf("program %q is not executable", program)
	case p.replaceable != "":
		return fmt.Errorf("a user other than root can replace program %q: %s", program, p.replaceable)
	case p.unreachable != "":
		return fmt.Errorf("not every user can execute program %q: %s", program, p.unreachable)
	case mode&0o111 != 0o111, mode&0o044 != 0o044 && isScript(root, program):
		return fmt.Errorf("not every user can execute program %q: it has mode %#o", program, mode&0o7777)
	case root.Name() == "/" && isNoExec(program):
		return fmt.Errorf("program %q is on a filesystem that is mounted noexec", program)
	}
	return nil
}

// isScript reports whether a program is one that an interpreter has to read.
func isScript(root *os.File, program string) bool {
	f, err := rooted.Open(root, program, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 2)
	_, err = f.Read(magic)
	return err == nil && string(magic) == "#!"
}

func isNoExec(program string) bool {
	var st unix.Statfs_t
	return unix.Statfs(program, &st) == nil && st.Flags&unix.ST_NOEXEC != 0
}

// checkRead returns why the podman of a user would fail on a file of configuration, or
// another user than root could say what podman runs, "" for nothing. The file need not
// be there.
func checkRead(root *os.File, path string) string {
	p, err := permissionsOf(root, path)
	isDir := p.st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case p.replaceable != "":
		return fmt.Sprintf("a user other than root can replace it: %s", p.replaceable)
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return rooted.Cause(err).Error()
	case strings.HasPrefix(path, "/root/"):
		return "" // other users' podman does not read it
	case p.unreachable != "":
		return fmt.Sprintf("not every user can read it, whose podman then fails: %s", p.unreachable)
	case p.st.Mode&0o044 != 0o044:
		return fmt.Sprintf("not every user can read it, whose podman then fails: it has mode %#o", p.st.Mode&0o7777)
	case isDir && p.st.Mode&0o011 != 0o011:
		return fmt.Sprintf("not every user can search it, whose podman then fails: it has mode %#o", p.st.Mode&0o7777)
	}
	return ""
}
