// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// ServiceDir is what the name of the directory with the socket of a service begins with; the
// worker follows.
const ServiceDir = "service"

// askService starts podman's service on the bootc-owned store, has the private program ask
// it to pull, and ends it. The socket is in a directory that no one else can enter. stderr
// gets what the service has to say, each the answers of the program. Errors are those of
// clonejob.Run.
func (p *puller) askService(ctx context.Context, stderr io.Writer, each func(clonejob.Answer)) error {
	program, err := clonejob.FindProgram(p.Self)
	if err != nil {
		return fmt.Errorf("%w: %w", clonejob.ErrNoService, err)
	}
	dir := filepath.Join(p.Dir, ServiceDir+p.Worker)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for a socket: %w", err)
	}
	socket := filepath.Join(dir, "api.sock")
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := p.run(ctx, stderr, "system", "service", "--time=0", "unix://"+socket)
		_ = os.RemoveAll(dir) // else the next transfer does
		ended <- err
	}()
	_, err = clonejob.Run(ctx, p.Runner.Run, program, clonejob.Job{
		Pull:   &clonejob.Pull{Socket: socket, Reference: p.reference, Credentials: p.credentials},
		Verify: clonejob.VerifyNone,
	}, p.Stderr, each)
	// Whatever it used is there until it has ended.
	stop()
	if served := <-ended; errors.Is(err, clonejob.ErrNoService) {
		return fmt.Errorf("%w: %w", err, cmp.Or(served, errors.New("it ended")))
	}
	return err
}

// serviceEnv is an environment without what would make podman believe that its
// service is one of systemd's.
func serviceEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"}, name)
	})
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
