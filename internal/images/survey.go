// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Survey is what deciding about an image of a host takes: what it boots, and what
// its stores hold.
type Survey struct {
	// Host is described as far as its ostree repository tells.
	Host *host.Host
	// Store says where the bootc-owned store is, or would be.
	Store storageconf.Store
	// Bootc and Default are the two containers-storages, nil for none. Own is Default
	// without additional image stores, which Default only sees: the same store where
	// there are none.
	Bootc, Default, Own *Store
	// Repo are the images in the ostree repository by their refs, Commits those and
	// the ones of the deployments, whose refs an upgrade may have moved on.
	Repo    []host.RepoImage
	Commits []host.RepoCommit
	// Filesystem is the one of the bootc-owned store, Free what FreeOf tells of it.
	Filesystem *Filesystem
	Free       uint64

	inv     *inventory
	keepers keepers
}

// NewSurvey reads a host; it has to be closed. Any problem is an error, as what
// could not be read may be what matters, but for those of single images in one of the
// containers-storages: see Damaged.
func NewSurvey(ctx context.Context, o Options) (*Survey, error) {
	if o.inContainer() {
		return nil, fmt.Errorf("read host: %w", ErrNotOnHost)
	}
	o.Type, o.AllStores = "", true
	inv := newInventory(o)
	inv.read(ctx)
	inv.problems = grave(inv.problems)
	if len(inv.problems) == 0 {
		inv.describe(ctx)
	}
	err := first(inv.problems)
	var fs *Filesystem
	var free uint64
	if err == nil {
		fs, err = readFilesystem(inv.located)
	}
	if err == nil {
		free, err = readFree(inv.located)
	}
	if err != nil {
		inv.close()
		return nil, err
	}
	return &Survey{
		Host: inv.host, Store: inv.located, Bootc: inv.bootc, Default: inv.podman, Own: inv.own, Repo: inv.repo, Commits: inv.allCommits(), Filesystem: fs, Free: free,
		inv: inv, keepers: findKeepers(inv.host, inv.bound, inv.hostRead && inv.boundRead),
	}, nil
}

// SurveyStores is the part of NewSurvey that is about the two containers-storages.
func SurveyStores(o Options) (*Survey, error) {
	o.Type, o.AllStores = "", true
	inv := newInventory(o)
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if err != nil {
		return nil, err
	}
	inv.located = located
	if err := first(grave(append(inv.readBootcStore(), inv.readDefaultStore()...))); err != nil {
		inv.close()
		return nil, err
	}
	return &Survey{Store: located, Bootc: inv.bootc, Default: inv.podman, Own: inv.own, inv: inv}, nil
}

// grave are the problems that are not those of a single image.
func grave(problems []error) []error {
	return slices.DeleteFunc(problems, func(err error) bool { return errors.As(err, new(*imageError)) })
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

// Damaged are the images of the two containers-storages that are no good. They are in
// Bootc and Default all the same.
func (s *Survey) Damaged() []Damage {
	list := append(s.Bootc.damaged(BootcStore), s.Default.damaged(DefaultStore)...)
	if s.Own == s.Default {
		return list
	}
	for _, d := range s.Own.damaged(DefaultStore) {
		if !slices.ContainsFunc(list, func(have Damage) bool { return have.Store == DefaultStore && have.Image.ID == d.Image.ID }) {
			list = append(list, d)
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

// SharesExtents tells whether files of the two containers-storages can share extents,
// so that a clone takes no room. Of Btrfs subvolumes it is not told.
func (s *Survey) SharesExtents() bool {
	if s.Default == nil || s.Filesystem.Reflink != Yes {
		return false
	}
	dir, err := openNear(s.Store)
	if err != nil {
		return false
	}
	defer dir.Close()
	var own, other unix.Stat_t
	return unix.Fstat(int(dir.Fd()), &own) == nil && unix.Fstat(int(s.Default.homes[0].dir.Fd()), &other) == nil && own.Dev == other.Dev
}

// Find finds the image that podman means by name in one of the two
// containers-storages, nil when it would say that there is none.
func (s *Survey) Find(in *Store, name string) (*StoreImage, error) {
	if in == nil {
		return nil, nil
	}
	if found, err := in.Exists(name, s.inv.shortNames); err != nil || !found {
		return nil, err
	}
	return in.Lookup(name, s.inv.shortNames)
}

// Keepers are what would keep an image with this name in the bootc-owned store;
// decided is false where bootc collects nothing.
func (s *Survey) Keepers(name string) (keepers []Keeper, decided bool) {
	return s.keepers.of([]string{name}), s.keepers.namesDecided
}

// ByID returns the image with an ID, nil for none.
func (s *Store) ByID(id string) *StoreImage { return s.byID[id] }

// ByDigest returns the images with a manifest digest. As with Exists, one that podman
// could not use is not there: whoever made it may have been killed between its record,
// which comes first, and its manifest. Nor is one that is damaged.
func (s *Store) ByDigest(digest string) []*StoreImage {
	return slices.DeleteFunc(slices.Clone(s.byDigest[digest]), func(img *StoreImage) bool {
		usable, err := s.usable(img)
		return err == nil && !usable || s.Damage(img) != nil
	})
}

// Annotations of the manifest of an image that was exported from elsewhere: the
// digest of the manifest it had there, and that of its configuration here. Images
// built upon it inherit annotations, but have configurations of their own.
const (
	OriginalDigest = "io.bootc-podman.original-digest"
	ExportedConfig = "io.bootc-podman.exported-config"
)

// Has returns whether img has a manifest digest.
func (img *StoreImage) Has(digest string) bool { return slices.Contains(img.Digests, digest) }

// Is tells whether img has a manifest digest, or is the same image exported, whose
// digest is another.
func (img *StoreImage) Is(digest string) bool {
	if slices.Contains(img.Digests, digest) {
		return true
	}
	annotations := img.Annotations()
	return digest != "" && annotations[OriginalDigest] == digest && annotations[ExportedConfig] == "sha256:"+img.ID
}

// Annotations are those of the image's manifest, as far as it can be read.
func (img *StoreImage) Annotations() map[string]string {
	blob, err := img.blob(manifestKey)
	if err != nil {
		return nil
	}
	var m struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(blob, &m) != nil {
		return nil
	}
	return m.Annotations
}
