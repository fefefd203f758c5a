// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"strconv"
)

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
