// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/internal/transfer/podman"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Wanted is an image to bring into the bootc-owned store.
type Wanted struct {
	// Name is what podman pulls.
	Name string
	// AuthFile has the credentials for it, "" for those of Host.
	AuthFile string
}

// errNoInstance reports a manifest list without an image for this machine.
var errNoInstance = errors.New("no image for this machine")

// Fetch brings the images into the bootc-owned store that it does not have, and those that are
// damaged there, jobs of them at a time, and verifies that it has them. With from
// plan.FromDefault it copies them from podman's own store, with plan.FromRegistry it pulls them;
// with "" it pulls what podman's own store does not have with the same digest, and with
// plan.FromOCI it takes them from that image layout. A pull fetches no layers that podman's own
// store has. An image that fails does not stop the others: the
// error has those of all.
func Fetch(ctx context.Context, o Options, wanted []Wanted, from plan.Source, jobs int) error {
	var layout *shelf
	if dir, ok := strings.CutPrefix(string(from), string(plan.FromOCI)); ok {
		var err error
		if layout, err = openShelf(dir); err != nil {
			return err
		}
		defer layout.root.Close()
	}
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	at := o.places(nil)
	defer at.close()
	o.tidy(ctx, at)
	f := &fetching{Options: &o, places: at, from: from, shelf: layout, jobs: jobs}
	absent, failed := f.absent(ctx, wanted)
	if len(absent) == 0 {
		return errors.Join(failed...)
	}
	if err := f.openStore(ctx); err != nil {
		return errors.Join(append(failed, err)...)
	}
	if f.shelf != nil {
		found, missing := f.supplied(absent, wanted)
		return errors.Join(append(append(failed, missing...), f.pullAll(ctx, found)...)...)
	}
	absent = slices.DeleteFunc(absent, func(w *fetched) bool {
		var err error
		if w.session, err = f.session(w.Wanted); err != nil {
			failed = append(failed, fmt.Errorf("fetch %s: %w", w.Name, err))
		}
		return err != nil
	})
	f.ask(ctx, absent)
	return errors.Join(append(failed, f.bring(ctx, absent)...)...)
}

// bring copies images from podman's own store, and pulls the others.
func (f *fetching) bring(ctx context.Context, wanted []*fetched) (failed []error) {
	pulls := slices.DeleteFunc(slices.Clone(wanted), func(w *fetched) bool {
		there, err := f.local(ctx, w)
		if err != nil {
			failed = append(failed, fmt.Errorf("fetch %s: %w", w.Name, err))
		}
		w.brought = there && err == nil
		return there || err != nil
	})
	return append(failed, f.pullAll(ctx, pulls)...)
}

// fetching is a Fetch on its way.
type fetching struct {
	*Options
	*places
	from plan.Source
	// shelf is the image layout that is the only source, nil for other sources.
	shelf *shelf
	jobs  int
	// mu guards the places and the events while several images are pulled.
	mu sync.Mutex
}

// fetched is an image on its way.
type fetched struct {
	Wanted
	// full is its name with the registry, "" where podman completes it.
	full    string
	session *wrapper.Session
	// supply is what the image layout has, nil for other sources.
	supply *supply
	// offer is what its registry has, nil where that is not known; loan is what was lent for
	// its pull, nil for nothing.
	offer *Offer
	loan  *plan.Loan
	// brought reports that the store has it.
	brought bool
}

// absent returns the images that the store does not have, and repairs those that are damaged
// there. Where one cannot be read or repaired, the others are taken all the same.
func (f *fetching) absent(ctx context.Context, wanted []Wanted) (absent []*fetched, failed []error) {
	for _, w := range wanted {
		there, err := f.present(ctx, w)
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("fetch %s: %w", w.Name, err))
		case !there:
			item := &fetched{Wanted: w}
			name := bareName(w.Name)
			if _, err := cstorage.ParseName(name); err == nil && !cstorage.IsShort(name) {
				item.full = name
			}
			absent = append(absent, item)
		}
	}
	return absent, failed
}

// present reports whether the store has an image, whole, perhaps only now.
func (f *fetching) present(ctx context.Context, w Wanted) (bool, error) {
	img, store, err := f.find(w.Name)
	if err != nil || img != nil && store.Damage(img) == nil {
		return img != nil, err
	}
	if img == nil {
		left, err := readRemoved(f.Root)
		if err != nil || left == nil || left.Store != inventory.BootcStore || !slices.Contains(left.Names, w.Name) {
			return false, err
		}
	}
	o := *f.Options
	if w.AuthFile != "" {
		o.Host.AuthFile = w.AuthFile
	}
	at := o.places(nil)
	defer at.close()
	defer f.bootc.changed()
	if img != nil {
		o.Events.Damaged(inventory.Damage{Store: inventory.BootcStore, Image: img, Err: store.Damage(img)})
	}
	_, err = o.repair(ctx, at, w.Name, false)
	return true, err
}

// find finds the image that podman means by a name in the store, nil for none.
func (f *fetching) find(name string) (*cstorage.Image, *cstorage.Store, error) {
	store, err := f.bootc.now()
	if err != nil || store == nil {
		return nil, nil, err
	}
	img, err := store.Lookup(bareName(name), f.shortNames)
	if errors.Is(err, cstorage.ErrNotFound) {
		err = nil
	}
	return img, store, err
}

// session decides how the store is opened with the credentials for an image.
func (f *fetching) session(w Wanted) (*wrapper.Session, error) {
	with := f.Host
	if w.AuthFile != "" {
		with.AuthFile = w.AuthFile
	}
	return with.Open()
}

// openStore opens the bootc-owned store. A missing one is made by one podman, before several
// start.
func (f *fetching) openStore(ctx context.Context) error {
	err := f.openBootc()
	if err != nil || f.bootc.Session.Store.Exists || f.dryRun() {
		return err
	}
	if _, err := f.bootc.Session.Create(ctx); err != nil {
		return err
	}
	f.bootc.changed()
	f.bootc.Session = nil
	return f.openBootc()
}

// ask reads what registries have, where podman's own store may have some of it.
func (f *fetching) ask(ctx context.Context, absent []*fetched) {
	own, err := f.own.now()
	if err != nil || own == nil || len(own.Images) == 0 || f.dryRun() || f.from == plan.FromDefault || f.Method == plan.ByPodman {
		return
	}
	each(f.jobs, absent, func(_ int, w *fetched) {
		var err error
		if w.full == "" {
			return
		}
		if w.offer, err = offer(ctx, w.session, w.full); err != nil {
			logrus.Debugf("Fetching %s without layers of podman's own store: %v", w.Name, err)
		}
	})
}

// local copies an image from podman's own store, and reports whether the store has it then.
func (f *fetching) local(ctx context.Context, w *fetched) (there bool, err error) {
	if f.from == plan.FromRegistry {
		return false, nil
	}
	own, err := f.own.now()
	if err != nil {
		return false, err
	}
	held, err := f.held(own, w)
	if errors.Is(err, cstorage.ErrNotFound) && f.from == "" {
		return false, nil
	}
	if err == nil {
		a := &arrival{Options: f.Options, places: f.places, to: f.bootc, from: f.own, what: w.Name, as: held.Name}
		if !slices.Contains(held.Image.Names, held.Name) {
			held.Name = held.Image.ID
		}
		err = a.pullFromDefault(ctx, held)
	}
	if err != nil && f.from == "" && ctx.Err() == nil {
		f.Events.Missed(plan.FromDefault, err)
		return false, nil
	}
	return true, err
}

// held finds an image in podman's own store, with the name to copy it under. Where the source
// is not said, it is one of a digest that its registry has, or that its name has. The error
// is cstorage.ErrNotFound for none.
func (f *fetching) held(own *cstorage.Store, w *fetched) (plan.Held, error) {
	name := bareName(w.Name)
	if own == nil {
		return plan.Held{}, cstorage.ErrNotFound
	}
	img, as, err := f.named(own, name)
	if f.from == "" && !strings.Contains(name, "@") {
		img, as, err = nil, w.full, cstorage.ErrNotFound
		if w.offer != nil {
			for _, digest := range w.offer.Digests {
				for _, found := range own.ByDigest(digest) {
					img, err = found, nil
				}
			}
		}
	}
	if err != nil {
		return plan.Held{}, err
	}
	if damage := own.Damage(img); damage != nil && !plan.OnlyTarSplit(damage) {
		return plan.Held{}, fmt.Errorf("it is damaged in podman's own store: %w", damage)
	}
	return plan.Held{Store: own, Image: img, Name: as}, nil
}

// pullAll pulls images, some at a time, and verifies that they came.
func (f *fetching) pullAll(ctx context.Context, pulls []*fetched) []error {
	if len(pulls) == 0 {
		return nil
	}
	f.lendAll(ctx, pulls)
	version, err := f.bootc.PodmanVersion(ctx)
	if err != nil {
		return []error{err}
	}
	f.bootc.Version = version
	jobs := f.jobs
	if f.dryRun() {
		jobs = 1
	}
	var failed []error
	each(jobs, pulls, func(worker int, w *fetched) {
		if ctx.Err() != nil {
			return
		}
		err := f.pull(ctx, w, worker)
		f.mu.Lock()
		defer f.mu.Unlock()
		if w.brought = err == nil; err != nil {
			failed = append(failed, err)
		}
	})
	if len(failed) == 0 && ctx.Err() != nil {
		failed = append(failed, fmt.Errorf("fetch images: %w", ctx.Err()))
	}
	f.bootc.changed()
	a := &arrival{Options: f.Options, places: f.places, to: f.bootc, from: f.own}
	for _, w := range pulls {
		if w.brought && !f.dryRun() {
			err := f.verify(w)
			w.brought, failed = err == nil, append(failed, err)
		}
		if w.loan != nil {
			failed = append(failed, a.returnLoan(ctx, w.loan))
		}
	}
	return failed
}

// lendAll clones the layers of podman's own store that are about to be pulled.
func (f *fetching) lendAll(ctx context.Context, pulls []*fetched) {
	own, err := f.own.now()
	if err != nil || f.dryRun() || f.Method == plan.ByPodman {
		return
	}
	a := &arrival{Options: f.Options, places: f.places, to: f.bootc, from: f.own}
	for _, w := range pulls {
		store, err := f.bootc.now()
		if err != nil || w.offer == nil || ctx.Err() != nil {
			continue
		}
		loan := plan.LoanOf(own, store, w.offer.Layers, nil)
		if loan == nil {
			continue
		}
		if a.lent = false; a.lend(ctx, loan) == nil && a.lent {
			w.loan = loan
		}
	}
}

// each does something with all items, at most jobs at a time, each by a worker with a number.
func each[T any](jobs int, items []T, do func(worker int, item T)) {
	next := make(chan T)
	var workers sync.WaitGroup
	for worker := range min(jobs, len(items)) {
		workers.Go(func() {
			for item := range next {
				do(worker, item)
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	workers.Wait()
}

// pull pulls one image. The error names the credentials.
func (f *fetching) pull(ctx context.Context, w *fetched, worker int) error {
	own := *f.bootc.Host
	own.Stderr, own.Worker = nil, strconv.Itoa(worker)
	own.Retrying = func(r podman.Retry) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.Events.Retrying(r)
	}
	store := podman.Store{Host: &own, Session: f.bootc.Session}
	if w.supply != nil {
		return f.pullSupplied(ctx, w, store)
	}
	if w.AuthFile != "" {
		store.Session = w.session
	}
	var layers []host.Descriptor
	if w.offer != nil {
		layers = w.offer.Layers
	}
	err := store.Pull(ctx, w.Name, layers, f.blobs)
	if err != nil && ctx.Err() == nil && f.pruned(w.loan) {
		err = store.Pull(ctx, w.Name, layers, f.blobs)
	}
	if err != nil {
		return fmt.Errorf("pull %s with %s: %w", w.Name, credentialsOf(w.session), err)
	}
	return nil
}

// pruned reports whether another process removed what was lent: see arrival.pulling.
func (f *fetching) pruned(loan *plan.Loan) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bootc.changed(); loan == nil {
		return false
	}
	there, err := f.bootc.has(loan.ID())
	if err == nil && !there {
		f.Events.NotLent(errPruned)
	}
	return err == nil && !there
}

// blobs are those that the store has layers of, as far as can be read.
func (f *fetching) blobs() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bootc.changed()
	store, _ := f.bootc.now()
	if store == nil {
		return nil
	}
	return store.Blobs()
}

// verify checks that the store has what was pulled.
func (f *fetching) verify(w *fetched) error {
	img, store, err := f.find(w.Name)
	if err == nil && img == nil {
		err = fmt.Errorf("%w: the store has no image of this name", ErrNotVerified)
	}
	if err == nil {
		err = plan.Whole(store, true, img)
	}
	if err == nil && w.supply != nil && !img.Has(w.supply.digests[0]) {
		err = fmt.Errorf("%w: the image does not have the digest %s", ErrNotVerified, w.supply.digests[0])
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", w.Name, err)
	}
	return nil
}
