// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	podmanhooks "go.podman.io/common/pkg/hooks"
	hook "go.podman.io/common/pkg/hooks/1.0.0"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Configured is a hook configuration that podman reads.
type Configured struct {
	File string
	// Hook is nil when podman cannot make sense of the file: no container starts
	// then.
	Hook *hook.Hook
}

// ConfiguredHooks lists what podman run would read on the host whose root is root, in
// the order it runs them.
func ConfiguredHooks(root string, p Podman) ([]Configured, error) {
	c, err := p.read(root, p.orders()[0])
	if err != nil {
		return nil, fmt.Errorf("list hooks: %w", err)
	}
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("list hooks: %w", err)
	}
	defer dir.Close()
	all, err := configuredIn(dir, effective(c.all()))
	if err != nil {
		return nil, fmt.Errorf("list hooks: %w", err)
	}
	return all, nil
}

// configuredIn lists the hooks in directories. One of a later directory takes the place
// of one of the same file name, unless podman leaves it out as its program is missing.
func configuredIn(root *os.File, dirs []string) (all []Configured, err error) {
	byName := map[string]Configured{}
	for _, dir := range dirs {
		names, err := hookFiles(root, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			c := Configured{File: filepath.Join(dir, name)}
			if h, err := readHook(root, c.File, podmanStages()); err == nil {
				c.Hook = h
			}
			if _, there := byName[name]; there && c.Hook != nil {
				if _, err := rooted.Stat(root, c.Hook.Hook.Path, 0); errors.Is(err, fs.ErrNotExist) {
					continue
				}
			}
			byName[name] = c
		}
	}
	for _, c := range byName {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Configured) int {
		return strings.Compare(strings.ToLower(filepath.Base(a.File)), strings.ToLower(filepath.Base(b.File)))
	})
	return all, nil
}

// hookFiles lists the hook configurations in a directory that need not exist.
func hookFiles(root *os.File, dir string) (names []string, err error) {
	all, err := rooted.Names(root, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range all {
		if strings.HasSuffix(name, ".json") {
			names = append(names, name)
		}
	}
	return names, nil
}

// readHook reads a hook configuration as podman does, apart from whether the
// program is there: podman takes a file without it for none at all. podman opens the
// file by its path, and so has no function that could read it below a root.
func readHook(root *os.File, file string, stages []string) (*hook.Hook, error) {
	content, err := rooted.ReadFile(root, file, maxConf)
	if err != nil {
		return nil, err
	}
	var format struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(content, &format); err != nil {
		return nil, fmt.Errorf("parsing hook: %w", withoutType(err))
	}
	read, ok := podmanhooks.Readers[format.Version]
	if !ok {
		return nil, fmt.Errorf("parsing hook: unrecognized hook version %q", format.Version)
	}
	h, err := read(content)
	if err != nil {
		return nil, fmt.Errorf("parsing hook: %w", withoutType(err))
	}
	if h == nil {
		return nil, errors.New("parsing hook: nil hook")
	}
	there := *h
	if there.Hook.Path != "" {
		there.Hook.Path = "/"
	}
	return h, there.Validate(stages)
}

// withoutType replaces an error that names a Go type.
func withoutType(err error) error {
	other, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err
	case other.Field == "":
		return errors.New("not a JSON object")
	}
	return fmt.Errorf("field %q is a %s", other.Field, other.Value)
}

// Finding is something wrong with how hooks are configured.
type Finding struct{ File, Problem string }

// Verify looks at all hooks that podman run and podman build would read on the host
// whose root is root, and at whether ours are among them as we would install them.
func Verify(root string, p Podman) ([]Finding, error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("verify hooks: %w", err)
	}
	defer dir.Close()
	v := &verifier{root: dir}
	if p.Conf != "" {
		v.find(p.Conf, "CONTAINERS_CONF makes podman read no other configuration")
	}
	var run []string
	for _, order := range p.orders() {
		c, err := p.read(root, order)
		if err != nil {
			return nil, fmt.Errorf("verify hooks: %w", err)
		}
		v.directories(c, p.Version)
		if c.linked && (p.Version == "" || !p.followsDropInDir()) {
			v.find(dropInDir, "is a link, which podman before 5.8 does not follow, so that the hooks do not run")
		}
		dirs := effective(c.all())
		if err := v.ours(c, dirs); err != nil {
			return nil, fmt.Errorf("verify hooks: %w", err)
		}
		for _, dir := range dirs {
			if slices.Contains(run, dir) {
				continue
			}
			run = append(run, dir)
			if err := v.files(dir, podmanStages()); err != nil {
				return nil, fmt.Errorf("verify hooks: %w", err)
			}
		}
	}
	for _, dir := range []string{DefaultHooksDir, OverrideHooksDir} {
		if err := v.built(dir, slices.Contains(run, dir)); err != nil {
			return nil, fmt.Errorf("verify hooks: %w", err)
		}
	}
	return v.findings, nil
}

type verifier struct {
	root     *os.File
	findings []Finding
}

// find adds a finding, once.
func (v *verifier) find(file, format string, args ...any) {
	if f := (Finding{file, fmt.Sprintf(format, args...)}); !slices.Contains(v.findings, f) {
		v.findings = append(v.findings, f)
	}
}

// directories checks the directories that podman run is told of.
func (v *verifier) directories(c configuration, podman string) {
	list := c.all()
	for _, file := range append([]string{dropInDir}, fileNames(list)...) {
		if what := checkRead(v.root, file); what != "" {
			v.find(file, "%s", what)
		}
	}
	if podman == "" || olderThan(podman, 5, 4) {
		for _, file := range c.dangling {
			v.find(file, "is a link to nothing, on which podman before 5.4 fails")
		}
	}
	for _, h := range list {
		if h.adds != nil && olderThan(podman, 4, 8) {
			v.find(h.file, "hooks_dir with {append=…} makes every command of podman %s fail", podman)
		}
	}
	run := effective(list)
	if !slices.Contains(run, DefaultHooksDir) {
		v.find(list[len(list)-1].file, "hooks_dir is without %s, so that hooks of other packages do not run", DefaultHooksDir)
	}
	before := effective(c.before)
	for _, h := range c.before {
		for _, dir := range h.dirs {
			if !slices.Contains(run, dir) && slices.Contains(before, dir) {
				v.find(h.file, "hooks_dir has %s, which a later file leaves out; repeat \"hooks install\"", dir)
			}
		}
	}
	for _, dir := range run {
		if !filepath.IsAbs(dir) {
			v.find(dir, "a hooks_dir that is no absolute path")
		}
	}
}

func fileNames(list []hooksDirs) (names []string) {
	for _, h := range list {
		names = append(names, h.file)
	}
	return names
}

// ours checks that podman run finds each of our hooks as we would install it, in
// whatever directory: packages may keep them elsewhere.
func (v *verifier) ours(c configuration, dirs []string) error {
	all, err := configuredIn(v.root, dirs)
	if err != nil {
		return err
	}
	found := map[string]Configured{}
	for _, c := range all {
		found[filepath.Base(c.File)] = c
	}
	if !slices.ContainsFunc(hooks.Table(), func(h hooks.Hook) bool { _, ok := found[h.File]; return ok }) {
		switch {
		case c.linked: // it is found for itself
		case c.mask != "":
			v.find(c.mask, "is read instead of %s, so that the hooks do not run", DropIn)
		case slices.Contains(dirs, PrivateDir):
			v.find(PrivateDir, "no hook of ours is in it")
		case len(c.after) > 0:
			v.find(c.after[len(c.after)-1].file, "hooks_dir replaces the one in %s, so that the hooks do not run", DropIn)
		default:
			v.find(DropIn, "no containers.conf file names %s, so that the hooks do not run", PrivateDir)
		}
		return nil
	}
	for _, h := range hooks.Table() {
		c, ok := found[h.File]
		switch {
		case !ok:
			v.find(hookFile(h), "is missing, so that the hook %s does not run", h.Name)
		case c.Hook != nil: // else it is found for itself
			if what := differs(h, c.Hook); what != "" {
				v.find(c.File, "is not the hook %s: %s", h.Name, what)
			}
		}
	}
	return nil
}

// differs tells what of a hook is not as we install it, "" for nothing. The program
// may be another, which is looked at elsewhere, and so may the timeout.
func differs(h hooks.Hook, is *hook.Hook) string {
	args, mode := is.Hook.Args, hooks.Warn
	if h.Modes != nil && len(args) > 3 {
		var err error
		if mode, err = hooks.GuardMode(args[3:]); err != nil {
			return err.Error()
		}
		args = append(slices.Clone(args[:3]), hooks.ModeOption, string(mode))
	}
	want := Install{Program: is.Hook.Path, Mode: mode}.configuration(h)
	switch {
	case len(args) == 0 || !slices.Equal(args[1:], want.Hook.Args[1:]):
		return fmt.Sprintf("its arguments are %q", is.Hook.Args)
	case !slices.Equal(is.Stages, want.Stages):
		return fmt.Sprintf("its stages are %q", is.Stages)
	case !reflect.DeepEqual(is.When, want.When):
		return "it is for other containers; repeat \"hooks install\""
	}
	return ""
}

// olderThan tells whether a version is below MAJOR.MINOR.
func olderThan(version string, major, minor int) bool {
	var x, y int
	if n, _ := fmt.Sscanf(version, "%d.%d", &x, &y); n < 2 {
		return false
	}
	return x < major || x == major && y < minor
}

// files checks the hook configurations in a directory that podman run reads.
func (v *verifier) files(dir string, stages []string) error {
	names, err := hookFiles(v.root, dir)
	if err != nil {
		return err
	}
	ofAll := checkRead(v.root, dir)
	if ofAll != "" {
		v.find(dir, "%s", ofAll)
	}
	for _, name := range names {
		file := filepath.Join(dir, name)
		h, err := readHook(v.root, file, stages)
		if err != nil {
			v.find(file, "no container starts: %s", withoutPath(err))
			continue
		}
		switch path := h.Hook.Path; {
		case !filepath.IsAbs(path):
			v.find(file, "the program %q is no absolute path", path)
		default:
			if err := checkProgram(v.root, path); errors.Is(err, fs.ErrNotExist) {
				v.find(file, "program %q is missing: podman leaves the hook out and prints nothing", path)
			} else if err != nil {
				v.find(file, "%v", err)
			}
		}
		if h.Hook.Timeout == nil {
			v.find(file, "no timeout: when the hook hangs, containers wait for ever")
		}
		if len(h.Hook.Args) == 0 && slices.Contains(h.Stages, "precreate") {
			v.find(file, "no args, without which the hook has no name")
		}
		if what := checkRead(v.root, file); what != "" && ofAll == "" {
			v.find(file, "%s", what)
		}
	}
	return nil
}

// withoutPath is the cause in an error of package rooted.
func withoutPath(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}

// built checks the hook configurations that podman build reads. Those that podman
// run reads, too, were looked at before.
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
			v.find(file, "a precreate hook in a default directory makes every podman build fail; move it to a directory of its own")
		case !seen:
			v.find(file, "podman build fails: %s", withoutPath(err))
		}
	}
	return nil
}
