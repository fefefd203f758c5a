// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/images"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Options say for which host images are moved, and by which means.
type Options struct {
	images.Options
	// Host runs podman. Its environment, user and sysroot are those of Options.
	Host wrapper.Host
	// Dir is a directory for a lock and for short-lived files, /run/bootc-podman.
	Dir string
	// Stderr gets what podman says while it works, Progress how far it is.
	Stderr   io.Writer
	Progress *progress.Reporter
	// NoWait fails rather than wait for another transfer; Waiting is called before
	// waiting for one.
	NoWait  bool
	Waiting func()
	// Missed is called before the next source is tried, with why the one of the plan
	// did not do.
	Missed func(p *Plan, why error)
	// Force does without the check of free space.
	Force bool
}

var (
	// ErrBusy says that another transfer is at work.
	ErrBusy = errors.New("another transfer is at work")
	// ErrNoSpace says that an image would not fit.
	ErrNoSpace = errors.New("not enough free space")
	// ErrNotVerified says that an image is not what it was to be.
	ErrNotVerified = errors.New("not what was to be there")
)

// PlanUnified plans what SetUnified would do, and changes nothing.
func PlanUnified(ctx context.Context, o Options, choice Choice) (*Plan, error) {
	s, err := images.NewSurvey(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return NewPlan(s, choice)
}

// SetUnified brings the booted image into the bootc-owned store, so that bootc
// upgrades through it, and returns what was done. It can be repeated, and a run
// after one that was killed completes it. Errors are those of NewPlan, ErrBusy,
// ErrNoSpace, ErrNotVerified, and those of podman.
func SetUnified(ctx context.Context, o Options, choice Choice) (*Plan, error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for {
		p, err := PlanUnified(ctx, o, choice)
		if err != nil || p.Method == Nothing {
			return p, err
		}
		if p.Write != nil && uint64(*p.Write) > p.Available && !o.Force {
			return p, fmt.Errorf("copy %s: %w: %d bytes needed, %d available", p.Name, ErrNoSpace, *p.Write, p.Available)
		}
		before, err := o.imageIDs()
		if err != nil {
			return p, err
		}
		err = o.run(ctx, p, before)
		// A registry may be out of reach, or not have the exact image any more; and
		// podman's own store may be another with options that we do not know.
		if exit := new(wrapper.ExitError); errors.As(err, &exit) && p.Source != FromOSTree && choice.From == "" && ctx.Err() == nil {
			o.Missed(p, err)
			choice.Without = append(choice.Without, p.Source)
			continue
		}
		return p, err
	}
}

// run takes the steps of a plan. before are the images that were there.
func (o Options) run(ctx context.Context, p *Plan, before []string) error {
	session, err := o.Host.Open()
	if err != nil {
		return err
	}
	defer session.Close()
	job := o.Progress.Sequence(progress.Task{
		Name: "unifying", Description: "Bringing " + p.Name + " into the bootc-owned store", ID: p.Digest, Steps: int64(len(p.Steps)),
	})
	defer job.Stop()
	for _, step := range p.Steps {
		part := job.Start(progress.Subtask{Name: string(step.Name), Description: step.Description, ID: string(step.Name)})
		if err := o.take(ctx, session, p, step.Name, before); err != nil {
			return err
		}
		part.Done()
	}
	job.Done()
	return nil
}

func (o Options) take(ctx context.Context, session *wrapper.Session, p *Plan, step StepName, before []string) error {
	podman := func(env []string, args ...string) error {
		cmd, err := session.Podman(ctx, append([]string{"image"}, args...)...)
		if err != nil {
			return err
		}
		cmd.Env, cmd.Stderr = append(cmd.Env, env...), o.Stderr
		remove, err := o.spool(&cmd)
		if err != nil {
			return err
		}
		defer remove()
		return session.Run(ctx, cmd)
	}
	switch step {
	case StepTag:
		return podman(nil, "tag", p.Take, p.Name)
	case StepUntag:
		return podman(nil, "untag", p.Name, p.Take)
	case StepCopy:
		return o.push(ctx, session, p.Take, p.Name)
	case StepPull:
		return podman(nil, "pull", "--", p.Take)
	case StepExport:
		_, err := o.export(ctx, p.commit, p.stored.String(), filepath.Join(session.Store.Sysroot, session.Store.Physical), func(args, env []string) error { return podman(env, args...) })
		return err
	case StepVerify:
		return o.verify(ctx, session, p, before)
	}
	return fmt.Errorf("take step %q: %w", step, errors.ErrUnsupported)
}

// PullFromDefault copies images from podman's own store to the bootc-owned one,
// as bootc image pull-from-default-storage does.
func PullFromDefault(ctx context.Context, o Options, names []string) error {
	if o.Host.DryRun == nil {
		unlock, err := o.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	store, problems := images.OpenDefaultStore(o.Root, o.Euid)
	if store == nil {
		return errors.Join(append(problems, fmt.Errorf("copy image %q: %w", names[0], images.ErrNotFound))...)
	}
	defer store.Close()
	session, err := o.Host.Open()
	if err != nil {
		return err
	}
	defer session.Close()
	for _, name := range names {
		img, err := store.Lookup(name, func() (images.ShortNames, error) { return images.ReadShortNames(o.Root) })
		if err != nil {
			return err
		}
		as, err := nameOf(img, name)
		if err != nil {
			return err
		}
		if err := o.push(ctx, session, as, as); err != nil {
			return err
		}
	}
	return nil
}

// nameOf is the name of img that was meant by a name which may be short, or by an
// ID.
func nameOf(img *images.StoreImage, meant string) (string, error) {
	short, _, _ := strings.Cut(meant, "@")
	var found string
	for _, name := range img.Names {
		switch {
		case strings.Contains(name, "@"): // no name to copy to
		case name == short || strings.HasSuffix(name, "/"+short) || strings.HasSuffix(name, "/"+short+":latest") || name == short+":latest":
			return name, nil
		case found == "":
			found = name
		}
	}
	if found == "" {
		return "", fmt.Errorf("copy image %q: it has no name with a tag", meant)
	}
	return found, nil
}

// push copies an image of podman's own store to the bootc-owned one, in the words
// of bootc (crates/lib/src/podstorage.rs).
func (o Options) push(ctx context.Context, session *wrapper.Session, name, as string) error {
	to := fmt.Sprintf("containers-storage:[%s@%s+%s]%s", session.Config.Driver, storageconf.GraphRoot, storageconf.RunRoot, as)
	cmd, err := o.Host.DefaultPodman("image", "push", "--remove-signatures", "--", name, to)
	if err != nil {
		return err
	}
	cmd.Stderr = o.Stderr
	if o.Host.DryRun == nil {
		remove, err := o.spool(&cmd)
		if err != nil {
			return err
		}
		defer remove()
	}
	return session.Run(ctx, cmd)
}

// CopyToStorage copies an image of the ostree repository, the booted one if source
// is "", to podman's own store under the name target. It returns what was copied,
// and the manifest digest it has there, which is another than it was fetched with:
// the layers were not kept as they came.
func CopyToStorage(ctx context.Context, o Options, source, target string) (from, digest string, err error) {
	unlock, err := o.lock(ctx)
	if err != nil {
		return "", "", err
	}
	defer unlock()
	s, err := images.NewSurvey(ctx, o.Options)
	if err != nil {
		return "", "", err
	}
	defer s.Close()
	commit, from, err := findCommit(s, source)
	if err != nil {
		return "", "", err
	}
	into, err := storageconf.DefaultStores(o.Root, o.Euid)
	if err != nil {
		return from, "", err
	}
	exported, err := o.export(ctx, commit, target, into[0], func(args, env []string) error {
		cmd, err := o.Host.DefaultPodman(args...)
		if err != nil {
			return err
		}
		cmd.Env, cmd.Stderr = append(cmd.Env, env...), o.Stderr
		remove, err := o.spool(&cmd)
		if err != nil {
			return err
		}
		defer remove()
		return o.Host.Runner.Run(ctx, cmd)
	})
	if err != nil {
		return from, "", err
	}
	store, problems := images.OpenDefaultStore(o.Root, o.Euid)
	if store == nil {
		return from, "", errors.Join(problems...)
	}
	defer store.Close()
	img, err := store.Lookup(target, func() (images.ShortNames, error) { return images.ReadShortNames(o.Root) })
	if err != nil {
		return from, "", err
	}
	// A registries.conf of the host may have led podman elsewhere.
	if img.Digest != exported {
		return from, "", fmt.Errorf("verify %s: %w: %s instead of %s", target, ErrNotVerified, img.Digest, exported)
	}
	return from, img.Digest, nil
}

// findCommit finds the commit of an image in the ostree repository. What is booted
// is found by its commit, since a ref of its name can be older.
func findCommit(s *images.Survey, source string) (commit, name string, err error) {
	if source == "" {
		booted := s.Host.Booted()
		switch {
		case s.Host.Kind == host.Composefs:
			return "", "", ErrComposefs
		case booted == nil:
			return "", "", ErrNotBooted
		case booted.Image == nil:
			return "", "", fmt.Errorf("copy deployment %s: %w", booted.ID(), ErrNotFromImage)
		}
		return booted.Commit, booted.Image.Image.String(), nil
	}
	ref, err := host.ParseImageReference(source)
	if err != nil {
		return "", "", err
	}
	for _, img := range s.Repo {
		if img.Image == ref {
			return img.Checksum, ref.String(), nil
		}
	}
	return "", "", fmt.Errorf("find %s in the ostree repository: %w", ref, images.ErrNotFound)
}

// export serves the image of a commit in the ostree repository under a name, and
// calls pull with what podman has to be told to pull it into a store in the directory
// into. It returns the manifest digest that the image has then.
func (o Options) export(ctx context.Context, commit, name, into string, pull func(args, env []string) error) (string, error) {
	repo, err := o.Sysroot.OpenRepo(o.Runner, o.Env)
	if err != nil {
		return "", err
	}
	defer repo.Close()
	image, err := repo.Commit(ctx, commit)
	if err != nil {
		return "", err
	}
	reading := o.Progress.Transfer(progress.Task{Name: "reading", Description: "Reading " + name, ID: image.ManifestDigest})
	defer reading.Stop()
	export, err := NewExport(ctx, repo, image, layerProgress(reading, nil))
	if err != nil {
		return "", err
	}
	reading.Done()
	for _, dir := range []string{into, o.spoolDir()} {
		if err := o.checkSpace(dir, export.Size); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp(o.Dir, exportDirs)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // else the next transfer does
	exporting := o.Progress.Transfer(progress.Task{
		Name: "exporting", Description: "Exporting " + name, ID: image.ManifestDigest,
		Bytes: export.Size, Steps: int64(len(export.Layers)),
	})
	defer exporting.Stop()
	registry, err := export.Serve(ctx, dir, name, layerProgress(exporting, export.Layers))
	if err != nil {
		return "", err
	}
	if err = pull(registry.PullCmd()); err == nil {
		exporting.Done()
	}
	// Where the registry failed, podman knows only that it ended.
	if served := registry.Close(); served != nil {
		return "", served
	}
	return export.ManifestDigest, err
}

// layerProgress tells a job how far its layers are; where these are not known yet,
// their sizes are not either.
func layerProgress(job *progress.Job, layers []Layer) Progress {
	parts := map[int]*progress.Part{}
	return func(i int, n int64) {
		part := parts[i]
		if part == nil {
			sub := progress.Subtask{Name: "layer", Description: fmt.Sprintf("layer %d", i+1), ID: strconv.Itoa(i)}
			if i < len(layers) {
				sub.ID, sub.Bytes = layers[i].Digest, layers[i].Size
			}
			part = job.Start(sub)
			parts[i] = part
		}
		part.Set(n)
		if i < len(layers) && n == layers[i].Size {
			part.Done()
		}
	}
}

// verify looks at what is there now and, if that is not what a plan says, removes
// what was not there before.
func (o Options) verify(ctx context.Context, session *wrapper.Session, p *Plan, before []string) error {
	s, err := images.NewSurvey(ctx, o.Options)
	if err != nil {
		return err
	}
	defer s.Close()
	img, err := s.Find(s.Bootc, p.Name)
	switch {
	case err != nil:
		return fmt.Errorf("verify %s: %w", p.Name, err)
	case img != nil && (img.Is(p.Digest) || p.Take == p.Name && !p.Exact):
		return nil
	}
	found := "nothing"
	if img != nil {
		found = img.Digest
	}
	failed := fmt.Errorf("verify %s: %w: %s instead of %s", p.Name, ErrNotVerified, found, p.Digest)
	if img == nil || slices.Contains(before, img.ID) {
		return failed
	}
	undo := [][]string{{"image", "rm", "--force", img.ID}}
	if p.Replaces != "" {
		undo = append(undo, []string{"image", "tag", p.Replaces, p.Name})
	}
	for _, args := range undo {
		cmd, err := session.Podman(ctx, args...)
		if err == nil {
			err = session.Run(ctx, cmd)
		}
		if err != nil {
			return fmt.Errorf("%w; undo: %w", failed, err)
		}
	}
	return failed
}

// imageIDs lists the images of the bootc-owned store.
func (o Options) imageIDs() (ids []string, err error) {
	located, err := storageconf.Locate(o.Sysroot.Dir)
	if err != nil {
		return nil, err
	}
	store, problems := images.OpenBootcStore(located, o.Root)
	if store == nil {
		return nil, errors.Join(problems...)
	}
	defer store.Close()
	for _, img := range store.Images {
		ids = append(ids, img.ID)
	}
	return ids, nil
}
