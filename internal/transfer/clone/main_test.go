// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.podman.io/storage/pkg/reexec"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if job := os.Getenv(jobVariable); job != "" {
		os.Exit(doJob(job))
	}
	os.Exit(testfs.Main(m))
}

// must fails the test for an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// jobVariable has the job of a test's process that is to be killed.
const jobVariable = "CLONE_TEST_JOB"

func doJob(text string) (status int) {
	job, err := clonejob.ReadJob(strings.NewReader(text))
	switch {
	case err != nil:
	case job.Composefs != nil:
		var repo *composefs.Repo
		if repo, err = repositoryAt(job.Composefs.Sysroot); err == nil {
			_, err = Composefs(context.Background(), job, repo, nil)
		}
	default:
		_, err = Image(context.Background(), job, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// repositoryAt opens the repository in a directory, which a test gives in place of its
// sysroot.
func repositoryAt(dir string) (*composefs.Repo, error) {
	root, err := rooted.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return composefs.Open(root, ".")
}

// heritable makes directories that pass a group or an access control list on to all
// that is made in them.
var heritable = map[string]func(t *testing.T, dir string){
	"set-group-ID": func(t *testing.T, dir string) {
		must(t, unix.Chown(dir, 0, 999))
		must(t, unix.Chmod(dir, 0o2755))
	},
	"access control list": func(t *testing.T, dir string) {
		// The owner may all, user 42 may read, the others may nothing.
		acl := []byte{
			2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 42, 0, 0, 0,
			4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
		}
		must(t, unix.Setxattr(dir, "system.posix_acl_default", acl, 0))
	},
}
