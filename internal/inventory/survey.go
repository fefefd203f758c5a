// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Survey is what deciding about an image of a host takes: what it boots, and what
// its stores hold.
type Survey struct {
	// Host is described as far as its ostree repository has it.
	Host *host.Host
	// Store says where the bootc-owned store is, or would be.
	Store storageconf.Store
	// Bootc and Default are the two containers-storages, nil for none. Own is Default
	// without additional image stores, which Default only sees: the same store where
	// there are none.
	Bootc, Default, Own *cstorage.Store
	// Repo are the images in the ostree repository by their refs, Commits those and
	// the ones of the deployments, whose refs an upgrade may have moved on.
	Repo    []host.RepoImage
	Commits []host.RepoCommit
	// Filesystem is the one of the bootc-owned store.
	Filesystem *Filesystem

	inv     *inventory
	keepers keepers
}

// NewSurvey reads a host; it has to be closed. Any problem is an error, as what
// could not be read may be what matters, but for those of single images in one of the
// containers-storages: see Damaged.
func NewSurvey(_ context.Context, o Options) (*Survey, error) {
	if o.inContainer() {
		return nil, fmt.Errorf("read host: %w", ErrNotOnHost)
	}
	o.Type, o.AllStores = "", true
	inv := newInventory(o)
	inv.readAll()
	inv.problems = grave(inv.problems)
	if len(inv.problems) == 0 {
		inv.describe()
	}
	err := first(inv.problems)
	var fs *Filesystem
	if err == nil {
		fs, err = readFilesystem(inv.located)
	}
	if err != nil {
		inv.close()
		return nil, err
	}
	return &Survey{
		Host: inv.host, Store: inv.located, Bootc: inv.bootc, Default: inv.podman, Own: inv.own, Repo: inv.repo, Commits: inv.allCommits(), Filesystem: fs,
		inv: inv, keepers: findKeepers(inv.host, inv.bound, inv.hostRead && inv.boundRead),
	}, nil
}

// grave are the problems that are not those of a single image.
func grave(problems []error) []error {
	return slices.DeleteFunc(problems, func(err error) bool { return errors.As(err, new(*cstorage.ImageError)) })
}

func (inv *inventory) allCommits() (all []host.RepoCommit) {
	for _, img := range inv.repo {
		all = append(all, img.RepoCommit)
	}
	for _, c := range inv.commits {
		if !slices.ContainsFunc(all, func(have host.RepoCommit) bool { return have.Checksum == c.Checksum }) {
			all = append(all, c)
		}
	}
	return all
}

// Damage is an image of a host that is damaged.
type Damage struct {
	// Store is BootcStore or DefaultStore.
	Store StoreName
	Image *cstorage.Image
	Err   error
}

// Damaged are the damaged images of the two containers-storages, as a second look finds them,
// too: an image that podman removes meanwhile loses its record before its layers. They are in
// Bootc and Default all the same.
func (s *Survey) Damaged() []Damage {
	found := s.damaged()
	if len(found) == 0 {
		return nil
	}
	again, _ := Look(s.inv.Options)
	if again == nil {
		return found
	}
	defer again.Close()
	key := func(d Damage) string { return string(d.Store) + d.Image.ID + d.Err.Error() }
	still := map[string]bool{}
	for _, d := range again.damaged() {
		still[key(d)] = true
	}
	return slices.DeleteFunc(found, func(d Damage) bool { return !still[key(d)] })
}

func (s *Survey) damaged() []Damage {
	list := append(damaged(s.Bootc, BootcStore), damaged(s.Default, DefaultStore)...)
	if s.Own == s.Default {
		return list
	}
	for _, d := range damaged(s.Own, DefaultStore) {
		if !slices.ContainsFunc(list, func(have Damage) bool { return have.Store == DefaultStore && have.Image.ID == d.Image.ID }) {
			list = append(list, d)
		}
	}
	return list
}

// damaged are the images of a store, nil for none, that are damaged.
func damaged(s *cstorage.Store, name StoreName) (list []Damage) {
	if s == nil {
		return nil
	}
	for _, img := range s.Images {
		if err := s.Damage(img); err != nil {
			list = append(list, Damage{Store: name, Image: img, Err: err})
		}
	}
	return list
}

// Close closes the stores.
func (s *Survey) Close() { s.inv.close() }

// Root is the root directory of the machine that podman runs on.
func (s *Survey) Root() string { return s.inv.Root }

// LookedUp returns an *IgnoredError if bootc could not upgrade the host through the bootc
// store, whatever that has.
func (s *Survey) LookedUp() error { return lookedUp(s.Host.Kind, s.inv.Root) }

// Program finds a program of the host in the caller's PATH. The error is a
// *wrapper.LookupError.
func (s *Survey) Program(name string) (path string, err error) {
	return wrapper.LookPath(name, s.inv.Env)
}

// Find finds the image that podman means by name in one of the two
// containers-storages, nil when it would say that there is none.
func (s *Survey) Find(in *cstorage.Store, name string) (*cstorage.Image, error) {
	return s.inv.find(in, name)
}

// Keepers are what would keep an image with this name in the bootc-owned store;
// decided is false where bootc collects nothing.
func (s *Survey) Keepers(name string) (keepers []Keeper, decided bool) {
	return s.keepers.of([]string{name}), s.keepers.namesDecided
}
