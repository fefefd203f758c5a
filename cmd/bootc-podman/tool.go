// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/bootctool"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// isTool reports whether this program was started by the name of bootc's tool. The kernel
// keeps the name of the file in the name of the process; argv[0] can be another, see
// wrapper.ReadTool.
func isTool() bool {
	var comm [16]byte
	return unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&comm[0])), 0, 0, 0) == nil &&
		unix.ByteSliceToString(comm[:]) == wrapper.ToolName
}

// runTool is the program as bootc's tool: it returns the exit status.
func (a *app) runTool(ctx context.Context, args []string) int {
	tool := bootctool.Tool{Host: a.host(&options{sysroot: "/"}), Args: args, Stderr: a.stderr, Journal: a.inform}
	err := tool.Run(ctx)
	if err == nil {
		return 0
	}
	if end, ok := errors.AsType[*bootctool.SignalError](err); ok {
		_ = syscall.Kill(syscall.Getpid(), end.Signal)
		time.Sleep(time.Second) // it ends this process
		return 128 + int(end.Signal)
	}
	fmt.Fprintf(a.stderr, "Error: %s\n", printable(err.Error()))
	code := wrapper.ExitFailed
	if lookup, ok := errors.AsType[*wrapper.LookupError](err); ok {
		code = lookup.Code
	}
	return code
}
