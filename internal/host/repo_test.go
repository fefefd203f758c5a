// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
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

	"github.com/bootc-podman/bootc-podman/internal/ostree"
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
	escaped, err := ostree.EscapeRef(image)
	if err != nil {
		t.Fatal(err)
	}
	return ostree.ImageRefPrefix + escaped
}

func openRepo(t testing.TB, phys string) *Repo {
	t.Helper()
	repo, err := Sysroot{Dir: phys}.OpenRepo()
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

	images, problems := openRepo(t, phys).Images()
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
	phys := newRepo(t)
	repo := openRepo(t, phys)
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
		meta := map[string]string{"ostree.manifest": "{}", "ostree.manifest-digest": "sha256:abc"}
		if test.config != "" {
			meta["ostree.container.image-config"] = test.config
		}
		c, err := repo.ImageCommit(commitImage(t, phys, "test", meta))
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
	commitImage(t, phys, ostree.ImageRefPrefix+"g_unfinished", ok)
	commitImage(t, phys, ostree.ImageRefPrefix+"h/no-transport", ok)
	writeFile(t, phys, "ostree/repo/refs/heads/"+imageRef(t, "docker://b/i-missing"), strings.Repeat("1", 64)+"\n")
	// Others are not ours.
	commitImage(t, phys, "ostree/container/imagex", nil)
	commitImage(t, phys, "ostree/container/blob/x", nil)

	images, problems := openRepo(t, phys).Images()
	oneLineNaming(t, problems, "c-no-manifest", "d-bad-manifest", "e-huge", "f-bad-config", "i-missing", "g_unfinished", "h/no-transport")
	if len(images) != 1 || images[0].Image.String() != "docker://b/good" {
		t.Errorf("got %+v", images)
	}
	if !errors.Is(problems[0], ErrNoManifest) {
		t.Errorf("%v is not ErrNoManifest", problems[0])
	}
}

func TestImagesOfAnEmptyRepositoryAreNone(t *testing.T) {
	images, problems := openRepo(t, newRepo(t)).Images()
	if oneLineNaming(t, problems); len(images) != 0 {
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
	if _, problems := repo.Images(); problems != nil {
		t.Fatal(problems)
	}
	if _, err := repo.ImageCommit(commit); err != nil {
		t.Fatal(err)
	}
	if after := list(); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

func TestCommitRefusesWhatIsNoChecksum(t *testing.T) {
	repo := openRepo(t, newRepo(t))
	for _, checksum := range []string{"", "--version", "main", strings.Repeat("A", 64), strings.Repeat("1", 64) + "^"} {
		if c, err := repo.ImageCommit(checksum); err == nil {
			t.Errorf("%q: got %+v", checksum, c)
		}
	}
	_, err := repo.ImageCommit(strings.Repeat("1", 64))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing commit: got %v", err)
	}
}

func TestOpenRepoReportsAMissingRepository(t *testing.T) {
	phys := t.TempDir()
	makeDirs(t, phys, "ostree/deploy")
	if _, err := (Sysroot{Dir: phys}).OpenRepo(); !errors.Is(err, ostree.ErrNoRepo) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRepoStaysInTheSysroot(t *testing.T) {
	outside := newRepo(t)
	phys := t.TempDir()
	makeDirs(t, phys, "ostree")
	if err := os.Symlink(filepath.Join(outside, "ostree/repo"), filepath.Join(phys, "ostree/repo")); err != nil {
		t.Fatal(err)
	}
	if _, err := (Sysroot{Dir: phys}).OpenRepo(); !errors.Is(err, ostree.ErrNoRepo) {
		t.Errorf("got %v", err)
	}
}

func TestImagesDoesNotMissARefThatIsRemovedMeanwhile(t *testing.T) {
	phys := newRepo(t)
	meta := map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}"}
	commitImage(t, phys, imageRef(t, "docker://quay.io/example/stays:1"), meta)
	gone := commitImage(t, phys, imageRef(t, "docker://quay.io/example/goes:1"), meta, "--subject=other")
	repo := openRepo(t, phys)
	lists := 0
	images, problems := repo.imagesOf(func() ([]ostree.Ref, error) {
		refs, err := repo.Refs("")
		if lists++; lists == 1 {
			ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "refs", "--delete", imageRef(t, "docker://quay.io/example/goes:1"))
			ostreeCmd(t, "--repo="+filepath.Join(phys, "ostree/repo"), "prune", "--delete-commit="+gone)
		}
		return refs, err
	})
	oneLineNaming(t, problems)
	if len(images) != 1 || images[0].Image.Name != "quay.io/example/stays:1" || lists != 2 {
		t.Errorf("got %+v after %d lists", images, lists)
	}
}

func TestImagesPassesOverARefThatOSTreeIsAboutToRename(t *testing.T) {
	phys := newRepo(t)
	commit := commitImage(t, phys, imageRef(t, "docker://quay.io/example/os:1"), map[string]string{"ostree.manifest-digest": "sha256:abc", "ostree.manifest": "{}"})
	refs := filepath.Join(phys, "ostree/repo/refs/heads/ostree/container/image")
	if err := os.WriteFile(filepath.Join(refs, "tmp.MCxQAH"), []byte(commit+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	images, problems := openRepo(t, phys).Images()
	oneLineNaming(t, problems)
	if len(images) != 1 {
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
	_, problems := Describe(openRepo(t, phys), h, nil)
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
	_, problems = Describe(nil, &Host{Deployments: h.Deployments[2:4]}, nil)
	oneLineNaming(t, problems, h.Deployments[2].ID())
}

func TestLayerCommitsNamesAMissingRef(t *testing.T) {
	phys := newRepo(t)
	repo := openRepo(t, phys)
	commit := commitImage(t, phys, ostree.LayerRefPrefix+"sha256_3A_1", nil)
	got, err := repo.LayerCommits([]string{"sha256:1", "sha256:1"})
	if err != nil || !slices.Equal(got, []string{commit, commit}) {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = repo.LayerCommits([]string{"sha256:1", "sha256:2"})
	if !errors.Is(err, ostree.ErrNoRef) || !strings.Contains(err.Error(), "sha256_3A_2") {
		t.Errorf("got %v", err)
	}
	if _, err := repo.LayerCommits([]string{""}); err == nil {
		t.Error("no digest, no error")
	}
}

func TestImageDocumentsAreThoseOfTheCommit(t *testing.T) {
	phys := newRepo(t)
	repo := openRepo(t, phys)
	for config, want := range map[string]string{`{"x": "é'\"<\\"}`: `{"x": "é'\"<\\"}`, "null": ""} {
		commit, err := repo.ImageCommit(commitImage(t, phys, "test", map[string]string{
			"ostree.manifest": `{ "a": 1 }`, "ostree.manifest-digest": "sha256:1", "ostree.container.image-config": config,
		}))
		if err != nil || commit.ManifestText != `{ "a": 1 }` || commit.ConfigText != want {
			t.Errorf("got %q, %q, %v, want %q", commit.ManifestText, commit.ConfigText, err, want)
		}
	}
}

func TestManifestDigestNeedsNoOtherMetadata(t *testing.T) {
	phys := newRepo(t)
	repo := openRepo(t, phys)
	checksum := commitImage(t, phys, "test", map[string]string{"ostree.manifest": "[", "ostree.manifest-digest": "sha256:1"})
	if got, err := repo.ManifestDigest(checksum); got != "sha256:1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	without := commitImage(t, phys, "test", map[string]string{"a": "b"})
	for _, checksum := range []string{without, "", strings.Repeat("1", 64)} {
		if got, err := repo.ManifestDigest(checksum); err == nil {
			t.Errorf("%q: got %q", checksum, got)
		}
	}
}
