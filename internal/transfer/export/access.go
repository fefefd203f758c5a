// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// Repository is what the image is called in the registry.
const Repository = "export"

// Names of the files in the directory of a registry.
const (
	authFile       = "auth.json"
	policyFile     = "policy.json"
	registriesFile = "registries.conf"
)

// WriteAccess writes files for podman to a directory that no other user can read or write:
// that the image of a name is in the registry at HOST:PORT, and the password.
func WriteAccess(dir string, name cstorage.Name, address, password string) error {
	auth, err := encode(map[string]any{"auths": map[string]any{address: map[string]string{"auth": password}}})
	if err != nil {
		return err
	}
	// A name has no characters that are special in TOML.
	registries := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		name.Repository(), address+"/"+Repository)
	// The host's policy is for what comes from outside. This image was checked
	// by it then, and its signatures do not fit what is exported.
	policy := []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	return errors.Join(
		os.WriteFile(filepath.Join(dir, authFile), auth, 0o600),
		os.WriteFile(filepath.Join(dir, policyFile), policy, 0o600),
		os.WriteFile(filepath.Join(dir, registriesFile), []byte(registries), 0o600),
	)
}

// PullCommand returns how podman pulls an image with the files in dir under a full name:
// words to put after "podman" and its global options, and variables to set in its
// environment.
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
