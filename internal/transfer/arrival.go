// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/export"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
)

// arrival is an image on its way into one of the two stores of a host.
type arrival struct {
	*Options
	*places
	// to gets the image, from is the other store.
	to, from *place
	// what names the image in messages, as in the store; also are more names there.
	what, as string
	also     []string
	// lent reports that layers of a loan were cloned.
	lent bool
}

// podmanMayCopy reports whether a copy with podman can succeed after this failure of a
// clone: an archive that podman makes has what the tar-split file says, and podman reads
// a source that changes under its own locks. A full disk stays full, and podman trusts
// the records of a damaged destination.
func podmanMayCopy(err error) bool {
	for _, can := range []error{clonejob.ErrUnsupported, clonejob.ErrChanged, clonejob.ErrNotVerified, fs.ErrNotExist} {
		if errors.Is(err, can) {
			return !errors.Is(err, clonejob.ErrDamaged) && !errors.Is(err, clonejob.ErrNoSpace)
		}
	}
	return false
}

// nextMayCopy reports whether another source may have an image that could not be made of the
// layers of one: that may be gone, and an export has other layers than those that are damaged.
func nextMayCopy(err error) bool {
	return podmanMayCopy(err) || errors.Is(err, clonejob.ErrNotFound) || errors.Is(err, clonejob.ErrDamaged) || errors.As(err, new(*plan.DamagedError))
}

// cloneOr clones, or has podman copy, as o.Method says.
func (o *Options) cloneOr(ctx context.Context, clone, podman func() error) error {
	if o.Method == plan.ByPodman {
		return podman()
	}
	err := clone()
	if o.Method != plan.Clone && ctx.Err() == nil && podmanMayCopy(err) {
		o.Events.Fallback(err)
		return podman()
	}
	return err
}

// copy copies an image of the other store: by cloning it, or with podman where that
// cannot be.
func (a *arrival) copy(ctx context.Context, from plan.Held) error {
	// Before anything else, as podman makes its own store itself.
	var own string
	if !a.to.bootc {
		var err error
		if own, err = a.to.OwnTransport(ctx, a.ownIsMade); err != nil {
			return err
		}
	}
	return a.cloneOr(ctx, func() error {
		if _, err := a.check(ctx, from, true); err != nil {
			return err
		}
		return a.cloneLayers(ctx, from.Image.ID, nil, append([]string{a.as}, a.also...)...)
	}, func() error {
		if strings.Contains(a.as, "@") {
			return fmt.Errorf("copy %s: podman copies to no name with a digest, only a clone does", a.as)
		}
		bytes, err := a.check(ctx, from, false)
		if err == nil {
			err = a.openBootc()
		}
		if err != nil {
			return err
		}
		defer a.to.changed()
		if a.to.bootc {
			return a.to.PushIn(ctx, from.Name, a.as, bytes)
		}
		if err := a.from.PushOut(ctx, from.Image.ID, own, a.as, bytes); err != nil {
			return err
		}
		return a.to.tag(ctx, from.Image.ID, a.also...)
	})
}

// check refuses a copy that would not fit, or share a damaged layer. bytes are those of
// the layers that the store does not have.
func (a *arrival) check(ctx context.Context, from plan.Held, cloned bool) (bytes int64, err error) {
	to, err := a.to.destination()
	if err != nil {
		return 0, err
	}
	layers := plan.Descriptors(from.Store, from.Image)
	var without []string
	if a.to.bootc && a.dryRun() { // it would be removed before
		without = []string{from.Image.ID}
	}
	what := fmt.Sprintf("copy %s to %s", a.what, to.Name)
	if err := to.Damaged(what, layers, cloned, without...); err != nil {
		return 0, err
	}
	needs := []demand{{to.Name, to.Dir, to.Written(from, sharing, nil)}}
	if !cloned {
		needs = a.podmanNeeds(ctx, to, layers)
	}
	return to.Missing(layers), a.checkSpace(what, needs...)
}

// cloneLayers clones an image of the other store, or those of its layers that are blobs.
func (a *arrival) cloneLayers(ctx context.Context, id string, blobs []clonejob.Blob, names ...string) error {
	if err := a.openBootc(); err != nil {
		return err
	}
	source, err := a.from.endpoint()
	if err != nil {
		return err
	}
	_, err = a.clone(ctx, a.bootc, clonejob.Job{Source: source, Image: id, Blobs: blobs}, names...)
	return err
}

// assemble makes the image of layers that another image of a store has.
func (a *arrival) assemble(ctx context.Context, from *place, as *plan.Assembly) error {
	to, err := a.to.destination()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("copy %s to %s", a.what, to.Name)
	if err := to.Damaged(what, as.Layers, true); err != nil {
		return err
	}
	held, err := from.destination()
	if err != nil {
		return err
	}
	if from != a.to && sharing(held.Dir, to.Dir) == inventory.No {
		if err := a.checkSpace(what, demand{to.Name, to.Dir, to.Missing(as.Layers)}); err != nil {
			return err
		}
	}
	in := a.to
	if from != a.to {
		in = a.bootc
		if err := a.openBootc(); err != nil {
			return err
		}
	}
	source, err := from.endpoint()
	if err != nil {
		return err
	}
	_, err = a.clone(ctx, in, clonejob.Job{Source: source, Image: as.Image, Blobs: as.Blobs, Documents: &as.Documents}, append([]string{a.as}, a.also...)...)
	return err
}

// cloneCommit makes the image of a commit in the ostree repository from the repository's
// files, and returns its manifest digest.
func (a *arrival) cloneCommit(ctx context.Context, commit string) (digest string, err error) {
	result, err := a.clone(ctx, a.to, clonejob.Job{OSTree: &clonejob.OSTree{Sysroot: a.Sysroot.Dir, Commit: commit}}, a.as)
	if err != nil || len(result.Digests) == 0 {
		return "", err
	}
	return result.Digests[0], nil
}

// clone does a job where a store is mounted. The image gets names, of which none need be
// complete, or none.
func (a *arrival) clone(ctx context.Context, in *place, job clonejob.Job, names ...string) (*clonejob.Result, error) {
	program, err := clonejob.FindProgram(a.Host.Self)
	if err == nil {
		job.Destination, err = a.to.endpoint()
	}
	if err != nil {
		return nil, err
	}
	job.Names, job.Verify = []string{}, cmp.Or(a.Verify, clonejob.VerifyMetadata)
	what := fmt.Sprintf("%.12s", job.Image)
	if len(names) > 0 {
		name, err := inventory.StorableName(host.ImageReference{Transport: host.ContainersStorage, Name: names[0]})
		if err != nil {
			return nil, err
		}
		what = name.String()
		job.Names = append([]string{what}, names[1:]...)
	}
	if a.dryRun() {
		return &clonejob.Result{}, a.explainClone(ctx, in, program, job)
	}
	defer a.to.changed()
	task := a.Progress.Transfer(progress.Task{Name: "cloning", Description: "Cloning " + what, ID: what})
	defer task.Stop()
	result, err := clonejob.Run(ctx, in.RunPrivate, program, job, a.Stderr, cloneProgress(task))
	if err != nil {
		return nil, fmt.Errorf("clone %s: %w", what, a.to.full(err))
	}
	task.Done()
	return result, nil
}

// cloneProgress reports to a job how far the layers of a clone are. What there is to do is
// known once all layers were reported, each with its size.
func cloneProgress(job *progress.Job) func(clonejob.Answer) {
	parts, sizes := map[int]*progress.Part{}, map[int]int64{}
	return func(answer clonejob.Answer) {
		p := answer.Progress
		if p == nil {
			return
		}
		if p.Size > 0 && sizes[p.Layer] != p.Size {
			sizes[p.Layer] = p.Size
			total := int64(0)
			for _, size := range sizes {
				total += size
			}
			if len(sizes) == p.Layers {
				job.SetTotal(int64(p.Layers), total)
			}
		}
		part := parts[p.Layer]
		switch {
		case part == nil && p.Files == 0 && !p.Done:
			return
		case part == nil:
			part = job.Start(progress.Subtask{
				Name: "layer", Description: fmt.Sprintf("layer %d of %d", p.Layer+1, p.Layers),
				ID: cmp.Or(p.DiffID, strconv.Itoa(p.Layer)), Bytes: p.Size,
			})
			parts[p.Layer] = part
		}
		if part.Set(p.Bytes); p.Done {
			part.SetTotal(p.Size)
			part.Set(p.Size)
			part.Done()
		}
	}
}

// lend clones the layers of a loan. A failure is reported only: podman fetches more then.
func (a *arrival) lend(ctx context.Context, loan *plan.Loan) error {
	err := a.cloneLayers(ctx, loan.Image, loan.Blobs)
	if err != nil && ctx.Err() == nil {
		a.Events.NotLent(err)
		return nil
	}
	a.lent = err == nil
	return err
}

// errPruned is why layers that were lent are not used.
var errPruned = errors.New("another process removed the image that has them, as podman image prune does")

// pulling pulls an image with the layers of a loan, and again if another process removed
// them: an image without a name is removed by "podman image prune", and a pull that
// relies on its layers fails then.
func (a *arrival) pulling(ctx context.Context, loan *plan.Loan, pull func() error) error {
	err := pull()
	a.to.changed()
	if err == nil || ctx.Err() != nil || !a.lent {
		return err
	}
	if there, readErr := a.to.has(loan.ID()); there || readErr != nil {
		return err
	}
	a.Events.NotLent(errPruned)
	defer a.to.changed()
	return pull()
}

// returnLoan removes what was lent, unless another process did.
func (a *arrival) returnLoan(ctx context.Context, loan *plan.Loan) error {
	there, err := a.to.has(loan.ID())
	if !a.dryRun() && (err != nil || !there) {
		return err
	}
	if err = a.to.image(context.WithoutCancel(ctx), "rm", "--", loan.ID()); err != nil {
		if there, _ := a.to.has(loan.ID()); !there {
			return nil
		}
	}
	return err
}

// exportDir is the directory of the only export at a time.
const exportDir = "export"

// export has the private program serve the image of a commit in the ostree repository, and
// podman pull it under a name. original is its manifest digest; export returns the one that
// it has then.
func (a *arrival) export(ctx context.Context, commit, original, name string) (digest string, err error) {
	if a.dryRun() {
		return "", a.explainExport(ctx, commit, name)
	}
	named, err := cstorage.ParseName(name)
	if err == nil && named.Tag == "" {
		err = fmt.Errorf("podman pulls nothing as %q", name)
	}
	if err != nil {
		return "", fmt.Errorf("serve image: %w", err)
	}
	password := base64.StdEncoding.EncodeToString([]byte("bootc-podman:" + rand.Text()))
	reading := a.Progress.Transfer(progress.Task{Name: "reading", Description: "Reading " + name, ID: original})
	defer reading.Stop()
	serving, end, err := a.serve(ctx, clonejob.Job{
		OSTree:   &clonejob.OSTree{Sysroot: a.Sysroot.Dir, Commit: commit},
		Registry: &clonejob.Registry{Tag: named.Tag, Password: password}, Verify: clonejob.VerifyNone,
	}, layerProgress(reading, nil))
	if err != nil {
		return "", err
	}
	defer func() { _ = end() }() // of the first call
	reading.Done()
	bytes, err := a.checkExport(ctx, name, serving.Layers)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(a.Dir, exportDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // else the next transfer does
	if err := export.WriteAccess(dir, named, serving.Address, password); err != nil {
		return "", fmt.Errorf("serve image: %w", err)
	}
	exporting := a.Progress.Transfer(progress.Task{
		Name: "exporting", Description: "Exporting " + name, ID: serving.ManifestDigest, Bytes: bytes, Steps: int64(len(serving.Layers)),
	})
	defer exporting.Stop()
	serving.show <- layerProgress(exporting, serving.Layers)
	args, env := export.PullCommand(dir, name)
	if err = a.to.ImagePull(ctx, env, args...); err == nil {
		exporting.Done()
	}
	a.to.changed()
	// Where the registry failed, podman's own error is only that the answer ended.
	switch served := end(); {
	case ctx.Err() != nil:
		return "", fmt.Errorf("export %s: %w", name, context.Cause(ctx))
	case served != nil:
		return "", served
	}
	return serving.ManifestDigest, err
}

// serving is a registry that was started.
type serving struct {
	clonejob.Serving
	// show gets what is called with the progress of what podman reads.
	show chan func(layer int, bytes int64)
}

// serve starts a registry. reading is called with how far layers are until it listens. end
// stops the registry, and returns why it failed.
func (a *arrival) serve(ctx context.Context, job clonejob.Job, reading func(layer int, bytes int64)) (s *serving, end func() error, err error) {
	program, err := clonejob.FindProgram(a.Host.Self)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s = &serving{show: make(chan func(int, int64), 1)}
	listening, ended := make(chan bool), make(chan error, 1)
	go func() {
		_, err := clonejob.Run(ctx, a.to.RunPrivate, program, job, a.Stderr, func(answer clonejob.Answer) {
			switch {
			case answer.Serving != nil:
				s.Serving = *answer.Serving
				listening <- true
				reading = <-s.show
			case answer.Progress != nil && reading != nil:
				reading(answer.Progress.Layer, answer.Progress.Bytes)
			}
		})
		ended <- err
	}()
	select {
	case <-listening:
	case err := <-ended:
		stop()
		return nil, nil, err
	}
	return s, sync.OnceValue(func() error {
		close(s.show)
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}), nil
}

// checkExport refuses an export by podman that would not fit, or share a damaged layer. It
// returns the size of all layers.
func (a *arrival) checkExport(ctx context.Context, name string, blobs []clonejob.Blob) (bytes int64, err error) {
	to, err := a.to.destination()
	if err != nil {
		return 0, err
	}
	layers := make([]host.Descriptor, len(blobs))
	for i, l := range blobs {
		layers[i] = host.Descriptor{Digest: l.Digest, Size: l.Size}
		bytes += l.Size
	}
	what := fmt.Sprintf("export %s to %s", name, to.Name)
	if err := to.Damaged(what, layers, false); err != nil {
		return 0, err
	}
	return bytes, a.checkSpace(what, a.podmanNeeds(ctx, to, layers)...)
}

// layerProgress reports to a job how far its layers are; where these are not known yet,
// their sizes are not either.
func layerProgress(job *progress.Job, layers []clonejob.Blob) func(layer int, bytes int64) {
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
