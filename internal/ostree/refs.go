// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// The directories of refs. The latter has one for each remote.
const (
	localRefs  = "refs/heads"
	remoteRefs = "refs/remotes"
)

// ErrNoRef is the error for a ref that does not exist.
var ErrNoRef = errors.New("no such ref")

// Ref is a name for a commit: a file that contains a checksum, or a symbolic link to one.
type Ref struct {
	// Name is what Resolve takes: "stable/x86_64", "fedora:stable/x86_64" for that of a
	// remote.
	Name   string
	Commit Checksum
	// Err says why Commit could not be read.
	Err error
}

// Refs returns the refs in a directory of refs ("remote:" before it, or alone, for those of
// a remote), or the ref with that name, ordered by name. There may be none. As for ostree,
// what is in these directories and has no name of a ref is not one.
func (r *Repo) Refs(prefix string) ([]Ref, error) {
	remote, name, isRemote := strings.Cut(prefix, ":")
	top, before := localRefs, ""
	if isRemote {
		if !validFragment(remote) {
			return nil, fmt.Errorf("list refs in %q: invalid remote %q", r.Path(), remote)
		}
		top, before = remoteRefs+"/"+remote, remote+":"
	} else {
		name = prefix
	}
	if name != "" && !validRef(name) {
		return nil, fmt.Errorf("list refs in %q: invalid ref %q", r.Path(), name)
	}
	var refs []Ref
	add := func(name string, sum Checksum, err error) {
		refs = append(refs, Ref{Name: before + name, Commit: sum, Err: err})
	}
	err := r.walkRefs(top, name, add)
	if errors.Is(err, unix.ENOTDIR) {
		sum, readErr := r.readRef(top + "/" + name)
		add(name, sum, readErr)
		err = nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list refs in %q: %w", r.Path(), err)
	}
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Compare(a.Name, b.Name) })
	return refs, nil
}

// walkRefs calls add with the refs in the directory dir of top.
func (r *Repo) walkRefs(top, dir string, add func(name string, sum Checksum, err error)) error {
	f, err := rooted.Open(r.dir, path.Join(top, dir), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		switch {
		case !validFragment(entry.Name()):
		case entry.IsDir():
			// One that is gone by now had no refs left.
			if err := r.walkRefs(top, name, add); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case entry.Type()&^fs.ModeSymlink == 0: // a regular file or a link
			if sum, ok := readPlainRef(f, entry.Name()); ok {
				add(name, sum, nil)
				continue
			}
			sum, err := r.readRef(path.Join(top, name))
			add(name, sum, err)
		}
	}
	return nil
}

// readPlainRef reads a file in a directory of refs that is as ostree writes it, with the
// fewest system calls: a repository has thousands of them. It returns false for others.
func readPlainRef(dir *os.File, name string) (Checksum, bool) {
	fd, err := rooted.OpenFD(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return Checksum{}, false
	}
	defer unix.Close(fd)
	var content [2*len(Checksum{}) + 2]byte
	n, err := unix.Read(fd, content[:])
	if err != nil || n != len(content)-1 || content[n-1] != '\n' {
		return Checksum{}, false
	}
	sum, err := ParseChecksum(string(content[:n-1]))
	return sum, err == nil
}

// readRef reads the checksum in the file of a ref.
func (r *Repo) readRef(file string) (Checksum, error) {
	data, err := r.read(file, maxSmall)
	if err != nil {
		return Checksum{}, err
	}
	return ParseChecksum(strings.TrimRight(string(data), " \t\n\v\f\r"))
}

// Resolve returns the commit that a checksum, a ref, or a ref of a remote ("remote:ref")
// names. As for ostree, a ref that is not there by itself may be one of a remote: its name
// begins with the remote and a slash, or it is the same in one of them. The error is ErrNoRef
// for none. Whether the commit exists is not checked. Unlike for ostree, the beginning of a
// checksum names nothing.
func (r *Repo) Resolve(rev string) (Checksum, error) {
	if sum, err := ParseChecksum(rev); err == nil {
		return sum, nil
	}
	fail := func(err error) (Checksum, error) { return Checksum{}, fmt.Errorf("resolve ref %q: %w", rev, err) }
	remote, ref, isRemote := strings.Cut(rev, ":")
	if !isRemote {
		ref = rev
	}
	if !validRef(ref) || isRemote && !validFragment(remote) {
		return fail(errors.New("invalid name"))
	}
	var files []string
	if isRemote {
		files = []string{path.Join(remoteRefs, remote, ref)}
	} else {
		files = []string{path.Join(localRefs, ref), path.Join(remoteRefs, ref)}
		remotes, err := rooted.Names(r.dir, remoteRefs)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail(err)
		}
		for _, remote := range remotes {
			files = append(files, path.Join(remoteRefs, remote, ref))
		}
	}
	for _, file := range files {
		sum, err := r.readRef(file)
		switch {
		case err == nil:
			return sum, nil
		case !errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLink):
			return fail(err)
		}
	}
	return fail(ErrNoRef)
}

// validRef reports whether each part of a name is valid.
func validRef(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if !validFragment(part) {
			return false
		}
	}
	return true
}

// validFragment reports whether name may be a part of a ref or the name of a remote, see
// OSTREE_REF_FRAGMENT_REGEXP in libostree's ostree-core.c, whose letters and digits are
// those of Unicode.
func validFragment(name string) bool {
	for i, c := range name {
		if c != '_' && !unicode.IsLetter(c) && !unicode.IsNumber(c) && (i == 0 || c != '-' && c != '.') {
			return false
		}
	}
	return name != ""
}
