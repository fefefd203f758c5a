// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// maxDelay bounds the time between two tries.
const maxDelay = time.Minute

// failure is how a try to pull ended: why podman says it failed, and how often it
// tried again by itself.
type failure struct {
	reason  string
	retries int
	err     error
}

// retry calls try until it succeeds, fails for a reason that will not go away, or
// has failed once more than h.Retry. It waits 1 s after the first failure, and
// twice as long after each one that follows. try returns nil when it succeeds.
func (h *Host) retry(ctx context.Context, reference string, try func() *failure) error {
	delay := time.Second
	for tries := 0; ; delay = min(2*delay, maxDelay) {
		failed := try()
		if failed == nil {
			return nil
		}
		tries += 1 + failed.retries
		if tries > h.Retry || ctx.Err() != nil || !transient(failed.reason, reference) {
			return failed.err
		}
		h.Retrying(Retry{Reference: reference, Reason: failed.reason, Delay: delay, Number: tries, Of: h.Retry})
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), failed.err)
		case <-timer.C:
		}
	}
}

// Retry says that a pull will be tried again.
type Retry struct {
	// Reference is what is pulled, Reason why that failed.
	Reference, Reason string
	// Delay is how long is waited before.
	Delay time.Duration
	// Number is which retry it will be, out of how many.
	Number, Of int
}

// permanent and passing are what podman says when a pull fails for a reason that
// stays, or for one of the network or the registry that may not: the words of
// go.podman.io/image/docker, of Go's net, net/http and http2, and of the kernel.
// They are lists of lower-case text, seen with podman 4.3.1, 5.4.2 and 5.8.6.
var (
	permanent = []string{
		"manifest unknown", "name unknown", "blob unknown", "not found", "denied", "unauthorized",
		"authentication required", "forbidden", "invalid username", "no space left", "disk quota", "read-only file system",
		"did not match", "does not match", "mismatch", "corrupt", "rejected", "x509:", "certificate",
		"http response to https client", "no such host", "unsupported",
	}
	passing = []string{
		"connection refused", "connection reset", "connection timed out", "connection aborted", "broken pipe",
		"no route to host", "host is down", "network is unreachable", "network is down",
		"i/o timeout", "handshake timeout", "context deadline exceeded", "timeout exceeded", "timeout awaiting",
		"unexpected eof", "connection lost", "server closed idle connection", "stream error", "goaway",
		"temporary failure in name resolution", "server misbehaving", "try again later", "toomanyrequests", "too many requests",
	}
	// A status comes as "received unexpected HTTP status: 503 …", "invalid status
	// code from registry 503 (…)" or "StatusCode: 503, …".
	statusWords  = []string{"status:", "registry", "statuscode:"}
	passingCodes = []string{"408", "425", "429", "500", "502", "503", "504"}
)

// transient reports whether it may help to try again after podman failed with reason
// to pull a reference. What is not known is not tried again.
func transient(reason, reference string) bool {
	registry, _, _ := strings.Cut(reference, "/")
	// Names and URLs are somebody else's words.
	words := slices.DeleteFunc(strings.Fields(reason), func(word string) bool {
		return strings.Contains(word, "://") || strings.Contains(word, registry)
	})
	text := strings.ToLower(strings.Join(words, " "))
	says := func(phrase string) bool { return strings.Contains(text, phrase) }
	if slices.ContainsFunc(permanent, says) {
		return false
	}
	// "Get URL: EOF"
	if slices.ContainsFunc(passing, says) || strings.HasSuffix(" "+text, " eof") {
		return true
	}
	words = strings.Fields(text)
	for i := range len(words) - 1 {
		if slices.Contains(statusWords, words[i]) && slices.Contains(passingCodes, strings.TrimRight(words[i+1], ",:")) {
			return true
		}
	}
	return false
}

// talk copies what podman prints, unless to is nil, and keeps the lines that matter.
type talk struct {
	to io.Writer
	// retries counts how often podman said that it tries again.
	retries int
	// line is the end of the line that is being written, last the last line of all,
	// or the last that is an error.
	line, last []byte
	isError    bool
}

// maxTalk is as much of a line as is kept: its beginning.
const maxTalk = 4096

func (t *talk) Write(text []byte) (int, error) {
	if t.to != nil {
		if n, err := t.to.Write(text); err != nil {
			return n, err
		}
	}
	for rest := text; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		t.line = append(t.line, line[:min(len(line), maxTalk-len(t.line))]...)
		if whole {
			t.end()
		}
		rest = after
	}
	return len(text), nil
}

// end ends a line.
func (t *talk) end() {
	// go.podman.io/common/pkg/retry
	if bytes.Contains(t.line, []byte("Failed, retrying in ")) {
		t.retries++
	}
	isError := bytes.HasPrefix(t.line, []byte("Error: "))
	if isError || !t.isError && len(t.line) > 0 {
		t.last, t.isError = append(t.last[:0], t.line...), isError
	}
	t.line = t.line[:0]
}

// reason is why podman failed, as it said.
func (t *talk) reason() string {
	t.end()
	return strings.TrimPrefix(string(t.last), "Error: ")
}

// failed is the failure of a podman that ended with err, nil for none.
func (t *talk) failed(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{err: err, retries: t.retries}
	// A process killed by a signal gives no reason, and the registry is not the cause.
	if exit := new(wrapper.ExitError); errors.As(err, &exit) && exit.Signal == 0 {
		f.reason = t.reason()
		// Where podman's messages were not printed, the error has them.
		if exit.Stderr == "" {
			exit.Stderr = f.reason
		}
	}
	return f
}
