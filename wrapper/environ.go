// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Variables that we set for every program on the store.
const (
	envStorageConf = storageconf.EnvStorageConf
	envAuthFile    = "REGISTRY_AUTH_FILE"
)

// Dropped are the variables of the caller that select another store, host or
// process. bootc-podman(8) documents each.
func Dropped() []string {
	return append(remote(),
		// Another storage configuration; the first is replaced by ours.
		envStorageConf, "CONTAINERS_STORAGE_CONF_OVERRIDE", "STORAGE_DRIVER", storageconf.EnvStorageOpts,
		// Another user's store: those of a rootless podman or buildah unshare
		// make podman behave as if it were not root.
		"_CONTAINERS_USERNS_CONFIGURED", "_CONTAINERS_ROOTLESS_UID", "_CONTAINERS_ROOTLESS_GID",
		// Replaced by the credentials bootc uses.
		envAuthFile,
		// Socket activation: descriptor 3 is the run root now.
		"LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDNAMES",
	)
}

// remote are the variables that make podman use another host's store.
func remote() []string {
	return []string{
		"CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY", "CONTAINER_PASSPHRASE",
		"CONTAINER_TLS_CA", "CONTAINER_TLS_CERT", "CONTAINER_TLS_KEY",
	}
}

// Getenv returns the value of a variable in env, "" when it is not set. As for
// getenv(3), the first of several wins.
func Getenv(env []string, name string) string {
	value, _ := LookupEnv(env, name)
	return value
}

// LookupEnv is Getenv that distinguishes an empty variable from one that is not set.
func LookupEnv(env []string, name string) (value string, set bool) {
	prefix := name + "="
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, prefix); ok {
			return value, true
		}
	}
	return "", false
}

// EnvChange is what we change in the caller's environment.
type EnvChange struct {
	// Unset names the variables of the caller that are dropped.
	Unset []string
	// Set lists the variables that are set, NAME=VALUE.
	Set []string
}

// changeEnv compares the caller's environment with the one podman gets. conf is
// the storage.conf, "" for the host's own, and auth the path of the credentials
// as podman will see it.
func changeEnv(env []string, conf, auth string) EnvChange {
	var c EnvChange
	if conf != "" {
		c.Set = append(c.Set, envStorageConf+"="+conf)
	}
	c.Set = append(c.Set, envAuthFile+"="+auth)
	c.addHome(env)
	for _, name := range dropped(env).Unset {
		if _, set := LookupEnv(c.Set, name); !set {
			c.Unset = append(c.Unset, name)
		}
	}
	return c
}

// addHome sets HOME if env has none, as systemd units: podman refuses to start without it.
func (c *EnvChange) addHome(env []string) {
	if Getenv(env, "HOME") == "" {
		c.Set = append(c.Set, "HOME=/root")
	}
}

// dropped returns the change for a podman that opens no store.
func dropped(env []string) (c EnvChange) {
	for _, name := range Dropped() {
		if _, set := LookupEnv(env, name); set {
			c.Unset = append(c.Unset, name)
		}
	}
	return c
}

// apply returns env with the change made, each variable edited by name.
func (c EnvChange) apply(env []string) []string {
	gone := slices.Clone(c.Unset)
	for _, kv := range c.Set {
		name, _, _ := strings.Cut(kv, "=")
		gone = append(gone, name)
	}
	for _, name := range c.Unset {
		if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
			logrus.Debugf("Dropping $%s: it could name another store", name)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(gone, name)
	})
	return append(kept, c.Set...)
}
