// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	hook "go.podman.io/common/pkg/hooks/1.0.0"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Where the hooks are installed. PrivateDir is ours alone: podman build reads
// the default directories, too, and fails on the stage precreate.
const (
	PrivateDir = "/etc/bootc-podman/hooks.d"
	dropInDir  = storageconf.ContainersConfDir
	DropIn     = dropInDir + "/50-bootc-podman-hooks.conf"
	// recordPath is what uninstalling goes by; podman reads only names in .json.
	recordPath = PrivateDir + "/installed"
)

// The stages that podman accepts beyond those of the OCI runtime specification, or
// carries out itself.
func podmanStages() []string { return []string{"precreate", "poststop"} }

// Install says how the hooks are to be installed.
type Install struct {
	// Root is the root directory of the host, "/", or of an image in the making.
	Root string
	// Program is the absolute path of bootc-podman in Root.
	Program string
	Mode    hooks.Mode
	// Podman is the one that is to run them.
	Podman Podman
}

// installed is the record of an installation.
type installed struct {
	// Directories were made for it, the innermost last.
	Directories []string `json:"directories"`
}

// ErrNotOurs says that a file is there that was not installed by us.
var ErrNotOurs = errors.New("exists and was not installed by bootc-podman")

var (
	// ErrNoProgram reports that the program that the hooks are to run is not below the root.
	ErrNoProgram = errors.New("no such program")
	// ErrOtherProgram reports that a program would not run the hooks.
	ErrOtherProgram = errors.New("not bootc-podman")
)

// programMark is in each build of this program: the Go linker records what was built.
const programMark = "path\tgithub.com/bootc-podman/bootc-podman/cmd/bootc-podman\n"

const maxProgram = 256 << 20

// configuration is the configuration of a hook.
func (i Install) configuration(h hooks.Hook) hook.Hook {
	always, timeout := true, hooks.Timeout
	c := hook.Hook{
		Version: hook.Version,
		Hook:    specs.Hook{Path: i.Program, Timeout: &timeout, Args: []string{filepath.Base(i.Program), "hook", h.Name}},
		When:    hook.When{Always: &always}, Stages: h.Stages,
	}
	if h.Modes != nil {
		c.Hook.Args = append(c.Hook.Args, hooks.ModeOption, string(i.Mode))
	}
	if h.For != "" {
		c.When = hook.When{Annotations: map[string]string{"^" + strings.ReplaceAll(h.For, ".", `\.`) + "$": ".*"}}
	}
	return c
}

// Files are the hook configurations by their paths, in the form of oci-hooks(5).
func (i Install) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, h := range hooks.Table() {
		var content bytes.Buffer
		enc := json.NewEncoder(&content)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(i.configuration(h)); err != nil {
			return nil, err
		}
		files[hookFile(h)] = content.Bytes()
	}
	return files, nil
}

func hookFile(h hooks.Hook) string { return filepath.Join(PrivateDir, h.File()) }

// dropIn names the private directory, behind those that podman reads without it.
// It is a plain list, which every podman understands and which still works after a
// rollback to an older one: {append=true} stops podman before 4.8 altogether.
func dropIn(dirs []string) []byte {
	var list []string
	for _, dir := range dirs {
		list = append(list, fmt.Sprintf("%q", dir))
	}
	return []byte("# Made by \"bootc-podman hooks install\"; see bootc-podman-hooks(8).\n" +
		"# It replaces the list of directories, and repeats what was in it.\n" +
		"[engine]\nhooks_dir = [" + strings.Join(list, ", ") + "]\n")
}

// Do installs the hooks. It may be repeated, with another mode for example. podman
// sees all of them or none: what names the directory is written last.
func (i Install) Do() error {
	return inRoot(i.Root, "install hooks", func(root *os.File) error {
		if !slices.Contains(hooks.Modes(), i.Mode) {
			return fmt.Errorf("unknown mode %q", i.Mode)
		}
		if err := i.checkProgram(root); err != nil {
			return err
		}
		unlock, err := lock(root)
		if err != nil {
			return err
		}
		defer unlock()
		dirs, err := i.directories(root)
		if err != nil {
			return err
		}
		files, err := i.Files()
		if err != nil {
			return err
		}
		files[DropIn] = dropIn(dirs)
		return write(root, files)
	})
}

// directories are those for our drop-in to name: what is in force before it, and ours.
func (i Install) directories(root *os.File) (dirs []string, err error) {
	var read []configuration
	adds := true
	for _, order := range i.Podman.orders() {
		c, err := i.Podman.read(root, order)
		if err != nil {
			return nil, err
		}
		if c.mask != "" {
			return nil, fmt.Errorf("%q is read instead of %q", c.mask, DropIn)
		}
		if c.linked && !i.Podman.followsDropInDir() {
			return nil, fmt.Errorf("%q is a link, which podman %s does not follow: the hooks would not run", dropInDir, i.Podman.Version)
		}
		read = append(read, c)
		for _, dir := range effective(append(slices.Clone(c.before), hooksDirs{dirs: []string{PrivateDir}, adds: &adds})) {
			dirs = append(slices.DeleteFunc(dirs, func(d string) bool { return d == dir }), dir)
		}
	}
	for _, c := range read {
		c.ours = &hooksDirs{file: DropIn, dirs: dirs}
		if !slices.Contains(effective(c.all()), PrivateDir) {
			return nil, fmt.Errorf("%q sets hooks_dir after %q, without %s", c.after[len(c.after)-1].file, DropIn, PrivateDir)
		}
	}
	return dirs, nil
}

// lock excludes other processes that install into, or uninstall from, the same root
// directory, without a file that would stay.
func lock(root *os.File) (unlock func(), err error) {
	dir, err := rooted.Open(root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %q: %w", root.Name(), err)
	}
	return func() { dir.Close() }, nil
}

func (i Install) checkProgram(dir *os.File) error {
	if !filepath.IsAbs(i.Program) {
		return fmt.Errorf("program %q is no absolute path", i.Program)
	}
	err := checkProgram(dir, i.Program)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %q in %q", ErrNoProgram, i.Program, i.Root)
	}
	if err != nil {
		return err
	}
	content, err := rooted.ReadFile(dir, i.Program, maxProgram)
	if err != nil {
		return err
	}
	isScript := bytes.HasPrefix(content, []byte("#!")) && bytes.Contains(content, []byte("bootc-podman"))
	if !isScript && !bytes.Contains(content, []byte(programMark)) {
		return fmt.Errorf("program %q is %w", i.Program, ErrOtherProgram)
	}
	return nil
}

// write writes the files by their paths, and a record of the directories that it makes.
func write(in *os.File, files map[string][]byte) error {
	record, known, err := readRecord(in)
	if err != nil {
		return err
	}
	isNew := !known
	for path := range files {
		_, err := rooted.Stat(in, path, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, fs.ErrNotExist) || known:
		case err == nil && isOurs(in, path):
			isNew, record.Directories = false, ownDirectories()
		case err == nil:
			return fmt.Errorf("write %q: %w", path, ErrNotOurs)
		}
	}
	sweepWritten(in)
	if err = writeAll(in, &record, files); err != nil && isNew { // nothing stays of it
		_ = remove(in, append(written(), recordPath))
		removeDirs(in, record.Directories)
	}
	return err
}

func writeAll(in *os.File, record *installed, files map[string][]byte) error {
	made := func(dir string) { record.Directories = append(record.Directories, dir) }
	for _, dir := range []string{PrivateDir, dropInDir} {
		if err := rooted.MakeDirs(in, dir, made); err != nil {
			return err
		}
	}
	content, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := rooted.WriteFile(in, recordPath, append(content, '\n')); err != nil {
		return err
	}
	for _, path := range slices.Backward(written()) { // the drop-in last
		if err := rooted.WriteFile(in, path, files[path]); err != nil {
			return err
		}
	}
	return nil
}

// readRecord reads the record of an installation; known is false without one, or with
// one that is damaged.
func readRecord(in *os.File) (record installed, known bool, err error) {
	content, err := rooted.ReadFile(in, recordPath, maxConf)
	if errors.Is(err, fs.ErrNotExist) {
		return record, false, nil
	}
	if err != nil {
		return record, false, err
	}
	if json.Unmarshal(content, &record) != nil {
		return installed{}, false, nil //nolint:nilerr // see above
	}
	return record, true, nil
}

// ownDirectories are ours by their names, where no record says who made them.
func ownDirectories() []string { return []string{filepath.Dir(PrivateDir), PrivateDir} }

// isOurs reports whether a file is as we would write it, with some mode, program and
// directories.
func isOurs(in *os.File, path string) bool {
	if rooted.Kind(in, path) != unix.S_IFREG {
		return false
	}
	content, err := rooted.ReadFile(in, path, maxConf)
	if err != nil {
		return false
	}
	if path == DropIn {
		h, err := parseConf(path, content)
		return err == nil && h != nil && bytes.Equal(content, dropIn(h.dirs))
	}
	var h hook.Hook
	if json.Unmarshal(content, &h) != nil || len(h.Hook.Args) == 0 {
		return false
	}
	files, err := Install{Program: h.Hook.Path, Mode: hooks.Mode(h.Hook.Args[len(h.Hook.Args)-1])}.Files()
	return err == nil && bytes.Equal(content, files[path])
}

// Uninstall removes what Do wrote and the directories that it made, if there is
// nothing else in them. Where nothing is installed it does nothing.
func Uninstall(root string) error {
	return inRoot(root, "uninstall hooks", func(in *os.File) error {
		unlock, err := lock(in)
		if err != nil {
			return err
		}
		defer unlock()
		record, known, err := readRecord(in)
		if err != nil {
			return err
		}
		files := written()
		if !known {
			files = slices.DeleteFunc(files, func(path string) bool { return !isOurs(in, path) })
			if _, err := rooted.Stat(in, recordPath, unix.AT_SYMLINK_NOFOLLOW); err != nil && len(files) == 0 {
				return nil
			}
			record.Directories = ownDirectories()
		}
		sweepWritten(in)
		// The record goes last, so that a second run completes this one.
		if err = remove(in, files); err == nil {
			err = remove(in, []string{recordPath})
		}
		if err == nil {
			removeDirs(in, record.Directories)
		}
		return err
	})
}

// Written returns the files of an installation that are there, by their paths.
func Written(root string) (files map[string][]byte, err error) {
	files = map[string][]byte{}
	err = inRoot(root, "read hooks", func(in *os.File) error {
		for _, path := range written() {
			content, err := rooted.ReadFile(in, path, maxConf)
			switch {
			case err == nil:
				files[path] = content
			case !errors.Is(err, fs.ErrNotExist):
				return err
			}
		}
		return nil
	})
	return files, err
}

// written are the files that Install writes, the drop-in first: podman must not read the
// directory of hooks that are being removed.
func written() []string {
	paths := []string{DropIn}
	for _, h := range hooks.Table() {
		paths = append(paths, hookFile(h))
	}
	return paths
}

// remove removes files, as many as can be. One that is not there is no error.
func remove(in *os.File, files []string) (err error) {
	for _, path := range files {
		if failed := rooted.Remove(in, path); !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

func removeDirs(in *os.File, dirs []string) {
	for _, dir := range slices.Backward(dirs) {
		_ = rooted.Remove(in, dir) // fails if there is something in it
	}
}

// sweepWritten removes what an installation that was killed was writing.
func sweepWritten(in *os.File) {
	for _, path := range append(written(), recordPath) {
		names, _ := rooted.Names(in, filepath.Dir(path))
		for _, name := range names {
			if rooted.IsTemporary(name, filepath.Base(path)) {
				_ = rooted.Remove(in, filepath.Join(filepath.Dir(path), name))
			}
		}
	}
}
