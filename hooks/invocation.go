// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Timeout is how many seconds podman and the OCI runtime give a hook. They fail the
// container of one that takes longer, so each ends well before.
const Timeout = 10

// Limits of what is read.
const (
	// maxState bounds the state of a container, mostly annotations.
	maxState = 1 << 20
	// MaxConfig bounds the configuration of a container, some 20 kB mostly.
	MaxConfig = 16 << 20
	// maxConf bounds files of configuration and of /proc.
	maxConf = 1 << 20
)

// Invocation is one run of a hook.
type Invocation struct {
	// Root is the directory that paths of the host are below: "/".
	Root   string
	Stdin  io.Reader
	Stdout io.Writer
	// Journal takes records. It has no error: there is no place to report it.
	Journal func(p journal.Priority, message string, fields map[string]string)
	Now     func() time.Time
	// Parent is the process that runs the hook, podman in precreate; 0 if it does not
	// matter.
	Parent int
	// Patience is how long a hook may take before its policy decides instead.
	Patience time.Duration

	// deaf is that the journal did not answer once.
	deaf atomic.Bool
}

// OnHost is an invocation on the running host.
func OnHost(stdin io.Reader, stdout io.Writer) *Invocation {
	return &Invocation{
		Root: "/", Stdin: stdin, Stdout: stdout,
		Journal: SystemJournal, Now: time.Now, Parent: os.Getppid(), Patience: Timeout * time.Second / 3,
	}
}

// Run runs the hook that args name and returns its exit status. For any other name it
// writes its input to its output: a hook configuration that is older or newer than this
// program stops no container.
func (v *Invocation) Run(args []string) int {
	if len(args) == 0 {
		args = []string{""}
	}
	if h, ok := Find(args[0]); ok {
		return h.run(v, args[1:])
	}
	v.warn(args[0], fmt.Errorf("no hook %q", args[0]))
	_, _ = io.Copy(v.Stdout, v.Stdin)
	return 0
}

var errSlow = errors.New("out of time")

// bounded runs f for no longer than the patience of the invocation; the error is
// also that of a panic.
func (v *Invocation) bounded(f func() error) error {
	var err error
	ended := within(v.Patience, func() {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("[internal error] %v", r)
			}
		}()
		err = f()
	})
	if !ended { // err may be written at any time
		return errSlow
	}
	return err
}

// within calls f, and reports whether it returned in this time. If not, f goes on.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// open opens a file of the host.
func (v *Invocation) open(path string, flags int) (*os.File, error) {
	root, err := rooted.OpenRoot(v.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return rooted.Open(root, path, flags)
}

// readBelow reads a regular file of the host whose root is root.
func readBelow(root, path string, limit int64) ([]byte, error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return rooted.ReadFile(dir, path, limit)
}

// warn records why a hook did not do its work.
func (v *Invocation) warn(hook string, err error) {
	v.record(journal.PriWarning, fmt.Sprintf("hook %s: %v", hook, err), map[string]string{"BOOTC_PODMAN_HOOK": hook})
}

// record writes to the journal in no more than a moment: a journal that does not answer is
// not waited for.
func (v *Invocation) record(p journal.Priority, message string, fields map[string]string) {
	if v.deaf.Load() {
		return
	}
	if !within(min(v.Patience, 500*time.Millisecond), func() { v.Journal(p, message, fields) }) {
		v.deaf.Store(true)
	}
}

// SystemJournal writes a record to systemd's journal. Without one, it is lost.
func SystemJournal(p journal.Priority, message string, fields map[string]string) {
	_ = journal.Send(message, p, with(fields, "SYSLOG_IDENTIFIER", "bootc-podman"))
}

// with returns fields with another one, unless that is empty.
func with(fields map[string]string, name, value string) map[string]string {
	if value == "" {
		return fields
	}
	fields = maps.Clone(fields)
	fields[name] = value
	return fields
}

// validID reports whether a container's ID can be a file name: letters, digits and
// a few signs, as OCI runtimes allow, and not hidden.
func validID(id string) bool {
	if id == "" || len(id) > 128 || id[0] == '.' || id[0] == '-' {
		return false
	}
	return !slices.ContainsFunc([]byte(id), func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' && c != '+'
	})
}

// short is an ID as podman shows it.
func short(id string) string { return id[:min(len(id), 12)] }

func bootID(root string) string {
	const digits = 36
	id, err := readBelow(root, "proc/sys/kernel/random/boot_id", maxConf)
	if err != nil || len(id) < digits {
		return ""
	}
	return string(id[:digits])
}
