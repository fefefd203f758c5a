// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.podman.io/storage/pkg/ioutils"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// ErrNoSource says that no source has a damaged image.
var ErrNoSource = errors.New("no source has the image")

// ErrInUse reports that a container of a store uses an image that has to be removed to be
// brought again.
var ErrInUse = errors.New("a container uses it")

// Restored is an image that Repair or Localize brought.
type Restored struct {
	// Name is a name of the image, Source where it came from, "" where nothing had to be done.
	Name   string
	Source plan.Source
}

// removed is an image that was removed to be brought again. It is written before the image is
// removed: a run that is killed then is completed by the next one for the image.
type removed struct {
	Schema  int                 `json:"schema"`
	Store   inventory.StoreName `json:"store"`
	ID      string              `json:"id"`
	Digests []string            `json:"digests"`
	Names   []string            `json:"names"`
}

const removedPath = "var/lib/bootc-podman/removed.json"

// restoring is an image that is brought again into one of the two stores.
type restoring struct {
	arrival
	removed
	// exact is the name by which a registry has the image, once offered found it.
	exact string
}

// Repair brings a damaged image of the bootc-owned store again, by its recorded digest: from
// podman's own store, else from its registry. With again it does so for one that seems whole,
// too. Errors are cstorage.ErrNotFound, ErrNoTag, ErrInUse, ErrNoSource,
// *plan.DamagedError and those of a transfer. Nothing is removed before a source is found.
func Repair(ctx context.Context, o Options, name string, again bool) (*Restored, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	at := o.places(nil)
	defer at.close()
	o.tidy(ctx, at)
	return o.repair(ctx, at, name, again)
}

// repair is Repair with the lock held.
func (o *Options) repair(ctx context.Context, at *places, name string, again bool) (*Restored, error) {
	r := &restoring{
		arrival: arrival{Options: o, places: at, to: at.bootc, from: at.own}, removed: removed{Schema: 1, Store: inventory.BootcStore},
	}
	if err := at.openBootc(); err != nil {
		return nil, err
	}
	store, err := r.find(name)
	if err != nil {
		return nil, fmt.Errorf("repair image %q: %w", name, err)
	}
	if img := store.ByID(r.ID); img != nil {
		damage := store.Damage(img)
		if damage == nil && !again {
			return &Restored{Name: r.as}, r.forget()
		}
		if err := sharedDamage(store, img, "repair "+r.as); err != nil {
			return nil, err
		}
	}
	source, bring, err := r.source(ctx)
	if err != nil {
		return nil, fmt.Errorf("repair %s: %w", r.as, err)
	}
	return &Restored{Name: r.as, Source: source}, r.replace(ctx, bring)
}

// source finds where the image comes from: podman's own store by its digest, else its
// registry, else podman's own store by its ID, which is the same content with another
// manifest. The error wraps ErrNoSource.
func (r *restoring) source(ctx context.Context) (plan.Source, func(context.Context) error, error) {
	own, err := r.from.now()
	if err != nil {
		return "", nil, err
	}
	clone := func(img *cstorage.Image) func(context.Context) error {
		return func(ctx context.Context) error { return r.copy(ctx, plan.Held{Store: own, Image: img, Name: img.ID}) }
	}
	if own != nil {
		for _, digest := range r.Digests {
			if found := own.ByDigest(digest); len(found) > 0 {
				return plan.FromDefault, clone(found[0]), nil
			}
		}
	}
	if err = r.offered(ctx); err == nil {
		return plan.FromRegistry, r.pull, nil
	}
	if own != nil {
		if img := own.ByID(r.ID); img != nil && own.Damage(img) == nil {
			return plan.FromDefault, clone(img), nil
		}
	}
	return "", nil, fmt.Errorf("%w: %w", ErrNoSource, err)
}

// find finds the image of the store, or the one that an interrupted run removed from it.
func (r *restoring) find(name string) (*cstorage.Store, error) {
	store, err := r.to.now()
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, cstorage.ErrNotFound
	}
	left, err := readRemoved(r.Root)
	if err != nil {
		return nil, err
	}
	if left != nil && left.Store == r.Store && (slices.Contains(left.Names, name) || left.ID == name) {
		r.removed = *left
	} else {
		img, err := store.Lookup(name, r.shortNames)
		if err != nil {
			return nil, err
		}
		r.ID, r.Digests, r.Names = img.ID, img.Digests, img.Names
	}
	if len(r.Names) == 0 {
		return nil, ErrNoTag
	}
	r.as, r.also, r.what = r.Names[0], r.Names[1:], r.Names[0]
	return store, nil
}

// sharedDamage returns a *plan.DamagedError if another image has a damaged layer of an image.
func sharedDamage(store *cstorage.Store, img *cstorage.Image, what string) error {
	for _, l := range store.LayersOf(img) {
		err, users := store.LayerDamage(l.ID), store.ImagesWith(l.ID)
		if err != nil && len(users) > 1 {
			return &plan.DamagedError{What: what, Bootc: true, Err: err, Users: users}
		}
	}
	return nil
}

// offered finds one of the digests of the image in its registry, as far as skopeo can say. The
// error is that of the last.
func (r *restoring) offered(ctx context.Context) error {
	args := []string{"skopeo", "inspect", "--raw"}
	auth := r.Host.AuthFile
	if auth == "" {
		found, err := storageconf.FindAuth(r.Sysroot.Dir)
		if err != nil {
			return err
		}
		auth = found.Path
	}
	if auth != "" {
		args = append(args, "--authfile", auth)
	}
	skopeo, lookErr := wrapper.LookPath("skopeo", r.Env)
	err := fmt.Errorf("podman's own store does not have %s, and no name of it is of a registry", r.as)
	for _, stored := range r.Names {
		name, parseErr := cstorage.ParseName(stored)
		if parseErr != nil || name.Domain == "" || name.Domain == "localhost" {
			continue
		}
		for _, digest := range r.Digests {
			name.Tag, name.Digest = "", digest
			r.exact = name.String()
			if lookErr != nil || r.dryRun() {
				return nil //nolint:nilerr // podman will find out
			}
			cmd := wrapper.Cmd{Path: skopeo, Args: append(slices.Clone(args), "docker://"+r.exact), Env: r.Env}
			if _, err = r.Host.Runner.Output(ctx, cmd); err == nil {
				return nil
			}
		}
	}
	return err
}

// pull pulls the image by its digest, and gives it its names.
func (r *restoring) pull(ctx context.Context) error {
	exact := r.exact
	if err := r.to.ImagePull(ctx, nil, "pull", "--", exact); err != nil {
		return err
	}
	r.to.changed()
	if err := r.to.tag(ctx, exact, r.Names...); err != nil || slices.Contains(r.Names, exact) {
		return err
	}
	return r.to.image(ctx, "untag", r.as, exact)
}

// replace removes the image from the store, and brings it again with all its names.
func (r *restoring) replace(ctx context.Context, bring func(context.Context) error) error {
	store, err := r.to.now()
	if err != nil {
		return err
	}
	if img := store.ByID(r.ID); img != nil {
		for _, g := range store.Graphs() {
			containers, err := g.Containers()
			if err != nil {
				return err
			}
			if slices.ContainsFunc(containers, func(c cstorage.Container) bool { return c.Image == r.ID }) {
				return fmt.Errorf("remove image %.12s: %w", r.ID, ErrInUse)
			}
		}
		if err := r.note(); err != nil {
			return err
		}
		if err := r.to.image(ctx, "rm", "--force", r.ID); err != nil {
			return err
		}
	}
	if err := bring(ctx); err != nil {
		return fmt.Errorf("bring %s again: %w", r.as, err)
	}
	return r.change(func() error {
		if store, err = r.to.now(); err != nil {
			return err
		}
		img := store.ByID(r.ID)
		if img == nil {
			return fmt.Errorf("verify %s: %w: the store has no image %.12s", r.as, ErrNotVerified, r.ID)
		}
		missing := slices.DeleteFunc(slices.Clone(r.Names), func(name string) bool { return slices.Contains(img.Names, name) })
		if err := r.to.tag(context.WithoutCancel(ctx), r.ID, missing...); err != nil {
			return err
		}
		if err := plan.Whole(store, r.to.bootc, img); err != nil {
			return fmt.Errorf("verify %s: %w: %w", r.as, ErrNotVerified, err)
		}
		return r.forget()
	})
}

// Localize clones into podman's own store the layers of an image that lie in the bootc-owned
// store; an image that only that store has is copied. Errors are cstorage.ErrNotFound, ErrNoTag,
// ErrInUse, ErrNoSource and those of a transfer.
func Localize(ctx context.Context, o Options, name string) (*Restored, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	at := o.places(nil)
	defer at.close()
	o.tidy(ctx, at)
	if err := at.openBootc(); err != nil {
		return nil, err
	}
	bootc, err := at.bootc.now()
	if err != nil {
		return nil, err
	}
	if bootc == nil {
		return nil, fmt.Errorf("localize image %q: %w", name, storageconf.ErrNoStore)
	}
	r := &restoring{
		arrival: arrival{Options: &o, places: at, to: at.own, from: at.bootc}, removed: removed{Schema: 1, Store: inventory.DefaultStore},
	}
	own, err := r.find(name)
	if errors.Is(err, cstorage.ErrNotFound) {
		r.to, own = at.bootc, nil
		_, err = r.find(name)
		r.to = at.own
	}
	if err != nil {
		return nil, fmt.Errorf("localize image %q: %w", name, err)
	}
	restored := &Restored{Name: r.as, Source: plan.FromBootc}
	missing := ""
	if own != nil {
		if img := own.ByID(r.ID); img != nil {
			if missing = own.MissingOf(img); missing == "" {
				return &Restored{Name: r.as}, r.forget()
			}
		}
	}
	if loan := loanOf(bootc, missing); loan != nil {
		return restored, r.localizeLayers(ctx, loan)
	}
	source := bootc.ByID(r.ID)
	if source == nil || bootc.Damage(source) != nil {
		return nil, fmt.Errorf("localize image %q: %w: the bootc-owned store does not have it whole", name, ErrNoSource)
	}
	bring := func(ctx context.Context) error {
		return r.copy(ctx, plan.Held{Store: bootc, Image: source, Name: source.ID})
	}
	if own == nil {
		return restored, bring(ctx)
	}
	return restored, r.replace(ctx, bring)
}

// loanOf is the layers of an image of the bootc store up to one of that ID, if they have the
// IDs that a clone gives them, which podman's pull does, too; else nil.
func loanOf(bootc *cstorage.Store, layer string) *plan.Loan {
	images := bootc.ImagesWith(layer)
	if layer == "" || len(images) == 0 {
		return nil
	}
	loan := &plan.Loan{Image: images[0].ID}
	parent := ""
	for _, l := range bootc.LayersOf(images[0]) {
		_, id, _ := strings.Cut(l.DiffID, ":")
		if parent != "" {
			id = fmt.Sprintf("%x", sha256.Sum256([]byte(parent+"+"+id)))
		}
		if !cstorage.IsDigest(l.DiffID) || l.ID != id {
			return nil
		}
		loan.Blobs = append(loan.Blobs, clonejob.Blob{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: l.DiffID, Size: l.Size})
		if parent = l.ID; l.ID == layer {
			return loan
		}
	}
	return nil
}

// localizeLayers clones layers, after which the image has all its own, and nothing else is
// needed.
func (r *restoring) localizeLayers(ctx context.Context, loan *plan.Loan) error {
	if err := r.cloneLayers(ctx, loan.Image, loan.Blobs); err != nil {
		return fmt.Errorf("localize %s: %w", r.as, err)
	}
	if err := r.returnLoan(ctx, loan); err != nil {
		return err
	}
	return r.change(func() error {
		own, err := r.to.now()
		if err != nil {
			return err
		}
		img := own.ByID(r.ID)
		if img == nil {
			return fmt.Errorf("verify %s: %w", r.as, ErrNotVerified)
		}
		return plan.Whole(own, false, img)
	})
}

// note writes the record of what is removed. A dry run writes nothing.
func (r *restoring) note() error {
	if r.dryRun() {
		return nil
	}
	data, err := json.Marshal(r.removed)
	if err != nil {
		return err
	}
	path := filepath.Join(r.Root, removedPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return ioutils.AtomicWriteFile(path, append(data, '\n'), 0o600)
}

// forget removes the record, if it is of this image.
func (r *restoring) forget() error {
	left, err := readRemoved(r.Root)
	if err != nil || left == nil || left.ID != r.ID || left.Store != r.Store || r.dryRun() {
		return err
	}
	return os.Remove(filepath.Join(r.Root, removedPath))
}

// readRemoved reads the record of an interrupted run, nil for none.
func readRemoved(root string) (*removed, error) {
	r := &removed{}
	if found, err := readJSON(root, removedPath, r); !found {
		return nil, err
	}
	return r, nil
}

// Interrupted is the image that an interrupted Repair or Localize has not brought again, "" for
// none, and the verb that does.
func Interrupted(root string) (image, verb string, err error) {
	r, err := readRemoved(root)
	if err != nil || r == nil || len(r.Names) == 0 {
		return "", "", err
	}
	if r.Store == inventory.DefaultStore {
		return r.Names[0], "localize", nil
	}
	return r.Names[0], "repair", nil
}
