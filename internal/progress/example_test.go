// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package progress_test

import (
	"os"

	"github.com/bootc-podman/bootc-podman/internal/progress"
)

func Example() {
	// A program uses progress.Terminal(os.Stderr, os.Getenv("TERM")).
	reporter := progress.New(progress.Lines(os.Stdout))
	defer reporter.Close()
	job := reporter.Transfer(progress.Task{
		Name: "pulling", Description: "Pulling localhost/os", ID: "localhost/os", Steps: 1, Bytes: 5,
	})
	defer job.Stop() // unless it is done
	layer := job.Start(progress.Subtask{
		Name: "layer", Description: "layer 3f4a5b", ID: "3f4a5b", Bytes: 5,
	})
	defer layer.Stop()
	layer.Add(5)
	layer.Done()
	job.Done()
	// Output:
	// Pulling localhost/os: 1 to do, 5 B
	// Pulling localhost/os: layer 3f4a5b: done, 5 B
}
