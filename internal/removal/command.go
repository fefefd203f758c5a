// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package removal keeps podman, buildah and skopeo from removing what the host needs: it
// reads their command lines that remove images or names of the bootc store, and decides what
// of it would be missing afterwards. It removes nothing itself.
package removal

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Verb is what a command removes.
type Verb string

// The verbs, in podman's words but for the last.
const (
	Remove      Verb = "image rm"
	Prune       Verb = "image prune"
	Untag       Verb = "image untag"
	Tag         Verb = "image tag"
	Push        Verb = "manifest push"
	SystemPrune Verb = "system prune"
	SystemReset Verb = "system reset"
	SystemCheck Verb = "system check"
	// Delete is that of skopeo, which removes an image with all its names.
	Delete Verb = "delete"
)

// Command is a command line that removes images or names of images: of podman 4.3 to 6.1,
// of buildah 1.28 to 1.43, or of skopeo 1.9 to 1.22.
type Command struct {
	// Program is "podman", "buildah" or "skopeo".
	Program string
	Verb    Verb
	// Operands are the images and names; after an unknown option they may have its value.
	Operands []string
	// All, Force, NoPrune, External and BuildCache are podman's options of this name.
	All, Force, NoPrune, External, BuildCache bool
	// Filters are the values of --filter.
	Filters []string
	// Help is true if the program only prints help.
	Help bool
	// Root is the graph root that the command line names, "" for none. Remote is true for
	// the store of a podman service.
	Root   string
	Remote bool
	// ForceInUse and DryRun are our own options.
	ForceInUse, DryRun bool
	// Args are the arguments for the program, without our own options.
	Args []string

	// prune is the option of buildah rmi, purge those of manifest push, repair that of
	// system check.
	prune, purge, repair bool
}

// tool is how a program reads its command line, and its commands that remove.
type tool struct {
	// traverses is that of cobra's TraverseChildren: options are read where they stand, and
	// "--" is an option of one word.
	traverses bool
	verbs     map[string]Verb
	// groups are the words that a command follows.
	groups []string
	// value and plain are options that podman does not have.
	value, plain []string
}

func tools() map[string]tool {
	return map[string]tool{
		"podman": {
			traverses: true, groups: []string{"image", "manifest", "system"},
			verbs: map[string]Verb{
				"image rm": Remove, "rmi": Remove, "image prune": Prune, "image untag": Untag, "untag": Untag,
				"image tag": Tag, "tag": Tag, "manifest rm": Remove, "manifest push": Push,
				"system prune": SystemPrune, "system reset": SystemReset, "system check": SystemCheck,
			},
			value: []string{"context", "host", "max", "out", "tls-details"}, plain: []string{"noout", "version"},
		},
		"buildah": {
			groups: []string{"manifest"},
			verbs:  map[string]Verb{"rmi": Remove, "prune": Prune, "tag": Tag, "manifest rm": Remove, "manifest push": Push},
			value:  []string{"registries-conf-dir", "short-name-alias-conf"}, plain: []string{"version"},
		},
		"skopeo": {
			traverses: true, verbs: map[string]Verb{"delete": Delete},
			value: []string{"command-timeout", "override-arch", "override-os", "override-variant", "registries.d", "user-agent-prefix"},
			plain: []string{"debug", "insecure-policy", "version"},
		},
	}
}

// Parse reads the arguments of podman, without its name. ok is false for any other command.
// An option of podman counts wherever podman accepts it, also before the command.
func Parse(args []string) (c Command, ok bool) {
	return ParseProgram(append([]string{"podman"}, args...))
}

// ParseProgram is Parse for a command line of podman, buildah or skopeo.
func ParseProgram(argv []string) (c Command, ok bool) {
	name := filepath.Base(argv[0])
	t, ok := tools()[name]
	if !ok {
		return c, false
	}
	r := reader{tool: t, args: argv[1:]}
	r.Program = name
	if !slices.ContainsFunc(r.args, r.isLast) || !r.command("", 0) {
		return c, false
	}
	r.Remote = name == "podman" && isRemote(r.args)
	for i, word := range r.args {
		if !slices.Contains(r.ours, i) || word == dryRun && r.Verb != Prune {
			r.Args = append(r.Args, word)
		}
	}
	return r.adjust()
}

// adjust makes a verb of what options make of one.
func (r *reader) adjust() (c Command, ok bool) {
	c = r.Command
	switch {
	case c.Verb == Remove && c.prune:
		c.Verb = Prune
	case c.Verb == Push && c.purge && len(c.Operands) > 0:
		c.Verb, c.Operands, c.NoPrune = Remove, c.Operands[:1], true
	case c.Verb == Push, c.Verb == SystemCheck && !c.repair:
		return Command{}, false
	case c.Verb == Delete:
		for _, operand := range c.Operands {
			c.Root, ok = storageRoot(operand)
			if !ok {
				return Command{}, false
			}
		}
	}
	return c, true
}

// storageRoot returns the graph root that an image of skopeo names, "" for none; ok is
// false for an image that is in no containers-storage. The form is
// containers-storage:[DRIVER@ROOT+RUNROOT:OPTIONS]NAME, and all in brackets but ROOT can be
// missing.
func storageRoot(image string) (root string, ok bool) {
	reference, ok := strings.CutPrefix(image, "containers-storage:")
	if spec, found := strings.CutPrefix(reference, "["); ok && found {
		spec, _, _ = strings.Cut(spec, "]")
		if _, after, found := strings.Cut(spec, "@"); found {
			spec = after
		}
		root = spec[:len(spec)-len(strings.TrimLeft(spec, "/"))] // a path may begin with several
		rest := strings.TrimLeft(spec, "/")
		if end := strings.IndexAny(rest, "+:"); end >= 0 {
			rest = rest[:end]
		}
		root += rest
	}
	return root, ok
}

// Our own options.
const (
	forceInUse = "--force-in-use"
	dryRun     = "--dry-run"
)

// reader reads a command line.
type reader struct {
	Command
	tool
	args []string
	// ours are the indices of our own options.
	ours []int
}

// isLast reports whether a word can be the last of a command that removes.
func (r *reader) isLast(word string) bool {
	for verb := range r.verbs {
		if verb == word || strings.HasSuffix(verb, " "+word) {
			return true
		}
	}
	return false
}

// isOption reports whether a word begins as an option does.
func isOption(word string) bool { return len(word) > 1 && word[0] == '-' }

// certainty is whether the word after an option is its value.
type certainty int

const (
	no certainty = iota
	maybe
	yes
)

// command finds the command whose words after those of path begin at an index, and reads
// its options. A word that may be the value of an option that is not known is a command, if
// it can be one.
func (r *reader) command(path string, at int) bool {
	value := no
	for i := at; i < len(r.args); i++ {
		switch word := r.args[i]; {
		case value == no && isOurs(word):
		case isOption(word):
			if word == "--" && !r.traverses {
				return false
			}
			if value = r.takesNext(word); value == yes && !r.traverses {
				value = no
				i++
			}
		case value == yes:
			value = no
		default:
			next := strings.TrimPrefix(path+" "+word, " ")
			verb, last := r.verbs[next]
			if last || slices.Contains(r.groups, next) {
				before := *r
				r.options(at, i)
				// Words before the command mean nothing, and help is printed for the last command.
				r.Operands, r.Help = nil, false
				if r.Verb = verb; last {
					r.options(i+1, len(r.args))
					return true
				}
				if r.command(next, i+1) {
					return true
				}
				*r = before
			}
			if value == no {
				return false
			}
			value = no
		}
	}
	return false
}

func isOurs(word string) bool { return word == forceInUse || word == dryRun }

// takesNext reports whether the word after an option before the command is its value.
func (r *reader) takesNext(word string) certainty {
	name := strings.TrimPrefix(word, "--")
	switch {
	case strings.Contains(word, "="), word[1] != '-' && len(word) > 2:
		return no
	case name == "":
		return yes
	case word[1] != '-':
		return map[string]certainty{"-c": yes, "-H": yes, "-r": no, "-h": no, "-v": no}[word]
	}
	return r.longTakes(name)
}

func (r *reader) longTakes(name string) certainty {
	takes, known := wrapper.OptionValue(name)
	switch {
	case slices.Contains(r.value, name), takes:
		return yes
	case slices.Contains(r.plain, name), known, r.flag(name) != nil:
		return no
	}
	return maybe
}

// options reads the words from one index up to another as pflag does: options with their
// values wherever they stand, up to "--".
func (r *reader) options(from, to int) {
	unknown := false // the word before was an unknown option
	for i := from; i < to; i++ {
		word, before := r.args[i], unknown
		unknown = false
		name, value, joined := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		next := func() {
			if i++; !joined && i < to {
				value = r.args[i]
			}
		}
		switch {
		case !isOption(word):
			r.Operands = append(r.Operands, word)
		case word == "--":
			r.Operands = append(r.Operands, r.args[i+1:to]...)
			return
		case isOurs(word):
			if !before {
				r.ours = append(r.ours, i)
				r.ForceInUse = r.ForceInUse || word == forceInUse
				r.DryRun = r.DryRun || word == dryRun
			}
		case word[1] != '-':
			if r.letters(word[1:]) {
				i++
			}
		case r.flag(name) != nil:
			r.set(r.flag(name), value, joined)
		case joined, r.longTakes(name) == yes:
			if !joined {
				next()
			}
			switch name {
			case "filter":
				r.Filters = append(r.Filters, value)
			case "root":
				r.Root = value
			}
		default:
			unknown = r.longTakes(name) == maybe
		}
	}
}

// set sets an option without a value. The program fails on a value that is no truth value.
func (r *reader) set(flag *bool, value string, joined bool) {
	truth, err := strconv.ParseBool(value)
	*flag = truth || !joined || err != nil
}

// flag returns where an option without a value is kept, nil for any other.
func (r *reader) flag(name string) *bool {
	return map[string]*bool{
		"all": &r.All, "force": &r.Force, "no-prune": &r.NoPrune, "external": &r.External,
		"build-cache": &r.BuildCache, "help": &r.Help, "prune": &r.prune, "purge": &r.purge, "rm": &r.purge, "repair": &r.repair,
	}[name]
}

// letters reads options of one letter in one word, and reports whether the next word is the
// value of the last. What the program does not have here, it refuses.
func (r *reader) letters(letters string) (more bool) {
	for i, letter := range letters {
		value, joined := strings.CutPrefix(letters[i+1:], "=")
		var flag *bool
		switch {
		case letter == 'c', letter == 'm', letter == 'f' && r.Verb == Push:
			return i+1 == len(letters)
		case letter == 'h' && r.Program == "podman":
			r.Help = true // it has no such option, and prints help whatever follows
			continue
		case letter == 'a':
			flag = &r.All
		case letter == 'f':
			flag = &r.Force
		case letter == 'h':
			flag = &r.Help
		case letter == 'p' && r.Verb == Push:
			flag = &r.purge
		case letter == 'p':
			flag = &r.prune
		case letter == 'r':
			flag = &r.repair
		}
		if flag != nil {
			r.set(flag, value, joined)
		}
		if joined {
			return false
		}
	}
	return false
}

// isRemote reports whether podman takes a command line for one of a podman service. It reads
// the options for that before all others, up to the first word that is neither one nor its
// value. Where another option may have a value like an option, the answer is no.
func isRemote(args []string) (remote bool) {
	named := false
	for i := 0; i < len(args); i++ {
		word := args[i]
		name, value, joined := strings.Cut(word, "=")
		on, err := strconv.ParseBool(value)
		switch {
		case isOurs(word):
		case !isOption(word), word == "--":
			return remote || named
		case name == "--remote", name == "-r":
			remote = !joined || on && err == nil
		case slices.Contains([]string{"--url", "--connection", "-c"}, name):
			named = true
			if !joined {
				i++
			}
		case strings.HasPrefix(name, "-c"):
			named = true
		case word[1] != '-':
			return false
		case !joined && i+1 < len(args):
			if isOption(args[i+1]) {
				return false
			}
			i++
		}
	}
	return remote || named
}
