// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/testhost"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
)

const (
	imageName = "quay.io/example/os:42"
	password  = "Ym9vdGMtcG9kbWFuOng="
)

// fixture is a sysroot with an image in its ostree repository.
type fixture struct {
	testing.TB
	dir, commit string
}

// newFixture makes an image with a layer for each map of files.
func newFixture(t testing.TB, layers ...map[string]string) *fixture {
	testhost.Need(t, "ostree")
	f := &fixture{TB: t, dir: t.TempDir()}
	for _, dir := range []string{"ostree/deploy", "ostree/repo"} {
		if err := os.MkdirAll(filepath.Join(f.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f.ostree("init", "--mode=bare")
	var manifest host.Manifest
	merged := t.TempDir()
	for i, files := range layers {
		tree := t.TempDir()
		for path, content := range files {
			for _, dir := range []string{tree, merged} {
				path := filepath.Join(dir, path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
		}
		digest := fmt.Sprintf("sha256:%064d", i)
		escaped, err := ostree.EscapeRef(digest)
		if err != nil {
			t.Fatal(err)
		}
		f.ostree("refs", "--create="+ostree.LayerRefPrefix+escaped, f.ostree("commit", "--no-bindings", "--orphan", "--tree=dir="+tree))
		manifest.Layers = append(manifest.Layers, host.Descriptor{Digest: digest, Size: 100})
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	f.commit = f.ostree("commit", "--no-bindings", "--orphan", "--tree=dir="+merged,
		"--add-metadata-string=ostree.manifest-digest=sha256:original", "--add-metadata-string=ostree.manifest="+string(text),
		`--add-metadata-string=ostree.container.image-config={"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	return f
}

func (f *fixture) ostree(args ...string) string {
	f.Helper()
	return testhost.Run(f, "ostree", append([]string{"--repo=" + f.dir + "/ostree/repo"}, args...)...)
}

// image is the export of the image.
func (f *fixture) image() *export.Image {
	f.Helper()
	repo, err := host.Sysroot{Dir: f.dir}.OpenRepo()
	if err != nil {
		f.Fatal(err)
	}
	defer repo.Close()
	e, err := export.New(f.Context(), repo, f.commit, func(int, int64) {})
	if err != nil {
		f.Fatal(err)
	}
	return e
}

// object is the path of the object of a file.
func (f *fixture) object(path string) string {
	f.Helper()
	sum := strings.Fields(f.ostree("ls", "-C", f.commit, "/"+path))[4]
	return filepath.Join(f.dir, "ostree/repo/objects", sum[:2], sum[2:]+".file")
}

// registry is one that is at work.
type registry struct {
	clonejob.Serving
	// read are the bytes of layers that were read while it served.
	read map[int]int64
	stop func() error
}

// serve starts a registry, and calls listening once it listens.
func (f *fixture) serve(ctx context.Context) *registry {
	f.Helper()
	job := clonejob.Job{
		OSTree:   &clonejob.OSTree{Sysroot: f.dir, Commit: f.commit},
		Registry: &clonejob.Registry{Tag: "42", Password: password},
	}
	r := &registry{read: map[int]int64{}}
	listening, ended := make(chan struct{}), make(chan error, 1)
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		ended <- Export(ctx, job, func(a clonejob.Answer) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.Serving != nil:
				r.Serving = *a.Serving
				close(listening)
			case r.Address != "":
				r.read[a.Progress.Layer] = a.Progress.Bytes
			}
			return nil
		})
	}()
	select {
	case <-listening:
	case err := <-ended:
		f.Fatal(err)
	}
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		mu.Lock()
		defer mu.Unlock()
		return err
	})
	f.Cleanup(func() { _ = r.stop() })
	return r
}

func smallImage(t testing.TB) *fixture {
	return newFixture(t, map[string]string{"usr/bin/su": "su", "usr/lib/big": strings.Repeat("big", 1<<20)}, map[string]string{"usr/lib/more": "more"})
}

// podman is a command line of podman on a store of its own.
func podman(t testing.TB) func(env []string, args ...string) (string, error) {
	testhost.Need(t, "podman")
	// podman refuses a long path for its runroot.
	dir, err := os.MkdirTemp("", "store") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return func(env []string, args ...string) (string, error) {
		cmd := exec.Command("podman", append([]string{"--root=" + dir + "/root", "--runroot=" + dir + "/runroot", "--storage-driver=vfs"}, args...)...)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
}

// pull pulls from a registry.
func pull(t testing.TB, podman func([]string, ...string) (string, error), r *registry) (string, error) {
	t.Helper()
	name, err := cstorage.ParseName(imageName)
	dir := t.TempDir()
	if err == nil {
		err = export.WriteAccess(dir, name, r.Address, password)
	}
	if err != nil {
		t.Fatal(err)
	}
	args, env := export.PullCommand(dir, imageName)
	return podman(env, args...)
}

func TestRegistryShowsTheImageToHoldersOfThePassword(t *testing.T) {
	f := smallImage(t)
	e, r := f.image(), f.serve(t.Context())
	get := func(method, path, auth string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.Address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			req.Header.Set("authorization", auth)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	paths := map[string]string{
		"/v2/":                    "",
		"/v2/export/manifests/42": string(e.Manifest),
		"/v2/export/manifests/" + e.ManifestDigest:    string(e.Manifest),
		"/v2/export/blobs/" + e.ConfigDigest:          string(e.Config),
		"/v2/export/blobs/" + e.Layers[1].Digest:      "layer",
		"/v2/export/manifests/sha256-0123.sig":        "none",
		"/v2/export/manifests/latest":                 "none",
		"/v2/export/blobs/sha256:0123":                "none",
		"/v2/other/blobs/" + e.ConfigDigest:           "none",
		"/":                                           "none",
		"/v2/export/blobs/../blobs/" + e.ConfigDigest: "none",
	}
	for path, want := range paths {
		for _, auth := range []string{"", "Basic " + password[1:], "Bearer " + password} {
			resp, body := get("GET", path, auth)
			if resp.StatusCode != http.StatusUnauthorized || body != "" || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s with %q: %s %.80q", path, auth, resp.Status, body)
			}
		}
		resp, body := get("GET", path, "Basic "+password)
		switch {
		case want == "none":
			if resp.StatusCode != http.StatusNotFound || body != "" {
				t.Errorf("%s: %s %.80q", path, resp.Status, body)
			}
		case want == "layer":
			if fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(body))) != e.Layers[1].Digest || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s, %d bytes", path, resp.Status, len(body))
			}
		case resp.StatusCode != http.StatusOK || body != want:
			t.Errorf("%s: %s %.80q", path, resp.Status, body)
		}
		if head, body := get("HEAD", path, "Basic "+password); head.StatusCode != resp.StatusCode || head.ContentLength != resp.ContentLength || body != "" {
			t.Errorf("HEAD %s: %s, %d bytes", path, head.Status, head.ContentLength)
		}
	}
	if resp, _ := get("POST", "/v2/export/blobs/uploads/", "Basic "+password); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestPodmanFetchesOnlyLayersItDoesNotHave(t *testing.T) {
	podman := podman(t)
	if out, err := pull(t, podman, smallImage(t).serve(t.Context())); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	more := newFixture(t, map[string]string{"usr/bin/su": "su", "usr/lib/big": strings.Repeat("big", 1<<20)},
		map[string]string{"usr/lib/more": "more"}, map[string]string{"usr/lib/last": "last"})
	r := more.serve(t.Context())
	out, err := pull(t, podman, r)
	if stopErr := r.stop(); err != nil || stopErr != nil {
		t.Fatalf("%v, %v: %s", err, stopErr, out)
	}
	if len(r.read) != 1 || r.read[2] != r.Layers[2].Size {
		t.Errorf("podman read %v", r.read)
	}
	if got, err := podman(nil, "image", "inspect", "--format={{.Digest}}", imageName); err != nil || got != r.ManifestDigest {
		t.Errorf("podman has %s, %v, want %s", got, err, r.ManifestDigest)
	}
}

func TestRegistryReportsWhyAPullFailed(t *testing.T) {
	change := func(path string, change func([]byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(f *fixture) string{
		"missing object": func(f *fixture) string {
			path := f.object("usr/bin/su")
			os.Remove(path)
			return path
		},
		"grown object": func(f *fixture) string {
			change(f.object("usr/bin/su"), func(data []byte) []byte { return append(data, make([]byte, 4096)...) })
			return "changed since it was read first"
		},
		"shrunk object": func(f *fixture) string {
			change(f.object("usr/lib/big"), func(data []byte) []byte { return data[:len(data)-1024] })
			return "changed since it was read first"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, podman := smallImage(t), podman(t)
			r := f.serve(t.Context())
			want := damage(f)
			out, err := pull(t, podman, r)
			if err == nil {
				t.Errorf("pulled all the same: %s", out)
			}
			if err := r.stop(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, want)
			}
			if images, err := podman(nil, "images", "--quiet", "--all"); images != "" || err != nil {
				t.Errorf("left behind: %s, %v", images, err)
			}
		})
	}
}

func TestRegistryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := smallImage(t).serve(ctx)
	// One client that does not read, one that says nothing, one that waits in
	// the middle of a request.
	for _, request := range []string{"GET /v2/export/blobs/" + r.Layers[0].Digest + " HTTP/1.1\r\nAuthorization: Basic " + password + "\r\n\r\n", "", "GET /v2/ HT"} {
		conn, err := net.Dial("tcp", r.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := r.stop(); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("tcp", r.Address); err == nil {
		t.Error("still listening")
	}
}

func TestRegistryHangsUpOnTLS(t *testing.T) {
	r := smallImage(t).serve(t.Context())
	conn, err := net.Dial("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{22, 3, 1}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}
