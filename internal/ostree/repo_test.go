// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// scratch is a repository of the program ostree in a temporary directory, and a directory
// tree to be committed.
type scratch struct {
	testing.TB
	repo, tree string
}

func newScratch(t testing.TB, mode string) *scratch {
	t.Helper()
	if _, err := exec.LookPath("ostree"); err != nil {
		t.Skip("needs the program ostree")
	}
	if mode == "bare" && os.Getuid() != 0 {
		t.Skip("needs root, for owners and attributes of files")
	}
	dir := t.TempDir()
	s := &scratch{t, filepath.Join(dir, "repo"), filepath.Join(dir, "tree")}
	s.ok(os.Mkdir(s.tree, 0o755))
	s.ostree("init", "--mode="+mode)
	return s
}

func (s *scratch) ok(errs ...error) {
	s.Helper()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
}

// try runs ostree on the repository and returns what it prints.
func (s *scratch) try(args ...string) (string, error) {
	cmd := exec.Command("ostree", append([]string{args[0], "--repo=" + s.repo}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "CHARSET=UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = errors.New(strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

func (s *scratch) ostree(args ...string) string {
	s.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.Fatalf("ostree %.60q: %v", args, err)
	}
	return out
}

// commit commits the tree and returns the checksum.
func (s *scratch) commit(args ...string) string {
	s.Helper()
	return s.ostree(append([]string{"commit", "--no-bindings", "--orphan", "--tree=dir=" + s.tree}, args...)...)
}

func (s *scratch) open() *Repo {
	s.Helper()
	root, err := rooted.OpenRoot(filepath.Dir(s.repo))
	s.ok(err)
	defer root.Close()
	repo, err := Open(root, "repo")
	s.ok(err)
	s.Cleanup(repo.Close)
	return repo
}

// write writes a file below the repository.
func (s *scratch) write(path, content string) {
	s.Helper()
	path = filepath.Join(s.repo, path)
	s.ok(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
}

// object returns the path of an object.
func (s *scratch) object(sum Checksum, kind string) string {
	return filepath.Join(s.repo, objectPath(sum, kind))
}

func parse(t testing.TB, checksum string) Checksum {
	t.Helper()
	sum, err := ParseChecksum(checksum)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// root returns the root directory of a commit.
func (r *Repo) root(t testing.TB, checksum string) TreeDir {
	t.Helper()
	commit, err := r.Commit(parse(t, checksum))
	if err != nil {
		t.Fatal(err)
	}
	return commit.Root
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	good := "[core]\nrepo_version=1\nmode=bare-user-only\n"
	for name, test := range map[string]struct {
		harm func(s *scratch)
		want error
	}{
		"nothing":             {func(s *scratch) { s.ok(os.RemoveAll(s.repo)) }, ErrNoRepo},
		"objects elsewhere":   {func(s *scratch) { s.ok(os.RemoveAll(s.repo+"/objects"), os.Symlink("tmp", s.repo+"/objects")) }, unix.ENOTDIR},
		"refs elsewhere":      {func(s *scratch) { s.ok(os.RemoveAll(s.repo+"/refs"), os.Symlink("tmp", s.repo+"/refs")) }, unix.ENOTDIR},
		"no objects":          {func(s *scratch) { s.ok(os.RemoveAll(s.repo + "/objects")) }, fs.ErrNotExist},
		"a parent":            {func(s *scratch) { s.write("config", good+"parent=/else\n") }, ErrParent},
		"another version":     {func(s *scratch) { s.write("config", "[core]\nrepo_version=2\n") }, errVersion},
		"no version":          {func(s *scratch) { s.write("config", "[core]\n") }, errVersion},
		"a FIFO":              {func(s *scratch) { s.ok(os.Remove(s.repo+"/config"), unix.Mkfifo(s.repo+"/config", 0o644)) }, rooted.ErrNotRegular},
		"a link out of it":    {func(s *scratch) { s.ok(os.Remove(s.repo+"/config"), os.Symlink("/etc/passwd", s.repo+"/config")) }, fs.ErrNotExist},
		"nothing of the kind": {func(s *scratch) { s.write("config", good) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScratch(t, "bare-user-only")
			test.harm(s)
			root, err := rooted.OpenRoot(filepath.Dir(s.repo))
			s.ok(err)
			defer root.Close()
			repo, err := Open(root, "repo")
			if err == nil {
				repo.Close()
			}
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), s.repo) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestCheckModeAcceptsOnlyWhatHostsHave(t *testing.T) {
	s := newScratch(t, "archive")
	for mode, good := range map[string]bool{"mode=bare": true, "": true, "mode=bare-user": false, "mode=bare-user-only": false, "mode=archive-z2": false} {
		s.write("config", "[core]\nrepo_version=1\n"+mode+"\n")
		if err := s.open().CheckMode(); (err == nil) != good || !good && !errors.Is(err, ErrMode) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
