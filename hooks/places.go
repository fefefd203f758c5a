// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// protectedPaths are the directories of a bootc host that a container should not
// write to: what it boots, and the bootc-owned store.
func protectedPaths() []string {
	return []string{
		"/sysroot/ostree/bootc/storage", "/sysroot/composefs/bootc/storage", "/run/bootc/storage", "/usr/lib/bootc/storage",
		"/sysroot/ostree", "/sysroot/composefs", "/sysroot/state/deploy", "/ostree", "/boot/efi", "/efi", "/boot",
	}
}

// ownPaths are what a booted deployment mounts as its own. On the disk they lie in
// protected directories, /var in /sysroot/ostree/deploy/NAME/var for one, and /etc in
// /sysroot/state/deploy/ID/etc, but to write to them under these names is what they are for.
func ownPaths() []string { return []string{"/", "/etc", "/var"} }

// place is where a file is: by its path in this mount namespace, and in its file
// system, whatever of that is mounted where.
type place struct {
	path string
	// name is the path that messages have for a protected directory.
	name string
	// dev is the device, in the numbers of the mount table, and inside the path in
	// it. dev is "" where the mount table does not have the mount.
	dev    string
	inside string
	// mount is nil where the mount table does not have it.
	mount *mountinfo.Info
}

// places has the mounts and the protected directories of a host.
type places struct {
	source    func(path string) (*os.File, error)
	mounts    map[int]*mountinfo.Info
	protected []place
	own       []place
	// ids are those of protected directories.
	ids map[rooted.ID]string
}

// places reads the mount table and finds what is protected. Paths that do not
// exist are left out.
func (v *Invocation) places() (*places, error) {
	table, err := v.mounts()
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	p := &places{source: v.openSource, mounts: map[int]*mountinfo.Info{}, ids: map[rooted.ID]string{}}
	for _, m := range table {
		p.mounts[m.ID] = m
	}
	for _, name := range append(protectedPaths(), v.bootPartitions(table)...) {
		f, at, err := p.open(name)
		if err != nil {
			continue
		}
		if id, err := rooted.Identify(f); err == nil && p.ids[id] == "" {
			p.ids[id] = name
			at.name = name
			p.protected = append(p.protected, at)
		}
		f.Close()
	}
	for _, name := range ownPaths() {
		if f, at, err := p.open(name); err == nil {
			f.Close()
			p.own = append(p.own, at)
		}
	}
	return p, nil
}

// bootPartitions are where EFI system partitions are mounted, wherever that is: FAT file
// systems on a partition of that type or, where udev has no type, with a
// directory EFI at the top.
func (v *Invocation) bootPartitions(table []*mountinfo.Info) (paths []string) {
	for _, m := range table {
		at, ok := below(m.Mountpoint, filepath.Clean(v.Root))
		if !ok || m.FSType != "vfat" && m.FSType != "msdos" {
			continue
		}
		at = "/" + at
		kind, known := v.partitionType(m.Major, m.Minor)
		if !known {
			f, err := v.open(at+"/EFI", unix.O_PATH|unix.O_DIRECTORY)
			if err != nil || m.Root != "/" {
				continue
			}
			f.Close()
		} else if !slices.Contains([]string{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"}, kind) {
			continue
		}
		paths = append(paths, at)
	}
	return paths
}

// partitionType is the type of a partition, a UUID or a number, by what udev found.
func (v *Invocation) partitionType(major, minor int) (kind string, known bool) {
	content, err := readBelow(v.Root, fmt.Sprintf("run/udev/data/b%d:%d", major, minor), maxState)
	if err != nil {
		return "", false
	}
	_, rest, known := strings.Cut(string(content), "\nE:ID_PART_ENTRY_TYPE=")
	kind, _, _ = strings.Cut(rest, "\n")
	return strings.ToLower(kind), known
}

// open opens a file of the host, following links, and returns where it is.
func (p *places) open(name string) (*os.File, place, error) {
	f, err := p.source(name)
	if err != nil {
		return nil, place{}, err
	}
	at := place{}
	if at.path, err = pathOf(f); err != nil {
		f.Close()
		return nil, place{}, err
	}
	var st unix.Statx_t
	_ = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) // 0 is no mount
	if m := p.mounts[int(st.Mnt_id)]; m != nil {
		if rest, ok := below(at.path, m.Mountpoint); ok {
			at.mount = m
			at.dev, at.inside = fmt.Sprintf("%d:%d", m.Major, m.Minor), path.Join(m.Root, rest)
		}
	}
	return f, at, nil
}

// pathOf returns the path of an open file, without links.
func pathOf(f *os.File) (string, error) {
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
}

// below returns the path below dir, "" for dir itself.
func below(name, dir string) (string, bool) {
	if dir == "/" {
		return strings.TrimPrefix(name, "/"), strings.HasPrefix(name, "/")
	}
	rest, ok := strings.CutPrefix(name, dir)
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return strings.TrimPrefix(rest, "/"), true
}

var errVanished = errors.New("source does not exist")

// guard returns the protected directory that a mount source is, or lies in, and
// "" for any other source. Parents of protected directories are none: installers
// mount "/". canonical is the source without links.
func (p *places) guard(source string) (protected, canonical string, err error) {
	f, at, err := p.open(source)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", source, errVanished
	}
	if err != nil {
		return "", source, err
	}
	defer f.Close()
	if protected = p.at(at); protected == "" {
		protected = p.above(f, at)
	}
	if protected == "" {
		protected = p.written(at)
	}
	return protected, at.path, nil
}

// written returns the protected directory that an overlay keeps what is written to it in,
// "" for none: a volume of type overlay is a directory that podman has mounted as one.
// The overlays that the host itself runs on are left out.
func (p *places) written(at place) string {
	if at.mount == nil || at.mount.FSType != "overlay" ||
		slices.ContainsFunc(p.own, func(own place) bool { return own.mount != nil && own.mount.ID == at.mount.ID }) {
		return ""
	}
	for _, dir := range writtenDirs(strings.Split(at.mount.VFSOptions, ",")) {
		f, at, err := p.open(dir)
		if err != nil {
			continue
		}
		f.Close()
		if protected := p.at(at); protected != "" {
			return protected
		}
	}
	return ""
}

// writtenDirs are the directories that an overlay with these options writes to. In the
// mount table, some characters are octal numbers, see proc_pid_mountinfo(5).
func writtenDirs(options []string) (dirs []string) {
	unquote := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\054`, ",", `\,`, ",")
	for _, o := range options {
		if name, dir, ok := strings.Cut(o, "="); ok && (name == "upperdir" || name == "workdir") && filepath.IsAbs(dir) {
			dirs = append(dirs, unquote.Replace(dir))
		}
	}
	return dirs
}

// contained returns the protected directories that lie in a source, without those that
// lie in another one. recursive says that what is mounted below it comes with it.
func (p *places) contained(source string, recursive bool) (names []string) {
	f, at, err := p.open(source)
	if err != nil {
		return nil
	}
	f.Close()
	for _, base := range p.protected {
		rest, ok := below(base.path, at.path)
		_, inside := base.depthIn(at)
		if recursive && ok && rest != "" || inside {
			names = append(names, base.name)
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(names, func(other string) bool {
			rest, ok := below(name, other)
			return ok && rest != ""
		})
	})
}

// at returns the protected directory that a place is in, "" for none.
func (p *places) at(at place) string {
	for _, base := range p.protected {
		if _, ok := below(at.path, base.path); ok {
			return base.name
		}
	}
	// The same files under another name: a bind mount of a protected directory or
	// of something in it, or the file system mounted a second time.
	best, name := -1, ""
	for _, base := range p.protected {
		if depth, ok := at.depthIn(base); ok && depth > best {
			best, name = depth, base.name
		}
	}
	for _, base := range p.own {
		if depth, ok := at.depthIn(base); ok && depth > best {
			return ""
		}
	}
	return name
}

// depthIn reports whether a place is in a directory, by file system, and how deep
// that directory is in it.
func (at place) depthIn(dir place) (depth int, ok bool) {
	if at.dev == "" || at.dev != dir.dev {
		return 0, false
	}
	_, ok = below(at.inside, dir.inside)
	return len(strings.TrimSuffix(dir.inside, "/")), ok
}

// above looks for a protected directory above a source whose mount is not in the
// table, since it is in another mount namespace: /proc/PID/root/sysroot/ostree.
func (p *places) above(f *os.File, at place) string {
	if at.dev != "" {
		return ""
	}
	fd, err := unix.Openat(int(f.Fd()), ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil { // a file
		if fd, err = unix.Open(filepath.Dir(f.Name()), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return ""
		}
	}
	dir := os.NewFile(uintptr(fd), ".")
	for range 128 {
		id, err := rooted.Identify(dir)
		if name := p.ids[id]; err != nil || name != "" {
			dir.Close()
			return name
		}
		fd, err := unix.Openat(int(dir.Fd()), "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		dir.Close()
		if err != nil {
			return ""
		}
		dir = os.NewFile(uintptr(fd), "..")
		if above, err := rooted.Identify(dir); err == nil && above == id {
			break
		}
	}
	dir.Close()
	return ""
}

// writableBelow returns where something is mounted in a directory that can be
// written to, "" for nowhere: a mount that is made read-only, and not recursively so,
// leaves what is mounted below it as it is.
func (p *places) writableBelow(dir string) string {
	first := ""
	for _, m := range p.mounts {
		rest, ok := below(m.Mountpoint, dir)
		if ok && rest != "" && m.FSType != "autofs" && isWritable(strings.Split(m.Options, ",")) &&
			(first == "" || m.Mountpoint < first) {
			first = m.Mountpoint
		}
	}
	return first
}
