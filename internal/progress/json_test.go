// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"golang.org/x/sys/unix"
)

type object = map[string]any

// reader is the other end of a progress pipe.
type reader struct {
	*os.File
	t *testing.T
}

// jsonPipe returns an output to a pipe that no process reads yet.
func jsonPipe(t *testing.T) (*jsonLines, reader) {
	t.Helper()
	var fds [2]int
	must(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	// Blocking, as a shell makes it.
	output, err := JSON(fds[1])
	must(t, err)
	r := os.NewFile(uintptr(fds[0]), "progress")
	t.Cleanup(func() { r.Close() })
	return output.(*jsonLines), reader{r, t}
}

// all reads to the end, and sends the events when it is there. Each must be as
// the schema says, and canonical. It is called outside bubbles: the clock of one
// stands still while a goroutine reads.
func (r reader) all() <-chan []object {
	events := make(chan []object, 1)
	go func() {
		var all []object
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var event object
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				r.t.Errorf("read %q: %v", lines.Bytes(), err)
			}
			// Maps are written sorted.
			var canonical bytes.Buffer
			encoder := json.NewEncoder(&canonical)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(event); err != nil || strings.TrimSuffix(canonical.String(), "\n") != lines.Text() {
				r.t.Errorf("not canonical: %s", lines.Bytes())
			}
			conforms(r.t, event)
			all = append(all, event)
		}
		if err := lines.Err(); err != nil {
			r.t.Error(err)
		}
		events <- all
	}()
	return events
}

func TestJSONHasTheEventsOfBootc(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		output, pipe := jsonPipe(t)
		reporter := New(output)
		pull := reporter.Transfer(Task{Name: "pulling", Description: "Pulling <os>", ID: "sha256:abc", Steps: 2, Bytes: 30, StepsCached: 3, BytesCached: 70})
		big := pull.Start(Subtask{Name: "layer", Description: "layer: 3f4a", ID: "3f4a", Bytes: 20})
		big.Add(5)
		sleep(250 * time.Millisecond) // one lossy event
		small := pull.Start(Subtask{Name: "layer", Description: "layer: 9c9c", ID: "9c9c", BytesCached: 1})
		small.Add(10)
		small.Done()
		big.Done()
		pull.Done()
		verify := reporter.Sequence(Task{Name: "verifying", Description: "Verifying", ID: "verifying", Steps: 1})
		verify.Start(Subtask{Name: "layers", Description: "Layers", ID: "layers"}).Done()
		verify.Done()
		must(t, reporter.Close())

		layer := func(n, total, id, cached string) string {
			return `{"bytes":` + n + `,"bytesCached":` + cached + `,"bytesTotal":` + total + `,"description":"layer: ` + id + `","id":"` + id + `","subtask":"layer"}`
		}
		event := func(n, steps string, layers ...string) string {
			return `{"bytes":` + n + `,"bytesCached":70,"bytesTotal":30,"description":"Pulling <os>","id":"sha256:abc","steps":` + steps +
				`,"stepsCached":3,"stepsTotal":2,"subtasks":[` + strings.Join(layers, ",") + `],"task":"pulling","type":"ProgressBytes"}`
		}
		step := func(steps, layers string) string {
			return `{"description":"Verifying","id":"verifying","steps":` + steps + `,"stepsCached":0,"stepsTotal":1,"subtasks":[` + layers +
				`],"task":"verifying","type":"ProgressSteps"}`
		}
		want := strings.Join([]string{
			`{"type":"Start","version":"0.1.0"}`,
			event("0", "0"),
			event("0", "0", layer("0", "20", "3f4a", "0")),
			event("5", "0", layer("5", "20", "3f4a", "0")),
			event("5", "0", layer("5", "20", "3f4a", "0"), layer("0", "0", "9c9c", "1")),
			event("15", "1", layer("5", "20", "3f4a", "0"), layer("10", "10", "9c9c", "1")),
			event("30", "2", layer("20", "20", "3f4a", "0"), layer("10", "10", "9c9c", "1")),
			step("0", ""),
			step("0", `{"completed":false,"description":"Layers","id":"layers","subtask":"layers"}`),
			step("1", `{"completed":true,"description":"Layers","id":"layers","subtask":"layers"}`),
		}, "\n") + "\n"
		var got bytes.Buffer
		_, err := got.ReadFrom(pipe)
		must(t, err)
		if got.String() != want {
			t.Errorf("got\n%swant\n%s", &got, want)
		}
	})
}

func TestJSONLeavesOutEventsThatComeTooSoon(t *testing.T) {
	output, pipe := jsonPipe(t)
	lines := pipe.all()
	synctest.Test(t, func(t *testing.T) {
		reporter := New(output)
		one, two := reporter.Transfer(Task{Name: "one"}), reporter.Transfer(Task{Name: "two"})
		parts := []*Part{one.Start(Subtask{Name: "layer"}), two.Start(Subtask{Name: "layer"})}
		for range 1000 {
			sleep(10 * time.Millisecond)
			for _, part := range parts {
				part.Add(1)
			}
		}
		must(t, reporter.Close())
		count := map[any]int{}
		for _, event := range <-lines {
			count[event["task"]]++
		}
		// 10 s at 5 Hz, in turns, and the beginning of each and its part.
		if count["one"] < 26 || count["one"] > 27 || count["two"] < 26 || count["two"] > 27 {
			t.Errorf("got events %v", count)
		}
	})
}

func TestJSONSpeaksAtLeastEveryFiveSeconds(t *testing.T) {
	output, pipe := jsonPipe(t)
	lines := pipe.all()
	synctest.Test(t, func(t *testing.T) {
		reporter := New(output)
		job := reporter.Sequence(Task{Name: "importing", Steps: 1})
		for range 300 {
			sleep(period)
			reporter.mu.Lock()
			if silent := time.Since(output.last); silent >= 5*time.Second {
				t.Errorf("silent for %v", silent)
			}
			reporter.mu.Unlock()
		}
		job.Done()
		sleep(time.Minute)
		must(t, reporter.Close())
		if events := <-lines; len(events) < 2+30/5 || len(events) > 2+30/4 {
			t.Errorf("got %d events in 30 s that need one every 5, and a minute that needs none", len(events))
		}
	})
}

func TestJSONDoesNotWaitForAReaderThatIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		output, pipe := jsonPipe(t)
		_, err := unix.FcntlInt(uintptr(output.fd), unix.F_SETPIPE_SZ, 4096)
		must(t, err)
		reporter := New(output)
		job := reporter.Transfer(Task{Name: "pulling"})
		for range 50 {
			part := job.Start(Subtask{Name: "layer"})
			sleep(time.Second)
			part.Add(1)
			sleep(time.Second)
			part.Done()
		}
		job.Done()
		lines := pipe.all()
		must(t, reporter.Close())
		events := <-lines
		starts := 0
		for i, event := range events[1:] {
			if n := len(event["subtasks"].([]any)); n < starts || n > starts+1 {
				t.Fatalf("event %d has %d subtasks, the one before %d", i, n, starts)
			} else {
				starts = n
			}
		}
		// All events that must be sent arrived, and those that fitted the pipe at first.
		if len(events) < 1+1+100 || len(events) > 150 || events[len(events)-1]["steps"] != 50.0 {
			t.Errorf("got %d events, the last %v", len(events), events[len(events)-1])
		}
	})
}

// No event is needed to bring what waited: a reader that reads gets it.
func TestJSONSendsWhatWaitedWhenTheReaderIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		output, pipe := jsonPipe(t)
		_, err := unix.FcntlInt(uintptr(output.fd), unix.F_SETPIPE_SZ, 4096)
		must(t, err)
		reporter := New(output)
		job := reporter.Sequence(Task{Name: "importing"})
		for range 50 {
			job.Start(Subtask{Name: "layer"}).Done()
		}
		waiting := func() int {
			reporter.mu.Lock()
			defer reporter.mu.Unlock()
			return len(output.pending)
		}
		if waiting() < 50_000 {
			t.Fatalf("only %d bytes wait", waiting())
		}
		buf := make([]byte, 8192)
		for n := range 100 {
			if waiting() == 0 {
				break
			}
			if n == 99 {
				t.Errorf("%d bytes still wait", waiting())
			}
			_, err := pipe.Read(buf)
			must(t, err)
			sleep(period)
		}
		// So that nothing waits for this reader at the end.
		output.grace = 0
		if err := reporter.Close(); err != nil && !errors.Is(err, ErrSlowReader) {
			t.Error(err)
		}
	})
}

func TestJSONGivesUpAReaderThatNeverReads(t *testing.T) {
	for name, layers := range map[string]int{"at the end": 100, "when too much waits": 500} {
		output, _ := jsonPipe(t)
		output.grace = time.Millisecond
		reporter := New(output)
		job := reporter.Transfer(Task{Name: "pulling"})
		for range layers {
			job.Start(Subtask{Name: "layer"}).Done()
			if len(output.pending) > backlog {
				t.Fatalf("%s: %d bytes wait", name, len(output.pending))
			}
		}
		job.Done()
		if err := reporter.Close(); !errors.Is(err, ErrSlowReader) {
			t.Errorf("%s: got %v, want ErrSlowReader", name, err)
		}
	}
}

// A task whose bytes are not those of parts.
func TestJSONReportsTheEndOfATaskWithoutParts(t *testing.T) {
	output, pipe := jsonPipe(t)
	events := pipe.all()
	synctest.Test(t, func(t *testing.T) {
		reporter := New(output)
		job := reporter.Transfer(Task{Name: "pulling", Bytes: 100})
		sleep(time.Second)
		job.Set(40)
		sleep(time.Second)
		part := job.Start(Subtask{Name: "layer", Bytes: 30})
		part.Set(30)
		part.Done()
		sleep(time.Second)
		job.Set(100)
		job.Done()
		must(t, reporter.Close())
	})
	var got []any
	for _, event := range <-events {
		got = append(got, event["bytes"])
	}
	if want := "[<nil> 0 40 40 40 100]"; fmt.Sprint(got) != want {
		t.Errorf("got bytes %v, want %s", got, want)
	}
}

func TestJSONReportsAReaderThatWentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		output, pipe := jsonPipe(t)
		var log bytes.Buffer
		reporter := New(output, Lines(&log))
		must(t, pipe.Close())
		job := reporter.Transfer(Task{})
		job.Start(Subtask{Name: layer}).Done()
		sleep(time.Minute)
		job.Done()
		if err := reporter.Close(); !errors.Is(err, unix.EPIPE) || strings.Count(err.Error(), "EPIPE")+strings.Count(err.Error(), "broken pipe") != 1 {
			t.Errorf("got %v, want EPIPE once", err)
		}
		if !strings.Contains(log.String(), ": done") {
			t.Errorf("the other output has only\n%s", &log)
		}
	})
}

func TestJSONKeepsToThePipeItWasGiven(t *testing.T) {
	var fds [2]int
	must(t, unix.Pipe(fds[:])) // without O_CLOEXEC
	defer unix.Close(fds[0])
	other, err := unix.FcntlInt(uintptr(fds[1]), unix.F_DUPFD_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(other)
	output, err := JSON(fds[1])
	must(t, err)
	if flags, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("programs inherit it: flags %#x, %v", flags, err)
	}
	reporter := New(output)
	reporter.Transfer(Task{Name: "pulling"})
	if flags, err := unix.FcntlInt(uintptr(other), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("others that have the pipe find it changed: flags %#x, %v", flags, err)
	}
	must(t, reporter.Close())
	if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("it is still open (%v)", err)
	}
}

func TestJSONRefusesWhatIsNoPipeToWriteTo(t *testing.T) {
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_WRONLY|os.O_CREATE, 0o600)
	must(t, err)
	defer file.Close()
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for fd, want := range map[int]string{
		-1:             "use file descriptor -1 for progress: 3 is the lowest allowed",
		0:              "use file descriptor 0 for progress: 3 is the lowest allowed",
		2:              "use file descriptor 2 for progress: 3 is the lowest allowed",
		1_000_000:      "use file descriptor 1000000 for progress: bad file descriptor",
		int(file.Fd()): fmt.Sprintf("use file descriptor %d for progress: not a pipe", file.Fd()),
		pipe[0]:        fmt.Sprintf("use file descriptor %d for progress: not open for writing", pipe[0]),
	} {
		if _, err := JSON(fd); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// conforms fails unless an event is as the schema says, without members that are not
// in it.
func conforms(t *testing.T, event object) {
	t.Helper()
	if err := faultsOf(t, event); err != nil {
		t.Errorf("%v\nof %v", err, event)
	}
}

func faultsOf(t *testing.T, event object) error {
	t.Helper()
	const name = "../../docs/progress-v0.schema.json"
	text, err := os.ReadFile(name)
	must(t, err)
	// Readers are to expect new members, but what we write is documented.
	strict := strings.ReplaceAll(string(text), `"type": "object",`, `"type": "object", "additionalProperties": false,`)
	schema, err := jsonschema.CompileString(name, strict)
	must(t, err)
	return schema.Validate(event)
}

// What a validator does not refuse shows nothing.
func TestSchemaRefusesOtherEvents(t *testing.T) {
	const good = `{"description":"d","id":"i","steps":1,"stepsCached":0,"stepsTotal":1,"subtasks":[{"completed":true,"description":"d","id":"i","subtask":"s"}],"task":"t","type":"ProgressSteps"}`
	for old, changed := range map[string]string{
		``:                       ``,
		`"id":"i","steps"`:       `"id":"i","more":1,"steps"`,
		`"type":"ProgressSteps"`: `"type":"Other"`,
		`"id":"i",`:              ``,
		`"steps":1`:              `"steps":-1`,
		`"stepsTotal":1`:         `"stepsTotal":1.5`,
		`"completed":true`:       `"completed":1`,
		`"task":"t"`:             `"task":""`,
		`,"subtask":"s"`:         ``,
		`"stepsCached":0`:        `"steps_cached":0`,
	} {
		var event object
		must(t, json.Unmarshal([]byte(strings.Replace(good, old, changed, 1)), &event))
		if err := faultsOf(t, event); (old == "") != (err == nil) {
			t.Errorf("%s instead of %s: got faults %v", changed, old, err)
		}
	}
	for _, event := range []object{{"type": "Start"}, {"type": "Start", "version": "1.0.0"}} {
		if faultsOf(t, event) == nil {
			t.Errorf("%v is valid", event)
		}
	}
}
