// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

// Command bootc-podman-store copies images between stores, and takes care of stores, for
// bootc-podman. It is
// private: its input and output (package clonejob) can change with every release.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage/pkg/reexec"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clone"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/loopback"
)

func main() {
	if reexec.Init() {
		return
	}
	// Modes of files are set one by one where this one does not do.
	unix.Umask(0o022)
	logrus.SetLevel(logrus.WarnLevel)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}

// run does the job that it reads. The error is one of writing the answers; a job that
// fails is an answer, too.
func run(ctx context.Context, in io.Reader, out io.Writer) error {
	var mu sync.Mutex
	encoder := json.NewEncoder(out)
	answer := func(a clonejob.Answer) error {
		mu.Lock()
		defer mu.Unlock()
		return encoder.Encode(a)
	}
	job, err := clonejob.ReadJob(in)
	var result *clonejob.Result
	progress := func(p clonejob.Progress) {
		_ = answer(clonejob.Answer{Progress: &p}) // the last one will fail, too
	}
	switch {
	case err != nil:
	case job.Pull != nil:
		result, err = &clonejob.Result{}, loopback.Pull(ctx, *job.Pull, answer)
	case job.Care != nil && job.Care.Composefs != "":
		result, err = checkComposefs(ctx, job)
	case job.Care != nil:
		result, err = clone.Care(ctx, job, progress)
	case job.Composefs != nil:
		result, err = cloneComposefs(ctx, job, progress)
	case job.OSTree == nil:
		result, err = clone.Image(ctx, job, progress)
	case job.Registry == nil:
		result, err = exportImage(ctx, job, progress)
	default:
		result, err = &clonejob.Result{}, loopback.Export(ctx, job, answer)
	}
	if err != nil {
		return answer(clonejob.Answer{Failure: clone.Failure(err)})
	}
	return answer(clonejob.Answer{Result: result})
}
