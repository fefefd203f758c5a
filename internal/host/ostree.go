// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// Files of a host booted by ostree, relative to its root directory. Both hold a
// serialised GVariant of type a{sv}, see libostree's ostree-sysroot.c; the first
// is empty where an old ostree wrote it.
const (
	ostreeBooted = "run/ostree-booted"
	ostreeStaged = "run/ostree/staged-deployment"
)

var errDeploymentName = errors.New("malformed deployment name")

// readOSTree reads the deployments of an ostree host.
func (r *sysrootReader) readOSTree() {
	r.host.Kind = OSTree
	deployments := r.ostreeEntries()
	ordered := len(deployments) > 0
	if !ordered {
		deployments = r.ostreeDirs()
	}
	if staged, ok := r.ostreeStaged(); ok {
		deployments = slices.DeleteFunc(deployments, func(d Deployment) bool { return d.ID() == staged.ID() })
		deployments = append([]Deployment{staged}, deployments...)
	}
	r.markBooted(deployments)
	for i := range deployments {
		r.readOrigin(&deployments[i])
	}
	r.host.Deployments = deployments
	r.setRoles(ordered)
}

// ostreeEntries returns the deployments that boot loader entries name, in the
// order they boot in.
func (r *sysrootReader) ostreeEntries() []Deployment {
	entries := r.loaderEntries(func(name string) bool {
		return strings.HasPrefix(name, "ostree-") && strings.HasSuffix(name, ".conf")
	}, entryDirs[0])
	// Backwards: the highest version boots, one without comes last.
	slices.SortStableFunc(entries, func(a, b loaderEntry) int { return compareVersions(b.version, a.version) })
	var deployments []Deployment
	for _, entry := range entries {
		arg := kernelArg(entry.options, "ostree")
		d, err := r.bootLink(arg)
		if err != nil {
			r.problem("read boot entry %q: %w", entry.file, err)
			continue
		}
		if !slices.ContainsFunc(deployments, func(e Deployment) bool { return e.ID() == d.ID() }) {
			deployments = append(deployments, d)
		}
	}
	return deployments
}

// bootLink returns the deployment that a kernel argument
// ostree=/ostree/boot.N/<stateroot>/<checksum of kernel>/<serial> stands for. It
// names a link to the deployment's directory.
func (r *sysrootReader) bootLink(arg string) (Deployment, error) {
	parts := strings.Split(arg, "/")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "ostree" || parts[2] != "boot.0" && parts[2] != "boot.1" {
		return Deployment{}, fmt.Errorf("malformed kernel argument %q", "ostree="+arg)
	}
	link, err := rooted.Open(r.phys, strings.TrimPrefix(arg, "/"), unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return Deployment{}, err
	}
	defer link.Close()
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(link.Fd()), "", target)
	if err != nil {
		return Deployment{}, &fs.PathError{Op: "readlink", Path: link.Name(), Err: err}
	}
	// As for libostree, only the last part of the target counts.
	d, err := newDeployment(parts[3], path.Base(string(target[:n])))
	if err != nil {
		return Deployment{}, err
	}
	if !rooted.Exists(r.phys, d.Root) {
		return Deployment{}, fmt.Errorf("open %q: %w", filepath.Join(r.phys.Name(), d.Root), fs.ErrNotExist)
	}
	return d, nil
}

// ostreeDirs returns the deployments that have a directory and an origin.
func (r *sysrootReader) ostreeDirs() []Deployment {
	stateroots, err := rooted.Names(r.phys, ostreeDeploy)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.problem("read deployments: %w", err)
	}
	var deployments []Deployment
	for _, stateroot := range stateroots {
		dir := path.Join(ostreeDeploy, stateroot, "deploy")
		names, err := rooted.Names(r.phys, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			r.problem("read deployments: %w", err)
		}
		for _, name := range names {
			d, err := newDeployment(stateroot, name)
			if err == nil && slices.Contains(names, name+".origin") {
				deployments = append(deployments, d)
			}
		}
	}
	slices.SortStableFunc(deployments, func(a, b Deployment) int {
		return cmp.Or(cmp.Compare(a.Stateroot, b.Stateroot), cmp.Compare(a.Commit, b.Commit), a.Serial-b.Serial)
	})
	return deployments
}

// newDeployment returns the deployment with a directory <commit>.<serial>.
func newDeployment(stateroot, name string) (Deployment, error) {
	commit, digits, _ := strings.Cut(name, ".")
	serial, err := strconv.ParseUint(digits, 10, 31)
	// Only the number as ostree writes it: the name must be found again.
	if err != nil || strconv.FormatUint(serial, 10) != digits || !isHex(commit, commitDigits) {
		return Deployment{}, fmt.Errorf("%w %.80q", errDeploymentName, name)
	}
	if stateroot == "" || stateroot == "." || stateroot == ".." || strings.ContainsAny(stateroot, "/\x00") {
		return Deployment{}, fmt.Errorf("%w: stateroot %.80q", errDeploymentName, stateroot)
	}
	return Deployment{
		Stateroot: stateroot,
		Commit:    commit,
		Serial:    int(serial),
		Root:      path.Join(ostreeDeploy, stateroot, "deploy", name),
	}, nil
}

// ostreeStaged returns the deployment that will be made bootable at shutdown.
func (r *sysrootReader) ostreeStaged() (Deployment, bool) {
	data, ok := r.readRunning(ostreeStaged)
	if !ok {
		return Deployment{}, false
	}
	d, err := parseStaged(data)
	if err != nil {
		r.problem("parse %q: %w", filepath.Join(r.Running, ostreeStaged), err)
		return Deployment{}, false
	}
	return d, true
}

func parseStaged(data []byte) (Deployment, error) {
	file, err := ostree.ParseDict(data)
	if err != nil {
		return Deployment{}, err
	}
	target, err := file["target"].Dict()
	if err != nil {
		return Deployment{}, err
	}
	name, err := target.Text("name")
	if err != nil {
		return Deployment{}, err
	}
	stateroot, err := target.Text("osname")
	if err != nil {
		return Deployment{}, err
	}
	d, err := newDeployment(stateroot, name)
	d.Role = Staged
	return d, err
}

// markBooted gives one of the deployments the role Booted if it runs.
func (r *sysrootReader) markBooted(deployments []Deployment) {
	file, ok := r.readRunning(ostreeBooted)
	if !ok {
		return
	}
	// The directory is the better witness: after a soft reboot the kernel's
	// command line is still the old one.
	root, _ := identify(r.running, ".")
	if dict, err := ostree.ParseDict(file); err != nil {
		r.problem("parse %q: %w", filepath.Join(r.Running, ostreeBooted), err)
	} else if dev, ino, err := dict["backing-root-device-inode"].Pair(); err == nil {
		// What "/" was made from where it is a composefs or an overlay.
		root = rooted.ID{Dev: dev, Ino: ino}
	}
	booted := func(d Deployment) bool {
		id, ok := identify(r.phys, d.Root)
		return ok && id == root
	}
	i := slices.IndexFunc(deployments, booted)
	if i < 0 {
		arg := kernelArg(r.cmdline, "ostree")
		named, err := r.bootLink(arg)
		if err != nil {
			return
		}
		i = slices.IndexFunc(deployments, func(d Deployment) bool { return d.ID() == named.ID() })
	}
	if i >= 0 {
		deployments[i].Role = Booted
	}
}

// readOrigin adds what the origin file says, a sibling of the root directory.
func (r *sysrootReader) readOrigin(d *Deployment) {
	file := d.Root + ".origin"
	data, err := readFile(r.phys, file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var origin Origin
	if err == nil {
		origin, err = ParseOSTreeOrigin(data)
	}
	if err != nil {
		r.problem("read origin %q: %w", filepath.Join(r.phys.Name(), file), err)
		return
	}
	d.Image, d.Incompatible, d.Layered, d.Pinned = origin.Image, origin.Incompatible, origin.Layered, origin.Pinned
}
