// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// A bar is drawn only where the total is known.
func TestProgressOfACloneHasItsTotalBeforeItsFirstLayerIsDone(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	output, err := progress.JSON(pipe[1])
	if err != nil {
		t.Fatal(err)
	}
	reporter := progress.New(output)
	job := reporter.Transfer(progress.Task{Name: "cloning"})
	answer := cloneProgress(job)
	// All of them are reported at the start.
	for _, p := range []clonejob.Progress{
		{Layer: 0, Size: 100},
		{Layer: 1, Size: 50, Done: true, Shared: true},
		{Layer: 2, Size: 200},
		{Layer: 2, Size: 200, Files: 1, Bytes: 80},
		{Layer: 2, Size: 200, Files: 3, Bytes: 190, Done: true},
	} {
		p.Layers = 3
		answer(clonejob.Answer{Progress: &p})
	}
	job.Stop()
	if err := reporter.Close(); err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(pipe[0]), "progress")
	defer r.Close()
	type event struct {
		Type              string
		Bytes, BytesTotal int64
		Subtasks          []struct{ ID string }
	}
	var last event
	for d := json.NewDecoder(r); d.More(); {
		var e event
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if len(e.Subtasks) == 2 && e.BytesTotal != 350 {
			t.Errorf("the total is %d when the second layer begins", e.BytesTotal)
		}
		last = e
	}
	// The first layer did not begin.
	if last.Bytes != 250 || last.BytesTotal != 350 || len(last.Subtasks) != 2 {
		t.Errorf("got %+v in the end", last)
	}
}
