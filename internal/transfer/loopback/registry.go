// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package loopback speaks HTTP with podman on this host: it serves an exported image to it as
// a registry, and asks its service to pull. It belongs to the private program,
// as it needs net/http.
package loopback

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
)

// Bounds: podman has six connections; a connection may wait so long before its first
// request, and within the head of each one; a head has so many bytes.
const (
	maxConnections = 64
	silence        = 5 * time.Second
	maxHeader      = 16 << 10
)

// Export does a job that serves an image of the ostree repository to podman, until ctx
// ends, which is no error. answer gets how far layers are read, Serving, and how far they
// are read by podman.
func Export(ctx context.Context, job clonejob.Job, answer func(clonejob.Answer) error) error {
	repo, err := host.Sysroot{Dir: job.OSTree.Sysroot}.OpenRepo()
	if err != nil {
		return err
	}
	defer repo.Close()
	progress := func(layer int, bytes int64) {
		_ = answer(clonejob.Answer{Progress: &clonejob.Progress{Layer: layer, Bytes: bytes}}) // the last one will fail, too
	}
	image, err := export.New(ctx, repo, job.OSTree.Commit, progress)
	if err != nil {
		return err
	}
	serving := clonejob.Serving{ManifestDigest: image.ManifestDigest}
	for _, l := range image.Layers {
		serving.Layers = append(serving.Layers, clonejob.Blob{Digest: l.Digest, Size: l.Size})
	}
	write := func(ctx context.Context, w io.Writer, layer int) (int64, error) {
		return image.WriteLayer(ctx, w, layer, progress)
	}
	return serve(ctx, image, *job.Registry, write, func(address string) error {
		serving.Address = address
		return answer(clonejob.Answer{Serving: &serving})
	})
}

// server is the least of a container registry that podman pulls from (OCI distribution
// specification, "Pull"), on the loopback interface and with a password, so that no one
// else reads the image. podman takes layers as a stream from nothing but a registry: in an
// OCI layout they have to be files of the right size.
type server struct {
	image *export.Image
	as    clonejob.Registry
	// write makes the archive of a layer, and returns its size.
	write func(ctx context.Context, w io.Writer, layer int) (int64, error)
	stop  context.CancelCauseFunc
}

// serve serves an image until ctx ends. listening is called first. The error is why an
// image could not be handed out: podman itself reports only that the answer ended early.
func serve(ctx context.Context, image *export.Image, as clonejob.Registry,
	write func(context.Context, io.Writer, int) (int64, error), listening func(address string) error,
) error {
	tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve image: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &http.Server{
		Handler:           &server{image: image, as: as, write: write, stop: stop},
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: silence, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	defer context.AfterFunc(ctx, func() { _ = r.Close() })()
	if err := listening(tcp.Addr().String()); err != nil {
		tcp.Close()
		return err
	}
	err = r.Serve(&listener{tcp, make(chan struct{}, maxConnections)})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("serve image: %w", err)
}

// listener bounds the connections, and hangs up on TLS.
type listener struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

type connection struct {
	net.Conn
	release func()
	begun   bool
}

// Read implements net.Conn. podman tries TLS first, and gives up after ten seconds without
// an answer. No request begins as TLS does (RFC 8446, section 5.1: a handshake is 22).
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.begun && n > 0 && p[0] == 22 {
		return 0, io.EOF
	}
	c.begun = c.begun || n > 0
	return n, err
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.release()
	return c.Conn.Close()
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodHead && req.Method != http.MethodGet {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	header := w.Header()
	if subtle.ConstantTimeCompare([]byte(req.Header.Get("Authorization")), []byte("Basic "+s.as.Password)) != 1 {
		header.Set("WWW-Authenticate", `Basic realm="bootc-podman"`)
		header.Set("Connection", "close")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	respond := func(kind string, body []byte) {
		header.Set("Content-Type", kind)
		header.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // podman hung up, for reasons of its own
	}
	const (
		manifests = "/v2/" + export.Repository + "/manifests/"
		blobs     = "/v2/" + export.Repository + "/blobs/"
		octets    = "application/octet-stream"
	)
	blob, isBlob := strings.CutPrefix(req.URL.Path, blobs)
	layer := slices.IndexFunc(s.image.Layers, func(l export.Layer) bool { return l.Digest == blob })
	switch path := req.URL.Path; {
	case path == "/v2/":
		header.Set("Docker-Distribution-API-Version", "registry/2.0")
		respond(octets, nil)
	case path == manifests+s.as.Tag, path == manifests+s.image.ManifestDigest:
		header.Set("Docker-Content-Digest", s.image.ManifestDigest)
		respond(export.ManifestType, s.image.Manifest)
	case isBlob && blob == s.image.ConfigDigest:
		respond(octets, s.image.Config)
	case isBlob && layer >= 0:
		header.Set("Content-Type", octets)
		header.Set("Content-Length", strconv.FormatInt(s.image.Layers[layer].Size, 10))
		if req.Method == http.MethodGet {
			s.sendLayer(req.Context(), w, layer)
		}
	default:
		header.Set("Content-Length", "0")
		w.WriteHeader(http.StatusNotFound)
	}
}

// sendLayer makes a layer's archive while it sends it. podman compares it with its digest.
func (s *server) sendLayer(ctx context.Context, w io.Writer, layer int) {
	out := &sender{w: w}
	size, err := s.write(ctx, out, layer)
	switch {
	case out.err != nil && !errors.Is(out.err, http.ErrContentLength):
		return // podman hung up, for reasons of its own
	case out.err != nil, err == nil && size != s.image.Layers[layer].Size:
		err = fmt.Errorf("read layer %d of %d: changed since it was read first", layer+1, len(s.image.Layers))
	}
	// After a failure podman would only try again.
	if err != nil {
		s.stop(err)
	}
}

// sender keeps the error of a writer apart from those of what is written.
type sender struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (s *sender) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
