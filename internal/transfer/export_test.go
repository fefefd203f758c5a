// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"os"
	"strings"
	"testing"
)

const imageName = "quay.io/example/os:42"

// capNetRaw is the extended attribute of a program with cap_net_raw=ep.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// systemTree is the tree of a system with all that is hard to carry over.
func systemTree(m treeMaker) {
	for _, dir := range []string{"usr/bin", "usr/lib", "usr/etc/sub", "var/log", "sysroot", "boot"} {
		m.mkdir(dir, 0o755)
	}
	m.mkdir("tmp", 0o1777)
	m.mkdir("root", 0o700)
	m.mkdir("usr/lib/group", 0o2755)
	m.chown("usr/lib/group", 3, 4, 0o2755)
	m.file("usr/bin/sh", "shell", 0o755)
	m.file("usr/bin/su", "su", 0o4755)
	m.chown("usr/bin/su", 0, 12, 0o4755)
	m.file("usr/bin/ping", "ping", 0o755)
	m.xattr("usr/bin/ping", "security.capability", capNetRaw)
	m.file("usr/lib/xattrs", "xattrs", 0o640)
	m.xattr("usr/lib/xattrs", "user.empty", "")
	m.xattr("usr/lib/xattrs", "user.bytes", "\x00\xff=\n")
	m.xattr("usr/lib/xattrs", "user.long", strings.Repeat("x", 1000))
	m.xattr("usr/lib", "user.dir", "of a directory")
	m.file("usr/lib/big", strings.Repeat("0123456789abcdef", 100_000), 0o644)
	m.file("usr/lib/empty", "", 0o644)
	m.file("usr/lib/empty2", "", 0o600)
	m.file("usr/lib/new\nline", "newline", 0o644)
	m.file("usr/lib/grüße 漢字", "names", 0o644)
	m.file("usr/lib/back\\slash \"quote\" =", "odd", 0o644)
	m.file("usr/lib/ trailing ", "odd", 0o644)
	m.file("usr/lib/"+strings.Repeat("n", 200), "long name", 0o644)
	long := strings.Repeat("directory/", 40)
	m.file("usr/lib/"+long+"file", "long path", 0o644)
	m.link("usr/lib/link", "../bin/sh")
	m.link("usr/lib/long link", "/"+long+"file")
	m.link("usr/lib/ключ", "ü\n")
	m.chown("usr/lib/link", 5, 6, 0)
	m.link("lib", "usr/lib")
	m.ok(os.Link(m.path("usr/bin/sh"), m.path("usr/bin/bash")))
	m.file("usr/etc/passwd", "root:x:0:0", 0o644)
	m.file("usr/etc/shadow", "root:*", 0)
	m.file("usr/etc/sub/conf", "conf", 0o644)
	m.file("usr/etc/gone", "gone", 0o644)
	m.file("usr/etc/hostname", "", 0o644)
	m.link("usr/etc/os-release", "../usr/lib/os-release")
	m.file("usr/share/hidden/old", "old", 0o644)
	m.file("usr/share/gone/old", "old", 0o644)
	m.file("usr/lib/changed", "old", 0o644)
	m.chown("usr/lib/big", 1000, 4_000_000, 0)
}

// derivedTree changes and removes some of systemTree. It names directories only
// to put files into them.
func derivedTree(m treeMaker) {
	m.file("usr/lib/changed", "new", 0o600)
	m.file("usr/etc/.wh.gone", "", 0o644)
	m.file("usr/etc/added", "added", 0o644)
	m.file("usr/share/.wh.gone", "", 0o644)
	m.file("usr/share/hidden/.wh..wh..opq", "", 0o644)
	m.file("usr/share/hidden/new", "new", 0o644)
	m.file("tmp/file", "in a directory of mode 1777", 0o644)
	m.file("root/file", "in a directory of mode 0700", 0o644)
	m.file("usr/lib/group/file", "in a directory of a group", 0o644)
}

// lastTree is a layer more.
func lastTree(m treeMaker) {
	m.file("usr/share/gone/again", "again", 0o644)
	m.mkdir("usr/share/gone", 0o751)
	m.file("usr/etc/resolv.conf", "nameserver ::1", 0o644)
	m.file("usr/lib/.wh.link", "", 0o644)
}

// images are those that exports are tested with.
var images = map[string]func(f *fixture){
	"plain": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(derivedTree))
		f.layer(f.tree(lastTree))
	},
	"ostree base without chunks": func(f *fixture) {
		f.base(f.tree(systemTree))
		f.layer(f.tree(derivedTree))
	},
	"ostree base with chunks": func(f *fixture) {
		f.base(f.tree(systemTree), "/usr/lib", "/usr/bin", "/usr/etc", "/usr/share/gone")
		f.layer(f.tree(derivedTree))
		f.layer(f.tree(lastTree))
	},
	"ostree base alone": func(f *fixture) { f.base(f.tree(systemTree), "/usr") },
	"one file": func(f *fixture) {
		f.layer(f.tree(func(m treeMaker) { m.file("file", "one", 0o644) }))
	},
	"all of /usr replaced": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(func(m treeMaker) {
			m.file("usr/.wh..wh..opq", "", 0o644)
			m.file("usr/etc/only", "only", 0o644)
			m.file("usr/bin/only", "only", 0o755)
		}))
	},
	"/etc removed": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(func(m treeMaker) { m.file("usr/.wh.etc", "", 0o644) }))
	},
	"/usr hidden, no /etc": func(f *fixture) {
		f.layer(f.tree(systemTree))
		f.layer(f.tree(func(m treeMaker) { m.file("usr/.wh..wh..opq", "", 0o644) }))
	},
}

func TestExportEqualsACheckoutOfTheImage(t *testing.T) {
	for name, image := range images {
		for _, driver := range []string{"vfs", "overlay"} {
			t.Run(name+" "+driver, func(t *testing.T) {
				f := newFixture(t)
				image(f)
				commit := f.merge()
				e := f.export()
				s := newStore(t, driver)
				s.take(e, imageName)
				n := compareTrees(t, s.mount(imageName), f.checkout(commit))
				t.Logf("%d files compared", n)
				if got := s.podman("image", "inspect", "--format={{.Digest}} {{.Id}}", imageName); got != e.ManifestDigest+" "+strings.TrimPrefix(e.ConfigDigest, "sha256:") {
					t.Errorf("podman has %s, exported manifest %s, configuration %s", got, e.ManifestDigest, e.ConfigDigest)
				}
			})
		}
	}
}
