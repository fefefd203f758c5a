// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/wrapper"
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
				return cli.ShowSubcommandHelp(c)
			case len(argv) > 0 && strings.HasPrefix(argv[0], "-"):
				return fmt.Errorf("exec: unknown option %q: %w", argv[0], errMisplaced)
			}
			if len(argv) == 0 {
				return &exitError{code: exitUsage, err: errors.New("exec: no command given"), advice: helpAdvice("exec")}
			}
			if wrapper.Resets(argv) && !o.dryRun {
				if err := a.confirmReset(c.Context, o); err != nil {
					return err
				}
			}
			return a.host(o).BecomeProgram(c.Context, argv)
		},
	})
}

// confirmReset asks whether to remove everything in the store, and names the images that
// the host needs. The answer is one line of standard input; podman reads the rest, as it
// may ask again.
func (a *app) confirmReset(ctx context.Context, o *options) error {
	query := a.query(o)
	query.Type = inventory.Unified
	list, problems := inventory.List(ctx, query)
	var needed []string
	ids := map[string]bool{}
	for _, image := range list {
		ids[image.ID] = true
		for _, keeper := range image.KeptBy {
			needed = append(needed, fmt.Sprintf("  %s (%s of %s)\n", printable(image.Name), keeper.By, printable(keeper.Deployment)))
		}
	}
	fmt.Fprintf(a.stderr, "podman system reset removes everything in the bootc store: %s, containers, volumes.\n", count(len(ids), "image"))
	if len(needed) > 0 {
		fmt.Fprintf(a.stderr, "The host needs these images:\n%s", strings.Join(needed, ""))
	}
	for _, problem := range problems {
		fmt.Fprintf(a.stderr, "Warning: read which images the host needs: %s\n", printable(problem.Error()))
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
