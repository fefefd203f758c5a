// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

func TestLocateFindsTheStore(t *testing.T) {
	for _, tc := range []struct {
		name    string
		tree    []string
		sysroot string // below the tree
		want    storageconf.Store
	}{
		{
			name: "booted ostree host",
			tree: []string{"sysroot/ostree/repo/", "sysroot/ostree/bootc/storage/", "ostree -> sysroot/ostree"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "physical root of an ostree host",
			tree: []string{"ostree/repo/", "ostree/bootc/storage/"},
			want: storageconf.Store{Physical: ".", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "ostree host without a store",
			tree: []string{"sysroot/ostree/repo/"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc"},
		},
		{
			name: "booted composefs host",
			tree: []string{"sysroot/composefs/bootc/storage/", "sysroot/ostree/bootc -> ../composefs/bootc"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "composefs host without a store",
			tree: []string{"sysroot/composefs/bootc/", "sysroot/ostree/bootc -> ../composefs/bootc"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc"},
		},
		{
			name: "composefs host whose link dangles",
			tree: []string{"sysroot/composefs/", "sysroot/ostree/bootc -> ../composefs/bootc"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "composefs/bootc"},
		},
		{
			name: "ostree and composefs host whose link dangles",
			tree: []string{"sysroot/composefs/", "sysroot/ostree/repo/", "sysroot/ostree/bootc -> ../composefs/bootc"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "composefs/bootc"},
		},
		{
			name: "composefs host without the link",
			tree: []string{"sysroot/composefs/bootc/storage/"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "composefs/bootc", Exists: true},
		},
		{
			name: "composefs host without the link, with an ostree directory",
			tree: []string{"sysroot/composefs/bootc/storage/", "sysroot/ostree/repo/"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "composefs/bootc", Exists: true},
		},
		{
			name: "composefs host that bootc has not touched",
			tree: []string{"composefs/", "ostree/"},
			want: storageconf.Store{Physical: ".", BootcRoot: "composefs/bootc"},
		},
		{
			name: "composefs host of an old bootc, with a real directory",
			tree: []string{"composefs/bootc/", "ostree/bootc/storage/"},
			want: storageconf.Store{Physical: ".", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "ostree host with a composefs directory",
			tree: []string{"sysroot/ostree/repo/", "sysroot/ostree/bootc/storage/", "sysroot/composefs/"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "ostree host with a composefs directory, without a store",
			tree: []string{"sysroot/ostree/repo/", "sysroot/composefs/"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc"},
		},
		{
			name: "physical root behind an absolute link",
			tree: []string{"sysroot -> /disk", "disk/ostree/bootc/storage/"},
			want: storageconf.Store{Physical: "sysroot", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "bootc directory behind an absolute link",
			tree: []string{"ostree/bootc -> /composefs/bootc", "composefs/bootc/storage/"},
			want: storageconf.Store{Physical: ".", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name: "store behind a link that climbs a level too many",
			tree: []string{"ostree/bootc/storage -> ../../../var/store", "var/store/"},
			want: storageconf.Store{Physical: ".", BootcRoot: "ostree/bootc", Exists: true},
		},
		{
			name:    "sysroot that is itself a link",
			tree:    []string{"mnt -> host", "host/ostree/bootc/storage/"},
			sysroot: "mnt",
			want:    storageconf.Store{Physical: ".", BootcRoot: "ostree/bootc", Exists: true},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sysroot := filepath.Join(makeTree(t, tc.tree...), tc.sysroot)
			want := tc.want
			want.Sysroot = sysroot
			got, err := storageconf.Locate(sysroot)
			if err != nil || got != want {
				t.Fatalf("want %+v, got %+v, %v", want, got, err)
			}
		})
	}
}

func TestLocateRefusesWhatIsNoStore(t *testing.T) {
	for _, tc := range []struct {
		name    string
		tree    []string
		sysroot string // below the tree
		want    error
	}{
		{name: "directory of some other system", tree: []string{"usr/", "etc/"}, want: storageconf.ErrNotBootcHost},
		{name: "empty physical root", tree: []string{"sysroot/"}, want: storageconf.ErrNotBootcHost},
		{name: "sysroot that does not exist", sysroot: "missing", want: fs.ErrNotExist},
		{name: "sysroot that is a file", tree: []string{"host = "}, sysroot: "host", want: unix.ENOTDIR},
		{name: "store that is a file", tree: []string{"ostree/bootc/storage = "}, want: unix.ENOTDIR},
		{name: "bootc directory that is a file", tree: []string{"ostree/bootc = "}, want: unix.ENOTDIR},
		{name: "store that is a link out of the sysroot", tree: []string{"host/ostree/bootc/storage -> ../../../outside", "outside/"}, sysroot: "host", want: storageconf.ErrDangling},
		{name: "store that is a link to nothing", tree: []string{"ostree/bootc/storage -> /nowhere"}, want: storageconf.ErrDangling},
		{name: "link to composefs where there is none", tree: []string{"ostree/repo/", "ostree/bootc -> ../composefs/bootc"}, want: storageconf.ErrDangling},
		{name: "store that is a link to itself", tree: []string{"ostree/bootc/storage -> storage"}, want: unix.ELOOP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := storageconf.Locate(filepath.Join(makeTree(t, tc.tree...), tc.sysroot))
			if !errors.Is(err, tc.want) || got.Exists {
				t.Fatalf("want error %v, got %+v, %v", tc.want, got, err)
			}
		})
	}
}

func TestStorePathKeepsTheWordsOfTheUser(t *testing.T) {
	top := makeTree(t, "sysroot/composefs/bootc/storage/", "sysroot/ostree/bootc -> ../composefs/bootc")
	t.Chdir(filepath.Dir(top))
	relative := filepath.Base(top)
	st, err := storageconf.Locate("./" + relative + "//")
	must(t, err)
	if st.Sysroot != relative {
		t.Errorf("want sysroot %q, got %q", relative, st.Sysroot)
	}
	if want, got := relative+"/sysroot/ostree/bootc/storage", st.Path(); want != got {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestStoreOpensTheDirectoryThatLocateFound(t *testing.T) {
	top := makeTree(t, "sysroot/composefs/bootc/storage/", "sysroot/ostree/bootc -> ../composefs/bootc")
	st, err := storageconf.Locate(top)
	must(t, err)
	for _, tc := range []struct {
		name string
		open func() (*os.File, error)
		want string
	}{
		{name: "store", open: st.Open, want: "sysroot/composefs/bootc/storage"},
		{name: "physical root", open: st.OpenPhysical, want: "sysroot"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, err := tc.open()
			must(t, err)
			defer dir.Close()
			// It must be more than an O_PATH descriptor, which cannot list.
			if _, err := dir.ReadDir(-1); err != nil {
				t.Error(err)
			}
			if want, got := filepath.Join(top, tc.want), realPath(t, dir); want != got {
				t.Errorf("want %q, got %q", want, got)
			}
		})
	}
}

func TestStoreOpenSaysThatThereIsNoStore(t *testing.T) {
	top := makeTree(t, "ostree/repo/")
	st, err := storageconf.Locate(top)
	must(t, err)
	if _, err := st.Open(); !errors.Is(err, storageconf.ErrNoStore) {
		t.Errorf("want %v, got %v", storageconf.ErrNoStore, err)
	}
	must(t, os.RemoveAll(top))
	if _, err := st.Open(); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, storageconf.ErrNoStore) {
		t.Errorf("without a sysroot: want %v, got %v", fs.ErrNotExist, err)
	}
}

func TestRootedOpenStaysBelowTheRoot(t *testing.T) {
	top := makeTree(t,
		"outside/secret = x", "secret = x",
		"root/in/file = x",
		"root/sysroot/ostree/bootc/storage/",
		"root/usr/lib/bootc/storage -> ../../../../sysroot/ostree/bootc/storage",
		"root/absolute -> /in",
		"root/slash -> /",
		"root/up -> ..",
		"root/climbing -> ../../../../../../in/file",
		"root/leak -> ../secret",
		"root/leakdir -> ../outside",
		"root/passwd -> /etc/passwd",
	)
	must(t, os.Symlink(filepath.Join(top, "secret"), filepath.Join(top, "root/host")))
	root := open(t, filepath.Join(top, "root"))
	for _, tc := range []struct {
		name string
		path string
		want string // below the root
		err  error
	}{
		{name: "plain path", path: "in/file", want: "in/file"},
		{name: "absolute path", path: "/in/file", want: "in/file"},
		{name: "root itself", path: ".", want: "."},
		{name: "parent of the root", path: "..", want: "."},
		{name: "path that climbs", path: "in/../../../in/file", want: "in/file"},
		{name: "link that bootc's package ships", path: "usr/lib/bootc/storage", want: "sysroot/ostree/bootc/storage"},
		{name: "absolute link", path: "absolute/file", want: "in/file"},
		{name: "link to the root directory", path: "slash/slash/in/file", want: "in/file"},
		{name: "link to the parent", path: "up/in/file", want: "in/file"},
		{name: "link that climbs", path: "climbing", want: "in/file"},
		{name: "file beside the root", path: "../secret", err: fs.ErrNotExist},
		{name: "link to a file beside the root", path: "leak", err: fs.ErrNotExist},
		{name: "link to a directory beside the root", path: "leakdir/secret", err: fs.ErrNotExist},
		{name: "link to a file of the host", path: "passwd", err: fs.ErrNotExist},
		{name: "absolute link to a file beside the root", path: "host", err: fs.ErrNotExist},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := rooted.Open(root, tc.path, unix.O_RDONLY)
			if !errors.Is(err, tc.err) {
				t.Fatalf("want error %v, got %v", tc.err, err)
			}
			if err != nil {
				return
			}
			defer f.Close()
			if want, got := filepath.Join(root.Name(), tc.want), realPath(t, f); want != got {
				t.Errorf("want %q, got %q", want, got)
			}
		})
	}
}

// TestRootedOpenRefusesMagicLinks uses those of procfs, which jump instead of being
// resolved: a chroot-like root alone would not hold them.
func TestRootedOpenRefusesMagicLinks(t *testing.T) {
	self := open(t, "/proc/self")
	for _, path := range []string{"cwd", "root", "root/etc", "exe", "fd/0", "ns/mnt"} {
		t.Run(path, func(t *testing.T) {
			f, err := rooted.Open(self, path, unix.O_PATH)
			if err == nil {
				f.Close()
			}
			if !errors.Is(err, unix.ELOOP) {
				t.Errorf("want %v, got %v", unix.ELOOP, err)
			}
		})
	}
}

func TestRootedOpenDoesNotLeakDescriptorsToPrograms(t *testing.T) {
	f, err := rooted.Open(open(t, t.TempDir()), ".", unix.O_RDONLY)
	must(t, err)
	defer f.Close()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("want close-on-exec, got flags %#x, %v", flags, err)
	}
}

// realPath is where the kernel says an open file is.
func realPath(t *testing.T, f *os.File) string {
	t.Helper()
	path, err := os.Readlink(procFD(f))
	must(t, err)
	return path
}

// FuzzRootedOpen builds a tree of directories, files and links out of tree, has the
// kernel resolve a path in it, and looks where that ended up.
func FuzzRootedOpen(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0, 2, 0, 1}, []byte{3, 0, 1, 3})
	f.Add([]byte{2, 1, 0, 2, 3, 0}, []byte{1, 0})
	f.Add([]byte{3, 1, 0, 1, 0}, []byte{1, 0})
	f.Add([]byte{4, 1, 0, 1, 0}, []byte{2, 0, 1})
	f.Add([]byte{5, 1, 0}, []byte{3, 0, 0, 1})
	top, err := filepath.EvalSymlinks(f.TempDir())
	must(f, err)
	inside := filepath.Join(top, "root")
	// What lies outside has the same names, for a resolution that escapes to
	// find something.
	for _, decoy := range []string{"a/a/a", "a/b", "b/a", "c"} {
		must(f, os.MkdirAll(filepath.Join(top, decoy), 0o700))
	}
	f.Fuzz(func(t *testing.T, tree, path []byte) {
		must(t, os.Mkdir(inside, 0o700))
		defer os.RemoveAll(inside)
		growTree(t, inside, top, fuzzBytes(tree))
		root, err := os.Open(inside)
		must(t, err)
		defer root.Close()
		wanted := fuzzBytes(path)
		opened, err := rooted.Open(root, wanted.path(), unix.O_PATH)
		if err != nil {
			return
		}
		defer opened.Close()
		if got := realPath(t, opened); got != inside && !strings.HasPrefix(got, inside+"/") {
			t.Errorf("want something below %q, got %q", inside, got)
		}
	})
}

// growTree makes what input says below inside. It cannot itself make anything
// elsewhere: os.Root sees to that.
func growTree(t *testing.T, inside, outside string, input fuzzBytes) {
	t.Helper()
	root, err := os.OpenRoot(inside)
	must(t, err)
	defer root.Close()
	for range 32 {
		kind, path := input.next()%6, input.path()
		// Many of these fail, on a name that is taken for one; that is fine.
		switch kind {
		case 0:
			_ = root.MkdirAll(path, 0o700)
		case 1:
			_ = root.WriteFile(path, nil, 0o600)
		case 2:
			_ = root.Symlink(input.path(), path)
		case 3:
			_ = root.Symlink("/"+input.path(), path)
		case 4:
			_ = root.Symlink(outside+"/"+input.path(), path)
		case 5:
			_ = root.Symlink("/proc/self/root", path)
		}
		if len(input) == 0 {
			return
		}
	}
}

// fuzzBytes turns bytes of the fuzzer into small numbers and paths.
type fuzzBytes []byte

// next is the next byte, and 0 after the last one.
func (b *fuzzBytes) next() byte {
	if len(*b) == 0 {
		return 0
	}
	first := (*b)[0]
	*b = (*b)[1:]
	return first
}

// path is a path of up to seven elements out of few, so that they often meet.
func (b *fuzzBytes) path() string {
	elements := []string{"a", "b", "c", "..", "."}
	var path []string
	for range b.next() % 8 {
		path = append(path, elements[int(b.next())%len(elements)])
	}
	return strings.Join(path, "/")
}
