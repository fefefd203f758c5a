// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/removal"
)

var errNotConfirmed = errors.New("not confirmed")

var errMisplaced = errors.New("options go before exec, those of the command after it")

func (a *app) execCommand(o *options) *cli.Command {
	return passthrough(&cli.Command{
		Name:      "exec",
		Usage:     "run any command where the bootc-owned store is podman's own",
		UsageText: "bootc-podman [options] exec [--] command [arguments]",
		Action: func(c *cli.Context) error {
			argv := c.Args().Slice()
			switch {
			case len(argv) > 0 && argv[0] == "--":
				argv = argv[1:]
			case len(argv) > 0 && (argv[0] == "--help" || argv[0] == "-h"):
				return a.printHelp(c.App, c.Command)
			case len(argv) > 0 && strings.HasPrefix(argv[0], "-"):
				return fmt.Errorf("exec: unknown option %q: %w", argv[0], errMisplaced)
			}
			if len(argv) == 0 {
				return &exitError{code: exitUsage, err: errors.New("exec: no command given"), advice: helpAdvice("exec")}
			}
			argv, err := a.guardProgram(c.Context, o, argv)
			if err != nil {
				return err
			}
			return a.host(o).BecomeProgram(c.Context, argv)
		},
	})
}

// confirmReset asks whether to remove everything in the store, and names the images that
// the host needs. The answer is one line of standard
// input; podman reads the rest, as it may ask again.
func (a *app) confirmReset(o *options, n removal.View) error {
	if o.dryRun {
		return nil
	}
	var needed []string
	images := 0
	if n.Bootc != nil {
		images = len(n.Bootc.Images)
		for _, img := range n.Bootc.Images {
			for _, need := range n.Of(img) {
				needed = append(needed, fmt.Sprintf("  %s (%s)\n", printable(removal.Label(img)), printable(need.String())))
			}
		}
	}
	fmt.Fprintf(a.stderr, "podman system reset removes everything in the bootc store: %s, containers, volumes.\n", count(images, "image"))
	if len(needed) > 0 {
		fmt.Fprintf(a.stderr, "The host needs these images:\n%s", strings.Join(needed, ""))
	}
	if n.Err != nil {
		fmt.Fprintf(a.stderr, "Warning: %s\n", printable(n.Err.Error()))
	}
	fmt.Fprintf(a.stderr, "Remove everything? [y/N] ")
	if answer := strings.ToLower(readLine(a.stdin)); answer != "y" && answer != "yes" {
		fmt.Fprintf(a.stderr, "\n")
		return fmt.Errorf("reset bootc store: %w", errNotConfirmed)
	}
	return nil
}

// readLine reads one line, and nothing after it.
func readLine(r io.Reader) string {
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if n, err := r.Read(b); err != nil || n == 0 || b[0] == '\n' {
			return strings.TrimSpace(string(line))
		}
	}
}
