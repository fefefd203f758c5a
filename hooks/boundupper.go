// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// AllowChanges is the annotation by which a container that asks for the gate may start
// with files in its own layer, with the value "true".
const AllowChanges = "io.bootc-podman.allow-changes"

// userNameLetters are those of the names that podman adds lines for.
const userNameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

// maxAccounts bounds /etc/passwd and /etc/group of an image.
const maxAccounts = 1 << 20

// checkUpper returns why the container's own layer, the upper directory of its root,
// has more in it than podman itself puts there before the hook runs. That is, in podman
// 4.3.1 to 6.1.1 with any runtime: the directory /etc, in it the link mtab to
// /proc/mounts, and passwd and group as in the image, with lines added for users who are
// not in them. layers are those of the image in the store bootc, the topmost first.
func (v *Invocation) checkUpper(own, bootc *graph, c cstorage.Container, layers []string) error {
	if own.Driver != cstorage.Overlay {
		return refuse("with the storage driver %s the container's own files cannot be distinguished from the image's; annotation %s=true allows them", own.Driver, AllowChanges)
	}
	dir := own.Driver.Files(c.Layer)
	if err := v.checkMountedUpper(own, c.Layer, dir); err != nil {
		return err
	}
	upper, err := rooted.Open(own.Dir, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("read the container's own layer: %w", err)
	}
	defer upper.Close()
	u := upperLayer{dir: upper, bootc: bootc, layers: layers}
	found, err := u.unexpected()
	if err != nil {
		return fmt.Errorf("read the container's own layer: %w", err)
	}
	if found != "" {
		return refuse("the container's own layer has %s, which is not of the image (podman cp or an earlier run put it there); annotation %s=true allows such files", found, AllowChanges)
	}
	return nil
}

// checkMountedUpper returns why the directory of the container's own layer is not the
// one that the kernel writes to.
func (v *Invocation) checkMountedUpper(own *graph, layer, dir string) error {
	options, err := v.mountOptions(own, layer)
	if err != nil {
		return fmt.Errorf("find the container's own layer: %w", err)
	}
	for option := range strings.SplitSeq(options, ",") {
		at, ok := strings.CutPrefix(option, "upperdir=")
		if !ok || at == layer+"/diff" {
			continue
		}
		same, err := v.isDir(at, own, dir)
		if err != nil {
			return fmt.Errorf("find the container's own layer: %w", err)
		}
		if !same {
			return refuse("the container's own layer is %s, not one of %s", at, own.path)
		}
	}
	return nil
}

// isDir reports whether a directory of the host is one of a store. The error is about the
// first.
func (v *Invocation) isDir(path string, g *graph, dir string) (bool, error) {
	is, err := v.identify(path)
	if err != nil {
		return false, err
	}
	st, err := rooted.Stat(g.Dir, dir, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && is == rooted.ID{Dev: st.Dev, Ino: st.Ino}, nil
}

// identify names a directory of the host.
func (v *Invocation) identify(dir string) (rooted.ID, error) {
	f, err := v.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return rooted.ID{}, err
	}
	defer f.Close()
	return rooted.Identify(f)
}

// upperLayer is the container's own layer, above those of its image.
type upperLayer struct {
	dir    *os.File
	bootc  *graph
	layers []string
}

// unexpected returns the first file that podman does not put there, "" for none.
func (u upperLayer) unexpected() (string, error) {
	names, err := rooted.Names(u.dir, ".")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name != "etc" {
			return "/" + name, nil
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	ok, err := u.isPlain("etc", unix.S_IFDIR)
	if err != nil || !ok {
		return "/etc", err
	}
	names, err = rooted.Names(u.dir, "etc")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		ok := false
		switch name {
		case "mtab":
			target, err := u.readlink("etc/mtab")
			ok = err == nil && target == "/proc/mounts"
		case "passwd", "group":
			if ok, err = u.isExtended(name); err != nil {
				return "", err
			}
		}
		if !ok {
			return "/etc/" + name, nil
		}
	}
	return "", nil
}

// isPlain reports whether a file is of a kind, and not another file, or more or less of
// a directory, in the eyes of overlayfs than it is by itself. It has owner and mode of
// the image's, if that has it.
func (u upperLayer) isPlain(name string, kind uint32) (bool, error) {
	st, err := rooted.Stat(u.dir, name, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != kind {
		return false, nil
	}
	image, err := u.inImage(name)
	if err != nil {
		return false, err
	}
	if image != nil {
		defer image.Close()
		var of unix.Stat_t
		if err := unix.Fstat(int(image.Fd()), &of); err != nil {
			return false, err
		}
		if of.Mode != st.Mode || of.Uid != st.Uid || of.Gid != st.Gid {
			return false, nil
		}
	} else if st.Uid != 0 || st.Mode&0o022 != 0 {
		return false, nil
	}
	f, err := rooted.Open(u.dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return false, err
	}
	defer f.Close()
	attrs, err := overlayAttributes(f)
	if err != nil {
		return false, err
	}
	for _, attr := range attrs {
		switch {
		case attr == "origin", attr == "impure":
		case attr == "opaque" && image == nil: // of a directory that is new
		default:
			return false, nil
		}
	}
	return true, nil
}

// overlayAttributes lists the extended attributes that mean something to overlayfs.
func overlayAttributes(f *os.File) (names []string, err error) {
	list := make([]byte, 64<<10) // the most that there is, see listxattr(2)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "list attributes", Path: f.Name(), Err: err}
	}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if _, attr, ok := strings.Cut(name, ".overlay."); ok {
			names = append(names, attr)
		}
	}
	return names, nil
}

// isExtended reports whether etc/passwd or etc/group is the image's with lines added,
// no line of which is of the user root.
func (u upperLayer) isExtended(name string) (bool, error) {
	if ok, err := u.isPlain("etc/"+name, unix.S_IFREG); err != nil || !ok {
		return false, err
	}
	now, err := rooted.ReadFile(u.dir, "etc/"+name, maxAccounts)
	if err != nil {
		return false, err
	}
	var before []byte
	if image, err := u.inImage("etc/" + name); err != nil {
		return false, err
	} else if image != nil {
		defer image.Close()
		if before, err = rooted.ReadLimited(image, maxAccounts); err != nil {
			return false, err
		}
	}
	added, ok := strings.CutPrefix(string(now), string(before))
	if !ok {
		return false, nil
	}
	// podman does not end the last line of the image's file, if that has no end.
	for line := range strings.Lines(added) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		want := map[string]int{"passwd": 7, "group": 4}[name]
		if len(fields) != want || strings.Trim(fields[0], userNameLetters) != "" {
			return false, nil
		}
		// The group 0 has the name 0 where the image has no name for it.
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil || id == 0 && (name != "group" || fields[0] != "0") {
			return false, nil
		}
	}
	return true, nil
}

// inImage opens a file of the image as overlayfs shows it, whose directories are no
// links; nil for none.
func (u upperLayer) inImage(name string) (*os.File, error) {
	for _, layer := range u.layers {
		below := u.bootc.Driver.Files(layer)
		hidden, err := u.hides(below, path.Dir(name))
		if err != nil {
			return nil, err
		}
		st, err := rooted.Stat(u.bootc.Dir, filepath.Join(below, name), unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
			return nil, nil // a whiteout
		case err == nil:
			flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
			if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
				flags = unix.O_PATH | unix.O_NOFOLLOW
			}
			return rooted.Open(u.bootc.Dir, filepath.Join(below, name), flags)
		case hidden:
			return nil, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return nil, nil
}

// hides reports whether a directory of a layer hides those of the layers below it.
func (u upperLayer) hides(layer, dir string) (bool, error) {
	if dir == "." {
		return false, nil
	}
	f, err := rooted.Open(u.bootc.Dir, filepath.Join(layer, dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case rooted.IsOneOf(err, unix.ENOTDIR, unix.ELOOP): // no directory, but a file or a link
		return true, nil
	case err != nil:
		return false, err
	}
	defer f.Close()
	attrs, err := overlayAttributes(f)
	return slices.Contains(attrs, "opaque"), err
}

func (u upperLayer) readlink(name string) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(u.dir.Fd()), name, target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}
