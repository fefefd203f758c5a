// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package diskuse

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/extents"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

const (
	// maxWorkers is how many directories are read at a time.
	maxWorkers = 8
	// maxProblems is how many errors of files are reported one by one.
	maxProblems = 10
	// sector is the unit of st_blocks.
	sector = 512
	// largestBlock is the largest unit in which extents are counted: most filesystems have
	// blocks of this size.
	largestBlock = 4096
)

// A class is what happens to files: bit 0 is set for those that nothing needs, bit 1 for
// those that bootc's next cleanup removes. The files of the store with the index i have the
// classes from i*classes on.
const (
	classes           = 4
	unneeded, removed = 1, 2
)

// sum is what the files of a class take.
type sum struct {
	files, logical, allocated, compressed int64
	// rest is what is on the disk without an extent that could be shared: directories,
	// content among metadata, content without a place yet.
	rest int64
}

func (s *sum) add(t sum) {
	s.files += t.files
	s.logical += t.logical
	s.allocated += t.allocated
	s.compressed += t.compressed
	s.rest += t.rest
}

// filesystem is one that stores lie on. The subvolumes of a Btrfs have one.
type filesystem struct {
	unit uint64
	// classes are the blocks of the files of each class.
	classes []blocks
}

// device is what the kernel gives a number of its own: a filesystem, or a subvolume.
type device struct {
	*filesystem
	// linked has the inodes with several names that were counted.
	linked bitset
}

// walker counts the files below directories.
type walker struct {
	extents bool
	// tops are the directories that are counted by themselves.
	tops map[rooted.ID]bool

	mu       sync.Mutex
	more     sync.Cond
	todo     []directory
	busy     int
	sums     []sum
	devices  map[uint64]*device
	known    map[string]*filesystem
	problems []error
	left     int
}

// directory is one to be read. It is opened by its path below top: the number of
// descriptors has a limit.
type directory struct {
	top   *os.File
	path  string
	id    rooted.ID
	mount uint64
	class int
	// classOf returns the class of a directory by its path, or of a file, that has another
	// class than the directory it lies in.
	classOf func(path string, st *unix.Statx_t) (class int, other bool)
}

func newWalker(stores int, withExtents bool) *walker {
	w := &walker{
		extents: withExtents, tops: map[rooted.ID]bool{}, sums: make([]sum, stores*classes),
		devices: map[uint64]*device{}, known: map[string]*filesystem{},
	}
	w.more.L = &w.mu
	return w
}

// add adds a directory to be walked, and reports whether it is new.
func (w *walker) add(d directory) bool {
	st, err := statx(int(d.top.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		w.problem(d, "", err)
		return true
	}
	d.id, d.mount, d.path = idOf(&st), st.Mnt_id, "."
	if w.tops[d.id] {
		return false
	}
	w.tops[d.id] = true
	w.todo = append(w.todo, d)
	return true
}

// run walks over all directories that were added. The error is that of ctx.
func (w *walker) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.more.Broadcast)
	defer stop()
	var wg sync.WaitGroup
	for range min(max(runtime.NumCPU(), 2), maxWorkers) {
		wg.Go(func() { w.work(ctx) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (w *walker) work(ctx context.Context) {
	b := &batch{walker: w, buffer: make([]byte, 64<<10)}
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.todo) == 0 && w.busy > 0 && ctx.Err() == nil {
			w.more.Wait()
		}
		if len(w.todo) == 0 || ctx.Err() != nil {
			return
		}
		d := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.busy++
		w.mu.Unlock()
		b.read(ctx, d)
		w.mu.Lock()
		w.busy--
		w.more.Broadcast()
	}
}

// problem records an error about a file in a directory. A missing file was removed
// meanwhile.
func (w *walker) problem(d directory, name string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.problems) < maxProblems {
		w.problems = append(w.problems, fmt.Errorf("count %q: %w", filepath.Join(d.top.Name(), d.path, name), err))
	} else {
		w.left++
	}
}

// errors returns the problems.
func (w *walker) errors() []error {
	if w.left > 0 {
		return append(w.problems, fmt.Errorf("count files: %d more could not be read", w.left))
	}
	return w.problems
}

// batch is what one worker found in a directory, and its buffers.
type batch struct {
	*walker
	buffer []byte
	reader extents.Reader
	below  []directory
	sums   map[int]*sum
	found  []found
}

// found is an extent, in blocks of its filesystem.
type found struct {
	at         *filesystem
	class      int
	first, end uint64
	shared     bool
}

// maxFound is how many extents a worker keeps.
const maxFound = 4096

func (b *batch) sum(class int) *sum {
	if b.sums[class] == nil {
		b.sums[class] = &sum{}
	}
	return b.sums[class]
}

func (b *batch) read(ctx context.Context, d directory) {
	b.sums = map[int]*sum{}
	dir, err := rooted.Open(d.top, d.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		b.problem(d, "", errors.Unwrap(err))
		return
	}
	defer dir.Close()
	fd := int(dir.Fd())
	st, err := statx(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		b.problem(d, "", err)
		return
	}
	if idOf(&st) != d.id || st.Mnt_id != d.mount {
		return // replaced meanwhile
	}
	size := int64(st.Blocks) * sector
	b.sum(d.class).add(sum{allocated: size, rest: size})
	dev := b.device(fd, d.id.Dev)
	err = readNames(fd, b.buffer, func(inode uint64, name string) {
		if ctx.Err() == nil {
			b.entry(d, fd, dev, inode, name)
		}
	})
	if err != nil {
		b.problem(d, "", err)
	}
	b.flush()
}

// flush adds what was found to the walker.
func (b *batch) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for class, s := range b.sums {
		b.walker.sums[class].add(*s)
	}
	for _, f := range b.found {
		f.at.classes[f.class].add(f.first, f.end, f.shared)
	}
	b.todo = append(b.todo, b.below...)
	clear(b.sums)
	b.found, b.below = b.found[:0], b.below[:0]
	b.more.Broadcast()
}

// entry counts a file in a directory. inode is that of the directory's entry: below a mount
// point it is another than that of the file which is seen.
func (b *batch) entry(d directory, fd int, dev *device, inode uint64, name string) {
	st, err := statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if err != nil {
		b.problem(d, name, err)
		return
	}
	id := idOf(&st)
	// podman mounts directories of a store on themselves, which hides nothing.
	if st.Mnt_id != d.mount && (id.Dev != d.id.Dev || st.Ino != inode) {
		return
	}
	class, at := d.class, path.Join(d.path, name)
	if d.classOf != nil {
		if other, ok := d.classOf(at, &st); ok {
			class = other
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if !b.tops[id] {
			b.below = append(b.below, directory{top: d.top, path: at, id: id, mount: st.Mnt_id, class: class, classOf: d.classOf})
		}
		return
	}
	if id.Dev != d.id.Dev {
		dev = b.device(fd, id.Dev)
	}
	if st.Nlink > 1 && !b.first(dev, st.Ino) {
		return
	}
	size := int64(st.Blocks) * sector
	s := sum{files: 1, allocated: size, rest: size}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		s.logical = int64(st.Size)
		if b.extents && st.Size > 0 {
			err = b.mapFile(fd, name, dev, class, &s)
		}
	case unix.S_IFLNK:
		s.logical = int64(st.Size)
	}
	if err != nil {
		b.problem(d, name, err)
	}
	b.sum(class).add(s)
}

// first reports whether an inode with several names is seen for the first time.
func (w *walker) first(dev *device, inode uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return dev.linked.add(inode)
}

// mapFile finds the extents of a regular file, and sets what of it has none.
func (b *batch) mapFile(dir int, name string, dev *device, class int, s *sum) error {
	// Opening a FIFO would wait.
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var placed, inline int64
	// What is allocated behind the end of a file counts, too.
	err = b.reader.Read(fd, 1<<63-1, func(e extents.Extent) {
		switch {
		case e.Flags&extents.Unknown != 0:
			return
		case e.Flags&extents.Inline != 0:
			// Btrfs reports a whole block.
			inline += min(int64(e.End()), s.logical) - min(int64(e.Logical), s.logical)
			return
		}
		placed += int64(e.Length)
		if e.Flags&extents.Encoded != 0 {
			s.compressed += int64(e.Length)
		}
		b.found = append(b.found, found{
			at: dev.filesystem, class: class, shared: e.Flags&extents.Shared != 0,
			first: e.Physical / dev.unit, end: (e.Physical + e.Length + dev.unit - 1) / dev.unit,
		})
		if len(b.found) > maxFound {
			b.flush()
		}
	})
	s.rest = max(0, s.allocated-placed)
	if inline > 0 {
		s.rest = min(s.rest, inline)
	}
	// A filesystem that does not report extents shares none.
	if rooted.IsOneOf(err, unix.EOPNOTSUPP, unix.ENOTTY) {
		err = nil
	}
	return err
}

// device returns the device of a directory, or of a file in it.
func (w *walker) device(dir int, number uint64) *device {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.devices[number] == nil {
		key, unit := identify(dir, number)
		if w.known[key] == nil {
			f := &filesystem{unit: unit, classes: make([]blocks, len(w.sums))}
			for i := range f.classes {
				f.classes[i] = blocks{}
			}
			w.known[key] = f
		}
		w.devices[number] = &device{w.known[key], bitset{}}
	}
	return w.devices[number]
}

// ioctlBtrfsInfo is BTRFS_IOC_FS_INFO of linux/btrfs.h, which fills 1024 bytes: the
// identifier of the filesystem is at 16. The bits that say that something is read are others
// on POWER.
const ioctlBtrfsInfo = unix.BLKGETSIZE64&0xc000_0000 | 1024<<16 | 0x94<<8 | 31

// identify returns what names the filesystem of an open file, the number of its device but
// for Btrfs, and the size of its blocks.
func identify(fd int, number uint64) (key string, unit uint64) {
	key, unit = fmt.Sprint(number), largestBlock
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return key, unit
	}
	if size := uint64(st.Bsize); size > 0 && size < unit {
		unit = size
	}
	if uint32(st.Type) == unix.BTRFS_SUPER_MAGIC {
		var info [1024]byte
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlBtrfsInfo, uintptr(unsafe.Pointer(&info))); errno == 0 {
			key = fmt.Sprintf("btrfs %x", info[16:32])
		}
	}
	return key, unit
}

func statx(fd int, name string, flags int) (st unix.Statx_t, err error) {
	err = unix.Statx(fd, name, flags, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
	return st, err
}

func idOf(st *unix.Statx_t) rooted.ID {
	return rooted.ID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
}

// readNames calls visit with the entries of an open directory: struct linux_dirent64 of
// getdents(2). Package os does not return the inodes.
func readNames(fd int, buffer []byte, visit func(inode uint64, name string)) error {
	for {
		n, err := unix.Getdents(fd, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for rest := buffer[:n]; len(rest) > 0; {
			length := binary.NativeEndian.Uint16(rest[16:])
			name, _, _ := bytes.Cut(rest[19:length], []byte{0})
			if s := string(name); s != "." && s != ".." {
				visit(binary.NativeEndian.Uint64(rest), s)
			}
			rest = rest[length:]
		}
	}
}
