// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Status is what a host boots, and whether its images are where bootc and podman
// need them. Its JSON form is described by docs/status-v1.schema.json.
type Status struct {
	// Schema is the version of the JSON form.
	Schema int `json:"schema"`
	// Kind is ostree or composefs. Source is where deployments were read: bootc,
	// or sysroot for our own reading; SourceReason says why.
	Kind         host.Kind `json:"kind"`
	Source       Source    `json:"source"`
	SourceReason string    `json:"source_reason"`
	// Booted, Staged and Rollback are nil where there is no such deployment.
	Booted   *Deployment  `json:"booted"`
	Staged   *Deployment  `json:"staged"`
	Rollback *Deployment  `json:"rollback"`
	Others   []Deployment `json:"other_deployments"`
	// RollbackQueued reports that the rollback deployment boots next.
	RollbackQueued bool `json:"rollback_queued"`
	// Unified reports whether bootc upgrades this host through the bootc-owned
	// store.
	Unified Unification `json:"unified"`
	// Stores are those that exist and could be read.
	Stores []StoreUsage `json:"stores"`
	// Bound are the bound images of the running root.
	Bound BoundStatus `json:"bound_images"`
	// Filesystem is the one that deployments and bootc-owned store lie on, nil
	// when it could not be looked at.
	Filesystem *Filesystem `json:"filesystem"`
	// Hooks are the hooks of the running host, none where they could not be looked at.
	Hooks []HookStatus `json:"hooks"`
	// NotLooked are the parts that could not be looked at, mostly for lack of permission.
	NotLooked []NotLooked `json:"not_looked_at"`
	// Problems are what could not be read, so that the rest may be incomplete.
	Problems []string `json:"problems"`
}

// HookStatus says whether podman runs a hook when containers start.
type HookStatus struct {
	Name      string `json:"name"`
	Installed bool   `json:"installed"`
	// Problem says why it is not, "" for a hook that is.
	Problem string `json:"problem"`
}

// Source is where deployments were read.
type Source string

// The sources of a Status.
const (
	FromBootc   Source = "bootc"
	FromSysroot Source = "sysroot"
)

// Deployment is a deployment in a Status.
type Deployment struct {
	ID           string    `json:"id"`
	Role         host.Role `json:"role"`
	Pinned       bool      `json:"pinned"`
	Incompatible bool      `json:"incompatible"`
	Image        string    `json:"image"`
	Digest       string    `json:"digest"`
	Version      string    `json:"version"`
	Architecture string    `json:"architecture"`
	Created      *Time     `json:"created"`
	// Base is the image that packages were layered on, nil for other deployments.
	Base *Base `json:"base"`
}

// Base is an image below locally layered packages. Digest, Version and Commit are "" where
// the ostree repository does not have it.
type Base struct {
	Image   string `json:"image"`
	Digest  string `json:"digest"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// NotLooked is a part of a Status that could not be looked at, so that what the status says of
// it means nothing.
type NotLooked string

// The parts that may not have been looked at, beside the stores by their names.
const (
	NotRollback   NotLooked = "rollback"
	NotUnified    NotLooked = "unified"
	NotBound      NotLooked = "bound_images"
	NotFilesystem NotLooked = "filesystem"
	NotHooks      NotLooked = "hooks"
)

// Unification reports whether unified storage is on, and why or why not in a
// sentence.
type Unification struct {
	On     bool   `json:"on"`
	Reason string `json:"reason"`
}

// StoreUsage is what a store holds. Size is in bytes: layers counted once, as
// they were fetched for the ostree repository, else uncompressed.
type StoreUsage struct {
	Store  StoreName `json:"store"`
	Path   string    `json:"path"`
	Images int       `json:"images"`
	Size   int64     `json:"size"`
}

// BoundStatus counts bound images, and those of them that the bootc-owned store
// has.
type BoundStatus struct {
	Present int      `json:"present"`
	Total   int      `json:"total"`
	Missing []string `json:"missing"`
}

// ReadStatus returns the status of a host; problems are as those of List. The
// status is nil only where there is no host to describe.
func ReadStatus(ctx context.Context, o Options) (*Status, []error) {
	if o.inContainer() {
		return nil, []error{fmt.Errorf("read status: %w", ErrNotOnHost)}
	}
	o.Type, o.AllStores = "", true
	inv := newInventory(o)
	defer inv.close()
	inv.readAll()
	if inv.located == (storageconf.Store{}) {
		return nil, inv.problems
	}
	inv.problems = append(inv.problems, inv.runningProblems...)
	if inv.located.Physical != "." {
		inv.problems = append(inv.problems, inv.boundProblems...)
	}
	s := &Status{Schema: 1, Source: FromSysroot, Hooks: []HookStatus{}}
	h, reason := inv.askBootc(ctx)
	if h != nil {
		s.Source = FromBootc
		inv.adopt(h)
	} else {
		inv.describe()
	}
	s.Kind, s.SourceReason, s.RollbackQueued = inv.host.Kind, reason, inv.host.RollbackQueued
	s.setDeployments(inv.host)
	s.Unified = inv.unified(ctx)
	s.Stores = inv.usage()
	s.Bound = inv.boundStatus()
	fs, err := readFilesystem(inv.located)
	if err != nil {
		inv.problems = append(inv.problems, err)
	}
	s.Filesystem = fs
	s.NotLooked = inv.notLooked(s)
	s.Problems = []string{}
	for _, err := range inv.problems {
		if text := err.Error(); !slices.Contains(s.Problems, text) {
			s.Problems = append(s.Problems, text)
		}
	}
	return s, inv.problems
}

// adopt makes h, which bootc reported, the host. bootc does not report images that packages
// were layered on.
func (inv *inventory) adopt(h *host.Host) {
	read := inv.host
	layered := *read
	layered.Deployments = slices.DeleteFunc(slices.Clone(read.Deployments), func(d host.Deployment) bool { return d.Layered == nil })
	inv.host = &layered
	if len(layered.Deployments) > 0 {
		inv.describe()
	}
	for i := range h.Deployments {
		for _, d := range layered.Deployments {
			if d.ID() == h.Deployments[i].ID() {
				h.Deployments[i].Layered, h.Deployments[i].Base = d.Layered, d.Base
			}
		}
	}
	h.Unordered = false
	inv.host = h
}

// notLooked returns the parts of a status that could not be looked at.
func (inv *inventory) notLooked(s *Status) []NotLooked {
	parts := []NotLooked{}
	add := func(part NotLooked, unread bool) {
		if unread {
			parts = append(parts, part)
		}
	}
	add(NotRollback, s.Rollback == nil && inv.host.Unordered && len(inv.host.Deployments) > 1)
	add(NotUnified, !s.Unified.On && inv.unifiedUnread)
	add(NotLooked(OSTreeStore), inv.repoUnread)
	add(NotLooked(BootcStore), inv.bootcUnread || inv.bootc != nil && inv.bootc.Usage() < 0)
	add(NotLooked(DefaultStore), inv.defaultUnread || inv.podman != nil && inv.podman.Usage() < 0)
	add(NotBound, slices.ContainsFunc(inv.running, func(b host.BoundImage) bool {
		_, known := inv.findBound(b)
		return !known
	}))
	add(NotFilesystem, s.Filesystem == nil)
	return parts
}

// describe completes what was read of the deployments by what their images say.
func (inv *inventory) describe() {
	repo, err := inv.Sysroot.OpenRepo()
	if err != nil {
		return // reported already, or a composefs host, of which all was read already
	}
	defer repo.Close()
	commits, problems := host.Describe(repo, inv.host, inv.repo)
	inv.commits, inv.problems = commits, append(inv.problems, problems...)
}

func (s *Status) setDeployments(h *host.Host) {
	s.Others = []Deployment{}
	for _, d := range h.Deployments {
		out := Deployment{
			ID: d.ID(), Role: d.Role, Pinned: d.Pinned, Incompatible: d.Incompatible,
			Digest: d.ManifestDigest, Version: d.Version, Architecture: d.Architecture, Created: knownTime(d.Created),
		}
		if d.Image != nil {
			out.Image = d.Image.Image.String()
		}
		if d.Layered != nil {
			out.Base = &Base{Image: d.Layered.Image.String()}
			if c := d.Base; c != nil {
				out.Base.Digest, out.Base.Version, out.Base.Commit = c.ManifestDigest, c.Version, c.Checksum
			}
		}
		switch d.Role {
		case host.Booted:
			s.Booted = &out
		case host.Staged:
			s.Staged = &out
		case host.Rollback:
			s.Rollback = &out
		default:
			s.Others = append(s.Others, out)
		}
	}
}

// unified is what bootc will find when it looks whether to upgrade through
// the bootc-owned store: on ostree hosts it looks for the image to upgrade to, on
// composefs hosts for the booted one too (bootc's deploy.rs and
// bootc_composefs/update.rs).
func (inv *inventory) unified(ctx context.Context) Unification {
	u := inv.stored()
	if !u.On {
		return u
	}
	if err := lookedUp(inv.host.Kind, inv.Root); err != nil {
		return Unification{Reason: fmt.Sprintf("%s, but bootc upgrade fails: %v", u.Reason, err)}
	}
	// Another user's podman has another store than the one that bootc looks into.
	if inv.host.Kind != host.OSTree || inv.Euid != 0 {
		return u
	}
	err := upgradeFinds(inv.bootc, inv.own, UpgradeTargets(inv.host)[0].Image.Image)
	var hidden *HiddenError
	if errors.As(err, &hidden) && !inv.hides(ctx, hidden) {
		err = nil
	}
	if err != nil {
		return Unification{Reason: fmt.Sprintf("%s, but bootc upgrade does not find it: %v", u.Reason, err)}
	}
	return u
}

// lookedUp returns why skopeo does not look into the bootc store when bootc upgrades a
// host, nil if it does. On composefs hosts bootc reads the store by itself.
func lookedUp(kind host.Kind, root string) error {
	if kind != host.OSTree {
		return nil
	}
	if err := storageconf.CheckAdditional(root); err != nil {
		return &IgnoredError{Err: err}
	}
	return nil
}

// IgnoredError says that skopeo ignores the bootc store, so that a host which upgrades
// through it cannot upgrade. Err is that of storageconf.CheckAdditional.
type IgnoredError struct{ Err error }

func (e *IgnoredError) Error() string {
	return fmt.Sprintf("skopeo ignores the bootc store: %v", e.Err)
}

func (e *IgnoredError) Unwrap() error { return e.Err }

// UpgradeTargets returns the deployments whose images bootc looks for in the bootc store
// to decide whether it upgrades through it: the staged or else the booted one, and on
// composefs hosts the booted one, too. The first may be of no image. There are none where
// no deployment is booted.
func UpgradeTargets(h *host.Host) []*host.Deployment {
	booted := h.Booted()
	if booted == nil {
		return nil
	}
	targets := []*host.Deployment{booted}
	for i, d := range h.Deployments {
		if d.Role == host.Staged && d.Image != nil {
			targets[0] = &h.Deployments[i]
		}
	}
	if h.Kind == host.Composefs && targets[0] != booted && booted.Image != nil {
		targets = append(targets, booted)
	}
	return targets
}

// stored is unified as far as the images of the bootc-owned store go.
func (inv *inventory) stored() Unification {
	booted := inv.host.Booted()
	if booted == nil {
		return Unification{Reason: "no deployment is booted here"}
	}
	targets := UpgradeTargets(inv.host)
	target := targets[0]
	switch {
	case target.Image == nil:
		return Unification{Reason: "the booted deployment was not made from an image"}
	case inv.bootcUnread:
		inv.unifiedUnread = true
		return Unification{Reason: "the bootc-owned store cannot be read"}
	case inv.bootc == nil:
		return Unification{Reason: "there is no bootc-owned store"}
	}
	reason := fmt.Sprintf("the bootc-owned store does not have %s", target.Image.Image.InStore())
	for _, d := range targets {
		name := d.Image.Image.InStore()
		if !d.Image.Image.NamesInRegistry() {
			reason = fmt.Sprintf("bootc looks for %s, which is in no store", d.Image.Image)
			continue
		}
		img, err := inv.find(inv.bootc, name)
		switch {
		case err != nil:
			reason = err.Error()
			inv.unifiedUnread = inv.unifiedUnread || errors.Is(err, fs.ErrPermission) || inv.bootc.Err() != nil
			continue
		case img == nil:
			continue
		case d.ManifestDigest == "" || img.Is(d.ManifestDigest):
			return Unification{On: true, Reason: fmt.Sprintf("the bootc-owned store has the %s image %s", d.Role, name)}
		}
		return Unification{On: true, Reason: fmt.Sprintf(
			"the bootc-owned store has an image %s, but %s, not the %s %s", name, img.Digest, d.Role, d.ManifestDigest)}
	}
	return Unification{Reason: reason}
}

func (inv *inventory) usage() []StoreUsage {
	all := []StoreUsage{}
	if inv.repo != nil {
		u := StoreUsage{Store: OSTreeStore, Path: inv.Sysroot.RepoPath(), Images: len(inv.repo)}
		layers := map[string]bool{}
		for _, img := range inv.repo {
			for _, l := range img.Manifest.Layers {
				if !layers[l.Digest] {
					layers[l.Digest] = true
					u.Size += l.Size
				}
			}
		}
		all = append(all, u)
	}
	for _, c := range []struct {
		name  StoreName
		store *cstorage.Store
	}{{BootcStore, inv.bootc}, {DefaultStore, inv.podman}} {
		if c.store == nil {
			continue
		}
		if size := c.store.Usage(); size >= 0 {
			all = append(all, StoreUsage{Store: c.name, Path: c.store.Path(), Images: len(c.store.Images), Size: size})
		}
	}
	return all
}

func (inv *inventory) boundStatus() BoundStatus {
	s := BoundStatus{Total: len(inv.running), Missing: []string{}}
	for _, b := range inv.running {
		img, known := inv.findBound(b)
		switch {
		case img != nil:
			s.Present++
		case known:
			s.Missing = append(s.Missing, b.Image)
		}
	}
	return s
}
