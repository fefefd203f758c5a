// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesAreOneForEachPartAndOneEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reporter := New(Lines(&log))
		pull := reporter.Transfer(Task{Description: "Pulling quay.io/example/os:42\x1b[2J", Steps: 2, Bytes: 30_000_000, StepsCached: 3})
		big := pull.Start(Subtask{Name: "layer", Description: "layer 3f4a5b", Bytes: 24_000_000})
		for range 12 {
			sleep(2 * time.Second)
			big.Add(2_000_000)
		}
		big.Done()
		small := pull.Start(Subtask{Name: "layer", Description: "layer 9c9c9c"})
		small.Add(6_000_000)
		small.Stop()
		small = pull.Start(Subtask{Name: "layer", Description: "layer 9c9c9c"})
		small.Add(6_000_000)
		small.Done()
		pull.Done()
		verify := reporter.Sequence(Task{Description: "Verifying", Steps: 1})
		step := verify.Start(Subtask{Name: "verify", Description: "layers"})
		sleep(9 * time.Second)
		step.Done()
		verify.Done()
		must(t, reporter.Close())
		want := `Pulling quay.io/example/os:42[2J: 2 to do, 30 MB, 3 already there
Pulling quay.io/example/os:42[2J: 0 of 2, 8 MB of 30 MB, 746 kB/s, 30s left
Pulling quay.io/example/os:42[2J: 0 of 2, 18 MB of 30 MB, 810 kB/s, 15s left
Pulling quay.io/example/os:42[2J: layer 3f4a5b: done, 24 MB
Pulling quay.io/example/os:42[2J: layer 9c9c9c: done, 6 MB
Verifying: 0 of 1, 6s
`
		if log.String() != want {
			t.Errorf("got\n%swant\n%s", &log, want)
		}
	})
}

// Two jobs share the one line in 10 s.
func TestLinesSumUpJobsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reporter := New(Lines(&log))
		reporter.Sequence(Task{Description: "One"})
		reporter.Sequence(Task{Description: "Two"})
		sleep(41 * time.Second)
		must(t, reporter.Close())
		if strings.Count(log.String(), ": 0, ") != 4 || strings.Count(log.String(), "One: 0, ") != 2 {
			t.Errorf("got\n%s", &log)
		}
	})
}

type brokenWriter struct{ writes int }

var errBroken = errors.New("broken")

func (w *brokenWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, errBroken
}

func TestWriteErrorIsReportedOnceAndStopsNoOtherOutput(t *testing.T) {
	for name, output := range map[string]func(*brokenWriter) Output{
		"lines":    func(w *brokenWriter) Output { return Lines(w) },
		"terminal": func(w *brokenWriter) Output { return &terminal{w: w, size: func() (int, int) { return 80, 24 }} },
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			w := &brokenWriter{}
			reporter := New(output(w), Lines(&log))
			job := reporter.Transfer(Task{})
			job.Start(Subtask{Name: layer}).Done()
			sleep(time.Minute)
			job.Done()
			if err := reporter.Close(); !errors.Is(err, errBroken) || w.writes != 1 {
				t.Errorf("%s: got error %v after %d writes, want one of each", name, err, w.writes)
			}
			if !strings.Contains(log.String(), ": done") {
				t.Errorf("%s: the other output has only\n%s", name, &log)
			}
		})
	}
}
