// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// socketDir is a directory for a socket, the path of which has at most 107 bytes.
func socketDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "service") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestServiceIsWaitedForAsLongAsItsDirectoryIsThere(t *testing.T) {
	dir := socketDir(t)
	job := clonejob.Pull{Socket: filepath.Join(dir, "api.sock"), Reference: "quay.io/a:1"}
	time.AfterFunc(3*startPoll, func() { os.RemoveAll(dir) })
	if err := Pull(t.Context(), job, nil); !errors.Is(err, clonejob.ErrNoService) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	job.Socket = filepath.Join(socketDir(t), "api.sock")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(3*startPoll, cancel)
	if err := Pull(ctx, job, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnswersOfTheServiceAreBounded(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tt := range map[string]struct {
		answer string
		is     error
		want   string
	}{
		"long header": {ok + "Long: " + strings.Repeat("b", 1<<20) + "\r\n\r\n", clonejob.ErrNoService, ""},
		"no HTTP":     {"SSH-2.0\r\n\r\n", clonejob.ErrNoService, ""},
		"nothing":     {"", clonejob.ErrNoService, ""},
		"refused":     {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", clonejob.ErrNoService, `status 404: "no"`},
		"long line":   {ok + "\r\n" + strings.Repeat("x", maxReport+1), nil, "token too long"},
		"cut":         {ok + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"id\"", nil, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(socketDir(t), "api.sock")
			listener, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err == nil {
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = conn.Write([]byte(tt.answer))
					conn.Close()
				}
			}()
			err = Pull(t.Context(), clonejob.Pull{Socket: socket, Reference: "quay.io/a:1"}, func(a clonejob.Answer) error {
				t.Errorf("answered %+v", a.Pulling)
				return nil
			})
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %v and %s", err, tt.is, tt.want)
			}
		})
	}
}
