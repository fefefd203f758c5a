// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// app holds what a handler may use of its process.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
	euid           int
	self           string
	root           string
	confPath       string
	execer         wrapper.Execer
	runner         wrapper.Runner
	// journal writes to the system's journal; nil does not.
	journal func(p journal.Priority, message string, fields map[string]string)
}

// Exit statuses of our own verbs; those of a passthrough are in package wrapper.
const (
	exitFailed = 1
	exitUsage  = 2
)

// exitError ends the program with this status. err is nil when everything has been
// printed already. advice is the hint about wrong usage.
type exitError struct {
	code   int
	err    error
	advice string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// problems is a list of independent errors; --lenient makes them warnings.
type problems []error

func (p problems) Error() string { return errors.Join(p...).Error() }

func (p problems) Unwrap() []error { return p }

// sideBySide returns the errors that err only lists, or err itself.
func sideBySide(err error) (all []error) {
	var list interface{ Unwrap() []error }
	if !errors.As(err, &list) {
		return []error{err}
	}
	if joined := errors.Join(list.Unwrap()...); joined == nil || joined.Error() != err.Error() {
		return []error{err}
	}
	for _, one := range list.Unwrap() {
		all = append(all, sideBySide(one)...)
	}
	return all
}

func usageErrorf(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...), advice: helpAdvice("")}
}

// helpAdvice names the help of a command, that of all commands for "", in podman's words.
func helpAdvice(command string) string {
	return seeHelp + strings.TrimSuffix("bootc-podman "+command, " ") + " --help'"
}

// seeHelp begins a line of its own, which is no hint.
const seeHelp = "See '"

// orCode adds an exit status to an error that has none.
func orCode(err error, code int) error {
	if err == nil || errors.As(err, new(*exitError)) {
		return err
	}
	return &exitError{code: code, err: err}
}

// passthroughStatus adds podman's exit statuses to an error from before podman ran: 126
// and 127 for a program that cannot be run, 125 for others.
func passthroughStatus(err error) error {
	if lookup, ok := errors.AsType[*wrapper.LookupError](err); ok {
		return orCode(err, lookup.Code)
	}
	return orCode(err, wrapper.ExitFailed)
}

// run is the program: it returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	o := &options{sysroot: "/"}
	out := &checkedWriter{Writer: a.stdout}
	b := *a
	b.stdout = out
	err := b.dispatch(ctx, o, args)
	code := exitFailed
	exit, ok := errors.AsType[*exitError](err)
	if ok {
		code = exit.code
	}
	// An answer, which has no error.
	if err == nil || ok && exit.err == nil {
		switch {
		case out.err != nil:
			err = fmt.Errorf("write standard output: %w", out.err)
		case err == nil:
			return 0
		default:
			return code
		}
	}
	for _, line := range messages(err) {
		fmt.Fprintf(a.stderr, "Error: %s\n", line)
	}
	if h := hint(err, o.words()); h != "" {
		if !strings.HasPrefix(h, seeHelp) {
			h = "Hint: " + h
		}
		fmt.Fprintf(a.stderr, "%s\n", printable(h))
	}
	return code
}

// messages returns the lines of err, each once.
func messages(err error) (lines []string) {
	for _, f := range health.Unread(sideBySide(err)) {
		lines = append(lines, printable(f.String()))
	}
	return lines
}

// checkedWriter keeps the error of a write, as the library that prints help drops it.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// dispatch runs the command that args name. A passthrough without options of
// ours does not build the command tree: scripts run it in a loop.
func (a *app) dispatch(ctx context.Context, o *options, args []string) error {
	if isHook(args) {
		return a.runHook(args[2:])
	}
	if len(args) < 2 || args[1] != "image" && args[1] != "images" && args[1] != "rmi" {
		tree := a.command(o)
		if about, asks := asksForHelp(tree, args); asks {
			return a.printHelp(tree, about)
		}
		err := tree.RunContext(ctx, optionsFirst(tree, args))
		if exit, ok := errors.AsType[*exitError](err); ok && exit.code == exitUsage && becomesAnother(tree, args) {
			// As podman does; 1 and 2 can be the program's own.
			exit.code = wrapper.ExitFailed
		}
		return err
	}
	if err := a.before(o); err != nil {
		return err
	}
	a.logStart(o)
	if args[1] == "rmi" {
		args = append([]string{args[0], "image", "rm"}, args[2:]...)
	}
	return a.becomePodman(ctx, o, args[1:])
}

// options are the global options.
type options struct {
	sysroot, authFile, logLevel string
	dryRun                      bool
}

// words returns the global options as a user types them, for a command line that starts
// this program again.
func (o *options) words() []string {
	var words []string
	for _, opt := range []struct{ name, value, standard string }{
		{"--sysroot", o.sysroot, "/"}, {"--authfile", o.authFile, ""}, {"--log-level", o.logLevel, ""},
	} {
		if opt.value != opt.standard {
			words = append(words, opt.name, opt.value)
		}
	}
	return words
}

// command builds the command tree, a new one at each call.
func (a *app) command(o *options) *cli.App {
	tree := &cli.App{
		Name:           "bootc-podman",
		Usage:          "podman for the bootc-owned container storage",
		UsageText:      "bootc-podman [options] command [arguments]",
		Reader:         a.stdin,
		Writer:         a.stdout,
		ErrWriter:      a.stderr,
		HideVersion:    true,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "authfile", Usage: "registry credentials `FILE` instead of bootc's", Destination: &o.authFile},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would run, quoted for a shell, and stop", Destination: &o.dryRun},
			logLevelFlag(&o.logLevel),
			&cli.StringFlag{Name: "sysroot", Usage: "use the host whose root is `DIR`", Value: "/", Destination: &o.sysroot},
			&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version"},
			cli.HelpFlag, // as there is a command help of our own
		},
		Before: func(c *cli.Context) error {
			if c.Bool("version") && c.Args().Present() {
				return usageErrorf("--version: unexpected command %q", c.Args().First())
			}
			err := a.before(o)
			if c.Args().First() == "__complete" {
				logrus.SetOutput(io.Discard)
			}
			a.logStart(o)
			return err
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("version"):
				return a.version()
			case c.Args().Present():
				return unknownCommand(c.App, c.Args().First())
			}
			return a.printHelp(c.App, nil)
		},
		Commands: []*cli.Command{
			a.imageCommand(o), a.imagesCommand(o), a.rmiCommand(o), a.gcCommand(o), a.dfCommand(o), a.execCommand(o), a.envCommand(o),
			a.initCommand(o), a.storageConfCommand(o), a.listCommand(o), a.inspectCommand(o), a.existsCommand(o),
			a.statusCommand(o), a.setUnifiedCommand(o), a.unsetUnifiedCommand(o), a.copyToStorageCommand(o),
			a.pullFromDefaultStorageCommand(o), a.hookCommand(), a.hooksCommand(o), a.usageCommand(),
			a.dedupCommand(o), a.boundCommand(o), a.runCommand(o),
			a.doctorCommand(o), a.repairCommand(o), a.localizeCommand(o),
			a.completionCommand(), a.versionCommand(), a.helpCommand(), a.completeCommand(o),
		},
	}
	for _, c := range tree.Commands {
		if !c.SkipFlagParsing {
			a.finish(o, c)
		}
	}
	return tree
}

// finish adds to a command what all of our own have: --dry-run after its name, and a hint
// about wrong usage.
func (a *app) finish(o *options, c *cli.Command) {
	if !slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), "dry-run") }) {
		c.Flags = append(c.Flags, &cli.BoolFlag{Name: "dry-run", Usage: "print what would run, quoted for a shell, and stop"})
	}
	action := c.Action
	c.Action = func(ctx *cli.Context) error {
		o.dryRun = o.dryRun || ctx.Bool("dry-run")
		err := a.checkSysroot(o, c.Name)
		if err == nil {
			err = action(ctx)
		}
		if exit, ok := errors.AsType[*exitError](err); ok && exit.advice == helpAdvice("") {
			exit.advice = helpAdvice(c.Name)
		}
		return err
	}
}

// checkSysroot refuses another host's root for a command that works on the running
// host alone.
func (a *app) checkSysroot(o *options, command string) error {
	if o.sysroot == "/" || !slices.Contains([]string{"hooks", "usage"}, command) {
		return nil
	}
	advice := ""
	if command == "hooks" {
		advice = "; use --root after hooks for another root directory"
	}
	return usageErrorf("%s: --sysroot %q is not supported: the command acts on the running host%s", command, o.sysroot, advice)
}

// usageError is the library's callback for wrong options, global ones and those of a command.
func usageError(c *cli.Context, err error, _ bool) error {
	message, name := flagMessage(err.Error())
	usage := &exitError{code: exitUsage, err: errors.New(message), advice: helpAdvice("")}
	flags := c.App.Flags
	if c.Command != nil && c.App.Command(c.Command.Name) != nil {
		usage.advice, flags = helpAdvice(c.Command.Name), c.Command.Flags
		if slices.Contains(flagNames(c.App.Flags), name) {
			usage.advice = "options of all commands go before the command"
			return usage
		}
	}
	if meant := nearest(name, flagNames(flags)); meant != "" && meant != name {
		usage.advice = fmt.Sprintf("did you mean %s?", dashed(meant))
	}
	return usage
}

func flagNames(flags []cli.Flag) (names []string) {
	for _, f := range flags {
		names = append(names, f.Names()...)
	}
	return names
}

// logLevels are podman's, too; logrus also takes other spellings of them.
func logLevels() []string {
	return []string{"trace", "debug", "info", "warn", "error", "fatal", "panic"}
}

func logLevelFlag(level *string) cli.Flag {
	f := choice("log-level", "log messages from this `LEVEL` up: %s", "", logLevels())
	f.Destination = level
	return f
}

// before checks and completes the global options.
func (a *app) before(o *options) error {
	logrus.SetOutput(a.stderr)
	logrus.SetFormatter(&logFormatter{terminal: isTerminal(a.stderr, "any")})
	logrus.SetLevel(logrus.WarnLevel)
	if o.logLevel != "" {
		level, err := logrus.ParseLevel(o.logLevel)
		if err != nil {
			return usageErrorf("read --log-level: unknown level %q: use %s", o.logLevel, orList(logLevels()))
		}
		logrus.SetLevel(level)
	}
	if o.sysroot == "" {
		return usageErrorf("read --sysroot: empty path")
	}
	for _, path := range []*string{&o.sysroot, &o.authFile} {
		if *path == "" {
			continue
		}
		var err error
		if *path, err = rooted.Abs(*path); err != nil {
			return fmt.Errorf("read options: %w", err)
		}
	}
	return nil
}

// logStart logs which program this is, for reports of errors.
func (a *app) logStart(o *options) {
	logrus.Debugf("bootc-podman %s, commit %q, user %d, sysroot %q", version(), builtCommit, a.euid, o.sysroot)
}

// host returns what package wrapper needs to work on the host of the options.
func (a *app) host(o *options) wrapper.Host {
	h := wrapper.Host{
		Env: a.env, Euid: a.euid, Self: a.self, Root: a.root,
		Sysroot: o.sysroot, AuthFile: o.authFile, ConfPath: a.confPath,
		Execer: a.execer, Runner: a.runner,
	}
	if o.dryRun {
		h.DryRun = a.stdout
	}
	return h
}

// plainVerb completes the definition of a command of our own: it takes as many
// operands as its ArgsUsage has words, any number more if that ends in "...", and of an
// option with a list of values only those.
func plainVerb(c *cli.Command) *cli.Command {
	usage, more := strings.CutSuffix(c.ArgsUsage, "...")
	action, operands := c.Action, strings.Fields(usage)
	c.HideHelpCommand = true
	c.OnUsageError = usageError
	c.Action = func(ctx *cli.Context) error {
		switch n := ctx.NArg(); {
		case n > len(operands) && !more:
			return usageErrorf("%s: unexpected argument %q", c.Name, ctx.Args().Get(len(operands)))
		case n < len(operands):
			return usageErrorf("%s: no %s given", c.Name, operands[n])
		}
		for _, flag := range c.Flags {
			if f, ok := flag.(*choiceFlag); ok {
				if err := f.check(ctx); err != nil {
					return err
				}
			}
		}
		return action(ctx)
	}
	return c
}

// passthrough completes the definition of a command that does not read its arguments.
func passthrough(c *cli.Command) *cli.Command {
	c.SkipFlagParsing, c.HideHelp, c.HideHelpCommand = true, true, true
	action := c.Action
	c.Action = func(ctx *cli.Context) error { return passthroughStatus(action(ctx)) }
	return c
}
