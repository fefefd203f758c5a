// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// ErrNotRoot reports that the store cannot be opened without root.
var ErrNotRoot = errors.New("root is needed")

// ErrContainer reports that this process runs in a container, which has no bootc store.
var ErrContainer = errors.New("running inside a container")

// Host is the process and machine the wrapper works for.
type Host struct {
	// Env is the caller's environment, Euid its effective user, Self the path
	// of our own executable.
	Env  []string
	Euid int
	Self string
	// Root is the directory of the host's own files, "/".
	Root string
	// Sysroot is the root of the host whose store is used, "/" or the one that the
	// user named.
	Sysroot string
	// AuthFile is the credentials file the user named, "" for bootc's.
	AuthFile string
	// ConfPath is the private storage.conf of the running host's store; those of
	// other sysroots are beside it.
	ConfPath string
	Execer   Execer
	Runner   Runner
	// DryRun, when not nil, is where what would run is written in shell words,
	// instead of running it.
	DryRun io.Writer
}

// Session describes how a store is opened for a program, as plain data.
type Session struct {
	Store  storageconf.Store
	Config storageconf.Config
	Auth   storageconf.Auth
	Change EnvChange

	host Host
	conf []byte
	// created is true once this session has made the store.
	created bool
}

// Open decides how the store of h.Sysroot is opened, and fails where podman
// would: inside a container (ErrContainer, unless the user named a sysroot),
// without root (ErrNotRoot, except in a dry run), on a machine that is not a
// bootc host (storageconf.ErrNotBootcHost), with a malformed storage.conf, or
// with a podman database made with other paths (*storageconf.MismatchError).
// The store need not exist. Open writes nothing.
func (h Host) Open() (*Session, error) {
	st, config, err := h.locate()
	if err != nil {
		return nil, err
	}
	s := &Session{Store: st, host: h}
	if st.Exists {
		if s.Config, err = inspectStore(st, config); err != nil {
			return nil, err
		}
	} else {
		s.Config = config
	}
	s.conf = s.Config.Render()
	if s.Auth, err = s.findAuth(); err != nil {
		return nil, err
	}
	s.Change = changeEnv(h.Env, s.confPath(), s.authPath())
	return s, nil
}

// locate returns where the store is, and the host's configuration, with the errors of Open.
func (h Host) locate() (st storageconf.Store, config storageconf.Config, err error) {
	if h.Sysroot == "/" {
		if evidence := InContainer(h.Root, h.Env); evidence != "" {
			return st, config, fmt.Errorf("open bootc store: %w: %s", ErrContainer, evidence)
		}
	}
	if h.Euid != 0 && h.DryRun == nil {
		return st, config, fmt.Errorf("open bootc store: %w", ErrNotRoot)
	}
	if st, err = storageconf.Locate(h.Sysroot); err != nil {
		return st, config, err
	}
	config, err = h.hostConfig()
	return st, config, err
}

// inspectStore completes config with the facts that only the store has.
func inspectStore(st storageconf.Store, config storageconf.Config) (storageconf.Config, error) {
	dir, err := st.Open()
	if err != nil {
		return config, err
	}
	defer dir.Close()
	config = config.ForStore(dir)
	err = storageconf.CheckPodmanDB(dir)
	if err != nil && !errors.As(err, new(*storageconf.MismatchError)) {
		// Unreadable: podman reports the cause.
		logrus.Debugf("Skipping the check of podman's paths: %v", err)
		return config, nil
	}
	return config, err
}

// InContainer returns the evidence that bootc would find for running in a
// container (crates/ostree-ext/src/container_utils.rs), "" for none. root is the
// root directory, env the environment.
func InContainer(root string, env []string) (evidence string) {
	if _, set := LookupEnv(env, "container"); set {
		return "$container is set"
	}
	for _, file := range []string{"run/.containerenv", ".dockerenv"} {
		path := filepath.Join(root, file)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Sprintf("%q exists", path)
		}
	}
	return ""
}

// Podman returns the command line that runs podman with args on the store. It has
// bootc's own options, and podman reads the host's configuration itself, so that the same
// settings apply for bootc and for us.
func (s *Session) Podman(_ context.Context, args ...string) (Cmd, error) {
	return s.host.podman(s.podmanChange(), append(s.Config.Flags(), args...)...)
}

// podmanChange is what podman gets instead of Change, without the private storage.conf.
func (s *Session) podmanChange() EnvChange {
	return changeEnv(s.host.Env, "", s.authPath())
}

// PodmanVersion returns podman's major and minor version, zero if podman does not print
// them.
func (h Host) PodmanVersion(ctx context.Context) (version [2]int, err error) {
	cmd, err := h.podman(dropped(h.Env), "--version")
	if err != nil {
		return version, err
	}
	out, err := h.Runner.Output(ctx, cmd)
	if err != nil {
		return version, err
	}
	if _, err := fmt.Sscanf(string(out), "podman version %d.%d", &version[0], &version[1]); err != nil {
		logrus.Debugf("Not a podman version: %q", out)
	}
	return version, nil
}

// Program returns the command line of any program, found in PATH like a shell
// would, to run inside the store's namespace.
func (s *Session) Program(argv ...string) (Cmd, error) {
	path, err := LookPath(argv[0], s.host.Env)
	if err != nil {
		return Cmd{}, err
	}
	return Cmd{Path: path, Args: argv, Env: s.Change.apply(s.host.Env)}, nil
}

// Become makes this process cmd inside the store's namespace; it returns only
// on failure, or after a dry run. A missing store is storageconf.ErrNoStore.
func (s *Session) Become(ctx context.Context, cmd Cmd) error {
	if !s.Store.Exists {
		return fmt.Errorf("open %q: %w", s.Store.Path(), storageconf.ErrNoStore)
	}
	if s.host.DryRun != nil {
		return s.explainRun(s.Store.Path(), s.envWords(cmd.Env), cmd)
	}
	if err := s.placeConf(cmd); err != nil {
		return err
	}
	ns, err := s.enter(ctx)
	if err != nil {
		return err
	}
	if err := ns.placeRunRoot(); err != nil {
		return err
	}
	return s.host.Execer.Exec(cmd)
}

// Create makes the store if it is missing, as bootc does, and reports whether this session
// made it: another process can have been faster. What the new store was made with is known to a new session only.
func (s *Session) Create(ctx context.Context) (created bool, err error) {
	if s.Store.Exists {
		return false, nil
	}
	if s.host.DryRun != nil {
		return false, s.ExplainStore()
	}
	_, err = s.enter(ctx)
	return s.created, err
}

// enter puts the calling thread into a namespace with the store in place, made
// if it is missing, and the credentials.
func (s *Session) enter(ctx context.Context) (*namespace, error) {
	if _, err := stateDir(s.host.ConfPath); err != nil {
		return nil, err
	}
	ns, err := enterNamespace(s.Store, s.privateDir(), s.Auth)
	if err != nil || ns.bound {
		return ns, err
	}
	if !s.Store.Exists {
		if err := s.create(ctx, ns); err != nil {
			return nil, fmt.Errorf("create bootc store %q: %w", s.Store.Path(), err)
		}
	}
	dir, err := s.Store.Open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := ensureWritable(dir); err != nil {
		return nil, err
	}
	return ns, ns.bind(dir)
}

// placeConf writes the private storage.conf for programs that read it, and removes those
// of other sysroots that no process uses.
func (s *Session) placeConf(cmd Cmd) error {
	if !slices.Contains(cmd.Env, envStorageConf+"="+s.confPath()) {
		return nil
	}
	dir, err := stateDir(s.host.ConfPath)
	if err != nil {
		return err
	}
	// First, as later ones stay.
	for _, path := range []string{s.confPath(), s.databasePath()} {
		storageconf.Refresh(path)
	}
	if err := storageconf.WriteConf(s.confPath(), s.conf); err != nil {
		return err
	}
	if err := storageconf.RemoveStale(dir, filepath.Join(s.host.Root, "proc")); err != nil {
		logrus.Debugf("Leaving files of other sysroots: %v", err)
	}
	return nil
}

// findAuth reads the credentials in effect: those that the user named, else those of the
// namespace that the caller is in, which a program there may have changed, else bootc's.
func (s *Session) findAuth() (storageconf.Auth, error) {
	if s.host.AuthFile != "" {
		return storageconf.ReadAuth(s.host.AuthFile)
	}
	if Getenv(s.host.Env, envAuthFile) == s.authPath() && Getenv(s.host.Env, envStorageConf) == s.confPath() {
		// Outside of a namespace the file does not exist.
		if auth, err := storageconf.ReadAuth(s.authPath()); !errors.Is(err, fs.ErrNotExist) {
			return auth, err
		}
	}
	return storageconf.FindAuth(s.host.Sysroot)
}

// confPath returns the path of the private storage.conf. Another host's store has a
// file of its own: it may have another driver, and programs in its namespace
// read the file many times.
func (s *Session) confPath() string {
	if s.Store.Sysroot == "/" {
		return s.host.ConfPath
	}
	sum := sha256.Sum256([]byte(s.Store.Sysroot))
	ext := filepath.Ext(s.host.ConfPath)
	return strings.TrimSuffix(s.host.ConfPath, ext) + "-" + hex.EncodeToString(sum[:8]) + ext
}

// databasePath returns the path of the record of ensureDatabase.
func (s *Session) databasePath() string {
	return strings.TrimSuffix(s.confPath(), filepath.Ext(s.confPath())) + ".database"
}

// privateDir returns the directory of the files of a namespace.
func (s *Session) privateDir() string {
	return filepath.Join(filepath.Dir(s.host.ConfPath), filepath.Base(storageconf.PrivateDir))
}

// authPath returns the path of the credentials as podman sees it.
func (s *Session) authPath() string {
	return filepath.Join(s.privateDir(), storageconf.PrivateAuth)
}
