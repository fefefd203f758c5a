// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/hooks"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Effect says whether podman runs a hook of ours, as far as its files show.
type Effect struct {
	Hook string
	// Installed reports that podman finds the hook and that its program would run.
	Installed bool
	// Problem says why not; "" for a hook that is installed.
	Problem string
	// Since is when the hook was installed or, if that is later, when the host booted:
	// before that it ran for no container. It is zero for a hook that is not installed.
	Since time.Time

	hook hooks.Hook
}

// Effects describes our hooks on the host whose root is root, in the order of hooks.Table.
// It starts no podman for its version: a hook must run with each that is known.
// It is what a quick check needs; Verify reads more.
func Effects(root string) (effects []Effect, err error) {
	err = inRoot(root, "read hooks", func(dir *os.File) error {
		booted := bootTime(dir)
		for _, h := range hooks.Table() {
			effects = append(effects, Effect{Hook: h.Name, hook: h, Installed: true, Since: booted})
		}
		for _, order := range (Podman{}).orders() {
			c, err := Podman{}.read(dir, order)
			if err != nil {
				return err
			}
			all, err := configuredIn(dir, effective(c.all()))
			if err != nil {
				return err
			}
			for i := range effects {
				effects[i].look(dir, all)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return effects, nil
}

// look compares with the hooks that podman reads.
func (e *Effect) look(root *os.File, all []Configured) {
	for _, c := range all {
		if filepath.Base(c.File) != e.hook.File() {
			continue
		}
		if c.Hook == nil {
			e.lack("%s is damaged, so that no container starts", c.File)
			return
		}
		if err := checkProgram(root, c.Hook.Hook.Path); errors.Is(err, fs.ErrNotExist) {
			e.lack("program %q is missing", c.Hook.Hook.Path)
		} else if err != nil {
			e.lack("%v", err)
		} else if what := differs(e.hook, c.Hook); what != "" {
			e.lack("%s: %s", c.File, what)
		}
		if st, err := rooted.Stat(root, c.File, 0); err == nil && e.Installed {
			if written := time.Unix(st.Mtim.Unix()).UTC(); written.After(e.Since) {
				e.Since = written
			}
		}
		return
	}
	e.lack("not installed")
}

func (e *Effect) lack(format string, args ...any) {
	if e.Installed {
		e.Installed, e.Problem, e.Since = false, fmt.Sprintf(format, args...), time.Time{}
	}
}

// maxStat bounds /proc/stat, which has a number for each interrupt.
const maxStat = 64 << 20

// bootTime is when the host booted, the zero time if that is not known; see proc_stat(5).
func bootTime(root *os.File) time.Time {
	content, err := rooted.ReadFile(root, "proc/stat", maxStat)
	if err != nil {
		return time.Time{}
	}
	for line := range strings.Lines(string(content)) {
		if value, ok := strings.CutPrefix(line, "btime "); ok {
			if seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				return time.Unix(seconds, 0).UTC()
			}
		}
	}
	return time.Time{}
}
