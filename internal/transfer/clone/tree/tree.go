// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Counts are how much of a tree was made so far. They may be read at any time.
type Counts struct {
	// Files are entries of directories, Bytes those of regular files, and Copied those
	// bytes that do not share extents with the source.
	Files, Bytes, Copied atomic.Int64
}

// tree copies one directory tree. Its work is cut into items, each some entries of
// one directory. Each worker has a stack of those that it found, so the tree is walked
// depth first, and as many directories are open as lie on the way to what is looked at. A
// worker without items takes the oldest one of another: mostly another directory, since
// the kernel makes files of one directory one at a time, and XFS those of one allocation
// group, in which it keeps the files of a directory.
type tree struct {
	copier *Copier
	umask  uint32
	counts *Counts
	hubs   *hubs
	// headers are what entries are compared with, nil if they are not.
	headers *Headers

	mu sync.Mutex
	// ready is signaled when there is an item more or nothing left to wait for.
	ready  *sync.Cond
	stacks [][]item
	// pending is the number of items on all stacks.
	pending int
	// busy is the number of workers that may yet add items.
	busy int
	err  error
}

// directory is one of the source and the one made of it.
type directory struct {
	parent *directory
	name   string
	src    int
	dst    int
	// unread are the items of its entries that are not done; when there is none, the
	// directory has its final times and mode. users are those and the subdirectories
	// that have to be opened yet; when there is none, it is closed.
	unread, users atomic.Int32
	// node is that of an index, 0 until it is looked for, then -1 if there is none.
	node atomic.Int32
}

// item is a piece of work: entries of a directory or, without entries, a subdirectory
// that is to be opened and read.
type item struct {
	dir     *directory
	entries []dirent
	name    string
}

type dirent struct {
	name string
	// kind is one of the constants DT_ of readdir(3).
	kind uint8
}

// batch is the number of entries of one item.
const batch = 128

// Copy copies the content and the metadata of the directory src to the empty
// directory dst: all but SELinux labels, which are the destination's, and what only
// concerns mounts of the source. Regular files share their extents if they can.
// scratch is an empty directory on the filesystem of dst. Both are root's, and what is
// made in them gets neither a group nor an access control list of them. headers, if not
// nil, is what all entries are compared with. So many workers copy at a time.
//
// The error wraps clonejob.ErrUnsupported for a tree that is not a layer of overlayfs as
// the kernel itself would have it, clonejob.ErrNotVerified for one that differs, and
// clonejob.ErrChanged for one in which files are removed meanwhile.
func Copy(ctx context.Context, dst, src, scratch *os.File, from *Copiers, n *Counts, headers *Headers, workers int) error {
	c, _, err := from.from(src)
	if err != nil {
		return err
	}
	umask, err := readUmask()
	if err != nil {
		return err
	}
	t := &tree{copier: c, umask: umask, counts: n, hubs: newHubs(scratch), headers: headers, stacks: make([][]item, max(workers, 1))}
	t.ready = sync.NewCond(&t.mu)
	root, err := openRoot(dst, src)
	if err != nil {
		return err
	}
	t.push(0, item{dir: root})
	stop := context.AfterFunc(ctx, func() { t.fail(ctx.Err()) })
	defer stop()
	var wg sync.WaitGroup
	for i := range t.stacks {
		wg.Go(func() { t.work(i) })
	}
	wg.Wait()
	if t.err != nil {
		return t.err
	}
	if headers != nil {
		if err := headers.complete(); err != nil {
			return err
		}
	}
	return t.hubs.clear()
}

// openRoot opens the two directories once more, to be closed like all others.
func openRoot(dst, src *os.File) (*directory, error) {
	from, err := openSubdirectory(int(src.Fd()), ".")
	if err != nil {
		return nil, err
	}
	to, err := openSubdirectory(int(dst.Fd()), ".")
	if err != nil {
		unix.Close(from)
		return nil, err
	}
	d := &directory{name: ".", src: from, dst: to}
	d.users.Add(1)
	return d, nil
}

func openSubdirectory(dir int, name string) (int, error) {
	return Open(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME, 0)
}

// Open opens name in the open directory dir, like openat(2). A link is not followed. The
// error is that of the kernel.
func Open(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// path is the directory's path in the tree, for messages.
func (d *directory) path() string {
	if d.parent == nil {
		return d.name
	}
	return path.Join(d.parent.path(), d.name)
}

// leave closes the directory once no item needs it any more.
func (d *directory) leave() {
	if d.users.Add(-1) == 0 {
		unix.Close(d.src)
		unix.Close(d.dst)
	}
}

// push adds items to the stack of a worker.
func (t *tree) push(worker int, items ...item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stacks[worker] = append(t.stacks[worker], items...)
	t.pending += len(items)
	if len(items) > 1 {
		t.ready.Broadcast()
	} else {
		t.ready.Signal()
	}
}

// next takes an item off the stack of a worker, or of another if that is empty. It waits
// for one as long as there may be more, and returns false at the end or after an error.
func (t *tree) next(worker int) (it item, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.pending == 0 && t.busy > 0 && t.err == nil {
		t.ready.Wait()
	}
	if t.pending == 0 {
		t.ready.Broadcast()
		return item{}, false
	}
	it = t.take(worker)
	if t.err != nil {
		it.dir.leave()
		return item{}, true
	}
	t.busy++
	return it, true
}

// take takes the last item of a worker, or the first of another. There is one.
func (t *tree) take(worker int) (it item) {
	t.pending--
	if own := t.stacks[worker]; len(own) > 0 {
		last := len(own) - 1
		it, own[last] = own[last], item{}
		t.stacks[worker] = own[:last]
		return it
	}
	for i, other := range t.stacks {
		if len(other) > 0 {
			it, other[0] = other[0], item{}
			t.stacks[i] = other[1:]
			break
		}
	}
	return it
}

// done counts an item as done.
func (t *tree) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	if t.busy == 0 && t.pending == 0 {
		t.ready.Broadcast()
	}
}

// fail keeps the first error.
func (t *tree) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	t.ready.Broadcast()
}

// work does items until there are none.
func (t *tree) work(number int) {
	w := worker{tree: t, number: number, scratch: make([]byte, 4096), dirents: make([]byte, 32<<10)}
	for {
		it, ok := t.next(number)
		if !ok {
			if err := w.compare(0); err != nil {
				t.fail(err)
			}
			return
		}
		if it.dir == nil { // left behind by an error
			continue
		}
		err := w.do(it)
		if err == nil {
			err = w.compare(maxWaiting)
		}
		if err != nil {
			t.fail(err)
		}
		it.dir.leave()
		t.done()
	}
}

// worker has the buffers of one worker.
type worker struct {
	*tree
	number           int
	scratch, dirents []byte
	// made is what the worker has made last, as far as stat(2) does not say.
	made struct {
		file   bool
		target string
		xattrs []xattr
	}
	// waiting are entries that were not compared yet.
	waiting []observed
}

// observe keeps an entry to be compared.
func (w *worker) observe(dir *directory, name string, st *unix.Stat_t) {
	if w.headers == nil {
		return
	}
	o := observe(dir, name, st)
	o.made, o.target, o.xattrs = w.made.file, w.made.target, w.made.xattrs
	w.waiting = append(w.waiting, o)
}

// compare compares entries, if what they are compared with is there or more than so many
// are waiting for it.
func (w *worker) compare(most int) error {
	if w.headers == nil || w.failed() || len(w.waiting) <= most && !w.headers.isReady() {
		return nil
	}
	err := w.headers.compare(w.waiting)
	w.waiting = w.waiting[:0]
	return err
}

func (w *worker) do(it item) error {
	if len(it.entries) > 0 {
		return w.copyEntries(it.dir, it.entries)
	}
	d := it.dir
	if it.name != "" {
		sub := &directory{parent: d, name: it.name}
		var err error
		if sub.src, err = openSubdirectory(d.src, it.name); err != nil {
			return fmt.Errorf("open %q: %w", sub.path(), clonejob.Gone(err))
		}
		if sub.dst, err = openSubdirectory(d.dst, it.name); err != nil {
			unix.Close(sub.src)
			return fmt.Errorf("open %q: %w", sub.path(), err)
		}
		sub.users.Add(1)
		defer sub.leave()
		d = sub
	}
	if err := w.readDirectory(d); err != nil {
		return fmt.Errorf("copy directory %q: %w", d.path(), err)
	}
	return nil
}

// readDirectory cuts the entries of a directory into items, the last of which is done
// at once.
func (w *worker) readDirectory(d *directory) error {
	d.unread.Add(1)
	var entries []dirent
	for {
		n, err := unix.Getdents(d.src, w.dirents)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", clonejob.Gone(err))
		}
		if n <= 0 {
			break
		}
		if entries, err = parseDirents(entries, w.dirents[:n]); err != nil {
			return err
		}
		for len(entries) > batch {
			d.unread.Add(1)
			d.users.Add(1)
			w.push(w.number, item{dir: d, entries: entries[:batch:batch]})
			entries = entries[batch:]
		}
	}
	return w.copyEntries(d, entries)
}

// direntHeader is the size of what comes before the name in struct linux_dirent64 of
// getdents(2): d_ino, d_off, d_reclen, d_type.
const direntHeader = 8 + 8 + 2 + 1

var errDirent = errors.New("malformed directory entry")

// parseDirents appends the entries in what getdents(2) returned.
func parseDirents(entries []dirent, buf []byte) ([]dirent, error) {
	for len(buf) > 0 {
		if len(buf) < direntHeader {
			return nil, errDirent
		}
		size := int(binary.NativeEndian.Uint16(buf[16:]))
		if size < direntHeader || size > len(buf) {
			return nil, errDirent
		}
		name := unix.ByteSliceToString(buf[direntHeader:size])
		if name != "." && name != ".." {
			entries = append(entries, dirent{name: name, kind: buf[18]})
		}
		buf = buf[size:]
	}
	return entries, nil
}

// copyEntries copies some entries of a directory, and finishes the directory if they
// are the last.
func (w *worker) copyEntries(d *directory, entries []dirent) error {
	var subdirectories []item
	for _, e := range entries {
		if w.failed() {
			return nil
		}
		if strings.HasPrefix(e.name, ".wh.") {
			return clonejob.Unsupportedf("%q is a whiteout as a mount program makes it", path.Join(d.path(), e.name))
		}
		isDir, err := w.copyEntry(d, e)
		if err != nil {
			return fmt.Errorf("copy %q: %w", path.Join(d.path(), e.name), err)
		}
		if isDir {
			subdirectories = append(subdirectories, item{dir: d, name: e.name})
		}
		w.counts.Files.Add(1)
	}
	if d.unread.Add(-1) == 0 {
		if err := w.finish(d); err != nil {
			return fmt.Errorf("copy directory %q: %w", d.path(), err)
		}
	}
	d.users.Add(int32(len(subdirectories)))
	w.push(w.number, subdirectories...)
	return nil
}

func (t *tree) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err != nil
}

// copyEntry copies one entry of a directory. Of a subdirectory it makes only an empty
// one.
func (w *worker) copyEntry(d *directory, e dirent) (isDir bool, err error) {
	var st unix.Stat_t
	w.made.file = false
	switch e.kind {
	case unix.DT_DIR:
		return true, unix.Mkdirat(d.dst, e.name, 0o700)
	case unix.DT_REG:
		return false, w.copyRegular(d, e.name, &st)
	}
	if err := unix.Fstatat(d.src, e.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, clonejob.Gone(err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return true, unix.Mkdirat(d.dst, e.name, 0o700)
	case unix.S_IFREG:
		return false, w.copyRegular(d, e.name, &st)
	}
	err = w.hubs.place(d.dst, e.name, &st, func(dir int, name string) error {
		return w.makeSpecial(dir, name, d.src, e.name, &st)
	})
	w.observe(d, e.name, &st)
	return false, err
}

func (w *worker) copyRegular(d *directory, name string, st *unix.Stat_t) error {
	src, err := Open(d.src, name, unix.O_RDONLY|unix.O_NOATIME|unix.O_NONBLOCK, 0)
	if err != nil {
		return clonejob.Gone(err)
	}
	defer unix.Close(src)
	if err := unix.Fstat(src, st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("replaced meanwhile")
	}
	err = w.hubs.place(d.dst, name, st, func(dir int, name string) error {
		return w.makeRegular(dir, name, src, st)
	})
	w.observe(d, name, st)
	return err
}

// makeRegular makes a regular file of the open file src.
func (w *worker) makeRegular(dir int, name string, src int, st *unix.Stat_t) error {
	dst, err := Open(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, st.Mode&0o777)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := w.copier.copy(dst, src, st, w.counts); err != nil {
		return err
	}
	return w.setMetadata(dst, src, st, st.Mode&0o777&^w.umask)
}

// setMetadata gives an open file or directory what st says, and the extended
// attributes of src. mode is what it has now. The order counts: a change of the owner
// takes away set-user-ID bits and capabilities.
func (w *worker) setMetadata(dst, src int, st *unix.Stat_t, mode uint32) error {
	if st.Uid != 0 || st.Gid != 0 {
		if err := unix.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("change owner: %w", err)
		}
	}
	if st.Mode&0o7777 != mode {
		if err := unix.Fchmod(dst, st.Mode&0o7777); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	xattrs, err := copyXattrs(fileAttributes(dst), fileAttributes(src), w.scratch)
	if err != nil {
		return err
	}
	w.made.file, w.made.target, w.made.xattrs = true, "", xattrs
	if err := setTimes(dst, "", st, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// finish gives a directory its metadata, when it has all its entries: until then they
// would be made by its default access control list and its set-group-ID bit.
func (w *worker) finish(d *directory) error {
	var st unix.Stat_t
	if err := unix.Fstat(d.src, &st); err != nil {
		return err
	}
	if err := w.setMetadata(d.dst, d.src, &st, ^uint32(0)); err != nil {
		return err
	}
	w.observe(d.parent, d.name, &st)
	return nil
}

// makeSpecial makes what is neither a directory nor a regular file, of which st is the
// status.
func (w *worker) makeSpecial(dir int, name string, srcDir int, srcName string, st *unix.Stat_t) error {
	w.made.target = ""
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		target := make([]byte, st.Size+1)
		n, err := unix.Readlinkat(srcDir, srcName, target)
		if err != nil {
			return clonejob.Gone(err)
		}
		w.made.target = string(target[:n])
		if err := unix.Symlinkat(w.made.target, dir, name); err != nil {
			return err
		}
	} else if err := unix.Mknodat(dir, name, st.Mode, int(st.Rdev)); err != nil {
		return err
	}
	if st.Uid != 0 || st.Gid != 0 {
		if err := unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("change owner: %w", err)
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&(w.umask|0o7000) != 0 {
		if err := unix.Fchmodat(dir, name, st.Mode&0o7777, 0); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}
	xattrs, err := copyXattrs(attributesAt(dir, name), attributesAt(srcDir, srcName), w.scratch)
	if err != nil {
		return err
	}
	w.made.file, w.made.xattrs = true, xattrs
	if err := setTimes(dir, name, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// setTimes sets the times of name in the directory dir or, with AT_EMPTY_PATH, of the
// open file dir.
func setTimes(dir int, name string, st *unix.Stat_t, flags int) error {
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{st.Atim, st.Mtim}, flags)
}

// readUmask returns the umask of this process, without changing it for a moment.
func readUmask() (uint32, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read umask: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "Umask:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32)
			return uint32(mask), err
		}
	}
	return 0, errors.New("read umask: not in /proc/self/status")
}
