// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func (a *app) setUnifiedCommand(o *options) *cli.Command {
	var accept plan.Choice
	return plainVerb(&cli.Command{
		Name:      "set-unified",
		Usage:     "bring the booted image into the bootc-owned store",
		UsageText: "bootc-podman [options] set-unified [options]",
		Flags: append(append(copyFlags(), planFlags()...),
			&cli.BoolFlag{Name: "accept-newer", Usage: "take an image of the same name and another digest", Destination: &accept.AcceptNewer},
			fromFlag(plan.FromDefault, plan.FromRegistry, plan.FromTransport, plan.FromOSTree, plan.FromComposefs),
			&cli.IntFlag{Name: "retry", Usage: "try a pull that fails again up to `N` times", Value: 3},
			&cli.BoolFlag{Name: "skip-upgrade-check", Usage: "bring the image even if bootc upgrade would fail"},
		),
		Action: func(c *cli.Context) error {
			accept.From = plan.Source(c.String("from"))
			if c.Int("retry") < 0 {
				return usageErrorf("set-unified: cannot retry %d times", c.Int("retry"))
			}
			return a.transfer(c, o, func(t transfer.Options) error {
				if c.Bool("plan") {
					accept.Alternatives = true
					p, err := transfer.PlanUnified(c.Context, t, accept)
					if err != nil {
						return err
					}
					return a.printPlan(p, c.String("format"))
				}
				p, err := transfer.SetUnified(c.Context, t, accept)
				if err != nil || o.dryRun {
					return err
				}
				status, bad := inventory.ReadStatus(c.Context, t.Options)
				if status == nil {
					return errors.Join(bad...)
				}
				a.noteIdentity(o, status)
				if c.String("format") == "json" {
					return printJSON(a.stdout, p)
				}
				return a.printUnified(p, status.Unified, c.Bool("quiet"))
			})
		},
	})
}

// fromFlag has the sources that a verb can take an image from.
func fromFlag(sources ...plan.Source) *choiceFlag {
	return choice("from", "take the image from `SOURCE` only: %s", "", sources)
}

func (a *app) unsetUnifiedCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "unset-unified",
		Usage:     "take out of the bootc-owned store what set-unified brought",
		UsageText: "bootc-podman [options] unset-unified [options]",
		Flags:     transferFlags(),
		Action: func(c *cli.Context) error {
			a.warnOneStore()
			return a.transfer(c, o, func(t transfer.Options) error {
				removed, err := transfer.UnsetUnified(c.Context, t)
				if err != nil || o.dryRun {
					return err
				}
				return a.printRemoved(removed)
			})
		},
	})
}

func (a *app) copyToStorageCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "copy-to-storage",
		Usage:     "copy the booted image to podman's own store",
		UsageText: "bootc-podman [options] copy-to-storage [options]",
		Flags: append(append(copyFlags(), planFlags()...),
			fromFlag(plan.FromDefault, plan.FromBootc, plan.FromRegistry, plan.FromOSTree, plan.FromComposefs),
			&cli.StringFlag{Name: "source", Usage: "copy `IMAGE` of a deployment or the ostree repository, named with its transport, instead of the booted one"},
			&cli.StringFlag{Name: "target", Usage: "call it `NAME`", Value: "localhost/bootc"},
		),
		Action: func(c *cli.Context) error {
			choice := plan.CopyChoice{Image: c.String("source"), Target: c.String("target"), From: plan.Source(c.String("from"))}
			switch target, err := cstorage.ParseStorable(choice.Target); {
			case err != nil:
				return usageErrorf("copy-to-storage: %w", err)
			case target.Digest != "": // the copy may have another one
				return usageErrorf("copy-to-storage: target %q has a digest", choice.Target)
			}
			if choice.Image != "" {
				if _, err := host.ParseImageReference(choice.Image); err != nil {
					return &exitError{
						code: exitUsage, err: fmt.Errorf("copy-to-storage: read --source: %w", err),
						advice: "name the image with its transport, as in docker://quay.io/example/os:42",
					}
				}
			}
			return a.transfer(c, o, func(t transfer.Options) error {
				if c.Bool("plan") {
					choice.Alternatives = true
					p, err := transfer.PlanCopy(c.Context, t, choice)
					if err != nil {
						return err
					}
					return a.printPlan(p, c.String("format"))
				}
				p, err := transfer.CopyToStorage(c.Context, t, choice)
				if err != nil || o.dryRun {
					return err
				}
				a.refreshIdentity(c.Context, o)
				if c.String("format") == "json" {
					return printJSON(a.stdout, p)
				}
				return a.printCopied(p, choice.Target)
			})
		},
	})
}

func (a *app) pullFromDefaultStorageCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "pull-from-default-storage",
		Usage:     "copy images from podman's own store to the bootc-owned one",
		UsageText: "bootc-podman [options] pull-from-default-storage image...",
		ArgsUsage: "image...",
		Flags:     append(copyFlags(), planFlags()...),
		Action: func(c *cli.Context) error {
			return a.transfer(c, o, func(t transfer.Options) error {
				if c.Bool("plan") {
					plans, err := transfer.PlanPull(c.Context, t, c.Args().Slice())
					if err != nil {
						return err
					}
					return a.printPlans(plans, c.String("format"))
				}
				plans, err := transfer.PullFromDefault(c.Context, t, c.Args().Slice())
				if o.dryRun {
					return err
				}
				return errors.Join(err, a.printPulled(plans, c.String("format")))
			})
		},
	})
}

func transferFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Usage: "print what would run, quoted for a shell, and stop"},
		&cli.BoolFlag{Name: "no-wait", Usage: "fail if another transfer is at work"},
		&cli.IntFlag{Name: "progress-fd", Usage: "write progress as JSON lines to the pipe `FD`"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "leave out progress, and what podman says while it works"},
	}
}

// copyFlags are the options of verbs that copy images between containers-storages.
func copyFlags() []cli.Flag {
	return append(
		transferFlags(),
		&cli.BoolFlag{Name: "force", Usage: "do not check for free space"},
		choice("method", "copy between stores by `METHOD`: %s; auto clones what can be cloned", string(plan.Auto),
			[]plan.Method{plan.Auto, plan.Clone, plan.ByPodman}),
		choice("verify", "verify clones at `LEVEL`: %s", string(clonejob.VerifyMetadata),
			[]clonejob.Verify{clonejob.VerifyNone, clonejob.VerifyMetadata, clonejob.VerifyFull}),
	)
}

// planFlags are the options of verbs that print what they would do, and what they did.
func planFlags() []cli.Flag {
	return []cli.Flag{
		formatChoice("print the plan or the result as `FORMAT`: %s", "text"),
		&cli.BoolFlag{Name: "plan", Usage: "print what would be done, and stop"},
	}
}

// transfer calls do with the options of c, whose context ends with a signal as long as do runs.
func (a *app) transfer(c *cli.Context, o *options, do func(transfer.Options) error) error {
	// A signal ends podman first; we remove what it left, then end.
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer func(before context.Context) { c.Context = before }(c.Context)
	c.Context = ctx
	var outputs []progress.Output
	if c.IsSet("progress-fd") {
		output, err := progress.JSON(c.Int("progress-fd"))
		if err != nil {
			return usageErrorf("%s: %w", c.Command.Name, err)
		}
		outputs = append(outputs, output)
	}
	if a.euid != 0 && !o.dryRun && !c.Bool("plan") {
		return fmt.Errorf("%s: %w", deed(c), wrapper.ErrNotRoot)
	}
	t := transfer.Options{
		Options: a.query(o), Host: a.host(o), Dir: filepath.Dir(a.confPath),
		NoWait: c.Bool("no-wait"), Force: c.Bool("force"), SkipUpgradeCheck: c.Bool("skip-upgrade-check"), Retry: c.Int("retry"),
		Method: plan.Method(c.String("method")), Verify: clonejob.Verify(c.String("verify")),
	}
	if !c.Bool("quiet") && !o.dryRun {
		if f, ok := a.stderr.(*os.File); ok {
			outputs = append(outputs, progress.Terminal(f, wrapper.Getenv(a.env, "TERM")))
		} else {
			outputs = append(outputs, progress.Lines(a.stderr))
		}
	}
	t.Progress = progress.New(outputs...)
	defer func() {
		// A transfer does not fail because its progress cannot be written.
		if err := t.Progress.Close(); err != nil {
			fmt.Fprintf(a.stderr, "Warning: write progress: %v\n", err)
		}
	}()
	talk := t.Progress.Writer(a.stderr)
	if !c.Bool("quiet") {
		t.Stderr = talk
	}
	t.Events = &transferEvents{talk: talk, journal: a.inform, damaged: map[string]bool{}}
	err := do(t)
	return nameSignal(context.Cause(c.Context), err)
}

// deed returns what a command that copies images does, for an error: of a command that does
// several things only the one that it was called for.
func deed(c *cli.Context) string {
	switch c.Command.Name + " " + c.Args().First() {
	case "bound fetch":
		return "fetch bound images"
	case "bound outdated":
		return "compare bound images with their registries"
	case "bound refresh":
		return "refresh bound images"
	case "doctor ":
		return "fix findings"
	}
	return c.Command.Usage
}

// signalError is an error of a command that a signal ended.
type signalError struct{ err, cause error }

// nameSignal returns err with the name of the signal that is the cause, that of a context
// which ended, in the place of "context canceled", which libraries say.
func nameSignal(cause, err error) error {
	// By its words: the cause that signal.NotifyContext gives is context.Canceled, too.
	if cause == nil || !errors.Is(err, context.Canceled) || cause.Error() == context.Canceled.Error() {
		return err
	}
	var named []error
	for _, one := range sideBySide(err) {
		if errors.Is(one, context.Canceled) {
			one = &signalError{err: one, cause: cause}
		}
		named = append(named, one)
	}
	if len(named) == 1 {
		return named[0]
	}
	return errors.Join(named...)
}

func (e *signalError) Error() string {
	return strings.ReplaceAll(e.err.Error(), context.Canceled.Error(), e.cause.Error())
}

func (e *signalError) Unwrap() []error { return []error{e.err, e.cause} }

// transferEvents implements transfer.Events: it prints lines to talk.
type transferEvents struct {
	talk io.Writer
	// journal is nil where there is no journal.
	journal func(message string, fields map[string]string)
	// damaged has the lines about damaged images that were printed.
	damaged map[string]bool
}

func (e *transferEvents) Waiting() { fmt.Fprintf(e.talk, "Waiting for another transfer to end.\n") }

func (e *transferEvents) Damaged(d inventory.Damage) {
	if line := health.Damaged(d).String(); !e.damaged[line] {
		e.damaged[line] = true
		fmt.Fprintf(e.talk, "Warning: %s\n", printable(line))
	}
}

func (e *transferEvents) Missed(source plan.Source, why error) {
	fmt.Fprintf(e.talk, "Warning: %s; trying the next source\n", printable(fmt.Sprintf("%s: %v", source, why)))
}

func (e *transferEvents) Retrying(r podman.Retry) {
	fmt.Fprintf(e.talk, "Warning: pull %s: %s; trying again in %d s (%d of %d)\n", printable(r.Reference), printable(r.Reason), int(r.Delay.Seconds()), r.Number, r.Of)
}

func (e *transferEvents) Fallback(why error) {
	fmt.Fprintf(e.talk, "Note: podman copies it: %s\n", printable(why.Error()))
}

func (e *transferEvents) NotLent(why error) {
	fmt.Fprintf(e.talk, "Note: podman fetches layers that the other store has: %s\n", printable(why.Error()))
}

func (e *transferEvents) Hidden(hidden *inventory.HiddenError) {
	fmt.Fprintf(e.talk, "Warning: bootc will not find image %.12s, %s, when it upgrades: %s\n", hidden.ID, printable(hidden.Name), printable(hidden.Error()))
}

func (e *transferEvents) Journal(message string, fields map[string]string) {
	if e.journal != nil {
		e.journal(message, fields)
	}
}
