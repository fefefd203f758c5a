// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// wanted is an image that is to be copied from podman's own store.
type wanted struct {
	plan.Held
	as string
	// there reports that nothing is to be done.
	there bool
}

// PlanPull plans what PullFromDefault would do, and changes nothing.
func PlanPull(ctx context.Context, o Options, names []string) ([]*plan.Plan, error) {
	at := o.places(nil)
	defer at.close()
	store, err := o.openDefault(names[0])
	if err != nil {
		return nil, err
	}
	defer store.Close()
	_, plans, err := o.planPull(ctx, at, store, names)
	return plans, err
}

// openDefault opens podman's own store, which has to exist, for the image with a name.
func (o Options) openDefault(name string) (*cstorage.Store, error) {
	store, problems := inventory.OpenDefaultStore(o.Root, o.Euid)
	if store == nil {
		return nil, errors.Join(append(problems, fmt.Errorf("copy image %q: %w", name, cstorage.ErrNotFound))...)
	}
	return store, nil
}

// planPull finds the images of podman's own store with the given names, and decides how each is
// copied. No store is made, and nothing is written.
func (o *Options) planPull(ctx context.Context, at *places, store *cstorage.Store, names []string) ([]wanted, []*plan.Plan, error) {
	all := make([]wanted, len(names))
	for i, name := range names {
		img, as, err := o.named(store, name)
		if err != nil {
			return nil, nil, err
		}
		if err := store.Damage(img); err != nil && !plan.OnlyTarSplit(err) {
			return nil, nil, fmt.Errorf("copy image %q: it is damaged: %w", name, err)
		}
		all[i] = wanted{Held: plan.Held{Store: store, Image: img, Name: as}, as: as}
	}
	v, err := o.look(ctx)
	if err != nil { // what bootc keeps is not known then
		v = &plan.View{Sharing: sharing}
		_, v.NoProgram = clonejob.FindProgram(o.Host.Self)
	} else {
		defer v.Close()
	}
	to, on, err := at.bootc.whereTo()
	if err != nil {
		return nil, nil, err
	}
	plans := make([]*plan.Plan, len(all))
	for i := range all {
		w := &all[i]
		// A clone with --verify full reads the files of layers that are there, too.
		w.there = to.Has(w.Image, w.as) && (o.Verify != clonejob.VerifyFull || o.Method == plan.ByPodman)
		if !slices.Contains(w.Image.Names, w.as) {
			w.Name = w.Image.ID
		}
		if plans[i], err = plan.NewPull(v, w.Held, w.as, w.there, to, *on, o.Method); err != nil {
			return nil, nil, err
		}
		logPlan(plans[i])
	}
	return all, plans, nil
}

// PullFromDefault copies images from podman's own store to the bootc-owned one,
// as bootc image pull-from-default-storage does, and returns what was done.
func PullFromDefault(ctx context.Context, o Options, names []string) ([]*plan.Plan, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	at := o.places(nil)
	defer at.close()
	at.tidied = o.tidy(ctx, at)
	store, err := o.openDefault(names[0])
	if err != nil {
		return nil, err
	}
	defer store.Close()
	// Before anything is written, a store made or a lock taken.
	all, plans, err := o.planPull(ctx, at, store, names)
	if err != nil {
		return nil, err
	}
	if err := at.openBootc(); err != nil {
		return nil, err
	}
	to, err := at.bootc.destination()
	if err != nil {
		return nil, err
	}
	var sources []plan.Held
	for _, w := range all {
		if !w.there {
			sources = append(sources, w.Held)
		}
	}
	if err := o.checkAll(ctx, to, at.bootc, sources); err != nil {
		return nil, err
	}
	for i, w := range all {
		if w.there {
			continue
		}
		a := &arrival{Options: &o, places: at, to: at.bootc, from: at.own, what: w.as, as: w.as}
		before := at.bootc.state()
		err := a.pullFromDefault(ctx, w.Held)
		plans[i].Changed, plans[i].Failed = at.bootc.state() != before, err != nil
		if err != nil {
			return plans, err
		}
	}
	h, _ := host.ReadSysroot(o.Sysroot) // for the names of what can be read
	before := at.own.state()
	err = at.nameOwn(ctx, h)
	plans[0].Changed = plans[0].Changed || at.tidied || at.own.state() != before
	return plans, err
}

// pullFromDefault copies one image, and checks that it came.
func (a *arrival) pullFromDefault(ctx context.Context, from plan.Held) error {
	names, err := a.discardDamaged(ctx, from.Image)
	if err != nil {
		return err
	}
	before, err := a.to.names()
	if err != nil {
		return err
	}
	if err := a.copy(ctx, from); err != nil {
		return err
	}
	if failed := a.change(func() error { return a.verifyCopy(from.Image) }); failed != nil {
		return a.to.undo(ctx, failed, before, []string{a.as})
	}
	for _, name := range names {
		if err := a.to.tag(context.WithoutCancel(ctx), a.as, name); err != nil {
			return err
		}
	}
	return nil
}

// verifyCopy checks that the bootc-owned store has an image of podman's own.
func (a *arrival) verifyCopy(img *cstorage.Image) error {
	store, err := a.to.now()
	if err != nil {
		return fmt.Errorf("verify %s: %w", a.as, err)
	}
	if store == nil {
		return fmt.Errorf("verify %s: %w: the bootc-owned store is gone", a.as, ErrNotVerified)
	}
	copied := store.ByID(img.ID)
	if copied == nil || !slices.Contains(copied.Names, a.as) {
		return fmt.Errorf("verify %s: %w: the store has no image %.12s of this name", a.as, ErrNotVerified, img.ID)
	}
	if err := plan.Whole(store, true, copied); err != nil {
		return fmt.Errorf("verify %s: %w: %w", a.as, ErrNotVerified, err)
	}
	return nil
}

// discardDamaged removes an image from the bootc-owned store that is to come there again,
// if it is damaged there. It returns the names that it had besides the one it comes under. Where another
// image has a damaged layer, or podman could not give it its names again, nothing is
// removed, and the error is a *DamagedError.
func (a *arrival) discardDamaged(ctx context.Context, img *cstorage.Image) (names []string, err error) {
	to, err := a.to.destination()
	if err != nil || to.Store == nil {
		return nil, err
	}
	own := to.Store.ByID(img.ID)
	if own == nil {
		return nil, nil
	}
	damage := to.Store.Damage(own)
	if damage == nil {
		return nil, nil
	}
	what := fmt.Sprintf("copy %s to %s", a.as, to.Name)
	for _, l := range to.Store.LayersOf(own) {
		err, users := to.Store.LayerDamage(l.ID), to.Store.ImagesWith(l.ID)
		if err != nil && len(users) > 1 {
			return nil, &plan.DamagedError{What: what, Bootc: true, Err: err, Users: users}
		}
	}
	for _, name := range own.Names {
		switch {
		case name == a.as:
		case strings.Contains(name, "@"):
			return nil, &plan.DamagedError{What: what, Bootc: true, Err: damage, Users: []*cstorage.Image{own}}
		default:
			names = append(names, name)
		}
	}
	a.Events.Damaged(inventory.Damage{Store: inventory.BootcStore, Image: own, Err: damage})
	return names, a.to.image(ctx, "rm", "--force", own.ID)
}

// named finds an image of podman's own store, and what to call it in the other: the name
// that was meant, character for character where it is a full one. An image that lost its
// names is found by its digest, where podman finds none.
func (o Options) named(store *cstorage.Store, meant string) (img *cstorage.Image, as string, err error) {
	m, err := store.LookupMatch(meant, o.shortNames)
	if errors.Is(err, cstorage.ErrNotFound) {
		if name, parseErr := cstorage.ParseName(meant); parseErr == nil && name.Digest != "" {
			for _, found := range store.ByDigest(name.Digest) {
				if name.Tag != "" || len(found.Names) == 0 {
					m, err = cstorage.Match{Image: found, Names: found.Names}, nil
				}
			}
		}
	}
	if err != nil {
		return nil, "", err
	}
	if as, err = nameOf(m, meant); err != nil {
		return nil, "", err
	}
	name, err := storable(as)
	if err != nil {
		return nil, "", fmt.Errorf("copy image %q: %w", meant, err)
	}
	// A name with a digest is that of an image which has it, or podman does not find it.
	if name.Digest != "" && !slices.Contains(m.Image.Digests, name.Digest) {
		return nil, "", fmt.Errorf("copy image %q: image %.12s does not have the digest", meant, m.Image.ID)
	}
	return m.Image, name.String(), nil
}

// storable is the name as podman stores it. The error is that of inventory.StorableName, or
// that the next clone would remove an image of this name.
func storable(name string) (cstorage.Name, error) {
	stored, err := inventory.StorableName(host.ImageReference{Transport: host.ContainersStorage, Name: name})
	if err == nil && strings.HasPrefix(stored.String(), clonejob.Unfinished) {
		err = fmt.Errorf("image name %q is kept for unfinished clones, which are removed", name)
	}
	return stored, err
}

// nameOf is the name that was meant by a name which may be short, or by an ID.
// NAME:TAG@DIGEST means NAME:TAG, whatever the image is called. The error is ErrNoTag
// for an image without a name that will do.
func nameOf(m cstorage.Match, meant string) (string, error) {
	if m.Name != "" {
		return m.Name, nil
	}
	short, digest, digested := strings.Cut(meant, "@")
	given, err := cstorage.ParseName(short)
	full := err == nil && given.String() == short
	if digested && full && given.Tag != "" {
		return short, nil
	}
	if digested && full {
		return meant, nil
	}
	if digested {
		for _, name := range m.Names {
			repository, _, _ := strings.Cut(name, "@")
			tagged, err := cstorage.ParseName(repository)
			if err == nil && (name == short || strings.HasSuffix(name, "/"+short)) {
				return name, nil
			}
			if err == nil && strings.HasSuffix(tagged.Repository(), "/"+short) {
				return tagged.Repository() + "@" + digest, nil
			}
		}
		return "", fmt.Errorf("copy image %q: %w", meant, ErrNoTag)
	}
	for _, tag := range []bool{true, false} {
		var first string
		for _, name := range m.Names {
			switch {
			case strings.Contains(name, "@") == tag:
			case strings.HasSuffix("/"+name, "/"+short) || strings.HasSuffix("/"+name, "/"+short+":latest"):
				return name, nil
			case first == "":
				first = name
			}
		}
		if first != "" {
			return first, nil
		}
	}
	return "", fmt.Errorf("copy image %q: %w", meant, ErrNoTag)
}
