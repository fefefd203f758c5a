// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/composefs"
	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/internal/transfer/plan"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// settled is how long a file that a process may still rename or lock must have been left
// alone to be a leftover.
const (
	settledFile  = time.Hour
	settledPlace = time.Minute
)

// layers reports layers that a killed process left in a store: incomplete ones, and
// directories without a record.
func (ex *examination) layers() (list []Problem) {
	for _, s := range ex.stores() {
		g := s.Graphs()[0]
		if locked, err := g.LayersLocked(); locked || err != nil {
			continue // a process is making layers
		}
		incomplete := s.Incomplete()
		unrecorded := ex.unrecorded(s, g)
		if len(incomplete)+len(unrecorded) == 0 {
			continue
		}
		incomplete, unrecorded = ex.still(s, incomplete, unrecorded)
		for _, id := range incomplete {
			list = append(list, Problem{
				Finding: health.Finding{
					Rule: health.LayerIncomplete, Severity: health.Risk, Where: fmt.Sprintf("layer %s of %s", short(id), s.name),
					What: "is incomplete: the process that made it was killed", Why: "it takes space until podman removes it", Fix: ex.command("doctor", "--fix"),
				},
				Action: fmt.Sprintf("remove the incomplete layer %s of %s", short(id), s.name),
				Apply:  ex.maintain(s, clonejob.Care{}),
			})
		}
		for _, id := range unrecorded {
			list = append(list, Problem{
				Finding: health.Finding{
					Rule: health.LayerUnknown, Severity: health.Risk, Where: fmt.Sprintf("directory of layer %s of %s", short(id), s.name),
					What: "has no record: the process that made or removed it was killed", Why: "it takes space, and no podman removes it", Fix: ex.command("doctor", "--fix"),
				},
				Action: fmt.Sprintf("remove the directory of layer %s of %s, which has no record", short(id), s.name),
				Apply:  ex.maintain(s, clonejob.Care{Layers: []string{id}}),
			})
		}
	}
	return list
}

// unrecorded are the directories of layers without a record. There are none where a record
// may be elsewhere, or was lost: where a layer of an image or a container lacks its record, and
// in a transient store, which has records below the run root.
func (ex *examination) unrecorded(s store, g *cstorage.Graph) []string {
	if config, err := storageconf.HostConfig(ex.Root); err != nil || config.Transient || config.ImageStore != "" {
		return nil
	}
	tops := make([]string, 0, len(s.Images))
	records, err := g.Images()
	for _, r := range records {
		tops = append(tops, r.TopLayer)
	}
	containers, containersErr := g.Containers()
	for _, c := range containers {
		tops = append(tops, c.Layer)
	}
	if err != nil || containersErr != nil || len(tops) == 0 {
		return nil
	}
	ids, err := s.Unrecorded(g)
	if err != nil {
		return nil
	}
	for _, top := range tops {
		missing := s.MissingBelow(top)
		if slices.Contains(ids, missing) {
			return nil
		}
	}
	return ids
}

// still reads a store again, and returns what is left as it was.
func (ex *examination) still(s store, incomplete, unrecorded []string) (stillIncomplete, stillUnrecorded []string) {
	again, _ := inventory.Look(ex.Options.Options.Options)
	if again == nil {
		return nil, nil
	}
	defer again.Close()
	now := again.Own
	if s.bootc {
		now = again.Bootc
	}
	if now == nil || now.Err() != nil {
		return nil, nil
	}
	there, err := now.Unrecorded(now.Graphs()[0])
	if err != nil {
		return nil, nil
	}
	in := func(list []string) func(string) bool {
		return func(id string) bool { return !slices.Contains(list, id) }
	}
	return slices.DeleteFunc(slices.Clone(incomplete), in(now.Incomplete())), slices.DeleteFunc(unrecorded, in(there))
}

// leftovers reports what interrupted runs left: of ours, of bootc's and of podman's.
func (ex *examination) leftovers() (list []Problem) {
	if names := wrapper.Leftovers(ex.survey.Store); len(names) > 0 {
		where := filepath.Join(ex.survey.Store.Sysroot, ex.survey.Store.Physical, names[0])
		list = append(list, ex.leftover(where, "is a store whose making was interrupted", func(context.Context) error {
			return wrapper.RemoveLeftovers(ex.survey.Store)
		}))
	}
	if working, err := transfer.AtWork(ex.Dir, filepath.Join(ex.Root, "proc")); working || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return list
	}
	for _, s := range ex.stores() {
		for _, left := range transfer.Left(s.Store) {
			if s.bootc && left == plan.ExportName {
				continue // bootc exports to podman's own store
			}
			do := func(ctx context.Context) error { return transfer.Tidy(ctx, ex.Options.Options) }
			if strings.HasPrefix(left, clonejob.Unfinished) {
				do = ex.maintain(s, clonejob.Care{})
			}
			list = append(list, ex.leftover(fmt.Sprintf("image %.60s of %s", left, s.name), "was there only during a transfer, which was interrupted", do))
		}
		list = append(list, ex.leftFiles(s)...)
	}
	for _, file := range transfer.LeftFiles(ex.Dir) {
		list = append(list, ex.leftover(file, "is of a transfer, which was interrupted", func(ctx context.Context) error { return transfer.Tidy(ctx, ex.Options.Options) }))
	}
	if record, err := transfer.ReadRecord(ex.Root); err == nil && record != nil && record.ID == "" {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.Leftover, Severity: health.Risk, Where: "image " + record.Name, What: "was about to be brought by set-unified, which was interrupted",
			Why: "it is not known to be whole", Fix: ex.command("set-unified"),
		}})
	}
	if image, verb, err := transfer.Interrupted(ex.Root); err == nil && image != "" {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.Leftover, Severity: health.Failing, Where: "image " + image,
			What: "was removed by " + verb + " to be brought again, which was interrupted", Why: "the host lacks it", Fix: ex.command(verb, image),
		}})
	}
	return list
}

// leftover is a problem of a leftover.
func (ex *examination) leftover(where, what string, do func(context.Context) error) Problem {
	return Problem{
		Finding: health.Finding{
			Rule: health.Leftover, Severity: health.Risk, Where: where, What: what, Why: "it takes space", Fix: ex.command("doctor", "--fix"),
		},
		Action: "remove " + where, Apply: do,
	}
}

// stagingName is where clones stage layers below a graph root, see package clone.
const stagingName = "bootc-podman.staging"

// leftFiles are the files that killed processes left in a store: staged layers of clones, and
// records that podman did not rename.
func (ex *examination) leftFiles(s store) (list []Problem) {
	g := s.Graphs()[0]
	staged, _ := rooted.Names(g.Dir, stagingName)
	for _, name := range staged {
		at := path.Join(stagingName, name)
		if rooted.Kind(g.Dir, at) != unix.S_IFDIR {
			continue // no clone made it
		}
		locked, err := cstorage.Locked(g.Dir, path.Join(at, "staging.lock"))
		if err == nil && !locked && isOlder(g.Dir, at, settledPlace) {
			list = append(list, ex.leftover(filepath.Join(g.Dir.Name(), at), "is of a clone, which was killed", ex.maintain(s, clonejob.Care{})))
		}
	}
	for _, at := range g.Interrupted() {
		if rooted.Kind(g.Dir, at) == unix.S_IFREG && isOlder(g.Dir, at, settledFile) {
			list = append(list, ex.leftover(filepath.Join(g.Dir.Name(), at), "is a record that podman did not finish", ex.removeFile(s, at)))
		}
	}
	return list
}

// isOlder reports whether a file was last changed so long ago.
func isOlder(dir *os.File, name string, age time.Duration) bool {
	st, err := rooted.Stat(dir, name, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && time.Since(time.Unix(st.Mtim.Unix())) > age
}

// removeFile removes a file of a store.
func (ex *examination) removeFile(s store, name string) func(context.Context) error {
	return func(context.Context) error {
		if !s.bootc {
			return ignoreMissing(os.Remove(filepath.Join(s.Path(), name)))
		}
		return wrapper.Change(ex.survey.Store, func(phys *os.File) error {
			dir, err := rooted.Open(phys, path.Join(ex.storePath(), path.Dir(name)), unix.O_RDONLY|unix.O_DIRECTORY)
			if err != nil {
				return ignoreMissing(err)
			}
			defer dir.Close()
			return ignoreMissing(unix.Unlinkat(int(dir.Fd()), path.Base(name), 0))
		})
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// content has the storage library check both stores, with Deep.
func (ex *examination) content() (list []Problem) {
	if !ex.Deep {
		return nil
	}
	if ex.Euid != 0 {
		return unread(fmt.Errorf("compare the content of layers with their digests: %w", wrapper.ErrNotRoot))
	}
	for _, s := range ex.stores() {
		result, err := transfer.Care(ex.ctx, ex.Options.Options, s.bootc, clonejob.Care{Check: true})
		if err != nil {
			list = append(list, unread(fmt.Errorf("check the content of %s: %w", s.name, err))...)
			continue
		}
		for _, found := range result.Problems {
			list = append(list, ex.contentProblem(s, found)...)
		}
	}
	return append(list, ex.composefsLayers()...)
}

// composefsLayers reports layers of the composefs repository whose archive is not that of
// their diff ID: a wrong configuration of one image gives it to all.
func (ex *examination) composefsLayers() (list []Problem) {
	repo, err := ex.Sysroot.OpenComposefs()
	if errors.Is(err, composefs.ErrNoRepo) {
		return nil
	}
	if err != nil {
		return unread(err)
	}
	repo.Close()
	result, err := transfer.CheckComposefs(ex.ctx, ex.Options.Options)
	if err != nil {
		return unread(fmt.Errorf("check the layers in %q: %w", repo.Path(), err))
	}
	for _, found := range result.Problems {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.ContentDiffers, Severity: health.Failing, Where: fmt.Sprintf("layer %s in %s", found.Layer, repo.Path()),
			What: found.Message, Why: "images with this layer are not what their digests say, and bootc and composefs do not notice it",
		}})
	}
	return list
}

// contentProblem is what the storage library found, for each image that has it.
func (ex *examination) contentProblem(s store, found clonejob.Problem) (list []Problem) {
	images := s.ImagesWith(found.Layer)
	if img := s.ByID(found.Image); img != nil {
		images = []*cstorage.Image{img}
	}
	for _, img := range images {
		damage := inventory.Damage{Store: inventory.DefaultStore, Image: img, Err: errors.New(found.Message)}
		if s.bootc {
			damage.Store = inventory.BootcStore
		}
		f := ex.damaged(damage)
		f.Rule, f.What = health.ContentDiffers, found.Message
		list = append(list, Problem{Finding: f})
	}
	return list
}
