// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// BecomeRun makes this process "podman run", with global options and args, on podman's own
// store, with the bootc-owned store as a further read-only image store. It returns only on failure, or after
// a dry run. podman pulls no image unless args have --pull: podman's own store would link
// the layers that the image shares with the bootc-owned store, and lose them when bootc
// removes those. Errors are those of Open and storageconf.ForApps.
func (h Host) BecomeRun(options, args []string) error {
	if len(args) > 0 && isHelp(args[0]) {
		return h.becomeHelp(append([]string{"run"}, args...))
	}
	podman, err := FindPodman(h.Env, h.Self)
	if err != nil {
		return err
	}
	cmd := Cmd{Path: podman[0], Args: slices.Concat(podman, options, []string{"run", "--pull=never"}, args), Podman: true}
	conf := filepath.Join(filepath.Dir(h.ConfPath), filepath.Base(storageconf.AppsPath))
	content, store, err := h.appsConf()
	if err != nil {
		return err
	}
	change := appsEnv(h.Env, conf, store)
	cmd.Env = change.apply(h.Env)
	if h.DryRun != nil {
		return Explain(h.DryRun, cmd, change.words()...)
	}
	if _, err := stateDir(h.ConfPath); err != nil {
		return err
	}
	if err := storageconf.WriteConf(conf, content); err != nil {
		return err
	}
	return h.Execer.Exec(cmd)
}

// appsConf returns the storage.conf for podman, and the path of the bootc-owned store.
func (h Host) appsConf() (conf []byte, store string, err error) {
	if err := h.refuseContainer(); err != nil {
		return nil, "", err
	}
	if h.Euid != 0 && h.DryRun == nil {
		return nil, "", fmt.Errorf("open podman's own store: %w", ErrNotRoot)
	}
	st, err := storageconf.Locate(h.Sysroot)
	if err != nil {
		return nil, "", err
	}
	// Determines the rules of podman, where they matter.
	if _, err := h.hostConfig(); err != nil {
		return nil, "", err
	}
	conf, err = storageconf.ForApps(h.Root, st)
	return conf, st.Path(), err
}

// appsEnv returns the change of the environment for podman on its own store, with the file
// conf and, as STORAGE_OPTS replaces all options of a file, with the store in it, too.
func appsEnv(env []string, conf, store string) EnvChange {
	c := EnvChange{Set: []string{envStorageConf + "=" + conf}}
	for _, name := range append(remote(), envStorageConf+"_OVERRIDE") {
		if _, set := LookupEnv(env, name); set {
			c.Unset = append(c.Unset, name)
		}
	}
	if options, set := LookupEnv(env, storageconf.EnvStorageOpts); set {
		c.Set = append(c.Set, storageconf.EnvStorageOpts+"="+options+",additionalimagestore="+store)
	}
	return c
}
