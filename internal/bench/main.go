// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command bench times two commands as whole processes, in turn, so that both
// see the same machine, and prints what the first adds to the second. It is run
// by "make bench".
//
//	bench [-n RUNS] [-warmup RUNS] NAME COMMAND BASELINE
//
// COMMAND and BASELINE are shell words; they run without a shell, their output
// thrown away, and must succeed. One line of a Markdown table is printed: the
// median of each in milliseconds, the median of the differences pair by pair,
// and the median of the ratios.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/mattn/go-shellwords"
)

func main() {
	runs := flag.Int("n", 30, "counted runs of each command")
	warmup := flag.Int("warmup", 3, "runs before those")
	flag.Parse()
	if err := bench(context.Background(), *runs, *warmup, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, runs, warmup int, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want NAME COMMAND BASELINE, got %q", args)
	}
	var commands [2][]string
	for i, line := range args[1:] {
		words, err := shellwords.Parse(line)
		if err != nil || len(words) == 0 {
			return fmt.Errorf("read command %q: %w", line, err)
		}
		commands[i] = words
	}
	var times [2][]time.Duration
	var added []time.Duration
	var ratios []float64
	for run := range warmup + runs {
		var took [2]time.Duration
		// The order alternates: the second of a pair finds warmer caches.
		for i := range commands {
			which := (i + run) % 2
			var err error
			if took[which], err = once(ctx, commands[which]); err != nil {
				return err
			}
		}
		if run < warmup {
			continue
		}
		for i := range times {
			times[i] = append(times[i], took[i])
		}
		added = append(added, took[0]-took[1])
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	fmt.Printf("| %s | %.2f | %.2f | %+.2f | %.3f |\n", args[0],
		ms(median(times[0])), ms(median(times[1])), ms(median(added)), median(ratios))
	return nil
}

func once(ctx context.Context, words []string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("run %q: %w", words, err)
	}
	return time.Since(start), nil
}

func median[T time.Duration | float64](values []T) T {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
