// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	hook "go.podman.io/common/pkg/hooks/1.0.0"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Verify looks at all hooks that podman run and podman build would read on the host
// whose root is root, and at whether ours are among them as Install would write them.
func Verify(root string, p Podman) (findings []health.Finding, err error) {
	err = inRoot(root, "verify hooks", func(dir *os.File) error {
		v := &verifier{root: dir, podman: p}
		if p.Conf != "" {
			v.find(health.HooksConfEnvironment, health.Failing, p.Conf, "CONTAINERS_CONF makes podman read no other configuration", "")
		}
		var run []string
		for _, order := range p.orders() {
			if err := v.order(order, &run); err != nil {
				return err
			}
		}
		for _, dir := range []string{DefaultHooksDir, OverrideHooksDir} {
			if err := v.built(dir, slices.Contains(run, dir)); err != nil {
				return err
			}
		}
		findings = v.findings
		return nil
	})
	return findings, err
}

type verifier struct {
	root     *os.File
	podman   Podman
	findings []health.Finding
}

// find adds what is wrong with a file. fix is the command that fixes it, if there is one.
func (v *verifier) find(rule health.Rule, severity health.Severity, file, what, why string, fix ...string) {
	v.findings = health.Add(v.findings, health.Finding{
		Rule: rule, Severity: severity, Where: file, What: what, Why: why, Fix: strings.Join(fix, ""),
	})
}

// order checks what podman reads by one of the orders. run are the directories of hooks
// that were checked.
func (v *verifier) order(order confOrder, run *[]string) error {
	c, err := v.podman.read(v.root, order)
	if err != nil {
		return err
	}
	dirs := effective(c.all())
	all, err := configuredIn(v.root, dirs)
	if err != nil {
		return err
	}
	ours := found(all)
	v.directories(c, ours)
	if c.linked && (v.podman.Version == "" || !v.podman.followsDropInDir()) {
		v.find(health.HooksConfLinked, health.Failing, dropInDir, "is a link, which podman before 5.8 does not follow", noHooks)
	}
	v.ours(c, dirs, ours)
	for _, dir := range dirs {
		if slices.Contains(*run, dir) {
			continue
		}
		*run = append(*run, dir)
		if err := v.files(dir); err != nil {
			return err
		}
	}
	return nil
}

// What follows from several findings.
const (
	noHooks     = "the hooks do not run"
	noContainer = "no container starts: "
)

// directories checks the files that say where podman run finds hooks.
func (v *verifier) directories(c configuration, ours map[string]Configured) {
	list, podman := c.all(), v.podman.Version
	v.checkRead(dropInDir)
	for _, h := range list {
		v.checkRead(h.file)
	}
	if podman == "" || olderThan(podman, 5, 4) {
		for _, file := range c.dangling {
			v.find(health.HooksConfDangling, health.Failing, file, "is a link to nothing, on which podman before 5.4 fails", "")
		}
	}
	for _, h := range list {
		if h.adds != nil && olderThan(podman, 4, 8) {
			v.find(health.HooksConfAppend, health.Failing, h.file, fmt.Sprintf("hooks_dir with {append=…} makes every command of podman %s fail", podman), "")
		}
	}
	run := effective(list)
	if !slices.Contains(run, DefaultHooksDir) {
		v.find(health.HooksDirLeftOut, health.Failing, list[len(list)-1].file, "hooks_dir is without "+DefaultHooksDir, "hooks of other packages do not run")
	}
	before := effective(c.before)
	for _, h := range c.before {
		for _, dir := range h.dirs {
			if !slices.Contains(run, dir) && slices.Contains(before, dir) {
				v.find(health.HooksDirLeftOut, health.Failing, h.file, fmt.Sprintf("hooks_dir has %s, which a later file leaves out", dir), "", v.again(ours))
			}
		}
	}
	for _, dir := range run {
		if !filepath.IsAbs(dir) {
			v.find(health.HooksDirRelative, health.Failing, dir, "a hooks_dir that is no absolute path", "")
		}
	}
}

// found are our hooks among all, by their file names.
func found(all []Configured) map[string]Configured {
	ours := map[string]Configured{}
	for _, c := range all {
		if name := filepath.Base(c.File); slices.ContainsFunc(hooks.Table(), func(h hooks.Hook) bool { return h.File() == name }) {
			ours[name] = c
		}
	}
	return ours
}

// ours checks that podman run finds each of our hooks as Install would write it, in
// whatever directory: packages may keep them elsewhere.
func (v *verifier) ours(c configuration, dirs []string, ours map[string]Configured) {
	if len(ours) == 0 {
		switch {
		case c.linked: // it is found for itself
		case c.mask != "":
			v.find(health.HooksConfMasked, health.Failing, c.mask, "is read instead of "+DropIn, noHooks)
		case slices.Contains(dirs, PrivateDir):
			v.find(health.HookMissing, health.Failing, PrivateDir, "no hook of ours is in it", "", v.again(ours))
		case len(c.after) > 0:
			v.find(health.HooksDirLeftOut, health.Failing, c.after[len(c.after)-1].file, "hooks_dir replaces the one in "+DropIn, noHooks)
		default:
			v.find(health.HooksDirLeftOut, health.Failing, DropIn, "no containers.conf file names "+PrivateDir, noHooks, v.again(ours))
		}
		return
	}
	for _, h := range hooks.Table() {
		c, ok := ours[h.File()]
		switch {
		case !ok:
			v.find(health.HookMissing, health.Failing, hookFile(h), "is missing", fmt.Sprintf("the hook %s does not run", h.Name), v.again(ours))
		case c.Hook != nil: // else it is found for itself
			if what := strings.TrimSuffix(differs(h, c.Hook), repeat); what != "" {
				fix := ""
				if filepath.Dir(c.File) == PrivateDir {
					fix = v.again(ours)
				}
				v.find(health.HookDiffers, health.Failing, c.File, fmt.Sprintf("is not the hook %s: %s", h.Name, what), "", fix)
			}
		}
	}
}

// again is the command that installs the hooks as they are installed now.
func (v *verifier) again(ours map[string]Configured) string {
	words := []string{"bootc-podman", "hooks", "install"}
	if root := v.root.Name(); root != "/" {
		words = append(words, "--root", root)
	}
	program := ""
	for _, h := range hooks.Table() {
		c := ours[h.File()]
		if c.Hook == nil || filepath.Dir(c.File) != PrivateDir {
			continue
		}
		program = c.Hook.Hook.Path
		if mode, err := modeOf(h, c.Hook); err == nil && h.Modes != nil && mode != h.Modes[0] {
			words = append(words, hooks.ModeOption, string(mode))
		}
	}
	if program != "" {
		words = append(words, "--program", program)
	}
	return strings.Join(words, " ")
}

// modeOf is the mode that a hook configuration gives, the default for a hook without.
func modeOf(h hooks.Hook, is *hook.Hook) (hooks.Mode, error) {
	if h.Modes == nil || len(is.Hook.Args) <= 3 {
		return hooks.Warn, nil
	}
	return hooks.GuardMode(is.Hook.Args[3:])
}

// repeat is what status adds where verify has the whole command.
const repeat = "; repeat \"hooks install\""

// differs returns what of a hook is not as Install writes it, "" for nothing. The program
// may be another, which is checked elsewhere, and so may the timeout.
func differs(h hooks.Hook, is *hook.Hook) string {
	args := is.Hook.Args
	mode, err := modeOf(h, is)
	if err != nil {
		return err.Error()
	}
	if h.Modes != nil && len(args) > 3 {
		args = append(slices.Clone(args[:3]), hooks.ModeOption, string(mode))
	}
	want := Install{Program: is.Hook.Path, Mode: mode}.configuration(h)
	switch {
	case len(args) == 0 || !slices.Equal(args[1:], want.Hook.Args[1:]):
		return fmt.Sprintf("its arguments are %q", is.Hook.Args)
	case !slices.Equal(is.Stages, want.Stages):
		return fmt.Sprintf("its stages are %q", is.Stages)
	case !reflect.DeepEqual(is.When, want.When):
		return "it is for other containers" + repeat
	}
	return ""
}

// files checks the hook configurations in a directory that podman run reads.
func (v *verifier) files(dir string) error {
	names, err := hookFiles(v.root, dir)
	if err != nil {
		return err
	}
	readable := v.checkRead(dir)
	for _, name := range names {
		file := filepath.Join(dir, name)
		h, err := readHook(v.root, file, podmanStages())
		if err != nil {
			v.find(health.HookInvalid, health.Failing, file, noContainer+rooted.Cause(err).Error(), "")
			continue
		}
		path := h.Hook.Path
		if !filepath.IsAbs(path) {
			v.find(health.HookProgram, health.Failing, file, fmt.Sprintf("the program %q is no absolute path", path), "")
		} else if err := checkProgram(v.root, path); errors.Is(err, fs.ErrNotExist) {
			v.find(health.HookProgram, health.Failing, file, fmt.Sprintf("program %q is missing: podman leaves the hook out and prints nothing", path), "")
		} else if err != nil {
			v.find(health.HookProgram, health.Failing, file, err.Error(), "")
		}
		if h.Hook.Timeout == nil {
			v.find(health.HookNoTimeout, health.Risk, file, "no timeout: when the hook hangs, containers wait for ever", "")
		}
		if len(h.Hook.Args) == 0 && slices.Contains(h.Stages, "precreate") {
			v.find(health.HookNoArgs, health.Risk, file, "no args, without which the hook has no name", "")
		}
		if readable {
			v.checkRead(file)
		}
	}
	return nil
}

// checkRead reports whether each user can read a file of configuration, and only root can
// replace it.
func (v *verifier) checkRead(file string) bool {
	what := checkRead(v.root, file)
	if what != "" {
		v.find(health.HookAccess, health.Failing, file, what, "")
	}
	return what == ""
}

// built checks the hook configurations that podman build reads. Those that podman run
// reads, too, were checked before.
func (v *verifier) built(dir string, seen bool) error {
	names, err := hookFiles(v.root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		file := filepath.Join(dir, name)
		h, err := readHook(v.root, file, nil)
		switch {
		case err == nil:
		case h != nil && slices.Contains(h.Stages, "precreate"):
			v.find(health.HookBreaksBuild, health.Failing, file, "a precreate hook in a default directory makes every podman build fail; move it to a directory of its own", "")
		case !seen:
			v.find(health.HookBreaksBuild, health.Failing, file, "podman build fails: "+rooted.Cause(err).Error(), "")
		}
	}
	return nil
}
