// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// ExplainStore writes, in a dry run, how a missing store is made. Every
// command of the session that would make it writes it, too, once.
func (s *Session) ExplainStore() error {
	if s.host.DryRun == nil || s.Store.Exists {
		return nil
	}
	s.Store.Exists = true // for the rest of the dry run
	cmd, err := s.createCmd()
	if err != nil {
		return err
	}
	tmp := strings.TrimSuffix(s.Store.Path(), storeName) + storeTmpName
	if err := s.explainRun(tmp, s.podmanChange().words(), cmd); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.host.DryRun, "# rename %q to %q\n", tmp, s.Store.Path())
	return err
}

// words returns the change as arguments of env(1).
func (c EnvChange) words() (words []string) {
	for _, name := range c.Unset {
		words = append(words, "-u", name)
	}
	return append(words, c.Set...)
}

// explainRun writes how cmd runs on a store: comments for the steps that no command does,
// and the command line with its environment, arguments of env(1), in shell words.
func (s *Session) explainRun(store string, env []string, cmd Cmd) error {
	auth := "{}, no credentials found"
	if s.Auth.Path != "" {
		auth = fmt.Sprintf("the content of %q", s.Auth.Path)
	}
	// Paths are quoted as in Go: a newline would end the comment.
	_, err := fmt.Fprintf(s.host.DryRun, `# in a private mount namespace: %q bound on %s
# descriptor %d: the directory %s under that mount
# the file %q: %s
`, store, storageconf.GraphRoot, storageconf.RunRootFD, storageconf.GraphRoot, s.authPath(), auth)
	if err != nil {
		return err
	}
	words := append([]string{"env"}, env...)
	if strings.Contains(cmd.Path, "=") { // an assignment to env(1)
		words = append(words, "sh", "-c", `exec "$0" "$@"`)
	}
	_, err = fmt.Fprintln(s.host.DryRun, Quote(words...), cmd)
	return err
}

// Explain writes the command line of cmd in shell words, for a program that runs outside
// the namespace; env is what has to be in its environment.
func Explain(w io.Writer, cmd Cmd, env ...string) error {
	line := cmd.String()
	if len(env) > 0 {
		line = "env " + Quote(env...) + " " + line
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// WriteEnv writes lines for a POSIX shell to evaluate: where the store is, and a
// function that runs any command on it. options are our own global options that
// the function repeats. Exporting the private storage.conf is not enough:
// outside the namespace its paths name no store, or a wrong one.
func (h Host) WriteEnv(w io.Writer, options []string) error {
	st, err := storageconf.Locate(h.Sysroot)
	if err != nil {
		return err
	}
	words := append(append([]string{cmp.Or(h.Self, "bootc-podman")}, options...), "exec", "--")
	_, err = fmt.Fprintf(w, `# podman opens the bootc-owned store only as %s with run root %s,
# the paths in its database. They exist in a private mount namespace, so a
# podman command of your own has to be started there:
#     bootc_store podman image ls --quiet | bootc_store xargs -r podman image inspect
# A descriptor %d of yours does not reach it. See bootc-podman-env(8).
BOOTC_PODMAN_STORE=%s
bootc_store() { %s "$@"; }
`, storageconf.GraphRoot, storageconf.RunRoot, storageconf.RunRootFD,
		Quote(st.Path()), Quote(words...))
	return err
}
