// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"sync"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// interval is the time between two reports of progress.
const interval = 100 * time.Millisecond

// reporter reports how far the layers are.
type reporter struct {
	plan   []*planned
	mu     sync.Mutex
	report func(clonejob.Progress)
	// last is what was reported of each layer.
	last map[*planned]counted
}

// counted is how much of a layer is copied.
type counted struct{ files, bytes int64 }

func newReporter(plan []*planned, report func(clonejob.Progress)) *reporter {
	if report == nil {
		report = func(clonejob.Progress) {}
	}
	return &reporter{plan: plan, report: report, last: map[*planned]counted{}}
}

// start reports all layers once, so that their sizes are known, and those that are not there
// from time to time until stop. Where reports are not read, layers are staged all the same.
func (r *reporter) start() (stop func()) {
	ticker := time.NewTicker(interval)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, p := range r.plan {
			r.say(i, p.there)
		}
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				for i, p := range r.plan {
					if !p.there {
						r.say(i, false)
					}
				}
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		wg.Wait()
	}
}

// done reports that a layer is staged.
func (r *reporter) done(layer *planned) {
	for i, p := range r.plan {
		if p == layer {
			r.say(i, true)
		}
	}
}

// learn changes what is reported.
func (r *reporter) learn(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// say reports how far a layer is, if that has changed.
func (r *reporter) say(i int, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.plan[i]
	files, bytes := p.counts.Files.Load(), p.counts.Bytes.Load()
	now := counted{files, bytes}
	if before, reported := r.last[p]; !done && reported && now == before {
		return
	}
	r.last[p] = now
	r.report(clonejob.Progress{
		Layer: i, Layers: len(r.plan), DiffID: p.from.UncompressedDigest.String(), Size: p.from.UncompressedSize,
		Files: files, Bytes: bytes, Shared: p.there, Done: done,
	})
}
