// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Relative to the physical root of a host.
const (
	ostreeRepo     = "ostree/repo"
	ostreeDeploy   = "ostree/deploy"
	composefsState = "state/deploy"
)

// Lengths of digests in hexadecimal digits.
const (
	commitDigits = 64
	verityDigits = 128
)

// ErrNoRoot says that a deployment has no root directory that could be opened:
// that of a composefs deployment exists only while it is booted.
var ErrNoRoot = errors.New("deployment has no root directory")

// Sysroot says where to look for deployments. It holds names, not descriptors.
type Sysroot struct {
	// Dir is the sysroot: "/" on a running host, else a physical root or a
	// mounted host.
	Dir string
	// Running is the root directory that the host runs in, with proc and run
	// below it: "/", or "" when Dir is not the running host's. Nothing of it is
	// booted or staged then.
	Running string
}

// At returns the sysroot in dir, which is the running host's if it is "/".
func At(dir string) Sysroot {
	s := Sysroot{Dir: filepath.Clean(dir)}
	if s.Dir == "/" {
		s.Running = "/"
	}
	return s
}

// ReadSysroot reads which deployments a sysroot has and what they are for, and
// returns whatever it cannot make sense of as problems, each naming a file. The
// host is nil only when the sysroot cannot be read at all; the one problem is
// then storageconf.ErrNotBootcHost when it is no bootc host.
//
// It reads files only and needs no privileges, but boot loader entries are often
// root's alone. Without them deployments are found by their directories: their
// order, and with more than two of them the rollback, is unknown then. What an
// image says of itself is left for Describe to fill in.
func ReadSysroot(s Sysroot) (*Host, []error) {
	r := sysrootReader{Sysroot: s, host: &Host{}}
	var err error
	if r.dir, err = rooted.OpenRoot(s.Dir); err != nil {
		return nil, []error{fmt.Errorf("open sysroot: %w", err)}
	}
	defer r.dir.Close()
	if r.phys, err = s.openPhysical(); err != nil {
		return nil, []error{fmt.Errorf("open sysroot: %w", err)}
	}
	defer r.phys.Close()
	if s.Running != "" {
		if r.running, err = rooted.OpenRoot(s.Running); err != nil {
			return nil, []error{fmt.Errorf("open root directory: %w", err)}
		}
		defer r.running.Close()
		cmdline, err := readFile(r.running, "proc/cmdline")
		if err != nil {
			r.problem("read %q: %w", filepath.Join(s.Running, "proc/cmdline"), err)
		}
		r.cmdline = string(cmdline)
	}
	verity, composefs := composefsArg(r.cmdline)
	switch {
	case composefs:
		r.readComposefs(verity)
	case rooted.Exists(r.phys, ostreeRepo), rooted.Exists(r.phys, ostreeDeploy):
		r.readOSTree()
	case rooted.Exists(r.phys, "composefs") && rooted.Exists(r.phys, composefsState):
		r.readComposefs("")
	default:
		return nil, []error{fmt.Errorf("read deployments in %q: %w", s.Dir, storageconf.ErrNotBootcHost)}
	}
	for _, d := range r.host.Deployments {
		logrus.Debugf("Found in %q: %s", s.Dir, string(d.Role)+" deployment "+d.ID())
	}
	return r.host, r.problems
}

// OpenRoot opens the root directory of a deployment that ReadSysroot found
// here. The error is ErrNoRoot where it has none.
func (s Sysroot) OpenRoot(d Deployment) (*os.File, error) {
	// The booted composefs deployment has no directory but the one that runs.
	if d.Verity != "" && d.Role == Booted && s.Running != "" {
		return os.Open(s.Running)
	}
	if d.Root == "" {
		return nil, fmt.Errorf("open deployment %s: %w", d.ID(), ErrNoRoot)
	}
	phys, err := s.openPhysical()
	if err != nil {
		return nil, err
	}
	defer phys.Close()
	return rooted.Open(phys, d.Root, unix.O_RDONLY|unix.O_DIRECTORY)
}

// openPhysical opens the physical root as storageconf.Locate finds it, but does
// not mind in what state the store is.
func (s Sysroot) openPhysical() (*os.File, error) {
	root, err := rooted.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	if !rooted.Exists(root, "sysroot/ostree") && !rooted.Exists(root, "sysroot/composefs") {
		return root, nil
	}
	defer root.Close()
	return rooted.Open(root, "sysroot", unix.O_RDONLY|unix.O_DIRECTORY)
}

// maxFile bounds the files of a host that are read whole, in bytes. Real ones
// have a few lines.
const maxFile = 1 << 20

// readFile returns the content of a regular file below root. Errors do not
// name the file, so that the caller can do it in its own words.
func readFile(root *os.File, path string) ([]byte, error) {
	data, err := rooted.ReadFile(root, path, maxFile)
	return data, rooted.Cause(err)
}

// identify returns the identity of the file that path leads to below root.
func identify(root *os.File, path string) (rooted.ID, bool) {
	st, err := rooted.Stat(root, path, 0)
	return rooted.ID{Dev: st.Dev, Ino: st.Ino}, err == nil
}

// isHex reports whether s is a number of just so many lower-case hexadecimal
// digits.
func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

// sysrootReader is ReadSysroot at work.
type sysrootReader struct {
	Sysroot
	// running is nil when the host is not running.
	dir, phys, running *os.File
	// cmdline is the kernel's command line.
	cmdline  string
	host     *Host
	problems []error
}

func (r *sysrootReader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// readRunning reads a file of the running host that need not exist.
func (r *sysrootReader) readRunning(path string) ([]byte, bool) {
	if r.running == nil {
		return nil, false
	}
	data, err := readFile(r.running, path)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			r.problem("read %q: %w", filepath.Join(r.Running, path), err)
		}
		return nil, false
	}
	return data, true
}

// loaderEntries reads the boot loader entries in the first of dirs that has any
// that match, below the sysroot, else below the physical root: where a running
// host has /boot on a partition of its own, there is nothing in the latter.
func (r *sysrootReader) loaderEntries(match func(name string) bool, dirs ...string) []loaderEntry {
	for _, root := range []*os.File{r.dir, r.phys} {
		for _, dir := range dirs {
			entries, problems, err := readLoaderEntries(root, dir, match)
			if err != nil && !unavailable(err) {
				problems = append(problems, fmt.Errorf("read boot entries: %w", err))
			}
			if len(entries) > 0 || len(problems) > 0 {
				r.problems = append(r.problems, problems...)
				return entries
			}
		}
	}
	return nil
}

// setRoles orders the deployments of the host, which come in the order they
// boot in if that is known, and gives them their roles; each must have the zero
// one unless it is booted or staged. The rules are those of bootc status.
func (r *sysrootReader) setRoles(ordered bool) {
	all := r.host.Deployments
	r.host.Unordered = !ordered && len(all) > 1
	booted := slices.IndexFunc(all, func(d Deployment) bool { return d.Role == Booted })
	var candidates []int
	for i, d := range all {
		if booted >= 0 && d.Role == "" && d.Stateroot == all[booted].Stateroot {
			candidates = append(candidates, i)
		}
	}
	// On composefs hosts bootc refuses to choose.
	if len(candidates) == 1 || len(candidates) > 1 && ordered && r.host.Kind == OSTree {
		all[candidates[0]].Role = Rollback
		r.host.RollbackQueued = ordered && candidates[0] < booted
	}
	for i := range all {
		if all[i].Role == "" {
			all[i].Role = Other
		}
	}
	rank := []Role{Staged, Booted, Rollback, Other}
	slices.SortStableFunc(all, func(a, b Deployment) int {
		return slices.Index(rank, a.Role) - slices.Index(rank, b.Role)
	})
}
