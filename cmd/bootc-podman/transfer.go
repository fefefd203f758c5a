// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

func (a *app) setUnifiedCommand(o *options) *cli.Command {
	var choice transfer.Choice
	return plainVerb(&cli.Command{
		Name:      "set-unified",
		Usage:     "bring the booted image into the bootc-owned store",
		UsageText: "bootc-podman [options] set-unified [options]",
		Flags: append(transferFlags(),
			&cli.BoolFlag{Name: "accept-newer", Usage: "take an image of the same name and another digest", Destination: &choice.AcceptNewer},
			&cli.BoolFlag{Name: "force", Usage: "do not check for free space"},
			&cli.StringFlag{Name: "format", Usage: "print the plan as text or json", Value: "text"},
			&cli.StringFlag{Name: "from", Usage: "take the image from `SOURCE` only: default, registry or ostree"},
			&cli.BoolFlag{Name: "plan", Usage: "print what would be done, and stop"},
		),
		Action: func(c *cli.Context) error {
			choice.From = transfer.Source(c.String("from"))
			if choice.From != "" && !slices.Contains([]transfer.Source{transfer.FromDefault, transfer.FromRegistry, transfer.FromOSTree}, choice.From) {
				return usageErrorf("set-unified: unknown source %q: want default, registry or ostree", choice.From)
			}
			if format := c.String("format"); format != "text" && format != "json" {
				return usageErrorf("set-unified: unknown format %q: want text or json", format)
			}
			return a.transfer(c, o, func(t transfer.Options) error {
				if c.Bool("plan") || o.dryRun {
					p, err := transfer.PlanUnified(c.Context, t, choice)
					if err != nil {
						return err
					}
					return a.printPlan(p, c.String("format"))
				}
				p, err := transfer.SetUnified(c.Context, t, choice)
				if err != nil {
					return err
				}
				return a.printUnified(p)
			})
		},
	})
}

func (a *app) copyToStorageCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "copy-to-storage",
		Usage:     "copy the booted image to podman's own store",
		UsageText: "bootc-podman [options] copy-to-storage [options]",
		Flags: append(transferFlags(),
			&cli.StringFlag{Name: "source", Usage: "copy `IMAGE` of the ostree repository, named with its transport, instead of the booted one"},
			&cli.StringFlag{Name: "target", Usage: "call it `NAME`", Value: "localhost/bootc"},
		),
		Action: func(c *cli.Context) error {
			if o.dryRun {
				return usageErrorf("copy-to-storage: --dry-run is not supported")
			}
			if _, err := host.ParseName(c.String("target")); err != nil {
				return usageErrorf("copy-to-storage: %w", err)
			}
			return a.transfer(c, o, func(t transfer.Options) error {
				target := c.String("target")
				from, digest, err := transfer.CopyToStorage(c.Context, t, c.String("source"), target)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "Copied %s to containers-storage:%s\nPushed: containers-storage:%[2]s %s\n", from, target, digest)
				return err
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
		Flags:     transferFlags(),
		Action: func(c *cli.Context) error {
			return a.transfer(c, o, func(t transfer.Options) error {
				return transfer.PullFromDefault(c.Context, t, c.Args().Slice())
			})
		},
	})
}

func transferFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-wait", Usage: "fail if another transfer is at work"},
		&cli.IntFlag{Name: "progress-fd", Usage: "write progress as JSON lines to the pipe `FD`"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "leave out progress, and what podman says while it works"},
	}
}

// transfer calls do with what the flags of c say.
func (a *app) transfer(c *cli.Context, o *options, do func(transfer.Options) error) error {
	// podman is to end, and what it left to be cleared away, before we do.
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	c.Context = ctx
	var outputs []progress.Output
	if c.IsSet("progress-fd") {
		output, err := progress.JSON(c.Int("progress-fd"))
		if err != nil {
			return usageErrorf("%s: %w", c.Command.Name, err)
		}
		outputs = append(outputs, output)
	}
	t := transfer.Options{
		Options: a.query(o), Host: a.host(o), Dir: filepath.Dir(a.confPath),
		NoWait: c.Bool("no-wait"), Force: c.Bool("force"),
	}
	if !c.Bool("quiet") {
		if f, ok := a.stderr.(*os.File); ok {
			outputs = append(outputs, progress.Terminal(f, wrapper.Getenv(a.env, "TERM")))
		} else {
			outputs = append(outputs, progress.Lines(a.stderr))
		}
	}
	t.Progress = progress.New(outputs...)
	defer func() {
		// That nobody could be told of the progress is no failure.
		if err := t.Progress.Close(); err != nil {
			fmt.Fprintf(a.stderr, "Warning: tell progress: %v\n", err)
		}
	}()
	talk := t.Progress.Writer(a.stderr)
	if !c.Bool("quiet") {
		t.Stderr = talk
	}
	t.Waiting = func() { fmt.Fprintf(talk, "Waiting for another transfer to end.\n") }
	t.Missed = func(p *transfer.Plan, why error) {
		fmt.Fprintf(talk, "Warning: %s; trying the next source\n", printable(fmt.Errorf("%s: %w", p.Source, why).Error()))
	}
	return do(t)
}

// printUnified says what was done, as bootc does where it says anything.
func (a *app) printUnified(p *transfer.Plan) error {
	if !p.Kept {
		fmt.Fprintf(a.stderr, "Warning: bootc will remove the image again, as podman stores it under another name than %s\n", printable(p.Name))
	}
	if p.Method == transfer.Nothing {
		_, err := fmt.Fprintf(a.stdout, "Image %s is already in bootc storage.\n", printable(p.Name))
		return err
	}
	if p.Replaces != "" {
		fmt.Fprintf(a.stderr, "Warning: image %.12s had this name, and lost it\n", p.Replaces)
	}
	_, err := fmt.Fprintf(a.stdout, "Unified storage enabled for %s.\n", printable(p.Name))
	return err
}

func (a *app) printPlan(p *transfer.Plan, format string) error {
	if format == "json" {
		return printJSON(a.stdout, p)
	}
	lines := []string{
		fmt.Sprintf("Image:   %s, %s", p.Image, p.Role),
		"Digest:  " + p.Digest,
		fmt.Sprintf("Source:  %s: %s", p.Source, p.Reason),
		"Method:  " + string(p.Method),
	}
	if p.Fetch > 0 {
		lines = append(lines, "Fetch:   "+humanSize(p.Fetch)+" at most")
	}
	if p.Write != nil {
		lines = append(lines, "Write:   "+humanSize(*p.Write))
	}
	lines = append(lines, fmt.Sprintf("Free:    %s, reflinks: %s", humanSize(int64(p.Available)), p.Reflink))
	identity, kept := "the booted digest", "keeps it"
	if !p.Exact {
		identity = "another digest than the booted one"
	}
	if !p.Kept {
		kept = "will remove it: podman stores it under another name than the deployment's"
	}
	lines = append(lines, fmt.Sprintf("After:   %s in the bootc-owned store, with %s; bootc %s", p.Name, identity, kept))
	if p.Replaces != "" {
		lines = append(lines, fmt.Sprintf("Warning: image %.12s has this name now, and will lose it", p.Replaces))
	}
	for i, step := range p.Steps {
		lines = append(lines, fmt.Sprintf("Step %d:  %s", i+1, step.Description))
	}
	for i, line := range lines {
		lines[i] = printable(line)
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(lines, "\n"))
	return err
}
