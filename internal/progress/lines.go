// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// summaryPeriod is the least time between two lines about tasks that run.
const summaryPeriod = 5 * time.Second

// lines writes a line for each task and part that begins or ends.
type lines struct {
	w    io.Writer
	last time.Time
	// next is the index of the job that the next summary is about.
	next int
	err  error
}

// Lines writes plain lines to w, for logs and for terminals without cursor
// movement.
func Lines(w io.Writer) Output { return &lines{w: w} }

func (o *lines) event(now time.Time, what change, job *Job, part *Part) {
	o.last = now
	if part == nil {
		if what != started {
			o.line("%s", ending(now, what, job))
			return
		}
		var text []string
		if job.task.Steps > 0 {
			text = append(text, fmt.Sprintf("%d to do", job.task.Steps))
		}
		if job.task.Bytes > 0 {
			text = append(text, size(job.task.Bytes))
		}
		if job.task.StepsCached > 0 {
			text = append(text, fmt.Sprintf("%d already there", job.task.StepsCached))
		}
		if text == nil {
			text = append(text, "started")
		}
		o.line("%s: %s", clean(job.task.Description), strings.Join(text, ", "))
		return
	}
	text := "started"
	switch what {
	case done:
		text = "done"
	case stopped:
		text = "stopped"
	}
	if n := part.total.Load(); job.transfer && n > 0 {
		text += ", " + size(n)
	}
	o.line("%s: %s: %s", clean(job.task.Description), clean(part.sub.Description), text)
}

func (o *lines) tick(now time.Time, jobs []*Job) {
	if len(jobs) == 0 || now.Sub(o.last) < summaryPeriod {
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
