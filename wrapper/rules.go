// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// askTimeout is how long podman may take to answer what rules it goes by.
const askTimeout = 30 * time.Second

// hostConfig returns what the store inherits from the host's configuration by the rules
// of the podman that is used. podman is started only if the rules matter on this host
// and this podman was not asked before. Where it cannot be asked, the rules are those of
// storageconf.HostConfig.
func (h Host) hostConfig() (storageconf.Config, error) {
	if !storageconf.Ambiguous(h.Root) {
		return storageconf.HostConfig(h.Root)
	}
	podman, err := FindPodman(h.Env, h.Self)
	if err != nil { // reported when podman is run
		return storageconf.HostConfig(h.Root)
	}
	path := filepath.Join(filepath.Dir(h.ConfPath), filepath.Base(storageconf.RulesPath))
	rules, known := storageconf.RulesOf(path, podman[0])
	if !known && h.Euid == 0 && h.DryRun == nil {
		if rules, err = h.askRules(podman); err != nil {
			logrus.Debugf("Rules of podman are not known: %v", err)
			return storageconf.HostConfig(h.Root)
		}
		known = true
		if err := storageconf.RememberRules(path, podman[0], rules); err != nil {
			logrus.Debugf("Rules of podman are not remembered: %v", err)
		}
	}
	if !known {
		return storageconf.HostConfig(h.Root)
	}
	return rules.HostConfig(h.Root)
}

// askRules finds out the rules of podman by what it does with configuration files in a
// temporary directory: the version does not tell, since distributions build podman with
// other releases of the storage library.
func (h Host) askRules(podman []string) (rules storageconf.Rules, err error) {
	state, err := stateDir(h.ConfPath)
	if err != nil {
		return rules, err
	}
	dir, err := os.MkdirTemp(state, "ask-")
	if err != nil {
		return rules, fmt.Errorf("ask podman for its rules: %w", err)
	}
	defer os.RemoveAll(dir)
	images := filepath.Join(dir, "images")
	conf := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\nimagestore = %q\n",
		filepath.Join(dir, "graph"), filepath.Join(dir, "run"), images)
	dropIn := filepath.Join(dir, ".config/containers/storage.conf.d/ask.conf")
	for path, content := range map[string]string{
		filepath.Join(dir, ".config/containers/storage.conf"): conf,
		filepath.Join(dir, "xdg/containers/storage.conf"):     conf,
		dropIn: "[storage]\nimagestore = 1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return rules, fmt.Errorf("ask podman for its rules: %w", err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return rules, fmt.Errorf("ask podman for its rules: %w", err)
		}
	}
	// A damaged drop-in stops a podman that reads it, and every such podman obeys
	// imagestore.
	err = h.askPodman(podman, dir, EnvChange{Unset: []string{"XDG_CONFIG_HOME"}, Set: []string{"HOME=" + dir}})
	var exit *ExitError
	if errors.As(err, &exit) && strings.Contains(exit.Stderr, dropIn) {
		return storageconf.Rules{DropIns: true, ImageStore: true}, nil
	}
	// Older ones read the user's main file if this variable is set.
	err = h.askPodman(podman, dir, EnvChange{Set: []string{"XDG_CONFIG_HOME=" + filepath.Join(dir, "xdg")}})
	if err != nil {
		return rules, err
	}
	_, err = os.Lstat(images)
	return storageconf.Rules{ImageStore: err == nil}, nil
}

// askPodman runs podman on an empty store below dir.
func (h Host) askPodman(podman []string, dir string, change EnvChange) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	env := change.apply(dropped(h.Env).apply(h.Env))
	args := append(podman[:len(podman):len(podman)], "--root", filepath.Join(dir, "root"),
		"--runroot", filepath.Join(dir, "runroot"), "--storage-driver", "vfs", "images", "--quiet")
	_, err := h.Runner.Output(ctx, Cmd{Path: podman[0], Args: args, Env: env, Podman: true})
	return err
}
