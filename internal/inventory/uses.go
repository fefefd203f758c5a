// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

const (
	// varStorage is where podman keeps its store unless storage.conf says otherwise,
	// relative to /var.
	varStorage = "lib/containers/storage"
	// maxMounts bounds the mount table that is read.
	maxMounts = 64 << 20
)

// graphRoot is a store that may use layers of the bootc store.
type graphRoot struct {
	cstorage.Graph
	// path is seen from the root of this machine or, if physical is true, relative to the
	// physical root of the host.
	path     string
	physical bool
	// runRoot is where the records of a transient store are, "" if not known.
	runRoot string
	// optional is true for a store of which it does not matter that it cannot be read:
	// others than root may write to it.
	optional bool
}

// readUses returns the containers of every known graph root, and the images of other
// stores, that have files in the bootc store. The graph roots are the bootc store itself,
// podman's own store by its configuration and by default, the one of each stateroot, those
// of containers that run, by the mount table, those of users who may run podman without
// root, and more.
func (inv *inventory) readUses(more []string) (uses []Use, problems []error) {
	seen := map[rooted.ID]bool{}
	for _, g := range inv.bootc.Graphs() {
		if id, err := rooted.Identify(g.Dir); err == nil {
			seen[id] = true
		}
		own, err := inv.usesOf(graphRoot{Graph: *g, path: g.Dir.Name()}, true)
		uses, problems = append(uses, own...), append(problems, some(err)...)
	}
	roots, problem := inv.graphRoots(more)
	problems = append(problems, some(problem)...)
	for _, at := range roots {
		g, err := inv.openGraph(at)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || err != nil && at.optional {
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("read containers of %q: %w", at.path, err))
			continue
		}
		id, err := rooted.Identify(g.Dir)
		if err == nil && !seen[id] && g.Driver != "" {
			seen[id] = true
			var found []Use
			found, err = inv.usesOf(g, false)
			uses = append(uses, found...)
		}
		g.Dir.Close()
		if err != nil && !at.optional {
			problems = append(problems, fmt.Errorf("read containers of %q: %w", at.path, err))
		}
	}
	return uses, problems
}

// graphRoots returns the stores beside the bootc store that are known, some of them twice.
// Paths are those seen from the root, and need not exist.
func (inv *inventory) graphRoots(more []string) (roots []graphRoot, err error) {
	add := func(optional bool, paths ...string) {
		for _, path := range paths {
			roots = append(roots, graphRoot{path: path, optional: optional})
		}
	}
	own, err := storageconf.ReadDefaultStore(inv.Root)
	if err == nil {
		roots = []graphRoot{{path: own.GraphRoot, runRoot: own.RunRoot}}
		if own.ImageStore != "" {
			add(false, own.ImageStore)
		}
	}
	add(false, "/var/"+varStorage)
	for _, path := range stateroots(inv.host) {
		roots = append(roots, graphRoot{path: path, physical: true})
	}
	add(true, more...)
	add(true, inv.mountedGraphRoots()...)
	add(true, inv.userGraphRoots()...)
	return roots, err
}

func (inv *inventory) openGraph(at graphRoot) (graphRoot, error) {
	open := func() (*os.File, error) { return rooted.OpenRoot(inv.Root) }
	if at.physical {
		open = inv.located.OpenPhysical
	}
	root, err := open()
	if err != nil {
		return at, err
	}
	defer root.Close()
	dir, err := rooted.Open(root, at.path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return at, err
	}
	if at.physical {
		at.path = filepath.Join(inv.located.Sysroot, inv.located.Physical, at.path)
	}
	if at.Graph, err = cstorage.FindGraph(dir); err != nil {
		dir.Close()
	}
	return at, err
}

// stateroots returns the stores of podman in the /var of each stateroot, relative to the
// physical root: another stateroot has containers, too, and a host that does not run.
func stateroots(h *host.Host) (paths []string) {
	for _, d := range h.Deployments {
		at := path.Join("state/os/default/var", varStorage)
		if d.Verity == "" {
			at = path.Join("ostree/deploy", d.Stateroot, "var", varStorage)
		}
		if !slices.Contains(paths, at) {
			paths = append(paths, at)
		}
	}
	return paths
}

// mountedGraphRoots returns the graph roots of containers that are mounted:
// GRAPHROOT/overlay/LAYER/merged.
func (inv *inventory) mountedGraphRoots() (paths []string) {
	f, err := os.Open(filepath.Join(inv.Root, "proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	_, _ = mountinfo.GetMountsFromReader(io.LimitReader(f, maxMounts), func(m *mountinfo.Info) (skip, stop bool) {
		if m.FSType == "overlay" {
			if root, _, _, ok := cstorage.ParseRootfs(m.Mountpoint); ok && !slices.Contains(paths, root) {
				paths = append(paths, root)
			}
		}
		return true, false
	})
	return paths
}

// userGraphRoots returns where podman keeps the stores of the users who have subordinate
// user IDs, without which it runs no containers for them.
func (inv *inventory) userGraphRoots() (paths []string) {
	root, err := rooted.OpenRoot(inv.Root)
	if err != nil {
		return nil
	}
	defer root.Close()
	subordinate, err := rooted.ReadFile(root, "etc/subuid", maxUsers)
	if err != nil {
		return nil
	}
	passwd, err := rooted.ReadFile(root, "etc/passwd", maxUsers)
	if err != nil {
		return nil
	}
	users := map[string]bool{}
	for line := range strings.Lines(string(subordinate)) {
		user, _, _ := strings.Cut(line, ":")
		users[user] = true
	}
	for line := range strings.Lines(string(passwd)) {
		// NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL
		fields := strings.Split(line, ":")
		if len(fields) == 7 && (users[fields[0]] || users[fields[2]]) && path.IsAbs(fields[5]) {
			paths = append(paths, path.Join(fields[5], ".local/share/containers/storage"))
		}
	}
	return paths
}

// maxUsers bounds the lists of users that are read.
const maxUsers = 16 << 20

// usesOf returns what of a graph root has files in the bootc store; own is the bootc store
// itself, whose images are not listed.
func (inv *inventory) usesOf(g graphRoot, own bool) (uses []Use, err error) {
	if g.Driver == "" {
		return nil, nil
	}
	containers, err := g.Containers()
	if err != nil {
		return nil, err
	}
	containers = append(containers, inv.transient(g)...)
	others := inv.bootc.Graphs()
	if own {
		for _, c := range containers {
			uses = append(uses, Use{By: ByContainer, ID: c.ID, Name: c.Name, Store: inv.located.Path(), Image: c.Image})
		}
		return uses, nil
	}
	images, err := g.Images()
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, r := range images {
		has[r.ID] = true
		if layer := g.TopForeign(r.TopLayer, others); layer != "" {
			uses = append(uses, Use{By: ByImage, ID: r.ID, Name: cmp.Or(r.Names...), Store: g.path, Layer: layer})
		}
	}
	for _, c := range containers {
		layer := g.TopForeign(c.Layer, others)
		if layer == "" {
			continue
		}
		use := Use{By: ByContainer, ID: c.ID, Name: c.Name, Store: g.path, Layer: layer}
		if !has[c.Image] && inv.bootc.ByID(c.Image) != nil {
			use.Image = c.Image
		}
		uses = append(uses, use)
	}
	return uses, nil
}

// transient returns the containers of a transient store, whose records are below its run
// root. What is damaged there is that of podman's last boot.
func (inv *inventory) transient(g graphRoot) []cstorage.Container {
	if g.runRoot == "" {
		return nil
	}
	run, err := inv.openGraph(graphRoot{path: g.runRoot})
	if err != nil {
		return nil
	}
	defer run.Dir.Close()
	containers, err := cstorage.Graph{Dir: run.Dir, Driver: g.Driver}.Containers()
	if err != nil {
		return nil
	}
	return containers
}
