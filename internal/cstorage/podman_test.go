// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package cstorage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// realPodman is podman with a throw-away store.
type realPodman struct {
	graphRoot, runRoot string
}

func newPodman(t *testing.T) realPodman {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a store")
	}
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("podman is not there")
	}
	// podman takes no runroot of more than 50 characters, and t.TempDir() holds
	// the name of the test.
	dir, err := os.MkdirTemp("", "store") //nolint:usetesting // see above
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return realPodman{filepath.Join(dir, "root"), filepath.Join(dir, "run")}
}

func (p realPodman) command(args ...string) *exec.Cmd {
	return exec.Command("podman", append([]string{"--root", p.graphRoot, "--runroot", p.runRoot, "--storage-driver", "vfs"}, args...)...)
}

func (p realPodman) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := p.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// exists is the exit status of podman image exists.
func (p realPodman) exists(t *testing.T, name string) int {
	t.Helper()
	err := p.command("image", "exists", name).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}

// podmanImage is an entry of podman images --format json, which has an image once
// for each name.
type podmanImage struct {
	ID      string `json:"Id"`
	Names   []string
	Digest  string
	Size    int64
	Created int64
}

func (p realPodman) images(t *testing.T) (images []podmanImage) {
	t.Helper()
	must(t, json.Unmarshal([]byte(p.run(t, "images", "--all", "--format", "json")), &images))
	return images
}

// importImage makes an image with one file.
func (p realPodman) importImage(t *testing.T, content, name string) {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	must(t, w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}))
	_, err := w.Write([]byte(content))
	must(t, err)
	must(t, w.Close())
	path := filepath.Join(t.TempDir(), "image.tar")
	must(t, os.WriteFile(path, archive.Bytes(), 0o600))
	p.run(t, "import", "--quiet", "--change", "LABEL version="+content, path, name)
}

// fill makes images alpha (with a second name and a child), beta, one without
// name, and two manifest lists.
func (p realPodman) fill(t *testing.T) {
	t.Helper()
	p.importImage(t, "one", "localhost/untagged:latest")
	p.run(t, "untag", "localhost/untagged:latest")
	p.importImage(t, "alpha", "localhost/alpha:latest")
	p.run(t, "tag", "localhost/alpha", "docker.io/library/gamma:latest", "localhost/grp/delta:1.0", "quay.io/org/sub/eps:latest")
	p.importImage(t, "beta", "quay.io/team/beta:v1")
	p.run(t, "tag", "quay.io/team/beta:v1", "example.com:5000/x/zeta:latest", "registry.fedoraproject.org/fedora:latest", "search.example/found:latest")
	p.run(t, "manifest", "create", "localhost/empty:latest")
	p.run(t, "manifest", "create", "localhost/full:latest")
	p.run(t, "manifest", "add", "localhost/full:latest", "containers-storage:localhost/alpha:latest")
	child := p.command("create", "--pull=never", "--name", "child", "localhost/alpha", "true")
	if out, err := child.CombinedOutput(); err != nil {
		t.Logf("no image with two layers: %v: %s", err, out)
		return
	}
	p.run(t, "commit", "--quiet", "child", "localhost/child:latest")
	p.run(t, "rm", "child")
}

// registriesConf gives podman and the code under test the same short names.
func registriesConf(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.conf")
	must(t, os.WriteFile(path, []byte("unqualified-search-registries = ['search.example']\n[aliases]\nfedora='registry.fedoraproject.org/fedora'\n"), 0o600))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", path)
}

func TestStoreShowsImagesAsPodmanDoes(t *testing.T) {
	p := newPodman(t)
	p.fill(t)
	s := readGood(t, p.graphRoot)
	want := p.images(t)
	ids := map[string]bool{}
	for _, w := range want {
		ids[w.ID] = true
	}
	if len(ids) < 5 || len(s.Images) != len(ids) {
		t.Fatalf("got %d images; podman has %d", len(s.Images), len(ids))
	}
	for _, w := range want {
		img := s.byID[w.ID]
		if img == nil {
			t.Errorf("image %s is missing", w.ID)
			continue
		}
		if img.Size != w.Size || img.Digest != w.Digest || img.Created.Unix() != w.Created || strings.Join(img.Names, " ") != strings.Join(w.Names, " ") {
			t.Errorf("image is %+v; podman says %+v", *img, w)
		}
	}
	img, err := s.Lookup("localhost/alpha", noShortNames(t))
	must(t, err)
	config, err := img.Config()
	if err != nil || config.Architecture == "" || len(config.diffIDs()) != 1 {
		t.Errorf("Config() = %+v, %v", config, err)
	}
	list, err := s.Lookup("containers-storage:localhost/full", noShortNames(t))
	must(t, err)
	if _, err := list.Config(); !errors.Is(err, ErrNotImage) {
		t.Errorf("Config() of a manifest list = %v; want ErrNotImage", err)
	}
}

// What podman 4.3 answers otherwise than newer ones is left out: addresses of IP
// version 6, the digest of a manifest list, and digests of images that the
// repository does not have.
func TestExistsAgreesWithPodman(t *testing.T) {
	p := newPodman(t)
	registriesConf(t)
	p.fill(t)
	s := readGood(t, p.graphRoot)
	alpha, err := s.Lookup("localhost/alpha", noShortNames(t))
	must(t, err)
	aid, digest := alpha.ID, alpha.Digest
	list, err := s.Lookup("containers-storage:localhost/full", noShortNames(t))
	must(t, err)
	for _, name := range []string{
		"alpha", "alpha:latest", "alpha:none", "localhost/alpha", "localhost/alpha:latest", "ALPHA", "localhost/Alpha", "Localhost/alpha", "FOO/alpha",
		"docker.io/alpha", "gamma", "docker.io/gamma", "library/gamma", "docker.io/library/gamma", "index.docker.io/gamma",
		"delta", "delta:1.0", "grp/delta:1.0", "rp/delta:1.0", "localhost/grp/delta", "eps", "sub/eps", "org/sub/eps", "quay.io/eps", "eps:latest", "b/eps",
		"beta", "beta:v1", "team/beta:v1", "zeta", "x/zeta", "example.com:5000/x/zeta", "example.com/x/zeta",
		"fedora", "fedora:latest", "fedora:40", "library/fedora", "found", "found:latest", "search.example/found", "docker.io/found",
		aid, aid[:12], aid[:10], aid[:4], "sha256:" + aid, "sha256:" + aid[:12], "sha256:" + strings.ToUpper(aid), strings.ToUpper(aid), aid[:12] + ":latest", "localhost/" + aid[:12],
		strings.Repeat("0", 64), "sha256:" + strings.Repeat("0", 64), list.ID,
		"alpha@" + digest, "localhost/alpha@" + digest, "alpha:zzz@" + digest, "localhost/alpha:zzz@" + digest, "delta@" + digest, "quay.io/org/sub/eps@" + digest, "eps@" + digest,
		digest,
		"containers-storage:alpha", "containers-storage:localhost/alpha", "containers-storage:" + aid, "containers-storage:" + aid[:12], "containers-storage:" + aid[:2],
		"containers-storage:@" + aid, "containers-storage:@" + aid[:12], "containers-storage:localhost/alpha@" + aid, "containers-storage:localhost/zzz@" + aid,
		"containers-storage:localhost/alpha@" + digest, "containers-storage:gamma", "containers-storage:UPPER", "containers-storage:empty", "containers-storage:localhost/empty", "containers-storage:",
		"docker://alpha", "docker:alpha", "dir:alpha", "dir:/tmp", "oci:alpha", "oci:/tmp/x:y", "docker-archive:/x", "oci-archive:/x", "docker-daemon:alpha", "docker-daemon:alpha:latest",
		"ostree:alpha", "atomic:alpha", "sif:x", "tarball:x", "registry:alpha",
		"empty", "full", "localhost/empty", "localhost/full", "child", "localhost/child",
		"", " ", "alpha:", ":latest", "a/", "/alpha", "alpha@", "alpha@sha256:1234", "alpha@md5:" + aid[:32], "al pha", "foo//bar", "foo..bar", "alpha:-x",
		"alpha:" + strings.Repeat("a", 129), strings.Repeat("a", 256), "localhost", "localhost:", "quay.io", "quay.io/", "http://quay.io/x", "nosuch", "sha256", "sha256:abc",
		"my_site.org/alpha", "127.0.0.1/alpha",
	} {
		got := 1
		exists, err := s.Exists(name, func() (ShortNames, error) { return ReadShortNames("/") })
		if err != nil {
			got = 125
		} else if exists {
			got = 0
		}
		if want := p.exists(t, name); got != want {
			t.Errorf("image exists %q: %d (%v); podman says %d", name, got, err, want)
		}
	}
}

func TestExistsAgreesWithPodmanAboutDamage(t *testing.T) {
	p := newPodman(t)
	p.importImage(t, "alpha", "localhost/alpha:latest")
	alpha := readGood(t, p.graphRoot).Images[0].ID
	layersJSON, manifest := filepath.Join(p.graphRoot, "vfs-layers/layers.json"), filepath.Join(p.graphRoot, "vfs-images", alpha, "manifest")
	for _, test := range []struct{ name, path, old, new string }{
		{"nothing", manifest, "", ""},
		{"size not recorded", layersJSON, `"diff-size"`, `"other-size"`},
		{"size not known", layersJSON, `"diff-size":`, `"diff-size":-`},
		{"other layer", layersJSON, `"id":"`, `"id":"f`},
		{"bad manifest", manifest, "{", ""},
		{"no manifest", manifest, "", "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			good, err := os.ReadFile(test.path)
			must(t, err)
			defer func() { must(t, os.WriteFile(test.path, good, 0o600)) }()
			if test.new == "-" {
				must(t, os.Remove(test.path))
			} else {
				must(t, os.WriteFile(test.path, bytes.Replace(good, []byte(test.old), []byte(test.new), 1), 0o600))
			}
			s, _ := read(t, p.graphRoot)
			got, err := s.Exists("localhost/alpha", noShortNames(t))
			must(t, err)
			if want := p.exists(t, "localhost/alpha") == 0; got != want {
				t.Errorf("Exists() = %v; podman says %v", got, want)
			}
		})
	}
}
