// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"sync"
	"time"
)

// rate bounds how many bytes are read in a second. nil has no bound.
type rate struct {
	perSecond int64
	mu        sync.Mutex
	// free is when all that was read so far is paid for.
	free time.Time
}

func newRate(perSecond int64) *rate {
	if perSecond <= 0 {
		return nil
	}
	return &rate{perSecond: perSecond}
}

// wait waits until n more bytes may be read. It returns false if ctx ended first.
func (r *rate) wait(ctx context.Context, n int64) bool {
	if r == nil {
		return ctx.Err() == nil
	}
	r.mu.Lock()
	now := time.Now()
	if r.free.Before(now) {
		r.free = now
	}
	start := r.free
	r.free = start.Add(time.Duration(float64(n) / float64(r.perSecond) * float64(time.Second)))
	r.mu.Unlock()
	timer := time.NewTimer(time.Until(start))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
