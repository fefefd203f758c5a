// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package testcomposefs writes composefs repositories for tests, as composefs-rs does, and
// has three that the real tools wrote.
package testcomposefs

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// The fixtures. Each has a directory composefs with the same image; that of bootc has the
// state of a deployment beside it, which was written by hand after a real one, with the
// fs-verity digest Deployment. The repository of cfsctl 0.6.0 has no meta.json, and layers
// without their padding.
const (
	Cfsctl094  = "cfsctl-0.9.4"
	Bootc1169  = "bootc-1.16.9"
	Cfsctl060  = "cfsctl-0.6.0"
	Manifest   = "sha256:a1fdedd92f48963e00efa0adcba10bba9c180a8bf141aa38570e3e9a0226a289"
	Config     = "sha256:3ff5cf818de37f56ad74ab1da079138cc3ff2c935a97360d46a626f5d133a6ca"
	Deployment = "7fad3ef5ac99f51596f5eda09903ad243e78a7495e8064ee7bd81aa676c68e8d3102d2730494bc0143727d80f92267769e52472ec0a55f92aea3addd73e589c7"
)

// DiffIDs returns those of the layers of the fixtures' image. Both have 112640 bytes.
func DiffIDs() []string {
	return []string{
		"sha256:5f932ae678c9f215fec8d58366271dcd97a558457b58116fb1f57cd3e725f411",
		"sha256:cb3afc7617bf40742bb425088dc0ee0236d84c83347449c0b6c341a40433c2e8",
	}
}

//go:embed testdata/fixtures.tar.zst
var fixtures []byte

// Extract writes a fixture to a directory.
func Extract(fixture, dir string) error {
	z, err := zstd.NewReader(bytes.NewReader(fixtures))
	if err != nil {
		return err
	}
	defer z.Close()
	for archive := tar.NewReader(z); ; {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(strings.TrimPrefix(hdr.Name, "./"), fixture+"/")
		if !ok {
			continue
		}
		path := filepath.Join(dir, name)
		switch hdr.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(hdr.Linkname, path)
		default:
			var data []byte
			if data, err = io.ReadAll(archive); err == nil {
				err = os.WriteFile(path, data, 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
}

// Fixture writes a fixture to a directory of a test, and returns that of its repository.
func Fixture(t testing.TB, fixture string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := Extract(fixture, dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "composefs")
}

// Open opens the repository in a directory until a test ends.
func Open(t testing.TB, dir string) *composefs.Repo {
	t.Helper()
	root, err := rooted.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r, err := composefs.Open(root, ".")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Repo is a repository that is written.
type Repo struct {
	Dir       string
	Algorithm composefs.Algorithm
	// Old writes what composefs before 0.7 does: the other header, no meta.json, and
	// layers without what comes after their end.
	Old bool
}

// Init makes the directories.
func (r *Repo) Init() error {
	for _, dir := range []string{"objects", "streams/refs/oci", "images"} {
		if err := os.MkdirAll(filepath.Join(r.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	if r.Old {
		return nil
	}
	meta := fmt.Sprintf(`{"version":1,"algorithm":"fsverity-%s-12","features":{"compatible":[],"read-only-compatible":["v1_erofs"],"incompatible":[]},"erofs_formats":{"default":1}}`, r.Algorithm)
	return os.WriteFile(filepath.Join(r.Dir, "meta.json"), []byte(meta+"\n"), 0o644)
}

// ObjectPath is the path of an object.
func (r *Repo) ObjectPath(id composefs.ID) string {
	return filepath.Join(r.Dir, "objects", string(id[:2]), string(id[2:]))
}

// Object writes an object.
func (r *Repo) Object(content io.Reader) (composefs.ID, error) {
	f, err := os.CreateTemp(r.Dir, "new")
	if err != nil {
		return "", err
	}
	defer f.Close()
	v := NewVerity(r.Algorithm)
	if _, err := io.Copy(io.MultiWriter(v, f), content); err != nil {
		return "", err
	}
	id := v.ID()
	path := r.ObjectPath(id)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return id, errors.Join(f.Chmod(0o644), os.Rename(f.Name(), path))
}

// Part is a part of a stream: bytes, or an object if there is one.
type Part struct {
	Inline []byte
	Object composefs.ID
	// Size is that of the object.
	Size int64
}

// Ref is what a stream refers to.
type Ref struct {
	Name string
	ID   composefs.ID
}

// Encode returns a stream of a type, with the size that it says it has.
func (r *Repo) Encode(kind string, size int64, refs []Ref, parts []Part) []byte {
	var objects []composefs.ID
	for _, p := range parts {
		if p.Object != "" && !slices.Contains(objects, p.Object) {
			objects = append(objects, p.Object)
		}
	}
	return r.EncodeContent(kind, size, refs, objects, Compress(Content(parts, objects)))
}

// Content encodes parts that name objects of a list. It is not compressed.
func Content(parts []Part, objects []composefs.ID) (content []byte) {
	for _, p := range parts {
		number := -int64(len(p.Inline))
		if p.Object != "" {
			number = int64(slices.Index(objects, p.Object))
		}
		content = append(binary.LittleEndian.AppendUint64(content, uint64(number)), p.Inline...)
	}
	return content
}

// EncodeContent is Encode of content that is encoded and compressed already.
func (r *Repo) EncodeContent(kind string, size int64, refs []Ref, list []composefs.ID, content []byte) []byte {
	var named, objects, streams bytes.Buffer
	for _, id := range list {
		objects.Write(raw(id))
	}
	for i, ref := range refs {
		streams.Write(raw(ref.ID))
		fmt.Fprintf(&named, "%d:%s\x00", i, ref.Name)
	}
	const head, info = 32, 80
	out := make([]byte, head+info)
	var written [][2]uint64 // ranges
	for _, part := range [][]byte{streams.Bytes(), objects.Bytes(), Stored(named.Bytes()), content} {
		start := uint64(len(out))
		out = append(out, part...)
		written = append(written, [2]uint64{start, uint64(len(out))})
	}
	put := func(at int, values ...uint64) {
		for i, v := range values {
			binary.LittleEndian.PutUint64(out[at+8*i:], v)
		}
	}
	algorithm := map[composefs.Algorithm]byte{composefs.SHA256: 1, composefs.SHA512: 2}[r.Algorithm]
	magic, info0, tail := 0, 16, 14
	if r.Old {
		magic, info0, tail = 18, 0, 30
	}
	copy(out[magic:], "SplitStream")
	put(info0, head, head+info)
	out[tail], out[tail+1] = algorithm, 12
	for i, from := range []int{0, 1, 3, 2} { // the content comes before the names
		put(head+16*i, written[from][0], written[from][1])
	}
	copy(out[head+64:], kind)
	put(head+72, uint64(size))
	return out
}

func raw(id composefs.ID) []byte {
	data, _ := hex.DecodeString(string(id))
	return data
}

// Compress compresses data as the content of streams is.
func Compress(data []byte) []byte {
	z, _ := zstd.NewWriter(nil) // no option, no error
	defer func() { _ = z.Close() }()
	return z.EncodeAll(data, nil)
}

// Stored returns a frame of zstd that has data as it is, see RFC 8878.
func Stored(data []byte) []byte {
	const maxBlock = 128 << 10
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58}
	for last := 0; last == 0; {
		n := min(len(data), maxBlock)
		if n == len(data) {
			last = 1
		}
		head := last | n<<3
		out = append(append(out, byte(head), byte(head>>8), byte(head>>16)), data[:n]...)
		data = data[n:]
	}
	return out
}

// Stream writes a stream and gives it a name, unless that is "".
func (r *Repo) Stream(name, kind string, refs []Ref, parts []Part) (composefs.ID, error) {
	size := int64(0)
	for _, p := range parts {
		size += int64(len(p.Inline)) + p.Size
	}
	return r.StreamOf(name, kind, size, refs, parts)
}

// StreamOf is Stream of a size that need not be true.
func (r *Repo) StreamOf(name, kind string, size int64, refs []Ref, parts []Part) (composefs.ID, error) {
	id, err := r.Object(bytes.NewReader(r.Encode(kind, size, refs, parts)))
	if err == nil && name != "" {
		err = r.Name(name, id)
	}
	return id, err
}

// Name gives a stream's object a name, and takes it from another one.
func (r *Repo) Name(name string, id composefs.ID) error {
	return r.symlink("../objects/"+string(id[:2])+"/"+string(id[2:]), "streams/"+name)
}

func (r *Repo) symlink(target, name string) error {
	path := filepath.Join(r.Dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}

// external is the size in bytes of the largest file that is no object.
const external = 64

// Split divides an archive as composefs does, and writes the objects.
func (r *Repo) Split(archive io.Reader) (parts []Part, err error) {
	var inline bytes.Buffer
	flush := func() {
		if inline.Len() > 0 {
			parts = append(parts, Part{Inline: bytes.Clone(inline.Bytes())})
		}
		inline.Reset()
	}
	tee := io.TeeReader(archive, &inline)
	for entries := tar.NewReader(struct{ io.Reader }{tee}); ; {
		hdr, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if hdr.Typeflag != tar.TypeReg || hdr.Size <= external {
			continue
		}
		flush()
		id, err := r.Object(entries)
		if err != nil {
			return nil, err
		}
		inline.Reset()
		parts = append(parts, Part{Object: id, Size: hdr.Size})
	}
	if !r.Old {
		if _, err := io.Copy(io.Discard, tee); err != nil {
			return nil, err
		}
	}
	flush()
	return parts, nil
}

// Layer writes a layer under a diff ID, which need not be its own.
func (r *Repo) Layer(diffID string, archive io.Reader) (composefs.ID, error) {
	parts, err := r.Split(archive)
	if err != nil {
		return "", err
	}
	return r.Stream(composefs.LayerPrefix+diffID, composefs.LayerType, nil, parts)
}

// Image writes the documents of an image whose layers are there, with a tag.
func (r *Repo) Image(tag string, manifest, config []byte, layers []Ref) error {
	document := func(prefix, kind string, data []byte, refs []Ref) (string, composefs.ID, error) {
		digest := Digest(data)
		object, err := r.Object(bytes.NewReader(data))
		if err != nil {
			return "", "", err
		}
		id, err := r.Stream(prefix+digest, kind, refs, []Part{{Object: object, Size: int64(len(data))}})
		return digest, id, err
	}
	// The writer's order has no meaning, nor has that of indexes.
	shuffled := slices.Clone(layers)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	digest, id, err := document(composefs.ConfigPrefix, composefs.ConfigType, config, shuffled)
	if err != nil {
		return err
	}
	digest, _, err = document(composefs.ManifestPrefix, composefs.ManifestType, manifest, append([]Ref{{"config:" + digest, id}}, shuffled...))
	if err != nil {
		return err
	}
	escaped := strings.NewReplacer("%", "%25", "/", "%2F").Replace(tag)
	return r.symlink("../../"+composefs.ManifestPrefix+digest, "streams/refs/oci/"+escaped)
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// manifest and config are the parts of an image's documents that are needed.
type manifest struct {
	Config descriptor   `json:"config"`
	Layers []descriptor `json:"layers"`
}

type config struct {
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}
