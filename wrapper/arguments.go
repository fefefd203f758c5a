// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrOtherStore reports that an argument selects another store.
var ErrOtherStore = errors.New("it leads podman to another store")

// storeOptions are global options that podman also accepts after a command, and that change
// which store it opens or what it writes to the database there: another store would get paths
// that exist in our namespace only, and podman outside would refuse it from then on.
func storeOptions() []string {
	return strings.Fields("db-backend imagestore root runroot storage-driver storage-opt tmpdir transient-store volumepath")
}

// remoteOptions make podman use another host's store. podman takes them before the
// word "image" only, where they cannot stand here.
func remoteOptions() []string {
	return strings.Fields("c connection identity r remote tls-ca tls-cert tls-key url")
}

// valueOptions are the options of "podman image" and its commands, podman 4.3 to 6.1,
// whose value may be the next word. An option is not listed where it is among those
// above.
func valueOptions() []string {
	return strings.Fields(`
		cdi-spec-dir cgroup-manager config conmon cpu-profile default-mounts-file events-backend hooks-dir log-level
		max-workers memory-profile module namespace network-cmd-path network-config-dir registries-conf runtime
		runtime-flag ssh
		add-host annotation arch authfile build-arg build-arg-file build-context cache-from cache-to cache-ttl cap-add
		cap-drop cert-dir cgroup-parent cgroupns change compression-format compression-level cpp-flag cpu-period
		cpu-quota cpu-shares cpuset-cpus cpuset-mems creds cw decryption-key device digestfile directory dns
		dns-option dns-search encrypt-layer encryption-key env file filter format from group-add ignorefile iidfile
		iidfile-raw input ipc isolation jobs label layer-label limit logfile manifest memory memory-swap message
		metadata-file mount network os os-feature os-version output pid platform policy pubkeysfile retry retry-delay
		sbom sbom-image-output sbom-image-purl-output sbom-merge-strategy sbom-output sbom-purl-output
		sbom-scanner-command sbom-scanner-image secret security-opt shm-size sign-by sign-by-sigstore
		sign-by-sigstore-private-key sign-by-sq-fingerprint sign-passphrase-file signature-policy sort
		source-date-epoch source-policy-file tag target timestamp type ulimit
		unsetannotation unsetenv unsetlabel userns userns-gid-map userns-gid-map-group userns-uid-map
		userns-uid-map-user uts variant volume`)
}

// runSwitches are the options of "podman run", 4.3 to 6.1, that take no value, or one behind
// "=" only.
func runSwitches() []string {
	return strings.Fields(`
		d detach disable-content-trust env-host h help http-proxy init i interactive no-healthcheck no-hostname no-hosts
		oom-kill-disable passwd P privileged publish-all q quiet read-only read-only-tmpfs replace rm rmi rootfs sig-proxy
		t tls-verify tty unsetenv-all`)
}

// RunImage returns the index of the image in arguments of "podman run", at least len(args) for
// none.
// The word behind an option that is not known counts as its value.
func RunImage(args []string) int {
	switches := runSwitches()
	i := 0
	for ; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return i + 1
		case !strings.HasPrefix(arg, "-") || arg == "-":
			return i
		case strings.HasPrefix(arg, "--"):
			if name := arg[2:]; !strings.Contains(name, "=") && !slices.Contains(switches, name) {
				i++
			}
		default:
			// Of several letters the first that takes a value has the rest for one.
			letters := strings.IndexFunc(arg[1:], func(letter rune) bool { return !slices.Contains(switches, string(letter)) })
			if letters == len(arg)-2 {
				i++
			}
		}
	}
	return i
}

// plainOptions are those that take no value, or one behind "=" only.
func plainOptions() []string {
	return strings.Fields(`
		syslog trace
		all all-platforms all-tags build-cache compat-volumes compatible compress created-annotation digests
		disable-compression disable-content-trust external force force-compression force-rm history http-proxy human
		identity-label ignore inherit-annotations inherit-labels json layers list-tags logsplit multi-image-archive
		no-cache no-hostname no-hosts no-prune no-trunc noheading omit-history pull quiet raw remove-signatures
		rewrite-timestamp rm save-stages skip-unused-stages squash squash-all stage-labels stdin tls-verify uncompressed whatrequires`)
}

// OptionValue reports whether the word after a long option of podman is its value, and
// whether the option is known. name is without dashes.
func OptionValue(name string) (takes, known bool) {
	if slices.Contains(plainOptions(), name) || slices.Contains([]string{"help", "remote", "transient-store"}, name) {
		return false, true
	}
	takes = slices.Contains(valueOptions(), name) || slices.Contains(storeOptions(), name) || slices.Contains(remoteOptions(), name)
	return takes, takes
}

// letters are the options of one letter that a command has: those whose value may
// be the next word, and the others.
func letters(command string) (value, plain string) {
	both := map[string][2]string{
		"build":   {"cfmotv", "Dq"},
		"history": {"", "Hq"},
		"import":  {"cm", "q"},
		"inspect": {"f", ""},
		"list":    {"f", "anq"},
		"load":    {"i", "q"},
		"ls":      {"f", "anq"},
		"mount":   {"d", "a"},
		"prune":   {"", "af"},
		"pull":    {"", "aq"},
		"push":    {"f", "q"},
		"rm":      {"", "afi"},
		"save":    {"o", "mq"},
		"scp":     {"", "q"},
		"search":  {"f", ""},
		"sign":    {"d", "a"},
		"trust":   {"ft", "jn"},
		"umount":  {"", "af"},
		"unmount": {"", "af"},
	}[command]
	return both[0], both[1]
}

// inspectArguments reads the arguments of "podman image" as podman does. It reports whether
// they ask for help, for which podman opens no store, and returns an error if one of them
// selects another store. The value of an option is neither. After an unknown option, a word
// that may be its value is no request for help, but is refused as an option.
func inspectArguments(args []string) (help bool, err error) {
	if len(args) == 0 || args[0] == "help" {
		return true, nil
	}
	// The common case, for scripts that run it in a loop.
	if !slices.ContainsFunc(args, suspicious) {
		return false, nil
	}
	command, commands := "", 0
	unknown := false // the word before was an unknown option
	for i := 0; i < len(args); i++ {
		word, before := args[i], unknown
		unknown = false
		switch {
		case word == "--" && commands == 0:
			i++ // podman takes the next word for the value of an option of this name
		case word == "--":
			return help, nil
		case len(word) < 2 || word[0] != '-':
			if commands++; commands == 1 {
				command = word
			}
		case isHelp(word):
			help = help || !before
		case word[1] == '-':
			name, value, joined := strings.Cut(word[2:], "=")
			switch {
			case joined && name == "help": // the last one counts
				on, err := strconv.ParseBool(value)
				help = help && (on || err != nil)
			case slices.Contains(storeOptions(), name), commands == 0 && slices.Contains(remoteOptions(), name):
				return false, fmt.Errorf("pass on --%s: %w", name, ErrOtherStore)
			case joined, slices.Contains(plainOptions(), name):
			case slices.Contains(valueOptions(), name):
				i++
			default:
				unknown = true
			}
		case commands == 0 && slices.Contains(remoteOptions(), word[1:2]):
			return false, fmt.Errorf("pass on %s: %w", word[:2], ErrOtherStore)
		default:
			value, plain := letters(command)
			// The rest of the word is the value of the first that takes one.
			switch end := strings.TrimLeft(word[1:], plain+"h"); {
			case len(end) == 1 && strings.Contains(value, end):
				i++
			case end != "" && !strings.Contains(value, end[:1]):
				unknown = true
			}
		}
	}
	return help, nil
}

// suspicious reports whether inspectArguments looks for a word, unless it is the value of an
// option.
func suspicious(word string) bool {
	if len(word) < 2 || word[0] != '-' {
		return false
	}
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	return isHelp(word) || slices.Contains(storeOptions(), name) || slices.Contains(remoteOptions(), name) ||
		word[1] != '-' && slices.Contains(remoteOptions(), word[1:2])
}

func isHelp(arg string) bool { return arg == "--help" || arg == "-h" }
