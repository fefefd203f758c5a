// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/removal"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// directive is what the shell does with the candidates: a set of bits that cobra, podman's
// command line library, defines in its completions.go. These are the ones we use.
type directive int

const (
	// orFiles makes the shell complete files when there is no candidate.
	orFiles directive = 0
	noFiles directive = 4
	// noSpace makes the shell add no space after the candidate.
	noSpace directive = 2
	// onlyDirs makes the shell complete directories.
	onlyDirs directive = 16
)

// completeCommand is what the scripts in completions/ call with the words after
// our name, up to the cursor. Like podman's command of the same name it prints a
// candidate for the last word a line, maybe with a tab and a description, and
// then a line of a colon and the directive. It prints nothing else and always
// succeeds: a message would disturb the line that the user types.
func (a *app) completeCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "__complete",
		Usage:     "complete a command line for the shell",
		UsageText: "bootc-podman __complete words",
		Hidden:    true,
		Action: func(c *cli.Context) error {
			candidates, how := a.complete(c.Context, o, c.Args().Slice())
			for _, candidate := range candidates {
				// The shell or the terminal would interpret other characters.
				if plain := strings.ReplaceAll(candidate, "\t", ""); printable(plain) == plain {
					fmt.Fprintf(a.stdout, "%s\n", candidate)
				}
			}
			fmt.Fprintf(a.stdout, ":%d\n", how)
			return nil
		},
	})
}

// complete completes the last of words.
func (a *app) complete(ctx context.Context, o *options, words []string) ([]string, directive) {
	if len(words) == 0 {
		words = []string{""}
	}
	tree := a.command(&options{})
	tree.Setup() // adds help
	before, last := words[:len(words)-1], words[len(words)-1]
	line := readCommandLine(tree, before)
	if dir, err := rooted.Abs(line.values["sysroot"]); err == nil && line.values["sysroot"] != "" {
		o.sysroot = dir
	}
	if c := line.command; c != nil && c.SkipFlagParsing {
		return a.completePassthrough(ctx, o, c.Name, append(line.operands, last))
	}
	candidates, how := a.completeOwn(ctx, o, tree, line, &last)
	return slices.DeleteFunc(candidates, func(c string) bool { return !strings.HasPrefix(c, last) }), how
}

// completeOwn returns the candidates for the last word, also those that do not begin with
// it. Of --option=value the value is completed: last becomes that.
func (a *app) completeOwn(ctx context.Context, o *options, tree *cli.App, line commandLine, last *string) ([]string, directive) {
	if line.unknown {
		return nil, noFiles
	}
	if line.option != "" {
		return line.optionValues(line.option, *last)
	}
	if strings.HasPrefix(*last, "-") && !line.onlyOperands {
		name, value, found := strings.Cut(strings.TrimLeft(*last, "-"), "=")
		if !found {
			return optionNames(line.flags), noFiles
		}
		if *last = value; takesValue(line.flags, name) {
			return line.optionValues(name, value)
		}
		return nil, noFiles
	}
	if line.command == nil {
		return commandNames(tree), noFiles
	}
	if line.command.Name == "pull-from-default-storage" {
		return a.imageNames(ctx, o, string(inventory.DefaultStore)), noFiles
	}
	if line.command.Name == "list" || line.command.Name == "inspect" {
		return a.allNames(ctx, o), noFiles
	}
	if line.command.Name == "hooks" && slices.Equal(line.operands, []string{"explain"}) {
		return nil, orFiles
	}
	if len(line.operands) > 0 {
		return nil, noFiles
	}
	switch line.command.Name {
	case "bound":
		return slices.Sorted(maps.Keys(boundActions())), noFiles
	case "hooks":
		return slices.Sorted(maps.Keys(hooksActions())), noFiles
	case "completion":
		return shells(), noFiles
	case "exists":
		return a.imageNames(ctx, o, line.values["store"]), noFiles
	case "repair":
		return a.imageNames(ctx, o, ""), noFiles
	case "localize":
		return a.imageNames(ctx, o, string(inventory.DefaultStore)), noFiles
	case "help":
		return commandNames(tree), noFiles
	}
	return nil, noFiles
}

// completePassthrough completes the last of the words after a passthrough.
func (a *app) completePassthrough(ctx context.Context, o *options, command string, words []string) ([]string, directive) {
	switch command {
	case "rmi":
		return a.completeImage(ctx, o, append([]string{"image", "rm"}, words...))
	case "image", "images":
		return a.completeImage(ctx, o, append([]string{command}, words...))
	case "run":
		out, err := a.host(o).CompleteRun(ctx, words)
		if err != nil {
			return nil, noFiles
		}
		return readCompletion(string(out))
	case "hook":
		if len(words) == 1 {
			return slices.DeleteFunc(hooks.Names(), func(name string) bool { return !strings.HasPrefix(name, words[0]) }), noFiles
		}
	case "exec":
		if len(words) > 1 && words[0] == "--" {
			words = words[1:]
		}
		if len(words) == 1 && !strings.Contains(words[0], "/") {
			return a.programs(words[0]), noFiles
		}
		return nil, orFiles
	}
	return nil, noFiles
}

// completeImage completes the last word of podman's arguments, also as one of our own options
// where one can stand.
func (a *app) completeImage(ctx context.Context, o *options, args []string) (candidates []string, how directive) {
	before, last := args[:len(args)-1], args[len(args)-1]
	c, removes := removal.Parse(before)
	if removes {
		args = append(slices.Clone(c.Args), last)
	}
	how = noFiles
	if out, err := a.host(o).Complete(ctx, args); err == nil {
		candidates, how = readCompletion(string(out))
	}
	if !removes || last == "" {
		return candidates, how
	}
	ours := []string{"--force-in-use\tgo on although the host needs what is removed"}
	if c.Verb == removal.Prune {
		ours = append(ours, "--dry-run\tprint what would be removed, and remove nothing")
	}
	for _, candidate := range ours {
		option, _, _ := strings.Cut(candidate, "\t")
		with, _ := removal.Parse(append(slices.Clone(before), option))
		if strings.HasPrefix(option, last) && len(with.Args) == len(c.Args) {
			candidates = append(candidates, candidate)
		}
	}
	return candidates, how
}

// readCompletion reads what a command __complete printed.
func readCompletion(out string) ([]string, directive) {
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	end := len(lines) - 1
	word, found := strings.CutPrefix(lines[end], ":")
	if how, err := strconv.Atoi(word); found && err == nil {
		return lines[:end], directive(how)
	}
	return nil, noFiles
}

// optionValues returns the candidates for the value of an option, of which typed is there:
// in a template the fields for the one that begins last.
func (l commandLine) optionValues(option, typed string) ([]string, directive) {
	for _, flag := range l.flags {
		if f, ok := flag.(*choiceFlag); ok && f.Name == option {
			if i := strings.LastIndex(typed, "{{"); i >= 0 && f.fields != nil {
				var fields []string
				for _, name := range f.fields() {
					fields = append(fields, typed[:i]+"{{."+name+"}}")
				}
				return fields, noFiles
			}
			return f.candidates(typed)
		}
		if f, ok := flag.(*keysFlag); ok && slices.Contains(f.Names(), option) {
			return f.candidates(typed)
		}
	}
	switch option {
	case "jobs", "max-rate", "progress-fd", "registry", "retry", "source", "target":
		return nil, noFiles
	case "root", "sysroot":
		return nil, onlyDirs
	}
	return nil, orFiles
}

// candidates are the keys of an option, with "="; nothing is completed after that.
func (f *keysFlag) candidates(typed string) (keys []string, how directive) {
	if strings.Contains(typed, "=") {
		return nil, noFiles
	}
	for _, key := range f.keys {
		keys = append(keys, key+"=")
	}
	return keys, noFiles | noSpace
}

// candidates are the values of an option of which typed is there, and directories where it takes
// these.
func (f *choiceFlag) candidates(typed string) ([]string, directive) {
	if f.dirs == "" {
		return f.values, noFiles
	}
	path, ok := strings.CutPrefix(typed, f.dirs)
	if !ok {
		how := noFiles
		if typed != "" && strings.HasPrefix(f.dirs, typed) {
			how |= noSpace
		}
		return append(slices.Clone(f.values), f.dirs), how
	}
	dir, begin := filepath.Split(path)
	entries, _ := os.ReadDir(cmp.Or(dir, ".")) // sorted
	var dirs []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, begin) && (name[0] != '.' || begin != "") {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
				dirs = append(dirs, f.dirs+dir+name+"/")
			}
		}
	}
	return dirs, noFiles | noSpace
}

func optionNames(flags []cli.Flag) (names []string) {
	for _, flag := range flags {
		f, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		for _, name := range flag.Names() {
			names = append(names, described(dashed(name), f.GetUsage()))
		}
	}
	return names
}

func commandNames(tree *cli.App) (names []string) {
	for _, c := range tree.Commands {
		if !c.Hidden {
			names = append(names, described(c.Name, c.Usage))
		}
	}
	return names
}

// described returns a candidate with its usage text, without the backquotes around the
// name of an option's value.
func described(word, usage string) string { return word + "\t" + strings.ReplaceAll(usage, "`", "") }

// imageNames returns those names in a store, "" for the bootc-owned one, that can be read.
func (a *app) imageNames(ctx context.Context, o *options, store string) (names []string) {
	query := a.query(o)
	query.Type = inventory.Unified
	switch inventory.StoreName(store) {
	case "":
		store = string(inventory.BootcStore)
	case inventory.DefaultStore:
		query.Type, query.AllStores = inventory.Default, true
	case inventory.OSTreeStore:
		query.Type = inventory.Host
	}
	list, _ := inventory.List(ctx, query)
	for _, img := range list {
		if string(img.Store) == store {
			names = append(names, img.Name)
		}
	}
	return slices.Compact(names)
}

// allNames returns the names of all images that list finds, without a transport.
func (a *app) allNames(ctx context.Context, o *options) (names []string) {
	query := a.query(o)
	query.AllStores = true
	list, _ := inventory.List(ctx, query)
	for _, img := range list {
		names = append(names, strings.TrimPrefix(img.Name, "docker://"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// programs returns the names of the programs in PATH that begin with prefix.
func (a *app) programs(prefix string) (names []string) {
	for _, dir := range filepath.SplitList(wrapper.Getenv(a.env, "PATH")) {
		entries, _ := os.ReadDir(dir) // sorted
		for _, entry := range entries {
			if !strings.HasPrefix(entry.Name(), prefix) {
				continue
			}
			if info, err := os.Stat(filepath.Join(dir, entry.Name())); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				names = append(names, entry.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
