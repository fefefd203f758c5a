// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// maxManifest bounds what is read of an image layout, in bytes: podman reads no larger
// manifest.
const maxManifest = 4 << 20

// refName is the annotation with the tag of an image in an OCI image layout.
const refName = "org.opencontainers.image.ref.name"

// lookAt looks for the image that a reference of no store and no registry leads to, below
// root, and returns its manifest digest. That is "" where only podman determines it: of an
// archive nothing but the file is looked at, of a daemon nothing. The error names what is
// missing.
//
// Sources: containers-transports(5); the image layout of the OCI image specification.
func lookAt(root string, image host.ImageReference) (digest string, err error) {
	path, ref, _ := strings.Cut(image.Name, ":")
	switch image.Transport {
	case host.Dir:
		path = image.Name
	case host.DockerDaemon:
		return "", nil
	}
	if path, err = rooted.Abs(path); err != nil {
		return "", err
	}
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	l := layout{dir, path}
	switch {
	case image.Transport == host.Dir:
		return l.dirDigest()
	// "@" goes before the number of an image.
	case image.Transport == host.OCI && !strings.Contains(image.Name, "@"):
		return l.indexDigest(ref)
	}
	path, _, _ = strings.Cut(path, "@")
	_, err = rooted.Stat(dir, path, 0)
	return "", err
}

// layout is a directory below root with the files of images.
type layout struct {
	root *os.File
	path string
}

// indexDigest is lookAt for an OCI image layout; ref is the image's tag there, "" for the
// only one.
func (l layout) indexDigest(ref string) (string, error) {
	var index layoutManifest
	if _, err := l.read("index.json", &index); err != nil {
		return "", err
	}
	all := index.Manifests
	if ref != "" {
		all = slices.DeleteFunc(all, func(d host.Descriptor) bool { return d.Annotations[refName] != ref })
	}
	switch {
	case len(all) == 0:
		return "", fmt.Errorf("%q has no image %q", l.path, ref)
	case len(all) > 1 && ref == "":
		return "", fmt.Errorf("%q has %d images", l.path, len(all))
	}
	digest := all[0].Digest
	file, err := l.file(digest, blobPath)
	if err != nil {
		return "", err
	}
	var manifest layoutManifest
	if _, err := l.read(file, &manifest); err != nil {
		return "", err
	}
	if len(manifest.Manifests) > 0 { // podman chooses one of them
		return "", nil
	}
	return digest, l.complete(manifest, blobPath)
}

// dirDigest is lookAt for a directory as skopeo makes it.
func (l layout) dirDigest() (string, error) {
	var manifest layoutManifest
	data, err := l.read("manifest.json", &manifest)
	if err != nil {
		return "", err
	}
	if len(manifest.Manifests) > 0 {
		return "", nil
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data)), l.complete(manifest, func(_, hex string) string { return hex })
}

// layoutManifest is a manifest or an index of them, as far as it is looked at.
type layoutManifest struct {
	Config    host.Descriptor   `json:"config"`
	Layers    []host.Descriptor `json:"layers"`
	Manifests []host.Descriptor `json:"manifests"`
}

// complete returns an error if a file of an image is missing or has another size.
func (l layout) complete(m layoutManifest, name func(algorithm, hex string) string) error {
	for _, d := range append([]host.Descriptor{m.Config}, m.Layers...) {
		file, err := l.file(d.Digest, name)
		if err != nil {
			return err
		}
		st, err := rooted.Stat(l.root, filepath.Join(l.path, file), 0)
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != d.Size {
			return fmt.Errorf("%q is not a file of %d bytes", filepath.Join(l.path, file), d.Size)
		}
	}
	return nil
}

// file returns the name of the file with a digest.
func (l layout) file(digest string, name func(algorithm, hex string) string) (string, error) {
	algorithm, hex, ok := strings.Cut(digest, ":")
	if !ok || hex == "" || strings.ContainsAny(digest, "/\x00") || strings.HasPrefix(algorithm, ".") {
		return "", fmt.Errorf("%q has the invalid digest %.80q", l.path, digest)
	}
	return name(algorithm, hex), nil
}

// read reads a file of JSON.
func (l layout) read(file string, into any) ([]byte, error) {
	path := filepath.Join(l.path, file)
	data, err := rooted.ReadFile(l.root, path, maxManifest)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return nil, fmt.Errorf("parse %q: %w", path, err)
	}
	return data, nil
}
