// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

const reference = "quay.io/example/os:42"

const (
	network = `pinging container registry quay.io: Get "https://quay.io/v2/": dial tcp: connect: connection refused`
	unknown = "reading manifest 42 in quay.io/example/os: manifest unknown"
)

func TestRetryWaitsTwiceAsLongEachTime(t *testing.T) {
	lasting := errors.New("podman failed")
	for _, tt := range []struct {
		name string
		// reasons are those of the tries, "" for success; podman's own retries follow
		// a colon.
		reasons []failure
		retry   int
		want    string
		took    time.Duration
		err     error
	}{
		{name: "success", reasons: []failure{{}}, retry: 3},
		{name: "one failure", reasons: []failure{{reason: network}, {}}, retry: 3, want: "1s 1/3", took: time.Second},
		{name: "all fail", reasons: []failure{{reason: network}}, retry: 3, want: "1s 1/3, 2s 2/3, 4s 3/3", took: 7 * time.Second, err: lasting},
		{name: "no retries", reasons: []failure{{reason: network}}, err: lasting},
		{name: "for good", reasons: []failure{{reason: network}, {reason: unknown}}, retry: 3, want: "1s 1/3", took: time.Second, err: lasting},
		{name: "not known why", reasons: []failure{{}, {}}, retry: 3},
		{name: "podman has tried by itself", reasons: []failure{{reason: network, retries: 3}}, retry: 3, err: lasting},
		{name: "and will again", reasons: []failure{{reason: network, retries: 3}}, retry: 5, want: "1s 4/5", took: time.Second, err: lasting},
		{
			name: "no longer than a minute", reasons: []failure{{reason: network}}, retry: 8, took: 183 * time.Second, err: lasting,
			want: "1s 1/8, 2s 2/8, 4s 3/8, 8s 4/8, 16s 5/8, 32s 6/8, 1m0s 7/8, 1m0s 8/8",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []string
				h := &Host{Retry: tt.retry, Retrying: func(r Retry) {
					if r.Reason != network || r.Reference != reference {
						t.Errorf("reported %+v", r)
					}
					told = append(told, fmt.Sprintf("%s %d/%d", r.Delay, r.Number, r.Of))
				}}
				tries, start := 0, time.Now()
				err := h.retry(t.Context(), reference, func() *failure {
					f := tt.reasons[min(tries, len(tt.reasons)-1)]
					tries++
					if f.reason == "" {
						return nil
					}
					f.err = lasting
					return &f
				})
				if got := strings.Join(told, ", "); !errors.Is(err, tt.err) || got != tt.want || time.Since(start) != tt.took {
					t.Errorf("got %v after %s, reported %q; want %v after %s, %q", err, time.Since(start), got, tt.err, tt.took, tt.want)
				}
			})
		})
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		tries, start := 0, time.Now()
		err := (&Host{Retry: 3, Retrying: func(Retry) {}}).retry(ctx, reference, func() *failure {
			tries++
			return &failure{reason: network, err: ErrPull}
		})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrPull) || tries != 2 || time.Since(start) != 2500*time.Millisecond {
			t.Errorf("got %v after %d tries and %s", err, tries, time.Since(start))
		}
	})
}

// What podman 4.3.1, 5.4.2 and 5.8.6 say.
func TestTransientKnowsWhatMayPass(t *testing.T) {
	const from = "unable to copy from source docker://quay.io/example/os:42: initializing source docker://quay.io/example/os:42: "
	for reason, want := range map[string]bool{
		from + network: true,
		from + `pinging container registry quay.io: received unexpected HTTP status: 503 Service Unavailable`:                       true,
		`initializing source docker://quay.io/example/os:42: invalid status code from registry 502 (Bad Gateway)`:                   true,
		from + `pinging container registry quay.io: StatusCode: 429, ""`:                                                            true,
		from + `pinging container registry quay.io: Get "https://quay.io/v2/": EOF`:                                                 true,
		from + `pinging container registry quay.io: Get "https://quay.io/v2/": net/http: TLS handshake timeout`:                     true,
		from + `pinging container registry quay.io: Get "https://quay.io/v2/": dial tcp 192.0.2.1:443: i/o timeout`:                 true,
		from + `Get "https://quay.io/v2/": dial tcp: lookup quay.io: Temporary failure in name resolution`:                          true,
		`reading blob sha256:` + strings.Repeat("5", 64) + `: Get "https://cdn.quay.io/x": read: connection reset by peer`:          true,
		`writing blob: storing blob to file "/var/tmp/container_images_storage1/1": happened during read: unexpected EOF`:           true,
		`writing blob: storing blob to file "/var/tmp/storage1/1": happened during read: stream error: stream ID 5; INTERNAL_ERROR`: true,
		from + unknown: false,
		from + `reading manifest 42 in quay.io/example/os: authentication required`:                                                    false,
		from + `reading manifest 42 in quay.io/example/os: unauthorized: access to the requested resource is not authorized`:           false,
		from + `pinging container registry quay.io: StatusCode: 403, ""`:                                                               false,
		from + `pinging container registry quay.io: StatusCode: 404, "503"`:                                                            false,
		from + `pinging container registry quay.io: Get "https://quay.io/v2/": http: server gave HTTP response to HTTPS client`:        false,
		from + `Get "https://quay.io/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`:           false,
		from + `Get "https://quay.io/v2/": dial tcp: lookup quay.io: no such host`:                                                     false,
		`reading blob sha256:` + strings.Repeat("5", 64) + `: fetching blob: blob unknown to registry`:                                 false,
		`reading blob sha256:50: Error fetching blob: invalid status code from registry 404 (Not Found)`:                               false,
		`writing blob: storing blob to file "/var/tmp/1": write /var/tmp/1: no space left on device`:                                   false,
		`writing blob: storing blob to file "/var/tmp/1": happened during read: Digest did not match, expected sha256:1, got sha256:2`: false,
		`writing blob: storing blob to file "/var/tmp/1": flate: corrupt input before offset 1048645`:                                  false,
		`Source image rejected: A signature was required, but no signature exists`:                                                     false,
		"something else": false,
		"":               false,
	} {
		if got := transient(reason, reference); got != want {
			t.Errorf("%s: got %t", reason, got)
		}
	}
	// Names are not what podman says.
	for _, name := range []string{"denied.example.com/unauthorized/os:42", "quay.io/x509:/corrupt:eof"} {
		if reason := `initializing source docker://` + name + `: reading manifest in ` + name + `: connection refused`; !transient(reason, name) {
			t.Errorf("%s: not tried again", reason)
		}
	}
	if name := "timeout.example.com/connection/refused:eof"; transient(`reading manifest 42 in `+name+`: something else`, name) {
		t.Errorf("%s: tried again", name)
	}
}

func TestTalkKeepsWhyPodmanFailed(t *testing.T) {
	const again = `time="2026" level=warning msg="Failed, retrying in 1s ... (1/3). Error: x"` + "\n"
	long := strings.Repeat("x", 3*maxTalk)
	for _, tt := range []struct {
		said    string
		reason  string
		retries int
	}{
		{said: "Trying to pull\nError: one\n", reason: "one"},
		{said: "Error: one\nmore\n\n", reason: "one"},
		{said: "Error: one\nError: two", reason: "two"},
		{said: "warning\nlast\n", reason: "last"},
		{said: again + again + "Error: one\n", reason: "one", retries: 2},
		{said: "Error: " + long + "\n", reason: long[:maxTalk-len("Error: ")]},
		{},
	} {
		for _, size := range []int{1, 7, 1 << 20} {
			var heard bytes.Buffer
			talk := &talk{to: &heard}
			for rest := []byte(tt.said); len(rest) > 0; {
				n, err := talk.Write(rest[:min(size, len(rest))])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if got := talk.reason(); got != tt.reason || talk.retries != tt.retries || heard.String() != tt.said {
				t.Errorf("%.80q: got %.80q and %d retries, handed on %.80q", tt.said, got, talk.retries, heard.String())
			}
		}
	}
}

func TestOnlyPodmanSaysWhyItFailed(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&wrapper.ExitError{Code: 125}, network},
		{fmt.Errorf("run: %w", &wrapper.ExitError{Code: 125}), network},
		{&wrapper.ExitError{Code: 137, Signal: syscall.SIGKILL}, ""},
		{errors.New("no namespace"), ""},
	} {
		talk := &talk{}
		fmt.Fprintln(talk, "Error: "+network)
		if got := talk.failed(tt.err); got.reason != tt.want || !errors.Is(got.err, tt.err) {
			t.Errorf("%v: got %+v", tt.err, got)
		}
		if exit := new(wrapper.ExitError); errors.As(tt.err, &exit) && exit.Stderr != tt.want {
			t.Errorf("the error says %q, want %q", exit, tt.want)
		}
	}
	if (&talk{}).failed(nil) != nil {
		t.Error("success is a failure")
	}
}
