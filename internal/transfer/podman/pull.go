// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package podman

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/progress"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// Releases of podman: the first whose service reports how far a pull is, the first with an
// option against retries, and the first known to name the image of an OCI image layout as the
// layout does: podman 4.3.1 names it by the path.
var (
	progressSince = [2]int{5, 9}
	retrySince    = [2]int{5, 0}
	layoutSince   = [2]int{5, 0}
)

// Pull pulls a reference into the bootc-owned store, and tries again as Retry says. layers
// are those of its manifest, nil when they are not known; stored returns the blobs that
// the store has layers of.
func (s *Store) Pull(ctx context.Context, reference string, layers []host.Descriptor, stored func() map[string]bool) error {
	return s.pull(ctx, &puller{Store: s, reference: reference, name: reference, layers: layers, stored: stored}, true)
}

// PullLayout is Pull for the image that an OCI image layout has under a name, which the store
// gives it from the beginning: an old podman is replaced by skopeo.
func (s *Store) PullLayout(ctx context.Context, dir, name string, layers []host.Descriptor, stored func() map[string]bool) error {
	p := &puller{Store: s, reference: "oci:" + dir + ":" + name, name: name, layers: layers, stored: stored}
	p.skopeo = slices.Compare(s.Version[:], layoutSince[:]) < 0
	return s.pull(ctx, p, false) // the service pulls from registries only
}

// pull pulls, through podman's service if that may be.
func (s *Store) pull(ctx context.Context, p *puller, service bool) error {
	version := s.Version
	if version == [2]int{} {
		var err error
		if version, err = s.PodmanVersion(ctx); err != nil {
			return err
		}
	}
	if slices.Compare(version[:], retrySince[:]) >= 0 {
		p.args = []string{"--retry=0"}
	}
	// Without a listener there is nothing to report.
	if service && s.Progress != nil && s.DryRun == nil && slices.Compare(version[:], progressSince[:]) >= 0 {
		p.credentials, p.service = registryConfig(s.Session.Auth.Bytes())
	}
	p.begin()
	defer p.job.Stop()
	if err := s.retry(ctx, p.reference, func() *failure { return p.try(ctx) }); err != nil {
		return err
	}
	p.done()
	return nil
}

// puller pulls one image.
type puller struct {
	*Store
	reference string
	// name is what progress names the image.
	name   string
	layers []host.Descriptor
	stored func() map[string]bool
	// skopeo reports whether that copies, in place of podman.
	skopeo bool
	// args are options of podman pull; service reports whether to ask the service,
	// with these credentials.
	args        []string
	service     bool
	credentials string

	job *progress.Job

	// mu guards what follows.
	mu sync.Mutex
	// wanted are the sizes of the layers that are fetched, by digest; nil when not
	// known. cached are those of the others.
	wanted, cached map[string]int64
	// parts are the blobs that the service has reported.
	parts map[string]*blob
	// files are the sizes of the blobs that podman has put into its directory for
	// this try, before the sizes of those it has stored in earlier ones.
	files  map[string]int64
	before int64
	// shown is the most that was shown, of total; 0 is unknown.
	shown, total int64
}

// blob is a blob that the service has reported.
type blob struct {
	part        *progress.Part
	count, size int64
}

// begin reports that the pull begins.
func (p *puller) begin() {
	p.parts = map[string]*blob{}
	task := progress.Task{Name: "pulling", Description: "Pulling " + p.name, ID: p.name}
	if p.Progress != nil && p.layers != nil {
		p.wanted, p.cached = map[string]int64{}, map[string]int64{}
		here := p.stored()
		for _, layer := range p.layers {
			if here[layer.Digest] {
				p.cached[layer.Digest] = layer.Size
			} else {
				p.wanted[layer.Digest] = layer.Size
			}
		}
		p.total = sum(p.wanted)
		task.Bytes, task.StepsCached, task.BytesCached = p.total, int64(len(p.cached)), sum(p.cached)
		if p.service {
			task.Steps = int64(len(p.wanted))
		}
	}
	p.job = p.Progress.Transfer(task)
}

// done reports that all of it is there.
func (p *puller) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total == 0 {
		// What is not known at first is at the end.
		p.total = p.shown
		p.job.SetTotal(int64(len(p.parts)), p.total)
	}
	p.job.Set(p.total)
	p.job.Done()
}

func sum(sizes map[string]int64) (n int64) {
	for _, size := range sizes {
		n += size
	}
	return n
}

// try pulls once.
func (p *puller) try(ctx context.Context) *failure {
	p.again()
	if p.service {
		failed := p.tryService(ctx)
		if failed == nil || !errors.Is(failed.err, clonejob.ErrNoService) || ctx.Err() != nil {
			return failed
		}
		logrus.Debugf("Pulling without podman's service: %v", failed.err)
		p.service = false
	}
	talk := &talk{to: p.Stderr}
	if p.skopeo {
		cmd, err := p.Session.Program("skopeo", "copy", "--", p.reference, "containers-storage:"+p.name)
		if err == nil {
			err = p.runCmd(ctx, talk, cmd)
		}
		return talk.failed(err)
	}
	args := append(append([]string{"image", "pull"}, p.args...), "--", p.reference)
	return talk.failed(p.run(ctx, talk, args...))
}

// tryService pulls once, through podman's service.
func (p *puller) tryService(ctx context.Context) *failure {
	var f failure
	talk := &talk{}
	stored := false
	err := p.askService(ctx, talk, func(answer clonejob.Answer) {
		report := answer.Pulling
		if report == nil {
			return
		}
		stored = stored || report.ID != ""
		switch {
		case report.Error != "":
			f.reason = report.Error
		case report.Progress != nil:
			p.reported(report.Progress)
		case strings.HasPrefix(report.Stream, "Copying ") && p.reports(): // of a blob
		case report.Stream != "" && p.Stderr != nil:
			_, _ = io.WriteString(p.Stderr, report.Stream)
		}
	})
	switch {
	case ctx.Err() != nil:
		f.err = ctx.Err()
	case f.reason != "":
		f.err = fmt.Errorf("pull %s: %w: %s", p.reference, ErrPull, f.reason)
	case errors.Is(err, clonejob.ErrNoService):
		f.err = fmt.Errorf("%w: %s", err, talk.reason())
	case err != nil:
		f.err = err
	case !stored:
		f.err = fmt.Errorf("pull %s: %w: its service ended early: %s", p.reference, ErrPull, talk.reason())
	default:
		return nil
	}
	f.retries = talk.retries
	return &f
}

// run runs podman on the bootc-owned store with a directory of ours to put layers
// into, and shows how that grows.
func (p *puller) run(ctx context.Context, stderr io.Writer, args ...string) error {
	cmd, err := p.Podman(ctx, args...)
	if err != nil {
		return err
	}
	return p.runCmd(ctx, stderr, cmd)
}

// runCmd is run for a program on the bootc-owned store.
func (p *puller) runCmd(ctx context.Context, stderr io.Writer, cmd wrapper.Cmd) error {
	if cmd.Stderr = stderr; p.service {
		cmd.Env = serviceEnv(cmd.Env)
	}
	return p.spooled(ctx, cmd, func(cmd wrapper.Cmd) error {
		if p.job != nil {
			defer watchBlobs(ctx, wrapper.Getenv(cmd.Env, "TMPDIR"), p.grown)()
		}
		return p.start(ctx, cmd)
	})
}

// growthPoll is the time between two looks at what podman has fetched.
const growthPoll = 200 * time.Millisecond

// watchBlobs reports how the blobs grow that podman puts into a directory of its own
// below dir while it fetches them, until it is stopped (storageImageDestination in
// go.podman.io/image). Layers that podman puts together from chunks are not there,
// but count when they are stored, at the next try or at the end.
func watchBlobs(ctx context.Context, dir string, grown func(map[string]int64)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		ticker := time.NewTicker(growthPoll)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				grown(blobSizes(dir))
			}
		}
	})
	return func() {
		cancel()
		watch.Wait()
	}
}

// blobSizes are the sizes of the files in the directories below dir.
func blobSizes(dir string) map[string]int64 {
	sizes := map[string]int64{}
	parents, _ := os.ReadDir(dir)
	for _, parent := range parents {
		if !parent.IsDir() {
			continue
		}
		// What is gone meanwhile was counted before.
		files, _ := os.ReadDir(filepath.Join(dir, parent.Name()))
		for _, file := range files {
			if info, err := file.Info(); err == nil && info.Mode().Type() == fs.FileMode(0) {
				sizes[filepath.Join(parent.Name(), file.Name())] = info.Size()
			}
		}
	}
	return sizes
}

// again forgets what an earlier try has fetched and not stored.
func (p *puller) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files, p.before = map[string]int64{}, 0
	if len(p.wanted) > 0 && p.shown > 0 {
		for digest := range p.stored() {
			p.before += p.wanted[digest]
		}
	}
}

// grown takes how many bytes podman has put into its directory. What its service reports is
// more exact, and counts if there is both.
func (p *puller) grown(files map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.parts) > 0 {
		return
	}
	for name, size := range files {
		p.files[name] = max(p.files[name], size)
	}
	p.show(p.before + sum(p.files))
}

// show reports that n bytes were fetched, unless more were shown before: bars do not
// go back. With the lock held.
func (p *puller) show(n int64) {
	if p.total > 0 {
		n = min(n, p.total)
	}
	p.shown = max(p.shown, n)
	p.job.Set(p.shown)
}

// reported takes what the service reports of a blob. Besides layers there is the image's
// configuration, which was not counted before.
func (p *puller) reported(b *clonejob.BlobProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.parts[b.Digest]
	if b.Status == "skipped" {
		if size, wanted := p.wanted[b.Digest]; wanted && known == nil {
			delete(p.wanted, b.Digest)
			p.cached[b.Digest] = size
			p.recount()
		} else if known != nil {
			known.end()
		}
		return
	}
	if known == nil {
		known = p.add(b)
	}
	known.set(b.Current)
	if b.Status == "success" {
		known.end()
	}
	var n int64
	for _, blob := range p.parts {
		n += blob.count
	}
	p.show(n)
}

// reports reports whether the service reports how far blobs are.
func (p *puller) reports() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.parts) > 0
}

// add adds a blob that the service has begun to fetch. With the lock held.
func (p *puller) add(b *clonejob.BlobProgress) *blob {
	kind := "layer"
	size, wanted := p.wanted[b.Digest]
	if p.wanted != nil && !wanted {
		var cached bool
		if size, cached = p.cached[b.Digest]; !cached {
			kind = "config"
		}
		if b.Total > 0 {
			size = b.Total
		}
		delete(p.cached, b.Digest)
		p.wanted[b.Digest] = size
		p.recount()
	}
	if size == 0 {
		size = max(b.Total, 0)
	}
	_, hex, _ := strings.Cut(b.Digest, ":")
	id := fmt.Sprintf("%.12s", hex)
	added := &blob{size: size, part: p.job.Start(progress.Subtask{Name: kind, Description: kind + " " + id, ID: id, Bytes: size})}
	p.parts[b.Digest] = added
	return added
}

// recount shows what there is to do. With the lock held.
func (p *puller) recount() {
	p.total = sum(p.wanted)
	p.job.SetTotal(int64(len(p.wanted)), p.total)
	p.job.SetCached(int64(len(p.cached)), sum(p.cached))
}

// set shows how much of the blob is there. What podman assembles from chunks can
// be a little more or less than its size.
func (b *blob) set(n int64) {
	if b.size > 0 {
		n = min(n, b.size)
	}
	b.count = n
	b.part.Set(n)
}

// end reports that all of it is there.
func (b *blob) end() {
	b.count = max(b.count, b.size)
	b.part.Done()
}
