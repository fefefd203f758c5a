// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// layoutDir is what the name of the directory with a view of an image layout begins with;
// the worker that uses it follows.
const layoutDir = "layout"

// fullName is the annotation with the full name of an image whose refName is its tag alone,
// as containerd and BuildKit write it.
const fullName = "io.containerd.image.name"

// Media types of the image layout specification.
const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
)

// errNotInLayout reports that an image layout does not have an image.
var errNotInLayout = errors.New("the image layout does not have the image")

// shelf is an OCI image layout with several images.
type shelf struct {
	layout
	images []host.Descriptor
}

// openShelf opens the image layout in a directory of the running host.
func openShelf(dir string) (*shelf, error) {
	path, err := rooted.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("read image layout %q: %w", dir, err)
	}
	// Links lead where they lead podman, which reads the layers.
	root, err := rooted.OpenRoot("/")
	if err != nil {
		return nil, fmt.Errorf("read image layout %q: %w", dir, err)
	}
	s := &shelf{layout: layout{root, path}}
	var index layoutManifest
	if _, err := s.read("index.json", &index); err != nil {
		root.Close()
		return nil, fmt.Errorf("read image layout %q: %w", path, err)
	}
	s.images = index.Manifests
	return s, nil
}

// supply is an image of a layout.
type supply struct {
	// name is what the store names it.
	name string
	// digests are those of its manifest or, for a list, of the list and of the manifest for
	// this machine in it; manifests has their text.
	digests   []string
	manifests map[string][]byte
	// mediaType is that of the first.
	mediaType string
	// blobs are its configuration and its layers.
	blobs  []host.Descriptor
	layers []host.Descriptor
}

// supply finds the image that a wanted name means, and reads its manifest. all are the names
// of which each may mean an image. The error is errNotInLayout for none.
func (s *shelf) supply(name string, all []Wanted) (*supply, error) {
	want, err := storedName(name)
	if err != nil {
		return nil, err
	}
	found := &supply{name: want.String(), manifests: map[string][]byte{}}
	digest := want.Digest
	if digest == "" {
		var ref string
		if digest, ref, err = s.choose(name, all); err != nil {
			return nil, err
		}
		// Where the unit leaves out the registry, the layout may have it.
		if full, err := storedName(ref); err == nil && cstorage.IsShort(bareName(name)) && !cstorage.IsShort(ref) {
			found.name = full.String()
		}
	}
	err = s.readImage(found, digest)
	if want.Digest != "" && errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(s.images, func(d host.Descriptor) bool { return d.Digest == want.Digest }) {
		err = errNotInLayout
	}
	return found, err
}

// storedName is the name that podman stores an image under which it pulls by a name.
func storedName(name string) (cstorage.Name, error) {
	n, err := cstorage.ParseName(bareName(name))
	return n.Stored(), err
}

// rule reports whether an image that a layout calls ref may be the one that a name means.
type rule func(ref, name string) bool

// The rules by which images are found, the first that finds one counts. Those that do not
// compare whole names find nothing that can be meant by several of the names that are wanted.
var (
	wholeNames = []rule{
		func(ref, name string) bool { return ref == name || ref == bareName(name) },
		func(ref, name string) bool {
			have, refErr := storedName(ref)
			want, err := storedName(name)
			return refErr == nil && err == nil && have == want
		},
	}
	partNames = []rule{
		// Either lacks the registry, and perhaps more of the beginning.
		func(ref, name string) bool {
			name = bareName(name)
			if cstorage.IsShort(name) == cstorage.IsShort(ref) {
				return false
			}
			return strings.HasSuffix(withTag(name), "/"+withTag(ref)) || strings.HasSuffix(withTag(ref), "/"+withTag(name))
		},
		// The tag alone, as in the layout of one repository.
		func(ref, name string) bool {
			want, err := storedName(name)
			return err == nil && want.Tag == ref
		},
	}
)

// withTag is a name as it is written, with a tag.
func withTag(name string) string {
	if n, err := cstorage.ParseName(name); err == nil && n.Tag == "" && n.Digest == "" {
		return name + ":latest"
	}
	return name
}

// choose returns the digest of the image that a name without a digest means, and what the
// layout calls it.
func (s *shelf) choose(name string, all []Wanted) (digest, ref string, err error) {
	for i, rule := range append(slices.Clone(wholeNames), partNames...) {
		var refs, digests, others []string
		for _, d := range s.images {
			ref := cmp.Or(d.Annotations[fullName], d.Annotations[refName])
			meant := rule(ref, name) || i < len(wholeNames) && rule(d.Annotations[refName], name)
			if !meant {
				continue
			}
			for _, other := range all {
				if i >= len(wholeNames) && rule(ref, other.Name) && !wholeNames[1](other.Name, name) {
					others = append(others, other.Name)
				}
			}
			if refs = append(refs, ref); !slices.Contains(digests, d.Digest) {
				digests = append(digests, d.Digest)
			}
		}
		switch {
		case len(digests) > 1:
			return "", "", fmt.Errorf("%q has %d images that it can mean: %q", s.path, len(digests), refs)
		case len(others) > 0:
			return "", "", fmt.Errorf("the image %q of %q can be this one or %s", refs[0], s.path, others[0])
		case len(digests) == 1:
			return digests[0], refs[0], nil
		}
	}
	return "", "", errNotInLayout
}

// readImage reads the manifest with a digest, and looks at the files of its image.
func (s *shelf) readImage(into *supply, digest string) error {
	data, err := s.manifest(digest)
	if err != nil {
		return err
	}
	into.digests, into.manifests[digest], into.mediaType = []string{digest}, data, ociManifest
	instance, list, err := cstorage.Instance(data)
	switch {
	case err != nil:
		return fmt.Errorf("read manifest %s: %w", digest, err)
	case list && instance == "":
		return fmt.Errorf("read manifest list %s: %w", digest, errNoInstance)
	case list:
		if data, err = s.manifest(instance); err != nil {
			return err
		}
		into.digests, into.manifests[instance], into.mediaType = append(into.digests, instance), data, ociIndex
	}
	var m layoutManifest
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("read manifest %s: %w", digest, err)
	}
	into.layers, into.blobs = m.Layers, append([]host.Descriptor{m.Config}, m.Layers...)
	return s.complete(m, blobPath)
}

// manifest reads the manifest with a digest, and compares it with that.
func (s *shelf) manifest(digest string) ([]byte, error) {
	file, err := s.file(digest, blobPath)
	if err != nil {
		return nil, err
	}
	data, err := rooted.ReadFile(s.root, filepath.Join(s.path, file), maxManifest)
	if err == nil && fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != digest {
		err = fmt.Errorf("%q does not have the digest %s", filepath.Join(s.path, file), digest)
	}
	return data, err
}

// blobPath is where a layout has a blob.
func blobPath(algorithm, hex string) string { return filepath.Join("blobs", algorithm, hex) }

// view makes a directory that podman reads as the image layout of one image under the name
// that the store shall have: podman's releases differ in what they name an image of a layout,
// and podman does not compare its manifest with the digest. The manifests are those that were
// read, configuration and layers are links: podman compares these with their digests.
func (s *shelf) view(dir string, image *supply) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	top := host.Descriptor{
		MediaType: image.mediaType, Digest: image.digests[0], Size: int64(len(image.manifests[image.digests[0]])),
		Annotations: map[string]string{refName: image.name},
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []host.Descriptor{top}})
	if err != nil {
		return err
	}
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": index}
	for digest, data := range image.manifests {
		file, err := s.file(digest, blobPath)
		if err != nil {
			return err
		}
		files[file] = data
	}
	for file, data := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	for _, d := range image.blobs {
		file, err := s.file(d.Digest, blobPath)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join(s.path, file), path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// supplied returns those of the images that the layout has.
func (f *fetching) supplied(absent []*fetched, all []Wanted) (found []*fetched, failed []error) {
	for _, w := range absent {
		image, err := f.shelf.supply(w.Name, all)
		if err != nil {
			failed = append(failed, fmt.Errorf("fetch %s from %q: %w", w.Name, f.shelf.path, err))
			continue
		}
		w.supply, w.offer = image, &Offer{Digests: image.digests, Config: image.blobs[0].Digest, Layers: image.layers}
		found = append(found, w)
	}
	return found, failed
}

// pullSupplied pulls an image of the layout with a podman that is its worker's own.
func (f *fetching) pullSupplied(ctx context.Context, w *fetched, store podman.Store) error {
	dir := filepath.Join(f.Dir, layoutDir+store.Worker)
	if f.dryRun() {
		if err := f.comment("%q: an image layout of the image %s in %q, as %s", dir, w.supply.digests[0], f.shelf.path, w.supply.name); err != nil {
			return err
		}
	} else {
		defer func() { _ = os.RemoveAll(dir) }() // else the next transfer does
		if err := f.shelf.view(dir, w.supply); err != nil {
			return fmt.Errorf("fetch %s from %q: %w", w.Name, f.shelf.path, err)
		}
	}
	store.Retry = 0 // no network
	pull := func() error { return store.PullLayout(ctx, dir, w.supply.name, w.supply.layers, f.blobs) }
	err := pull()
	if err != nil && ctx.Err() == nil && f.pruned(w.loan) {
		err = pull()
	}
	if exit, ok := errors.AsType[*wrapper.ExitError](err); ok {
		exit.Stderr = plainLog(exit.Stderr) // skopeo's
	}
	if err != nil {
		return fmt.Errorf("pull %s from %q: %w", w.Name, f.shelf.path, err)
	}
	return nil
}
