// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package export makes an OCI image again of what an ostree repository holds of it, and
// serves it to podman.
package export

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
)

var (
	// ErrNoConfig says that an old ostree-ext imported an image and did not keep
	// its configuration, so that it cannot be made again.
	ErrNoConfig = errors.New("image configuration was not kept")
	// ErrNoLayers says that a manifest has no layers.
	ErrNoLayers = errors.New("manifest without layers")
)

// Media types of the OCI image specification, media-types.md.
const (
	// ManifestType is that of a manifest.
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// From ostree-ext, container/encapsulate.rs and container/mod.rs.
const (
	// finalDiffIDLabel is the diff ID of the last layer of the ostree base.
	finalDiffIDLabel = "ostree.final-diffid"
	commitLabel      = "ostree.commit"
	// encapsulatedAnnotation says that a layer is an ostree commit.
	encapsulatedAnnotation = "ostree.encapsulated"
)

// Layer is a layer of an exported image, an uncompressed tar archive.
type Layer struct {
	// Digest is its digest and its diff ID.
	Digest string
	// Size is in bytes.
	Size int64
}

// Progress is called with how many bytes of a layer, by its index, were read so far. It
// is called from one goroutine at a time.
type Progress func(layer int, bytes int64)

// Image is an OCI image made again of what an ostree repository holds of it: an
// ordinary one, without an ostree base. Its layers are written whenever they are
// read; nothing of them is kept.
type Image struct {
	// These are known once Describe was called.
	Manifest, Config             []byte
	ManifestDigest, ConfigDigest string
	Layers                       []Layer

	repo *host.Repo
	tree [][]entry
	// original are the documents of the imported image, and the digest of its manifest.
	original struct {
		manifest host.Manifest
		config   imageConfig
		digest   string
	}
}

// New reads an image in a repository by the checksum of its commit, all of it, to learn the
// digests of what it exports; all objects are compared with their names. The same image
// always gives the same digests. repo has to stay open as long as the Image is
// used; progress may be nil.
//
// The root of the exported image equals the tree of the image's commit, but for
// times, labels of SELinux, and /usr/etc, which is /etc again.
//
// Errors are ostree.ErrMode, ostree.ErrCorruptObject, ErrNoConfig, ErrNoLayers,
// ErrBothEtc, ErrWhiteoutName and ErrXattrName, those of host.Repo.ImageCommit, and those of
// package os for a missing object.
func New(ctx context.Context, repo *host.Repo, checksum string, progress Progress) (*Image, error) {
	e, err := Open(ctx, repo, checksum)
	if err != nil {
		return nil, err
	}
	layers, err := e.measure(ctx, progress)
	if err == nil {
		err = e.Describe(layers)
	}
	if err != nil {
		return nil, fmt.Errorf("export image of commit %s: %w", checksum, err)
	}
	return e, nil
}

// Open is the part of New that comes before reading the layers: what is in them is known.
func Open(ctx context.Context, repo *host.Repo, checksum string) (*Image, error) {
	e, err := openCommit(ctx, repo, checksum)
	if err != nil {
		return nil, fmt.Errorf("export image of commit %s: %w", checksum, err)
	}
	return e, nil
}

func openCommit(ctx context.Context, repo *host.Repo, checksum string) (*Image, error) {
	if err := repo.CheckMode(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	trees := newForest(repo)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	// Meanwhile the layers are read.
	reading.Go(func() { trees.read(ctx, checksum) })
	e, commits, err := findLayers(repo, checksum)
	if err != nil {
		return nil, err
	}
	reading.Wait()
	trees.read(ctx, commits...)
	e.tree, err = readLayers(ctx, trees, checksum, commits, e.original.config.baseLayers)
	return e, err
}

// findLayers returns the commits of an image's layers, and what is known without them.
func findLayers(repo *host.Repo, checksum string) (e *Image, commits []string, err error) {
	image, err := repo.ImageCommit(checksum)
	if err != nil {
		return nil, nil, err
	}
	e = &Image{repo: repo}
	of := &e.original
	of.digest = image.ManifestDigest
	if of.manifest, of.config, err = parseDocuments(image.ManifestText, image.ConfigText); err != nil {
		return nil, nil, err
	}
	digests := make([]string, len(of.manifest.Layers))
	for i, l := range of.manifest.Layers {
		digests[i] = l.Digest
	}
	commits, err = repo.LayerCommits(digests)
	return e, commits, err
}

// Len is the number of layers.
func (e *Image) Len() int { return len(e.tree) }

// Entries is the number of entries of a layer, by its index, in the order of its
// archive, which is that of archive/tar with their headers.
func (e *Image) Entries(layer int) int { return len(e.tree[layer]) }

// Open opens an entry. file is nil for a directory and a hard link; that of a regular file has to be
// read to its end, which compares it with the name of its object
// (ostree.ErrCorruptObject). Several goroutines may call it.
func (e *Image) Open(layer, entry int) (hdr *tar.Header, file *ostree.File, err error) {
	at := e.tree[layer][entry]
	if hdr, file, err = openEntry(e.repo, at, true); err != nil {
		return nil, nil, fmt.Errorf("%q: %w", at.path, err)
	}
	return hdr, file, nil
}

// FileBytes returns the sum of the sizes of the files in all layers, each counted once a
// layer whatever its names. No file is read.
func (e *Image) FileBytes(ctx context.Context) (n int64, err error) {
	for _, layer := range e.tree {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		for _, at := range layer {
			if at.isDir || at.link != "" {
				continue
			}
			size, err := e.repo.FileSize(at.sum)
			if err != nil {
				return 0, fmt.Errorf("%q: %w", at.path, err)
			}
			n += size
		}
	}
	return n, nil
}

// Describe makes the image's documents, when its layers are known.
func (e *Image) Describe(layers []Layer) (err error) {
	e.Layers = layers
	if e.Config, err = e.original.config.export(layers); err != nil {
		return err
	}
	e.ConfigDigest = digest(e.Config)
	if e.Manifest, err = exportManifest(e.original.manifest, e.original.digest, e); err != nil {
		return err
	}
	e.ManifestDigest = digest(e.Manifest)
	return nil
}

// readLayers reads what is in each layer by its commit. The first baseLayers of them are
// the ostree base.
func readLayers(ctx context.Context, trees *forest, commit string, commits []string, baseLayers int) ([][]entry, error) {
	merged, err := readMerged(ctx, trees, commit)
	if err != nil {
		return nil, err
	}
	tree := make([][]entry, len(commits))
	if baseLayers > 0 {
		w := walker{trees: trees, merged: merged, layers: tree}
		if w.owner, err = readChunks(trees, commits[:baseLayers]); err != nil {
			return nil, err
		}
		if err := w.commit(ctx, commits[0]); err != nil {
			return nil, err
		}
	}
	for i := baseLayers; i < len(commits); i++ {
		w := walker{trees: trees, merged: merged, layers: tree, first: i}
		// Where two layers have a directory, ostree keeps the metadata that it
		// has in the lower one, container stores that in the upper one. What was
		// booted counts.
		if i > 0 {
			w.dirs = merged.dirs
		}
		if err := w.commit(ctx, commits[i]); err != nil {
			return nil, err
		}
	}
	for i := range tree {
		if tree[i], err = omitRoot(trees.repo, tree[i]); err == nil {
			err = linkRepeated(trees.repo, tree[i])
		}
		if err != nil {
			return nil, fmt.Errorf("read layer %d of %d: %w", i+1, len(tree), err)
		}
	}
	return tree, nil
}

// readChunks returns which layer of an ostree base has a file object. A chunk's
// commit is a flat directory of files named by their own objects; what it does
// not name is in the first layer.
func readChunks(trees *forest, commits []string) (map[ostree.Checksum]int, error) {
	owner := map[ostree.Checksum]int{}
	for i, commit := range commits[1:] {
		root, err := trees.repo.CommitTree(commit)
		if err != nil {
			return nil, err
		}
		tree, err := trees.tree(root.Tree)
		if err != nil {
			return nil, err
		}
		if len(tree.Dirs) > 0 {
			return nil, fmt.Errorf("read commit %s: not the chunk of an ostree base: it has directories", commit)
		}
		for _, f := range tree.Files {
			sum, err := ostree.ParseChecksum(f.Name)
			if err != nil {
				return nil, fmt.Errorf("read commit %s: not the chunk of an ostree base: %w", commit, err)
			}
			if _, twice := owner[sum]; !twice {
				owner[sum] = i + 1
			}
		}
	}
	return owner, nil
}

// measure writes all layers to nowhere, as many at a time as there are CPUs.
func (e *Image) measure(ctx context.Context, progress Progress) ([]Layer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	report := newReporter(progress)
	layers := make([]Layer, len(e.tree))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range layers {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			sum := sha256.New()
			size, err := e.writeLayer(ctx, sum, i, true, report)
			if err != nil {
				cancel(err)
				return
			}
			layers[i] = Layer{Digest: fmt.Sprintf("sha256:%x", sum.Sum(nil)), Size: size}
		})
	}
	wg.Wait()
	return layers, context.Cause(ctx)
}

// tarBuffer makes the many small writes of an archive few, in bytes.
const tarBuffer = 1 << 20

// WriteLayer writes the archive of a layer, by its index, and returns its size. Objects are
// not compared with their names again.
func (e *Image) WriteLayer(ctx context.Context, w io.Writer, layer int, progress Progress) (int64, error) {
	return e.writeLayer(ctx, w, layer, false, progress)
}

func (e *Image) writeLayer(ctx context.Context, w io.Writer, layer int, check bool, report Progress) (int64, error) {
	out := &countingWriter{w: w, report: func(n int64) { report(layer, n) }}
	buf := bufio.NewWriterSize(out, tarBuffer)
	err := writeTar(ctx, buf, e.repo, e.tree[layer], check)
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return out.n, fmt.Errorf("read layer %d of %d: %w", layer+1, len(e.tree), err)
	}
	return out.n, nil
}

type countingWriter struct {
	w      io.Writer
	n      int64
	report func(n int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.report(c.n)
	return n, err
}

// newReporter makes progress safe to call from several goroutines.
func newReporter(progress Progress) func(layer int, bytes int64) {
	if progress == nil {
		return func(int, int64) {}
	}
	var mu sync.Mutex
	return func(layer int, bytes int64) {
		mu.Lock()
		defer mu.Unlock()
		progress(layer, bytes)
	}
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// object is a JSON object whose values are kept as they are written.
type object map[string]json.RawMessage

// encode writes v without the escapes that are for HTML only.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// imageConfig is the configuration of an image in the ostree repository.
type imageConfig struct {
	doc object
	// config, labels and history are parts of it, nil when missing.
	config  object
	labels  map[string]string
	history []object
	// baseLayers is how many layers belong to the ostree base, 0 for none.
	baseLayers int
}

// parseDocuments reads the manifest and the configuration of an image.
func parseDocuments(manifestText, configText string) (manifest host.Manifest, config imageConfig, err error) {
	if err := json.Unmarshal([]byte(manifestText), &manifest); err != nil {
		return manifest, config, fmt.Errorf("parse manifest: %w", err)
	}
	if len(manifest.Layers) == 0 {
		return manifest, config, ErrNoLayers
	}
	if configText == "" {
		return manifest, config, ErrNoConfig
	}
	var parts struct {
		Config  object   `json:"config"`
		History []object `json:"history"`
		RootFS  struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	err = errors.Join(json.Unmarshal([]byte(configText), &config.doc), json.Unmarshal([]byte(configText), &parts))
	if err == nil && parts.Config["Labels"] != nil {
		err = json.Unmarshal(parts.Config["Labels"], &config.labels)
	}
	if err != nil {
		return manifest, config, fmt.Errorf("parse image configuration: %w", err)
	}
	config.config, config.history = parts.Config, parts.History
	if final, ok := config.labels[finalDiffIDLabel]; ok {
		config.baseLayers = slices.Index(parts.RootFS.DiffIDs, final) + 1
		if config.baseLayers == 0 || config.baseLayers > len(manifest.Layers) {
			return manifest, config, fmt.Errorf("parse image configuration: label %s: no layer %.80q", finalDiffIDLabel, final)
		}
	}
	return manifest, config, nil
}

// export returns the configuration of the image with other layers. All else is
// kept but for the labels that would make bootc look for an ostree base.
func (c imageConfig) export(layers []Layer) ([]byte, error) {
	doc := maps.Clone(c.doc)
	diffIDs := make([]string, len(layers))
	for i, l := range layers {
		diffIDs[i] = l.Digest
	}
	var err error
	if doc["rootfs"], err = encode(map[string]any{"type": "layers", "diff_ids": diffIDs}); err != nil {
		return nil, err
	}
	if doc["history"], err = encode(exportHistory(c.history, len(layers))); err != nil {
		return nil, err
	}
	if c.labels != nil {
		labels := maps.Clone(c.labels)
		delete(labels, finalDiffIDLabel)
		delete(labels, commitLabel)
		config := maps.Clone(c.config)
		if config["Labels"], err = encode(labels); err != nil {
			return nil, err
		}
		if doc["config"], err = encode(config); err != nil {
			return nil, err
		}
	}
	return encode(doc)
}

// exportHistory returns a history with one entry for each layer and those for
// none. It is the old one, unless that does not fit.
func exportHistory(old []object, layers int) []object {
	history := []object{}
	for _, h := range old {
		if string(h["empty_layer"]) != "true" {
			if layers == 0 {
				continue
			}
			layers--
		}
		history = append(history, h)
	}
	for range layers {
		history = append(history, object{"created_by": json.RawMessage(`"bootc-podman: layer without history"`)})
	}
	return history
}

// exportManifest returns the manifest of an exported image. Annotations are
// those of the old one, of the layers too.
func exportManifest(old host.Manifest, oldDigest string, e *Image) ([]byte, error) {
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	annotations := maps.Clone(old.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	delete(annotations, finalDiffIDLabel) // which ostree-ext repeats there
	delete(annotations, commitLabel)
	annotations[cstorage.OriginalDigest], annotations[cstorage.ExportedConfig] = oldDigest, e.ConfigDigest
	layers := make([]descriptor, len(e.Layers))
	for i, l := range e.Layers {
		kept := maps.Clone(old.Layers[i].Annotations)
		delete(kept, encapsulatedAnnotation)
		layers[i] = descriptor{MediaType: layerType, Digest: l.Digest, Size: l.Size, Annotations: kept}
	}
	return encode(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations"`
	}{
		SchemaVersion: 2,
		MediaType:     ManifestType,
		Config:        descriptor{MediaType: configType, Digest: e.ConfigDigest, Size: int64(len(e.Config))},
		Layers:        layers,
		Annotations:   annotations,
	})
}
