// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"archive/tar"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// layout keeps which names an archive has had so far. Entries that are made in any order
// must not replace each other, nor lie behind a link.
type layout struct {
	index   *index
	hasRoot bool
}

func newLayout() *layout { return &layout{index: newIndex()} }

// admit adds an entry and returns the directories above it that have no entry yet, the
// highest first. The error is clonejob.ErrUnsupported for one that depends on the order.
func (l *layout) admit(hdr *tar.Header) (missing []string, err error) {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil, nil
	}
	odd := func(why string) ([]string, error) {
		return nil, clonejob.Unsupportedf("the layer's entry %q %s", hdr.Name, why)
	}
	if slices.Contains(strings.Split(hdr.Name, "/"), "..") {
		return odd("has a name with ..")
	}
	name := inTree(hdr.Name)
	if name == "." {
		if hdr.Typeflag != tar.TypeDir || l.hasRoot {
			return odd("is a second root, or no directory")
		}
		l.hasRoot = true
		return nil, l.add(hdr)
	}
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	parent, missing := l.find(dir)
	if parent < 0 {
		return odd("lies behind a link or a file")
	}
	if hdr.Typeflag == tar.TypeLink && !l.isFile(inTree(hdr.Linkname)) {
		return odd("is a link to no file before it")
	}
	if of, isWhiteout := strings.CutPrefix(base, whiteoutPrefix); isWhiteout && base != opaqueWhiteout {
		if base = of; strings.HasPrefix(of, whiteoutPrefix) || of == "" || of == "." || of == ".." {
			return odd("is an unknown whiteout")
		}
	}
	if n := l.index.find(parent, []byte(base)); n >= 0 && len(missing) == 0 {
		if !l.index.isDir(n) || hdr.Typeflag != tar.TypeDir || l.index.nodes[n].flags&implicit == 0 {
			return odd("replaces another one")
		}
	}
	return missing, l.add(hdr)
}

func (l *layout) add(hdr *tar.Header) error {
	if err := l.index.add(hdr); err != nil {
		return clonejob.Unsupportedf("the layer's entry %q: %v", hdr.Name, err)
	}
	return nil
}

// find returns the node of a directory, the lowest above it that is there, and the names of
// those that are missing. It is below zero if there is something else on the way.
func (l *layout) find(dir string) (node int32, missing []string) {
	x := l.index
	if dir == "" || dir == x.lastDir {
		if dir == "" {
			return rootNode, nil
		}
		return x.lastNode, nil
	}
	node = rootNode
	for end := 0; end < len(dir); end++ {
		start := end
		if n := strings.IndexByte(dir[start:], '/'); n >= 0 {
			end = start + n
		} else {
			end = len(dir)
		}
		if len(missing) == 0 {
			n := x.find(node, []byte(dir[start:end]))
			if n >= 0 && !x.isDir(n) {
				return -1, nil
			}
			if n >= 0 {
				node = n
				continue
			}
		}
		missing = append(missing, dir[:end])
	}
	return node, missing
}

// isFile reports whether a path is that of an entry that is no directory and no whiteout.
func (l *layout) isFile(name string) bool {
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	parent, missing := l.find(dir)
	if parent < 0 || len(missing) > 0 {
		return false
	}
	n := l.index.find(parent, []byte(base))
	return n >= 0 && !l.index.isDir(n) && l.index.nodes[n].flags&whiteout == 0 && l.index.attrs[l.index.nodes[n].attr].kind != unix.S_IFDIR
}
