// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// protocol is the version of bootc's progress protocol that we speak.
const protocol = "0.1.0"

const (
	// lossy is the least time from the last event to one that may be left out, as
	// in bootc.
	lossy = 200 * time.Millisecond
	// alive is the most time without an event while something runs. The schema promises
	// 5 s; the rest is for a busy machine.
	alive = 4 * time.Second
	// backlog is how many bytes may wait for a reader.
	backlog = 1 << 20
	// grace is the time that a slow reader has at the end.
	grace = 2 * time.Second
	// pipeBuf is PIPE_BUF: a write of so many bytes to a pipe that is ready does not wait.
	pipeBuf = 4096
)

// ErrSlowReader reports that no progress is written any more, as no process read it for too
// long.
var ErrSlowReader = errors.New("reader is too slow")

// jsonLines writes the events of "bootc --progress-fd": see
// docs/progress-v0.schema.json, and crates/lib/src/progress_jsonl.rs of bootc.
// Events are canonical JSON: members sorted, no whitespace.
//
// bootc waits for a slow reader, and the pull with it. Here events that must be sent wait in
// memory, others are left out, and no transfer waits.
type jsonLines struct {
	fd      int
	grace   time.Duration
	pending []byte
	first   bool // Start was sent
	last    time.Time
	sent    map[*Job]mark
	err     error
}

// mark is the last event of a job.
type mark struct {
	at    time.Time
	bytes int64
}

// JSON writes to the pipe that is file descriptor fd, and takes it over: Close
// closes it, and programs started meanwhile do not inherit it. The descriptors 0
// to 2 are refused, and those that are not a pipe open for writing.
func JSON(fd int) (Output, error) {
	if fd <= 2 {
		return nil, fmt.Errorf("use file descriptor %d for progress: 3 is the lowest allowed", fd)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("use file descriptor %d for progress: %w", fd, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, fmt.Errorf("use file descriptor %d for progress: not a pipe", fd)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("use file descriptor %d for progress: %w", fd, err)
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, fmt.Errorf("use file descriptor %d for progress: not open for writing", fd)
	}
	unix.CloseOnExec(fd)
	return &jsonLines{fd: fd, grace: grace, sent: map[*Job]mark{}}, nil
}

// The members are in the order of their names.
type startEvent struct {
	Type    string `json:"type"`
	Version string `json:"version"`
}

type bytesEvent struct {
	Bytes       uint64         `json:"bytes"`
	BytesCached uint64         `json:"bytesCached"`
	BytesTotal  uint64         `json:"bytesTotal"`
	Description string         `json:"description"`
	ID          string         `json:"id"`
	Steps       uint64         `json:"steps"`
	StepsCached uint64         `json:"stepsCached"`
	StepsTotal  uint64         `json:"stepsTotal"`
	Subtasks    []bytesSubtask `json:"subtasks"`
	Task        string         `json:"task"`
	Type        string         `json:"type"`
}

type bytesSubtask struct {
	Bytes       uint64 `json:"bytes"`
	BytesCached uint64 `json:"bytesCached"`
	BytesTotal  uint64 `json:"bytesTotal"`
	Description string `json:"description"`
	ID          string `json:"id"`
	Subtask     string `json:"subtask"`
}

type stepsEvent struct {
	Description string         `json:"description"`
	ID          string         `json:"id"`
	Steps       uint64         `json:"steps"`
	StepsCached uint64         `json:"stepsCached"`
	StepsTotal  uint64         `json:"stepsTotal"`
	Subtasks    []stepsSubtask `json:"subtasks"`
	Task        string         `json:"task"`
	Type        string         `json:"type"`
}

type stepsSubtask struct {
	Completed   bool   `json:"completed"`
	Description string `json:"description"`
	ID          string `json:"id"`
	Subtask     string `json:"subtask"`
}

func (o *jsonLines) event(now time.Time, what change, job *Job, part *Part) {
	// bootc has no event for the end of a task: the end of the last part is that, unless
	// some bytes belong to no part. A part that was stopped is missing from the next
	// event.
	if what == started || what == done && (part != nil || job.bytes() != o.sent[job].bytes) {
		o.send(now, job)
	}
	if what != started && part == nil {
		delete(o.sent, job)
	}
}

func (o *jsonLines) tick(now time.Time, jobs []*Job) {
	o.write(0)
	since := now.Sub(o.last)
	if len(o.pending) > 0 || since < lossy {
		return
	}
	// One event at a time, of the job that has waited longest for it.
	var next *Job
	for _, job := range jobs {
		changed := job.bytes() != o.sent[job].bytes
		if (changed || since >= alive) && (next == nil || o.sent[job].at.Before(o.sent[next].at)) {
			next = job
		}
	}
	if next != nil {
		o.send(now, next)
	}
}

func (o *jsonLines) message(w io.Writer, text []byte) (int, error) { return w.Write(text) }

func (o *jsonLines) close() error {
	for end := time.Now().Add(o.grace); len(o.pending) > 0 && o.err == nil; {
		left := time.Until(end)
		if left <= 0 {
			o.fail(ErrSlowReader)
			break
		}
		o.write(left)
	}
	unix.Close(o.fd)
	return o.err
}

func (o *jsonLines) send(now time.Time, job *Job) {
	if o.err != nil {
		return
	}
	if !o.first {
		o.first = true
		o.put(startEvent{Type: "Start", Version: protocol})
	}
	o.put(eventOf(job))
	o.last = now
	o.sent[job] = mark{now, job.bytes()}
	o.write(0)
}

// eventOf lists all parts that run or are done, as bootc does.
func eventOf(job *Job) any {
	task := job.task
	if !job.transfer {
		subtasks := make([]stepsSubtask, len(job.parts))
		for i, part := range job.parts {
			subtasks[i] = stepsSubtask{
				Completed: part.ended, Description: part.sub.Description, ID: part.sub.ID, Subtask: part.sub.Name,
			}
		}
		return stepsEvent{
			Description: task.Description, ID: task.ID,
			Steps: unsigned(job.steps), StepsCached: unsigned(task.StepsCached), StepsTotal: unsigned(task.Steps),
			Subtasks: subtasks, Task: task.Name, Type: "ProgressSteps",
		}
	}
	subtasks := make([]bytesSubtask, len(job.parts))
	for i, part := range job.parts {
		subtasks[i] = bytesSubtask{
			Bytes: unsigned(part.count.Load()), BytesCached: unsigned(part.sub.BytesCached), BytesTotal: unsigned(part.total.Load()),
			Description: part.sub.Description, ID: part.sub.ID, Subtask: part.sub.Name,
		}
	}
	return bytesEvent{
		Bytes: unsigned(job.bytes()), BytesCached: unsigned(task.BytesCached), BytesTotal: unsigned(task.Bytes),
		Description: task.Description, ID: task.ID,
		Steps: unsigned(job.steps), StepsCached: unsigned(task.StepsCached), StepsTotal: unsigned(task.Steps),
		Subtasks: subtasks, Task: task.Name, Type: "ProgressBytes",
	}
}

func unsigned(n int64) uint64 { return uint64(max(n, 0)) }

// put adds a line to the backlog.
func (o *jsonLines) put(event any) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(event); err != nil {
		o.fail(err)
		return
	}
	if len(o.pending)+line.Len() > backlog {
		o.fail(ErrSlowReader)
		return
	}
	o.pending = append(o.pending, line.Bytes()...)
}

// write writes what the pipe accepts, and waits for at most the given time until it accepts
// anything. It uses poll(2): O_NONBLOCK would also apply to other processes that share the
// pipe.
func (o *jsonLines) write(wait time.Duration) {
	for len(o.pending) > 0 && o.err == nil {
		ready := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(ready, int(wait.Milliseconds()))
		if err == nil && n > 0 {
			n, err = unix.Write(o.fd, o.pending[:min(len(o.pending), pipeBuf)])
		}
		switch {
		case err == nil && n > 0:
			o.pending = o.pending[n:]
		case err == nil || errors.Is(err, unix.EAGAIN):
			return
		case !errors.Is(err, unix.EINTR):
			o.fail(err)
		}
	}
}

func (o *jsonLines) fail(err error) {
	if o.err == nil {
		o.err = fmt.Errorf("write progress to file descriptor %d: %w", o.fd, err)
	}
	o.pending = nil
}
