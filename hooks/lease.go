// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
)

const leasesDir = "leases"

// Lease says that a container runs, and what it needs as long. It is in
// /run/bootc-podman/leases/ID.json.
type Lease struct {
	// Schema is 1.
	Schema int    `json:"schema"`
	ID     string `json:"id"`
	Name   string `json:"name"`
	Image  Image  `json:"image"`
	// Store is the graph root of the container, "" for a container that is not
	// podman's.
	Store string `json:"store"`
	// Layers are those of the image, the topmost first.
	Layers []Layer `json:"layers"`
	// BootedDigest is that of the booted deployment's image.
	BootedDigest string `json:"booted_digest"`
	// PID is the container's first process. PIDStart is when it started, in clock
	// ticks since the boot, and BootID is the kernel's name for the boot.
	PID      int       `json:"pid"`
	PIDStart uint64    `json:"pid_start"`
	BootID   string    `json:"boot_id"`
	Started  time.Time `json:"started"`
	// State is not in the file.
	State LeaseState `json:"state,omitempty"`
}

// LeaseState says whether a lease is to be believed.
type LeaseState string

// The states of leases: all but running are stale.
const (
	LeaseRunning LeaseState = "running"
	// LeaseGone is that of a process that ended.
	LeaseGone LeaseState = "gone"
	// LeaseRebooted is of a boot before this one.
	LeaseRebooted LeaseState = "rebooted"
)

// ErrBadLease says that a lease is none. The hook removes it after a while.
var ErrBadLease = errors.New("not a lease")

// Leases reads the leases on the host whose root is root, those that are stale
// too. Each problem names a lease that could not be read; without the hook, or
// without any container, there are none.
func Leases(root string) (leases []Lease, problems []error) {
	leases, problems = records(root, leasesDir, "lease", "leases", readLease)
	boot := bootID(root)
	for i, lease := range leases {
		leases[i].State = lease.state(root, boot)
	}
	logrus.Debugf("Read leases of containers: %d, problems: %d", len(leases), len(problems))
	return leases, problems
}

func readLease(dir *os.File, name string) (lease Lease, err error) {
	lease, err = readRecord[Lease](dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrBadLease, err)
	case lease.ID+".json" != name || !validID(lease.ID):
		err = fmt.Errorf("decode %q: %w: it is of container %q", name, ErrBadLease, lease.ID)
	}
	return lease, err
}

func (l Lease) state(root, boot string) LeaseState {
	switch {
	case l.BootID != boot:
		return LeaseRebooted
	case l.PIDStart == 0 || processStart(root, l.PID) != l.PIDStart:
		return LeaseGone
	}
	return LeaseRunning
}

// processStart is when a process started, in clock ticks since the boot, which
// distinguishes it from a later one of the same number; 0 when it does not run. One that
// ended and was not waited for does not run. See proc_pid_stat(5).
func processStart(root string, pid int) uint64 {
	if pid <= 0 {
		return 0
	}
	stat, err := readBelow(root, "proc/"+strconv.Itoa(pid)+"/stat", maxConf)
	if err != nil {
		return 0
	}
	// The name of the program, in parentheses, may have any character in it.
	const state, startTime = 0, 19
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= startTime || bytes.ContainsAny(fields[state], "ZXx") {
		return 0
	}
	start, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	if err != nil {
		return 0
	}
	return start
}

// Stores are the kinds of stores that the layers lie in.
func (l Lease) Stores() (kinds []StoreKind) {
	for _, layer := range l.Layers {
		if !slices.Contains(kinds, layer.Store) {
			kinds = append(kinds, layer.Store)
		}
	}
	return kinds
}

// sweepLeases removes stale leases, and files that are not leases. No poststop hook runs for
// a container that failed to start.
func (v *Invocation) sweepLeases(dir *os.File) {
	boot := bootID(v.Root)
	sweep(dir, v.Now(), func(name string) bool {
		lease, err := readLease(dir, name)
		return err != nil || lease.state(v.Root, boot) != LeaseRunning
	})
}

func leaseName(id string) string { return id + ".json" }
