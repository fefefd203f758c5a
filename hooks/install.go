// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

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

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Where the hooks are installed. PrivateDir is ours alone: a precreate hook in one
// of the directories that everybody reads would break every podman build, which
// does not know the stage.
const (
	PrivateDir = "/etc/bootc-podman/hooks.d"
	dropInDir  = "/etc/containers/containers.conf.d"
	DropIn     = dropInDir + "/50-bootc-podman-hooks.conf"
	// recordPath is what uninstalling goes by; podman reads only names in .json.
	recordPath = PrivateDir + "/installed"
)

// The stages that podman knows beyond those of the OCI runtime specification, or
// carries out itself.
func podmanStages() []string { return []string{"precreate", "poststop"} }

// Install says how the hooks are to be installed.
type Install struct {
	// Root is the root directory of the host, "/", or of an image in the making.
	Root string
	// Program is the absolute path of bootc-podman in Root.
	Program string
	Mode    Mode
}

// installed is the record of an installation.
type installed struct {
	// Directories were made for it, the innermost last.
	Directories []string `json:"directories"`
}

// ErrNotOurs says that a file is there that was not installed by us.
var ErrNotOurs = errors.New("exists and was not installed by bootc-podman")

// Files are the hook configurations by their paths, in the form of oci-hooks(5).
func (i Install) Files() (map[string][]byte, error) {
	always, timeout := true, Timeout
	files := map[string][]byte{}
	for name, h := range map[string]hook.Hook{
		Ledger: {
			When:   hook.When{Always: &always},
			Stages: []string{"createRuntime", "poststop"},
		},
		MountGuard: {
			// Not only where hasBindMounts: podman does not count those of --volumes-from.
			Hook:   specs.Hook{Args: []string{modeOption, string(i.Mode)}},
			When:   hook.When{Always: &always},
			Stages: []string{"precreate"},
		},
		BoundGate: {
			// Any value: a misspelt one must not open the gate.
			When:   hook.When{Annotations: map[string]string{"^" + strings.ReplaceAll(Require, ".", `\.`) + "$": ".*"}},
			Stages: []string{"precreate"},
		},
	} {
		h.Version = hook.Version
		h.Hook.Path, h.Hook.Timeout = i.Program, &timeout
		h.Hook.Args = append([]string{filepath.Base(i.Program), "hook", name}, h.Hook.Args...)
		var content bytes.Buffer
		enc := json.NewEncoder(&content)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(h); err != nil {
			return nil, err
		}
		files[hookFile(name)] = content.Bytes()
	}
	return files, nil
}

func hookFile(name string) string { return PrivateDir + "/50-bootc-podman-" + name + ".json" }

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
	if !slices.Contains(Modes(), i.Mode) {
		return fmt.Errorf("install hooks: unknown mode %q", i.Mode)
	}
	if err := i.checkProgram(); err != nil {
		return fmt.Errorf("install hooks: %w", err)
	}
	list, err := readHooksDirs(i.Root)
	if err != nil {
		return fmt.Errorf("install hooks: %w", err)
	}
	before, after := split(list)
	adds := true
	ours := hooksDirs{file: DropIn}
	ours.dirs = effective(append(slices.Clone(before), hooksDirs{dirs: []string{PrivateDir}, adds: &adds}))
	if in := effective(slices.Concat(before, []hooksDirs{ours}, after)); !slices.Contains(in, PrivateDir) {
		return fmt.Errorf("install hooks: %q sets hooks_dir after %q, without %s", after[len(after)-1].file, DropIn, PrivateDir)
	}
	files, err := i.Files()
	if err != nil {
		return fmt.Errorf("install hooks: %w", err)
	}
	files[DropIn] = dropIn(ours.dirs)
	if err := i.write(files); err != nil {
		return fmt.Errorf("install hooks: %w", err)
	}
	return nil
}

// split parts the files that name directories into those before and after ours.
func split(list []hooksDirs) (before, after []hooksDirs) {
	for _, h := range list {
		isDropIn := strings.HasSuffix(filepath.Dir(h.file), ".conf.d")
		switch {
		case h.file == DropIn:
		case strings.HasPrefix(h.file, rootsConf), isDropIn && filepath.Base(h.file) > filepath.Base(DropIn):
			after = append(after, h)
		default:
			before = append(before, h)
		}
	}
	return before, after
}

func (i Install) checkProgram() error {
	if !filepath.IsAbs(i.Program) {
		return fmt.Errorf("program %q is no absolute path", i.Program)
	}
	_, err := checkProgram(i.Root, i.Program)
	return err
}

// checkProgram tells whether a hook's program would run, and its mode. Links are
// followed in the host's root; many a package's program is an absolute one.
func checkProgram(root, program string) (uint32, error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	f, err := storageconf.OpenIn(dir, program, unix.O_PATH)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return 0, fmt.Errorf("program %q is not executable", program)
	}
	return st.Mode, nil
}

func (i Install) write(files map[string][]byte) error {
	record, err := readRecord(i.Root)
	isOurs := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	in, err := os.OpenRoot(i.Root)
	if err != nil {
		return err
	}
	defer in.Close()
	for path := range files {
		if _, err := in.Lstat(strings.TrimPrefix(path, "/")); err == nil && !isOurs {
			return fmt.Errorf("write %q: %w", path, ErrNotOurs)
		}
	}
	if err := i.writeAll(in, &record, files); err != nil {
		if !isOurs { // nothing stays of an installation that failed
			_ = remove(in, record)
		}
		return err
	}
	return nil
}

func (i Install) writeAll(in *os.Root, record *installed, files map[string][]byte) error {
	made := func(dir string) { record.Directories = append(record.Directories, dir) }
	for _, dir := range []string{PrivateDir, dropInDir} {
		if err := makeDirs(in, strings.TrimPrefix(dir, "/"), made); err != nil {
			return err
		}
	}
	content, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := writeFile(i.Root, recordPath, append(content, '\n'), nil); err != nil {
		return err
	}
	// The drop-in comes last.
	for _, path := range append([]string{hookFile(Ledger), hookFile(MountGuard), hookFile(BoundGate)}, DropIn) {
		if err := writeFile(i.Root, path, files[path], nil); err != nil {
			return err
		}
	}
	return nil
}

func readRecord(root string) (record installed, err error) {
	in, err := os.OpenRoot(root)
	if err != nil {
		return record, err
	}
	defer in.Close()
	content, err := in.ReadFile(strings.TrimPrefix(recordPath, "/"))
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(content, &record); err != nil {
		return record, fmt.Errorf("decode %q: %w", recordPath, err)
	}
	return record, nil
}

// Uninstall removes what Do wrote and the directories that it made, if there is
// nothing else in them. Where nothing is installed it does nothing.
func Uninstall(root string) error {
	record, err := readRecord(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("uninstall hooks: %w", err)
	}
	in, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("uninstall hooks: %w", err)
	}
	defer in.Close()
	if err := remove(in, record); err != nil {
		return fmt.Errorf("uninstall hooks: %w", err)
	}
	return nil
}

func remove(in *os.Root, record installed) error {
	// Before the configurations go, nobody must be told of them any more; the
	// record goes last, so that what was begun can be ended.
	for _, path := range []string{DropIn, hookFile(Ledger), hookFile(MountGuard), hookFile(BoundGate), recordPath} {
		if err := in.Remove(strings.TrimPrefix(path, "/")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, dir := range slices.Backward(record.Directories) {
		_ = in.Remove(strings.TrimPrefix(dir, "/")) // fails if there is something in it
	}
	return nil
}
