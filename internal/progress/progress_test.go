// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Tests run in bubbles of package synctest, where sleeping takes no time: the
// clock jumps to when the next goroutine wakes up. They sleep half a period past
// the tick they need.

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Not every call is looked at, only that they do nothing.
func TestNilReporterIsQuiet(t *testing.T) {
	reporter := New()
	if reporter != nil {
		t.Fatal("a reporter without outputs is not nil")
	}
	job := reporter.Transfer(Task{Name: "pulling"})
	job.SetTotal(1, 2)
	job.SetCached(1, 2)
	part := job.Start(Subtask{Name: "layer"})
	part.Add(1)
	part.Set(1)
	part.SetTotal(1)
	dst := &bytes.Buffer{}
	if reporter.Writer(dst) != io.Writer(dst) {
		t.Error("a quiet reporter wraps writers")
	}
	part.Done()
	part.Stop()
	reporter.Sequence(Task{}).Done()
	job.Done()
	job.Stop()
	must(t, reporter.Close())
}

// ends writes how each job and part ends.
type ends struct{ lines }

func newEnds(w io.Writer) Output { return &ends{lines{w: w}} }

func (o *ends) event(now time.Time, what change, job *Job, part *Part) {
	switch {
	case what == started:
	case part == nil:
		o.line("%s", ending(now, what, job))
	case what == done:
		o.line("part done")
	default:
		o.line("part stopped")
	}
}

func TestStopAfterDoneDoesNothing(t *testing.T) {
	var log bytes.Buffer
	reporter := New(newEnds(&log))
	job := reporter.Transfer(Task{Description: "Pulling"})
	part := job.Start(Subtask{Description: "layer", Bytes: 5})
	part.Done()
	part.Stop()
	job.Done()
	job.Stop()
	job.Done()
	if job.Start(Subtask{}) != nil {
		t.Error("a part was started of a job that is done")
	}
	must(t, reporter.Close())
	must(t, reporter.Close())
	if reporter.Transfer(Task{}) != nil {
		t.Error("a job was started after Close")
	}
	if strings.Contains(log.String(), "stopped") || strings.Count(log.String(), "done") != 2 {
		t.Errorf("got\n%s", &log)
	}
}

// The race detector looks at this one. That no goroutine is left is what
// synctest.Test checks at its end, here and everywhere.
func TestReporterIsSafeForConcurrentUse(t *testing.T) {
	output, pipe := jsonPipe(t)
	lines := pipe.all()
	synctest.Test(t, func(t *testing.T) {
		term := newScreen(80, 24)
		var log bytes.Buffer
		reporter := New(term.output(), newEnds(&log), output)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				job := reporter.Transfer(Task{Name: "pulling", Description: "Pulling", Steps: 5, Bytes: 5000})
				defer job.Stop()
				for range 5 {
					all.Go(func() {
						part := job.Start(Subtask{Name: "layer", Description: "layer", Bytes: 1000})
						defer part.Stop()
						for range 10 {
							part.Add(100)
							part.SetTotal(1000)
							io.WriteString(reporter.Writer(term), "message\n")
							time.Sleep(30 * time.Millisecond)
						}
						part.Done()
					})
				}
				job.SetTotal(5, 5000)
				job.SetCached(1, 1)
				time.Sleep(time.Second)
				job.Done()
			})
		}
		all.Wait()
		must(t, reporter.Close())
		if events := <-lines; len(events) < 4*11+1 {
			t.Errorf("got %d events", len(events))
		}
		if got := strings.Count(log.String(), "Pulling: done"); got != 4 {
			t.Errorf("%d of 4 jobs are done in\n%s", got, &log)
		}
	})
}

func TestCloseStopsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reporter := New(newEnds(&log))
		job := reporter.Transfer(Task{Description: "Pulling", Steps: 2})
		job.Start(Subtask{Description: "layer"}).Add(12)
		sleep(3 * time.Second)
		must(t, reporter.Close())
		if want := "Pulling: stopped at 0 of 2, 12 B in 3s, 4 B/s\n"; !strings.HasSuffix(log.String(), want) {
			t.Errorf("got\n%s", &log)
		}
	})
}

func TestMeterFollowsTheRate(t *testing.T) {
	start := time.Now()
	m := meter{start: start}
	var n int64
	run := func(d time.Duration, perSecond int64) {
		for range d / period {
			n += perSecond / int64(time.Second/period)
			start = start.Add(period)
			m.update(start, n)
		}
	}
	run(2*time.Second, 1000)
	if m.rate < 999 || m.rate > 1001 {
		t.Errorf("got %v B/s from the first seconds, want 1000", m.rate)
	}
	if left, ok := m.left(n + 10_000); !ok || left.Round(time.Second) != 10*time.Second {
		t.Errorf("got %v, %v left, want 10s", left, ok)
	}
	run(30*time.Second, 4000)
	if m.rate < 3900 || m.rate > 4001 {
		t.Errorf("got %v B/s half a minute after the rate changed, want 4000", m.rate)
	}
	n = 0
	run(period, 0)
	if m.rate < 0 || m.rate > 4000 {
		t.Errorf("got %v B/s after a new beginning", m.rate)
	}
	run(10*time.Minute, 0)
	if _, ok := m.left(1000); ok {
		t.Errorf("an end is in sight though nothing moves (%v B/s)", m.rate)
	}
}

func TestCleanDropsWhatSteersATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"layer 3f4a":                 "layer 3f4a",
		"a\x1b[2Jb\x07\r\nc\x00\x7f": "a[2Jbc",
		"a\u009b31mb":                "a31mb",
		"evil\u202egnp.exe":          "evil?gnp.exe",
		"a\xff\x9bb":                 "a??b",
		"Größe 😀":                    "Gr??e ?",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzTextIsSafeOnATerminal(f *testing.F) {
	f.Add("layer", int64(5), int64(10), 80)
	f.Add("\x1b]0;title\x07", int64(-5), int64(-10), 1)
	f.Add("Größe\u202e", int64(1)<<62, int64(1), 30)
	f.Fuzz(func(t *testing.T, name string, n, total int64, columns int) {
		m := meter{start: time.Unix(0, 0)}
		m.update(time.Unix(7, 0), n)
		for _, r := range bar(name, &m, n, total, columns) {
			if r < ' ' || r > '~' {
				t.Fatalf("%q in the bar of %q", r, name)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	reporter := New(Lines(io.Discard))
	part := reporter.Transfer(Task{}).Start(Subtask{})
	for b.Loop() {
		part.Add(32 << 10)
	}
	must(b, reporter.Close())
}
