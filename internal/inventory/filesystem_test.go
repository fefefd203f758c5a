// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

// mountScript makes a filesystem of type $TYPE in file $IMAGE by the options of
// mkfs that are its arguments, mounts it and has this test's program look at it.
// Its mounts and their loop devices end with its mount namespace.
const mountScript = `set -e
if [ "$TYPE" = tmpfs ]; then
	mount -t tmpfs -o size=8m tmpfs "$MNT"
else
	"mkfs.$TYPE" "$@" "$IMAGE" >/dev/null || exit 77
	mount -t "$TYPE" -o loop "$IMAGE" "$MNT" || exit 77
fi
mkdir -p "$MNT/ostree/bootc/storage" "$MNT/ostree/repo"
mount -o "remount,$OPTIONS" "$MNT"
FILESYSTEM_TEST_DIR=$MNT exec "$SELF" -test.run='^TestHelperPrintsTheFilesystem$'
`

// TestHelperPrintsTheFilesystem is no test: it is run by mountScript. It also
// tries what the filesystem can, if that can be written to.
func TestHelperPrintsTheFilesystem(t *testing.T) {
	dir := os.Getenv("FILESYSTEM_TEST_DIR")
	if dir == "" {
		t.Skip("run by another test")
	}
	located, err := storageconf.Locate(dir)
	must(t, err)
	fs, err := readFilesystem(located)
	must(t, err)
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	fmt.Printf("result %s\n", encode(t, seen{*fs, tryReflink(t, dir), st.Blocks * uint64(st.Frsize)}))
}

// seen is what the helper reports.
type seen struct {
	Filesystem
	// Tried is whether a file could share extents, unknown where none could be made.
	Tried Capability
	// Bytes is the size by statfs(2).
	Bytes uint64
}

func tryReflink(t *testing.T, dir string) Capability {
	a, err := os.OpenFile(filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Unknown
	}
	defer a.Close()
	_, err = a.Write(bytes.Repeat([]byte("x"), 1<<16))
	must(t, err)
	b, err := os.OpenFile(filepath.Join(dir, "b"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer b.Close()
	if unix.IoctlFileClone(int(b.Fd()), int(a.Fd())) != nil {
		return No
	}
	return Yes
}

func TestFilesystemIsWhatTheKernelSays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount filesystems")
	}
	self, err := os.Executable()
	must(t, err)
	for _, test := range []struct {
		name, fs, options string
		mkfs              []string
		reflink           Capability
	}{
		{"xfs", "xfs", "rw", []string{"-q"}, Yes},
		{"xfs without reflinks", "xfs", "rw", []string{"-q", "-m", "reflink=0"}, No},
		{"xfs read-only", "xfs", "ro", []string{"-q"}, Yes},
		{"ext4", "ext4", "rw", []string{"-q"}, No},
		{"btrfs", "btrfs", "rw", []string{"-q"}, Yes},
		{"btrfs read-only", "btrfs", "ro", []string{"-q"}, Yes},
		{"tmpfs", "tmpfs", "rw", nil, No},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
			must(t, os.Mkdir(mnt, 0o755))
			must(t, os.WriteFile(image, nil, 0o600))
			must(t, os.Truncate(image, 512<<20))
			args := append([]string{"--mount", "--propagation=private", "sh", "-c", mountScript, "sh"}, test.mkfs...)
			cmd := exec.Command("unshare", args...)
			cmd.Env = append(os.Environ(), "TYPE="+test.fs, "IMAGE="+image, "MNT="+mnt, "OPTIONS="+test.options, "SELF="+self)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 77 {
				t.Skipf("cannot make or mount a %s here: %s", test.fs, out)
			}
			_, text, found := bytes.Cut(out, []byte("result "))
			if err != nil || !found {
				t.Fatalf("%v: %s", err, out)
			}
			var got seen
			must(t, json.NewDecoder(bytes.NewReader(text)).Decode(&got))
			readOnly := test.options == "ro"
			if got.Type != test.fs || got.Reflink != test.reflink || got.ReadOnly != readOnly {
				t.Errorf("got %+v; want %s, reflink %s, read-only %t", got.Filesystem, test.fs, test.reflink, readOnly)
			}
			if got.Size != got.Bytes || got.Available == 0 || got.Available > got.Size {
				t.Errorf("%d of %d bytes available; statfs says %d", got.Available, got.Size, got.Bytes)
			}
			if !readOnly && got.Tried != got.Reflink {
				t.Errorf("said that reflinks are possible: %s; really: %s", got.Reflink, got.Tried)
			}
		})
	}
}

func TestFilesystemIsThatOfTheStoreOrOfWhereItWouldBe(t *testing.T) {
	h := newHost(t)
	if _, err := readFilesystem(storageconf.Store{Sysroot: "/nonexistent", Physical: "."}); err == nil {
		t.Error("a directory that does not exist: no error")
	}
	for range 2 {
		located, err := storageconf.Locate(h.Dir)
		must(t, err)
		fs, err := readFilesystem(located)
		if err != nil || fs.Type == "" || fs.Size == 0 {
			t.Errorf("got %+v, %v", fs, err)
		}
		h.store(bootcStorage)
	}
}

func TestFilesystemNamesAnUnknownOneByItsNumber(t *testing.T) {
	name, reflink := identify(nil, 0x1234abcd)
	if name != "0x1234abcd" || reflink != Unknown {
		t.Errorf("got %s, %s", name, reflink)
	}
}
