// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// State is how an image of the bootc-owned store compares with its registry.
type State string

// The states.
const (
	// Current is an image that the registry has under its name.
	Current State = "current"
	// Outdated is an image in whose place the registry has another one.
	Outdated State = "outdated"
	// Missing is an image that the store does not have.
	Missing State = "missing"
	// Pinned is an image of the store that is named by its digest.
	Pinned State = "pinned"
	// Unclear is an image whose registry could not be read.
	Unclear State = "unknown"
)

// Compared is an image of the bootc-owned store compared with its registry. Its JSON form is
// described by docs/bound-outdated-v1.schema.json.
type Compared struct {
	// Image is spelled as in Wanted.
	Image string `json:"image"`
	State State  `json:"state"`
	// Digest is the one of the store, Available the one of the registry for this machine; ""
	// for none.
	Digest    string `json:"digest"`
	Available string `json:"available"`
	// Reason is why the registry could not be read, else "".
	Reason string `json:"reason"`

	image *cstorage.Image
	// name is the one that the store has.
	name string
	item *fetched
}

// Compare compares images of the bootc-owned store with their registries, jobs of them at a
// time. It changes nothing, and takes no lock.
func Compare(ctx context.Context, o Options, wanted []Wanted, jobs int) ([]*Compared, error) {
	at := o.places(nil)
	defer at.close()
	f := &fetching{Options: &o, places: at, jobs: jobs}
	return f.compare(ctx, wanted)
}

func (f *fetching) compare(ctx context.Context, wanted []Wanted) (list []*Compared, err error) {
	for _, w := range wanted {
		c := &Compared{Image: w.Name, State: Unclear, name: bareName(w.Name), item: &fetched{Wanted: w}}
		var store *cstorage.Store
		c.image, store, err = f.find(w.Name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("compare image %q: %w", w.Name, err)
		case c.image == nil:
			c.State = Missing
		case strings.Contains(w.Name, "@"):
			c.State = Pinned
		default:
			f.connect(c)
		}
		if c.image != nil {
			c.Digest = c.image.Digest
			if m, err := store.LookupMatch(c.name, f.shortNames); err == nil && m.Name != "" {
				c.name = m.Name
			}
			c.item.full = c.name
		}
		list = append(list, c)
	}
	if !f.dryRun() {
		each(f.jobs, list, func(_ int, c *Compared) { c.ask(ctx) })
	}
	return list, ctx.Err()
}

// connect opens the store with the credentials for the registry of an image.
func (f *fetching) connect(c *Compared) {
	var err error
	if c.item.session, err = f.session(c.item.Wanted); err != nil {
		c.State, c.Reason = Unclear, err.Error()
	}
}

// ask compares the image with what its registry has.
func (c *Compared) ask(ctx context.Context) {
	if c.item.session == nil {
		return
	}
	found, err := offer(ctx, c.item.session, c.name)
	if err != nil {
		c.Reason = fmt.Sprintf("read its manifest with %s: %v", credentialsOf(c.item.session), err)
		return
	}
	c.item.offer, c.Available, c.State = found, found.Digests[len(found.Digests)-1], Outdated
	if found.Is(c.image) {
		c.State = Current
	}
}

// Refreshed is an image after Refresh.
type Refreshed struct {
	Compared
	// New is the digest that it has now; Kept is the name of the old image, "" where that has
	// other names or there was none.
	New, Kept string
}

// Refresh brings images of the bootc-owned store again that their registries have replaced, and
// gives the old ones a name with the date now, unless they have another one. Killed at any
// moment, it leaves the old or the new image under the name, and the next one removes what is
// too much. An image that fails does not stop the others: the error has those of all.
func Refresh(ctx context.Context, o Options, wanted []Wanted, jobs int, now time.Time) (list []Refreshed, err error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	at := o.places(nil)
	defer at.close()
	if !o.dryRun() {
		o.tidy(ctx, at)
	}
	f := &fetching{Options: &o, places: at, jobs: jobs}
	if err := f.openStore(ctx); err != nil {
		return nil, err
	}
	if err := f.untagKept(ctx, wanted); err != nil {
		return nil, err
	}
	compared, err := f.compareForRefresh(ctx, wanted)
	if err != nil {
		return nil, err
	}
	var items []*fetched
	var failed []error
	for _, c := range compared {
		r := Refreshed{Compared: *c, New: c.Digest}
		switch c.State {
		case Unclear:
			failed = append(failed, fmt.Errorf("refresh %s: %s", c.Image, c.Reason))
		case Outdated, Missing:
			if r.Kept, err = f.keep(ctx, c, now); err != nil {
				failed = append(failed, fmt.Errorf("refresh %s: %w", c.Image, err))
				continue
			}
			items = append(items, c.item)
			list = append(list, r)
		default:
			list = append(list, r)
		}
	}
	failed = append(failed, f.bring(ctx, items)...)
	return f.refreshed(ctx, list, failed)
}

// compareForRefresh compares images. A dry run asks no registry, and takes them for outdated.
func (f *fetching) compareForRefresh(ctx context.Context, wanted []Wanted) ([]*Compared, error) {
	compared, err := f.compare(ctx, wanted)
	for _, c := range compared {
		switch {
		case c.State == Missing:
			f.connect(c)
		case c.State == Unclear && c.Reason == "" && f.dryRun():
			c.State = Outdated
		}
	}
	return compared, err
}

// refreshed completes the list with what the store has now, and takes away the names of old
// images that have kept their own.
func (f *fetching) refreshed(ctx context.Context, list []Refreshed, failed []error) ([]Refreshed, error) {
	if f.dryRun() {
		return list, errors.Join(failed...)
	}
	list = slices.DeleteFunc(list, func(r Refreshed) bool {
		if r.State != Outdated && r.State != Missing {
			return false
		}
		if !r.item.brought && r.Kept != "" {
			failed = append(failed, f.bootc.image(context.WithoutCancel(ctx), "untag", r.image.ID, r.Kept))
		}
		return !r.item.brought
	})
	for i := range list {
		img, _, err := f.find(list[i].Image)
		if failed = append(failed, err); img != nil {
			list[i].New = img.Digest
		}
	}
	return list, errors.Join(failed...)
}

// keptFormat is the time in the name of an old image, after its tag.
const keptFormat = "-20060102-150405"

// isKept reports whether a name is one that keep gave to the image of another name.
func isKept(name, of string) bool {
	rest, found := strings.CutPrefix(name, of)
	_, err := time.Parse(keptFormat, rest)
	return found && err == nil
}

// keep gives the image that is about to lose its name another one, and returns that. The
// image has both until the new one is there.
func (f *fetching) keep(ctx context.Context, c *Compared, now time.Time) (name string, err error) {
	if c.image == nil || slices.ContainsFunc(c.image.Names, func(name string) bool { return name != c.name }) {
		return "", nil
	}
	store, err := f.bootc.now()
	if err != nil {
		return "", err
	}
	if damage := store.Damage(c.image); damage != nil {
		f.Events.Damaged(inventory.Damage{Store: inventory.BootcStore, Image: c.image, Err: damage})
		return "", fmt.Errorf("it is damaged: %w", damage)
	}
	stored, err := storable(c.name)
	if err != nil {
		return "", err
	}
	name = stored.String() + now.UTC().Format(keptFormat)
	if _, err := inventory.StorableName(host.ImageReference{Transport: host.ContainersStorage, Name: name}); err != nil {
		return "", err
	}
	return name, f.bootc.tag(ctx, c.image.ID, name)
}

// untagKept takes away the second names that a refresh gave which was killed: bootc's cleanup
// fails on an image with two names, once nothing needs it.
func (f *fetching) untagKept(ctx context.Context, wanted []Wanted) error {
	for _, w := range wanted {
		img, _, err := f.find(w.Name)
		if err != nil {
			return fmt.Errorf("refresh image %q: %w", w.Name, err)
		}
		if img == nil {
			continue
		}
		for _, name := range img.Names {
			if slices.ContainsFunc(img.Names, func(of string) bool { return isKept(name, of) }) {
				if err := f.bootc.image(ctx, "untag", img.ID, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
