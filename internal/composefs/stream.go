// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"bytes"
	sha2 "crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Limits of a split stream. The stream of a layer of 279 MB has 304 KB.
const (
	maxStream     = 256 << 20
	maxInfo       = 4096
	maxStreamRefs = 4096
	maxObjectRefs = 4 << 20
)

// Stream is a split stream: bytes in which the contents of large files are objects. All
// integers in it are little-endian.
type Stream struct {
	// Type is the kind of what it has: LayerType or another one.
	Type string
	// Size is that of all bytes, in bytes, as the writer says. It bounds what is read.
	Size int64

	file *os.File
	// refs and objects are digests one after the other, size bytes each.
	refs, objects []byte
	size          int
	// content and named are the compressed parts.
	content, named section
}

// The types of streams.
const (
	ManifestType = "ocimanif"
	ConfigType   = "ociconfg"
	LayerType    = "ocilayer"
)

// section is a range of a file: where it starts, and where the next one does.
type section struct{ start, end int64 }

// OpenStream opens the split stream in an object. The error is ErrFormat for an object
// that is none, or one of another version, or a damaged one.
func (r *Repo) OpenStream(id ID) (*Stream, error) {
	f, size, err := r.OpenObject(id)
	if err != nil {
		return nil, err
	}
	s, err := ParseStream(f, size, r.algorithm)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read stream %q: %w", f.Name(), err)
	}
	s.file = f
	return s, nil
}

// ParseStream reads the head of a split stream of size bytes. Errors are ErrFormat and
// those of reading.
//
// The header has 32 bytes with the range of the info section, in one of two layouts;
// composefs before 0.7 wrote the magic at offset 18.
func ParseStream(f io.ReaderAt, size int64, algorithm Algorithm) (*Stream, error) {
	p := parser{f: f, size: size}
	head := p.read(section{0, 32}, 32)
	if p.err != nil {
		return nil, p.err
	}
	magic := []byte("SplitStream\x00") // with the version
	var at, kind int
	switch {
	case bytes.HasPrefix(head, magic):
		at, kind = 16, 14
	case bytes.HasPrefix(head[18:], magic):
		at, kind = 0, 30
	default:
		return nil, fmt.Errorf("%w: not a split stream", ErrFormat)
	}
	written := map[byte]Algorithm{1: SHA256, 2: SHA512}[head[kind]]
	if written != algorithm || head[kind+1] != 12 || size > maxStream {
		return nil, fmt.Errorf("%w: split stream of another algorithm, or too large", ErrFormat)
	}
	info := p.read(sectionIn(head[at:]), maxInfo)
	if p.err == nil && len(info) < 80 {
		p.fail()
	}
	if p.err != nil {
		return nil, p.err
	}
	s := &Stream{size: algorithm.digits() / 2, content: sectionIn(info[32:]), named: sectionIn(info[48:])}
	s.refs = p.read(sectionIn(info), int64(maxStreamRefs*s.size))
	s.objects = p.read(sectionIn(info[16:]), int64(maxObjectRefs*s.size))
	s.Type = string(info[64:72])
	s.Size = int64(binary.LittleEndian.Uint64(info[72:]))
	if !p.has(s.content) || !p.has(s.named) || len(s.refs)%s.size != 0 || len(s.objects)%s.size != 0 || s.Size < 0 {
		p.fail()
	}
	if p.err != nil {
		return nil, p.err
	}
	return s, nil
}

// parser reads parts of a file until an error.
type parser struct {
	f    io.ReaderAt
	size int64
	err  error
}

func (p *parser) fail() {
	if p.err == nil {
		p.err = fmt.Errorf("%w: damaged or truncated split stream", ErrFormat)
	}
}

func (p *parser) has(s section) bool { return 0 <= s.start && s.start <= s.end && s.end <= p.size }

func (p *parser) read(s section, limit int64) []byte {
	if p.err != nil || !p.has(s) || s.end-s.start > limit {
		p.fail()
		return nil
	}
	data := make([]byte, s.end-s.start)
	if n, err := p.f.ReadAt(data, s.start); n < len(data) {
		p.err = err
	}
	return data
}

// sectionIn returns the range that is written in data.
func sectionIn(data []byte) section {
	return section{int64(binary.LittleEndian.Uint64(data)), int64(binary.LittleEndian.Uint64(data[8:]))}
}

// Close closes the stream.
func (s *Stream) Close() { s.file.Close() }

// Name returns the path of the stream's object, for messages.
func (s *Stream) Name() string { return s.file.Name() }

// Refs is the number of streams and images that the stream refers to, Objects that of
// objects whose contents are parts of it, each once.
func (s *Stream) Refs() int { return len(s.refs) / s.size }

// Objects is documented at Refs.
func (s *Stream) Objects() int { return len(s.objects) / s.size }

// Ref returns what the stream refers to, by its index below Refs.
func (s *Stream) Ref(i int) ID { return s.id(s.refs, i) }

// Object returns an object by its index below Objects.
func (s *Stream) Object(i int) ID { return s.id(s.objects, i) }

func (s *Stream) id(list []byte, i int) ID {
	return ID(hex.EncodeToString(list[i*s.size : (i+1)*s.size]))
}

// Content returns the compressed content, without the objects.
func (s *Stream) Content() io.Reader { return s.reader(s.content) }

// NamedRefs returns the compressed names of what the stream refers to.
func (s *Stream) NamedRefs() io.Reader { return s.reader(s.named) }

func (s *Stream) reader(part section) io.Reader {
	return io.NewSectionReader(s.file, part.start, part.end-part.start)
}

// Manifest returns the manifest with a digest. It is compared with the digest. The error
// is fs.ErrNotExist where the repository does not have it, as after a garbage collection
// by another bootc, and ErrFormat for a form that this package does not read.
func (r *Repo) Manifest(digest string) ([]byte, error) {
	return r.document(ManifestPrefix, digest, MaxManifest)
}

// Config returns the image configuration with a digest, by the rules of Manifest.
func (r *Repo) Config(digest string) ([]byte, error) {
	return r.document(ConfigPrefix, digest, MaxConfig)
}

func (r *Repo) document(prefix, digest string, limit int64) ([]byte, error) {
	if !IsDigest(digest) {
		return nil, fmt.Errorf("invalid digest %.80q", digest)
	}
	id, err := r.Stream(prefix + digest)
	if err != nil {
		return nil, err
	}
	s, err := r.OpenStream(id)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	// The list of objects is not compressed. Composefs before 0.6 had configurations in
	// the content.
	if s.Objects() != 1 {
		return nil, fmt.Errorf("read stream %q: %w: not a stream with one object", s.Name(), ErrFormat)
	}
	path := s.Object(0).path()
	data, err := r.read(path, limit)
	if err != nil {
		return nil, err
	}
	if err := CheckDigest(data, digest); err != nil {
		return nil, fmt.Errorf("read %q in %q: %w", path, r.Path(), err)
	}
	return data, nil
}

// CheckDigest compares a document with its digest.
func CheckDigest(data []byte, digest string) error {
	if found := fmt.Sprintf("sha256:%x", sha2.Sum256(data)); found != digest {
		return fmt.Errorf("has the digest %s instead of %s", found, digest)
	}
	return nil
}
