// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// ostreeCmd runs ostree and returns what it prints.
func ostreeCmd(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("ostree", args...)
	// The flag that makes a deployment immutable would outlive the test.
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments", "LC_ALL=C", "CHARSET=UTF-8")
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ostree %.60q: %v: %v", args, err, cmd.Stderr)
	}
	return strings.TrimSpace(string(out))
}

func needOSTree(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		t.Skip("needs the program ostree")
	}
}

// newRepo makes a physical root with an empty ostree repository.
func newRepo(t testing.TB) (phys string) {
	t.Helper()
	needOSTree(t)
	phys = t.TempDir()
	makeDirs(t, phys, "ostree/repo", "ostree/deploy", "tree/usr")
	ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "init", "--mode=bare-user-only")
	return phys
}

// commitImage commits the directory tree of phys with metadata under the ref of
// an image, as ostree-ext does. Values are taken as they are.
func commitImage(t testing.TB, phys, ref string, meta map[string]string, options ...string) (checksum string) {
	t.Helper()
	args := []string{"--repo=" + filepath.Join(phys, "ostree/repo"), "commit", "--no-bindings", "--branch=" + ref, "--tree=dir=" + filepath.Join(phys, "tree")}
	for key, value := range meta {
		args = append(args, "--add-metadata-string="+key+"="+value)
	}
	return ostreeCmd(t, append(args, options...)...)
}

func imageRef(t testing.TB, image string) string {
	t.Helper()
	escaped, err := EscapeRef(image)
	if err != nil {
		t.Fatal(err)
	}
	return ImageRefPrefix + escaped
}

func openRepo(t testing.TB, phys string) *Repo {
	t.Helper()
	repo, err := Sysroot{Dir: phys}.OpenRepo(wrapper.System{}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	return repo
}

// oneLineNaming fails unless each of the problems is one line with the wanted
// text, in order.
func oneLineNaming(t *testing.T, problems []error, want ...string) {
	t.Helper()
	if len(problems) != len(want) {
		t.Fatalf("got %d problems %v, want %q", len(problems), problems, want)
	}
	for i, problem := range problems {
		if text := problem.Error(); !strings.Contains(text, want[i]) || strings.Contains(text, "\n") {
			t.Errorf("problem %q does not say %q in one line", text, want[i])
		}
	}
}

func TestImagesReadsWhatTheCommitSays(t *testing.T) {
	phys := newRepo(t)
	manifest := Manifest{Config: Descriptor{Digest: "sha256:config", Size: 7}, Annotations: map[string]string{"a": "b"}}
	for i := range 100 {
		manifest.Layers = append(manifest.Layers, Descriptor{
			MediaType:   "application/vnd.oci.image.layer.v1.tar+gzip",
			Digest:      fmt.Sprintf("sha256:%064x", i),
			Size:        1 << 30,
			Annotations: map[string]string{"ostree.components": strings.Repeat("x", 300)},
		})
	}
	manifestJSON, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	// Not escaped in the JSON, where it can be avoided: GVariant text has
	// escapes of its own.
	odd := "it's \"q\" = \\ \n\t\r\x01\x7f é ü漢字 \u200b\u2028\ue000😀\U000e0001 $(x) `y` {z} <v>"
	quoted := new(strings.Builder)
	enc := json.NewEncoder(quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(odd); err != nil {
		t.Fatal(err)
	}
	config := `{"architecture": "arm64", "created": "2026-08-01T12:00:00.5+02:00",` + "\n" + ` "config": {"Labels": {"odd": ` + strings.TrimSpace(quoted.String()) + `, "version": "9", "org.opencontainers.image.version": "10"}}}`
	base := ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "commit", "--no-bindings", "--branch=base", "--tree=dir="+filepath.Join(phys, "tree"))
	const name = "docker://quay.io/example/os_x:42"
	commit := commitImage(t, phys, imageRef(t, name), map[string]string{
		"ostree.manifest-digest": "sha256:abc", "ostree.manifest": string(manifestJSON),
		"ostree.container.image-config": config, "ostree.importer.version": "0.15",
	}, "--parent="+base)

	images, problems := openRepo(t, phys).Images(t.Context())
	oneLineNaming(t, problems)
	if len(images) != 1 {
		t.Fatalf("got %d images", len(images))
	}
	got := images[0]
	if got.Image.String() != name || got.Checksum != commit || got.Parent != base || got.ManifestDigest != "sha256:abc" {
		t.Errorf("got %s, commit %s, parent %s, digest %s", got.Image, got.Checksum, got.Parent, got.ManifestDigest)
	}
	if back, _ := json.Marshal(got.Manifest); string(back) != string(manifestJSON) {
		t.Errorf("manifest %.300s", back)
	}
	if label := got.Config.Config.Labels["odd"]; label != odd {
		t.Errorf("label %q, want %q", label, odd)
	}
	created := time.Date(2026, 8, 1, 10, 0, 0, 5e8, time.UTC)
	if got.Version != "10" || got.Config.Architecture != "arm64" || !got.Created.Equal(created) || got.Size != 100<<30 {
		t.Errorf("version %s, architecture %s, created %s, size %d", got.Version, got.Config.Architecture, got.Created, got.Size)
	}
}

func TestImagesTakesVersionAndTimeByTheRulesOfBootc(t *testing.T) {
	const noon = "2026-08-01T12:00:00Z"
	for _, test := range []struct {
		config, version string
		created         bool
	}{
		{config: "", version: ""},
		{config: "null"},
		{config: `{"config": null, "created": null}`},
		{config: `{"config": {"Labels": null}}`},
		{config: `{"created": "` + noon + `"}`, created: true},
		{config: `{"created": "yesterday"}`},
		{config: `{"config": {"Labels": {"version": "1"}}}`, version: "1"},
		{config: `{"config": {"Labels": {"version": "1", "org.opencontainers.image.version": "2"}}}`, version: "2"},
		{config: `{"created": "x", "config": {"Labels": {"org.opencontainers.image.created": "` + noon + `"}}}`, created: true},
		{config: `{"created": "` + noon + `", "config": {"Labels": {"org.opencontainers.image.created": "x"}}}`},
	} {
		meta := map[string]any{"ostree.manifest": "{}", "ostree.manifest-digest": "sha256:abc"}
		if test.config != "" {
			meta["ostree.container.image-config"] = test.config
		}
		c, err := imageCommit("", "", meta)
		if err != nil || c.Version != test.version || c.Created.IsZero() == test.created {
			t.Errorf("%s: got version %q, created %s, %v", test.config, c.Version, c.Created, err)
		}
	}
}

func TestImagesTellsWhichRefsAreBroken(t *testing.T) {
	phys := newRepo(t)
	ok := map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}"}
	commitImage(t, phys, imageRef(t, "docker://b/good"), ok)
	commitImage(t, phys, imageRef(t, "docker://b/c-no-manifest"), nil)
	commitImage(t, phys, imageRef(t, "docker://b/d-bad-manifest"), map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "["})
	commitImage(t, phys, imageRef(t, "docker://b/e-huge"), map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": `{"layers": [{"size": 9223372036854775807}, {"size": 1}]}`})
	commitImage(t, phys, imageRef(t, "docker://b/f-bad-config"), map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}", "ostree.container.image-config": "[]"})
	commitImage(t, phys, ImageRefPrefix+"g_unfinished", ok)
	commitImage(t, phys, ImageRefPrefix+"h/no-transport", ok)
	writeFile(t, phys, "ostree/repo/refs/heads/"+imageRef(t, "docker://b/i-missing"), strings.Repeat("1", 64)+"\n")
	// Others are none of our business.
	commitImage(t, phys, "ostree/container/imagex", nil)
	commitImage(t, phys, "ostree/container/blob/x", nil)

	images, problems := openRepo(t, phys).Images(t.Context())
	oneLineNaming(t, problems, "c-no-manifest", "d-bad-manifest", "e-huge", "f-bad-config", "i-missing", "g_unfinished", "h/no-transport")
	if len(images) != 1 || images[0].Image.String() != "docker://b/good" {
		t.Errorf("got %+v", images)
	}
	if !errors.Is(problems[0], ErrNoManifest) {
		t.Errorf("%v is not ErrNoManifest", problems[0])
	}
}

func TestImagesOfAnEmptyRepositoryAreNone(t *testing.T) {
	images, problems := openRepo(t, newRepo(t)).Images(t.Context())
	if oneLineNaming(t, problems); len(images) != 0 {
		t.Errorf("got %+v", images)
	}
}

func TestImagesIgnoresTheCallersEnvironment(t *testing.T) {
	phys := newRepo(t)
	commitImage(t, phys, imageRef(t, "docker://a/ü"), map[string]string{"ostree.manifest-digest": "sha256:é", "ostree.manifest": "{}"})
	env := append(
		os.Environ(), "OSTREE_REPO=/nonexistent", "OSTREE_SYSROOT=/nonexistent", "G_MESSAGES_DEBUG=all", "OSTREE_DEBUG_HTTP=1",
		"LC_ALL=de_DE.ISO-8859-1", "LANG=C", "CHARSET=ISO-8859-1",
	)
	repo, err := Sysroot{Dir: phys}.OpenRepo(wrapper.System{}, env)
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	images, problems := repo.Images(t.Context())
	if oneLineNaming(t, problems); len(images) != 1 || images[0].ManifestDigest != "sha256:é" {
		t.Errorf("got %+v", images)
	}
}

func TestReadingLeavesTheRepositoryAlone(t *testing.T) {
	phys := newRepo(t)
	commit := commitImage(t, phys, imageRef(t, "docker://a/b"), map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}"})
	list := func() (files []string) {
		err := filepath.WalkDir(phys, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			files = append(files, fmt.Sprint(path, fi.Mode(), fi.Size(), fi.ModTime().UnixNano()))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	before := list()
	repo := openRepo(t, phys)
	if _, problems := repo.Images(t.Context()); problems != nil {
		t.Fatal(problems)
	}
	if _, err := repo.Commit(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	if after := list(); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

func TestCommitRefusesWhatIsNoChecksum(t *testing.T) {
	repo := openRepo(t, newRepo(t))
	for _, checksum := range []string{"", "--version", "main", strings.Repeat("A", 64), strings.Repeat("1", 64) + "^"} {
		if c, err := repo.Commit(t.Context(), checksum); err == nil {
			t.Errorf("%q: got %+v", checksum, c)
		}
	}
	_, err := repo.Commit(t.Context(), strings.Repeat("1", 64))
	var exit *wrapper.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("missing commit: got %v", err)
	}
}

func TestOpenRepoTellsWhatIsMissing(t *testing.T) {
	phys := t.TempDir()
	makeDirs(t, phys, "ostree/deploy")
	_, err := Sysroot{Dir: phys}.OpenRepo(wrapper.System{}, os.Environ())
	if !errors.Is(err, ErrNoRepo) {
		t.Errorf("no repository: got %v", err)
	}
	makeDirs(t, phys, "ostree/repo/objects", "ostree/repo/refs/heads")
	writeFile(t, phys, "ostree/repo/config", "[core]\nmode=bare\n")
	_, err = Sysroot{Dir: phys}.OpenRepo(wrapper.System{}, []string{"PATH=" + phys})
	var lookup *wrapper.LookupError
	if !errors.Is(err, ErrNoOSTree) || !errors.As(err, &lookup) {
		t.Errorf("no program: got %v", err)
	}
	oneLineNaming(t, []error{err}, "ostree")
}

func TestOpenRepoStaysInTheSysroot(t *testing.T) {
	outside := newRepo(t)
	phys := t.TempDir()
	makeDirs(t, phys, "ostree")
	if err := os.Symlink(filepath.Join(outside, "ostree/repo"), filepath.Join(phys, "ostree/repo")); err != nil {
		t.Fatal(err)
	}
	if _, err := (Sysroot{Dir: phys}).OpenRepo(wrapper.System{}, os.Environ()); !errors.Is(err, ErrNoRepo) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRepoRefusesARepositoryThatLeadsOutOfIt(t *testing.T) {
	outside := filepath.Join(newRepo(t), "ostree/repo")
	for name, harm := range map[string]func(repo string) error{
		"objects": func(repo string) error {
			return errors.Join(os.RemoveAll(repo+"/objects"), os.Symlink(outside+"/objects", repo+"/objects"))
		},
		"refs": func(repo string) error {
			return errors.Join(os.RemoveAll(repo+"/refs"), os.Symlink(outside+"/refs", repo+"/refs"))
		},
		"config": func(repo string) error {
			return os.WriteFile(repo+"/config", []byte("[core]\nmode=bare-user-only\nparent="+outside+"\n"), 0o644)
		},
		// ostree would wait for a writer.
		"a FIFO": func(repo string) error {
			return errors.Join(os.Remove(repo+"/config"), unix.Mkfifo(repo+"/config", 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			phys := newRepo(t)
			if err := harm(filepath.Join(phys, "ostree/repo")); err != nil {
				t.Fatal(err)
			}
			if repo, err := (Sysroot{Dir: phys}).OpenRepo(wrapper.System{}, os.Environ()); err == nil {
				repo.Close()
				t.Error("it was opened")
			}
		})
	}
}

// vanishing is a runner for which a ref goes away after the first listing.
type vanishing struct {
	wrapper.System
	t     *testing.T
	phys  string
	ref   string
	lists int
}

func (v *vanishing) Output(ctx context.Context, cmd wrapper.Cmd) ([]byte, error) {
	out, err := v.System.Output(ctx, cmd)
	if cmd.Args[1] == "refs" {
		if v.lists++; v.lists == 1 {
			ostreeCmd(v.t, "--repo="+filepath.Join(v.phys, "ostree/repo"), "refs", "--delete", v.ref)
		}
	}
	return out, err
}

func TestImagesDoesNotMissARefThatIsRemovedMeanwhile(t *testing.T) {
	phys := newRepo(t)
	meta := map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}"}
	commitImage(t, phys, imageRef(t, "docker://quay.io/example/stays:1"), meta)
	commitImage(t, phys, imageRef(t, "docker://quay.io/example/goes:1"), meta)
	repo, err := Sysroot{Dir: phys}.OpenRepo(&vanishing{t: t, phys: phys, ref: imageRef(t, "docker://quay.io/example/goes:1")}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	images, problems := repo.Images(t.Context())
	oneLineNaming(t, problems)
	if len(images) != 1 || images[0].Image.Name != "quay.io/example/stays:1" {
		t.Errorf("got %+v", images)
	}
}

func TestDescribeFillsInWhatTheCommitsSay(t *testing.T) {
	phys := newRepo(t)
	commit := commitImage(t, phys, imageRef(t, "docker://a/b"), map[string]string{
		"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}",
		"ostree.container.image-config": `{"architecture": "s390x", "created": "2026-08-01T12:00:00Z", "config": {"Labels": {"version": "3"}}}`,
	})
	plain := commitImage(t, phys, "other", nil)
	image := &SignedReference{}
	h := &Host{Kind: OSTree, Deployments: []Deployment{
		{Role: Booted, Stateroot: "default", Commit: commit, Serial: 0, Image: image},
		{Role: Rollback, Stateroot: "default", Commit: commit, Serial: 1, Image: image},
		{Role: Other, Stateroot: "default", Commit: plain, Image: image},
		{Role: Other, Stateroot: "default", Commit: plain, Serial: 2},
		{Role: Other, Stateroot: "old", Commit: strings.Repeat("1", 64), Image: image},
	}}
	_, problems := Describe(t.Context(), openRepo(t, phys), h, nil)
	oneLineNaming(t, problems, h.Deployments[2].ID(), h.Deployments[4].ID())
	for i, d := range h.Deployments {
		want := Deployment{Role: d.Role, Stateroot: d.Stateroot, Commit: d.Commit, Serial: d.Serial, Image: d.Image}
		if d.Commit == commit {
			want.ManifestDigest, want.Version, want.Architecture = "sha256:abc", "3", "s390x"
			want.Created = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
		}
		if d != want {
			t.Errorf("deployment %d: got %+v, want %+v", i, d, want)
		}
	}
	_, problems = Describe(t.Context(), nil, &Host{Deployments: h.Deployments[2:4]}, nil)
	oneLineNaming(t, problems, h.Deployments[2].ID())
}
