// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/docker/go-units"
)

// clean removes control characters and replaces each character that is not ASCII by a
// question mark, so that a byte is a column in every locale, and no text controls the
// terminal. Names of images and digests are ASCII.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r):
			return -1
		case r > unicode.MaxASCII:
			return '?'
		}
		return r
	}, s)
}

// Size returns a number of bytes in the form in which podman lists sizes: 12.3 MB. All
// commands print sizes so.
func Size(n int64) string {
	s := units.HumanSizeWithPrecision(float64(max(n, 0)), 3)
	i := strings.LastIndexAny(s, "0123456789") + 1
	return s[:i] + " " + s[i:]
}

func duration(d time.Duration) string { return d.Round(time.Second).String() }

func rate(m *meter) string { return Size(int64(m.rate)) + "/s" }

// amount is "12 MB of 45 MB", or "12 MB" when the total is unknown.
func amount(n, total int64) string {
	if total <= 0 {
		return Size(n)
	}
	return Size(n) + " of " + Size(total)
}

// count is "2 of 7", or "2".
func count(n, total int64) string {
	if total <= 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d of %d", n, total)
}

// ending is the last line about a job.
func ending(now time.Time, what change, job *Job) string {
	took := now.Sub(job.started)
	text := []string{"done"}
	if what == stopped {
		text[0] = "stopped at " + count(job.steps, job.task.Steps)
	}
	if job.task.StepsCached > 0 {
		text = append(text, fmt.Sprintf("%d already there", job.task.StepsCached))
	}
	if job.transfer {
		n := job.bytes()
		text = append(text, fmt.Sprintf("%s in %s", Size(n), duration(took)))
		if took >= time.Second {
			text = append(text, Size(int64(float64(n)/took.Seconds()))+"/s")
		}
	} else {
		text = append(text, duration(took))
	}
	return clean(job.task.Description) + ": " + strings.Join(text, ", ")
}
