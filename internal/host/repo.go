// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

var (
	// ErrNoRepo says that a sysroot has no ostree repository.
	ErrNoRepo = errors.New("no ostree repository")
	// ErrNoOSTree says that the program ostree is missing.
	ErrNoOSTree = errors.New("program ostree needed")
	// ErrParent says that a repository takes objects from another one.
	ErrParent = errors.New("parent repositories are not supported")
	// ErrNoManifest says that a commit was not made from a container image.
	ErrNoManifest = errors.New("not the commit of a container image")
)

// Repo is the ostree repository of a sysroot, read with the program ostree.
type Repo struct {
	dir     *os.File
	program string
	env     []string
	runner  wrapper.Runner
}

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

// RepoPath is where the sysroot's ostree repository is, or would be, in the
// words of the user's sysroot, for messages.
func (s Sysroot) RepoPath() string {
	phys, err := s.openPhysical()
	if err != nil {
		return filepath.Join(s.Dir, ostreeRepo)
	}
	defer phys.Close()
	return filepath.Join(phys.Name(), ostreeRepo)
}

// OpenRepo opens the sysroot's ostree repository. Programs are looked up in
// the PATH of env. The error is ErrNoRepo or ErrNoOSTree where one of the two
// is missing.
func (s Sysroot) OpenRepo(runner wrapper.Runner, env []string) (*Repo, error) {
	phys, err := s.openPhysical()
	if err != nil {
		return nil, err
	}
	defer phys.Close()
	dir, err := rooted.Open(phys, ostreeRepo, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open %q: %w", filepath.Join(phys.Name(), ostreeRepo), ErrNoRepo)
	}
	if err != nil {
		return nil, err
	}
	if err := refuseEscape(dir); err != nil {
		dir.Close()
		return nil, err
	}
	program, err := wrapper.LookPath("ostree", env)
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("read %q: %w: %w", dir.Name(), ErrNoOSTree, err)
	}
	return &Repo{dir: dir, program: program, env: ostreeEnv(env), runner: runner}, nil
}

// refuseEscape refuses a repository that would make ostree read, or wait for,
// something outside of it; ostree knows nothing of a sysroot's limits.
func refuseEscape(repo *os.File) error {
	for _, name := range []string{"objects", "refs", "refs/heads"} {
		dir, err := rooted.Open(repo, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		dir.Close()
	}
	path := filepath.Join(repo.Name(), "config")
	data, err := readIn(repo, "config")
	if err != nil {
		return fmt.Errorf("read %q: %w", path, withoutPath(err))
	}
	config, err := parseKeyFile(data)
	if err != nil {
		return fmt.Errorf("read %q: %w", path, err)
	}
	if parent := config["core"]["parent"]; parent != "" {
		return fmt.Errorf("read %q: %w: %q", path, ErrParent, parent)
	}
	return nil
}

// Close closes the repository.
func (r *Repo) Close() { r.dir.Close() }

// ostreeEnv is the environment for ostree. Nothing else of the caller's is
// handed on: G_MESSAGES_DEBUG, for one, makes GLib write to standard output.
func ostreeEnv(env []string) []string {
	return []string{
		"PATH=" + wrapper.Getenv(env, "PATH"),
		"LC_ALL=C",
		// Where this is not set, GLib prints "?" for all that is not ASCII.
		"CHARSET=UTF-8",
	}
}

// ostree runs a subcommand of ostree on the repository.
func (r *Repo) ostree(ctx context.Context, subcommand string, args ...string) ([]byte, error) {
	return r.runner.Output(ctx, wrapper.Cmd{
		Path: r.program,
		// By descriptor, so that no link leads out of the sysroot.
		Args:  append([]string{"ostree", subcommand, "--repo=/proc/self/fd/3"}, args...),
		Env:   r.env,
		Files: []*os.File{r.dir},
	})
}

// Images returns the container images in the repository, ordered by ref, and
// what is wrong with those that are left out. Refs that an upgrade removes
// meanwhile are not missed.
func (r *Repo) Images(ctx context.Context) (images []RepoImage, problems []error) {
	const tries = 5
	var err error
	for range tries {
		var refs []string
		// Listing itself fails when a directory of refs goes away under it.
		if refs, err = r.imageRefs(ctx); err != nil {
			continue
		}
		images, problems = r.images(ctx, refs)
		if len(problems) == 0 {
			return images, nil
		}
		now, err := r.imageRefs(ctx)
		if err == nil && slices.Equal(now, refs) {
			return images, problems
		}
	}
	if err != nil {
		return nil, []error{fmt.Errorf("list images in %q: %w", r.dir.Name(), err)}
	}
	return images, problems
}

func (r *Repo) imageRefs(ctx context.Context) ([]string, error) {
	out, err := r.ostree(ctx, "refs", "--list", strings.TrimSuffix(ImageRefPrefix, "/"))
	refs := strings.Fields(string(out))
	slices.Sort(refs)
	return refs, err
}

func (r *Repo) images(ctx context.Context, refs []string) (images []RepoImage, problems []error) {
	found, errs := make([]RepoImage, len(refs)), make([]error, len(refs))
	parallel(len(refs), func(i int) {
		found[i], errs[i] = r.image(ctx, refs[i])
	})
	for i, err := range errs {
		if err != nil {
			problems = append(problems, fmt.Errorf("read ref %q in %q: %w", refs[i], r.dir.Name(), err))
			continue
		}
		images = append(images, found[i])
	}
	return images, problems
}

// image reads the image that a ref stands for.
func (r *Repo) image(ctx context.Context, ref string) (RepoImage, error) {
	name, err := UnescapeRef(strings.TrimPrefix(ref, ImageRefPrefix))
	if err != nil {
		return RepoImage{}, err
	}
	image, err := ParseImageReference(name)
	if err != nil {
		return RepoImage{}, err
	}
	commit, err := r.show(ctx, ref)
	return RepoImage{Image: image, RepoCommit: commit}, err
}

// Commit reads the commit made of an image by its checksum. The error is
// ErrNoManifest when it was made of something else.
func (r *Repo) Commit(ctx context.Context, checksum string) (RepoCommit, error) {
	if !isHex(checksum, commitDigits) {
		return RepoCommit{}, fmt.Errorf("read commit %q: no checksum", checksum)
	}
	commit, err := r.show(ctx, checksum)
	if err != nil {
		return RepoCommit{}, fmt.Errorf("read commit %s in %q: %w", checksum, r.dir.Name(), err)
	}
	return commit, nil
}

// show reads a commit by a ref of an image or a checksum; neither can be
// taken for an option.
func (r *Repo) show(ctx context.Context, rev string) (RepoCommit, error) {
	out, err := r.ostree(ctx, "show", "--raw", rev)
	if err != nil {
		return RepoCommit{}, err
	}
	return parseCommit(string(out))
}

// parseCommit reads what "ostree show --raw" prints of the commit of an image.
func parseCommit(out string) (RepoCommit, error) {
	checksum, parent, meta, err := commitMeta(out)
	if err != nil {
		return RepoCommit{}, err
	}
	return imageCommit(checksum, parent, meta)
}

// commitMeta reads what "ostree show --raw" prints: a line with the checksum,
// then the commit as GVariant text, type (a{sv}aya(say)sstayay), then perhaps
// more.
func commitMeta(out string) (checksum, parent string, meta map[string]any, err error) {
	line, text, _ := strings.Cut(out, "\n")
	checksum, ok := strings.CutPrefix(line, "commit ")
	if !ok || !isHex(checksum, commitDigits) {
		return "", "", nil, fmt.Errorf("parse commit: unexpected %.80q", line)
	}
	v, err := (&variantText{text: text}).value()
	if err != nil {
		return "", "", nil, fmt.Errorf("parse commit: %w", err)
	}
	fields, _ := v.([]any)
	if len(fields) < 2 {
		return "", "", nil, fmt.Errorf("parse commit: %w", errVariant)
	}
	meta, ok = fields[0].(map[string]any)
	below, err := byteArray(fields[1])
	if !ok || err != nil {
		return "", "", nil, fmt.Errorf("parse commit: %w", errVariant)
	}
	return checksum, hex.EncodeToString(below), meta, nil
}

// imageCommit reads an image's metadata in a commit. Version and time are by
// the rules of bootc status.
func imageCommit(checksum, parent string, meta map[string]any) (RepoCommit, error) {
	c := RepoCommit{Checksum: checksum, Parent: parent}
	var ok bool
	c.ManifestText, ok = meta["ostree.manifest"].(string)
	c.ManifestDigest, _ = meta["ostree.manifest-digest"].(string)
	if !ok || c.ManifestDigest == "" {
		return RepoCommit{}, ErrNoManifest
	}
	if err := json.Unmarshal([]byte(c.ManifestText), &c.Manifest); err != nil {
		return RepoCommit{}, fmt.Errorf("parse manifest: %w", err)
	}
	c.ConfigText, ok = meta["ostree.container.image-config"].(string)
	if ok {
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
// of the deployments.
func Describe(ctx context.Context, repo *Repo, host *Host, known []RepoImage) (commits []RepoCommit, problems []error) {
	users := map[string][]*Deployment{}
	var names []string
	for i := range host.Deployments {
		d := &host.Deployments[i]
		if d.Image == nil || d.Commit == "" {
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
			errs[i] = ErrNoRepo
			return
		}
		if k := slices.IndexFunc(known, func(img RepoImage) bool { return img.Checksum == names[i] }); k >= 0 {
			found[i] = known[k].RepoCommit
			return
		}
		found[i], errs[i] = repo.Commit(ctx, names[i])
	})
	for i, name := range names {
		if errs[i] == nil {
			commits = append(commits, found[i])
		}
		for _, d := range users[name] {
			if errs[i] != nil {
				problems = append(problems, fmt.Errorf("describe deployment %s: %w", d.ID(), errs[i]))
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
