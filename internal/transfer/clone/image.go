// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Image does a job. progress, if not nil, is called from one goroutine at a time.
//
// All layers that the destination lacks are made in its staging directory first, and
// are durable before the first of them is put in place; the image's record comes last.
// From the first to that nobody is asked whether to go on, and an error takes the
// layers back. A process that is killed leaves staging directories, which the next one
// removes, and, within that moment, whole layers without an image: a later run finds
// and shares them, but until then nobody removes them.
//
// What failed as layers were removed meanwhile is done once more, from the start.
//
// Errors are those of package clonejob, and those of the storage library.
func Image(ctx context.Context, job clonejob.Job, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	result, err := twice(func() (*clonejob.Result, error) { return copyImage(ctx, job, progress) })
	if err != nil {
		return nil, fmt.Errorf("clone image %.12s: %w", job.Image, err)
	}
	return result, nil
}

// twice does once more what failed as something was removed meanwhile.
func twice(do func() (*clonejob.Result, error)) (*clonejob.Result, error) {
	result, err := do()
	if err = meanwhile(err); errors.Is(err, clonejob.ErrChanged) {
		result, err = do()
		err = meanwhile(err)
	}
	return result, err
}

func copyImage(ctx context.Context, job clonejob.Job, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	if job.Source.GraphRoot == job.Destination.GraphRoot {
		return nil, unsupported("source and destination are the same store")
	}
	from, err := open(ctx, job.Source, true)
	if err != nil {
		return nil, err
	}
	defer from.Free()
	src, err := readSource(from, job.Image)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	if job.Verify != clonejob.VerifyNone {
		if err := src.verifyMetadata(); err != nil {
			return nil, fmt.Errorf("verify source: %w", err)
		}
	}
	if src, err = src.lowest(job.Blobs); err != nil {
		return nil, err
	}
	dst, err := openDestination(ctx, job)
	if err != nil {
		return nil, err
	}
	defer dst.Free()
	plan, err := dst.plan(src)
	if err != nil {
		return nil, err
	}
	c := newCloning(job, dst, plan, progress)
	defer c.cleanup()
	if err := c.stage(ctx, src); err != nil {
		return nil, err
	}
	if err := c.commit(ctx, src, job.Names); err != nil {
		return nil, err
	}
	return c.result(src), nil
}

// destination is the store that gets the image.
type destination struct {
	storage.Store
	driver drivers.DriverWithDiffer
	layers string
}

func openDestination(ctx context.Context, job clonejob.Job) (*destination, error) {
	store, err := open(ctx, job.Destination, false)
	if err != nil {
		return nil, err
	}
	graphDriver, err := store.GraphDriver()
	if err != nil {
		return nil, err
	}
	driver, ok := graphDriver.(drivers.DriverWithDiffer)
	if !ok {
		return nil, unsupported("its driver %T stages no layers", graphDriver)
	}
	d := &destination{Store: store, driver: driver, layers: layersDir(job.Destination.GraphRoot)}
	if err := prune(filepath.Join(job.Destination.GraphRoot, "overlay/staging")); err != nil {
		return nil, fmt.Errorf("clean up: %w", err)
	}
	return d, nil
}

// planned is a layer of the image as it will be in the destination.
type planned struct {
	from *sourceLayer
	// id and parent are those in the destination; there tells that it has the layer.
	id, parent string
	there      bool

	counts counts
	output *drivers.DriverWithDifferOutput
}

// plan finds the layers that the destination has: those with the same archives upon
// the same layers. The others get the IDs that podman gives to the layers it pulls.
func (d *destination) plan(src *source) ([]*planned, error) {
	if plan, err := d.planOfImage(src); plan != nil || err != nil {
		return plan, err
	}
	layers, err := d.Layers()
	if err != nil {
		return nil, err
	}
	byID, children := map[string]*storage.Layer{}, map[string][]*storage.Layer{}
	for i := range layers {
		l := &layers[i]
		byID[l.ID] = l
		children[l.Parent] = append(children[l.Parent], l)
	}
	var plan []*planned
	parent := ""
	for _, from := range src.layers {
		p := &planned{from: from, parent: parent, id: layerID(parent, from.UncompressedDigest)}
		same := func(l *storage.Layer) bool {
			return l != nil && l.Parent == parent && l.UncompressedDigest == from.UncompressedDigest &&
				len(l.UIDMap) == 0 && len(l.GIDMap) == 0 && l.MountLabel == ""
		}
		if same(byID[p.id]) {
			p.there = true
		} else {
			for _, l := range children[parent] {
				if same(l) { // made by a build, which gives any ID
					p.id, p.there = l.ID, true
					break
				}
			}
			if other := byID[p.id]; !p.there && other != nil {
				return nil, unsupported("the destination has another layer of the ID %s", p.id)
			}
		}
		plan = append(plan, p)
		parent = p.id
	}
	return plan, nil
}

// planOfImage is the plan when the destination has the image, nil when it has not.
func (d *destination) planOfImage(src *source) (plan []*planned, err error) {
	image, err := d.Image(src.image.ID)
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	layers, err := chain(d.Store, image.TopLayer)
	if err != nil {
		return nil, err
	}
	if len(layers) != len(src.layers) {
		return nil, unsupported("the destination has the image with other layers")
	}
	plan = []*planned{}
	for i, from := range src.layers {
		if layers[i].UncompressedDigest != from.UncompressedDigest {
			return nil, unsupported("the destination has the image with other layers")
		}
		plan = append(plan, &planned{from: from, parent: layers[i].Parent, id: layers[i].ID, there: true})
	}
	return plan, nil
}

// layerID is the ID that podman gives a layer which it pulls: so a pull finds ours.
func layerID(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	return digest.SHA256.FromString(parent + "+" + diffID.Encoded()).Encoded()
}

// record makes the image's record, or adds to the one that is there.
func (d *destination) record(src *source, plan []*planned, names []string) error {
	top := ""
	if len(plan) > 0 {
		top = plan[len(plan)-1].id
	}
	_, err := d.CreateImage(src.image.ID, nil, top, src.metadata, &storage.ImageOptions{
		CreationDate: src.image.Created,
		Digest:       src.image.Digest,
		BigData:      src.data,
	})
	made := err == nil
	if errors.Is(err, storage.ErrDuplicateID) {
		err = d.complete(src, top)
	}
	if err != nil || len(names) == 0 {
		return err
	}
	// The library takes the names from other images. They come last: an image that
	// has its name has everything.
	err = d.AddNames(src.image.ID, names)
	if err != nil && made {
		if _, err := d.DeleteImage(src.image.ID, true); err != nil {
			logrus.Warnf("Removing image %s, which has no name yet: %v", src.image.ID, err)
		}
	}
	return err
}

// complete adds to an image that is there what only the source knows: manifests.
func (d *destination) complete(src *source, top string) error {
	image, err := d.Image(src.image.ID)
	if err != nil {
		return err
	}
	if image.TopLayer != top {
		return unsupported("the destination has the image with other layers")
	}
	for _, data := range src.data {
		if _, ok := image.BigDataDigests[data.Key]; ok && data.Key != storage.ImageDigestBigDataKey {
			continue
		}
		err := d.SetImageBigData(image.ID, data.Key, data.Data, func([]byte) (digest.Digest, error) { return data.Digest, nil })
		if err != nil {
			return err
		}
	}
	return nil
}

// cloning is a job at work.
type cloning struct {
	dst     *destination
	plan    []*planned
	copier  *copier
	verify  clonejob.Verify
	workers int
	report  *reporter
	// placed are the IDs of the layers that were put into their places, the last of
	// them perhaps in part.
	placed []string
}

func newCloning(job clonejob.Job, dst *destination, plan []*planned, progress func(clonejob.Progress)) *cloning {
	c := &cloning{
		dst: dst, plan: plan, copier: &copier{}, verify: job.Verify, workers: job.Workers,
		report: newReporter(plan, progress),
	}
	if c.workers <= 0 {
		c.workers = runtime.NumCPU()
	}
	return c
}

// missing are the layers that the destination lacks.
func (c *cloning) missing() (layers []*planned) {
	for _, p := range c.plan {
		if !p.there {
			layers = append(layers, p)
		}
	}
	return layers
}

// stage makes the missing layers in the destination's staging directory.
func (c *cloning) stage(ctx context.Context, src *source) error {
	missing := c.missing()
	var wanted []*sourceLayer
	for _, p := range missing {
		wanted = append(wanted, p.from)
	}
	unlock, err := src.lock(ctx, wanted)
	if err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	defer unlock()
	defer c.report.start()()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.workers)
	for i, p := range missing {
		group.Go(func() error {
			output, err := c.dst.PrepareStagedLayer(&drivers.ApplyDiffWithDifferOpts{}, &differ{ctx: ctx, cloning: c, layer: p})
			p.output = output
			if err != nil {
				return fmt.Errorf("clone layer %d of %d, %s: %w", i+1, len(missing), p.from.UncompressedDigest, err)
			}
			c.report.done(p)
			return nil
		})
	}
	return group.Wait()
}

// commit makes the image of what was staged, or leaves the destination without it. It
// ends with ctx only before it changes anything.
func (c *cloning) commit(ctx context.Context, src *source, names []string) error {
	missing := c.missing()
	if len(missing) > 0 {
		// Most of it is written out here, when nobody has to wait for the lock on the
		// layers; for the rest see driver.SyncMode.
		if err := syncfs(filepath.Dir(missing[0].output.Target)); err != nil {
			return err
		}
	}
	if err := await(ctx, c.dst.layers); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.placeLayers(missing)
	if err == nil {
		if err = c.dst.record(src, c.plan, names); err != nil {
			err = fmt.Errorf("record image: %w", err)
		}
	}
	if err != nil {
		c.takeBack()
	}
	return err
}

// placeLayers puts the missing layers into their places.
func (c *cloning) placeLayers(missing []*planned) error {
	for _, p := range missing {
		if there, err := c.dst.Layer(p.id); err == nil && there.UncompressedDigest == p.from.UncompressedDigest {
			continue // somebody else pulled it meanwhile
		}
		_, err := c.dst.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
			ID: p.id, ParentLayer: p.parent, DiffOutput: p.output, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
		})
		if errors.Is(err, storage.ErrDuplicateID) {
			continue // the same, since
		}
		c.placed = append(c.placed, p.id)
		if err != nil {
			return fmt.Errorf("commit layer %s: %w", p.id, err)
		}
	}
	return c.recordBlobs()
}

// takeBack removes the layers that this run put into their places, but for those that
// somebody uses by now, which the library keeps. The last one may be there in part, if
// the disk was too full to remove it; what is left in the staging directory makes room.
func (c *cloning) takeBack() {
	c.cleanup()
	for _, id := range slices.Backward(c.placed) {
		switch err := c.dst.DeleteLayer(id); {
		case err == nil, errors.Is(err, storage.ErrNotALayer), errors.Is(err, storage.ErrLayerUnknown):
		case errors.Is(err, storage.ErrLayerHasChildren), errors.Is(err, storage.ErrLayerUsedByImage):
			return
		default:
			logrus.Warnf("Removing layer %s, which no image has: %v", id, err)
			return
		}
	}
}

func syncfs(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Syncfs(fd)
	}
	if err != nil {
		return fmt.Errorf("write out %q: %w", dir, err)
	}
	return nil
}

// cleanup removes what is left in the staging directory. The library's lock on the
// layers, which it would take for that, may be what we do not wait for any more.
func (c *cloning) cleanup() {
	for _, p := range c.plan {
		if p.output == nil {
			continue
		}
		if f := p.tarSplit(); f != nil {
			f.Close()
		}
		if p.output.Target != "" {
			empty(filepath.Dir(p.output.Target))
			_ = c.dst.driver.CleanupStagingDirectory(p.output.Target) // else the next to clean up does
		}
	}
}

func (c *cloning) result(src *source) *clonejob.Result {
	r := &clonejob.Result{Image: src.image.ID}
	for _, data := range src.data {
		if strings.HasPrefix(data.Key, storage.ImageDigestBigDataKey) && !slices.Contains(r.Digests, data.Digest.String()) {
			r.Digests = append(r.Digests, data.Digest.String())
		}
	}
	for _, p := range c.plan {
		r.Layers = append(r.Layers, clonejob.Layer{
			ID: p.id, DiffID: p.from.UncompressedDigest.String(), Shared: p.there,
			Files: p.counts.files.Load(), Bytes: p.counts.bytes.Load(), Copied: p.counts.copied.Load(),
		})
	}
	return r
}
