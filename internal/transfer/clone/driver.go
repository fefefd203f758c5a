// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/drivers/overlay"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// driverName is the name of our driver in the storage library's table of drivers, and what
// String returns, which the library joins with the graph root: it means "overlay" there.
//
// The library makes the driver again, by what String returned, after any other process has
// written the store's lock file, as podman does when it exits. "overlay" would be the
// library's own driver from then on (startUsingGraphDriver in its store.go).
const driverName = "./overlay"

// register adds our driver to that table, which the library has once in a process.
var register = sync.OnceValue(func() error {
	var mu sync.Mutex
	stagings := map[string]*staging{}
	return drivers.Register(driverName, func(_ string, options drivers.Options) (drivers.Driver, error) {
		home := filepath.Join(options.Root, "overlay")
		d, err := overlay.Init(home, options)
		if err != nil {
			return nil, err
		}
		// Else the library has searched for a mount program, and found none or one.
		native, err := overlay.SupportsNativeOverlay(home, filepath.Join(options.RunRoot, "overlay"))
		if err != nil || !native || unshare.IsRootless() {
			return nil, fmt.Errorf("overlayfs is not the kernel's own: %w", errors.Join(err, errors.ErrUnsupported))
		}
		own, ok := d.(*overlay.Driver)
		if !ok {
			return nil, fmt.Errorf("unexpected driver %T", d)
		}
		mu.Lock()
		defer mu.Unlock()
		if stagings[options.Root] == nil {
			stagings[options.Root] = &staging{staged: map[string]*place{}}
		}
		return &driver{Driver: own, layers: layersDir(options.Root), staging: stagings[options.Root]}, nil
	})
})

// driver is the overlay driver with another staging directory, see stagingName. It also
// puts the recipe for a layer's archive (the tar-split file) into its place. The library
// would compress it once more for that, which takes a third of the time of all.
type driver struct {
	*overlay.Driver
	// layers is the directory of the records of layers.
	layers string
	*staging
}

// staging is what all drivers that the library makes for one graph root have in common.
type staging struct {
	// area is where layers are staged; nil in a store that is only read.
	area *area

	mu sync.Mutex
	// staged are the places of layers by the path of their trees.
	staged map[string]*place
}

// String implements drivers.Driver.
func (*driver) String() string { return driverName }

// layersDir is where the library keeps the records of layers.
func layersDir(graphRoot string) string { return filepath.Join(graphRoot, "overlay-layers") }

// tarSplitPath is the path of a layer's recipe in the directory of records.
func tarSplitPath(layers, id string) string { return filepath.Join(layers, id+".tar-split.gz") }

// tarSplitArtifact is the key of the recipe, an open file without a name, in the
// output of our differ.
const tarSplitArtifact = "bootc-podman.tar-split"

// treeArtifact is the key of the staged tree, a *stagedTree, in the output of our differ.
const treeArtifact = "bootc-podman.tree"

// ApplyDiffWithDiffer lets differ stage a layer in a place of its own.
func (d *driver) ApplyDiffWithDiffer(_ *drivers.ApplyDiffWithDifferOpts, differ drivers.Differ) (output drivers.DriverWithDifferOutput, err error) {
	p, err := d.area.newPlace()
	if err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			p.remove()
		}
	}()
	dir := filepath.Join(d.area.graphRoot, p.path(""))
	tree := filepath.Join(dir, treeName)
	if err := os.Mkdir(tree, 0o700); err != nil {
		return output, err
	}
	// Stores that are in other forms were refused when they were opened.
	output, err = differ.ApplyDiff(tree, &archive.TarOptions{WhiteoutFormat: archive.OverlayWhiteoutFormat},
		&drivers.DifferOptions{Format: drivers.DifferOutputFormatDir, StagingDirectory: dir})
	if err != nil {
		return output, err
	}
	output.Target = tree
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged[tree] = p
	return output, nil
}

// CleanupStagingDirectory removes the place of a staged layer.
func (d *driver) CleanupStagingDirectory(tree string) error {
	d.mu.Lock()
	p := d.staged[tree]
	delete(d.staged, tree)
	d.mu.Unlock()
	if p != nil {
		p.remove()
	}
	return nil
}

// ApplyDiffFromStagingDirectory is called when the record of the layer says that it is
// incomplete, with the lock on it held: who is killed here leaves a layer behind that
// the next to open the store removes, recipe and all.
func (d *driver) ApplyDiffFromStagingDirectory(id, parent string, output *drivers.DriverWithDifferOutput, _ *drivers.ApplyDiffWithDifferOpts) error {
	// The library puts it also in place of a layer that is whole, and may be mounted.
	there, err := d.hasFiles(id)
	if err != nil {
		return err
	}
	if there {
		return storage.ErrDuplicateID
	}
	d.mu.Lock()
	p := d.staged[output.Target]
	d.mu.Unlock()
	tree, ok := output.Artifacts[treeArtifact].(*stagedTree)
	if !ok || p == nil {
		return errors.New("no staged layer")
	}
	f, ok := output.Artifacts[tarSplitArtifact].(*os.File)
	if !ok {
		return errors.New("no tar-split")
	}
	if output.RootDirMode == nil && parent != "" {
		if err := tree.hasModeOf(int(d.area.overlay.Fd()), filepath.Join(parent, "diff")); err != nil {
			return err
		}
	}
	if err := p.commit(tree, id); err != nil {
		return err
	}
	path := tarSplitPath(d.layers, id)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return link(f, path)
}

// hasFiles reports whether there is anything in the tree of a layer.
func (d *driver) hasFiles(id string) (bool, error) {
	path, err := d.DifferTarget(id)
	if err != nil {
		return false, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	_, err = dir.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// SyncMode has the library write everything out before it records that a layer is
// complete: the files that name the layers below it are not even synced when they are
// written, and a machine that goes down would leave layers behind that are taken for
// whole for ever after.
func (*driver) SyncMode() drivers.SyncMode { return drivers.SyncModeFilesystem }

// newUnnamed makes a file without a name, of mode 0600, on the filesystem of a directory.
func newUnnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if rooted.IsOneOf(err, unix.EOPNOTSUPP, unix.EISDIR) {
		return nil, clonejob.Unsupportedf("the filesystem of %q has no files without a name", dir)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "make file in", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir, "unnamed file")), nil
}

// link gives a file of newUnnamed its name. The error is fs.ErrExist if it is in use.
func link(f *os.File, path string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: path, Err: err}
	}
	return nil
}
