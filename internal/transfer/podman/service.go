// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// errNoService reports that podman's service could not be used.
var errNoService = errors.New("podman's service does not answer")

// ServiceDir is what the name of the directory with the socket of a service begins with; the
// worker follows.
const ServiceDir = "service"

const (
	// startTime is how long podman may take to listen.
	startTime = time.Minute
	// startPoll is the time between two looks whether it does.
	startPoll = 20 * time.Millisecond
)

// withService starts podman's service on the bootc-owned store, calls do with a
// connection to it, and ends it. The socket is in a directory that no one else can
// enter. stderr gets what the service has to say. The error is errNoService when it
// does not come to do, else that of do.
func (h *Host) withService(ctx context.Context, podman podmanFunc, stderr io.Writer, do func(net.Conn) error) error {
	dir := filepath.Join(h.Dir, ServiceDir+h.Worker)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for a socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // else the next transfer does
	socket := filepath.Join(dir, "api.sock")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- podman(ctx, stderr, "system", "service", "--time=0", "unix://"+socket)
		close(ended)
	}()
	// Whatever it used is there until it has ended.
	defer func() {
		stop()
		for range ended {
		}
	}()
	conn, err := connect(ctx, socket, ended)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoService, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return do(conn)
}

// connect connects to a socket as soon as a process listens there, unless the
// service has ended.
func connect(ctx context.Context, socket string, ended <-chan error) (net.Conn, error) {
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
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-ended:
			if err == nil {
				err = cmp.Or(ctx.Err(), errors.New("it ended")) // after SIGTERM
			}
			return nil, err
		case <-ticker.C:
		}
	}
}

// serviceEnv is an environment without what would make podman believe that its
// service is one of systemd's.
func serviceEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"}, name)
	})
}

// pullReport is a line of the answer to /libpod/images/pull, ImagePullReport in
// podman's pkg/domain/entities/types. Progress is there since podman 5.9.
type pullReport struct {
	Stream   string        `json:"stream"`
	Error    string        `json:"error"`
	ID       string        `json:"id"`
	Progress *blobProgress `json:"pullProgress"`
}

// blobProgress is how far a blob is: Status is "pulling", "success" or "skipped".
// Total is not known when it is not positive.
type blobProgress struct {
	Status  string `json:"status"`
	Current int64  `json:"current"`
	Total   int64  `json:"total"`
	Digest  string `json:"progressComponentID"`
}

// registryConfig returns credentials as podman's service takes them, in the header
// X-Registry-Config: it does not look at $REGISTRY_AUTH_FILE, and without a header at
// those of plain podman. auth is an auth.json (containers-auth.json(5)); ok is false
// for one with more than user names and passwords.
func registryConfig(auth []byte) (header string, ok bool) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
		Helpers map[string]string `json:"credHelpers"`
		Store   string            `json:"credsStore"`
	}
	if json.Unmarshal(auth, &file) != nil || len(file.Helpers) > 0 || file.Store != "" {
		return "", false
	}
	type login struct {
		User     string `json:"username"`
		Password string `json:"password"`
	}
	logins := map[string]login{}
	for registry, entry := range file.Auths {
		decoded, err := base64.StdEncoding.DecodeString(entry.Auth)
		user, password, found := strings.Cut(string(decoded), ":")
		if err != nil || !found && entry.Auth != "" || entry.IdentityToken != "" {
			return "", false
		}
		if found {
			logins[registry] = login{user, strings.Trim(password, "\x00")}
		}
	}
	text, err := json.Marshal(logins)
	return base64.URLEncoding.EncodeToString(text), err == nil
}

// maxReport bounds a line of an answer, in bytes.
const maxReport = 1 << 20

// servicePull asks podman's service to pull an image with credentials, those of
// registryConfig, and without trying again. It calls the function for every line of the
// answer. The error is errNoService when podman refused to begin.
func servicePull(conn net.Conn, reference, credentials string, told func(pullReport) error) error {
	_, err := fmt.Fprintf(conn, "POST /v5.0.0/libpod/images/pull?reference=%s&pullProgress=true&policy=always&retry=0 HTTP/1.1\r\n"+
		"Host: d\r\nX-Registry-Config: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", escape(reference), credentials)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoService, err)
	}
	status, body, err := readResponse(bufio.NewReaderSize(conn, maxLine))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoService, err)
	}
	if status != 200 {
		why, _ := io.ReadAll(io.LimitReader(body, maxTalk))
		// podman 6 answers so if the pull fails before the first line.
		var failed struct{ Message string }
		if status == 500 && json.Unmarshal(why, &failed) == nil && failed.Message != "" {
			return told(pullReport{Error: failed.Message})
		}
		return fmt.Errorf("%w: status %d: %q", errNoService, status, why)
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxReport)
	for lines.Scan() {
		var report pullReport
		if err := json.Unmarshal(lines.Bytes(), &report); err != nil {
			// The beginning of a line where the rest could not be read.
			err = cmp.Or(lines.Err(), err)
			return fmt.Errorf("read what podman's service says: %w", err)
		}
		if err := told(report); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read what podman's service says: %w", err)
	}
	return nil
}

// escape escapes all that is not a letter or a digit of ASCII.
func escape(s string) string {
	var escaped strings.Builder
	for _, c := range []byte(s) {
		if '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			escaped.WriteByte(c)
		} else {
			escaped.WriteString("%" + hex.EncodeToString([]byte{c}))
		}
	}
	return escaped.String()
}

// readResponse reads the head of an HTTP response (RFC 9112). This is what is needed
// of it, without the start-up time that net/http costs.
func readResponse(in *bufio.Reader) (status int, body io.Reader, err error) {
	line, err := readLine(in)
	if err != nil {
		return 0, nil, err
	}
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		return 0, nil, fmt.Errorf("malformed response %.80q", line)
	}
	body = in
	for range maxLines {
		line, err := readLine(in)
		if err != nil || line == "" {
			return status, body, err
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.EqualFold(name, "Transfer-Encoding"):
			if !strings.EqualFold(value, "chunked") {
				return 0, nil, fmt.Errorf("transfer encoding %.80q is not known", value)
			}
			body = &chunks{in: in}
		case strings.EqualFold(name, "Content-Length"):
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				return 0, nil, fmt.Errorf("malformed length %.80q", value)
			}
			body = io.LimitReader(in, int64(n))
		}
	}
	return 0, nil, errors.New("too many headers")
}

// chunks reads a chunked body (RFC 9112, section 7.1) without its trailer.
type chunks struct {
	in *bufio.Reader
	// left is what is left of the chunk.
	left int64
	// begun reports that the end of a line is due before the next chunk.
	begun bool
	err   error
}

func (c *chunks) Read(buf []byte) (int, error) {
	if c.left == 0 && c.err == nil {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.in.Read(buf[:min(int64(len(buf)), c.left)])
	c.left -= int64(n)
	if errors.Is(err, io.EOF) {
		c.err = io.ErrUnexpectedEOF
		err = c.err
	}
	return n, err
}

// next reads the head of the next chunk.
func (c *chunks) next() error {
	line, err := "", error(nil)
	if c.begun {
		line, err = readLine(c.in)
	}
	if err == nil && line == "" {
		line, err = readLine(c.in)
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	c.begun = true
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 64)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("malformed chunk %.80q", line)
	}
	c.left = int64(n)
	if n == 0 {
		return io.EOF
	}
	return nil
}

// podmanFunc runs podman on the bootc-owned store.
type podmanFunc func(ctx context.Context, stderr io.Writer, args ...string) error

// maxLine and maxLines bound the head of an answer: bytes of a line, lines with headers.
const (
	maxLine  = 16 << 10
	maxLines = 100
)

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	return strings.TrimRight(string(line), "\r\n"), err
}
