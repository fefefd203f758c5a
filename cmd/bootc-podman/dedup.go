// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/dedup"
)

// maxFileWarnings is how many files dedup names; the result has their number.
const maxFileWarnings = 10

func (a *app) dedupCommand(o *options) *cli.Command {
	return plainVerb(&cli.Command{
		Name:      "dedup",
		Usage:     "share the disk space of equal files of the stores and the host",
		UsageText: "bootc-podman [options] dedup [options]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "print how much could be saved at most, and change nothing"},
			formatChoice("print the result as `FORMAT`: %s", "text"),
			&cli.StringFlag{Name: "max-rate", Usage: "read no more than `BYTES` in a second, for example 50MB"},
			&cli.IntFlag{Name: "progress-fd", Usage: "write progress as JSON lines to the pipe `FD`"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "leave out progress"},
			choice("scope", "share files within `SCOPE`: %s", string(dedup.Host), []dedup.Scope{dedup.Stores, dedup.Host}),
		},
		Action: func(c *cli.Context) error {
			rate, err := parseRate(c.String("max-rate"))
			if err != nil {
				return err
			}
			var result *dedup.Result
			var cause error // why it was ended
			err = a.transfer(c, o, func(t transfer.Options) (err error) {
				warnings := 0
				talk := t.Progress.Writer(a.stderr)
				result, err = dedup.Run(c.Context, dedup.Options{
					Options: t.Options, Scope: dedup.Scope(c.String("scope")), MaxRate: rate, DryRun: o.dryRun, Progress: t.Progress,
					Warn: func(err error) {
						if warnings++; warnings <= maxFileWarnings {
							fmt.Fprintf(talk, "Warning: %s\n", printable(err.Error()))
						}
					},
				})
				cause = context.Cause(c.Context)
				return err
			})
			// A run that failed has saved something, too.
			if result == nil || err != nil && result.Layers == 0 {
				return err
			}
			if printErr := a.printDedup(result, c.String("format")); printErr != nil {
				return printErr
			}
			if cause != nil && errors.Is(err, cause) {
				return fmt.Errorf("share files of both stores: %w; the next run continues from here", cause)
			}
			if err == nil && result.Different > 0 {
				err = &differError{result.Different}
			}
			return err
		},
	})
}

// parseRate reads --max-rate; "" is 0, no bound.
func parseRate(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := units.FromHumanSize(text)
	if err != nil || n <= 0 {
		return 0, usageErrorf("dedup: read --max-rate: %q is no number of bytes", text)
	}
	return n, nil
}

// differError reports files that differ between the stores.
type differError struct{ files int64 }

func (e *differError) Error() string {
	if e.files == 1 {
		return "share files of both stores: 1 file differs, though it is of the same layer"
	}
	return fmt.Sprintf("share files of both stores: %d files differ, though they are of the same layer", e.files)
}

// damagedStoreHint is how to find which of two copies of a layer is damaged: podman
// compares the files of an image with their checksums when it pushes the image.
const damagedStoreHint = `"podman image push IMAGE dir:DIR" fails for an image that is damaged in podman's own store, ` +
	`"bootc-podman image push IMAGE dir:DIR" for one in the bootc-owned store; remove that one and bring it again`

// dedupJSON is a result as JSON, which bootc-podman-dedup(8) describes.
type dedupJSON struct {
	*dedup.Result
	Changed bool `json:"changed"`
}

func (a *app) printDedup(r *dedup.Result, format string) error {
	if format == "json" {
		return printJSON(a.stdout, dedupJSON{r, r.Changed()})
	}
	where := "in both stores"
	if r.Scope == dedup.Host {
		where = "in the stores"
	}
	lines := []string{fmt.Sprintf("Layers:  %d %s", r.Layers, where)}
	if r.Objects > 0 {
		lines = append(lines, fmt.Sprintf("Objects: %d in the repository of the host", r.Objects))
	}
	lines = append(lines,
		fmt.Sprintf("Files:   %d, %s", r.Files, progress.Size(r.Bytes)),
		fmt.Sprintf("Shared:  %s before", progress.Size(r.Shared)))
	if r.UsedBefore > 0 && !r.DryRun {
		lines = append(lines, fmt.Sprintf("Used:    %s of the filesystem, %s before", progress.Size(r.UsedAfter), progress.Size(r.UsedBefore)))
	}
	if r.DryRun {
		lines = append(lines, fmt.Sprintf("Saving:  %s at most, as content was not compared", progress.Size(r.Saved)))
	} else {
		lines = append(lines, fmt.Sprintf("Saved:   %s", progress.Size(r.Saved)))
	}
	if r.Different > 0 {
		lines = append(lines, fmt.Sprintf("Differ:  %d, though in the same layer: one of each two is damaged", r.Different))
	}
	if r.Failed > 0 {
		lines = append(lines, fmt.Sprintf("Failed:  %d", r.Failed))
	}
	if r.Complete && r.Saved+r.Different+r.Failed == 0 {
		lines = append(lines, "Nothing to do.")
	}
	return a.printLines(lines...)
}
