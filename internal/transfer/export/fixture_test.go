// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

// fixture is a host's ostree repository with one image, being made.
type fixture struct {
	testing.TB
	dir, repo string
	manifest  host.Manifest
	config    map[string]any
	diffIDs   []string
	layers    []string // commits
}

const created = "2026-08-01T10:00:00Z"

func newFixture(t testing.TB) *fixture {
	testhost.Need(t, "ostree")
	dir := t.TempDir()
	f := &fixture{TB: t, dir: dir, repo: filepath.Join(dir, "ostree/repo"), config: map[string]any{}}
	makeDir(t, filepath.Join(dir, "ostree/deploy"))
	f.ostree("init", "--mode=bare")
	f.config["architecture"], f.config["os"], f.config["created"] = "amd64", "linux", created
	f.setLabel("containers.bootc", "1")
	return f
}

func makeDir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) ostree(subcommand string, args ...string) string {
	f.Helper()
	return testhost.Run(f, "ostree", append([]string{subcommand, "--repo=" + f.repo}, args...)...)
}

func (f *fixture) setLabel(key, value string) {
	config, _ := f.config["config"].(map[string]any)
	if config == nil {
		config = map[string]any{"Env": []string{"PATH=/usr/bin"}, "Cmd": []string{"/sbin/init"}, "Labels": map[string]any{}}
		f.config["config"] = config
	}
	config["Labels"].(map[string]any)[key] = value
}

// tree makes a directory tree. make is given functions for files in it.
func (f *fixture) tree(make func(tree treeMaker)) string {
	f.Helper()
	dir := f.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	make(treeMaker{f, dir})
	return dir
}

// treeMaker makes the files of a tree. Paths are relative to it.
type treeMaker struct {
	t   testing.TB
	dir string
}

func (m treeMaker) path(path string) string {
	full := filepath.Join(m.dir, path)
	makeDir(m.t, filepath.Dir(full))
	return full
}

func (m treeMaker) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m treeMaker) file(path, content string, mode uint32) {
	m.t.Helper()
	m.ok(os.WriteFile(m.path(path), []byte(content), 0o600))
	m.ok(unix.Chmod(m.path(path), mode))
}

func (m treeMaker) mkdir(path string, mode uint32) {
	m.t.Helper()
	makeDir(m.t, m.path(path))
	m.ok(unix.Chmod(m.path(path), mode))
}

func (m treeMaker) link(path, target string) { m.ok(os.Symlink(target, m.path(path))) }

// chown changes the owner, and so clears the bits of a set-user-ID program.
func (m treeMaker) chown(path string, uid, gid int, mode uint32) {
	m.t.Helper()
	m.ok(os.Lchown(m.path(path), uid, gid))
	if mode != 0 {
		m.ok(unix.Chmod(m.path(path), mode))
	}
}

func (m treeMaker) xattr(path, name, value string) {
	m.t.Helper()
	m.ok(unix.Lsetxattr(m.path(path), name, []byte(value), 0))
}

// addLayer adds a commit as the next layer of the image.
func (f *fixture) addLayer(commit string) {
	f.Helper()
	n := len(f.layers)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, "blob", n)))
	f.ostree("refs", "--create="+f.layerRef(digest), commit)
	f.layers = append(f.layers, commit)
	f.manifest.Layers = append(f.manifest.Layers, host.Descriptor{
		MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: digest, Size: 100,
		Annotations: map[string]string{"test.index": fmt.Sprint(n)},
	})
	f.diffIDs = append(f.diffIDs, fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, "diff", n))))
}

func (f *fixture) layerRef(digest string) string {
	escaped, err := ostree.EscapeRef(digest)
	if err != nil {
		f.Fatal(err)
	}
	return ostree.LayerRefPrefix + escaped
}

func (f *fixture) commitTree(dir string, args ...string) string {
	f.Helper()
	return f.ostree("commit", append([]string{"--no-bindings", "--orphan", "--tree=dir=" + dir}, args...)...)
}

// layer adds the files below dir as a layer derived from those before.
func (f *fixture) layer(dir string) {
	f.Helper()
	f.addLayer(f.commitTree(dir))
}

// base adds an ostree base: all of dir, with a chunk for each prefix.
func (f *fixture) base(dir string, prefixes ...string) {
	f.Helper()
	commit := f.commitTree(dir, "--add-metadata=ostree.bootable=true")
	f.addLayer(commit)
	for _, prefix := range prefixes {
		chunk := f.TempDir()
		for line := range strings.SplitSeq(f.ostree("ls", "-R", "-C", commit, prefix), "\n") {
			words := strings.Fields(line)
			// A directory, or the rest of a name with a newline.
			if len(words) < 5 || words[0][0] == 'd' || len(words[4]) != 64 {
				continue
			}
			sum := words[4]
			object := filepath.Join(f.repo, "objects", sum[:2], sum[2:]+".file")
			if err := os.Link(object, filepath.Join(chunk, sum)); err != nil && !errors.Is(err, fs.ErrExist) {
				f.Fatal(err)
			}
		}
		f.addLayer(f.commitTree(chunk, "--timestamp=@0"))
	}
	f.setLabel("ostree.final-diffid", f.diffIDs[len(f.diffIDs)-1])
	f.setLabel("ostree.commit", commit)
}

// merge makes the image's commit as ostree-ext does, and returns it.
func (f *fixture) merge() string {
	f.Helper()
	merged := filepath.Join(f.TempDir(), "merged")
	chunks := 0
	if config, _ := f.config["config"].(map[string]any); config != nil {
		if final, ok := config["Labels"].(map[string]any)["ostree.final-diffid"].(string); ok {
			chunks = slices.Index(f.diffIDs, final)
		}
	}
	for i, commit := range f.layers {
		if i == 0 || i > chunks {
			f.ostree("checkout", "--union", "--whiteouts", "--force-copy", commit, merged)
		}
	}
	for _, name := range []string{"hostname", "resolv.conf"} {
		path := filepath.Join(merged, "usr/etc", name)
		if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && fi.Size() == 0 {
			os.Remove(path)
		}
	}
	return f.commitImage(merged)
}

// commitImage commits a tree with the image's metadata.
func (f *fixture) commitImage(dir string) string {
	f.Helper()
	f.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": f.diffIDs}
	config, err := json.Marshal(f.config)
	if err != nil {
		f.Fatal(err)
	}
	if f.config["architecture"] == nil {
		config = []byte("null")
	}
	manifest, err := json.Marshal(f.manifest)
	if err != nil {
		f.Fatal(err)
	}
	return f.ostree("commit", "--no-bindings", "--branch="+ostree.ImageRefPrefix+"docker_3A__2F__2F_quay_2E_io/example/os_3A_42", "--tree=dir="+dir,
		"--add-metadata-string=ostree.manifest-digest=sha256:original",
		"--add-metadata-string=ostree.manifest="+string(manifest),
		"--add-metadata-string=ostree.container.image-config="+string(config))
}

// open opens the repository and reads its image.
func (f *fixture) open() (*host.Repo, host.RepoCommit) {
	f.Helper()
	repo, err := host.Sysroot{Dir: f.dir}.OpenRepo()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { repo.Close() })
	images, problems := repo.Images()
	if len(images) != 1 || len(problems) != 0 {
		f.Fatalf("images %v, problems %v", images, problems)
	}
	return repo, images[0].RepoCommit
}

// export exports the image.
func (f *fixture) export() *Image {
	f.Helper()
	repo, image := f.open()
	e, err := New(context.Background(), repo, image.Checksum, nil)
	if err != nil {
		f.Fatal(err)
	}
	return e
}

// checkout returns a checkout of a commit with /usr/etc as /etc.
func (f *fixture) checkout(commit string) string {
	f.Helper()
	dir := filepath.Join(f.TempDir(), "checkout")
	f.ostree("checkout", "--force-copy", commit, dir)
	if err := os.Rename(filepath.Join(dir, "usr/etc"), filepath.Join(dir, "etc")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Fatal(err)
	}
	return dir
}

// describe returns all that is compared of the files below a directory: a text for
// each path.
func describe(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("mode %o owner %d:%d", st.Mode, st.Uid, st.Gid)
		switch {
		case d.Type().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" size %d sha256 %x", st.Size, sha256.Sum256(content))
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		buf := make([]byte, 64<<10)
		n, err := unix.Llistxattr(path, buf)
		if err != nil {
			return err
		}
		names := strings.Split(string(buf[:n]), "\x00")
		slices.Sort(names)
		for _, name := range names {
			if name == "" || name == "security.selinux" || strings.HasPrefix(name, "trusted.overlay.") {
				continue
			}
			n, err := unix.Lgetxattr(path, name, buf)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %s=%q", name, buf[:n])
		}
		rel, err := filepath.Rel(root, path)
		if rel == "." {
			// containers/storage gives the root of an overlay a mode of its own,
			// whatever the layers of an image say.
			text = ""
		}
		files[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// compareTrees reports how the tree of an image differs from the one wanted.
func compareTrees(t testing.TB, got, want string) (compared int) {
	t.Helper()
	gotFiles, wantFiles := describe(t, got), describe(t, want)
	for path, text := range wantFiles {
		switch g, ok := gotFiles[path]; {
		case !ok:
			t.Errorf("%q is missing", path)
		case g != text:
			t.Errorf("%q:\n got %s\nwant %s", path, g, text)
		}
	}
	for path := range gotFiles {
		if _, ok := wantFiles[path]; !ok {
			t.Errorf("%q should not be there", path)
		}
	}
	return len(wantFiles)
}

// store is a container store for one test.
type store struct {
	testing.TB
	options []string
}

func newStore(t testing.TB, driver string) *store {
	testhost.Need(t, "podman")
	// podman refuses a long path for its runroot.
	dir, err := os.MkdirTemp("", "store") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t, []string{"--root=" + dir + "/root", "--runroot=" + dir + "/runroot", "--storage-driver=" + driver}}
	t.Cleanup(func() {
		exec.Command("podman", append(s.options, "image", "unmount", "--all", "--force")...).Run()
		exec.Command("umount", dir+"/root/overlay").Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *store) podman(args ...string) string {
	s.Helper()
	return testhost.Run(s, "podman", append(slices.Clone(s.options), args...)...)
}

// take puts an exported image into the store as name.
func (s *store) take(e *Image, name string) {
	s.Helper()
	// podman makes a name of the path, without upper case.
	dir, err := os.MkdirTemp("", "layout")
	if err != nil {
		s.Fatal(err)
	}
	defer os.RemoveAll(dir)
	write := func(digest string, content func(io.Writer) error) {
		path := filepath.Join(dir, "blobs", strings.Replace(digest, ":", "/", 1))
		makeDir(s, filepath.Dir(path))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			err = errors.Join(content(f), f.Close())
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	document := func(text []byte) func(io.Writer) error {
		return func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		}
	}
	for i, layer := range e.Layers {
		write(layer.Digest, func(w io.Writer) error {
			_, err := e.WriteLayer(context.Background(), w, i, func(int, int64) {})
			return err
		})
	}
	write(e.ConfigDigest, document(e.Config))
	write(e.ManifestDigest, document(e.Manifest))
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ManifestType, e.ManifestDigest, len(e.Manifest))
	for file, text := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": index} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			s.Fatal(err)
		}
	}
	s.podman("tag", s.podman("pull", "--quiet", "oci:"+dir), name)
}

// mount mounts an image.
func (s *store) mount(name string) string {
	s.Helper()
	return s.podman("image", "mount", name)
}
