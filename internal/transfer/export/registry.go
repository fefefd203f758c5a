// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// Registry hands one exported image to podman. It is the least of a container
// registry that podman pulls from (OCI distribution specification, "Pull"), on
// the loopback interface and with a password, so that no one else reads the
// image. podman takes layers as a stream from nothing but a registry: in an OCI
// layout they have to be files of the right size.
type Registry struct {
	export   *Image
	name     cstorage.Name
	dir      string
	auth     string
	listener net.Listener
	report   func(layer int, bytes int64)
	ctx      context.Context
	stop     context.CancelCauseFunc
	handlers sync.WaitGroup
}

// repository is what the image is called in the registry.
const repository = "export"

// Names of the files in the registry's directory.
const (
	authFile       = "auth.json"
	policyFile     = "policy.json"
	registriesFile = "registries.conf"
)

// Serve starts a registry that has the image under name, "latest" being the
// default tag. dir is an empty directory that no one else can read or write: it
// gets a few small files, and the caller removes it. The registry ends with ctx.
// progress may be nil.
func (e *Image) Serve(ctx context.Context, dir, name string, progress Progress) (*Registry, error) {
	named, err := cstorage.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("serve image: %w", err)
	}
	if named.Domain == "" || named.Digest != "" {
		return nil, fmt.Errorf("serve image: podman pulls nothing as %q", name)
	}
	if named.Tag == "" {
		named.Tag = "latest"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve image: %w", err)
	}
	r := &Registry{
		export:   e,
		name:     named,
		dir:      dir,
		auth:     base64.StdEncoding.EncodeToString([]byte("bootc-podman:" + rand.Text())),
		listener: listener,
		report:   newReporter(progress),
	}
	r.ctx, r.stop = context.WithCancelCause(ctx)
	if err := r.writeFiles(); err != nil {
		listener.Close()
		return nil, fmt.Errorf("serve image: %w", err)
	}
	context.AfterFunc(r.ctx, func() { listener.Close() }) //nolint:contextcheck // derived from ctx above
	r.handlers.Go(r.accept)
	return r, nil
}

// writeFiles writes files for podman with the address of the image and the password.
func (r *Registry) writeFiles() error {
	address := r.listener.Addr().String()
	auth, err := encode(map[string]any{"auths": map[string]any{address: map[string]string{"auth": r.auth}}})
	if err != nil {
		return err
	}
	// A name has no characters that are special in TOML.
	registries := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		r.name.Repository(), address+"/"+repository)
	// The host's policy is for what comes from outside. This image was checked
	// by it then, and its signatures do not fit what is exported.
	policy := []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	return errors.Join(
		os.WriteFile(filepath.Join(r.dir, authFile), auth, 0o600),
		os.WriteFile(filepath.Join(r.dir, policyFile), policy, 0o600),
		os.WriteFile(filepath.Join(r.dir, registriesFile), []byte(registries), 0o600),
	)
}

// PullCmd returns how podman pulls the image: words to put after "podman" and
// its global options, and variables to set in its environment.
func (r *Registry) PullCmd() (args, env []string) { return PullCommand(r.dir, r.name.String()) }

// PullCommand returns how podman pulls an image that a registry with its files in dir has
// under a full name.
func PullCommand(dir, name string) (args, env []string) {
	args = []string{
		"pull",
		"--authfile=" + filepath.Join(dir, authFile),
		// A hidden option, which all of podman 4 and 5 have.
		"--signature-policy=" + filepath.Join(dir, policyFile),
		"--", name,
	}
	return args, []string{"CONTAINERS_REGISTRIES_CONF=" + filepath.Join(dir, registriesFile)}
}

var errClosed = errors.New("registry closed")

// Close ends the registry. It returns why an image could not be handed out, if
// so: podman itself reports only that it ended early.
func (r *Registry) Close() error {
	r.stop(errClosed)
	r.handlers.Wait()
	if err := context.Cause(r.ctx); !errors.Is(err, errClosed) {
		return fmt.Errorf("serve image: %w", err)
	}
	return nil
}

// maxConnections bounds the connections at a time: podman has six.
const maxConnections = 64

func (r *Registry) accept() {
	slots := make(chan struct{}, maxConnections)
	for {
		select {
		case slots <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		conn, err := r.listener.Accept()
		if r.ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			r.stop(err)
			return
		}
		r.handlers.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			defer context.AfterFunc(r.ctx, func() { conn.Close() })()
			r.serve(conn)
		})
	}
}

// maxLine and maxLines bound a request: bytes of a line, lines with headers.
const (
	maxLine  = 16 << 10
	maxLines = 100
)

// silence is how long a connection may wait before its first request with the
// password.
const silence = 5 * time.Second

// serve answers the requests of a connection one after the other (RFC 9112).
func (r *Registry) serve(conn net.Conn) {
	// A client that connects and sends nothing must not keep podman away.
	if conn.SetReadDeadline(time.Now().Add(silence)) != nil {
		return
	}
	in := bufio.NewReaderSize(conn, maxLine)
	// podman tries TLS first, and gives up after ten seconds without an answer.
	// No request begins as TLS does (RFC 8446, section 5.1: a handshake is 22).
	if first, err := in.Peek(1); err != nil || first[0] == 22 {
		return
	}
	for {
		req, err := readRequest(in)
		if err != nil {
			return
		}
		if r.authorized(req) && conn.SetReadDeadline(time.Time{}) != nil {
			return
		}
		// After a failure podman would only try again.
		if r.ctx.Err() != nil || r.answer(conn, req) != nil {
			return
		}
	}
}

// request is what counts of a request.
type request struct {
	method, target, authorization string
}

func readRequest(in *bufio.Reader) (req request, err error) {
	line, err := readLine(in)
	if err != nil {
		return req, err
	}
	words := strings.Split(line, " ")
	if len(words) != 3 {
		return req, fmt.Errorf("malformed request %.80q", line)
	}
	req.method, req.target = words[0], words[1]
	for range maxLines {
		line, err := readLine(in)
		if err != nil || line == "" {
			return req, err
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Authorization") {
			req.authorization = strings.TrimSpace(value)
		}
	}
	return req, errors.New("too many headers")
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	return strings.TrimRight(string(line), "\r\n"), err
}

// authorized reports whether a request has the password.
func (r *Registry) authorized(req request) bool {
	return subtle.ConstantTimeCompare([]byte(req.authorization), []byte("Basic "+r.auth)) == 1
}

// answer answers a request. An error ends the connection.
func (r *Registry) answer(w io.Writer, req request) error {
	head := req.method == "HEAD"
	if !head && req.method != "GET" {
		return respond(w, "405 Method Not Allowed", "", nil, false)
	}
	if !r.authorized(req) {
		return respond(w, "401 Unauthorized", `WWW-Authenticate: Basic realm="bootc-podman"`, nil, head)
	}
	rest, ok := strings.CutPrefix(req.target, "/v2/")
	if ok && rest == "" {
		return respond(w, "200 OK", "Docker-Distribution-API-Version: registry/2.0", nil, head)
	}
	e := r.export
	blob, ok := strings.CutPrefix(rest, repository+"/blobs/")
	layer := slices.IndexFunc(e.Layers, func(l Layer) bool { return l.Digest == blob })
	switch {
	case rest == repository+"/manifests/"+r.name.Tag, rest == repository+"/manifests/"+e.ManifestDigest:
		return respond(w, "200 OK", "Content-Type: "+manifestType+"\r\nDocker-Content-Digest: "+e.ManifestDigest, e.Manifest, head)
	case ok && blob == e.ConfigDigest:
		return respond(w, "200 OK", "Content-Type: application/octet-stream", e.Config, head)
	case ok && layer >= 0:
		return r.sendLayer(w, layer, head)
	}
	return respond(w, "404 Not Found", "", nil, head)
}

// respond sends a response with a header line more, or none.
func respond(w io.Writer, status, line string, body []byte, head bool) error {
	if line != "" {
		line += "\r\n"
	}
	response := fmt.Appendf(nil, "HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n", status, line, len(body))
	if !head {
		response = append(response, body...)
	}
	_, err := w.Write(response)
	return err
}

// sendLayer makes a layer's archive while it sends it. podman compares it with
// its digest.
func (r *Registry) sendLayer(w io.Writer, layer int, head bool) error {
	_, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", r.export.Layers[layer].Size)
	if err != nil || head {
		return err
	}
	out := &sender{w: w}
	size, err := r.export.writeLayer(r.ctx, out, layer, false, r.report)
	switch {
	case out.err != nil:
		// podman hung up, for reasons of its own.
		return out.err
	case err == nil && size != r.export.Layers[layer].Size:
		err = fmt.Errorf("read layer %d of %d: changed since it was read first", layer+1, len(r.export.Layers))
	}
	if err != nil {
		r.stop(err)
	}
	return err
}

// sender keeps the error of a writer apart from those of what is written.
type sender struct {
	w   io.Writer
	err error
}

func (s *sender) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}
