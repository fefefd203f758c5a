// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// ContainerError reports that containers cannot run from the store: podman passes the run
// root as text to conmon(8), whose descriptor 3 is another file.
type ContainerError struct {
	// Command is podman's, Store the directory that has the images.
	Command, Store string
}

func (e *ContainerError) Error() string {
	return fmt.Sprintf("run %q: containers cannot run from the bootc store", e.Command)
}

// LoginError reports that a command would change credentials that end with the namespace.
type LoginError struct {
	// Command is the program's, File what the credentials were copied from or, without
	// any, where bootc looks for them.
	Command, File string
}

func (e *LoginError) Error() string {
	return fmt.Sprintf("run %q: the credentials inside exec are a copy that ends with it", e.Command)
}

// ErrScp reports that podman starts another podman to copy an image between the users of
// this host, with the paths of the store, but without its configuration.
var ErrScp = errors.New("podman starts another one for it, which cannot open the bootc store")

// refuseScp returns ErrScp for a command line of podman that copies an image between users
// of this host, whose stores podman calls USER@localhost::.
func refuseScp(p program) error {
	local := func(word string) bool { return strings.Contains(word, "@localhost::") }
	if p.name != "podman" || !p.is("image scp") || !slices.ContainsFunc(p.args, local) {
		return nil
	}
	return fmt.Errorf("copy image to or from another user: %w", ErrScp)
}

// program is the part that we read of a command line of podman, buildah or skopeo. Other
// words are for the program.
type program struct {
	name string
	// words are the first two that are neither options nor their values.
	words []string
	args  []string
}

// readProgram reads a command line. The name is empty for any other program.
func readProgram(argv []string) (p program) {
	name := filepath.Base(argv[0])
	if !slices.Contains([]string{"podman", "buildah", "skopeo"}, name) {
		return program{}
	}
	p = program{name: name, args: argv[1:]}
	plain := []string{"--remote", "--transient-store"}
	for i := 0; i < len(p.args) && len(p.words) < 2; i++ {
		word := p.args[i]
		switch name := strings.TrimLeft(word, "-"); {
		case word == "--":
			return p
		case len(word) < 2 || word[0] != '-':
			p.words = append(p.words, word)
		case len(p.words) > 0, strings.Contains(word, "="), slices.Contains(plain, word):
		case word == "-c", word[1] == '-' && (slices.Contains(valueOptions(), name) ||
			slices.Contains(storeOptions(), name) || slices.Contains(remoteOptions(), name)):
			i++
		}
	}
	return p
}

// option returns the value of the last long option with a name.
func (p program) option(name string) (value string, set bool) {
	for i, word := range p.args {
		if word == "--" {
			break
		}
		if word == "--"+name {
			set, value = true, ""
			if i+1 < len(p.args) {
				value = p.args[i+1]
			}
		} else if v, ok := strings.CutPrefix(word, "--"+name+"="); ok {
			set, value = true, v
		}
	}
	return value, set
}

// elsewhere reports whether an option selects another store, or the program only prints help.
func (p program) elsewhere() bool {
	if root, set := p.option("root"); set && withoutLinks(root) != storageconf.GraphRoot {
		return true
	}
	for _, name := range []string{"help", "remote", "url", "connection"} {
		if value, set := p.option(name); set && value != "false" {
			return true
		}
	}
	return len(p.words) == 0 || slices.ContainsFunc(p.args[:slices.Index(p.args, p.words[0])], func(word string) bool {
		return word == "-r" || word == "-h" || strings.HasPrefix(word, "-c")
	})
}

// withoutLinks resolves the links in the part of a path that is there: what podman 5.8
// compares with the graph root in its database.
func withoutLinks(path string) string {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(resolved, rest)
		}
		if dir == filepath.Dir(dir) {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// is reports whether the words are those of one of the commands.
func (p program) is(commands ...string) bool {
	return len(p.words) > 0 && (slices.Contains(commands, p.words[0]) || slices.Contains(commands, strings.Join(p.words, " ")))
}

// IsStore reports whether a graph root that a command line names is that of the bootc store,
// for a program in the store's namespace. Where that cannot be determined, it is.
func (h Host) IsStore(root string) bool {
	if root, err := filepath.Abs(root); err != nil || withoutLinks(root) == storageconf.GraphRoot {
		return true
	}
	store, err := storageconf.Locate(h.Sysroot)
	if err != nil {
		return true
	}
	ours, err := store.Open()
	if err != nil {
		return !errors.Is(err, storageconf.ErrNoStore)
	}
	defer ours.Close()
	named, err := os.Open(root)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer named.Close()
	have, errOurs := rooted.Identify(ours)
	want, errNamed := rooted.Identify(named)
	return errOurs != nil || errNamed != nil || have == want
}

// refuse returns why a program would fail in the namespace, or have no lasting effect:
// *ContainerError, *LoginError or ErrScp.
func (s *Session) refuse(argv []string) error {
	p := readProgram(argv)
	if p.name == "" || p.elsewhere() {
		return nil
	}
	_, authFile := p.option("authfile")
	_, other := p.option("compat-auth-file")
	_, question := p.option("get-login")
	switch {
	case p.is("login", "logout") && !authFile && !other && !question:
		file := s.Auth.Path
		if file == "" || file == s.authPath() {
			file = filepath.Join(s.host.Sysroot, "etc/ostree/auth.json")
		}
		return &LoginError{Command: p.name + " " + p.words[0], File: cmp.Or(s.host.AuthFile, file)}
	case p.name == "podman" && p.is("run", "start", "restart", "init", "container run", "container start",
		"container restart", "container init", "container runlabel", "kube play", "play kube", "pod start", "pod restart"):
		command := p.words[:1]
		if slices.Contains([]string{"container", "kube", "play", "pod"}, p.words[0]) {
			command = p.words
		}
		return &ContainerError{Command: "podman " + strings.Join(command, " "), Store: s.Store.Path()}
	}
	return refuseScp(p)
}

// ensureDatabase makes podman write its database to a store without one, with bootc's
// options: a program that calls podman without them would record other paths, which bootc's
// podman refuses. Which database podman uses depends on its version. So podman runs unless
// both exist, or this podman has run before. The program runs also after an error, as it may
// be there to repair the store.
func (s *Session) ensureDatabase(ctx context.Context) error {
	podman, err := FindPodman(s.host.Env, s.host.Self)
	if err != nil {
		return err
	}
	state, complete, err := s.databases(podman)
	if err != nil || complete {
		return err
	}
	if storageconf.Holds(s.databasePath(), []byte(state)) {
		return nil
	}
	cmd, err := s.Podman(ctx, "images", "--quiet")
	if err != nil {
		return err
	}
	if err := s.Run(ctx, cmd); err != nil {
		return err
	}
	if state, _, err = s.databases(podman); err != nil {
		return err
	}
	return storageconf.WriteConf(s.databasePath(), []byte(state))
}

// databases describes the store, its databases and the podman for it; complete reports
// that the store has each database that a podman could make.
func (s *Session) databases(podman []string) (state string, complete bool, err error) {
	dir, err := s.Store.Open()
	if err != nil {
		return "", false, err
	}
	defer dir.Close()
	var program, store unix.Stat_t
	if err := unix.Stat(podman[0], &program); err != nil {
		return "", false, &os.PathError{Op: "stat", Path: podman[0], Err: err}
	}
	if err := unix.Fstat(int(dir.Fd()), &store); err != nil {
		return "", false, &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	names, all := storageconf.PodmanDatabases(dir)
	return fmt.Sprintf("store %d:%d, databases %q, podman %q %d:%d %d %d\n", store.Dev, store.Ino, names,
		podman, program.Dev, program.Ino, program.Size, program.Mtim.Nano()), all, nil
}
