// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smallImage is the export of an image of two layers.
func smallImage(t testing.TB) (*fixture, *Image) {
	f := newFixture(t)
	f.layer(f.tree(systemTree))
	f.layer(f.tree(derivedTree))
	f.merge()
	return f, f.export()
}

func serve(t testing.TB, e *Image, progress Progress) *Registry {
	t.Helper()
	r, err := e.Serve(t.Context(), t.TempDir(), imageName, progress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRegistryShowsTheImageToHoldersOfThePassword(t *testing.T) {
	_, e := smallImage(t)
	r := serve(t, e, nil)
	get := func(method, path, auth string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.listener.Addr().String()+path, nil)
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
		for _, auth := range []string{"", "Basic " + r.auth[1:], "Bearer " + r.auth} {
			resp, body := get("GET", path, auth)
			if resp.StatusCode != http.StatusUnauthorized || body != "" || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s with %q: %s %.80q", path, auth, resp.Status, body)
			}
		}
		resp, body := get("GET", path, "Basic "+r.auth)
		switch {
		case want == "none":
			if resp.StatusCode != http.StatusNotFound || body != "" {
				t.Errorf("%s: %s %.80q", path, resp.Status, body)
			}
		case want == "layer":
			if digest([]byte(body)) != e.Layers[1].Digest || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s, %d bytes", path, resp.Status, len(body))
			}
		case resp.StatusCode != http.StatusOK || body != want:
			t.Errorf("%s: %s %.80q", path, resp.Status, body)
		}
		if head, body := get("HEAD", path, "Basic "+r.auth); head.StatusCode != resp.StatusCode || head.ContentLength != resp.ContentLength || body != "" {
			t.Errorf("HEAD %s: %s, %d bytes", path, head.Status, head.ContentLength)
		}
	}
	if resp, _ := get("POST", "/v2/export/blobs/uploads/", "Basic "+r.auth); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", resp.Status)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestRegistryKeepsThePasswordFromOthers(t *testing.T) {
	_, e := smallImage(t)
	r := serve(t, e, nil)
	files, err := os.ReadDir(r.dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if fi, err := file.Info(); err != nil || fi.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", file.Name(), fi.Mode(), err)
		}
	}
	args, env := r.PullCmd()
	if words := strings.Join(append(args, env...), " "); strings.Contains(words, r.auth) {
		t.Errorf("all can read the password in %s", words)
	}
	if other := serve(t, e, nil); other.auth == r.auth {
		t.Error("two registries have the same password")
	}
}

func TestPodmanFetchesOnlyLayersItDoesNotHave(t *testing.T) {
	f, e := smallImage(t)
	s := newStore(t, "vfs")
	s.take(e, imageName)
	f.layer(f.tree(lastTree))
	f.merge()
	more := f.export()
	read := map[int]int64{}
	r := serve(t, more, func(layer int, bytes int64) { read[layer] = bytes })
	out, err := s.pull(r)
	if closeErr := r.Close(); err != nil || closeErr != nil {
		t.Fatalf("%v, %v: %s", err, closeErr, out)
	}
	if len(read) != 1 || read[2] != more.Layers[2].Size {
		t.Errorf("podman read %v", read)
	}
}

func TestRegistryTellsWhyAPullFailed(t *testing.T) {
	for name, damage := range map[string]func(f *fixture) string{
		"missing object": func(f *fixture) string {
			path := f.object("usr/bin/su")
			os.Remove(path)
			return path
		},
		"grown object": func(f *fixture) string {
			f.replace(f.object("usr/bin/su"), func(data []byte) []byte { return append(data, make([]byte, 4096)...) })
			return "changed since it was read first"
		},
		"shrunk object": func(f *fixture) string {
			f.replace(f.object("usr/lib/big"), func(data []byte) []byte { return data[:len(data)-1024] })
			return "changed since it was read first"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, e := smallImage(t)
			want := damage(f)
			s := newStore(t, "vfs")
			r := serve(t, e, nil)
			out, err := s.pull(r)
			if err == nil {
				t.Errorf("pulled all the same: %s", out)
			}
			if err := r.Close(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, want)
			}
			if images := s.podman("images", "--quiet", "--all"); images != "" {
				t.Errorf("left behind: %s", images)
			}
		})
	}
}

func TestRegistryEndsWithItsContext(t *testing.T) {
	_, e := smallImage(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := e.Serve(ctx, t.TempDir(), imageName, nil)
	if err != nil {
		t.Fatal(err)
	}
	// One client that does not read, one that says nothing, one that waits in
	// the middle of a request.
	for _, request := range []string{"GET /v2/export/blobs/" + e.Layers[0].Digest + " HTTP/1.1\r\nAuthorization: Basic " + r.auth + "\r\n\r\n", "", "GET /v2/ HT"} {
		conn, err := net.Dial("tcp", r.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := r.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := net.Dial("tcp", r.listener.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestRegistryHangsUpOnTLS(t *testing.T) {
	_, e := smallImage(t)
	r := serve(t, e, nil)
	conn, err := net.Dial("tcp", r.listener.Addr().String())
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

func TestServeRefusesNamesThatPodmanCannotPull(t *testing.T) {
	for _, name := range []string{"", "quay.io/UPPER", "quay.io/a@sha256:" + strings.Repeat("0", 64), "my_site.org/image"} {
		if r, err := (&Image{}).Serve(t.Context(), t.TempDir(), name, nil); err == nil {
			r.Close()
			t.Errorf("%q was taken", name)
		}
	}
	r, err := (&Image{}).Serve(t.Context(), t.TempDir(), "localhost/bootc", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if args, _ := r.PullCmd(); args[len(args)-1] != "localhost/bootc:latest" {
		t.Errorf("got %q", args)
	}
	if _, err := (&Image{}).Serve(t.Context(), filepath.Join(t.TempDir(), "none"), "a/b", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func FuzzReadRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /v2/ HTTP/1.1\r\nHost: x\r\nauthorization:  Basic x \r\n\r\n", "GET / HTTP/1.1\n\n", "GET\r\n\r\n", "a b c\n:\n\n", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		req, err := readRequest(bufio.NewReaderSize(strings.NewReader(text), maxLine))
		if err == nil && strings.ContainsAny(req.method+req.target+req.authorization, "\n") {
			t.Errorf("%q", req)
		}
	})
}
