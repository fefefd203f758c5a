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
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
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
	Options
	Copied
	survey *inventory.Survey
	image  host.ImageReference
	target string
	// commit has the image in the ostree repository, "" on composefs hosts.
	commit string
	// before are the images of podman's own store, by ID, with their names, and written
	// the names that the copy gives.
	before  map[string][]string
	written []string
}

// CopyToStorage copies the image of a deployment to podman's own store. Podman's own
// store and the bootc-owned one may have it with its digest; what the ostree
// repository or bootc exports has another. Errors are ErrNotBooted, ErrNotFromImage,
// cstorage.ErrNotFound, ErrNoSource, ErrNotVerified and those of an export.
func CopyToStorage(ctx context.Context, o Options, choice CopyChoice) (*Copied, error) {
	if o.Host.DryRun == nil {
		unlock, err := o.lock(ctx)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	s, err := inventory.NewSurvey(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	o.reportDamage(s)
	target, err := storable(choice.Target)
	if err != nil {
		return nil, err
	}
	c := &copying{Options: o, survey: s, target: target.String(), written: []string{target.String()}}
	if c.before, err = c.ownImages(); err != nil {
		return nil, err
	}
	if err := c.find(choice.Image); err != nil {
		return nil, err
	}
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
		case choice.From != "" && try.source != choice.From:
			continue
		case choice.From == "" && try.source == plan.FromRegistry: // of this host only, as bootc does
			continue
		}
		c.Source = try.source
		err := try.copy(ctx)
		switch {
		case errors.Is(err, plan.ErrNotThere):
			refused = append(refused, fmt.Sprintf("%s: %v", c.Source, err))
			continue
		case errors.Is(err, plan.ErrNotSuch):
			continue
		case err == nil:
			err = c.nameOwn(ctx, s.Host)
		case o.Host.DryRun == nil:
			err = undo(err, c.before, c.ownImages, c.written, func(args ...string) error {
				return c.podman(context.WithoutCancel(ctx), append([]string{"image"}, args...)...)
			})
		}
		return &c.Copied, err
	}
	return nil, fmt.Errorf("copy %s, %s: %w: %s", c.Image, c.Original, plan.ErrNoSource, strings.Join(refused, "; "))
}

// find finds what is to be copied. What is booted is found by its commit, since a
// ref of its name can be older.
func (c *copying) find(image string) error {
	if image == "" {
		booted := c.survey.Host.Booted()
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
	for _, img := range c.survey.Repo {
		if img.Image == ref {
			c.Original, c.commit = img.ManifestDigest, img.Checksum
			return nil
		}
	}
	for _, d := range c.survey.Host.Deployments {
		if c.survey.Host.Kind == host.Composefs && d.Image != nil && d.Image.Image == ref {
			c.Original = d.ManifestDigest
			return nil
		}
	}
	return fmt.Errorf("find %s on this host: %w", ref, cstorage.ErrNotFound)
}

// fromDefault looks whether podman's own store has the image already, under another
// name perhaps.
func (c *copying) fromDefault(ctx context.Context) error {
	named, err := c.survey.Find(c.survey.Own, c.target)
	if named != nil && c.survey.Own.Damage(named) != nil {
		named = nil
	}
	switch {
	case err != nil:
		return err
	case named != nil && c.Original != "" && named.Is(c.Original):
		c.Digest = named.Digest
		return c.tagOwn(ctx, named.ID, c.also(named.ID)...)
	case c.survey.Own == nil:
		return plan.ErrNotThere
	}
	found := c.survey.Own.ByDigest(c.Original)
	if c.Original == "" || len(found) == 0 {
		return plan.ErrNotThere
	}
	if err := c.tagOwn(ctx, found[0].ID, append([]string{c.target}, c.also(found[0].ID)...)...); err != nil {
		return err
	}
	return c.verify(c.Original)
}

// cloneOut clones an image of the bootc-owned store, or those of its layers that are
// blobs, to podman's own.
func (c *copying) cloneOut(ctx context.Context, id string, blobs []clonejob.Blob, as string, also ...string) error {
	session, err := c.Host.Open()
	if err != nil {
		return err
	}
	own, err := storageconf.ReadDefaultStore(c.Root)
	if err != nil {
		return err
	}
	_, err = c.clone(ctx, session.Run, clonejob.Job{
		Source: clonejob.BootcStore(session.Config), Destination: clonejob.DefaultStore(own), Image: id, Blobs: blobs,
	}, as, also...)
	return err
}

// also are the names that an image has to have in podman's own store besides the target,
// for bootc to find it in the bootc store.
func (c *copying) also(id string) []string {
	names := slices.DeleteFunc(c.survey.UpgradeNames(id), func(name string) bool { return name == c.target })
	c.written = append(c.written, names...)
	return names
}

// fromBootc copies the image from the bootc-owned store, where it may be an export.
func (c *copying) fromBootc(ctx context.Context) error {
	if c.survey.Bootc == nil || c.Original == "" {
		return plan.ErrNotThere
	}
	found := c.survey.Bootc.ByDigest(c.Original)
	if named, err := c.survey.Find(c.survey.Bootc, c.image.Name); err == nil && named != nil && named.Is(c.Original) && c.survey.Bootc.Damage(named) == nil {
		found = append(found, named)
	}
	if len(found) == 0 {
		return plan.ErrNotThere
	}
	store, err := c.defaultStore(ctx)
	if err != nil {
		return err
	}
	layers, also := plan.Descriptors(c.survey.Bootc, found[0]), c.also(found[0].ID)
	err = c.cloneOr(ctx, func() error {
		if err := c.checkCopy(ctx, found[0], true); err != nil {
			return err
		}
		return c.cloneOut(ctx, found[0].ID, nil, c.target, also...)
	}, func() error {
		if err := c.checkCopy(ctx, found[0], false); err != nil {
			return err
		}
		session, err := c.Host.Open()
		if err != nil {
			return err
		}
		cmd, err := session.Podman(ctx, "image", "push", "--remove-signatures", "--", found[0].ID, "containers-storage:"+store+c.target)
		if err != nil {
			return err
		}
		cmd.Stderr = c.Stderr
		if err := c.runPush(ctx, cmd, c.target, plan.Destination{Store: c.survey.Own}.Missing(layers), session.Run); err != nil {
			return err
		}
		return c.tagOwn(ctx, found[0].ID, also...)
	})
	if err != nil {
		return err
	}
	return c.verify(found[0].Digests...)
}

// checkCopy refuses a copy that would not fit. Layers that podman's own store has are
// not counted.
func (c *copying) checkCopy(ctx context.Context, img *cstorage.Image, cloned bool) error {
	to, err := c.defaultDestination(c.survey.Own)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("copy %s to %s", c.Image, to.Name)
	if err := to.Damaged(what, plan.Descriptors(c.survey.Bootc, img), cloned); err != nil {
		return err
	}
	return c.checkSpace(what, c.copyNeeds(ctx, to, plan.Held{Store: c.survey.Bootc, Image: img}, cloned)...)
}

// checkPull refuses a pull that would not fit, as far as that is known: by the sizes in
// the manifest, which are those of compressed layers mostly.
func (c *copying) checkPull(ctx context.Context, loan *plan.Loan) error {
	for _, img := range c.survey.Commits {
		if img.ManifestDigest == c.Original {
			to, err := c.defaultDestination(c.survey.Own)
			if err != nil {
				return err
			}
			if err := to.Damaged(fmt.Sprintf("copy %s to %s", c.Image, to.Name), img.Manifest.Layers, false); err != nil {
				return err
			}
			var shared inventory.Capability
			if loan != nil {
				shared = sharing(c.survey.Bootc.Path(), to.Dir)
			}
			fetched, written := to.Pulled(img.Manifest.Layers, loan, shared)
			return c.checkSpace(fmt.Sprintf("copy %s to %s", c.Image, to.Name), demand{to.Name, to.Dir, written}, c.spoolNeed(ctx, fetched))
		}
	}
	return nil
}

// checkExport refuses an export by a clone that would not fit: all its files are made
// before it is known which layers are there.
func (c *copying) checkExport(ctx context.Context) error {
	to, err := c.defaultDestination(nil)
	if err != nil {
		return err
	}
	if c.Force || sharing(c.Sysroot.RepoPath(), to.Dir) != inventory.No {
		return nil
	}
	bytes, err := c.exportedBytes(ctx, c.commit)
	if err != nil {
		return err
	}
	return c.checkSpace(fmt.Sprintf("export %s to %s", c.Image, to.Name), demand{to.Name, to.Dir, bytes})
}

// defaultStore names podman's own store for containers-transports(5). podman is
// asked, as what it would use is its own affair, and so that it makes the store
// itself: it takes one that others made for that of an older podman.
func (c *copying) defaultStore(ctx context.Context) (string, error) {
	if c.Host.DryRun != nil && c.survey.Default == nil {
		paths, err := storageconf.DefaultStores(c.Root, c.Euid)
		if err != nil {
			return "", err
		}
		return "[" + paths[0] + "]", nil
	}
	if c.Host.DryRun != nil { // podman would lock its store to answer
		own, err := storageconf.ReadDefaultStore(c.Root)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("[%s@%s+%s]", own.Driver, own.GraphRoot, own.RunRoot), nil
	}
	cmd, err := c.Host.DefaultPodman("system", "info", "--format", "[{{.Store.GraphDriverName}}@{{.Store.GraphRoot}}+{{.Store.RunRoot}}]")
	if err != nil {
		return "", err
	}
	out, err := c.Host.Runner.Output(ctx, cmd)
	return strings.TrimSpace(string(out)), err
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
	loan := plan.NewLoan(c.survey.Bootc, c.survey.Own, c.survey.Commits, c.Original)
	if c.Method == plan.ByPodman {
		loan = nil
	}
	if err := c.checkPull(ctx, loan); err != nil {
		return err
	}
	isPruned := func() bool { return false }
	if loan != nil {
		lentIsThere := func() (bool, error) { return c.ownHas(loan.ID()) }
		switch lent := c.cloneOut(ctx, loan.Image, loan.Blobs, ""); {
		case lent == nil:
			isPruned = func() bool {
				there, err := lentIsThere()
				return err == nil && !there
			}
			defer func() {
				err = errors.Join(err, returnLoan(lentIsThere, func() error { return c.removeOwn(context.WithoutCancel(ctx), loan.ID()) }))
			}()
		default:
			c.Events.NotLent(lent)
		}
	}
	commands := [][]string{{"pull", "--", exact}, {"tag", exact, c.target}}
	// Somebody may have pulled it by its digest before.
	if own, err := c.survey.Find(c.survey.Own, exact); err != nil || own == nil || !slices.Contains(own.Names, exact) {
		commands = append(commands, []string{"untag", c.target, exact})
	}
	for i, args := range commands {
		err := c.podman(ctx, append([]string{"image"}, args...)...)
		if err != nil && i == 0 && ctx.Err() == nil && isPruned() {
			c.Events.NotLent(errPruned)
			err = c.podman(ctx, append([]string{"image"}, args...)...)
		}
		if err != nil {
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
		if err := c.checkExport(ctx); err != nil {
			return err
		}
		exported, err = c.cloneCommitOut(ctx)
		return err
	}, func() error {
		into, err := c.defaultDestination(c.survey.Own)
		if err != nil {
			return err
		}
		exported, err = c.export(ctx, c.commit, c.target, into, func(args, env []string) error { return c.podmanEnv(ctx, env, args...) })
		return err
	})
	if err != nil {
		return err
	}
	return c.verify(exported)
}

// cloneCommitOut makes the image in podman's own store of the files in the ostree
// repository.
func (c *copying) cloneCommitOut(ctx context.Context) (digest string, err error) {
	own, err := storageconf.ReadDefaultStore(c.Root)
	if err != nil {
		return "", err
	}
	// podman makes its store itself, see defaultStore.
	if _, err := c.defaultStore(ctx); err != nil {
		return "", err
	}
	return c.cloneCommit(ctx, c.plainly, c.commit, clonejob.DefaultStore(own), c.target)
}

func (c *copying) fromComposefs(ctx context.Context) error {
	if c.survey.Host.Kind != host.Composefs {
		return plan.ErrNotSuch
	}
	if err := plan.BootcFinds(&plan.View{Survey: c.survey}, c.image, c.Original); err != nil {
		return err
	}
	if err := c.initDefaultStore(ctx); err != nil {
		return err
	}
	if err := c.bootcExport(ctx, c.Image, strings.TrimSuffix(c.target, ":latest")); err != nil {
		return err
	}
	return c.verify()
}

// podman runs plain podman.
func (c *copying) podman(ctx context.Context, args ...string) error {
	return c.podmanEnv(ctx, nil, args...)
}

func (c *copying) podmanEnv(ctx context.Context, env []string, args ...string) error {
	cmd, err := c.ownPodman(args...)
	if err != nil {
		return err
	}
	cmd.Env, cmd.Stderr = append(cmd.Env, env...), c.Stderr
	return c.runPlain(ctx, cmd, env...)
}

// ownImages are the IDs of the images of podman's own store, with their names.
func (c *copying) ownImages() (map[string][]string, error) {
	store, problems := inventory.OpenOwnStore(c.Root, c.Euid)
	if store == nil {
		return nil, errors.Join(problems...)
	}
	defer store.Close()
	return namesByID(store), store.Err()
}

// verify compares what podman's own store has under the name now with the manifest
// digests that it may have, none where only bootc knows them. A registries.conf of the host
// may have led podman elsewhere.
func (c *copying) verify(digests ...string) error {
	if c.Host.DryRun != nil {
		return nil
	}
	store, img, err := c.inStore(inventory.OpenOwnStore, c.target)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer store.Close()
	if err := plan.Whole(store, false, img); err != nil {
		return fmt.Errorf("verify %s: %w: %w", c.target, ErrNotVerified, err)
	}
	if digests != nil && !slices.ContainsFunc(digests, img.Has) {
		return fmt.Errorf("verify %s: %w: %s instead of %s", c.target, ErrNotVerified, img.Digest, digests[0])
	}
	c.Digest = img.Digest
	if slices.Contains(img.Digests, c.Original) {
		c.Digest = c.Original
	}
	return nil
}
