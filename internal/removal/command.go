// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package removal keeps podman from removing what the host needs: it reads the command
// lines of podman that remove images or names of the bootc store, and decides what of it
// would be missing afterwards. It removes nothing itself.
package removal

import (
	"slices"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Verb is what a command of podman removes.
type Verb string

// The verbs, in podman's words.
const (
	Remove      Verb = "image rm"
	Prune       Verb = "image prune"
	Untag       Verb = "image untag"
	SystemPrune Verb = "system prune"
	SystemReset Verb = "system reset"
)

// Command is a command line of podman that removes images or names of images, podman 4.3
// to 6.1.
type Command struct {
	Verb Verb
	// Operands are the images and names; after an unknown option they may have its value.
	Operands []string
	// All, Force, NoPrune, External and BuildCache are podman's options of this name.
	All, Force, NoPrune, External, BuildCache bool
	// Filters are the values of --filter.
	Filters []string
	// Help is true if podman only prints help.
	Help bool
	// ForceInUse and DryRun are our own options.
	ForceInUse, DryRun bool
	// Args are the arguments for podman, without our own options.
	Args []string
}

// verbs returns the verbs by the words that name them.
func verbs() map[string]Verb {
	return map[string]Verb{
		"image rm": Remove, "rmi": Remove, "image prune": Prune, "image untag": Untag, "untag": Untag,
		"system prune": SystemPrune, "system reset": SystemReset,
	}
}

// Parse reads the arguments of podman, without its name. ok is false for any other command.
// An option of podman counts wherever podman accepts it, also before the command.
func Parse(args []string) (c Command, ok bool) {
	if !slices.ContainsFunc(args, func(word string) bool {
		return slices.Contains([]string{"rm", "rmi", "prune", "untag", "reset"}, word)
	}) {
		return c, false
	}
	r := reader{}
	for i := 0; i < len(args); i++ {
		i += r.read(args[i:])
	}
	if r.Verb, r.Operands, ok = r.command(); !ok {
		return c, false
	}
	for i, word := range args {
		if !slices.Contains(r.ours, i) || word == dryRun && r.Verb != Prune {
			r.Args = append(r.Args, word)
		}
	}
	return r.Command, true
}

// Our own options.
const (
	forceInUse = "--force-in-use"
	dryRun     = "--dry-run"
)

// reader reads a command line, word by word.
type reader struct {
	Command
	words []word
	// at is the index of the next word, ours are those of our own options.
	at   int
	ours []int
	// plain is true after "--", unknown after an option that is not known.
	plain, unknown bool
}

// word is an argument that is no option; maybe is true if it can be the value of one.
type word struct {
	text  string
	maybe bool
}

// read reads the first of args, and returns how many more words are its value.
func (r *reader) read(args []string) (more int) {
	arg, before := args[0], r.unknown
	at := r.at
	r.unknown = false
	r.at++
	name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	switch {
	case r.plain, len(arg) < 2, arg[0] != '-':
		r.words = append(r.words, word{arg, before && !r.plain})
	case arg == "--":
		r.plain = true
	case arg == forceInUse && !before, arg == dryRun && !before:
		r.ours = append(r.ours, at)
		r.ForceInUse = r.ForceInUse || arg == forceInUse
		r.DryRun = r.DryRun || arg == dryRun
	case arg[1] != '-':
		r.letters(arg[1:])
	case name == "filter":
		if !joined && len(args) > 1 {
			value, more = args[1], 1
		}
		r.Filters = append(r.Filters, value)
	case r.flag(name) != nil:
		// podman fails on any other value.
		set, err := strconv.ParseBool(value)
		*r.flag(name) = set || !joined || err != nil
	case !joined:
		takes, known := wrapper.OptionValue(name)
		if r.unknown = !known; takes && len(args) > 1 {
			more = 1
		}
	}
	r.at += more
	return more
}

// flag returns where an option without a value is kept, nil for any other.
func (r *reader) flag(name string) *bool {
	return map[string]*bool{
		"all": &r.All, "force": &r.Force, "no-prune": &r.NoPrune, "external": &r.External,
		"build-cache": &r.BuildCache, "help": &r.Help,
	}[name]
}

// letters reads options of one letter in one word. What podman does not have here, it
// refuses.
func (r *reader) letters(letters string) {
	for _, letter := range letters {
		switch letter {
		case 'a':
			r.All = true
		case 'f':
			r.Force = true
		case 'h':
			r.Help = true
		case 'c':
			r.unknown = true // --connection, whose value may follow
		}
	}
}

// command returns the verb that the words begin with, and the words after it.
func (r *reader) command() (v Verb, operands []string, ok bool) {
	words := r.words
	path := ""
	for len(words) > 0 {
		next := strings.TrimPrefix(path+" "+words[0].text, " ")
		known := slices.Contains([]string{"image", "system"}, next)
		if v, ok = verbs()[next]; !ok && !known && !words[0].maybe {
			return "", nil, false
		}
		words = words[1:]
		if ok {
			break
		}
		if known {
			path = next
		}
	}
	for _, w := range words {
		operands = append(operands, w.text)
	}
	return v, operands, ok
}
