// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package progress reports how far transfers are: bars on a terminal, lines in a
// log, JSON lines for a program.
//
// A Reporter has tasks (a pull, an export), and those have subtasks (layers,
// named steps). Counting is one atomic addition, cheap enough for every
// buffer copied; the outputs read the counters periodically. All of it
// is safe for concurrent use.
//
// No output changes the state of a terminal, the flags of a file or the handling
// of a signal, so there is nothing to restore after SIGKILL.
package progress

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// period is the time between two readings of the counters: bars are drawn at 10 Hz at
// most.
const period = 100 * time.Millisecond

// Output is a form of progress; Terminal, Lines and JSON make one. It belongs to
// the Reporter that it was passed to.
type Output interface {
	// event is called when a job or, if it is not nil, a part of it begins or ends.
	event(now time.Time, what change, job *Job, part *Part)
	// tick is called every period with the jobs that run.
	tick(now time.Time, jobs []*Job)
	// message writes text of another source to w, which may be the file that the
	// output itself writes to.
	message(w io.Writer, text []byte) (int, error)
	// close writes what is left. It returns the first error of all writes.
	close() error
}

// change is what happens to a job or to one of its parts.
type change int

const (
	started change = iota
	done
	// stopped is ended and not done.
	stopped
)

// Reporter passes the progress of tasks to its outputs. A nil Reporter has no output
// (--quiet), nor have the nil Job and the nil Part that it returns.
type Reporter struct {
	outputs []Output
	ticker  sync.WaitGroup
	stop    chan struct{} // nil as long as nothing was started

	mu     sync.Mutex
	jobs   []*Job // those that run
	closed bool
}

// New returns a reporter to all the outputs; without any it is a quiet one. Close
// ends it.
func New(outputs ...Output) *Reporter {
	if len(outputs) == 0 {
		return nil
	}
	return &Reporter{outputs: outputs}
}

// Task describes a task. Its text may contain any character: outputs for people show only
// ASCII without control characters.
type Task struct {
	// Name is for programs: "pulling". Description is for people.
	Name, Description string
	// ID identifies the task among those of one name: a digest, an image name.
	ID string
	// Steps and Bytes are to be done, without the cached ones; 0 is unknown.
	Steps, Bytes int64
	// StepsCached and BytesCached were done before.
	StepsCached, BytesCached int64
}

// Subtask describes a part of a task.
type Subtask struct {
	// Name is the kind of part, for programs: "layer". Description is for people.
	Name, Description string
	// ID identifies the part among those of one name.
	ID string
	// Bytes are to be done, 0 when unknown. Steps of a sequence have none.
	Bytes int64
	// BytesCached were done before.
	BytesCached int64
}

// Transfer starts a task that is measured in bytes.
func (r *Reporter) Transfer(task Task) *Job { return r.start(task, true) }

// Sequence starts a task that is measured in steps.
func (r *Reporter) Sequence(task Task) *Job { return r.start(task, false) }

func (r *Reporter) start(task Task, transfer bool) *Job {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	now := time.Now()
	job := &Job{r: r, task: task, transfer: transfer, started: now, meter: meter{start: now}}
	r.jobs = append(r.jobs, job)
	if r.stop == nil {
		r.stop = make(chan struct{})
		r.ticker.Go(r.run)
	}
	r.notify(now, started, job, nil)
	return job
}

func (r *Reporter) run() {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			r.tick(time.Now())
		}
	}
}

func (r *Reporter) tick(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	for _, job := range r.jobs {
		job.meter.update(now, job.bytes())
		for _, part := range job.parts {
			if !part.ended {
				part.meter.update(now, part.count.Load())
			}
		}
	}
	for _, output := range r.outputs {
		output.tick(now, r.jobs)
	}
}

// notify is called with the lock held.
func (r *Reporter) notify(now time.Time, what change, job *Job, part *Part) {
	for _, output := range r.outputs {
		output.event(now, what, job, part)
	}
}

// Writer returns a writer for messages that may be written while bars are drawn
// on the same terminal: they appear above them. Write whole lines.
func (r *Reporter) Writer(w io.Writer) io.Writer {
	if r == nil {
		return w
	}
	return messageWriter{r, w}
}

type messageWriter struct {
	r *Reporter
	w io.Writer
}

func (m messageWriter) Write(text []byte) (int, error) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	write := m.w.Write
	for _, output := range m.r.outputs {
		inner := write
		write = func(text []byte) (int, error) { return output.message(writerFunc(inner), text) }
	}
	return write(text)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(text []byte) (int, error) { return f(text) }

// Close stops the jobs that still run, waits until the outputs have written, and returns
// the first error of each of them. An output that fails writes nothing more; the others
// continue. No goroutine is left.
func (r *Reporter) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	for len(r.jobs) > 0 {
		r.jobs[0].end(stopped)
	}
	r.closed = true
	var errs []error
	for _, output := range r.outputs {
		errs = append(errs, output.close())
	}
	stop := r.stop
	r.mu.Unlock()
	if stop != nil {
		close(stop)
		r.ticker.Wait()
	}
	return errors.Join(errs...)
}

// Job is a task that was started.
type Job struct {
	r        *Reporter
	transfer bool
	started  time.Time

	count atomic.Int64

	// The rest is guarded by the reporter's lock.
	task     Task
	parts    []*Part // those that run and those that are done
	steps    int64   // parts done
	finished int64   // their bytes
	ended    bool
	meter    meter
}

// SetTotal sets the steps and bytes to do, once they are known or known better; 0 is
// unknown.
func (j *Job) SetTotal(steps, bytes int64) {
	if j == nil {
		return
	}
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	j.task.Steps, j.task.Bytes = steps, bytes
}

// SetCached sets the steps and bytes that were done before, once they are known.
func (j *Job) SetCached(steps, bytes int64) {
	if j == nil {
		return
	}
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	j.task.StepsCached, j.task.BytesCached = steps, bytes
}

// Set sets the bytes of the task that were done so far. The sum of its parts counts if it is
// larger.
func (j *Job) Set(n int64) {
	if j != nil {
		j.count.Store(n)
	}
}

// Start starts a part of the task. Several may run at a time.
func (j *Job) Start(sub Subtask) *Part {
	if j == nil {
		return nil
	}
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	if j.ended {
		return nil
	}
	now := time.Now()
	part := &Part{job: j, sub: sub, started: now, meter: meter{start: now}}
	part.total.Store(sub.Bytes)
	j.parts = append(j.parts, part)
	j.r.notify(now, started, j, part)
	return part
}

// Done ends the task as done, Stop as not done. Only the first call
// counts, so Stop can be deferred. Parts that still run are stopped.
func (j *Job) Done() { j.finish(done) }

// Stop is described at Done.
func (j *Job) Stop() { j.finish(stopped) }

func (j *Job) finish(what change) {
	if j == nil {
		return
	}
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	j.end(what)
}

// end is called with the lock held.
func (j *Job) end(what change) {
	if j.ended {
		return
	}
	// The output shows how far the job was, so the event comes before the parts that
	// still ran are removed.
	j.r.notify(time.Now(), what, j, nil)
	j.ended = true
	j.r.jobs = slices.DeleteFunc(j.r.jobs, func(other *Job) bool { return other == j })
	for _, part := range j.parts {
		part.ended = true
	}
}

// bytes is called with the lock held.
func (j *Job) bytes() int64 {
	n := j.finished
	for _, part := range j.parts {
		if !part.ended {
			n += part.count.Load()
		}
	}
	return max(n, j.count.Load())
}

// Part is a subtask that was started.
type Part struct {
	job     *Job
	sub     Subtask
	started time.Time

	count atomic.Int64
	total atomic.Int64

	// The rest is guarded by the reporter's lock.
	ended bool
	meter meter
}

// Add counts n more bytes.
func (p *Part) Add(n int64) {
	if p != nil {
		p.count.Add(n)
	}
}

// Set sets the bytes that were done so far. It may be less than before, as when a
// download starts again.
func (p *Part) Set(n int64) {
	if p != nil {
		p.count.Store(n)
	}
}

// SetTotal sets the number of bytes, once it is known; 0 is unknown.
func (p *Part) SetTotal(n int64) {
	if p != nil {
		p.total.Store(n)
	}
}

// Done ends the part as done: an estimated size becomes the size that was counted. Stop ends
// it as not done: its bytes do not count, as they have to be done again. Only the first call
// counts, so Stop can be deferred.
func (p *Part) Done() { p.end(done) }

// Stop is described at Done.
func (p *Part) Stop() { p.end(stopped) }

func (p *Part) end(what change) {
	if p == nil {
		return
	}
	j := p.job
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	if what == done {
		// Readers of the JSON lines recognise a finished part by equal numbers.
		n := max(p.count.Load(), p.total.Load())
		p.count.Store(n)
		p.total.Store(n)
		j.steps++
		j.finished += n
	} else {
		j.parts = slices.DeleteFunc(j.parts, func(other *Part) bool { return other == p })
	}
	j.r.notify(time.Now(), what, j, p)
}

// memory is the period that a rate is the mean of.
const memory = 5 * time.Second

// meter measures a rate in bytes per second: the mean at first, later a mean that is weighted
// towards the last period of memory.
type meter struct {
	start, at time.Time
	bytes     int64
	rate      float64
}

func (m *meter) update(now time.Time, bytes int64) {
	if m.at.IsZero() {
		m.at = m.start
	}
	passed := now.Sub(m.at)
	if passed <= 0 {
		return
	}
	weight := float64(passed) / float64(max(passed, min(now.Sub(m.start), memory)))
	// Fewer bytes than before are a new beginning, not a negative rate.
	m.rate += weight * (max(float64(bytes-m.bytes), 0)/passed.Seconds() - m.rate)
	m.at, m.bytes = now, bytes
}

// left estimates how long the bytes up to total take; ok is false when that is unknown.
func (m *meter) left(total int64) (d time.Duration, ok bool) {
	if total <= m.bytes || m.rate < 1 {
		return 0, false
	}
	seconds := min(float64(total-m.bytes)/m.rate, 1e6)
	return time.Duration(seconds * float64(time.Second)), true
}
