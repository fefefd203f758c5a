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

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/health"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
	"github.com/bootc-podman/bootc-podman/storageconf"
	"github.com/bootc-podman/bootc-podman/wrapper"
)

// database reports that podman refuses the bootc store for its database. The database has
// containers, pods and volumes; of a store without them it has nothing that podman does not
// write again.
func (ex *examination) database() []Problem {
	if !ex.survey.Store.Exists {
		return nil
	}
	dir, err := ex.survey.Store.Open()
	if err != nil {
		return nil // reading the store reported it
	}
	defer dir.Close()
	f := health.Finding{Severity: health.Failing, Why: "podman and bootc fail on the store"}
	var mismatch *storageconf.MismatchError
	switch err = storageconf.CheckPodmanDB(dir); {
	case errors.Is(err, fs.ErrPermission):
		return nil
	case errors.As(err, &mismatch):
		f.Rule, f.Where = health.DatabasePaths, mismatch.Database
		f.What = fmt.Sprintf("was made with the %s %q, and bootc opens the store with %q", mismatch.Name, mismatch.Recorded, mismatch.Canonical)
	case err != nil:
		f.Rule, f.Where, f.What = health.DatabaseDamaged, ex.survey.Store.Path(), err.Error()
	case rooted.Exists(dir, boltDB) && ex.podmanIsSince(6):
		f.Rule, f.Where = health.DatabaseOld, filepath.Join(ex.survey.Store.Path(), boltDB)
		f.What = "is a database of podman before 6, which this podman does not read"
	default:
		return nil
	}
	problem := Problem{Finding: f}
	if ex.hasContainers(dir) {
		problem.Fix = ex.removeContainers(mismatch)
	} else {
		problem.Fix = ex.command("doctor", "--fix")
		problem.Action = "move podman's database in the bootc-owned store aside: the store has no containers, of which it is the record"
		problem.Apply = ex.moveDatabases
	}
	return []Problem{problem}
}

const boltDB = "libpod/bolt_state.db"

// removeContainers is the command that removes the containers of a store that was opened with
// other paths, which podman needs for them.
func (ex *examination) removeContainers(mismatch *storageconf.MismatchError) string {
	if mismatch == nil || mismatch.Name != "graph root" {
		return ""
	}
	return wrapper.Quote("podman", "--root", mismatch.Recorded, "rm", "--all", "--force")
}

// hasContainers reports whether a store has containers or volumes, or may have.
func (ex *examination) hasContainers(dir *os.File) bool {
	g, err := cstorage.FindGraph(dir)
	if err != nil {
		return true
	}
	containers, err := g.Containers()
	volumes, volumesErr := rooted.Names(dir, "volumes")
	return err != nil || len(containers) > 0 || volumesErr != nil && !errors.Is(volumesErr, fs.ErrNotExist) || len(volumes) > 0
}

// podmanIsSince reports whether the host's podman is of a release or a later one.
func (ex *examination) podmanIsSince(major int) bool {
	var version int
	_, err := fmt.Sscanf(ex.Podman.Version, "%d.", &version)
	return err == nil && version >= major
}

// moveDatabases renames podman's databases in the bootc store, with what SQLite has beside one.
func (ex *examination) moveDatabases(context.Context) error {
	return wrapper.Change(ex.survey.Store, func(phys *os.File) error {
		dir, err := rooted.Open(phys, ex.storePath(), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer dir.Close()
		if ex.hasContainers(dir) {
			return errors.New("the store has got containers")
		}
		// The main file goes last: as long as it is there, this is done again.
		for _, name := range []string{"db.sql-wal", "db.sql-shm", "db.sql-journal", "db.sql", boltDB} {
			if err := moveAside(dir, name); err != nil {
				return err
			}
		}
		return dir.Sync()
	})
}

// storePath is the bootc store relative to the physical root.
func (ex *examination) storePath() string { return filepath.Join(ex.survey.Store.BootcRoot, "storage") }

// moveAside gives a file below dir a name that ends in .bak, or .bak1 and so on.
func moveAside(dir *os.File, name string) error {
	for n := range 1000 {
		to := name + ".bak"
		if n > 0 {
			to += fmt.Sprint(n)
		}
		err := unix.Renameat2(int(dir.Fd()), name, int(dir.Fd()), to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return fmt.Errorf("move %q aside: %w", name, fs.ErrExist)
}

// places reports links that bootc and its images need, and two stores in one directory.
func (ex *examination) places() (list []Problem) {
	list = append(list, ex.composefsLink()...)
	if len(ex.survey.Bound()) > 0 && ex.Sysroot.Running != "" && !linkExists(ex.root, storeLink) {
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.StoreLinkMissing, Severity: health.Risk, Where: storeLink, What: "is missing: the Containerfile of the booted image has to make it, by RUN ln -s ../../../sysroot/ostree/bootc/storage " + storeLink,
			Why: "a bound image that names it as an additional image store does not start",
		}})
	}
	if ex.survey.Bootc == nil || ex.survey.Own == nil {
		return list
	}
	for _, own := range ex.survey.Own.Graphs() {
		for _, bootc := range ex.survey.Bootc.Graphs() {
			a, errA := rooted.Identify(own.Dir)
			b, errB := rooted.Identify(bootc.Dir)
			if errA == nil && errB == nil && a == b {
				list = append(list, Problem{Finding: health.Finding{
					Rule: health.StoresAreOne, Severity: health.Failing, Where: own.Dir.Name(), What: "is podman's own store and the bootc-owned store",
					Why: "bootc's cleanup removes podman's images", Fix: "",
				}})
			}
		}
	}
	return list
}

// linkExists reports whether there is a file of that name, or a link wherever it leads.
func linkExists(root *os.File, name string) bool {
	_, err := rooted.Stat(root, name, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil
}

// composefsLink reports that ostree/bootc, by which bootc finds its store on composefs hosts,
// is not the link that it should be.
func (ex *examination) composefsLink() []Problem {
	phys, err := ex.survey.Store.OpenPhysical()
	if err != nil {
		return nil
	}
	defer phys.Close()
	const link, target = "ostree/bootc", "composefs/bootc"
	if ex.survey.Host.Kind != "composefs" || !rooted.Exists(phys, target) {
		return nil
	}
	where := filepath.Join(phys.Name(), link)
	switch rooted.Kind(phys, link) {
	case unix.S_IFLNK:
		return nil
	case unix.S_IFDIR:
		return one(health.Finding{
			Rule: health.StoresAreTwo, Severity: health.Risk, Where: where, What: "is a directory beside " + target,
			Why: "bootc may look for its store in either",
		})
	}
	return []Problem{{
		Finding: health.Finding{
			Rule: health.ComposefsLinkMissing, Severity: health.Risk, Where: where, What: "is missing, the link to ../" + target,
			Why: "bootc and the images that name it do not find the store there", Fix: ex.command("doctor", "--fix"),
		},
		Action: fmt.Sprintf("make the link %q", where),
		Apply: func(context.Context) error {
			return wrapper.Change(ex.survey.Store, func(phys *os.File) error {
				if err := rooted.MakeDirs(phys, path.Dir(link), func(string) {}); err != nil {
					return err
				}
				if err := unix.Symlinkat("../"+target, int(phys.Fd()), link); err != nil && !errors.Is(err, unix.EEXIST) {
					return &os.LinkError{Op: "symlink", Old: "../" + target, New: where, Err: err}
				}
				return nil
			})
		},
	}}
}

// imageNames reports names that podman cannot read back: it fails on the whole store.
func (ex *examination) imageNames() (list []Problem) {
	for _, s := range ex.stores() {
		for _, img := range s.Images {
			for _, name := range img.Names {
				if _, err := cstorage.ParseStorable(name); err == nil {
					continue
				}
				list = append(list, Problem{
					Finding: health.Finding{
						Rule: health.NameUnreadable, Severity: health.Failing, Where: fmt.Sprintf("image %s of %s", short(img.ID), s.name),
						What: fmt.Sprintf("has the name %q, which podman cannot read", name), Why: "podman images fails, and bootc upgrade with it",
						Fix: ex.command("doctor", "--fix"),
					},
					Action: fmt.Sprintf("take the name %q from image %s of %s", name, short(img.ID), s.name),
					Apply:  ex.maintain(s, clonejob.Care{Names: []string{name}}),
				})
			}
		}
	}
	return list
}

// maintain has the private program do something to a store.
func (ex *examination) maintain(s store, care clonejob.Care) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := transfer.Care(ctx, ex.Options.Options, s.bootc, care)
		return err
	}
}

// borrowed reports images of podman's own store that have layers in the bootc store.
func (ex *examination) borrowed() (list []Problem) {
	for _, use := range ex.uses() {
		if use.By != inventory.ByImage {
			continue
		}
		name := use.Name
		if name == "" {
			name = short(use.ID)
		}
		list = append(list, Problem{Finding: health.Finding{
			Rule: health.LayersBorrowed, Severity: health.Risk, Where: fmt.Sprintf("image %s (%s) in %s", name, short(use.ID), use.Store),
			What: "has layers that lie in the bootc-owned store", Why: "it breaks when they are removed there, and podman fails on it without that store",
			Fix: ex.command("localize", name),
		}})
	}
	return list
}

// containers reports containers whose layers are gone, or that will lose them in the next
// cleanup of bootc's.
func (ex *examination) containers() (list []Problem) {
	using := map[string]bool{}
	for _, use := range ex.uses() {
		if using[use.ID] = true; use.By != inventory.ByContainer || use.Layer == "" {
			continue
		}
		images := ex.survey.Bootc.ImagesWith(use.Layer)
		kept := slices.ContainsFunc(images, func(img *cstorage.Image) bool {
			keepers, decided := ex.survey.KeptBy(img)
			return len(keepers) > 0 || !decided
		})
		if len(images) > 0 && !kept {
			name := images[0].ID
			if len(images[0].Names) > 0 {
				name = images[0].Names[0]
			}
			f := health.Finding{
				Rule: health.ContainerUnkept, Severity: health.Risk, Where: fmt.Sprintf("container %s in %s", containerName(cstorage.Container{ID: use.ID, Name: use.Name}), use.Store),
				What: fmt.Sprintf("runs image %s of the bootc-owned store, which no deployment needs; make it again once podman's own store has the image", name),
				Why:  "bootc's next cleanup removes its files", Fix: ex.command("localize", name),
			}
			if ex.survey.Own != nil && ex.survey.Own.ByID(images[0].ID) != nil {
				f.What = fmt.Sprintf("runs image %s of the bootc-owned store, which no deployment needs, and podman's own store has it by now: make the container again", name)
				f.Fix = ""
			}
			list = append(list, Problem{Finding: f})
		}
	}
	if ex.survey.Own == nil || ex.survey.Own.Err() != nil {
		return list
	}
	for _, g := range ex.survey.Own.Graphs() {
		all, err := g.Containers()
		if err != nil && ex.survey.Bootc == nil { // else uses reported it
			list = append(list, unread(err)...)
		}
		for _, c := range all {
			missing := ex.survey.Default.MissingBelow(c.Layer)
			if using[c.ID] || missing == "" || missing == c.Layer {
				continue // a layer of its own may be below the run root
			}
			list = append(list, Problem{Finding: health.Finding{
				Rule: health.ContainerDamaged, Severity: health.Failing, Where: "container " + containerName(c),
				What: fmt.Sprintf("is built on layer %s, which no store has", short(missing)), Why: "it does not start",
				Fix: wrapper.Quote("podman", "rm", "--force", c.ID),
			}})
		}
	}
	return list
}
