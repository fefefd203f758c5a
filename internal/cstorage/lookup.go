// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
)

// minPrefix is the shortest prefix of an ID that the containers-storage
// transport takes for one.
const minPrefix = 3

// ErrNotFound says that a store holds no image of the name that was looked up.
var ErrNotFound = errors.New("no such image")

// Exists reports whether podman image exists would say that the image is there. It
// is as Lookup, but an image that podman could not use, because a manifest or a
// layer is missing, is not there. An error means that this could not be determined.
func (s *Store) Exists(name string, short func() (ShortNames, error)) (bool, error) {
	img, err := s.Lookup(name, short)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.usable(img)
}

// usable reports whether podman could use an image.
func (s *Store) usable(img *Image) (bool, error) {
	m, err := img.manifest()
	if errors.Is(err, fs.ErrPermission) {
		return false, err
	}
	if err == nil && m.isList() {
		return true, nil
	}
	if s.layersErr != nil {
		return false, s.layersErr
	}
	return err == nil && m.isImage() && img.damage == nil, nil
}

// Lookup finds the image that podman means by name: a name, a name without
// registry, tag, or leading components, one with a digest, an ID or the beginning
// of one, or a reference of the containers-storage transport. A manifest list
// stands for the image in it that this machine can run. Short is called when the
// name has no registry, and only then.
//
// The order is that of LookupImage in go.podman.io/common/libimage 0.69. The
// error is ErrNotFound when the image is not there; all others mean that this
// could not be determined: the name is none, or of another transport, or a file could not
// be read.
func (s *Store) Lookup(name string, short func() (ShortNames, error)) (*Image, error) {
	match, err := s.LookupMatch(name, short)
	return match.Image, err
}

// Match is what a name means.
type Match struct {
	// Image is the image.
	Image *Image
	// Name is the full name that was found, with a tag, "" where the image was found by
	// something else.
	Name string
	// Names are those of the record that was found: Image's, or the manifest list's.
	Names []string

	// record is true if manifest lists stand for themselves.
	record bool
}

// LookupMatch is Lookup that also returns how the image was found.
func (s *Store) LookupMatch(name string, short func() (ShortNames, error)) (Match, error) {
	var m Match
	img, err := s.lookup(name, short, &m)
	if err == nil && img == nil {
		err = ErrNotFound
	}
	if err != nil {
		return Match{}, fmt.Errorf("look up image %q: %w", name, err)
	}
	if m.Image = img; m.Names == nil {
		m.Names = img.Names
	}
	return m, nil
}

// LookupRecord is LookupMatch for a command that works on the record itself, as podman
// image rm and untag do: a manifest list stands for itself.
func (s *Store) LookupRecord(name string, short func() (ShortNames, error)) (Match, error) {
	m := Match{record: true}
	img, err := s.lookup(name, short, &m)
	if err == nil && img == nil {
		err = ErrNotFound
	}
	if err != nil {
		return Match{}, fmt.Errorf("look up image %q: %w", name, err)
	}
	m.Image, m.Names = img, img.Names
	return m, nil
}

// lookup returns nil, like everything below, when it finds no image.
func (s *Store) lookup(name string, short func() (ShortNames, error), m *Match) (*Image, error) {
	if s.imagesErr != nil {
		return nil, s.imagesErr
	}
	if img, done, err := s.byTransport(name); done {
		return img, err
	}
	instance := func(record *Image) (*Image, error) {
		if m.record {
			return record, nil
		}
		img, err := s.instance(record)
		if img != nil {
			m.Names = record.Names
		}
		return img, err
	}
	hex, byDigest := strings.CutPrefix(name, "sha256:")
	switch {
	case IsID(hex):
		return instance(s.byKey(hex))
	case byDigest:
		return nil, errors.New("not 64 hexadecimal digits after sha256")
	}
	parsed, err := ParseName(name)
	if err != nil {
		return nil, err
	}
	// Where there is a digest, podman does not look at the tag.
	repository, suffix := splitName(name)
	name = repository + suffix
	full := []Name{parsed}
	shortName := IsShort(name)
	if shortName {
		names, err := short()
		if err != nil {
			return nil, err
		}
		candidates, err := names.candidates(repository, suffix)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		full = append(candidates, parsed)
	}
	for _, candidate := range full {
		if img, err := instance(s.ByFullName(candidate)); img != nil || err != nil {
			if candidate.Digest == "" {
				candidate.Tag = cmp.Or(candidate.Tag, "latest")
				m.Name = candidate.String()
			}
			return img, err
		}
	}
	if img, err := instance(s.byKey(name)); img != nil || err != nil || !shortName {
		return img, err
	}
	return s.bySuffix(repository, suffix, instance)
}

// byTransport finds an image by a reference with transport, if name is one. As
// "dir:latest" could be an image, too, only what podman takes for another
// transport is refused.
func (s *Store) byTransport(name string) (img *Image, done bool, err error) {
	transport, rest, found := strings.Cut(name, ":")
	if !found || rest == "" {
		return nil, false, nil
	}
	switch transport {
	case "docker":
		done = strings.HasPrefix(rest, "//")
	case "dir", "docker-archive", "oci", "oci-archive", "sif":
		done = true
	case "containers-storage":
		if strings.HasPrefix(rest, "[") {
			return nil, true, errors.New("another store is named")
		}
		img, done = s.byStorageReference(rest)
		return img, done, nil
	}
	if done {
		err = fmt.Errorf("transport %q does not name an image of the store", transport)
	}
	return nil, done, err
}

// byStorageReference finds an image by NAME, NAME@ID or ID; ok is false when ref
// is nothing of that. Names are completed by Docker Hub only, and manifest lists
// stand for themselves.
func (s *Store) byStorageReference(ref string) (img *Image, ok bool) {
	byPrefix := func(prefix string) *Image {
		if img := s.byKey(prefix); img != nil && len(prefix) >= minPrefix && strings.HasPrefix(img.ID, prefix) {
			return img
		}
		return nil
	}
	named, id := ref, ""
	if at := strings.LastIndexByte(ref, '@'); at >= 0 && !strings.Contains(ref[at:], ":") {
		named, id = ref[:at], ref[at+1:]
		if img = byPrefix(id); img == nil && !IsID(id) {
			return nil, false
		}
		if named == "" || img == nil {
			return img, true
		}
	} else if img = byPrefix(ref); img != nil {
		return img, true
	}
	name, err := ParseName(named)
	if err != nil {
		return nil, false
	}
	if id == "" {
		return s.ByFullName(name), true
	}
	if !img.hasRepository(name.Repository()) {
		return nil, true
	}
	return img, true
}

// byKey finds an image by its ID, its literal name, or an unambiguous beginning
// of its ID, as the storage library does.
func (s *Store) byKey(key string) *Image {
	if img := s.byID[key]; img != nil {
		return img
	}
	if img := s.byName[key]; img != nil {
		return img
	}
	var found *Image
	for id, img := range s.byID {
		if key != "" && strings.HasPrefix(id, key) {
			if found != nil {
				return nil
			}
			found = img
		}
	}
	return found
}

// ByID returns the image with an ID, nil for none.
func (s *Store) ByID(id string) *Image { return s.byID[id] }

// ByDigest returns the images with a manifest digest. As with Exists, one that podman
// could not use is not there: its program may have been killed between its record,
// which comes first, and its manifest. Nor is one that is damaged.
func (s *Store) ByDigest(digest string) []*Image {
	return slices.DeleteFunc(slices.Clone(s.byDigest[digest]), func(img *Image) bool {
		usable, err := s.usable(img)
		return err == nil && !usable || s.Damage(img) != nil
	})
}

// Named returns the image of a full name, nil for none.
func (s *Store) Named(name string) *Image { return s.byName[name] }

// ByFullName finds an image by a name with registry. For one with a digest, it is
// enough that the image has the digest, and a name of the same repository.
func (s *Store) ByFullName(name Name) *Image {
	name = name.Stored()
	if img := s.byName[name.String()]; img != nil || name.Digest == "" {
		return img
	}
	var found *Image
	for _, img := range s.byDigest[name.Digest] {
		if img.hasRepository(name.Repository()) && (found == nil || s.runsHere(img, name.Digest)) {
			found = img
		}
	}
	return found
}

// bySuffix finds the first image of which a name ends in the given components
// and has the tag or, if one is given, the digest.
func (s *Store) bySuffix(repository, suffix string, instance func(*Image) (*Image, error)) (*Image, error) {
	tag, digest := "latest", ""
	if after, ok := strings.CutPrefix(suffix, "@"); ok {
		tag, digest = "", after
	} else if suffix != "" {
		tag = suffix[1:]
	}
	for _, img := range s.Images {
		for _, name := range img.Names {
			repo, nameSuffix := splitName(name)
			if tag != "" && nameSuffix != ":"+tag || repo != repository && !strings.HasSuffix(repo, "/"+repository) {
				continue
			}
			found, err := instance(img)
			if err != nil {
				return nil, err
			}
			if found != nil && (digest == "" || slices.Contains(found.Digests, digest)) {
				return found, nil
			}
			break
		}
	}
	return nil, nil
}

// instance returns img or, if it is a manifest list, the image in it for this
// machine. A list without one is ErrNotFound, as it ends every lookup.
func (s *Store) instance(img *Image) (*Image, error) {
	if img == nil {
		return nil, nil
	}
	m, err := img.manifest()
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case err != nil: // An image without a good manifest can still be listed, and removed.
		return img, nil //nolint:nilerr // see above
	case !m.isList():
		return img, nil
	}
	digest := m.choose()
	for _, other := range s.Images {
		if digest != "" && slices.Contains(other.Digests, digest) {
			return other, nil
		}
	}
	return nil, fmt.Errorf("%w for this machine in manifest list %q", ErrNotFound, img.ID)
}

// runsHere reports whether digest is that of a manifest list in which img is the
// image for this machine.
func (s *Store) runsHere(img *Image, digest string) bool {
	m, err := img.manifestAt(manifestKey + "-" + digest)
	return err == nil && m.isList() && slices.Contains(img.Digests, m.choose())
}

// choose returns the digest of the manifest in a list that fits this machine
// best, "" for none. One without platform fits every machine, at need.
func (m *manifest) choose() string {
	wanted := []platform{{Architecture: runtime.GOARCH, OS: runtime.GOOS}}
	if runtime.GOARCH == "arm64" {
		wanted = slices.Insert(wanted, 0, platform{Architecture: "arm64", OS: runtime.GOOS, Variant: "v8"})
	}
	best, digest := len(wanted)+1, ""
	for _, entry := range m.Manifests {
		rank := len(wanted)
		if entry.Platform != nil {
			if rank = slices.Index(wanted, *entry.Platform); rank < 0 {
				continue
			}
		}
		if rank < best {
			best, digest = rank, entry.Digest
		}
	}
	return digest
}

func (img *Image) hasRepository(repository string) bool {
	return slices.ContainsFunc(img.Names, func(s string) bool {
		name, err := ParseName(s)
		return err == nil && name.Repository() == repository
	})
}

// splitName cuts a name into the repository as it is written and the tag or
// digest with its separator. A tag before a digest is dropped.
func splitName(name string) (repository, suffix string) {
	repository, digest, digested := strings.Cut(name, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository, suffix = repository[:colon], repository[colon:]
	}
	if digested {
		suffix = "@" + digest
	}
	return repository, suffix
}

// IsShort reports whether a valid name has no registry in the eyes of podman: a
// first component without "." and ":" is a namespace.
func IsShort(name string) bool {
	first, _, found := strings.Cut(name, "/")
	parsed, err := ParseName(name)
	return err == nil && (!found || parsed.Domain == "" || first != "localhost" && !strings.ContainsAny(first, ".:"))
}
