// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clone/tree"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// Image does a job. progress, if not nil, is called from one goroutine at a time.
//
// All layers that the destination lacks are made in a staging directory first, see
// stagingName, and are durable before the first of them is put in place; there they are
// counted again, with the lock on the layers held. The image's record comes last. From
// the first to that the run is not canceled, and an error takes the layers back. A
// process that is killed leaves staging directories, which the next one removes, and,
// within that moment, whole layers without an image, which a later run finds and shares.
//
// What failed as layers or the image were removed meanwhile is done again, from the
// start.
//
// Errors are those of package clonejob, and those of the storage library.
func Image(ctx context.Context, job clonejob.Job, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	result, err := again(func() (*clonejob.Result, error) { return copyImage(ctx, job, progress) })
	if err != nil {
		return nil, fmt.Errorf("clone image %.12s: %w", job.Image, err)
	}
	return result, nil
}

// tries is how often a job is done until it is an error that something was removed
// meanwhile.
const tries = 4

// again does once more what failed as something was removed meanwhile.
func again(do func() (*clonejob.Result, error)) (result *clonejob.Result, err error) {
	for range tries {
		result, err = do()
		if err = meanwhile(err); !errors.Is(err, clonejob.ErrChanged) {
			break
		}
	}
	return result, err
}

func copyImage(ctx context.Context, job clonejob.Job, progress func(clonejob.Progress)) (*clonejob.Result, error) {
	sameStore := job.Source.GraphRoot == job.Destination.GraphRoot
	if sameStore && job.Documents == nil {
		return nil, clonejob.Unsupportedf("source and destination are the same store")
	}
	var src *source
	if !sameStore {
		defer removeTempDirs(job.Source.GraphRoot)()
		from, err := open(ctx, job.Source, true)
		if err != nil {
			return nil, err
		}
		defer from.Free()
		if src, err = wanted(from, job); err != nil {
			return nil, err
		}
	}
	dst, err := openDestination(ctx, job)
	if err != nil {
		return nil, err
	}
	defer dst.close()
	if sameStore {
		if src, err = wanted(dst.Store, job); err != nil {
			return nil, err
		}
	}
	plan, err := dst.verifiedPlan(ctx, src, job.Verify)
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

// wanted reads what a job copies from the store that has it.
func wanted(from storage.Store, job clonejob.Job) (*source, error) {
	src, err := readSource(from, job.Image)
	if err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	if job.Verify != clonejob.VerifyNone {
		if err := src.verifyMetadata(); err != nil {
			return nil, fmt.Errorf("verify source: %w", err)
		}
	}
	if job.Documents != nil {
		return src.assemble(job.Blobs, job.Documents)
	}
	return src.lowest(job.Blobs)
}

// destination is the store that gets the image.
type destination struct {
	storage.Store
	driver *driver
	area   *area
	layers string
	tidy   func()
}

func openDestination(ctx context.Context, job clonejob.Job) (*destination, error) {
	graphRoot := job.Destination.GraphRoot
	d := &destination{layers: layersDir(graphRoot), tidy: removeTempDirs(graphRoot)}
	if err := d.open(ctx, job.Destination); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *destination) open(ctx context.Context, store clonejob.Store) (err error) {
	if d.Store, err = open(ctx, store, false); err != nil {
		return err
	}
	graphDriver, err := d.GraphDriver()
	if err != nil {
		return err
	}
	var ok bool
	if d.driver, ok = graphDriver.(*driver); !ok {
		return clonejob.Unsupportedf("its driver is %T", graphDriver)
	}
	d.area = &area{graphRoot: store.GraphRoot}
	if err := d.area.open(); err != nil {
		return fmt.Errorf("open staging directory: %w", err)
	}
	d.driver.area = d.area
	if err := d.removeUnfinished(); err != nil {
		return fmt.Errorf("remove unfinished images: %w", err)
	}
	return nil
}

// close closes the store.
func (d *destination) close() {
	if d.Store != nil {
		d.Free()
	}
	if d.area != nil {
		d.area.close()
	}
	d.tidy()
}

// removeTempDirs returns a function that removes the directory in which the library
// removes layers, unless it is there already: podman since 5.8 keeps it, and fails if it
// is removed in between, but for podman 4 it is a layer without a link, and its repair
// of links fails.
func removeTempDirs(graphRoot string) func() {
	path := filepath.Join(graphRoot, "overlay/tempdirs")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return func() {}
	}
	return func() { _ = os.Remove(path) }
}

// planned is a layer of the image as it will be in the destination.
type planned struct {
	from *sourceLayer
	// id and parent are those in the destination; there reports that it has the layer.
	id, parent string
	there      bool

	counts tree.Counts
	output *drivers.DriverWithDifferOutput
}

// plan finds the layers that the destination has: those with the same archives upon
// the same layers. The others get the IDs that podman gives to the layers it pulls. A
// layer the files of which are missing is removed if nothing uses it; else the error
// wraps clonejob.ErrDamaged.
func (d *destination) plan(src *source) ([]*planned, error) {
	for range maxLayers {
		plan, err := d.planOfRecords(src)
		if err != nil {
			return nil, err
		}
		removed, err := d.removeDamaged(plan)
		if err != nil || !removed {
			return plan, err
		}
	}
	return nil, clonejob.ErrChanged
}

// removeDamaged reports whether it removed a layer of the plan that lacks files.
func (d *destination) removeDamaged(plan []*planned) (bool, error) {
	for _, p := range plan {
		if !p.there {
			continue
		}
		lacks, err := d.lacks(p.id, p.parent)
		if err != nil {
			return false, err
		}
		if lacks != "" {
			return true, d.damaged(p.id, "no "+lacks)
		}
	}
	return false, nil
}

// verifiedPlan is a plan; at the level "full" the layers that the destination has are
// what their archives say.
func (d *destination) verifiedPlan(ctx context.Context, src *source, level clonejob.Verify) ([]*planned, error) {
	for range maxLayers {
		plan, err := d.plan(src)
		if err != nil || level != clonejob.VerifyFull {
			return plan, err
		}
		differs, how, err := d.inspect(ctx, plan)
		if err != nil || differs == nil {
			return plan, err
		}
		if err := d.damaged(differs.id, how.Error()); err != nil {
			return nil, err
		}
	}
	return nil, clonejob.ErrChanged
}

// planOfRecords is the plan that goes by the records of layers.
func (d *destination) planOfRecords(src *source) ([]*planned, error) {
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
				return nil, clonejob.Unsupportedf("the destination has another layer of the ID %s", p.id)
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
		return nil, clonejob.Unsupportedf("the destination has the image with other layers")
	}
	plan = []*planned{}
	for i, from := range src.layers {
		if layers[i].UncompressedDigest != from.UncompressedDigest {
			return nil, clonejob.Unsupportedf("the destination has the image with other layers")
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

// unfinished is the name of an image that does not have its own names yet, but for the
// tag, which is that of a place that is locked.
const unfinished = clonejob.Unfinished

// record makes the image's record, or adds to the one that is there. A new one has its
// names last, so that an image with its names has everything; but until then it has
// another one, since "podman image prune" removes images without names.
func (d *destination) record(src *source, plan []*planned, names []string) error {
	top := ""
	if len(plan) > 0 {
		top = plan[len(plan)-1].id
	}
	var first []string
	if len(names) > 0 {
		p, err := d.area.newPlace()
		if err != nil {
			return err
		}
		defer p.remove()
		first = []string{unfinished + p.name}
	}
	removeData, err := d.placeData(src)
	if err != nil {
		return err
	}
	_, err = d.CreateImage(src.image.ID, first, top, src.metadata, &storage.ImageOptions{
		CreationDate: src.image.Created,
		Digest:       src.image.Digest,
		BigData:      src.data,
	})
	made := err == nil
	if !made {
		removeData()
	}
	if errors.Is(err, storage.ErrDuplicateID) {
		err = d.complete(src, top)
	}
	if err != nil {
		return err
	}
	// The library takes the names from other images.
	switch {
	case len(names) == 0:
	case made:
		err = d.SetNames(src.image.ID, names)
	default:
		err = d.AddNames(src.image.ID, names)
	}
	if err == nil {
		err = d.hasImage(src.image.ID, top, names)
	}
	if err != nil && made {
		if _, err := d.DeleteImage(src.image.ID, true); err != nil && !wasRemoved(err) {
			logrus.Warnf("Removing image %s: %v", src.image.ID, err)
		}
	}
	return err
}

// placeData puts the documents of a new image into their places before its record is
// made. The library makes the record first, and podman 4 lists no image of a store with a
// record that has no manifest yet. A process that is killed in between leaves files that
// no record names, which the next run for this image uses. remove removes them if there is
// still no record.
func (d *destination) placeData(src *source) (remove func(), err error) {
	isNew := func() bool { return !d.Exists(src.image.ID) }
	var placed []string
	dir := ""
	remove = func() {
		if !isNew() {
			return
		}
		for _, path := range append(placed, dir) {
			_ = os.Remove(path) // not empty if podman has begun the same image
		}
	}
	if !isNew() {
		return remove, nil
	}
	for _, data := range src.data {
		name, err := cstorage.Overlay.BigData(src.image.ID, data.Key)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(d.area.graphRoot, name)
		dir = filepath.Dir(path)
		err = os.Mkdir(dir, 0o700)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = writeNew(path, data.Data)
		}
		if err == nil {
			placed = append(placed, path)
		} else if !errors.Is(err, fs.ErrExist) {
			remove()
			return nil, err
		}
	}
	return remove, nil
}

// writeNew makes a file of mode 0600 that has all of data from the first moment.
func writeNew(path string, data []byte) error {
	f, err := newUnnamed(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return link(f, path)
}

// hasImage returns an error if the image was removed or changed meanwhile.
func (d *destination) hasImage(id, top string, names []string) error {
	image, err := d.Image(id)
	if err != nil {
		return err
	}
	lacksName := func(name string) bool { return !slices.Contains(image.Names, name) }
	if image.TopLayer != top || slices.ContainsFunc(names, lacksName) {
		return fmt.Errorf("image %.12s: %w", id, clonejob.ErrChanged)
	}
	return nil
}

// removeUnfinished removes the images and names that killed processes left, the places
// of which are removed already.
func (d *destination) removeUnfinished() error {
	images, err := d.Images()
	if err != nil {
		return err
	}
	for _, image := range images {
		for _, name := range image.Names {
			tag, ok := strings.CutPrefix(name, unfinished)
			if !ok || d.area.has(tag) {
				continue
			}
			if err := d.removeName(image.ID, name); err != nil && !wasRemoved(err) {
				return err
			}
		}
	}
	return nil
}

// removeName removes a name, and the image if it has no other.
func (d *destination) removeName(id, name string) error {
	image, err := d.Image(id) // its process may have finished it since
	if err != nil || !slices.Contains(image.Names, name) {
		return err
	}
	if len(image.Names) > 1 {
		return d.RemoveNames(id, []string{name})
	}
	_, err = d.DeleteImage(id, true)
	return err
}

// complete adds to an image that is there what only the source has: manifests.
func (d *destination) complete(src *source, top string) error {
	image, err := d.Image(src.image.ID)
	if err != nil {
		return err
	}
	if image.TopLayer != top {
		return clonejob.Unsupportedf("the destination has the image with other layers")
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
	copiers tree.Copiers
	// copier is for what is exported, all of which is on one filesystem.
	copier  *tree.Copier
	verify  clonejob.Verify
	workers int
	report  *reporter
	// placed are the IDs of the layers that were put into their places, the last of
	// them perhaps in part.
	placed []string
}

func newCloning(job clonejob.Job, dst *destination, plan []*planned, progress func(clonejob.Progress)) *cloning {
	c := &cloning{
		dst: dst, plan: plan, copier: &tree.Copier{}, verify: job.Verify, workers: job.Workers,
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
	finish := c.writeEarly()
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
	err = group.Wait()
	return errors.Join(err, finish())
}

// earlyWrites is how long after one write another is begun.
const earlyWrites = 40 * time.Millisecond

// writeEarly writes the metadata of what is staged out while more is staged: until then
// the log of XFS would keep most of it in memory, and commit wait for all of it. Content
// that is copied is left to commit, as it is too much to be written twice. The error of
// finish is not reported once more by a later syncfs(2) on the same descriptor.
func (c *cloning) writeEarly() (finish func() error) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var failed error
		tick := time.NewTicker(earlyWrites)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				done <- failed
				return
			case <-tick.C:
			}
			copied := slices.ContainsFunc(c.plan, func(p *planned) bool { return p.counts.Copied.Load() > 0 })
			if copied || failed != nil {
				continue
			}
			if err := unix.Syncfs(int(c.dst.area.overlay.Fd())); err != nil {
				failed = fmt.Errorf("write out layers: %w", err)
			}
		}
	}()
	return func() error {
		close(stop)
		return <-done
	}
}

// commit makes the image of what was staged, or leaves the destination without it. It
// ends with ctx only before it changes anything.
func (c *cloning) commit(ctx context.Context, src *source, names []string) error {
	missing := c.missing()
	if len(missing) > 0 {
		// Most of it is written out here, while no process waits for the lock on the
		// layers; for the rest see driver.SyncMode.
		if err := unix.Syncfs(int(c.dst.area.overlay.Fd())); err != nil {
			return fmt.Errorf("write out layers: %w", err)
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
		err = c.checkLayers()
	}
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

// checkLayers looks once more, before the image's record is made, whether its layers are
// there, and whether those that were put in place are those that were staged.
func (c *cloning) checkLayers() error {
	for _, p := range c.plan {
		lacks, err := c.dst.lacks(p.id, p.parent)
		if err == nil && lacks != "" {
			err = fmt.Errorf("no %s: %w", lacks, clonejob.ErrChanged)
		}
		if err == nil && slices.Contains(c.placed, p.id) {
			if staged, ok := p.output.Artifacts[treeArtifact].(*stagedTree); ok {
				err = staged.isAt(int(c.dst.area.overlay.Fd()), filepath.Join(p.id, "diff"))
			}
		}
		if err != nil {
			return fmt.Errorf("layer %s: %w", p.id, err)
		}
	}
	return nil
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

// cleanup removes what is left in the staging directory.
func (c *cloning) cleanup() {
	for _, p := range c.plan {
		if p.output != nil {
			p.close()
			_ = c.dst.driver.CleanupStagingDirectory(p.output.Target) // never fails
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
			Files: p.counts.Files.Load(), Bytes: p.counts.Bytes.Load(), Copied: p.counts.Copied.Load(),
		})
	}
	return r
}
