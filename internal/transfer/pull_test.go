// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

type retry = podman.Retry

const serviceDir = podman.ServiceDir

// What podman prints when a pull fails.
const (
	network = `pinging container registry quay.io: Get "https://quay.io/v2/": dial tcp: connect: connection refused`
	unknown = "reading manifest 42 in quay.io/example/os: manifest unknown"
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
	// ended is how it ended.
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
		// plain reports that podman is run without its service in the end.
		plain bool
		// heard is part of what is printed of it, err of the error.
		heard, err string
		retries    int
	}{
		{name: "pulled", answers: []string{chunked(`{"stream":"Writing manifest\n"}`+"\n"+part+`{"stream":"Copying blob 1\n"}`+"\n"+line("success", a, 100, 100)+stored1, 50)}, heard: "Writing manifest"},
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
			podman.installPrivate()
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
			o.Retry, o.Events = 1, &heard{retrying: func(retry) { retries++ }}
			_, err = SetUnified(t.Context(), o, plan.Choice{From: plan.FromRegistry})
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if ran := slices.Contains(podman.ran, "pull --retry=0 -- "+exactOf(bootedDigest)); ran != tt.plain || retries != tt.retries {
				t.Errorf("ran %q after %d retries", podman.ran, retries)
			}
			if !strings.Contains(told.String(), tt.heard) || strings.Contains(told.String(), "Copying blob") {
				t.Errorf("printed\n%s", &told)
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
