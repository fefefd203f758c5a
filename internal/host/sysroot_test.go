// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/storageconf"
)

func makeDirs(t testing.TB, root string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func writeFile(t testing.TB, root, path, content string) {
	t.Helper()
	makeDirs(t, root, filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func symlink(t testing.TB, target, root, path string) {
	t.Helper()
	makeDirs(t, root, filepath.Dir(path))
	if err := os.Symlink(target, filepath.Join(root, path)); err != nil {
		t.Fatal(err)
	}
}

// commitOf and verityOf make digests out of a character.
func commitOf(c string) string { return strings.Repeat(c, commitDigits) }
func verityOf(c string) string { return strings.Repeat(c, verityDigits) }

const originOf = "[origin]\ncontainer-image-reference=ostree-unverified-registry:quay.io/example/%s\n"

// addDeployment makes the directory and the origin of an ostree deployment.
func addDeployment(t testing.TB, phys, stateroot, commit string, serial int) (root string) {
	t.Helper()
	root = fmt.Sprintf("ostree/deploy/%s/deploy/%s.%d", stateroot, commit, serial)
	makeDirs(t, phys, root)
	writeFile(t, phys, root+".origin", fmt.Sprintf(originOf, "os"))
	return root
}

// addEntry makes the boot loader entry for a deployment and the link it names.
func addEntry(t testing.TB, phys, boot, version, stateroot, target string) (arg string) {
	t.Helper()
	arg = fmt.Sprintf("/ostree/boot.1/%s/%s/%s", stateroot, commitOf("b"), version)
	symlink(t, "../../../deploy/"+stateroot+"/deploy/"+filepath.Base(target), phys, strings.TrimPrefix(arg, "/"))
	writeFile(t, boot, "boot/loader.1/entries/ostree-"+version+"-"+stateroot+".conf",
		"# comment\ntitle Test\nversion "+version+"\noptions root=x  ostree="+arg+" quiet\nlinux /vmlinuz\n")
	if _, err := os.Lstat(filepath.Join(boot, "boot/loader")); err != nil {
		symlink(t, "loader.1", boot, "boot/loader")
	}
	return arg
}

// summary is what the tests compare: "role commit-character.serial", a line each.
func summary(h *Host) string {
	var b strings.Builder
	for _, d := range h.Deployments {
		id := d.Verity
		if id != "" {
			fmt.Fprintf(&b, "%s %s\n", d.Role, id[:1])
		} else {
			fmt.Fprintf(&b, "%s %s/%s.%d\n", d.Role, d.Stateroot, d.Commit[:1], d.Serial)
		}
	}
	return b.String()
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

// running makes the root directory that a host runs in.
func running(t testing.TB, cmdline string) string {
	t.Helper()
	root := t.TempDir()
	writeFile(t, root, "proc/cmdline", cmdline+"\n")
	writeFile(t, root, "run/ostree-booted", "")
	return root
}

// backingRoot is a /run/ostree-booted that names a directory.
func backingRoot(t testing.TB, dir string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	data := binary.NativeEndian.AppendUint64(nil, st.Dev)
	data = binary.NativeEndian.AppendUint64(data, st.Ino)
	// A dictionary of one entry, whose value is at a multiple of eight.
	const key = "backing-root-device-inode\x00"
	entry := fmt.Sprintf("%s%s%s\x00(tt)%c", key, make([]byte, 32-len(key)), data, len(key))
	return entry + string(rune(len(entry)))
}

func TestReadSysrootOrdersAsTheBootLoader(t *testing.T) {
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo")
	for version, c := range map[string]string{"9": "9", "10": "a", "1": "1"} {
		addEntry(t, dir, dir, version, "default", addDeployment(t, dir, "default", commitOf(c), 0))
	}
	addDeployment(t, dir, "default", commitOf("e"), 0) // no entry: not bootable
	writeFile(t, dir, "boot/loader/entries/other.conf", "options ostree=x\n")
	h, problems := ReadSysroot(At(dir))
	oneLineNaming(t, problems)
	want := lines("other default/a.0", "other default/9.0", "other default/1.0")
	if got := summary(h); got != want || h.Kind != OSTree {
		t.Errorf("got %s %s, want %s", h.Kind, got, want)
	}
	d := h.Deployments[0]
	if d.Root != "ostree/deploy/default/deploy/"+commitOf("a")+".0" || d.Image == nil || d.Image.Image.Name != "quay.io/example/os" || d.Pinned || d.Incompatible {
		t.Errorf("got %+v", d)
	}
}

func TestReadSysrootGivesRolesAsBootcDoes(t *testing.T) {
	// Entries from the highest version to the lowest.
	for _, test := range []struct {
		name    string
		entries []string
		booted  string
		want    string
		queued  bool
	}{
		{name: "first", entries: []string{"default/a", "default/b", "default/c"}, booted: "a", want: lines("booted default/a.0", "rollback default/b.0", "other default/c.0")},
		{name: "queued", entries: []string{"default/b", "default/a", "default/c"}, booted: "a", want: lines("booted default/a.0", "rollback default/b.0", "other default/c.0"), queued: true},
		{name: "other stateroot", entries: []string{"x/b", "default/a", "x/c", "default/d"}, booted: "a", want: lines("booted default/a.0", "rollback default/d.0", "other x/b.0", "other x/c.0")},
		{name: "alone", entries: []string{"default/a", "x/c"}, booted: "a", want: lines("booted default/a.0", "other x/c.0")},
		{name: "not booted from here", entries: []string{"default/a", "default/c"}, booted: "", want: lines("other default/a.0", "other default/c.0")},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			makeDirs(t, dir, "ostree/repo")
			arg := "/ostree/boot.1/default/" + commitOf("f") + "/0"
			for i, entry := range test.entries {
				stateroot, c, _ := strings.Cut(entry, "/")
				a := addEntry(t, dir, dir, fmt.Sprint(9-i), stateroot, addDeployment(t, dir, stateroot, commitOf(c), 0))
				if c == test.booted {
					arg = a
				}
			}
			root := running(t, "root=x ostree="+arg+" ostree=/ostree/boot.0/x")
			h, problems := ReadSysroot(Sysroot{Dir: dir, Running: root})
			oneLineNaming(t, problems)
			if got := summary(h); got != test.want || h.RollbackQueued != test.queued {
				t.Errorf("got %squeued %t, want %s", got, h.RollbackQueued, test.want)
			}
			h, problems = ReadSysroot(Sysroot{Dir: dir})
			if oneLineNaming(t, problems); h.Booted() != nil || strings.Contains(summary(h), "rollback") {
				t.Errorf("not running: got %s", summary(h))
			}
		})
	}
}

func TestReadSysrootKnowsTheBootedRootByItself(t *testing.T) {
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo")
	old := addDeployment(t, dir, "default", commitOf("a"), 0)
	arg := addEntry(t, dir, dir, "1", "default", old)
	soft := addDeployment(t, dir, "default", commitOf("c"), 0)
	addEntry(t, dir, dir, "2", "default", soft)
	root := filepath.Join(dir, soft)
	writeFile(t, root, "proc/cmdline", "ostree="+arg)
	want := func(title, want string, s Sysroot) {
		t.Helper()
		h, problems := ReadSysroot(s)
		if oneLineNaming(t, problems); summary(h) != want {
			t.Errorf("%s: got %s", title, summary(h))
		}
	}
	want("not booted by ostree", lines("other default/c.0", "other default/a.0"), Sysroot{Dir: dir, Running: root})
	writeFile(t, root, "run/ostree-booted", "")
	want("soft reboot", lines("booted default/c.0", "rollback default/a.0"), Sysroot{Dir: dir, Running: root})
	writeFile(t, root, "run/ostree-booted", backingRoot(t, filepath.Join(dir, old)))
	want("backing root", lines("booted default/a.0", "rollback default/c.0"), Sysroot{Dir: dir, Running: root})
	elsewhere := running(t, "")
	writeFile(t, elsewhere, "run/ostree-booted", backingRoot(t, filepath.Join(dir, soft)))
	want("composefs over it", lines("booted default/c.0", "rollback default/a.0"), Sysroot{Dir: dir, Running: elsewhere})
}

func TestReadSysrootFindsTheStagedDeployment(t *testing.T) {
	const commit = "be17e4614a48d2baf930146f2ec5f8c500c0380a236d8d443f9f2041df42d1b5"
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo")
	arg := addEntry(t, dir, dir, "1", "default", addDeployment(t, dir, "default", commit, 2))
	addEntry(t, dir, dir, "2", "default", addDeployment(t, dir, "default", commitOf("a"), 0))
	addDeployment(t, dir, "default", commit, 3)
	s := Sysroot{Dir: dir, Running: running(t, "ostree="+arg)}
	writeFile(t, s.Running, "run/ostree/staged-deployment", string(stagedFile(t)))
	want := lines("staged default/b.3", "booted default/b.2", "rollback default/a.0")
	h, problems := ReadSysroot(s)
	if oneLineNaming(t, problems); summary(h) != want || !h.RollbackQueued || h.Deployments[0].Image == nil {
		t.Errorf("got %s", summary(h))
	}
	// Found by its directory, too, it is still there once only.
	if err := os.RemoveAll(filepath.Join(dir, "boot")); err != nil {
		t.Fatal(err)
	}
	h, problems = ReadSysroot(s)
	if oneLineNaming(t, problems); summary(h) != want || h.RollbackQueued {
		t.Errorf("without entries: got %s", summary(h))
	}
	writeFile(t, s.Running, "run/ostree/staged-deployment", "garbage")
	_, problems = ReadSysroot(s)
	oneLineNaming(t, problems, "run/ostree/staged-deployment")
}

func TestReadSysrootReadsDirectoriesWhenEntriesCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo")
	addDeployment(t, dir, "default", commitOf("c"), 10)
	addDeployment(t, dir, "default", commitOf("c"), 9)
	addDeployment(t, dir, "default", commitOf("a"), 0)
	addDeployment(t, dir, "another", commitOf("d"), 0)
	makeDirs(t, dir, "ostree/deploy/default/deploy/"+commitOf("e")+".0", "ostree/deploy/default/deploy/x.0")
	writeFile(t, dir, "ostree/deploy/stray", "")
	root := running(t, "")
	writeFile(t, root, "run/ostree-booted", backingRoot(t, filepath.Join(dir, "ostree/deploy/default/deploy", commitOf("c")+".9")))
	h, problems := ReadSysroot(Sysroot{Dir: dir, Running: root})
	oneLineNaming(t, problems)
	// Which of the two is the rollback cannot be known.
	want := lines("booted default/c.9", "other another/d.0", "other default/a.0", "other default/c.10")
	if got := summary(h); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReadSysrootNeedsNoPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo")
	addEntry(t, dir, dir, "1", "default", addDeployment(t, dir, "default", commitOf("a"), 0))
	addDeployment(t, dir, "default", commitOf("c"), 0)
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, filepath.Join(dir, "boot"): 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel has this user per thread, and takes root's capabilities for
	// files away with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := unix.SetfsuidRetUid(65534); err != nil {
		t.Fatal(err)
	}
	h, problems := ReadSysroot(At(dir))
	if _, err := unix.SetfsuidRetUid(0); err != nil {
		t.Fatal(err)
	}
	oneLineNaming(t, problems)
	if want := lines("other default/a.0", "other default/c.0"); summary(h) != want || h.Deployments[0].Image == nil {
		t.Errorf("got %s, want %s", summary(h), want)
	}
}

func TestReadSysrootPrefersTheMountedBootDirectory(t *testing.T) {
	dir := t.TempDir()
	phys := filepath.Join(dir, "sysroot")
	makeDirs(t, dir, "boot", "sysroot/ostree/repo")
	addEntry(t, phys, phys, "1", "default", addDeployment(t, phys, "default", commitOf("a"), 0))
	h, problems := ReadSysroot(At(dir))
	if oneLineNaming(t, problems); summary(h) != "other default/a.0\n" {
		t.Errorf("boot in the physical root: got %s", summary(h))
	}
	addEntry(t, phys, dir, "2", "default", addDeployment(t, phys, "default", commitOf("c"), 0))
	h, problems = ReadSysroot(At(dir))
	if oneLineNaming(t, problems); summary(h) != "other default/c.0\n" {
		t.Errorf("boot mounted: got %s", summary(h))
	}
}

func TestReadSysrootReadsOrigins(t *testing.T) {
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo")
	set := func(c, origin string) {
		root := addDeployment(t, dir, "default", commitOf(c), 0)
		if err := os.Remove(filepath.Join(dir, root+".origin")); err != nil {
			t.Fatal(err)
		}
		addEntry(t, dir, dir, c, "default", root)
		if origin != "" {
			writeFile(t, dir, root+".origin", origin)
		}
	}
	set("5", "[libostree-transient]\npinned=true\n"+fmt.Sprintf(originOf, "os"))
	set("4", fmt.Sprintf(originOf, "os")+"[packages]\nrequested=vim\n")
	set("3", "")
	set("2", "[origin]\ncontainer-image-reference=nonsense\n")
	set("1", "")
	if err := unix.Mkfifo(filepath.Join(dir, "ostree/deploy/default/deploy", commitOf("1")+".0.origin"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, problems := ReadSysroot(At(dir))
	oneLineNaming(t, problems, commitOf("2")+".0.origin", commitOf("1")+".0.origin")
	var got []string
	for _, d := range h.Deployments {
		got = append(got, fmt.Sprint(d.Commit[:1], " ", d.Image != nil, d.Pinned, d.Incompatible))
	}
	want := []string{"5 true true false", "4 false false true", "3 false false false", "2 false false false", "1 false false false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadSysrootNamesBadEntriesAndStaysInside(t *testing.T) {
	outside := t.TempDir()
	addDeployment(t, outside, "default", commitOf("d"), 0)
	dir := t.TempDir()
	makeDirs(t, dir, "ostree/repo", "boot/loader/entries/ostree-6.conf")
	link := "ostree/boot.1/default/" + commitOf("b") + "/"
	symlink(t, filepath.Join(outside, "ostree/deploy/default/deploy", commitOf("d")+".0"), dir, link+"0")
	symlink(t, "/etc", dir, link+"1")
	for name, arg := range map[string]string{
		"1": "ostree=/" + link + "0", "2": "ostree=/" + link + "1", "3": "ostree=/" + link + "2",
		"4": "ostree=/ostree/boot.1/../../etc/0", "5": "quiet", "7": "ostree=/ostree/boot.1/../" + commitOf("b") + "/0",
	} {
		writeFile(t, dir, "boot/loader/entries/ostree-"+name+".conf", "options "+arg+"\n")
	}
	if err := unix.Mkfifo(filepath.Join(dir, "boot/loader/entries/ostree-8.conf"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, problems := ReadSysroot(At(dir))
	oneLineNaming(t, problems, "ostree-6.conf", "ostree-8.conf", "ostree-1.conf", "ostree-2.conf", "ostree-3.conf", "ostree-4.conf", "ostree-5.conf", "ostree-7.conf")
	if len(h.Deployments) != 0 {
		t.Errorf("got %s", summary(h))
	}
}

func TestReadSysrootWantsABootcHost(t *testing.T) {
	for _, dirs := range [][]string{nil, {"ostree"}, {"composefs"}, {"state/deploy"}, {"sysroot/composefs", "ostree/repo"}} {
		dir := t.TempDir()
		makeDirs(t, dir, dirs...)
		h, problems := ReadSysroot(At(dir))
		if h != nil || len(problems) != 1 || !errors.Is(problems[0], storageconf.ErrNotBootcHost) {
			t.Errorf("%q: got %v, %v", dirs, h, problems)
		}
	}
	if h, problems := ReadSysroot(At("/nonexistent")); h != nil || len(problems) != 1 || errors.Is(problems[0], storageconf.ErrNotBootcHost) {
		t.Errorf("missing directory: got %v, %v", h, problems)
	}
}

const composefsOriginOf = "[origin]\ncontainer-image-reference = ostree-unverified-image:docker://quay.io/example/os\n[boot]\nboot_type = bls\n"

// newComposefs makes a physical root with deployments.
func newComposefs(t testing.TB, digests ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	makeDirs(t, dir, "composefs/bootc", "ostree")
	for _, c := range digests {
		writeFile(t, dir, "state/deploy/"+verityOf(c)+"/"+verityOf(c)+".origin", composefsOriginOf+"[image]\nmanifest_digest = sha256:"+commitOf(c)+"\n")
	}
	return dir
}

func addVerityEntry(t testing.TB, dir, name, sortKey, line string) {
	t.Helper()
	writeFile(t, dir, "boot/loader/entries/"+name+".conf", "version 1\nsort-key "+sortKey+"\n"+line+"\n")
}

func TestReadSysrootReadsComposefs(t *testing.T) {
	const mounts = "25 1 0:30 / / ro,relatime shared:1 - overlay %s ro\n26 25 0:31 / /x rw - overlay composefs:x rw\n"
	options := func(c string) string { return "options rw composefs=?" + verityOf(c) }
	systemdBoot := func(t *testing.T, _, root string) {
		writeFile(t, root, loaderInfo, "\x06\x00\x00\x00s\x00y\x00s\x00t\x00e\x00m\x00d\x00-\x00b\x00o\x00o\x00t\x00 \x002\x00")
	}
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir, root string)
		want    string
		queued  bool
	}{
		{name: "no entries", want: lines("booted a", "rollback c")},
		{name: "soft reboot", prepare: func(t *testing.T, _, root string) {
			writeFile(t, root, "proc/self/mountinfo", fmt.Sprintf(mounts, "composefs:"+verityOf("c")))
		}, want: lines("booted c", "rollback a")},
		{name: "transient", prepare: func(t *testing.T, _, root string) {
			writeFile(t, root, "proc/self/mountinfo", fmt.Sprintf(mounts, "transient:composefs="+verityOf("c")))
		}, want: lines("booted c", "rollback a")},
		{name: "other root", prepare: func(t *testing.T, _, root string) {
			writeFile(t, root, "proc/self/mountinfo", fmt.Sprintf(mounts, "composefs:short"))
		}, want: lines("booted a", "rollback c")},
		{name: "staged", prepare: func(t *testing.T, _, root string) {
			writeFile(t, root, composefsStaged, `{"depl_id": "`+verityOf("c")+`", "finalization_locked": false}`)
		}, want: lines("staged c", "booted a")},
		{name: "grub", prepare: func(t *testing.T, dir, _ string) {
			addVerityEntry(t, dir, "x", "1", options("a"))
			addVerityEntry(t, dir, "y", "0", options("c"))
		}, want: lines("booted a", "rollback c")},
		{name: "grub, rollback queued", prepare: func(t *testing.T, dir, _ string) {
			addVerityEntry(t, dir, "x", "0", options("a"))
			addVerityEntry(t, dir, "y", "1", options("c"))
		}, want: lines("booted a", "rollback c"), queued: true},
		{name: "systemd-boot", prepare: func(t *testing.T, dir, root string) {
			systemdBoot(t, dir, root)
			addVerityEntry(t, dir, "x", "0", "uki /EFI/Linux/bootc/bootc_composefs-"+verityOf("a")+".efi")
			addVerityEntry(t, dir, "y", "1", "efi /EFI/Linux/bootc/"+verityOf("c")+".efi")
		}, want: lines("booted a", "rollback c")},
		{name: "systemd-boot, rollback queued", prepare: func(t *testing.T, dir, root string) {
			systemdBoot(t, dir, root)
			addVerityEntry(t, dir, "x", "1", options("a"))
			addVerityEntry(t, dir, "y", "0", options("c"))
			addVerityEntry(t, dir, "z", "2", "options quiet")
		}, want: lines("booted a", "rollback c"), queued: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, root := newComposefs(t, "a", "c"), running(t, "rw composefs="+verityOf("a"))
			writeFile(t, root, "proc/self/mountinfo", fmt.Sprintf(mounts, "/dev/sda1"))
			if test.prepare != nil {
				test.prepare(t, dir, root)
			}
			h, problems := ReadSysroot(Sysroot{Dir: dir, Running: root})
			oneLineNaming(t, problems)
			if got := summary(h); got != test.want || h.Kind != Composefs || h.RollbackQueued != test.queued {
				t.Errorf("got %s %squeued %t", h.Kind, got, h.RollbackQueued)
			}
			for _, d := range h.Deployments {
				if d.Root != "" || d.Image == nil || d.ManifestDigest != "sha256:"+d.Verity[:commitDigits] {
					t.Errorf("got %+v", d)
				}
			}
			h, problems = ReadSysroot(At(dir))
			if oneLineNaming(t, problems); h.Kind != Composefs || h.Booted() != nil || len(h.Deployments) != 2 {
				t.Errorf("not running: got %s", summary(h))
			}
		})
	}
}

func TestReadSysrootTellsWhatIsWrongWithComposefs(t *testing.T) {
	dir, root := newComposefs(t, "a", "c", "d", "e"), running(t, "composefs=?"+verityOf("a"))
	writeFile(t, root, "proc/self/mountinfo", "")
	writeFile(t, root, composefsStaged, `{"depl_id": "../../x"}`)
	writeFile(t, dir, "state/deploy/"+verityOf("d")+"/"+verityOf("d")+".origin", "[boot]\n")
	makeDirs(t, dir, "state/deploy/"+verityOf("f"), "state/deploy/short")
	h, problems := ReadSysroot(Sysroot{Dir: dir, Running: root})
	oneLineNaming(t, problems, composefsStaged, verityOf("d")+".origin", verityOf("f")+".origin")
	if want := lines("booted a", "other c", "other d", "other e"); summary(h) != want {
		t.Errorf("got %s, want %s", summary(h), want)
	}
}

func TestReadSysrootReadsWhatAnOlderBootcWroteOfTheImage(t *testing.T) {
	dir := newComposefs(t)
	base := "state/deploy/" + verityOf("a") + "/" + verityOf("a")
	writeFile(t, dir, base+".origin", composefsOriginOf)
	writeFile(t, dir, base+".imginfo", `{"config": {"architecture": "arm64", "created": "2026-08-01T12:00:00Z"}, "manifest": {"layers": [], "annotations": {"org.opencontainers.image.version": "7"}}}`)
	h, problems := ReadSysroot(At(dir))
	oneLineNaming(t, problems)
	d := h.Deployments[0]
	if d.Version != "7" || d.Architecture != "arm64" || !d.Created.Equal(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)) || d.ManifestDigest != "" {
		t.Errorf("got %+v", d)
	}
}

func TestOpenRootOpensWhatThereIs(t *testing.T) {
	root := running(t, "")
	composefs := Sysroot{Dir: newComposefs(t, "a"), Running: root}
	f, err := composefs.OpenRoot(Deployment{Role: Booted, Verity: verityOf("a")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := readFile(f, "run/ostree-booted"); err != nil {
		t.Errorf("booted composefs: %v", err)
	}
	if _, err := composefs.OpenRoot(Deployment{Role: Rollback, Verity: verityOf("c")}); !errors.Is(err, ErrNoRoot) {
		t.Errorf("composefs: got %v", err)
	}
	dir := t.TempDir()
	makeDirs(t, dir, "sysroot/ostree/repo")
	d := Deployment{Role: Other, Stateroot: "default", Commit: commitOf("a"), Root: addDeployment(t, filepath.Join(dir, "sysroot"), "default", commitOf("a"), 0)}
	writeFile(t, dir, "sysroot/"+d.Root+"/usr/x", "")
	f, err = At(dir).OpenRoot(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := readFile(f, "usr/x"); err != nil {
		t.Errorf("ostree: %v", err)
	}
}

func TestCompareVersionsComparesNumbers(t *testing.T) {
	ordered := []string{"", "1", "2", "9", "10", "010a", "a", "a1", "a2", "a10", "b"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareVersions(a, b); got != compareInts(i, j) {
				t.Errorf("%q, %q: got %d", a, b, got)
			}
		}
	}
}

func compareInts(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// newOSTreeHost makes a physical root with ostree itself, and deploys three
// commits. Each deployment has an origin that names an image.
func newOSTreeHost(t testing.TB) (phys string) {
	t.Helper()
	needOSTree(t)
	if os.Getuid() != 0 {
		t.Skip("needs root, for ostree admin deploy")
	}
	phys = t.TempDir()
	ostreeCmd(t, "admin", "init-fs", "--modern", phys)
	ostreeCmd(t, "admin", "--sysroot="+phys, "os-init", "default")
	tree := t.TempDir()
	makeDirs(t, tree, "sysroot", "proc", "run", "sys", "dev", "var", "tmp", "boot", "usr/etc")
	writeFile(t, tree, "usr/lib/modules/6.1/vmlinuz", "kernel")
	writeFile(t, tree, "usr/lib/modules/6.1/initramfs.img", "initramfs")
	writeFile(t, tree, "usr/lib/os-release", "NAME=Test\nID=test\nVERSION_ID=1\n")
	symlink(t, "sysroot/ostree", tree, "ostree")
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		symlink(t, "usr/"+dir, tree, dir)
	}
	origin := filepath.Join(t.TempDir(), "origin")
	for i := range 3 {
		writeFile(t, tree, "usr/lib/version", fmt.Sprint(i))
		writeFile(t, filepath.Dir(origin), "origin", fmt.Sprintf(originOf, fmt.Sprint("os", i)))
		commit := ostreeCmd(t, "--repo="+phys+"/ostree/repo", "commit", "--no-bindings", "--branch=test", "--tree=dir="+tree, "--owner-uid=0", "--owner-gid=0", "--add-metadata=ostree.bootable=true",
			"--add-metadata-string=ostree.manifest-digest=sha256:"+fmt.Sprint(i), "--add-metadata-string=ostree.manifest={}")
		ostreeCmd(t, "admin", "--sysroot="+phys, "deploy", "--os=default", "--retain", "--origin-file="+origin, commit)
	}
	return phys
}

// statusLines renders deployments as "ostree admin status" prints them.
func statusLines(h *Host) (status []string) {
	for _, d := range h.Deployments {
		mark, note := " ", ""
		switch d.Role {
		case Booted:
			mark = "*"
		case Staged:
			note = " (staged)"
		case Rollback:
			note = " (rollback)"
		}
		status = append(status, fmt.Sprintf("%s default %s.%d%s", mark, d.Commit, d.Serial, note))
		if d.Pinned {
			status = append(status, "    Pinned: yes")
		}
	}
	return status
}

// ostreeStatus takes the lines that statusLines renders out of the output of
// "ostree admin status".
func ostreeStatus(out string) (status []string) {
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if len(line) > 2 && strings.HasPrefix(line[2:], "default ") || strings.HasPrefix(line, "    Pinned:") {
			status = append(status, line)
		}
	}
	return status
}

func TestReadSysrootAgreesWithOSTree(t *testing.T) {
	phys := newOSTreeHost(t)
	ostreeCmd(t, "admin", "--sysroot="+phys, "pin", "1")
	h, problems := ReadSysroot(At(phys))
	oneLineNaming(t, problems)
	want := ostreeStatus("  " + ostreeCmd(t, "admin", "--sysroot="+phys, "status"))
	if got := statusLines(h); !slices.Equal(got, want) || len(got) != 4 {
		t.Errorf("got %q, ostree says %q", got, want)
	}
	_, problems = Describe(openRepo(t, phys), h, nil)
	oneLineNaming(t, problems)
	for i, d := range h.Deployments {
		if n := fmt.Sprint(2 - i); d.Image == nil || d.Image.Image.Name != "quay.io/example/os"+n || d.ManifestDigest != "sha256:"+n {
			t.Errorf("deployment %d: got %+v", i, d)
		}
	}
	if f, err := At(phys).OpenRoot(h.Deployments[0]); err != nil {
		t.Error(err)
	} else if version, _ := readFile(f, "usr/lib/version"); string(version) != "2" {
		t.Errorf("root of version %q", version)
	}
}

// bootScript runs a deployment as "/" in namespaces of its own, as far as ostree
// can read, stages another one there and prints what ostree and we make of it.
const bootScript = `set -e
root=$1/root; mkdir "$root"
mount --bind "$2" "$root"
mount --bind "$1" "$root/sysroot"
mount --bind "$1/boot" "$root/boot"
mount --bind "$1/ostree/deploy/default/var" "$root/var"
mount --bind /usr "$root/usr"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/ostree"; touch "$root/run/ostree-booted"
chroot "$root" ostree admin deploy --stage --os=default --origin-file=/sysroot/stage.origin "$3" >/dev/null
chroot "$root" ostree admin status
HOST_TEST_ROOT=$root "$4" -test.run='^TestHelperPrintsTheHost$'
`

// TestHelperPrintsTheHost is no test: it is run by bootScript.
func TestHelperPrintsTheHost(t *testing.T) {
	root := os.Getenv("HOST_TEST_ROOT")
	if root == "" {
		t.Skip("run by another test")
	}
	h, problems := ReadSysroot(Sysroot{Dir: root, Running: root})
	oneLineNaming(t, problems)
	out, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("host %s\n", out)
}

func TestReadSysrootAgreesWithOSTreeOnABootedHost(t *testing.T) {
	phys := newOSTreeHost(t)
	ostreeCmd(t, "admin", "--sysroot="+phys, "pin", "0")
	h, _ := ReadSysroot(At(phys))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, phys, "stage.origin", fmt.Sprintf(originOf, "staged"))
	// In the middle of the three, so that a rollback is queued, too. In a PID
	// namespace, since ostree compares its mount namespace with process 1's.
	booted := h.Deployments[1]
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--propagation=private", "sh", "-c", bootScript, "sh",
		phys, filepath.Join(phys, booted.Root), h.Deployments[2].Commit, self)
	cmd.Env = append(os.Environ(), "OSTREE_SYSROOT_DEBUG=mutable-deployments", "LC_ALL=C", "CHARSET=UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	status, text, _ := strings.Cut(string(out), "host ")
	text, _, _ = strings.Cut(text, "\n")
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for _, d := range h.Deployments {
		got = append(got, fmt.Sprintf("%s %t %s", d.Role, d.Pinned, d.Image.Image.Name))
	}
	want := []string{"staged false quay.io/example/staged", "booted false quay.io/example/os1", "rollback true quay.io/example/os2", "other false quay.io/example/os0"}
	if !slices.Equal(got, want) || !h.RollbackQueued {
		t.Errorf("got %q\n%s", got, out)
	}
	// ostree calls what comes before the booted one pending, what comes after
	// it rollback; bootc calls the first of either rollback.
	if !strings.Contains(status, "(staged)") || !strings.Contains(status, "* default "+booted.Commit) {
		t.Errorf("ostree does not think that it is booted:\n%s", status)
	}
}
