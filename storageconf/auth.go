// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// maxAuthFile is the largest file of credentials that is read; the format,
// containers-auth.json(5), has a few hundred bytes a registry.
const maxAuthFile = 4 << 20

// ErrCredentials reports that a file of credentials cannot be read.
var ErrCredentials = errors.New("read credentials")

// Auth is the content of a registry credentials file. The zero value stands for
// no credentials.
type Auth struct {
	// Path is the file the content came from, "" for none.
	Path    string
	content []byte
}

// Format implements fmt.Formatter: every verb prints the path only, never the secret.
func (a Auth) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "credentials %q", a.Path) }

// FindAuth looks for the credentials bootc uses: run/ostree/auth.json, then
// etc/ostree/auth.json, then usr/lib/ostree/auth.json below root, the first that
// exists, links resolved inside root. The order is that of bootc's code
// (crates/ostree-ext/src/globals.rs), not of its man page. No file is no error.
func FindAuth(root string) (Auth, error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return Auth{}, fmt.Errorf("find credentials: %w", err)
	}
	defer dir.Close()
	for _, below := range []string{"run", "etc", "usr/lib"} {
		f, err := rooted.Open(dir, filepath.Join(below, "ostree/auth.json"), unix.O_RDONLY|unix.O_NONBLOCK)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return Auth{}, fmt.Errorf("%w: %w", ErrCredentials, err)
		}
		return readAuth(f)
	}
	return Auth{}, nil
}

// ReadAuth reads the credentials file the user named.
func ReadAuth(path string) (Auth, error) {
	f, err := os.Open(path)
	if err != nil {
		return Auth{}, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return readAuth(f)
}

func readAuth(f *os.File) (Auth, error) {
	defer f.Close()
	content, err := rooted.ReadLimited(f, maxAuthFile)
	if err != nil {
		return Auth{}, fmt.Errorf("%w %q: %w", ErrCredentials, f.Name(), err)
	}
	return Auth{Path: f.Name(), content: content}, nil
}

// Bytes returns the content of the file that podman gets. It is never empty: without
// credentials, or for an empty file, it is "{}", so that podman does not read files
// of its own.
func (a Auth) Bytes() []byte {
	if len(a.content) == 0 {
		return []byte("{}")
	}
	return a.content
}
