// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package storageconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"go.podman.io/storage/pkg/configfile"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Rules is how a podman that root runs finds its storage.conf, and which of the keys that
// differ between releases it supports. podman 4.3.1 has neither rule, 5.4.2 ImageStore, 5.8.6
// and 6.1.1 both.
type Rules struct {
	// DropIns is true if it reads drop-in directories and, without XDG_CONFIG_HOME,
	// the home directory.
	DropIns bool `json:"drop_ins"`
	// ImageStore is true if it supports imagestore.
	ImageStore bool `json:"image_store"`
}

// newest are the rules of the podman of this project's storage library.
var newest = Rules{DropIns: true, ImageStore: true}

// noFile is the main file where none exists.
const noFile = "/proc/none"

// olderMainFile is the one file that a podman without drop-ins reads for root. That of
// XDG_CONFIG_HOME is the first for podman 4.3, and for 5.4 the last.
func olderMainFile(where configfile.File, rules Rules) string {
	if where.EnvironmentName != "" {
		if file, ok := os.LookupEnv(where.EnvironmentName); ok {
			return file
		}
	}
	if where.UserId != 0 {
		return "" // by the same rules as newer ones
	}
	root := filepath.Join("/", where.RootForImplicitAbsolutePaths)
	admins := filepath.Join(root, AdminConf)
	files := []string{admins, filepath.Join(root, vendorConf)}
	if dir, ok := os.LookupEnv("XDG_CONFIG_HOME"); ok {
		at := 0
		if rules.ImageStore {
			at = len(files)
		}
		files = slices.Insert(files, at, filepath.Join(dir, "containers/storage.conf"))
	}
	for _, file := range files {
		_, err := os.Stat(file)
		// If the administrator's cannot be reached, they warn and use the next.
		missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || file == admins && err != nil
		if !missing {
			return file
		}
	}
	return noFile
}

// Ambiguous reports whether the supported podmans read different settings from the host's
// configuration below root.
func Ambiguous(root string) bool {
	want, err := newest.HostConfig(root)
	if err == nil && want.ImageStore == "" && !contestedFiles(root) {
		return false
	}
	for _, rules := range []Rules{{}, {ImageStore: true}} {
		got, gotErr := rules.HostConfig(root)
		if (err == nil) != (gotErr == nil) || !reflect.DeepEqual(got, want) {
			return true
		}
	}
	return false
}

// contestedFiles reports whether there are files that not every podman reads, or not in
// the same order.
func contestedFiles(root string) bool {
	if root == "/" {
		root = ""
	}
	paths, err := configfile.GetSearchPaths(&configfile.File{Name: "storage", Extension: "conf", RootForImplicitAbsolutePaths: root})
	if err != nil {
		return true
	}
	// The user's own comes first.
	if len(paths.MainFiles) > 0 {
		if _, err := os.Lstat(paths.MainFiles[0]); err == nil {
			return true
		}
	}
	for _, dir := range paths.DropInDirectories {
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := f.Readdirnames(1) // an unreadable directory counts as empty
		f.Close()
		if len(names) > 0 {
			return true
		}
	}
	return false
}

// RulesPath is the record of the rules of podmans.
const RulesPath = "/run/bootc-podman/podman.json"

// remembered is a podman whose rules were determined: its file, and the rules.
type remembered struct {
	Path   string `json:"path"`
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int64  `json:"size"`
	// ModTime is in nanoseconds since 1970.
	ModTime int64 `json:"mtime"`
	Rules   Rules `json:"rules"`
}

// maxRemembered is how many podmans are recorded, maxRulesFile the size of their file.
const (
	maxRemembered = 16
	maxRulesFile  = 1 << 20
)

// identify returns the identity of the file at path.
func identify(path string) (remembered, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return remembered{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return remembered{Path: path, Device: st.Dev, Inode: st.Ino, Size: st.Size, ModTime: st.Mtim.Nano()}, nil
}

// holds reports whether the file is still the recorded one.
func (r remembered) holds() bool {
	now, err := identify(r.Path)
	now.Rules = r.Rules
	return err == nil && now == r
}

// KnownRules returns the rules of every recorded podman of the host, false if they are not
// known or differ. root is the host's, "/" for the running one: no podman runs for another
// host's files.
func KnownRules(root string) (rules Rules, known bool) {
	if root != "/" && root != "" {
		return rules, false
	}
	for _, r := range readRemembered(RulesPath) {
		switch {
		case !r.holds():
		case known && r.Rules != rules:
			return rules, false
		default:
			rules, known = r.Rules, true
		}
	}
	return rules, known
}

// RulesOf returns the recorded rules of one podman in the file at path.
func RulesOf(path, podman string) (Rules, bool) {
	for _, r := range readRemembered(path) {
		if r.Path == podman && r.holds() {
			return r.Rules, true
		}
	}
	return Rules{}, false
}

// RememberRules adds the rules of a podman to the file at path, whose directory must
// exist. Podmans that do not exist any more are removed from it.
func RememberRules(path, podman string, rules Rules) error {
	added, err := identify(podman)
	if err != nil {
		return fmt.Errorf("remember rules of podman: %w", err)
	}
	added.Rules = rules
	all := slices.DeleteFunc(readRemembered(path), func(r remembered) bool { return r.Path == podman || !r.holds() })
	all = append(all, added)
	content, err := json.Marshal(all[max(0, len(all)-maxRemembered):])
	if err != nil {
		return fmt.Errorf("remember rules of podman: %w", err)
	}
	return writeFile(path, content, 0o644)
}

// readRemembered reads the file at path. A file that root or this user does not own, or that
// another user can write to, counts as missing.
func readRemembered(path string) (all []remembered) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 ||
		st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil
	}
	content, err := rooted.ReadLimited(f, maxRulesFile)
	if err != nil || json.Unmarshal(content, &all) != nil {
		return nil
	}
	return all
}
