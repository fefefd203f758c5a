// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
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
	cmd, change, err := h.onApps(slices.Concat(options, []string{"run", "--pull=never"}, args))
	if err != nil {
		return err
	}
	if h.DryRun != nil {
		return Explain(h.DryRun, cmd, change.words()...)
	}
	return h.Execer.Exec(cmd)
}

// CompleteRun is Complete for the words after "run".
func (h Host) CompleteRun(ctx context.Context, args []string) ([]byte, error) {
	h.DryRun = nil // it belongs to the command that is typed
	cmd, _, err := h.onApps(append([]string{podmanComplete, "run"}, args...))
	if err != nil {
		return nil, err
	}
	return h.Runner.Output(ctx, cmd)
}

// onApps returns podman with args on its own store with the bootc-owned one beside it, and
// the change of its environment. It writes podman's configuration unless in a dry run.
func (h Host) onApps(args []string) (cmd Cmd, change EnvChange, err error) {
	// It determines the rules of podman, where they matter.
	st, _, err := h.locate()
	if err != nil {
		return cmd, change, err
	}
	conf, err := h.writeApps(st)
	if err != nil {
		return cmd, change, err
	}
	change = appsEnv(h.Env, conf, st.Path())
	cmd, err = h.podman(change, args...)
	return cmd, change, err
}

// writeApps writes the storage.conf of podman's own store with the bootc-owned one beside it,
// unless in a dry run, and returns its path.
func (h Host) writeApps(st storageconf.Store) (conf string, err error) {
	content, err := storageconf.ForApps(h.Root, st)
	if err != nil {
		return "", err
	}
	conf = filepath.Join(filepath.Dir(h.ConfPath), filepath.Base(storageconf.AppsPath))
	if h.DryRun == nil {
		if _, err := stateDir(h.ConfPath); err != nil {
			return "", err
		}
		if err := storageconf.WriteConf(conf, content); err != nil {
			return "", err
		}
	}
	return conf, nil
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
