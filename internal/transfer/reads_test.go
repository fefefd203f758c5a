// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// readsOf returns a function that counts how often the list of images of a store was read
// since, by inotify(7).
func (h *scratchHost) readsOf(store string) func() int {
	h.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, h.Path(store+"/overlay-images"), unix.IN_OPEN|unix.IN_CLOSE_NOWRITE) // equal events in a row are one
	}
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { unix.Close(fd) })
	return func() (reads int) {
		h.Helper()
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		if err != nil && err != unix.EAGAIN {
			h.Fatal(err)
		}
		for events := buf[:max(n, 0)]; len(events) > 0; {
			end := unix.SizeofInotifyEvent + binary.NativeEndian.Uint32(events[12:])
			name, read := events[unix.SizeofInotifyEvent:end], binary.NativeEndian.Uint32(events[4:])&unix.IN_CLOSE_NOWRITE != 0
			if read && string(bytes.TrimRight(name, "\x00")) == "images.json" {
				reads++
			}
			events = events[end:]
		}
		return reads
	}
}

// TestSetUnifiedReadsAStoreAgainOnlyAfterAChange: once for the plan and its steps, once to
// verify what came, and once at the end, for what other processes changed.
func TestSetUnifiedReadsAStoreAgainOnlyAfterAChange(t *testing.T) {
	needNamespace(t)
	exact := stored{names: []string{imageName}, digest: bootedDigest}
	for _, tt := range []struct {
		name   string
		bootc  []stored
		choice plan.Choice
		// of the bootc-owned store and of podman's own.
		want [2]int
	}{
		{name: "nothing to do", bootc: []stored{exact}, want: [2]int{1, 1}},
		{name: "copied", want: [2]int{3, 2}},
		{name: "pulled by digest, named, and one name taken away", choice: plan.Choice{From: plan.FromRegistry}, want: [2]int{4, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, _ := booted(t, registryOrigin, nil, []stored{exact})
			podman := &fakePodman{scratchHost: h, images: tt.bootc, arrives: exact}
			o := podman.options()
			bootc, own := h.readsOf(bootcStorage), h.readsOf(defaultStorage)
			if _, err := SetUnified(t.Context(), o, tt.choice); err != nil {
				t.Fatal(err)
			}
			if got := [2]int{bootc(), own()}; got != tt.want {
				t.Errorf("read %d times, want %d", got, tt.want)
			}
		})
	}
}
