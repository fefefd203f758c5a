// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a terminal that understands what is written to it, and nothing more.
type screen struct {
	mu            sync.Mutex
	columns, rows int
	lines         []string // the last rows of them can be reached
	row, column   int
	frames        int
	broken        string
}

func newScreen(columns, rows int) *screen {
	return &screen{columns: columns, rows: rows, lines: []string{""}}
}

func (s *screen) output() *terminal {
	return &terminal{w: s, size: func() (int, int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.columns, s.rows
	}}
}

var sequence = regexp.MustCompile(`^\x1b\[(\d*)([AJK])`)

func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames++
	for rest := text; len(rest) > 0; {
		switch c := rest[0]; {
		case c == '\r':
			s.column = 0
		case c == '\n':
			s.row, s.column = s.row+1, 0
			if s.row == len(s.lines) {
				s.lines = append(s.lines, "")
			}
		case c >= ' ' && c <= '~':
			if s.column == s.columns {
				s.broken = fmt.Sprintf("line too long: %q", s.lines[s.row])
			}
			line := fmt.Sprintf("%-*s", s.column, s.lines[s.row])
			s.lines[s.row] = line[:s.column] + string(c) + line[min(len(line), s.column+1):]
			s.column++
		default:
			match := sequence.FindSubmatch(rest)
			if match == nil {
				s.broken = fmt.Sprintf("not understood: %q", rest)
				return len(text), nil
			}
			switch n, _ := strconv.Atoi(string(match[1])); match[2][0] {
			case 'A':
				if s.row -= n; s.row < max(0, len(s.lines)-s.rows) {
					s.broken = fmt.Sprintf("%d rows up is above the screen", n)
					s.row = max(0, s.row)
				}
			case 'J':
				s.lines = s.lines[:s.row+1]
				fallthrough
			case 'K':
				s.lines[s.row] = s.lines[s.row][:min(s.column, len(s.lines[s.row]))]
			}
			rest = rest[len(match[0])-1:]
		}
		rest = rest[1:]
	}
	return len(text), nil
}

// resize breaks lines that are too long, as most terminals do.
func (s *screen) resize(columns, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, line := range s.lines {
		for len(line) > columns {
			lines = append(lines, line[:columns])
			line = line[columns:]
		}
		lines = append(lines, line)
	}
	s.columns, s.rows, s.lines, s.row = columns, rows, lines, len(lines)-1
}

func (s *screen) shows(t *testing.T, want string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, line := range s.lines {
		s.lines[i] = strings.TrimRight(line, " ")
	}
	if got := strings.Join(s.lines, "\n"); got != want || s.broken != "" {
		t.Errorf("the screen shows\n%s\nwant\n%s\n%s", got, want, s.broken)
	}
}

func TestTerminalDrawsBars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(100, 24)
		io.WriteString(s, "$ pull\n")
		reporter := New(s.output())
		pull := reporter.Transfer(Task{Description: "Pulling sm\x1b[31mörgås", Steps: 3, Bytes: 60_000_000})
		one := pull.Start(Subtask{Description: "layer 3f4a5b", Bytes: 20_000_000})
		two := pull.Start(Subtask{Description: "layer 9c9c9c of an unusually long name"})
		sleep(time.Second + period/2)
		one.Add(5_000_000)
		two.Add(1_000_000)
		sleep(period)
		s.shows(t, `$ pull
Pulling sm[31m?rg?s: 0 of 3       [=>                      ]      6 MB of 60 MB  5.45 MB/s      10s
  layer 3f4a5b                    [=====>                  ]      5 MB of 20 MB  4.55 MB/s       3s
  layer 9c9c9c of an unusually .. [                        ]               1 MB   909 kB/s       --
`)
		fmt.Fprintln(reporter.Writer(s), "warning: a message")
		one.Done()
		sleep(period)
		s.shows(t, `$ pull
warning: a message
Pulling sm[31m?rg?s: 1 of 3       [=======>                ]     21 MB of 60 MB  17.5 MB/s       2s
  layer 9c9c9c of an unusually .. [                        ]               1 MB   833 kB/s       --
`)
		two.SetTotal(2_000_000)
		two.Add(3_000_000) // more than there should be
		verify := reporter.Sequence(Task{Description: "Verifying", Steps: 2})
		verify.Start(Subtask{Description: "layers"})
		sleep(2 * time.Second)
		s.shows(t, `$ pull
warning: a message
Pulling sm[31m?rg?s: 1 of 3       [========>               ]     24 MB of 60 MB   7.5 MB/s       5s
  layer 9c9c9c of an unusually .. [========================]       4 MB of 2 MB  1.25 MB/s       --
Verifying: 0 of 2  2s
  layers  2s
`)
		two.Done()
		sleep(period)
		s.shows(t, `$ pull
warning: a message
Pulling sm[31m?rg?s: 2 of 3       [========>               ]     24 MB of 60 MB  7.27 MB/s       5s
Verifying: 0 of 2  2s
  layers  2s
`)
		pull.Done()
		verify.Stop()
		must(t, reporter.Close())
		s.shows(t, `$ pull
warning: a message
Pulling sm[31m?rg?s: done, 24 MB in 3s, 7.16 MB/s
Verifying: stopped at 0 of 2, 2s
`)
	})
}

func TestTerminalDrawsAtMostTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(80, 24)
		reporter := New(s.output())
		job := reporter.Transfer(Task{Description: "Pulling"})
		for range 1000 {
			part := job.Start(Subtask{Description: "layer"})
			sleep(10 * time.Millisecond)
			part.Add(1_000_000)
			part.Done()
		}
		if s.frames < 95 || s.frames > 100 {
			t.Errorf("%d frames in 10 s", s.frames)
		}
		part := job.Start(Subtask{Description: "layer"})
		part.Done()
		sleep(20 * time.Minute)
		s.frames = 0
		sleep(20 * time.Minute)
		if s.frames != 0 {
			t.Errorf("%d frames while nothing changes", s.frames)
		}
		must(t, reporter.Close())
	})
}

func TestTerminalFitsTheScreen(t *testing.T) {
	show := func(columns, rows int) *screen {
		s := newScreen(columns, rows)
		synctest.Test(t, func(t *testing.T) {
			reporter := New(s.output())
			for _, name := range []string{"First", "Second"} {
				job := reporter.Transfer(Task{Description: name, Bytes: 1000})
				for i := range 12 {
					job.Start(Subtask{Description: fmt.Sprintf("layer %d", i), Bytes: 100}).Add(int64(i))
				}
			}
			sleep(period * 5 / 2)
			// What is on the screen now is what is looked at.
			lines, broken := slices.Clone(s.lines), s.broken
			must(t, reporter.Close())
			s.lines, s.broken = lines, broken
		})
		return s
	}
	for _, columns := range []int{1, 2, 10, 30, 66, 67, 68, 80, 300} {
		for _, rows := range []int{1, 2, 3, 5, 10, 26, 27, 28, 100} {
			s := show(columns, rows)
			if s.broken != "" || len(s.lines) > min(rows, 27) {
				t.Errorf("%d columns, %d rows: %d lines: %s", columns, rows, len(s.lines), s.broken)
			}
		}
	}
	show(60, 8).shows(t, `First                      66 B of 1 kB    330 B/s       3s
  layer 0                  0 B of 100 B      0 B/s       --
  layer 1                  1 B of 100 B      5 B/s      20s
  layer 2                  2 B of 100 B     10 B/s      10s
  layer 3                  3 B of 100 B     15 B/s       6s
  and 8 more
Second                     66 B of 1 kB    330 B/s       3s
`)
}

// A resized terminal keeps what was there before.
func TestTerminalErasesOnlyItsOwnLinesWhenItBecameNarrower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(100, 24)
		io.WriteString(s, "$ pull\n")
		reporter := New(s.output())
		job := reporter.Transfer(Task{Description: "Pulling", Bytes: 1000})
		job.Start(Subtask{Description: "layer", Bytes: 100})
		sleep(period * 3 / 2)
		s.resize(60, 24)
		sleep(period)
		if len(s.lines) != 4 || s.lines[0] != "$ pull" || !strings.HasPrefix(s.lines[1], "Pulling") || !strings.HasPrefix(s.lines[2], "  layer") {
			t.Errorf("the screen shows\n%s", strings.Join(s.lines, "\n"))
		}
		must(t, reporter.Close())
	})
}

// pty returns both ends of a pseudo-terminal.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestTerminalIsUsedOnARealOne(t *testing.T) {
	master, slave := pty(t)
	must(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 50, Row: 10}))
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		reporter := New(Terminal(slave, "xterm-256color"))
		job := reporter.Transfer(Task{Description: "Pulling", Bytes: 1000})
		job.Start(Subtask{Description: "layer", Bytes: 100}).Add(10)
		sleep(period * 3 / 2)
		must(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 120, Row: 10}))
		sleep(period)
		job.Done()
		must(t, reporter.Close())
	})
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	must(t, err)
	if *before != *after {
		t.Errorf("modes of the terminal were %v, are %v", before, after)
	}
	buf := make([]byte, 64<<10)
	var got []byte
	for !bytes.Contains(got, []byte("Pulling: done")) {
		n, err := master.Read(buf)
		must(t, err)
		got = append(got, buf[:n]...)
	}
	longest := 0
	for line := range strings.Lines(string(got)) {
		longest = max(longest, len(strings.TrimRight(line, "\r\n")))
	}
	if !bytes.Contains(got, []byte("\x1b[2A")) || bytes.Count(got, []byte("  layer")) != 2 || longest < 110 || bytes.Contains(got, []byte("m")) {
		t.Errorf("got %q", got)
	}
}

func TestTerminalWritesLinesWhereNothingCanBeDrawn(t *testing.T) {
	_, slave := pty(t)
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer file.Close()
	for name, output := range map[string]Output{
		"dumb terminal": Terminal(slave, "dumb"),
		"unknown one":   Terminal(slave, ""),
		"file":          Terminal(file, "xterm"),
	} {
		if _, ok := output.(*lines); !ok {
			t.Errorf("%s: got %T", name, output)
		}
	}
	if _, ok := Terminal(slave, "vt100").(*terminal); !ok {
		t.Error("no bars on a terminal")
	}
}
