// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Command realtree makes, filters and compares the trees of operating systems for
// the tests in bats, and checks stores. It is not installed.
package main

import (
	"fmt"
	"io"
	"os"
)

const usage = `usage: realtree make base|second|third DIR   put files into a tree that are hard to carry over
       realtree filter                       change a tar archive as ostree-ext does before an import
       realtree compare TREE GOT             compare two trees in all but times and SELinux labels
       realtree compare-unlinked TREE GOT    the same without the numbers of hard links
       realtree check GRAPHROOT RUNROOT      check an overlay store as the storage library does`

func main() {
	if isHelper() {
		return
	}
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "Error: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch {
	case verb == "make" && len(args) == 3 && layers[args[1]] != nil:
		return makeTree(args[2], layers[args[1]])
	case verb == "filter" && len(args) == 1:
		return filter(stdout, stdin)
	case verb == "compare" && len(args) == 3:
		return compare(stdout, args[1], args[2], true)
	case verb == "compare-unlinked" && len(args) == 3:
		return compare(stdout, args[1], args[2], false)
	case verb == "check" && len(args) == 3:
		return check(stdout, args[1], args[2])
	}
	return fmt.Errorf("wrong arguments\n%s", usage)
}
