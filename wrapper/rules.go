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

// askTimeout is how long podman may take to show its rules.
const askTimeout = 30 * time.Second

// hostConfig returns what the store inherits from the host's configuration by the rules
// of the podman that is used. podman is started only if the rules matter on this host
// and those of this podman are not recorded. If podman fails, the rules are those of
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
		if rules, err = h.askRules(); err != nil {
			logrus.Debugf("Rules of podman are not known: %v", err)
		} else if err := storageconf.RememberRules(path, podman[0], rules); err != nil {
			logrus.Debugf("Rules of podman are not remembered: %v", err)
		}
		known = err == nil
	}
	if !known {
		return storageconf.HostConfig(h.Root)
	}
	return rules.HostConfig(h.Root)
}

// askRules determines the rules of podman by its errors. Its version does not show them, since
// distributions build it with other releases of the storage library. podman reads its
// configuration also for --version, and fails on an error in a file that it reads, or in a
// key that it supports. It opens no store.
func (h Host) askRules() (rules storageconf.Rules, err error) {
	state, err := stateDir(h.ConfPath)
	if err != nil {
		return rules, err
	}
	dir, err := os.MkdirTemp(state, "ask-")
	if err != nil {
		return rules, fmt.Errorf("ask podman for its rules: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // in /run, if it stays
	conf, dropIn := filepath.Join(dir, "containers/storage.conf"), filepath.Join(dir, "containers/storage.conf.d/!ask.conf")
	if err := os.MkdirAll(filepath.Dir(dropIn), 0o700); err != nil {
		return rules, fmt.Errorf("ask podman for its rules: %w", err)
	}
	const roots = "[storage]\ndriver = \"vfs\"\nrunroot = \"/nonexistent\"\ngraphroot = \"/nonexistent\"\n"
	for _, question := range []struct {
		file, content string
		change        EnvChange
		answer        string
		rule          *bool
	}{
		// Its name is the first of all drop-ins, and the main file hides the host's.
		{dropIn, "[storage]\nimagestore = 1\n", EnvChange{Set: []string{"XDG_CONFIG_HOME=" + dir}}, dropIn, &rules.DropIns},
		{conf, roots + "imagestore = 1\n", EnvChange{Set: []string{envStorageConf + "=" + conf}}, "imagestore", &rules.ImageStore},
	} {
		for file, content := range map[string]string{conf: roots, question.file: question.content} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				return rules, fmt.Errorf("ask podman for its rules: %w", err)
			}
		}
		err := h.askPodman(question.change)
		exit, failed := errors.AsType[*ExitError](err)
		if err != nil && !failed {
			return rules, err
		}
		*question.rule = failed && strings.Contains(exit.Stderr, question.answer)
	}
	return rules, nil
}

// askPodman runs podman --version. It ends by itself, so Open needs no context.
//
//nolint:contextcheck,nolintlint // read by contextcheck itself, which nolintlint does not see
func (h Host) askPodman(change EnvChange) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	cmd, err := h.podman(dropped(h.Env), "--version")
	if err == nil {
		cmd.Env = change.apply(cmd.Env)
		_, err = h.Runner.Output(ctx, cmd)
	}
	return err
}
