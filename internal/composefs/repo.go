// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package composefs reads a composefs repository as files: its metadata, the names of
// streams, objects, and the headers of split streams. It starts no program and
// writes nothing. What is compressed in a split stream is read by package layer below it,
// since the decompressor is slow to start.
//
// The format is that of composefs-rs, crates/composefs/src/repository.rs and
// splitstream.rs there, of the versions 0.6 to 0.9, as bootc 1.12 and later write it.
//
// What is read is verified only where the documentation of a function says so. The kernel
// protects objects, in a repository with fs-verity, and no names of streams. Only the
// digests of manifest, configuration and layers prove what an image has.
package composefs

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

var (
	// ErrNoRepo is the error for a directory without a repository.
	ErrNoRepo = errors.New("no composefs repository")
	// ErrFormat is the error for what another version may have written, but none that
	// is known.
	ErrFormat = errors.New("unknown format")
	// ErrBusy says that a garbage collection is running.
	ErrBusy = errors.New("locked by a garbage collection")
)

// Algorithm is the hash of a repository's fs-verity digests.
type Algorithm string

// The algorithms, each with blocks of 4096 bytes, without salt.
const (
	SHA256 Algorithm = "sha256"
	SHA512 Algorithm = "sha512"
)

// digits returns how many hexadecimal digits a digest has, 0 for an unknown algorithm.
func (a Algorithm) digits() int { return map[Algorithm]int{SHA256: 64, SHA512: 128}[a] }

// ID is the name of an object, the fs-verity digest of its content as hexadecimal digits.
type ID string

// path is the path of the object in the repository.
func (id ID) path() string { return "objects/" + string(id[:2]) + "/" + string(id[2:]) }

// parseID returns the ID in a text, "" for another text.
func (r *Repo) parseID(text string) ID {
	if !isHex(text) || len(text) != r.algorithm.digits() {
		return ""
	}
	return ID(text)
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && s == strings.ToLower(s)
}

// Limits of files in bytes. Real metadata has 200 bytes, a manifest a few thousand.
const (
	maxMeta     = 1 << 20
	MaxManifest = 4 << 20
	MaxConfig   = 16 << 20
)

// The names of streams are these prefixes with a digest: that of the manifest, that of
// the configuration, and the diff ID.
const (
	ManifestPrefix = "oci-manifest-"
	ConfigPrefix   = "oci-config-"
	LayerPrefix    = "oci-layer-"
)

// Repo is an open repository.
type Repo struct {
	dir       *os.File
	algorithm Algorithm
}

// Open opens the repository at path below root. The error is ErrNoRepo where there is no
// directory or no repository in it, and ErrFormat for a version or a feature that is
// unknown.
func Open(root *os.File, path string) (*Repo, error) {
	dir, err := rooted.Open(root, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %q: %w", filepath.Join(root.Name(), path), ErrNoRepo)
	}
	if err != nil {
		return nil, err
	}
	r := &Repo{dir: dir}
	if err := r.readMeta(); err != nil {
		dir.Close()
		return nil, err
	}
	logrus.Debugf("Opened composefs repository %q", dir.Name())
	return r, nil
}

// Close closes the repository, and with it the lock.
func (r *Repo) Close() { r.dir.Close() }

// Path returns the path of the repository, for messages.
func (r *Repo) Path() string { return r.dir.Name() }

// Algorithm returns the hash of the repository.
func (r *Repo) Algorithm() Algorithm { return r.algorithm }

// meta is meta.json, RepoMetadata in repository.rs. Features that concern only
// writers are left out.
type meta struct {
	Version   int    `json:"version"`
	Algorithm string `json:"algorithm"`
	Features  struct {
		Incompatible []string `json:"incompatible"`
	} `json:"features"`
}

// readMeta reads meta.json. A repository of composefs before 0.7 has none.
func (r *Repo) readMeta() error {
	data, err := r.read("meta.json", maxMeta)
	if errors.Is(err, fs.ErrNotExist) {
		return r.inferAlgorithm()
	}
	if err != nil {
		return err
	}
	if r.algorithm, err = parseMeta(data); err != nil {
		return fmt.Errorf("parse %q: %w", filepath.Join(r.Path(), "meta.json"), err)
	}
	return nil
}

// parseMeta returns the algorithm of a repository.
func parseMeta(data []byte) (Algorithm, error) {
	var m meta
	if err := json.Unmarshal(data, &m); err != nil {
		return "", err
	}
	name, isVerity := strings.CutPrefix(m.Algorithm, "fsverity-")
	name, hasBlocks := strings.CutSuffix(name, "-12") // the binary logarithm of their size
	algorithm := Algorithm(name)
	switch {
	case m.Version != 1:
		return "", fmt.Errorf("%w: version %d", ErrFormat, m.Version)
	case len(m.Features.Incompatible) > 0:
		return "", fmt.Errorf("%w: feature %.80q", ErrFormat, m.Features.Incompatible[0])
	case !isVerity || !hasBlocks || algorithm.digits() == 0:
		return "", fmt.Errorf("%w: algorithm %.80q", ErrFormat, m.Algorithm)
	}
	return algorithm, nil
}

// inferAlgorithm reads the algorithm from the name of an object.
func (r *Repo) inferAlgorithm() error {
	dirs, err := rooted.Names(r.dir, "objects")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range dirs {
		if len(dir) != 2 || !isHex(dir) {
			continue
		}
		names, err := rooted.Names(r.dir, "objects/"+dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			for _, algorithm := range []Algorithm{SHA256, SHA512} {
				if isHex(name) && len(dir+name) == algorithm.digits() {
					r.algorithm = algorithm
					return nil
				}
			}
		}
	}
	return fmt.Errorf("open %q: %w", r.Path(), ErrNoRepo)
}

// HasVerity reports whether each object has to be protected by fs-verity, which bootc and
// cfsctl record by protecting meta.json.
func (r *Repo) HasVerity() bool {
	protected, err := r.hasVerity("meta.json")
	return err == nil && protected
}

// Lock takes the lock that keeps the garbage collection of bootc and cfsctl away until
// unlock or Close. It waits for one that runs until limit, then the error is ErrBusy. No
// bootc may be waited for with the lock held: its own collection would wait for the lock.
func (r *Repo) Lock(ctx context.Context, limit time.Duration) (unlock func(), err error) {
	const interval = 20 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrBusy)
	defer cancel()
	for {
		err := unix.Flock(int(r.dir.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Flock(int(r.dir.Fd()), unix.LOCK_UN) }, nil
		}
		if rooted.IsOneOf(err, unix.EWOULDBLOCK, unix.EINTR) {
			select {
			case <-time.After(interval):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		return nil, fmt.Errorf("lock %q: %w", r.Path(), err)
	}
}

// Stream returns the object that a stream is in now. The error is fs.ErrNotExist for none.
// An upgrade may give the name to another object at any time, so it is looked up once.
func (r *Repo) Stream(name string) (ID, error) {
	target, err := r.readlink(name)
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(target, "../objects/")
	dir, rest, _ := strings.Cut(text, "/")
	id := r.parseID(dir + rest)
	if !ok || id == "" || len(dir) != 2 {
		return "", fmt.Errorf("read link %q: %w: %.200q is no object", filepath.Join(r.Path(), "streams", name), ErrFormat, target)
	}
	return id, nil
}

// Streams returns the digests of the streams with a prefix, sorted.
func (r *Repo) Streams(prefix string) (digests []string, err error) {
	names, err := rooted.Names(r.dir, "streams")
	for _, name := range names {
		if digest, ok := strings.CutPrefix(name, prefix); ok && IsDigest(digest) {
			digests = append(digests, digest)
		}
	}
	return digests, err
}

// readlink returns the target of a link to a stream.
func (r *Repo) readlink(name string) (string, error) {
	const dir = "streams"
	fail := func(err error) (string, error) {
		return "", &fs.PathError{Op: "readlink", Path: filepath.Join(r.Path(), dir, name), Err: err}
	}
	if name == "" || strings.ContainsAny(name, "/\x00") {
		return fail(unix.EINVAL)
	}
	fd, err := r.openBeneath(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, target)
	if err != nil {
		return fail(err)
	}
	return string(target[:n]), nil
}

// openBeneath opens a file of the repository, which no link leads to.
func (r *Repo) openBeneath(path string, flags int) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err = unix.Openat2(int(r.dir.Fd()), path, &how)
		if !rooted.IsOneOf(err, unix.EINTR, unix.EAGAIN) {
			return fd, err
		}
	}
}

// openFile opens a regular file of the repository. A FIFO is not waited for.
func (r *Repo) openFile(path string) (*os.File, int64, error) {
	full := filepath.Join(r.Path(), path)
	fd, err := r.openBeneath(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = rooted.ErrNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return nil, 0, &fs.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), st.Size, nil
}

func (r *Repo) read(path string, limit int64) ([]byte, error) {
	f, _, err := r.openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return rooted.ReadRegular(f, limit)
}

// OpenObject opens an object and returns its size in bytes. Its mode, owner and number of
// names say nothing: on a filesystem without reflinks it may be one file with one in a
// container store. So it must never get another name either.
func (r *Repo) OpenObject(id ID) (f *os.File, size int64, err error) {
	if r.parseID(string(id)) == "" {
		return nil, 0, fmt.Errorf("open object %.200q in %q: %w", id, r.Path(), ErrFormat)
	}
	return r.openFile(id.path())
}

// IsDigest reports a digest that may be a part of a name.
func IsDigest(s string) bool {
	sum, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(sum) == 64 && isHex(sum)
}

// Layer returns the object of the stream of a layer by its diff ID. The error is
// fs.ErrNotExist for none.
func (r *Repo) Layer(diffID string) (ID, error) {
	if !IsDigest(diffID) {
		return "", fmt.Errorf("find layer: invalid digest %.80q", diffID)
	}
	return r.Stream(LayerPrefix + diffID)
}
