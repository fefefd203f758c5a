// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAnEarlyWriteThatFailsIsAnError: the kernel reports the error of a write once.
func TestAnEarlyWriteThatFailsIsAnError(t *testing.T) {
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	p := &planned{}
	c := &cloning{dst: &destination{area: &area{overlay: f}}, plan: []*planned{p}}
	for range 100 {
		finish := c.writeEarly()
		time.Sleep(2 * earlyWrites)
		if err := finish(); errors.Is(err, unix.EBADF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("no error")
}

// TestContentIsNotWrittenEarly: what is copied is written once.
func TestContentIsNotWrittenEarly(t *testing.T) {
	p := &planned{}
	p.counts.Copied.Add(1)
	// Without a store to write to it would crash.
	finish := (&cloning{plan: []*planned{p}}).writeEarly()
	time.Sleep(2 * earlyWrites)
	if err := finish(); err != nil {
		t.Error(err)
	}
}
