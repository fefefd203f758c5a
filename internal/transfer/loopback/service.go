// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

const (
	// startTime is how long podman may take to listen.
	startTime = time.Minute
	// startPoll is the time between two looks whether it does.
	startPoll = 20 * time.Millisecond
	// maxReport bounds a line of an answer, maxError the answer to a request that is
	// refused, in bytes.
	maxReport = 1 << 20
	maxError  = 4096
)

// Pull does a job that asks podman's service to pull. answer gets the lines that the service
// answers. The error is clonejob.ErrNoService when podman refused to begin.
func Pull(ctx context.Context, job clonejob.Pull, answer func(clonejob.Answer) error) error {
	query := url.Values{"reference": {job.Reference}, "pullProgress": {"true"}, "policy": {"always"}, "retry": {"0"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://d/v5.0.0/libpod/images/pull?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Registry-Config", job.Credentials)
	client := &http.Client{Transport: &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, job.Socket) },
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeader,
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", clonejob.ErrNoService, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
		// podman 6 answers so if the pull fails before the first line.
		var failed struct{ Message string }
		if resp.StatusCode == http.StatusInternalServerError && json.Unmarshal(why, &failed) == nil && failed.Message != "" {
			return answer(clonejob.Answer{Pulling: &clonejob.PullReport{Error: failed.Message}})
		}
		return fmt.Errorf("%w: status %d: %q", clonejob.ErrNoService, resp.StatusCode, why)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxReport)
	for lines.Scan() {
		var report clonejob.PullReport
		err := json.Unmarshal(lines.Bytes(), &report)
		if err != nil {
			// The beginning of a line where the rest could not be read.
			return fmt.Errorf("read what podman's service says: %w", cmp.Or(lines.Err(), err))
		}
		if err := answer(clonejob.Answer{Pulling: &report}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read what podman's service says: %w", err)
	}
	return nil
}

// dial connects to a socket as soon as a process listens there, unless its directory is
// removed.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, startTime)
	defer stop()
	ticker := time.NewTicker(startPoll)
	defer ticker.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		// It is made first, and listened on then.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		if _, err := os.Stat(filepath.Dir(socket)); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}
