// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// linePeriod is the least time between two lines that are not about a layer.
const linePeriod = 10 * time.Second

// layer is the name of the parts that have a line each.
const layer = "layer"

// lines writes a line for each layer that is done, and one about the tasks every
// linePeriod at most. The end of a task has no line: the command prints the result.
type lines struct {
	w io.Writer
	// last is when the last line that is about a task was written, zero for never.
	last time.Time
	// next is the index of the job that the next summary is about.
	next int
	err  error
}

// Lines writes plain lines to w, for logs and for terminals without cursor
// movement.
func Lines(w io.Writer) Output { return &lines{w: w} }

func (o *lines) event(now time.Time, what change, job *Job, part *Part) {
	switch {
	case part != nil && (what != done || part.sub.Name != layer):
	case part != nil:
		text := "done"
		if n := part.total.Load(); n > 0 {
			text += ", " + Size(n)
		}
		o.line("%s: %s: %s", clean(job.task.Description), clean(part.sub.Description), text)
	case what == started && o.due(now):
		o.last = now
		o.line("%s", beginning(job))
	}
}

// due reports whether a line about a task may be written.
func (o *lines) due(now time.Time) bool { return o.last.IsZero() || now.Sub(o.last) >= linePeriod }

// beginning is the first line about a job.
func beginning(job *Job) string {
	var text []string
	if job.task.Steps > 0 {
		text = append(text, fmt.Sprintf("%d to do", job.task.Steps))
	}
	if job.task.Bytes > 0 {
		text = append(text, Size(job.task.Bytes))
	}
	if job.task.StepsCached > 0 {
		text = append(text, fmt.Sprintf("%d already there", job.task.StepsCached))
	}
	if text == nil {
		text = append(text, "started")
	}
	return clean(job.task.Description) + ": " + strings.Join(text, ", ")
}

func (o *lines) tick(now time.Time, jobs []*Job) {
	if len(jobs) == 0 || !o.due(now) {
		return
	}
	o.last = now
	o.next++
	job := jobs[o.next%len(jobs)]
	text := []string{count(job.steps, job.task.Steps)}
	if job.transfer {
		text = append(text, amount(job.bytes(), job.task.Bytes), rate(&job.meter))
		if left, ok := job.meter.left(job.task.Bytes); ok {
			text = append(text, duration(left)+" left")
		}
	} else {
		text = append(text, duration(now.Sub(job.started)))
	}
	o.line("%s: %s", clean(job.task.Description), strings.Join(text, ", "))
}

func (o *lines) message(w io.Writer, text []byte) (int, error) { return w.Write(text) }

func (o *lines) close() error { return o.err }

func (o *lines) line(format string, args ...any) {
	if o.err == nil {
		if _, err := fmt.Fprintf(o.w, format+"\n", args...); err != nil {
			o.err = fmt.Errorf("write progress: %w", err)
		}
	}
}
