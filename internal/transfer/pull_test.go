// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// blobOf is the digest of a blob.
func blobOf(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// line is a line of what podman's service says of a blob.
func line(status, blob string, current, total int64) string {
	return fmt.Sprintf(`{"status":"pulling","stream":"Pulling artifact","pullProgress":{"status":%q,"current":%d,"total":%d,"progressComponentID":%q}}`+"\n", status, current, total, blob)
}

// service is podman's, with an answer for each pull; at most one if it ends early.
type service struct {
	answers []string
	early   bool
	// asked are the requests, with their heads in canonical form.
	asked []*http.Request
	// ended tells how it ended.
	ended error
}

func (s *service) run(ctx context.Context, cmd wrapper.Cmd) error {
	socket, _ := strings.CutPrefix(cmd.Args[len(cmd.Args)-1], "unix://")
	dir, err := os.Stat(filepath.Dir(socket))
	if err != nil || dir.Mode().Perm() != 0o700 {
		return fmt.Errorf("directory of the socket: %v, %w", dir, err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return err
	}
	s.asked = append(s.asked, req)
	_, _ = io.WriteString(conn, s.answers[0])
	s.answers = s.answers[1:]
	if s.early {
		return &wrapper.ExitError{Cmd: cmd, Code: 1}
	}
	<-ctx.Done()
	s.ended = ctx.Err()
	return ctx.Err()
}

// chunked is an answer in chunks of size bytes.
func chunked(text string, size int) string {
	var answer strings.Builder
	answer.WriteString("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(text) > 0 {
		n := min(size, len(text))
		fmt.Fprintf(&answer, "%x\r\n%s\r\n", n, text[:n])
		text = text[n:]
	}
	answer.WriteString("0\r\n\r\n")
	return answer.String()
}

// failedEarly is what podman 6 answers when a pull fails before the first line.
func failedEarly(message string) string {
	body := `{"cause":"x","message":"` + message + `","response":500}`
	return fmt.Sprintf("HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const stored1 = `{"status":"success","images":["0123"],"id":"0123"}` + "\n"

func TestPullService(t *testing.T) {
	needNamespace(t)
	a := blobOf("1")
	part := line("pulling", a, 40, 100)
	for _, tt := range []struct {
		name    string
		answers []string
		early   bool
		// plain tells that podman is run without its service in the end.
		plain bool
		// heard is part of what is told of it, err of the error.
		heard, err string
		retries    int
	}{
		{name: "pulled", answers: []string{chunked(`{"stream":"Copying blob\n"}`+"\n"+part+line("success", a, 100, 100)+stored1, 50)}, heard: "config 111111111111: done, 100B"},
		{name: "retried", answers: []string{chunked(part+`{"error":"`+strings.ReplaceAll(network, `"`, `\"`)+`"}`+"\n", 1000), chunked(stored1, 1000)}, retries: 1},
		{name: "failed", answers: []string{chunked(`{"error":"`+unknown+`"}`+"\n", 1000)}, err: unknown},
		{name: "failed before the first line", answers: []string{failedEarly(unknown)}, err: unknown},
		{name: "failed before the first line and retried", answers: []string{failedEarly(strings.ReplaceAll(network, `"`, `\"`)), chunked(stored1, 1000)}, retries: 1},
		{name: "refused", answers: []string{"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno!more"}, plain: true},
		{name: "ended", answers: []string{""}, early: true, plain: true},
		{name: "ended later", answers: []string{chunked(part, 1000)[:150]}, early: true, err: "unexpected EOF"},
		{name: "ended without an image", answers: []string{chunked(part, 1000)}, err: "its service ended early"},
		{name: "no JSON", answers: []string{chunked("x\n", 1000)}, err: "invalid character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, registryOrigin, nil, nil)
			exact := stored{names: []string{exactOf(bootedDigest)}, digest: bootedDigest}
			fake := &service{answers: tt.answers, early: tt.early}
			podman := &fakePodman{scratchHost: h, arrives: exact, version: "5.9.1-dev"}
			podman.service = func(ctx context.Context, cmd wrapper.Cmd) error {
				defer func() {
					if len(fake.answers) == 0 && tt.err == "" && !tt.plain {
						podman.images = []stored{exact}
						podman.save()
					}
				}()
				podman.spools = append(podman.spools, wrapper.Getenv(cmd.Env, "TMPDIR"))
				return fake.run(ctx, cmd)
			}
			o := podman.options()
			var err error
			if o.Dir, err = os.MkdirTemp("", "pull"); err != nil { //nolint:usetesting // a path for a socket has at most 107 bytes
				t.Fatal(err)
			}
			defer os.RemoveAll(o.Dir)
			var told bytes.Buffer
			o.Progress, o.Stderr = progress.New(progress.Lines(&told)), &told
			defer o.Progress.Close()
			retries := 0
			o.Retry, o.Events = 1, &heard{retrying: func(Retry) { retries++ }}
			_, err = SetUnified(t.Context(), o, plan.Choice{From: plan.FromRegistry})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if ran := slices.Contains(podman.ran, "pull --retry=0 -- "+exactOf(bootedDigest)); ran != tt.plain || retries != tt.retries {
				t.Errorf("ran %q after %d retries", podman.ran, retries)
			}
			if !strings.Contains(told.String(), tt.heard) || tt.err == "" && !strings.Contains(told.String(), ": done") {
				t.Errorf("told of\n%s", &told)
			}
			if !tt.early && !errors.Is(fake.ended, context.Canceled) {
				t.Errorf("the service ended with %v", fake.ended)
			}
			for _, req := range fake.asked {
				q := req.URL.Query()
				if req.Method != "POST" || req.URL.Path != "/v5.0.0/libpod/images/pull" || q.Get("reference") != exactOf(bootedDigest) ||
					q.Get("pullProgress") != "true" || q.Get("policy") != "always" || q.Get("retry") != "0" || req.Header.Get("X-Registry-Config") != "e30=" {
					t.Errorf("asked %s %s %v", req.Method, req.URL, req.Header)
				}
			}
			left, _ := filepath.Glob(filepath.Join(o.Dir, serviceDir))
			for _, spool := range podman.spools {
				if _, err := os.Stat(spool); err == nil {
					left = append(left, spool)
				}
			}
			if left != nil {
				t.Errorf("left %q", left)
			}
		})
	}
}

func TestServiceStartIsWaitedFor(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	// It ends at once.
	err := o.withService(t.Context(), func(context.Context, io.Writer, ...string) error { return plan.ErrNotThere }, nil, nil)
	if !errors.Is(err, errNoService) || !errors.Is(err, plan.ErrNotThere) {
		t.Errorf("got %v", err)
	}
	// It never listens, and the caller gives up.
	ctx, cancel := context.WithCancel(t.Context())
	err = o.withService(ctx, func(ctx context.Context, _ io.Writer, _ ...string) error {
		cancel()
		<-ctx.Done()
		return nil
	}, nil, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestReadResponse(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		in, body string
		status   int
		broken   bool
	}{
		{in: ok + "\r\nall the rest", status: 200, body: "all the rest"},
		{in: ok + "Content-Length: 3\r\n\r\nall the rest", status: 200, body: "all"},
		{in: "HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n", status: 404},
		{in: chunked("some words", 3), status: 200, body: "some words"},
		{in: ok + "transfer-encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", status: 200, body: "0123456789"},
		{in: ok + "Transfer-Encoding: chunked\r\n\r\n5\r\n012", status: 200, body: "012", broken: true},
		{in: ok + "Transfer-Encoding: chunked\r\n\r\n3\r\n012", status: 200, body: "012", broken: true},
		{in: ok + "Transfer-Encoding: chunked\r\n\r\n3\r\n012345", status: 200, body: "012", broken: true},
		{in: ok + "Transfer-Encoding: chunked\r\n\r\nx\r\n", status: 200, broken: true},
		{in: ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", status: 200, broken: true},
		{in: ok + "Transfer-Encoding: gzip\r\n\r\n"},
		{in: ok + "Content-Length: -1\r\n\r\n"},
		{in: ok + strings.Repeat("A: b\r\n", 1000)},
		{in: ok + "Long: " + strings.Repeat("b", maxLine)},
		{in: ok},
		{in: "SSH-2.0\r\n\r\n"},
		{},
	} {
		status, body, err := readResponse(bufio.NewReaderSize(strings.NewReader(tt.in), maxLine))
		if (err == nil) != (tt.status != 0) || err == nil && status != tt.status {
			t.Errorf("%.80q: got %d, %v", tt.in, status, err)
			continue
		}
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(body); string(got) != tt.body || (err != nil) != tt.broken {
			t.Errorf("%.80q: got %q, %v", tt.in, got, err)
		}
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte(chunked("some words", 3)))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, body, err := readResponse(bufio.NewReaderSize(bytes.NewReader(in), maxLine))
		if err != nil {
			return
		}
		if got, _ := io.ReadAll(body); len(got) > len(in) {
			t.Errorf("%d bytes of %d", len(got), len(in))
		}
	})
}

func TestRegistryConfigHasUserNamesAndPasswords(t *testing.T) {
	for auth, want := range map[string]string{
		`{}`: `{}`,
		`{"auths":{"quay.io/example":{"auth":"dXNlcjpwYTpzcwA="},"docker.io":{}}}`: `{"quay.io/example":{"username":"user","password":"pa:ss"}}`,
		`{"auths":{"quay.io":{"auth":"dXNlcg=="}}}`:                                `-`,
		`{"auths":{"quay.io":{"auth":"dXNlcjpw","identitytoken":"x"}}}`:            `-`,
		`{"auths":{"quay.io":{"auth":"%"}}}`:                                       `-`,
		`{"credHelpers":{"quay.io":"pass"}}`:                                       `-`,
		`{"credsStore":"pass"}`:                                                    `-`,
		`x`:                                                                        `-`,
	} {
		header, ok := registryConfig([]byte(auth))
		got, err := base64.URLEncoding.DecodeString(header)
		if ok != (want != "-") || err != nil || ok && string(got) != want {
			t.Errorf("%s: got %s, %t, %v; want %s", auth, got, ok, err, want)
		}
	}
}

// counted is a pull of layers of 100, 200 and 300 bytes, the last of which is there.
func counted() *puller {
	p := &puller{
		wanted: map[string]int64{blobOf("1"): 100, blobOf("2"): 200}, cached: map[string]int64{blobOf("3"): 300},
		parts: map[string]*blob{}, total: 300,
	}
	p.again()
	return p
}

func TestPullCountsWhatPodmanPutsIntoItsDirectory(t *testing.T) {
	dir := t.TempDir()
	p := counted()
	write := func(path string, size int) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, make([]byte, size), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want int64) {
		t.Helper()
		if p.grown(blobSizes(dir)); p.shown != want {
			t.Errorf("shows %d, want %d", p.shown, want)
		}
	}
	is(0)
	// What podman puts there besides is not of the image.
	write("podman-auth-1", 1000)
	is(0)
	write("storage1/1", 60)
	write("storage1/2", 10)
	is(70)
	// A stored layer stays counted when its file goes.
	if err := os.Remove(filepath.Join(dir, "storage1/1")); err != nil {
		t.Fatal(err)
	}
	write("storage1/2", 110)
	is(170)
	// Another try begins anew, and is heard of when it has got further.
	p.again()
	if err := os.RemoveAll(filepath.Join(dir, "storage1")); err != nil {
		t.Fatal(err)
	}
	write("storage2/1", 100)
	is(170)
	write("storage2/2", 100)
	is(200)
	// With the configuration it is more than the layers.
	write("storage2/3", 1000)
	is(300)
}

func TestPullCountsWhatTheServiceTells(t *testing.T) {
	p := counted()
	for _, step := range []struct {
		status, blob          string
		current, total        int64
		shown, want, wantHave int64
	}{
		{"pulling", "1", 0, 100, 0, 300, 300},
		{"pulling", "2", 50, -1, 50, 300, 300},
		{"pulling", "1", 60, 100, 110, 300, 300},
		{"success", "1", 99, 100, 150, 300, 300},
		// Less after a failure is not shown.
		{"pulling", "2", 20, -1, 150, 300, 300},
		{"pulling", "2", 70, -1, 170, 300, 300},
		{"skipped", "1", 0, 0, 170, 300, 300},
		// More than there is neither.
		{"pulling", "2", 700, -1, 300, 300, 300},
		{"success", "2", 700, -1, 300, 300, 300},
		{"skipped", "3", 0, 0, 300, 300, 300},
		// The configuration.
		{"pulling", "c", 5, 10, 305, 310, 300},
		{"success", "c", 10, 10, 310, 310, 300},
	} {
		p.told(&blobProgress{Status: step.status, Current: step.current, Total: step.total, Digest: blobOf(step.blob)})
		if have := sum(p.cached); p.shown != step.shown || p.total != step.want || have != step.wantHave {
			t.Errorf("%v: shows %d of %d, %d cached", step, p.shown, p.total, have)
		}
	}
	// Growth is no news then.
	p.grown(map[string]int64{"x": 1000})
	if p.shown != 310 {
		t.Errorf("shows %d", p.shown)
	}

	// A layer that is there after all, and one that is not.
	p = counted()
	p.told(&blobProgress{Status: "skipped", Digest: blobOf("2")})
	p.told(&blobProgress{Status: "pulling", Current: 10, Total: 300, Digest: blobOf("3")})
	if p.shown != 10 || p.total != 400 || !maps.Equal(p.cached, map[string]int64{blobOf("2"): 200}) {
		t.Errorf("shows %d of %d, cached %v", p.shown, p.total, p.cached)
	}

	// Nothing known of the image.
	p = &puller{parts: map[string]*blob{}}
	p.again()
	p.told(&blobProgress{Status: "pulling", Current: 10, Total: 300, Digest: blobOf("3")})
	p.told(&blobProgress{Status: "skipped", Digest: blobOf("4")})
	if p.shown != 10 || p.total != 0 {
		t.Errorf("shows %d of %d", p.shown, p.total)
	}
}

// TestPulledImageThatIsPrunedIsPulledAgain removes the image before it is tagged.
func TestPulledImageThatIsPrunedIsPulledAgain(t *testing.T) {
	needNamespace(t)
	for times, pulls := range map[int]int{0: 1, 1: 2, 2: 3, 10: 3} {
		h, _ := booted(t, registryOrigin, nil, nil)
		exact := stored{names: []string{exactOf(bootedDigest)}, digest: bootedDigest}
		podman := &fakePodman{scratchHost: h, arrives: exact}
		left := times
		podman.kill = func(verb string) error {
			if verb != "tag" || left == 0 {
				return nil
			}
			left--
			podman.images = nil
			podman.save()
			return &wrapper.ExitError{Code: 125}
		}
		_, err := SetUnified(t.Context(), podman.options(), plan.Choice{From: plan.FromRegistry})
		if (err == nil) != (times < pulls) {
			t.Errorf("removed %d times: %v", times, err)
		}
		pulled := 0
		for _, ran := range podman.ran {
			if strings.HasPrefix(ran, "pull ") {
				pulled++
			}
		}
		if pulled != pulls {
			t.Errorf("removed %d times: pulled %d times, want %d", times, pulled, pulls)
		}
	}
}
