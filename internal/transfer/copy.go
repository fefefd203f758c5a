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
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// CopyChoice is what the user has to say about a copy to podman's own store.
type CopyChoice struct {
	// Image is the reference of an image that a deployment follows or the ostree
	// repository has, with its transport; "" is the booted one.
	Image string
	// Target is what the image is called in podman's own store.
	Target string
	// From is the only source to consider, "" for any on this host.
	From plan.Source
}

// Copied is an image that was copied to podman's own store.
type Copied struct {
	// Image is the reference of what was copied, Original its manifest digest.
	Image, Original string
	Source          plan.Source
	// Digest is that of the manifest in podman's own store.
	Digest string
}

// copying is a copy to podman's own store on its way.
type copying struct {
	arrival
	Copied
	view  *plan.View
	image host.ImageReference
	// commit has the image in the ostree repository, "" on composefs hosts.
	commit string
	// written are the names that the copy gives.
	written []string
}

// CopyToStorage copies the image of a deployment to podman's own store. Podman's own
// store and the bootc-owned one may have it with its digest; what the ostree
// repository or bootc exports has another. Errors are ErrNotBooted, ErrNotFromImage,
// cstorage.ErrNotFound, ErrNoSource, ErrNotVerified and those of an export.
func CopyToStorage(ctx context.Context, o Options, choice CopyChoice) (*Copied, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	v, at, err := o.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	defer at.close()
	o.reportDamage(v)
	named, err := storable(choice.Target)
	if err != nil {
		return nil, err
	}
	target := named.String()
	c := &copying{arrival: arrival{Options: &o, places: at, to: at.own, from: at.bootc, as: target}, view: v, written: []string{target}}
	before, err := c.to.names()
	if err != nil {
		return nil, err
	}
	if store := c.to.found; store != nil && store.Err() != nil {
		return nil, store.Err()
	}
	if err := c.find(choice.Image); err != nil {
		return nil, err
	}
	c.what = c.Image
	switch err = c.fromFirst(ctx, choice.From); {
	case err == nil:
		return &c.Copied, c.nameOwn(ctx, v.Host)
	case errors.Is(err, plan.ErrNoSource):
		return nil, err
	case o.Host.DryRun != nil:
		return &c.Copied, err
	}
	return &c.Copied, c.to.undo(ctx, err, before, c.written)
}

// fromFirst copies the image from the first source that has it. The error is ErrNoSource
// if there is none.
func (c *copying) fromFirst(ctx context.Context, from plan.Source) error {
	var refused []string
	for _, try := range []struct {
		source plan.Source
		copy   func(context.Context) error
	}{
		{plan.FromDefault, c.fromDefault},
		{plan.FromBootc, c.fromBootc},
		{plan.FromRegistry, c.fromRegistry},
		{plan.FromOSTree, c.fromOSTree},
		{plan.FromComposefs, c.fromComposefs},
	} {
		switch {
		case from != "" && try.source != from:
			continue
		case from == "" && try.source == plan.FromRegistry: // of this host only, as bootc does
			continue
		}
		c.Source = try.source
		err := try.copy(ctx)
		if errors.Is(err, plan.ErrNotThere) {
			refused = append(refused, fmt.Sprintf("%s: %v", c.Source, err))
		} else if !errors.Is(err, plan.ErrNotSuch) {
			return err
		}
	}
	return fmt.Errorf("copy %s, %s: %w: %s", c.Image, c.Original, plan.ErrNoSource, strings.Join(refused, "; "))
}

// find finds what is to be copied. What is booted is found by its commit, since a
// ref of its name can be older.
func (c *copying) find(image string) error {
	if image == "" {
		booted := c.view.Host.Booted()
		switch {
		case booted == nil:
			return plan.ErrNotBooted
		case booted.Image == nil:
			return fmt.Errorf("copy deployment %s: %w", booted.ID(), plan.ErrNotFromImage)
		}
		c.image, c.Original, c.commit = booted.Image.Image, booted.ManifestDigest, booted.Commit
		c.Image = c.image.String()
		return nil
	}
	ref, err := host.ParseImageReference(image)
	if err != nil {
		return err
	}
	c.image, c.Image = ref, ref.String()
	for _, img := range c.view.Repo {
		if img.Image == ref {
			c.Original, c.commit = img.ManifestDigest, img.Checksum
			return nil
		}
	}
	for _, d := range c.view.Host.Deployments {
		if c.view.Host.Kind == host.Composefs && d.Image != nil && d.Image.Image == ref {
			c.Original = d.ManifestDigest
			return nil
		}
	}
	return fmt.Errorf("find %s on this host: %w", ref, cstorage.ErrNotFound)
}

// fromDefault looks whether podman's own store has the image already, under another
// name perhaps.
func (c *copying) fromDefault(ctx context.Context) error {
	own := c.view.Own
	named, err := c.view.Find(own, c.as)
	if named != nil && own.Damage(named) != nil {
		named = nil
	}
	switch {
	case err != nil:
		return err
	case named != nil && c.Original != "" && named.Is(c.Original):
		c.Digest = named.Digest
		return c.to.tag(ctx, named.ID, c.others(named.ID)...)
	case own == nil:
		return plan.ErrNotThere
	}
	found := own.ByDigest(c.Original)
	if c.Original == "" || len(found) == 0 {
		return plan.ErrNotThere
	}
	if err := c.to.tag(ctx, found[0].ID, append([]string{c.as}, c.others(found[0].ID)...)...); err != nil {
		return err
	}
	return c.verify(c.Original)
}

// others are the names that an image has to have in podman's own store besides the target,
// for bootc to find it in the bootc store.
func (c *copying) others(id string) []string {
	names := slices.DeleteFunc(c.view.UpgradeNames(id), func(name string) bool { return name == c.as })
	c.written = append(c.written, names...)
	return names
}

// fromBootc copies the image from the bootc-owned store, where it may be an export.
func (c *copying) fromBootc(ctx context.Context) error {
	bootc := c.view.Bootc
	if bootc == nil || c.Original == "" {
		return plan.ErrNotThere
	}
	found := bootc.ByDigest(c.Original)
	if named, err := c.view.Find(bootc, c.image.Name); err == nil && named != nil && named.Is(c.Original) && bootc.Damage(named) == nil {
		found = append(found, named)
	}
	if len(found) == 0 {
		return plan.ErrNotThere
	}
	c.also = c.others(found[0].ID)
	if err := c.copy(ctx, plan.Held{Store: bootc, Image: found[0]}); err != nil {
		return err
	}
	return c.verify(found[0].Digests...)
}

// checkPull refuses a pull that would not fit, as far as that is known: by the sizes in
// the manifest, which are those of compressed layers mostly.
func (c *copying) checkPull(ctx context.Context, loan *plan.Loan) error {
	i := slices.IndexFunc(c.view.Commits, func(img host.RepoCommit) bool { return img.ManifestDigest == c.Original })
	if i < 0 {
		return nil
	}
	layers := c.view.Commits[i].Manifest.Layers
	to, err := c.to.destination()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("copy %s to %s", c.Image, to.Name)
	if err := to.Damaged(what, layers, false); err != nil {
		return err
	}
	var shared inventory.Capability
	if loan != nil {
		shared = sharing(c.view.Bootc.Path(), to.Dir)
	}
	fetched, written := to.Pulled(layers, loan, shared)
	return c.checkSpace(what, demand{to.Name, to.Dir, written}, c.to.spoolNeed(ctx, fetched))
}

// checkClone refuses an export by a clone that would not fit: all its files are made
// before it is known which layers are there.
func (c *copying) checkClone() error {
	to, err := c.to.destination()
	if err != nil {
		return err
	}
	if c.Force || sharing(c.Sysroot.RepoPath(), to.Dir) != inventory.No {
		return nil
	}
	bytes, err := c.view.ExportedBytes(c.commit)
	if err != nil {
		return err
	}
	return c.checkSpace(fmt.Sprintf("export %s to %s", c.Image, to.Name), demand{to.Name, to.Dir, bytes})
}

// fromRegistry pulls the exact image.
func (c *copying) fromRegistry(ctx context.Context) (err error) {
	if c.image.Transport != host.Registry {
		return fmt.Errorf("pull %s: image is of transport %s", c.Image, c.image.Transport)
	}
	name, err := inventory.StorableName(c.image)
	if err != nil {
		return err
	}
	name.Tag, name.Digest = "", c.Original
	exact := name.String()
	c.written = append(c.written, exact)
	var loan *plan.Loan
	if c.Method != plan.ByPodman {
		loan = plan.NewLoan(c.view.Bootc, c.view.Own, c.view.Commits, c.Original)
	}
	if err := c.checkPull(ctx, loan); err != nil {
		return err
	}
	if loan != nil {
		if err := c.lend(ctx, loan); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.returnLoan(ctx, loan)) }()
	}
	if err := c.pulling(ctx, loan, func() error { return c.to.ImagePull(ctx, nil, "pull", "--", exact) }); err != nil {
		return err
	}
	if err := c.to.tag(ctx, exact, c.as); err != nil {
		return err
	}
	// It may have been pulled by its digest before.
	if own, err := c.view.Find(c.view.Own, exact); err != nil || own == nil || !slices.Contains(own.Names, exact) {
		if err := c.to.image(ctx, "untag", c.as, exact); err != nil {
			return err
		}
	}
	return c.verify(c.Original)
}

func (c *copying) fromOSTree(ctx context.Context) error {
	if c.commit == "" {
		return plan.ErrNotSuch
	}
	var exported string
	err := c.cloneOr(ctx, func() (err error) {
		if err := c.checkClone(); err != nil {
			return err
		}
		// podman makes its store itself, see OwnTransport.
		if _, err := c.to.OwnTransport(ctx, c.ownIsMade); err != nil {
			return err
		}
		exported, err = c.cloneCommit(ctx, c.commit)
		return err
	}, func() (err error) {
		exported, err = c.export(ctx, c.commit, c.as)
		return err
	})
	if err != nil {
		return err
	}
	return c.verify(exported)
}

func (c *copying) fromComposefs(ctx context.Context) error {
	if c.view.Host.Kind != host.Composefs {
		return plan.ErrNotSuch
	}
	if err := plan.BootcFinds(c.view, c.image, c.Original); err != nil {
		return err
	}
	if err := c.to.makeOwn(ctx); err != nil {
		return err
	}
	err := c.to.BootcExport(ctx, c.Image, c.as)
	if c.to.changed(); err != nil {
		return err
	}
	return c.verify()
}

// verify compares what podman's own store has under the name now with the manifest
// digests that it may have, none where only bootc can read them. A registries.conf of the host
// may have led podman elsewhere. A dry run has nothing to compare.
func (c *copying) verify(digests ...string) error {
	return c.to.Do("", func() error {
		store, err := c.to.now()
		if err == nil && store == nil {
			err = fmt.Errorf("copy image %q: %w", c.as, cstorage.ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		img, err := store.Lookup(c.as, c.shortNames)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if err := plan.Whole(store, false, img); err != nil {
			return fmt.Errorf("verify %s: %w: %w", c.as, ErrNotVerified, err)
		}
		if digests != nil && !slices.ContainsFunc(digests, img.Has) {
			return fmt.Errorf("verify %s: %w: %s instead of %s", c.as, ErrNotVerified, img.Digest, digests[0])
		}
		c.Digest = img.Digest
		if slices.Contains(img.Digests, c.Original) {
			c.Digest = c.Original
		}
		return nil
	})
}
