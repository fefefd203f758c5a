// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command bench times two commands as whole processes, in turn, so that both
// see the same machine, and prints what the first adds to the second. It is run
// by "make bench".
//
//	bench [-n RUNS] [-warmup RUNS] [-before COMMAND] [-interval] [-memory] NAME COMMAND BASELINE
//	bench -images NUMBER DIRECTORY
//
// The second form makes a containers-storage to measure with: see testhost.BigStore.
//
// COMMAND and BASELINE are shell words; they run without a shell, their output
// thrown away, and must succeed. One line of a Markdown table is printed: the
// median of each in milliseconds, the median of the differences pair by pair,
// and the median of the ratios. The command of -before runs before each of both,
// and its time does not count. With -interval, what is added comes with the interval that
// its median lies in with a probability of 95 %. With -memory the line ends with the most memory
// that any process of COMMAND had, in megabytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/mattn/go-shellwords"

	"github.com/bootc-podman/bootc-podman/internal/testhost"
)

func main() {
	runs := flag.Int("n", 30, "counted runs of each command")
	warmup := flag.Int("warmup", 3, "runs before those")
	before := flag.String("before", "", "command to run before each, uncounted")
	interval := flag.Bool("interval", false, "print between what the added time is, too")
	memory := flag.Bool("memory", false, "print the peak memory of the command, too")
	images := flag.Int("images", 0, "make a containers-storage with this number of images")
	flag.Parse()
	if *images > 0 {
		if err := testhost.BigStore(flag.Arg(0), *images); err != nil {
			fmt.Fprintf(os.Stderr, "bench: make store: %v\n", err)
			os.Exit(1)
		}
		return
	}
	if err := bench(context.Background(), *runs, *warmup, *before, *interval, *memory, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, runs, warmup int, before string, interval, memory bool, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: NAME COMMAND BASELINE, got %q", args)
	}
	var commands [2][]string
	for i, line := range args[1:] {
		var err error
		if commands[i], err = parse(line); err != nil {
			return err
		}
	}
	var prepare []string
	if before != "" {
		var err error
		if prepare, err = parse(before); err != nil {
			return err
		}
	}
	var peak int64
	var times [2][]time.Duration
	var added []time.Duration
	var ratios []float64
	for run := range warmup + runs {
		var took [2]time.Duration
		// The order alternates: the second of a pair finds warmer caches.
		for i := range commands {
			which := (i + run) % 2
			if prepare != nil {
				if _, _, err := once(ctx, prepare); err != nil {
					return err
				}
			}
			var err error
			var used int64
			if took[which], used, err = once(ctx, commands[which]); err != nil {
				return err
			}
			if which == 0 {
				peak = max(peak, used)
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
	more := fmt.Sprintf("%+.2f", ms(median(added)))
	if low, high := medianWithin(added); interval {
		more += fmt.Sprintf(" (%+.2f to %+.2f)", ms(low), ms(high))
	}
	fmt.Printf("| %s | %.2f | %.2f | %s | %.3f |", args[0], ms(median(times[0])), ms(median(times[1])), more, median(ratios))
	if memory {
		fmt.Printf(" %.0f |", float64(peak)/1e6)
	}
	fmt.Println()
	return nil
}

func parse(line string) ([]string, error) {
	words, err := shellwords.Parse(line)
	if err != nil || len(words) == 0 {
		return nil, fmt.Errorf("read command %q: %w", line, err)
	}
	return words, nil
}

// once runs a command and returns how long it took, and the bytes of memory that the
// largest of its processes had.
func once(ctx context.Context, words []string) (took time.Duration, memory int64, err error) {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("run %q: %w", words, err)
	}
	took = time.Since(start)
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		memory = usage.Maxrss << 10
	}
	return took, memory, nil
}

func median[T time.Duration | float64](values []T) T {
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// medianWithin is the interval between the values whose ranks are 0.98 √n from the
// middle: the median of all that could be measured is in it in 95 of 100 cases,
// whatever their distribution.
func medianWithin(values []time.Duration) (low, high time.Duration) {
	slices.Sort(values)
	n := len(values)
	off := int(math.Ceil(0.98 * math.Sqrt(float64(n))))
	return values[max(0, n/2-off)], values[min(n-1, (n-1)/2+off)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
