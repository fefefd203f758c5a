// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// ToolName is the file name under which this program is bootc's external container tool.
const ToolName = "bootc-tool"

// Tool is a command line of podman or skopeo that bootc gave to its external container
// tool, which it runs in place of both.
type Tool struct {
	// Skopeo reports that it is one of skopeo.
	Skopeo bool
	// Args is the argument vector, with the argv[0] that the program would have got.
	Args []string
}

// ReadTool reads an argument vector. bootc starts a tool with the path of the tool as
// argv[0], or with "bootc" (crates/lib/src/install.rs, exec_in_host_mountns), which it
// also gives to podman. What is not known to be of skopeo is podman's.
func ReadTool(argv []string) Tool {
	t := Tool{Args: slices.Clone(argv)}
	if len(argv) == 0 {
		t.Args = []string{ToolName}
	}
	t.Skopeo = isSkopeo(t.Args[1:])
	if filepath.Base(t.Args[0]) == ToolName {
		t.Args[0] = t.name()
	}
	return t
}

func (t Tool) name() string {
	if t.Skopeo {
		return "skopeo"
	}
	return "podman"
}

// isSkopeo reports whether arguments are of skopeo 1.9 to 1.22: their first word is a
// command that only skopeo has, or "inspect" of an image with a transport, which podman
// does not take. In front of it are options that skopeo has.
func isSkopeo(args []string) bool {
	for i := 0; i < len(args); i++ {
		word := args[i]
		name, _, hasValue := strings.Cut(word, "=")
		switch {
		case slices.Contains(skopeoFlags(), name):
		case slices.Contains(skopeoOptions(), name):
			if !hasValue {
				i++
			}
		case word == "inspect":
			return slices.ContainsFunc(args[i+1:], hasTransport)
		default:
			return slices.Contains(skopeoCommands(), word)
		}
	}
	return false
}

// skopeoCommands are the commands that podman does not have.
func skopeoCommands() []string {
	return []string{
		"copy", "delete", "experimental-image-proxy", "generate-sigstore-key", "layers", "list-tags", "manifest-digest",
		"standalone-sign", "standalone-verify", "sync", "untrusted-signature-dump-without-verification",
	}
}

func skopeoFlags() []string { return []string{"--debug", "--insecure-policy", "--require-signed"} }

// skopeoOptions are its global options that have a value.
func skopeoOptions() []string {
	return []string{
		"--command-timeout", "--override-arch", "--override-os", "--override-variant", "--policy", "--registries-conf",
		"--registries.d", "--tmpdir", "--user-agent-prefix",
	}
}

// hasTransport reports whether a word is an image of containers-transports(5).
func hasTransport(word string) bool {
	transport, _, found := strings.Cut(word, ":")
	return found && slices.Contains([]string{
		"atomic", "containers-storage", "dir", "docker", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree",
		"sif", "tarball",
	}, transport) && (transport != "docker" || strings.HasPrefix(word, "docker://"))
}

// PassOn makes this process the real program of a command line that bootc gave to its tool,
// with its own environment and change, and returns only on failure, with a *LookupError. The
// real podman is $BOOTC_PODMAN_PODMAN, if that is a command line that can be run, else podman
// in PATH. Our own file is passed over, and so are scripts that called us as podman. A script
// is run with one variable more than that, by which we see it when it calls us.
func (h Host) PassOn(t Tool, change EnvChange) error {
	found, err := h.findReal(t)
	if err != nil {
		return err
	}
	cmd := Cmd{Path: found[0], Args: slices.Concat(t.Args[:1], found[1:], t.Args[1:]), Env: h.Env}
	if len(change.Set)+len(change.Unset) > 0 {
		cmd.Env = change.apply(h.Env)
	}
	cmd.Podman = isScript(cmd.Path)
	return h.Execer.Exec(cmd)
}

// findReal returns the file of a program and, of a command line, its further words.
func (h Host) findReal(t Tool) ([]string, error) {
	callers := filepath.SplitList(Getenv(h.Env, envBecame))
	if !t.Skopeo && Getenv(h.Env, EnvPodman) != "" {
		if found, err := FindPodman(h.Env, h.Self); err == nil {
			return found, nil
		}
	}
	path, err := lookPath(t.name(), h.Env, append(callers, h.Self)...)
	return []string{path}, err
}

// Called reports whether a podman that we became, or ran, called us.
func (h Host) Called() bool { return Getenv(h.Env, envBecame) != "" }

// isScript reports whether a file is no program of the kernel's own format, and so one that
// may call any other.
func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err != nil || string(magic) != "\x7fELF"
}

// Repair returns the change of the environment that lets a skopeo find the bootc-owned
// store, which bootc names in STORAGE_OPTS: skopeo ignores that variable on a host without a
// storage.conf (see storageconf.CheckAdditional). The file that it gets has the settings of
// such a host. Nothing is changed for other command lines, or on failure.
func (h Host) Repair(t Tool) (change EnvChange, err error) {
	options, set := LookupEnv(h.Env, storageconf.EnvStorageOpts)
	if !t.Skopeo || !set || Getenv(h.Env, envStorageConf) != "" || !errors.Is(storageconf.CheckAdditional(h.Root), storageconf.ErrNoConf) {
		return change, nil
	}
	st, _, err := h.locate()
	if err != nil || !st.IsImageStore(h.Root, options) {
		return change, err
	}
	conf, err := h.writeApps(st)
	if err == nil {
		change.Set = []string{envStorageConf + "=" + conf}
	}
	return change, err
}
