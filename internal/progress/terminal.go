// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// terminal draws a block of lines, a few for each job, again and again.
//
// The bars are written here because a library slows the start of every run of the
// program, also of those that draw nothing. mpb v8 takes 30 ms, as its
// go-runewidth fills tables before main, and go.podman.io/common requires that
// version; this takes no time that can be measured. The bars are ASCII, where every
// character has the same width.
type terminal struct {
	w    io.Writer
	size func() (columns, rows int)
	// drawn are the lines on the screen, the cursor below them.
	drawn []string
	err   error
}

// Terminal draws bars on the terminal f, as long as term (the environment's TERM)
// is one where the cursor can be moved, and writes Lines to other files.
//
// Bars are ASCII, so they look the same in every locale, and without colours, so
// NO_COLOR does not apply.
func Terminal(f *os.File, term string) Output {
	fd := int(f.Fd())
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil || term == "" || term == "dumb" {
		return Lines(f)
	}
	return &terminal{w: f, size: func() (columns, rows int) {
		// Reading the size each time needs no handler of SIGWINCH.
		if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
			return int(size.Col), int(size.Row)
		}
		return 80, 24
	}}
}

func (o *terminal) event(now time.Time, what change, job *Job, part *Part) {
	// Parts are drawn at the next tick; a finished one is removed then.
	if part == nil && what != started {
		o.write(o.erase() + ending(now, what, job) + "\n")
	}
}

func (o *terminal) tick(now time.Time, jobs []*Job) {
	columns, rows := o.size()
	o.draw(o.block(now, jobs, columns, rows), columns)
}

func (o *terminal) message(w io.Writer, text []byte) (int, error) {
	o.write(o.erase())
	return w.Write(text)
}

// The end of the last job erased the block.
func (o *terminal) close() error { return o.err }

// erase returns what removes the block.
func (o *terminal) erase() string {
	up := o.up()
	o.drawn = nil
	if up == "" {
		return ""
	}
	return up + "\x1b[J"
}

// up returns what moves the cursor to the start of the block.
func (o *terminal) up() string {
	columns, _ := o.size()
	rows := 0
	for _, line := range o.drawn {
		// A terminal that became narrower has broken the lines that no longer fit.
		rows += max(1, (len(line)+columns-1)/columns)
	}
	if rows == 0 {
		return ""
	}
	return fmt.Sprintf("\r\x1b[%dA", rows)
}

// draw writes the block over the previous one.
func (o *terminal) draw(block []string, columns int) {
	changed := len(block) != len(o.drawn)
	var frame strings.Builder
	frame.WriteString(o.up())
	for i, line := range block {
		if len(line) >= columns {
			// The last column stays free: some terminals wrap when it is written.
			line = line[:columns-1]
			block[i] = line
		}
		changed = changed || line != o.drawn[i]
		frame.WriteString(line + "\x1b[K\n")
	}
	if !changed {
		return
	}
	frame.WriteString("\x1b[J")
	o.write(frame.String())
	o.drawn = block
}

// block returns a line for each job with lines for its running parts below, as
// many as fit the screen with the cursor.
func (o *terminal) block(now time.Time, jobs []*Job, columns, rows int) []string {
	var block []string
	for i, job := range jobs {
		var parts []string
		for _, part := range job.parts {
			if !part.ended {
				parts = append(parts, o.part(now, part, columns))
			}
		}
		// Jobs that follow need a line each.
		if room := max(0, rows-1-len(block)-(len(jobs)-i)); len(parts) > room {
			hidden := len(parts) - max(0, room-1)
			parts = append(parts[:len(parts)-hidden], fmt.Sprintf("  and %d more", hidden))[:min(room, len(parts))]
		}
		block = append(append(block, o.job(now, job, columns)), parts...)
	}
	return block[:min(len(block), max(0, rows-1))]
}

func (o *terminal) job(now time.Time, job *Job, columns int) string {
	name := job.task.Description
	if job.steps > 0 || job.task.Steps > 0 {
		name += ": " + count(job.steps, job.task.Steps)
	}
	if !job.transfer {
		return clean(name) + "  " + duration(now.Sub(job.started))
	}
	return bar(name, &job.meter, job.bytes(), job.task.Bytes, columns)
}

func (o *terminal) part(now time.Time, part *Part, columns int) string {
	name := "  " + part.sub.Description
	if !part.job.transfer {
		return clean(name) + "  " + duration(now.Sub(part.started))
	}
	return bar(name, &part.meter, part.count.Load(), part.total.Load(), columns)
}

// The widths of columns: a bar that is less than minBar is left out.
const (
	minName, maxName = 16, 44
	minBar, maxBar   = 8, 40
)

// bar returns name, bar, bytes, rate and time left, in the order of their importance: a
// narrow screen cuts the right end off.
func bar(name string, m *meter, n, total int64, columns int) string {
	eta := "--"
	if left, ok := m.left(total); ok {
		eta = duration(left)
	}
	numbers := fmt.Sprintf("%18s %10s %8s", amount(n, total), rate(m), eta)
	width := min(maxName, max(minName, columns/3))
	name = clean(name)
	if len(name) > width {
		name = name[:width-2] + ".."
	}
	line := fmt.Sprintf("%-*s ", width, name)
	if room := min(maxBar, columns-1-len(line)-len("[] ")-len(numbers)); room >= minBar {
		fill := 0
		if total > 0 {
			// Sizes that were only estimates may be exceeded.
			fill = int(float64(room) * max(0, min(1, float64(n)/float64(total))))
		}
		tip := ""
		if fill > 0 && fill < room {
			fill, tip = fill-1, ">"
		}
		line += fmt.Sprintf("[%-*s] ", room, strings.Repeat("=", fill)+tip)
	}
	return line + numbers
}

func (o *terminal) write(s string) {
	if o.err != nil || s == "" {
		return
	}
	if _, err := io.WriteString(o.w, s); err != nil {
		o.err = fmt.Errorf("write progress: %w", err)
	}
}
