// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/lockfile"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// source is an image with all that is copied of it but for the files of its layers.
type source struct {
	store    storage.Store
	image    *storage.Image
	layers   []*sourceLayer
	data     []storage.ImageBigDataOption
	metadata string
}

// sourceLayer is a layer of it.
type sourceLayer struct {
	*storage.Layer
	data map[string][]byte
	// tree and tarSplit are open only while the layer is read.
	tree, tarSplit *os.File
}

// readSource reads an image, and refuses what is not of the usual form.
func readSource(store storage.Store, id string) (*source, error) {
	image, err := store.Image(id)
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, clonejob.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	s := &source{store: store, image: image}
	layers, err := chain(store, image.TopLayer)
	if err != nil {
		return nil, err
	}
	for _, layer := range layers {
		l := &sourceLayer{Layer: layer, data: map[string][]byte{}}
		switch {
		case len(l.UIDMap) > 0 || len(l.GIDMap) > 0:
			return nil, clonejob.Unsupportedf("layer %s uses an ID mapping", l.ID)
		case l.UncompressedDigest == "":
			return nil, clonejob.Unsupportedf("the digest of layer %s is not known", l.ID)
		case l.MountLabel != "":
			return nil, clonejob.Unsupportedf("layer %s is a container's", l.ID)
		}
		for _, key := range l.BigDataNames {
			if l.data[key], err = readLayerData(store, l.ID, key); err != nil {
				return nil, fmt.Errorf("layer %s: read %q: %w", l.ID, key, err)
			}
		}
		s.layers = append(s.layers, l)
	}
	if s.metadata, err = withoutSignatures(image.Metadata); err != nil {
		return nil, err
	}
	for _, key := range image.BigDataNames {
		if isSignature(key) {
			continue
		}
		data, err := store.ImageBigData(id, key)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", key, err)
		}
		s.data = append(s.data, storage.ImageBigDataOption{Key: key, Data: data, Digest: image.BigDataDigests[key]})
	}
	return s, nil
}

func readLayerData(store storage.Store, id, key string) ([]byte, error) {
	r, err := store.LayerBigData(id, key)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// isSignature reports the keys under which podman keeps signatures. Those are of
// the place that the image came from, and bootc leaves them behind, too.
func isSignature(key string) bool {
	return key == "signatures" || strings.HasPrefix(key, "signature-")
}

// withoutSignatures returns the metadata of an image without the sizes of signatures.
func withoutSignatures(metadata string) (string, error) {
	if metadata == "" {
		return "", nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(metadata), &fields); err != nil {
		return "", clonejob.Unsupportedf("the image's metadata are no JSON object: %v", err)
	}
	delete(fields, "signature-sizes")
	delete(fields, "signatures-sizes")
	out, err := json.Marshal(fields)
	return string(out), err
}

// verifyMetadata compares what the image says of itself with itself.
func (s *source) verifyMetadata() error {
	documents := map[digest.Digest][]byte{}
	for _, d := range s.data {
		name := digest.Digest(strings.TrimPrefix(d.Key, storage.ImageDigestBigDataKey+"-"))
		if d.Key == storage.ImageDigestBigDataKey {
			name = d.Digest
		}
		if name.Validate() != nil {
			continue
		}
		if name != name.Algorithm().FromBytes(d.Data) && !isFirstSchema(d.Data) {
			return fmt.Errorf("%q has another digest than it should: %w", d.Key, clonejob.ErrNotVerified)
		}
		documents[name] = d.Data
	}
	config, ok := documents[digest.NewDigestFromEncoded(digest.SHA256, s.image.ID)]
	if !ok {
		return clonejob.Unsupportedf("the image is not named by its configuration")
	}
	var parsed struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return fmt.Errorf("parse configuration: %w", err)
	}
	if !slices.Equal(parsed.RootFS.DiffIDs, s.diffIDs()) {
		return fmt.Errorf("the layers are not those of the configuration: %w", clonejob.ErrNotVerified)
	}
	return nil
}

// isFirstSchema reports manifests of Docker's first schema, the digest of which
// leaves out their signature.
func isFirstSchema(manifest []byte) bool {
	var m struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	return json.Unmarshal(manifest, &m) == nil && m.SchemaVersion == 1
}

func (s *source) diffIDs() (ids []digest.Digest) {
	for _, l := range s.layers {
		ids = append(ids, l.UncompressedDigest)
	}
	return ids
}

// lock keeps others from removing layers of the source until unlock, and opens those
// that are wanted. The source's library must not be used in between: it takes the lock on
// the whole store, and others hold that one while they wait for the lock on the layers.
func (s *source) lock(ctx context.Context, wanted []*sourceLayer) (unlock func(), err error) {
	graphRoots := make([]string, len(wanted))
	for i, l := range wanted {
		if graphRoots[i], err = l.locate(s.store); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.ID, err)
		}
	}
	var locks []*lockfile.LockFile
	locked := map[string]bool{}
	unlock = func() {
		for _, l := range wanted {
			l.close()
		}
		for _, l := range locks {
			l.Unlock()
		}
	}
	for i, l := range wanted {
		graphRoot := graphRoots[i]
		if !locked[graphRoot] {
			lock, failed := openLock(layersDir(graphRoot), l.ReadOnly)
			if err = failed; lock != nil {
				if err = take(ctx, lock, lock.RLock); err == nil {
					locks = append(locks, lock)
					locked[graphRoot] = true
				}
			}
		}
		if err == nil {
			err = l.open(graphRoot)
		}
		if err != nil {
			unlock()
			return nil, fmt.Errorf("layer %s: %w", l.ID, err)
		}
	}
	return unlock, nil
}

// locate returns the graph root of the store that a layer is in, which may be an
// additional one.
func (l *sourceLayer) locate(store storage.Store) (graphRoot string, err error) {
	driver, err := store.GraphDriver()
	if err != nil {
		return "", err
	}
	metadata, err := driver.Metadata(l.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return "", clonejob.ErrChanged
	}
	if err != nil {
		return "", err
	}
	// GRAPHROOT/overlay/ID/diff
	return filepath.Join(metadata["UpperDir"], "../../.."), nil
}

// open opens a layer's tree and its tar-split file.
func (l *sourceLayer) open(graphRoot string) (err error) {
	dir := filepath.Join(graphRoot, "overlay", l.ID)
	if _, err := os.Lstat(filepath.Join(dir, "composefs-data")); err == nil {
		return clonejob.Unsupportedf("it is in composefs form")
	}
	path := filepath.Join(dir, "diff")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case rooted.IsOneOf(err, unix.ELOOP, unix.ENOTDIR):
		return clonejob.Unsupportedf("it is in an additional layer store")
	case errors.Is(err, unix.ENOENT):
		return clonejob.ErrChanged
	case err != nil:
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	l.tree = os.NewFile(uintptr(fd), path)
	l.tarSplit, err = os.Open(tarSplitPath(layersDir(graphRoot), l.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return clonejob.Unsupportedf("it has no tar-split file")
	}
	return err
}

// isThere returns clonejob.ErrChanged for a tree that was removed while it was copied,
// lock or not: what was not read by then is missing without an error.
func (l *sourceLayer) isThere() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(l.tree.Fd()), &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return clonejob.ErrChanged
	}
	return nil
}

func (l *sourceLayer) close() {
	for _, f := range []*os.File{l.tree, l.tarSplit} {
		if f != nil {
			f.Close()
		}
	}
	l.tree, l.tarSplit = nil, nil
}
