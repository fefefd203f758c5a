// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package inventory reports which image is where on a bootc host: in its deployments,
// in the bootc-owned store, in podman's own store, and bound to a deployment; and
// what bootc's garbage collection will make of each.
//
// It reads files only; it takes no lock and writes nothing. Files
// that are replaced while they are read are read as they were before or after.
package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/ostree"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Type is the way an image is on a host. The first three are bootc's.
type Type string

// The types of images.
const (
	// Host is an image that was made a deployment, in the ostree repository or a
	// composefs deployment.
	Host Type = "host"
	// Unified is an image in the bootc-owned store.
	Unified Type = "unified"
	// Logical is an image that a deployment names in usr/lib/bootc/bound-images.d.
	Logical Type = "logical"
	// Default is an image in the store that plain podman uses.
	Default Type = "default"
)

// StoreName says where an image's content is.
type StoreName string

// The stores of a host.
const (
	OSTreeStore    StoreName = "ostree"
	ComposefsStore StoreName = "composefs"
	BootcStore     StoreName = "bootc"
	DefaultStore   StoreName = "default"
)

// Image is an image under one of its names. Its JSON form is described by
// docs/list-v1.schema.json.
type Image struct {
	Type Type `json:"image_type"`
	// Name is spelled as bootc does: with its transport in the ostree
	// repository, bare in a containers-storage, as it was written when bound.
	Name string `json:"image"`
	// ID is the digest of the image configuration in hex, by which podman names
	// an image.
	ID string `json:"id"`
	// Digest is the manifest digest, "sha256:…".
	Digest string `json:"digest"`
	// Size is in bytes: in a containers-storage what podman prints, else the sum
	// of the layers as they were fetched. It is nil when not known.
	Size         *int64 `json:"size"`
	Created      *Time  `json:"created"`
	Architecture string `json:"architecture"`
	// Store is where the content is, "" for a bound image that is not there.
	Store StoreName `json:"store"`
	// Deployments are those that boot the image, by its manifest digest, or have it
	// bound, whatever way they spell its name.
	Deployments []DeploymentRef `json:"deployments"`
	// Present is, of a bound image, whether the bootc-owned store has it, nil when
	// that is not known.
	Present *bool `json:"present,omitempty"`
	// KeptBy is what keeps bootc's garbage collection from removing the image.
	KeptBy []Keeper `json:"kept_by"`
	// WillBePruned reports that nothing does.
	WillBePruned bool `json:"will_be_pruned"`
	// NeededBy are the deployments that boot the image, follow its name or have it bound,
	// and the containers and images of any store that use its files.
	NeededBy []Need `json:"needed_by"`
}

// Bound reports whether a deployment has the image bound.
func (img Image) Bound() bool {
	return slices.ContainsFunc(img.NeededBy, func(n Need) bool { return n.By == ByBinding })
}

// DeploymentRef names a deployment.
type DeploymentRef struct {
	ID   string    `json:"id"`
	Role host.Role `json:"role"`
}

// Options say what to look at, and by which means.
type Options struct {
	Sysroot host.Sysroot
	// Root is where this machine's own configuration is, which podman here goes
	// by whatever the sysroot: "/".
	Root string
	// Env and Euid are the caller's environment and effective user.
	Env    []string
	Euid   int
	Runner wrapper.Runner
	// Type is the only type wanted, "" for all of bootc's.
	Type Type
	// AllStores adds the images of the default store, which is this machine's
	// whatever the sysroot.
	AllStores bool
	// Select chooses and orders the images of List; nil for all, ordered by name.
	Select *Selection

	// read is cstorage.Read, unless a test counts what is read.
	read reader
}

// ErrNotOnHost says that something is not to be had in a container.
var ErrNotOnHost = errors.New("a container has no deployments")

func (o Options) wants(t Type) bool {
	switch {
	case t == Default:
		return o.AllStores
	case o.Type == Host: // bootc's meaning of the type
		return t != Logical
	}
	return o.Type == "" || o.Type == t
}

// inContainer reports whether the sysroot is that of a container, not of a host.
func (o Options) inContainer() bool {
	return o.Sysroot.Running != "" && wrapper.InContainer(o.Sysroot.Running, o.Env) != ""
}

// List returns the images of a host, hosts' first, then those of the bootc-owned
// store, bound ones and those of the default store, by name. In a container only
// the bound images of its own root are known, as in bootc. Each problem is an
// error that names a file, ref or image which could not be read, and whose
// absence from the list bootc would not tolerate; the rest is listed
// all the same.
func List(_ context.Context, o Options) (list []Image, problems []error) {
	inv := newInventory(o)
	defer inv.close()
	if o.inContainer() {
		list, problems = inv.listContainer()
	} else {
		list, problems = inv.listHost()
	}
	list, err := inv.selected(list)
	return list, append(problems, some(err)...)
}

func (inv *inventory) listHost() ([]Image, []error) {
	inv.withUses = true
	inv.readAll()
	if inv.wants(Logical) {
		inv.problems = append(inv.problems, inv.runningProblems...)
	}
	inv.keepers = findKeepers(inv.host, inv.bound, inv.hostRead && inv.boundRead)
	inv.describeUsers()
	inv.users = inv.findUsers()
	inv.addUses()
	inv.addHostImages()
	inv.addStoreImages(inv.bootc, Unified, BootcStore)
	inv.addBoundImages()
	inv.addStoreImages(inv.podman, Default, DefaultStore)
	return inv.list, inv.problems
}

// inventory is what was read, and the list being made of it.
type inventory struct {
	Options
	located storageconf.Store
	host    *host.Host
	// hostRead and boundRead report that nothing was wrong with it, or with any
	// bound images.
	hostRead, boundRead bool
	// repo is nil where there is no ostree repository, or it is not asked for.
	repo []host.RepoImage
	// commits are those of the deployments, once they are described.
	commits []host.RepoCommit
	// bootc and podman are the two containers-storages, nil for none, or for one
	// that could not be read.
	bootc, podman *cstorage.Store
	// own is podman without the additional image stores; the same store, or nil, where
	// there are none.
	own                                    *cstorage.Store
	repoUnread, bootcUnread, defaultUnread bool
	// unifiedUnread reports that what decides whether storage is unified could not be read.
	unifiedUnread bool
	// bound are the bound images of each deployment that has a readable root,
	// running those of the root that is, or will be, running.
	bound   map[string][]host.BoundImage
	running []host.BoundImage
	// boundProblems are those of deployments that do not run, runningProblems
	// those of the running root. bootc's list does not look at the former.
	boundProblems, runningProblems []error

	keepers keepers
	// users are the deployments that boot an image of the bootc-owned store or
	// have it bound, and what uses its files. The containers of podman's own store are
	// those of its images.
	users map[*cstorage.Image][]Need
	// uses are read if withUses is set. A store that cannot be read adds none: the list of
	// images does not depend on it.
	uses       []Use
	withUses   bool
	shortNames func() (cstorage.ShortNames, error)
	list       []Image
	problems   []error
}

func newInventory(o Options) *inventory {
	if o.read == nil {
		o.read = cstorage.Read
	}
	return &inventory{
		Options: o,
		host:    &host.Host{},
		shortNames: sync.OnceValues(func() (cstorage.ShortNames, error) {
			return cstorage.ReadShortNames(o.Root)
		}),
	}
}

// readAll reads all sources at once; they are independent.
func (inv *inventory) readAll() {
	var err error
	inv.located, err = storageconf.Locate(inv.Sysroot.Dir)
	if errors.Is(err, storageconf.ErrNotBootcHost) || inv.located.Physical == "" {
		inv.problems = []error{err}
		return
	}
	// Without the store, the rest is there to be read.
	inv.bootcUnread = err != nil
	var wg, first sync.WaitGroup
	problems := make([][]error, 5)
	problems[4] = some(err)
	first.Add(2)
	start := func(i int, wanted bool, read func() []error) {
		wg.Go(func() {
			if wanted {
				problems[i] = read()
			}
			if i == 0 || i == 2 {
				first.Done()
			}
		})
	}
	start(0, true, inv.readHost)
	start(2, !inv.bootcUnread && (inv.wants(Unified) || inv.wants(Logical)), inv.readBootcStore)
	start(1, inv.wants(Host), inv.readRepo)
	start(3, inv.wants(Default), inv.readDefaultStore)
	if inv.withUses {
		wg.Go(func() {
			if first.Wait(); inv.bootc != nil {
				inv.uses, _ = inv.readUses(nil)
			}
		})
	}
	wg.Wait()
	inv.problems = slices.Concat(problems...)
}

func (inv *inventory) readHost() (problems []error) {
	h, problems := host.ReadSysroot(inv.Sysroot)
	if h == nil {
		return problems
	}
	inv.host = h
	inv.bound, inv.boundRead = map[string][]host.BoundImage{}, true
	for _, d := range h.Deployments {
		bound, bad := inv.readBoundOf(d)
		inv.bound[d.ID()] = bound
		inv.boundRead = inv.boundRead && len(bad) == 0
		if d.Role == host.Booted && inv.located.Physical != "." {
			continue // the running root has the same
		}
		for _, err := range bad {
			inv.boundProblems = append(inv.boundProblems, fmt.Errorf("%s deployment %s: %w", d.Role, d.ID(), err))
		}
	}
	inv.hostRead = len(problems) == 0
	inv.findRunning()
	return problems
}

// readBoundOf reads the bound images of a deployment that has a root to read.
func (inv *inventory) readBoundOf(d host.Deployment) ([]host.BoundImage, []error) {
	root, err := inv.Sysroot.OpenRoot(d)
	if errors.Is(err, host.ErrNoRoot) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{fmt.Errorf("open root: %w", err)}
	}
	defer root.Close()
	return host.BoundImages(root)
}

// findRunning finds the bound images of the root that runs or, on a host that
// does not, will run. What runs need not be a deployment as it was made, see
// ostree admin unlock.
func (inv *inventory) findRunning() {
	switch {
	case inv.located.Physical != ".":
		inv.running, inv.runningProblems = inv.readBoundIn(inv.Sysroot.Dir)
	case !inv.host.Unordered && len(inv.host.Deployments) > 0:
		inv.running = inv.bound[inv.host.Deployments[0].ID()]
		inv.runningProblems = inv.boundProblems
	default: // Any of them may.
		for _, d := range inv.host.Deployments {
			for _, b := range inv.bound[d.ID()] {
				if !slices.Contains(inv.running, b) {
					inv.running = append(inv.running, b)
				}
			}
		}
		inv.runningProblems = inv.boundProblems
	}
}

// readBoundIn reads the bound images of a root that is no deployment's directory.
func (inv *inventory) readBoundIn(dir string) (bound []host.BoundImage, problems []error) {
	root, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, []error{err}
	}
	defer root.Close()
	bound, bad := host.BoundImages(root)
	for _, err := range bad {
		problems = append(problems, fmt.Errorf("root directory %q: %w", dir, err))
	}
	return bound, problems
}

func (inv *inventory) readRepo() []error {
	repo, err := inv.Sysroot.OpenRepo()
	if errors.Is(err, ostree.ErrNoRepo) {
		return nil
	}
	if err != nil {
		inv.repoUnread = true
		return []error{err}
	}
	defer repo.Close()
	var problems []error
	inv.repo, problems = repo.Images()
	inv.repoUnread = inv.repo == nil && len(problems) > 0
	if len(problems) == 0 && inv.repo == nil {
		inv.repo = []host.RepoImage{}
	}
	return problems
}

func (inv *inventory) readBootcStore() (problems []error) {
	inv.bootc, problems = Settled(func() (*cstorage.Store, []error) { return openBootcStore(inv.read, inv.located, inv.Root) })
	inv.bootcUnread = inv.bootc == nil && len(problems) > 0
	return problems
}

func (inv *inventory) readDefaultStore() (problems []error) {
	own, additional, err := storageconf.Stores(inv.Root, inv.Euid)
	if err != nil {
		inv.defaultUnread = true
		return []error{err}
	}
	var n int
	read := func(additional []string) func() (store *cstorage.Store, problems []error) {
		return func() (store *cstorage.Store, problems []error) {
			store, n, problems = openDirs(inv.read, inv.Root, own, additional)
			return store, problems
		}
	}
	inv.podman, problems = Settled(read(additional))
	inv.defaultUnread = inv.podman == nil && len(problems) > 0
	inv.own = inv.podman
	switch {
	case inv.podman == nil || len(additional) == 0:
	case inv.podman.Err() == nil:
		inv.own = inv.podman.First(n)
	default: // of an additional one, perhaps
		var ownProblems []error
		inv.own, ownProblems = Settled(read(nil))
		problems = append(problems, grave(ownProblems)...)
	}
	return problems
}

// listContainer lists what there is in a container.
func (inv *inventory) listContainer() ([]Image, []error) {
	if inv.Type == Host || inv.Type == Unified {
		return nil, []error{fmt.Errorf("list %s images: %w", inv.Type, ErrNotOnHost)}
	}
	inv.running, inv.problems = inv.readBoundIn(inv.Sysroot.Dir)
	inv.bootcUnread = true
	inv.addBoundImages()
	return inv.list, inv.problems
}

// addHostImages lists the images that deployments are made from.
func (inv *inventory) addHostImages() {
	if !inv.wants(Host) {
		return
	}
	var rows []Image
	for _, img := range inv.repo {
		row := Image{
			Type: Host, Name: img.Image.String(), Store: OSTreeStore,
			ID: hexOf(img.Manifest.Config.Digest), Digest: img.ManifestDigest,
			Size: known(img.Size), Created: knownTime(img.Created), Architecture: img.Config.Architecture,
			KeptBy: inv.keepers.refs[img.Image.String()],
		}
		for _, d := range inv.host.Deployments {
			// By commit: an upgrade through the bootc-owned store leaves the ref of
			// the name at the commit before.
			if d.Commit == img.Checksum {
				row.Deployments = append(row.Deployments, ref(d))
				row.NeededBy = append(row.NeededBy, originNeed(d, img.Image.String()))
			}
		}
		row.NeededBy = inv.addKeepers(row.NeededBy, row.KeptBy)
		row.WillBePruned = inv.keepers.refsDecided && len(row.KeptBy) == 0
		rows = append(rows, row)
	}
	for _, d := range inv.host.Deployments {
		if d.Verity != "" && d.Image != nil {
			rows = append(rows, Image{
				Type: Host, Name: d.Image.Image.String(), Store: ComposefsStore,
				Digest: d.ManifestDigest, Created: knownTime(d.Created), Architecture: d.Architecture,
				Deployments: []DeploymentRef{ref(d)},
				KeptBy:      []Keeper{{Deployment: d.ID(), By: ByOrigin}},
				NeededBy:    []Need{originNeed(d, d.Image.Image.String())},
			})
		}
	}
	inv.add(rows)
}

// addStoreImages lists each name of each image in a containers-storage.
func (inv *inventory) addStoreImages(store *cstorage.Store, t Type, name StoreName) {
	if store == nil || !inv.wants(t) {
		return
	}
	var rows []Image
	for _, img := range store.Images {
		row := inv.storeImage(img, name)
		row.Type = t
		for _, row.Name = range img.Names {
			rows = append(rows, row)
		}
	}
	inv.add(rows)
}

// storeImage describes an image of a containers-storage, without type and name.
func (inv *inventory) storeImage(img *cstorage.Image, name StoreName) Image {
	row := Image{
		ID: img.ID, Digest: img.Digest, Size: known(img.Size), Created: knownTime(img.Created), Store: name, Architecture: img.Architecture(),
	}
	if name == BootcStore {
		row.KeptBy = inv.keepers.of(img.Names)
		row.WillBePruned = inv.keepers.namesDecided && len(row.KeptBy) == 0
		row.Deployments = deploymentsOf(inv.users[img])
	}
	row.NeededBy = inv.addKeepers(inv.users[img], row.KeptBy)
	return row
}

// addBoundImages lists the images bound to the running root, as they are in the
// bootc-owned store.
func (inv *inventory) addBoundImages() {
	if !inv.wants(Logical) {
		return
	}
	var rows []Image
	for _, b := range inv.running {
		row := Image{NeededBy: inv.binding(b.Image)}
		row.Deployments = deploymentsOf(row.NeededBy)
		img, known := inv.findBound(b)
		if img != nil {
			row = inv.storeImage(img, BootcStore)
		}
		if known {
			row.Present = new(img != nil)
		}
		row.Type, row.Name = Logical, b.Image
		rows = append(rows, row)
	}
	inv.add(rows)
}

// findBound finds a bound image in the bootc-owned store, nil when it is not there,
// as a name is not that podman would not take. Where the store could not be read,
// that is not known.
func (inv *inventory) findBound(b host.BoundImage) (img *cstorage.Image, known bool) {
	if inv.bootc == nil {
		return nil, !inv.bootcUnread
	}
	img, err := inv.find(inv.bootc, b.Image)
	return img, err == nil || inv.bootc.Err() == nil
}

// find finds the image that podman means by name in a store, nil when it would say that
// there is none.
func (inv *inventory) find(in *cstorage.Store, name string) (*cstorage.Image, error) {
	if in == nil {
		return nil, nil
	}
	if found, err := in.Exists(name, inv.shortNames); err != nil || !found {
		return nil, err
	}
	return in.Lookup(name, inv.shortNames)
}

// describeUsers reads what deployments boot whose images may be in the bootc store. A commit
// that cannot be read leaves its deployment without a digest.
func (inv *inventory) describeUsers() {
	if inv.bootc == nil || !inv.wants(Unified) && !inv.wants(Logical) || inv.host.Kind != host.OSTree {
		return
	}
	repo, err := inv.Sysroot.OpenRepo()
	if err != nil {
		return
	}
	defer repo.Close()
	for i := range inv.host.Deployments {
		d := &inv.host.Deployments[i]
		if d.Image != nil && d.Commit != "" && d.ManifestDigest == "" {
			d.ManifestDigest, _ = repo.ManifestDigest(d.Commit)
		}
	}
}

// findUsers finds the deployments that boot each image of the bootc-owned store
// or have it bound, by whatever name podman would find it. What a deployment boots is
// decided by its manifest digest, as far as that is known: its name may be that of a newer
// image by now.
func (inv *inventory) findUsers() map[*cstorage.Image][]Need {
	users := map[*cstorage.Image][]Need{}
	if inv.bootc == nil {
		return users
	}
	find := func(name string) *cstorage.Image {
		img, err := inv.bootc.Lookup(name, inv.shortNames)
		if err != nil {
			return nil
		}
		return img
	}
	for _, d := range inv.host.Deployments {
		if d.Image != nil {
			img := find(d.Image.Image.InStore())
			if img != nil && (d.ManifestDigest == "" || img.Is(d.ManifestDigest)) {
				users[img] = append(users[img], originNeed(d, d.Image.Image.String()))
			}
		}
		for _, b := range inv.bound[d.ID()] {
			if img := find(b.Image); img != nil {
				users[img] = addNeed(users[img], boundNeed(d, b.Image))
			}
		}
	}
	return users
}

// binding returns the needs of the deployments that have an image bound under this name.
func (inv *inventory) binding(name string) (needs []Need) {
	for _, d := range inv.host.Deployments {
		if slices.ContainsFunc(inv.bound[d.ID()], func(b host.BoundImage) bool { return b.Image == name }) {
			needs = append(needs, boundNeed(d, name))
		}
	}
	return needs
}

// deploymentsOf returns the deployments among needs, each once.
func deploymentsOf(needs []Need) (refs []DeploymentRef) {
	for _, n := range needs {
		if n.Deployment != nil && !slices.Contains(refs, *n.Deployment) {
			refs = append(refs, *n.Deployment)
		}
	}
	return refs
}

// addKeepers returns needs and the deployments that keep the image only by its name.
func (inv *inventory) addKeepers(needs []Need, keepers []Keeper) []Need {
	needs = slices.Clone(needs)
	for _, k := range keepers {
		if slices.ContainsFunc(needs, func(n Need) bool { return n.By == k.By && n.Deployment != nil && n.Deployment.ID == k.Deployment }) {
			continue
		}
		for _, d := range inv.host.Deployments {
			if image := followed(d); k.By == ByOrigin && image != nil && d.ID() == k.Deployment {
				needs = append(needs, Need{By: ByName, Deployment: new(ref(d)), Name: image.String()})
			}
		}
	}
	return needs
}

// addUses adds to users the containers and the images of other stores that have files in
// the bootc store, and the containers of podman's own store.
func (inv *inventory) addUses() {
	for _, use := range inv.uses {
		for _, img := range inv.usedBy(use) {
			inv.users[img] = addNeed(inv.users[img], use.need())
		}
	}
	if inv.podman == nil {
		return
	}
	for _, g := range inv.podman.Graphs() {
		containers, _ := g.Containers()
		for _, c := range containers {
			if img := inv.podman.ByID(c.Image); img != nil {
				inv.users[img] = addNeed(inv.users[img], Need{By: ByContainer, Name: c.Name, ID: c.ID, Store: g.Dir.Name()})
			}
		}
	}
}

// usedBy returns the images of the bootc store that a use needs: its image, the one that
// ends with its layer, or else all that have the layer.
func (inv *inventory) usedBy(use Use) []*cstorage.Image {
	if use.Image != "" {
		if img := inv.bootc.ByID(use.Image); img != nil {
			return []*cstorage.Image{img}
		}
	}
	if use.Layer == "" {
		return nil
	}
	images := inv.bootc.ImagesWith(use.Layer)
	if i := slices.IndexFunc(images, func(img *cstorage.Image) bool { return img.TopLayer() == use.Layer }); i >= 0 {
		return images[i : i+1]
	}
	return images
}

func (inv *inventory) close() {
	// Closing a part of a store is closing it.
	for _, store := range []*cstorage.Store{inv.bootc, inv.podman, inv.own} {
		if store != nil {
			store.Close()
		}
	}
}

func ref(d host.Deployment) DeploymentRef { return DeploymentRef{ID: d.ID(), Role: d.Role} }

// known returns nil for a size that is not known, which is -1.
func known(size int64) *int64 {
	if size < 0 {
		return nil
	}
	return &size
}

// hexOf returns the hexadecimal part of a digest.
func hexOf(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex
}

func (inv *inventory) add(rows []Image) {
	slices.SortStableFunc(rows, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	for _, row := range rows {
		// Lists that are empty are so in JSON, too, rather than null.
		if row.Deployments == nil {
			row.Deployments = []DeploymentRef{}
		}
		if row.KeptBy == nil {
			row.KeptBy = []Keeper{}
		}
		if row.NeededBy == nil {
			row.NeededBy = []Need{}
		}
		inv.list = append(inv.list, row)
	}
}

func some(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}
