// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/ostree"
)

// ErrNoManifest is the error for a commit that was not made from a container image.
var ErrNoManifest = errors.New("not the commit of a container image")

// Repo is the ostree repository of a sysroot.
type Repo struct{ *ostree.Repo }

// RepoImage is a container image in an ostree repository.
type RepoImage struct {
	// Image is what the image is called, from the name of the ref.
	Image ImageReference
	RepoCommit
}

// RepoCommit is what the commit made of an image, a "merge commit", says of it.
type RepoCommit struct {
	// Checksum names the commit, Parent the one below it ("" for none), which is
	// the image's ostree base.
	Checksum, Parent string
	// ManifestDigest is that of the manifest as it was fetched. Manifest was
	// written anew since, so it need not have that digest.
	ManifestDigest string
	Manifest       Manifest
	Config         ImageConfig
	// ManifestText and ConfigText are the JSON of which these are parts. The latter
	// is "" when it was not kept.
	ManifestText, ConfigText string
	// Version is the image's own, "" when it has none.
	Version string
	// Created is when the image was built, zero when not known.
	Created time.Time
	// Size is the sum of the layers' sizes in the manifest, in bytes: what was
	// fetched, compressed mostly, not what it takes in the repository.
	Size int64
}

// Manifest is the part of an image manifest that we need.
type Manifest struct {
	Config      Descriptor        `json:"config"`
	Layers      []Descriptor      `json:"layers"`
	Annotations map[string]string `json:"annotations"`
}

// Descriptor is how a manifest refers to a blob. Size is in bytes.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

// ImageConfig is the part of an image configuration that we need. All of it is
// zero for images imported by an old ostree-ext.
type ImageConfig struct {
	Architecture string `json:"architecture"`
	Created      string `json:"created"`
	Config       struct {
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// RepoPath is the path of the sysroot's ostree repository, which need not exist, for
// messages.
func (s Sysroot) RepoPath() string { return s.below(ostreeRepo) }

// below is the path of a file below the physical root.
func (s Sysroot) below(name string) string {
	phys, err := s.openPhysical()
	if err != nil {
		return filepath.Join(s.Dir, name)
	}
	defer phys.Close()
	return filepath.Join(phys.Name(), name)
}

// OpenRepo opens the sysroot's ostree repository. Errors are those of ostree.Open.
func (s Sysroot) OpenRepo() (*Repo, error) {
	phys, err := s.openPhysical()
	if err != nil {
		return nil, err
	}
	defer phys.Close()
	repo, err := ostree.Open(phys, ostreeRepo)
	if err != nil {
		return nil, err
	}
	return &Repo{repo}, nil
}

// Images returns the container images in the repository, ordered by ref, and an error for
// each ref that has no readable image. A ref that an upgrade removes or replaces meanwhile
// is no error.
func (r *Repo) Images() (images []RepoImage, problems []error) {
	return r.imagesOf(func() ([]ostree.Ref, error) { return r.Refs(strings.TrimSuffix(ostree.ImageRefPrefix, "/")) })
}

// isTemporary reports whether a ref is what ostree calls one before it renames it
// (glnx_link_tmpfile_at of libglnx). The name of an image has no full stop there: it is
// escaped.
func isTemporary(ref ostree.Ref) bool {
	random, ok := strings.CutPrefix(path.Base(ref.Name), "tmp.")
	return ok && len(random) == 6
}

// imagesOf returns the images of the refs that list returns.
func (r *Repo) imagesOf(list func() ([]ostree.Ref, error)) (images []RepoImage, problems []error) {
	const tries = 5
	var before []ostree.Ref
	for try := range tries {
		refs, err := list()
		if err != nil {
			return nil, []error{err}
		}
		same := func(a, b ostree.Ref) bool { return a.Name == b.Name && a.Commit == b.Commit }
		if try > 0 && slices.EqualFunc(before, refs, same) {
			break
		}
		before = refs
		if images, problems = r.images(refs); len(problems) == 0 {
			break
		}
	}
	return images, problems
}

func (r *Repo) images(refs []ostree.Ref) (images []RepoImage, problems []error) {
	refs = slices.DeleteFunc(slices.Clone(refs), isTemporary)
	found, errs := make([]RepoImage, len(refs)), make([]error, len(refs))
	parallel(len(refs), func(i int) {
		found[i], errs[i] = r.image(refs[i])
	})
	for i, err := range errs {
		if err != nil {
			problems = append(problems, fmt.Errorf("read ref %q in %q: %w", refs[i].Name, r.Path(), err))
			continue
		}
		images = append(images, found[i])
	}
	return images, problems
}

// image reads the image of a ref.
func (r *Repo) image(ref ostree.Ref) (RepoImage, error) {
	name, err := ostree.UnescapeRef(strings.TrimPrefix(ref.Name, ostree.ImageRefPrefix))
	if err != nil {
		return RepoImage{}, err
	}
	image, err := ParseImageReference(name)
	if err != nil {
		return RepoImage{}, err
	}
	if ref.Err != nil {
		return RepoImage{}, ref.Err
	}
	commit, err := r.Commit(ref.Commit)
	if err != nil {
		return RepoImage{}, err
	}
	described, err := newRepoCommit(ref.Commit.String(), commit)
	return RepoImage{Image: image, RepoCommit: described}, err
}

// ImageCommit reads the commit made of an image by its checksum. The error is
// ErrNoManifest for another commit.
func (r *Repo) ImageCommit(checksum string) (RepoCommit, error) {
	commit, err := r.named(checksum)
	var image RepoCommit
	if err == nil {
		image, err = newRepoCommit(checksum, commit)
	}
	if err != nil {
		return RepoCommit{}, fmt.Errorf("read commit %.80q in %q: %w", checksum, r.Path(), err)
	}
	return image, nil
}

// named reads the commit with a checksum.
func (r *Repo) named(checksum string) (*ostree.Commit, error) {
	sum, err := ostree.ParseChecksum(checksum)
	if err != nil {
		return nil, err
	}
	return r.Commit(sum)
}

// CommitTree returns the root directory of a commit.
func (r *Repo) CommitTree(checksum string) (ostree.TreeDir, error) {
	commit, err := r.named(checksum)
	if err != nil {
		return ostree.TreeDir{}, err
	}
	return commit.Root, nil
}

// ManifestDigest returns the manifest digest of the image that a commit was made of. No
// other part of the commit needs to be valid.
func (r *Repo) ManifestDigest(checksum string) (string, error) {
	commit, err := r.named(checksum)
	if err != nil {
		return "", err
	}
	return commit.Metadata.Text(digestKey)
}

// The keys in the metadata of a commit that rpm-ostree makes of another one by adding
// packages or changing others, see deployment_layeredmeta_from_commit in its
// rust/src/daemon.rs. Old versions write the second key only.
const (
	layeredKey = "rpmostree.clientlayer"
	layersKey  = "rpmostree.spec"
)

// BaseCommit reads the commit of the image that rpm-ostree layered packages on: the parent
// of the commit with this checksum or, where nothing was layered, that commit itself. The
// error is ErrNoManifest if that was not made from a container image.
func (r *Repo) BaseCommit(checksum string) (RepoCommit, error) {
	commit, err := r.named(checksum)
	if err != nil {
		return RepoCommit{}, fmt.Errorf("read commit %.80q in %q: %w", checksum, r.Path(), err)
	}
	layered, err := commit.Metadata[layeredKey].Bool()
	if err != nil {
		_, layered = commit.Metadata[layersKey]
	}
	if layered && commit.Parent != (ostree.Checksum{}) {
		checksum = commit.Parent.String()
	}
	return r.ImageCommit(checksum)
}

// LayerCommits returns the commits of the layers of an image by their
// refs. The error for a missing one names the ref.
func (r *Repo) LayerCommits(digests []string) ([]string, error) {
	commits := make([]string, len(digests))
	for i, digest := range digests {
		escaped, err := ostree.EscapeRef(digest)
		var sum ostree.Checksum
		if err == nil {
			sum, err = r.Resolve(ostree.LayerRefPrefix + escaped)
		}
		if err != nil {
			return nil, fmt.Errorf("find layers in %q: %w", r.Path(), err)
		}
		commits[i] = sum.String()
	}
	return commits, nil
}

// The keys in the metadata of a commit that ostree-ext makes of an image.
const (
	manifestKey = "ostree.manifest"
	digestKey   = "ostree.manifest-digest"
	configKey   = "ostree.container.image-config"
)

// newRepoCommit returns the image in the metadata of a commit. Version and time are by
// the rules of bootc status.
func newRepoCommit(checksum string, commit *ostree.Commit) (RepoCommit, error) {
	c := RepoCommit{Checksum: checksum}
	if commit.Parent != (ostree.Checksum{}) {
		c.Parent = commit.Parent.String()
	}
	var err error
	c.ManifestText, err = commit.Metadata.Text(manifestKey)
	c.ManifestDigest, _ = commit.Metadata.Text(digestKey)
	if err != nil || c.ManifestDigest == "" {
		return RepoCommit{}, ErrNoManifest
	}
	if err := json.Unmarshal([]byte(c.ManifestText), &c.Manifest); err != nil {
		return RepoCommit{}, fmt.Errorf("parse manifest: %w", err)
	}
	if c.ConfigText, err = commit.Metadata.Text(configKey); err == nil {
		if err := json.Unmarshal([]byte(c.ConfigText), &c.Config); err != nil {
			return RepoCommit{}, fmt.Errorf("parse image configuration: %w", err)
		}
	}
	if c.ConfigText == "null" { // what early versions of ostree-ext wrote for none
		c.ConfigText = ""
	}
	for _, layer := range c.Manifest.Layers {
		if layer.Size < 0 || layer.Size > math.MaxInt64-c.Size {
			return RepoCommit{}, fmt.Errorf("parse manifest: layer of %d bytes", layer.Size)
		}
		c.Size += layer.Size
	}
	labels := c.Config.Config.Labels
	c.Version = labels["version"]
	if version, ok := labels["org.opencontainers.image.version"]; ok {
		c.Version = version
	}
	created, ok := labels["org.opencontainers.image.created"]
	if !ok {
		created = c.Config.Created
	}
	c.Created = parseTime(created)
	return c, nil
}

// parseTime is zero for what is no time, since a malformed label must not hide
// an image.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// Describe adds to the ostree deployments of host what the commits say of their
// images, and returns what is wrong with those that it cannot describe: all of
// them when repo is nil. known are images that were read already; commits has those
// of the deployments or, where packages were layered on an image, of that image.
func Describe(repo *Repo, host *Host, known []RepoImage) (commits []RepoCommit, problems []error) {
	users := map[string][]*Deployment{}
	var names []string
	for i := range host.Deployments {
		d := &host.Deployments[i]
		if d.Image == nil && d.Layered == nil || d.Commit == "" {
			continue
		}
		if users[d.Commit] == nil {
			names = append(names, d.Commit)
		}
		users[d.Commit] = append(users[d.Commit], d)
	}
	found, errs := make([]RepoCommit, len(names)), make([]error, len(names))
	parallel(len(names), func(i int) {
		if repo == nil {
			errs[i] = ostree.ErrNoRepo
			return
		}
		if k := slices.IndexFunc(known, func(img RepoImage) bool { return img.Checksum == names[i] }); k >= 0 {
			found[i] = known[k].RepoCommit
			return
		}
		if found[i], errs[i] = repo.ImageCommit(names[i]); errors.Is(errs[i], ErrNoManifest) && users[names[i]][0].Layered != nil {
			found[i], errs[i] = repo.BaseCommit(names[i])
		}
	})
	for i, name := range names {
		if errs[i] == nil {
			commits = append(commits, found[i])
		}
		for _, d := range users[name] {
			// A base need not be a container image, nor be kept.
			if d.Layered != nil && (errors.Is(errs[i], ErrNoManifest) || errors.Is(errs[i], fs.ErrNotExist)) {
				continue
			}
			if errs[i] != nil {
				problems = append(problems, fmt.Errorf("describe deployment %s: %w", d.ID(), errs[i]))
				continue
			}
			if d.Layered != nil {
				d.Base = &found[i]
				continue
			}
			d.ManifestDigest, d.Version = found[i].ManifestDigest, found[i].Version
			d.Created, d.Architecture = found[i].Created, found[i].Config.Architecture
		}
	}
	return commits, problems
}

// parallel calls do for 0 to n-1, as many at a time as there are CPUs.
func parallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			do(i)
			<-slots
		})
	}
	wg.Wait()
}
