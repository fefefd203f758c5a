// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
)

var (
	// ErrBothEtc says that a layer has both /etc and /usr/etc, one of which would
	// hide the other. ostree deploys no such tree either.
	ErrBothEtc = errors.New("both /etc and /usr/etc")
	// ErrWhiteoutName says that a file of the image is called like a whiteout, as
	// which any layer with it would be understood.
	ErrWhiteoutName = errors.New("a name that no container image can hold")
	// ErrXattrName says that an extended attribute has "=" in its name, which ends
	// the name in a tar archive.
	ErrXattrName = errors.New("an extended attribute that no container image can hold")
)

const (
	// What names a whiteout, and the one that hides all of a directory, from the
	// OCI image specification, layer.md.
	whiteoutPrefix = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
	// The label of a file is the host's, not the image's.
	selinuxXattr = "security.selinux"
)

// entry is a path of a layer with its object.
type entry struct {
	// path is relative, "." for the root.
	path string
	// sum is that of a "dirmeta" object when isDir, else of a "file" object.
	sum   ostree.Checksum
	isDir bool
	// link, if not empty, is the earlier path of the layer that has the same file
	// object; the entry is a hard link to it.
	link string
}

// dirNode is a directory on the way from the root to what the walker looks at.
type dirNode struct {
	path   string
	meta   ostree.Checksum
	parent *dirNode
	// added has the layers that have an entry for the directory already.
	added []bool
}

// walker turns the tree of a commit into the entries of layers.
type walker struct {
	trees  *forest
	merged *mergedTree
	// dirs, if not nil, has the metadata of directories in place of the commit's.
	dirs   map[string]ostree.Checksum
	layers [][]entry
	// first is the layer of what owner does not name, and of all directories.
	first int
	// owner is the layer that has a file object, for chunks of an ostree base.
	owner map[ostree.Checksum]int
	// rootEtc reports that the root has an "etc".
	rootEtc bool
	// opaqueEtc is the whiteout of layers below in /usr when it is that of /etc,
	// too.
	opaqueEtc *ostree.Checksum
}

// mergedTree is what we need of the tree that all layers make together.
type mergedTree struct {
	// dirs has the "dirmeta" object of each directory.
	dirs map[string]ostree.Checksum
	// injected has the files for which injectedFile is true.
	injected map[string]bool
}

// injectedFile matches the files that container builds leave behind. An import
// removes them, where they are empty, from the merged tree only, by cleanup_root
// in ostree-ext's container/store.rs.
func injectedFile(p string) bool { return p == "etc/hostname" || p == "etc/resolv.conf" }

// readMerged reads the tree of the commit made of an image.
func readMerged(ctx context.Context, trees *forest, commit string) (*mergedTree, error) {
	m := &mergedTree{dirs: map[string]ostree.Checksum{}, injected: map[string]bool{}}
	w := walker{trees: trees, layers: make([][]entry, 1)}
	if err := w.commit(ctx, commit); err != nil {
		return nil, err
	}
	for _, e := range w.layers[0] {
		switch {
		case strings.HasPrefix(path.Base(e.path), whiteoutPrefix):
			return nil, fmt.Errorf("read commit %s: %q: %w", commit, e.path, ErrWhiteoutName)
		case e.isDir:
			m.dirs[e.path] = e.sum
		case injectedFile(e.path):
			m.injected[e.path] = true
		}
	}
	return m, nil
}

// commit adds the tree of a commit to the layers.
func (w *walker) commit(ctx context.Context, commit string) error {
	root, err := w.trees.repo.CommitTree(commit)
	if err == nil {
		err = w.dir(ctx, &dirNode{path: ".", meta: root.Meta}, root.Tree, 0)
	}
	if err != nil {
		return fmt.Errorf("read commit %s: %w", commit, err)
	}
	return nil
}

// maxDepth bounds the recursion. Paths are no longer than 4096 bytes on Linux.
const maxDepth = 2048

func (w *walker) dir(ctx context.Context, node *dirNode, sum ostree.Checksum, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("directory %q: nested too deeply", node.path)
	}
	tree, err := w.trees.tree(sum)
	if err != nil {
		return fmt.Errorf("directory %q: %w", node.path, err)
	}
	switch node.path {
	case ".":
		w.rootEtc = has(tree, "etc")
	case "usr":
		if w.rootEtc && has(tree, "etc") {
			return ErrBothEtc
		}
	}
	w.addDir(w.first, node)
	if node.path == "etc" && w.opaqueEtc != nil {
		w.addFile(node, opaqueWhiteout, *w.opaqueEtc)
	}
	for _, f := range tree.Files {
		w.addFile(node, f.Name, f.File)
		if node.path == "usr" && f.Name == opaqueWhiteout {
			// An /etc without entries of its own is hidden whole.
			if w.opaqueEtc = &f.File; !has(tree, "etc") {
				w.addFile(node, whiteoutPrefix+"etc", f.File)
			}
		}
	}
	for _, d := range tree.Dirs {
		parent, p := place(node, d.Name)
		child := &dirNode{path: p, meta: d.Meta, parent: parent}
		if err := w.dir(ctx, child, d.Tree, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func has(tree ostree.Tree, name string) bool {
	return slices.ContainsFunc(tree.Files, func(f ostree.TreeFile) bool { return f.Name == name }) ||
		slices.ContainsFunc(tree.Dirs, func(d ostree.TreeDir) bool { return d.Name == name })
}

// place returns where in the image a name of a directory belongs: in ostree /etc
// is /usr/etc, and so is its whiteout.
func place(dir *dirNode, name string) (parent *dirNode, p string) {
	if dir.path == "usr" && (name == "etc" || name == whiteoutPrefix+"etc") {
		dir = dir.parent
	}
	return dir, path.Join(dir.path, name)
}

// addDir adds a directory and those it lies in to a layer.
func (w *walker) addDir(layer int, node *dirNode) {
	if node == nil || node.added != nil && node.added[layer] {
		return
	}
	w.addDir(layer, node.parent)
	if node.added == nil {
		node.added = make([]bool, len(w.layers))
	}
	node.added[layer] = true
	sum := node.meta
	if merged, ok := w.dirs[node.path]; ok {
		sum = merged
	}
	w.layers[layer] = append(w.layers[layer], entry{path: node.path, sum: sum, isDir: true})
}

// addFile adds what is no directory to the layer it belongs to.
func (w *walker) addFile(dir *dirNode, name string, sum ostree.Checksum) {
	dir, p := place(dir, name)
	if w.merged != nil && injectedFile(p) && !w.merged.injected[p] {
		return
	}
	layer, ok := w.owner[sum]
	if !ok {
		layer = w.first
	}
	w.addDir(layer, dir)
	w.layers[layer] = append(w.layers[layer], entry{path: p, sum: sum})
}

// maxNames is how many names of a layer share one copy of a file. It stays far below
// what filesystems allow for one inode (65000 in ext4, 65535 in Btrfs), as copies of the
// layer may add names of their own.
const maxNames = 1000

// linkGroup returns which files may be hard links to each other: those that ostree-ext
// keeps or drops together when it imports a layer (its tar/write.rs decides by the
// top-level directory), so that no link is kept without its target. It is false for
// files that are never links: configuration and state, which programs edit in place,
// and whiteouts.
func linkGroup(p string) (group string, ok bool) {
	if strings.HasPrefix(path.Base(p), whiteoutPrefix) {
		return "", false
	}
	top, _, _ := strings.Cut(p, "/")
	switch top {
	case "etc", "var":
		return "", false
	case "usr", "run", "tmp", "proc", "sys", "dev", "sysroot", "boot":
		return top, true
	}
	return "", true
}

// linkRepeated makes hard links of repeated file objects in a layer. Symbolic links and
// empty files stay as they are, since a link to one saves nothing.
func linkRepeated(repo *host.Repo, layer []entry) error {
	type object struct {
		group string
		sum   ostree.Checksum
	}
	type target struct {
		path  string
		names int
		// empty is known from the second name on.
		empty bool
	}
	targets := map[object]target{}
	for i := range layer {
		e := &layer[i]
		group, ok := linkGroup(e.path)
		if e.isDir || !ok {
			continue
		}
		of := object{group, e.sum}
		t, repeated := targets[of]
		if repeated && t.names == 1 {
			size, err := repo.FileSize(e.sum)
			if err != nil {
				return fmt.Errorf("%q: %w", e.path, err)
			}
			t.empty = size == 0
		}
		if repeated && t.names < maxNames && !t.empty {
			e.link = t.path
		} else if !t.empty {
			t = target{path: e.path}
		}
		t.names++
		targets[of] = t
	}
	return nil
}

// importedRoot is the metadata that ostree gives to the root of a layer whose archive has
// no entry for it (ostree commit --tar-autocreate-parents).
const importedRoot = unix.S_IFDIR | 0o755

// omitRoot removes the root from a layer where an import makes the same root without an
// entry. podman before release 6 ignores such an entry, and later ones follow it: without
// one, the root has the mode 0555 in all releases.
func omitRoot(repo *host.Repo, layer []entry) ([]entry, error) {
	if len(layer) == 0 || layer[0].path != "." {
		return layer, nil
	}
	meta, err := repo.DirMeta(layer[0].sum)
	if err != nil {
		return nil, err
	}
	foreign := func(x ostree.Xattr) bool { return x.Name != selinuxXattr }
	if meta.UID == 0 && meta.GID == 0 && meta.Mode == importedRoot && !slices.ContainsFunc(meta.Xattrs, foreign) {
		layer = layer[1:]
	}
	return layer, nil
}

// copyBuffer is the size of the buffers for the content of files, in bytes.
const copyBuffer = 256 << 10

// openEntry opens an entry of a layer, and returns its header, which depends on the
// object alone: in the PAX format of pax(1), times at the epoch, extended attributes in
// records "SCHILY.xattr.". file is nil for a directory and for a hard link. When check is
// set, the entry is compared with the name of its object, a regular file when its end is
// read.
func openEntry(repo *host.Repo, e entry, check bool) (hdr *tar.Header, file *ostree.File, err error) {
	if e.isDir {
		meta, err := repo.DirMeta(e.sum)
		if err != nil {
			return nil, nil, err
		}
		hdr, err := header(e.path+"/", meta.UID, meta.GID, meta.Mode, meta.Xattrs)
		if err != nil {
			return nil, nil, err
		}
		hdr.Typeflag = tar.TypeDir
		return hdr, nil, nil
	}
	f, err := repo.OpenFile(e.sum, check)
	if err != nil {
		return nil, nil, err
	}
	if hdr, err = header(e.path, f.UID, f.GID, f.Mode, f.Xattrs); err != nil {
		f.Close()
		return nil, nil, err
	}
	if e.link != "" {
		// It has all of the metadata: podman sets them again for each name.
		hdr.Typeflag, hdr.Linkname = tar.TypeLink, e.link
		return hdr, nil, f.Close()
	}
	hdr.Typeflag, hdr.Size = tar.TypeReg, f.Size
	if f.Mode&unix.S_IFMT == unix.S_IFLNK {
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, f.Target
	}
	return hdr, f, nil
}

// writeTar writes the archive of a layer. check is that of openEntry.
func writeTar(ctx context.Context, w io.Writer, repo *host.Repo, layer []entry, check bool) error {
	tw := tar.NewWriter(w)
	buf := make([]byte, copyBuffer)
	for _, e := range layer {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeEntry(tw, repo, e, check, buf); err != nil {
			return fmt.Errorf("%q: %w", e.path, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, repo *host.Repo, e entry, check bool, buf []byte) error {
	hdr, f, err := openEntry(repo, e, check)
	if err != nil {
		return err
	}
	if f != nil {
		defer f.Close()
	}
	if err := tw.WriteHeader(hdr); err != nil || hdr.Typeflag != tar.TypeReg {
		return err
	}
	// Only the writer's own methods: its ReadFrom would go around buf.
	if _, err := io.CopyBuffer(struct{ io.Writer }{tw}, struct{ io.Reader }{f}, buf); err != nil {
		return err
	}
	// A file that is shorter than it was said to be.
	return tw.Flush()
}

func header(name string, uid, gid, mode uint32, xattrs []ostree.Xattr) (*tar.Header, error) {
	hdr := &tar.Header{
		Name:    name,
		Uid:     int(uid),
		Gid:     int(gid),
		Mode:    int64(mode & 0o7777),
		ModTime: time.Unix(0, 0),
		Format:  tar.FormatPAX,
	}
	for _, x := range xattrs {
		if x.Name == selinuxXattr {
			continue
		}
		if strings.Contains(x.Name, "=") {
			return nil, fmt.Errorf("%w: %q", ErrXattrName, x.Name)
		}
		if hdr.PAXRecords == nil {
			hdr.PAXRecords = map[string]string{}
		}
		hdr.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
	}
	return hdr, nil
}
