// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"cmp"
	"fmt"
	"io"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

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
