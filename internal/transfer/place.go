// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// place is one of the two stores of a host: the commands that change it, and what it
// has, which is read again only after a change.
type place struct {
	podman.Store
	o     *Options
	bootc bool
	name  string

	found *cstorage.Store
	// current reports that found was read, and nothing was changed since; toClose are the
	// stores that were opened here.
	current bool
	toClose []*cstorage.Store
}

// places are the two stores of a host.
type places struct {
	bootc, own *place
	// ownIsMade reports that podman's own store, or an additional image store, exists.
	ownIsMade bool
	// tidied reports that what an earlier transfer left was removed.
	tidied bool
}

// places returns the two stores of the host, unread but for those of the survey, which
// may be nil.
func (o *Options) places(s *inventory.Survey) *places {
	host := &podman.Host{
		Host: o.Host, Dir: o.Dir, Stderr: o.Stderr, Progress: o.Progress, Retry: o.Retry,
		Retrying: func(r podman.Retry) { o.Events.Retrying(r) },
	}
	p := &places{
		bootc: &place{Store: podman.Store{Host: host}, o: o, bootc: true, name: "the bootc-owned store"},
		own:   &place{Store: podman.Store{Host: host}, o: o, name: "podman's own store"},
	}
	if s != nil {
		p.bootc.found, p.bootc.current = s.Bootc, true
		p.own.found, p.own.current, p.ownIsMade = s.Own, true, s.Default != nil
	}
	return p
}

func (p *places) close() {
	for _, store := range slices.Concat(p.bootc.toClose, p.own.toClose) {
		store.Close()
	}
}

// state describes the images of both stores, for changedSince.
func (p *places) state() string { return p.bootc.state() + p.own.state() }

// changedSince reports whether this transfer changed a store. before is the state then.
func (p *places) changedSince(before string) bool { return p.tidied || p.state() != before }

// openBootc decides how commands open the bootc-owned store.
func (p *places) openBootc() error {
	if p.bootc.Session != nil {
		return nil
	}
	session, err := p.bootc.Open()
	if err != nil {
		return err
	}
	p.bootc.Session = session
	return session.ExplainStore()
}

// now returns what the store has, nil if it does not exist.
func (p *place) now() (*cstorage.Store, error) {
	if p.current {
		return p.found, nil
	}
	// Another podman may be at work: a verification must not fail for that.
	store, problems := inventory.Settled(p.read)
	if store == nil && len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if store != nil {
		p.toClose = append(p.toClose, store)
	}
	p.found, p.current = store, true
	return store, nil
}

func (p *place) read() (*cstorage.Store, []error) {
	if !p.bootc {
		return inventory.OpenOwnStore(p.o.Root, p.o.Euid)
	}
	located, err := storageconf.Locate(p.o.Sysroot.Dir)
	if err != nil {
		return nil, []error{err}
	}
	return inventory.OpenBootcStore(located, p.o.Root)
}

// changed has the store read again when it is needed. A dry run changes nothing.
func (p *place) changed() { p.current = p.current && p.o.dryRun() }

// names are the IDs of the images of the store, with their names.
func (p *place) names() (map[string][]string, error) {
	store, err := p.now()
	found := map[string][]string{}
	if store == nil {
		return found, err
	}
	for _, img := range store.Images {
		found[img.ID] = img.Names
	}
	return found, nil
}

// state describes the images of the store with their names, manifests and damage.
func (p *place) state() string {
	store, err := p.now()
	if store == nil {
		return fmt.Sprint(err)
	}
	images := map[string][]any{}
	for _, img := range store.Images {
		images[img.ID] = []any{slices.Sorted(slices.Values(img.Names)), img.Digests, store.Damage(img)}
	}
	return fmt.Sprint(images)
}

// has reports whether the store has the image with an ID.
func (p *place) has(id string) (bool, error) {
	store, err := p.now()
	return store != nil && store.ByID(id) != nil, err
}

// destination is the store that images are copied to.
func (p *place) destination() (to plan.Destination, err error) {
	to = plan.Destination{Name: p.name, Bootc: p.bootc}
	if to.Store, err = p.now(); err != nil {
		return to, err
	}
	if !p.bootc {
		dirs, err := storageconf.OwnStores(p.o.Root, p.o.Euid)
		if err != nil {
			return to, err
		}
		to.Dir = filepath.Join(p.o.Root, dirs[0])
		return to, nil
	}
	located, err := storageconf.Locate(p.o.Sysroot.Dir)
	if err != nil {
		return to, err
	}
	config, err := storageconf.HostConfig(p.o.Root)
	if to.Dir = located.Path(); config.ImageStore != "" {
		to.Dir = filepath.Join(p.o.Root, config.ImageStore)
	}
	return to, err
}

// whereTo is destination with the filesystem that it lies on.
func (p *place) whereTo() (to plan.Destination, on *inventory.Filesystem, err error) {
	if to, err = p.destination(); err != nil {
		return to, nil, err
	}
	dir, err := openNearest(to.Dir, 0)
	if err != nil {
		return to, nil, err
	}
	defer dir.Close()
	on, err = inventory.FilesystemOf(dir)
	return to, on, err
}

// endpoint is the store for the private program.
func (p *place) endpoint() (clonejob.Store, error) {
	if p.bootc {
		return clonejob.BootcStore(p.Session.Config), nil
	}
	own, err := storageconf.ReadDefaultStore(p.o.Root)
	return clonejob.DefaultStore(own), err
}

// image runs "podman image" on the store.
func (p *place) image(ctx context.Context, args ...string) error {
	defer p.changed()
	return p.Image(ctx, args...)
}

// tag gives an image of the store names.
func (p *place) tag(ctx context.Context, id string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return p.image(ctx, append([]string{"tag", id}, names...)...)
}

// makeOwn has podman make its own store before another program writes there: podman takes
// one that others made for that of an older podman.
func (p *place) makeOwn(ctx context.Context) error {
	store, err := p.now()
	if err != nil || store != nil && store.Graphs()[0].Driver != "" {
		return err
	}
	defer p.changed()
	return p.MakeOwn(ctx)
}

// undo gives names of the store back to the images that had them before, and removes the
// images that came with them since. before are the images of the store then. The error is
// failed, why this is necessary, with what was done.
func (p *place) undo(ctx context.Context, failed error, before map[string][]string, names []string) error {
	found, err := p.names()
	if err != nil {
		return undone(failed, nil, err)
	}
	commands := undoing(before, found, names)
	for _, args := range commands {
		err = errors.Join(err, p.image(context.WithoutCancel(ctx), args...))
	}
	return undone(failed, commands, err)
}

// tidy removes what a transfer left in the stores that was killed: layers that were lent,
// and an image on its way from a composefs deployment. found reports that there was any.
func (p *places) tidy(ctx context.Context) (found bool, err error) {
	for _, place := range []*place{p.own, p.bootc} {
		store, _ := place.now()
		if store == nil {
			continue
		}
		left := lent(store)
		if !place.bootc && store.Named(plan.ExportName) != nil {
			left = append(left, plan.ExportName)
		}
		found = found || len(left) > 0
		err = errors.Join(err, p.remove(ctx, place, left))
	}
	return found, err
}

func (p *places) remove(ctx context.Context, from *place, images []string) error {
	for _, name := range images {
		if from.bootc {
			if err := p.openBootc(); err != nil {
				return err
			}
		}
		if err := from.image(ctx, "rm", "--", name); err != nil {
			return err
		}
	}
	return nil
}

// lent are the IDs of the images that are in a store only while others are pulled.
func lent(store *cstorage.Store) (ids []string) {
	for _, img := range store.Images {
		if _, ours := img.Annotations()[clonejob.Lent]; ours && len(img.Names) == 0 {
			ids = append(ids, img.ID)
		}
	}
	return ids
}
