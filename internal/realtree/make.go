// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hard is the directory of the files that are hard to carry over.
const hard = "usr/lib/hard/"

// capNetRaw is the extended attribute of a program with cap_net_raw=ep.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// layers has what each layer of the image changes in the tree of those below.
var layers = map[string]func(t *tree){"base": makeBase, "second": makeSecond, "third": makeThird}

// makeBase makes a system that boots of any tree, and adds the hard files.
func makeBase(t *tree) {
	for _, dir := range []string{"sysroot", "boot", "proc", "sys", "dev", "run", "var", "etc", "usr/bin", "usr/lib/modules/6.1"} {
		t.mkdir(dir, 0o755)
	}
	t.mkdir("tmp", 0o1777)
	t.link("ostree", "sysroot/ostree")
	t.file("usr/lib/modules/6.1/vmlinuz", "kernel", 0o644)
	t.file("usr/lib/modules/6.1/initramfs.img", "initramfs", 0o644)
	t.file("etc/hard.conf", "in /etc", 0o640)
	t.file("etc/gone.conf", "removed by a later layer", 0o644)
	t.file("etc/changed.conf", "as first", 0o644)
	t.file("etc/grüße.conf", "not ASCII", 0o644)
	t.link("etc/os-release.link", "../usr/lib/os-release")
	t.mkdir("var/lib/hard", 0o750)
	t.file("var/lib/hard/state", "state", 0o600)

	t.file(hard+"setuid", "setuid", 0o4755)
	t.file(hard+"setgid", "setgid", 0o2755)
	t.chown(hard+"setgid", 0, 42, 0o2755)
	t.mkdir(hard+"sticky", 0o1777)
	t.mkdir(hard+"setgid.d", 0o2775)
	t.chown(hard+"setgid.d", 3, 4, 0o2775)
	t.file(hard+"mode0", "nobody may", 0)
	t.mkdir(hard+"readonly", 0o555)
	t.file(hard+"readonly/file", "in a read-only directory", 0o444)
	t.mkdir(hard+"mode0.d", 0)
	t.file(hard+"capable", "capable", 0o755)
	t.xattr(hard+"capable", "security.capability", capNetRaw)
	// One each: the ostree of Debian 12 does not order the attributes that it reads
	// from an archive, and then takes its own objects for corrupt.
	for name, value := range map[string]string{
		"user.plain": "value", "user.bytes": "\x00\xff\n=\r ü\x00", "user.grüße": "a name that is not ASCII",
		"user.with space": "a name with a space", "user.long": strings.Repeat("0123456789\n", 300),
		"user.empty": "", "trusted.note": "\x01of root\x00",
	} {
		t.file(hard+"xattrs/"+name, "with an attribute", 0o644)
		t.xattr(hard+"xattrs/"+name, name, value)
	}
	t.mkdir(hard+"xattrs.d", 0o755)
	t.xattr(hard+"xattrs.d", "trusted.dir", "of a directory, root's")
	t.link(hard+"xattrs.link", "xattrs/user.bytes")
	t.xattr(hard+"xattrs.link", "trusted.link", "of a link")
	t.file(hard+"no content", "", 0o644)
	t.mkdir(hard+"no entries", 0o755)
	for _, name := range []string{
		"new\nline", "grüße 漢字 ключ", "\U0001F600", "back\\slash", `"quotes" 'and' $HOME`, " blanks around ", "-dash", "tab\t", "\x7f\x01",
		".w", ".wh", ".whiteout", "wh.", "..wh.", ".wHATEVER", "a=b", "100 %", "..a", "a..", "...",
		strings.Repeat("n", 255), strings.Repeat("漢", 85), strings.Repeat("é", 50) + "\n",
	} {
		t.file(hard+"names/"+name, "a file called "+name, 0o644)
		t.mkdir(hard+"names.d/"+name, 0o755)
		t.link(hard+"names.link/"+name, name)
	}
	t.file(hard+strings.Repeat(strings.Repeat("d", 99)+"/", 20)+"deep", "a path of 2000 bytes", 0o644)
	t.link(hard+"dangling", "nowhere/at all")
	t.link(hard+"absolute", "/usr/bin")
	t.link(hard+"to a directory", "readonly")
	t.link(hard+"to itself", "to itself")
	t.link(hard+"long", "/"+strings.Repeat("long/", 200))
	t.link(hard+"double", "//usr//bin/../lib")
	t.link(hard+"not ASCII", "ключ\nзначение")
	t.sparse(hard+"sparse", 8<<20)
	t.file(hard+"nobody", "nobody's", 0o644)
	t.chown(hard+"nobody", 65534, 65534, 0o644)
	t.file(hard+"far owner", "far away", 0o644)
	t.chown(hard+"far owner", 4_000_000, 4_294_967_294, 0o644)
	t.link(hard+"owned link", "nobody")
	t.chown(hard+"owned link", 1000, 1001, 0)
	t.file(hard+"same1", "the same content", 0o644)
	t.file(hard+"same2", "the same content", 0o644)
	t.file(hard+"same3", "the same content", 0o600)
	t.hardlink(hard+"setuid", "usr/bin/hard-setuid")
	t.hardlink(hard+"capable", hard+"names/capable")
	t.hardlink(hard+"xattrs/user.bytes", "etc/hard-xattrs")
	t.hardlink(hard+"dangling", hard+"dangling too")
	t.random(hard+"random", 6<<20, 1)
	// What later layers change.
	t.file(hard+"gone", "removed", 0o644)
	t.file(hard+"gone.d/sub/file", "removed with its directory", 0o644)
	t.file(hard+"again", "removed, and there again", 0o644)
	t.file(hard+"again.d/old", "removed with its directory, which is there again", 0o644)
	t.file(hard+"opaque/old", "hidden", 0o644)
	t.file(hard+"opaque/sub/old", "hidden", 0o644)
	t.file(hard+"twice/first", "hidden twice", 0o644)
	t.file(hard+"changed", "as first", 0o644)
	t.file(hard+"moved/file", "moved", 0o644)
	t.file(hard+"chmod.d/file", "in a directory of another mode", 0o644)
	t.file(hard+"new\nlines/gone\n", "removed", 0o644)
	t.file(hard+"new\nlines/kept\n", "kept", 0o644)
}

// makeSecond removes, hides and replaces.
func makeSecond(t *tree) {
	t.remove(hard+"gone", hard+"gone.d", hard+"again", hard+"again.d", hard+"opaque", hard+"twice", hard+"moved", hard+"new\nlines/gone\n", "etc/gone.conf")
	t.file(hard+"opaque/new", "new in a hidden directory", 0o644)
	t.chown(hard+"opaque", 7, 8, 0o711)
	t.file(hard+"twice/second", "hidden by the third layer", 0o644)
	t.file(hard+"moved again/file", "moved", 0o644)
	t.file(hard+"changed", "as second", 0o4711)
	t.file("etc/changed.conf", "as second", 0o600)
	t.file("etc/added.conf", "added", 0o644)
	t.chmod(hard+"chmod.d", 0o700)
	t.file(hard+"second", "hard links in this layer", 0o2711)
	t.xattr(hard+"second", "user.second", "of the second layer")
	t.hardlink(hard+"second", "usr/bin/hard-second")
	t.file(hard+"sticky/file", "in a sticky directory", 0o644)
	t.file(hard+"setgid.d/file", "in a directory of a group", 0o644)
	t.file(hard+"capable2", "capable", 0o755)
	t.xattr(hard+"capable2", "security.capability", capNetRaw)
	t.remove(hard + "same2")
	t.random(hard+"random2", 1<<20, 2)
}

// makeThird changes what the second layer did.
func makeThird(t *tree) {
	t.file(hard+"again", "there again", 0o755)
	t.file(hard+"again.d/new", "there again", 0o644)
	t.remove(hard+"twice", hard+"second", "etc/added.conf", hard+"opaque/new")
	t.file(hard+"twice/third", "the only one left", 0o644)
	t.file(hard+"opaque/newer", "newer", 0o644)
	t.file("etc/gone.conf", "there again", 0o644)
	t.file(hard+"readonly/third", "in a read-only directory", 0)
	t.link(hard+"gone.d", "readonly")
	t.random(hard+"random3", 1<<20, 3)
}

// tree is a directory that files are put into. Its methods do nothing after the
// first error.
type tree struct {
	dir string
	err error
}

func makeTree(dir string, change func(*tree)) error {
	t := &tree{dir: dir}
	unix.Umask(0)
	change(t)
	return t.err
}

func (t *tree) do(name string, act func(path string) error) {
	if t.err != nil {
		return
	}
	if err := act(filepath.Join(t.dir, name)); err != nil {
		t.err = fmt.Errorf("make %.80q: %w", name, err)
	}
}

func (t *tree) mkdir(name string, mode uint32) {
	t.do(name, func(path string) error {
		// A link, as for /lib, will do.
		err := os.MkdirAll(path, 0o755)
		return errors.Join(err, unix.Chmod(path, mode))
	})
}

func (t *tree) file(name, content string, mode uint32) { t.write(name, []byte(content), mode) }

func (t *tree) write(name string, content []byte, mode uint32) {
	t.do(name, func(path string) error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		return unix.Chmod(path, mode)
	})
}

// random writes what cannot be compressed, the same for the same seed.
func (t *tree) random(name string, size int, seed byte) {
	content := make([]byte, size)
	_, err := rand.NewChaCha8([32]byte{seed}).Read(content)
	t.err = errors.Join(t.err, err)
	t.write(name, content, 0o644)
}

// sparse makes a file with a little content at both ends.
func (t *tree) sparse(name string, size int64) {
	t.file(name, "start", 0o644)
	t.do(name, func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(bytes.Repeat([]byte("end"), 1000), size)
		return errors.Join(err, f.Close())
	})
}

func (t *tree) link(name, target string) {
	t.do(name, func(path string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path))
	})
}

func (t *tree) hardlink(name, other string) {
	t.do(other, func(path string) error { return os.Link(filepath.Join(t.dir, name), path) })
}

func (t *tree) xattr(name, key, value string) {
	t.do(name, func(path string) error { return unix.Lsetxattr(path, key, []byte(value), 0) })
}

// chown changes the owner, and then the mode, which that takes bits from.
func (t *tree) chown(name string, uid, gid int, mode uint32) {
	t.do(name, func(path string) error {
		err := os.Lchown(path, uid, gid)
		if mode != 0 {
			err = errors.Join(err, unix.Chmod(path, mode))
		}
		return err
	})
}

func (t *tree) chmod(name string, mode uint32) {
	t.do(name, func(path string) error { return unix.Chmod(path, mode) })
}

func (t *tree) remove(names ...string) {
	for _, name := range names {
		t.do(name, func(path string) error {
			if _, err := os.Lstat(path); err != nil {
				return err
			}
			return os.RemoveAll(path)
		})
	}
}
