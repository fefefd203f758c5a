// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
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
	if err := s.explainRun(tmp, changeEnv(s.host.Env, "", s.authPath()).words(), cmd); err != nil {
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
	words = append(words, cmd.Path)
	return explainWords(s.host.DryRun, append(words, cmd.Args[1:]...))
}

// Explain writes the command line of cmd in shell words, for a program that runs outside
// the namespace; env is what has to be in its environment.
func Explain(w io.Writer, cmd Cmd, env ...string) error {
	var words []string
	if len(env) > 0 {
		words = append([]string{"env"}, env...)
	}
	return explainWords(w, append(append(words, cmd.Path), cmd.Args[1:]...))
}

func explainWords(w io.Writer, words []string) error {
	_, err := fmt.Fprintln(w, Quote(words...))
	return err
}
