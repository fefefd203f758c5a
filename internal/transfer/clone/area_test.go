// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux && (!cgo || exclude_graphdriver_btrfs)

package clone

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/bootc-podman/bootc-podman/internal/testfs"
	"github.com/bootc-podman/bootc-podman/internal/transfer/clonejob"
)

// TestStagedTreeThatIsDisturbedIsNotCommitted disturbs the staged trees when all are
// made, once or at each try.
func TestStagedTreeThatIsDisturbedIsNotCommitted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	const layers = 2
	for name, disturb := range map[string]func(t *testing.T, tree string){
		"all removed": func(t *testing.T, tree string) { must(t, os.RemoveAll(filepath.Dir(tree))) },
		"file removed": func(t *testing.T, tree string) {
			files, err := filepath.Glob(tree + "/*/*/*")
			must(t, err)
			must(t, os.Remove(files[0]))
		},
		"file added": func(t *testing.T, tree string) { must(t, os.WriteFile(tree+"/added", nil, 0o600)) },
		"another": func(t *testing.T, tree string) {
			must(t, os.Rename(tree, tree+".away"))
			must(t, exec.Command("cp", "-a", tree+".away", tree).Run())
		},
	} {
		for _, tries := range []int{1, 1000} {
			t.Run(name+map[int]string{1: " once", 1000: " always"}[tries], func(t *testing.T) {
				dir := testfs.New(t, "xfs")
				a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
				id := a.put(t, "localhost/image:1", manyLayers(t, layers, 30)...)
				done, tried := 0, 0
				err := a.cloneWatched(t.Context(), b, id, func(int) {
					if done++; done%layers != 0 || tried == tries {
						return
					}
					tried++
					trees, err := filepath.Glob(filepath.Join(b.job.GraphRoot, stagingName, "*", treeName))
					must(t, err)
					if len(trees) != layers {
						t.Fatalf("%d staged trees", len(trees))
					}
					disturb(t, trees[0])
				})
				if tries == 1 {
					must(t, err)
					equal(t, b, a, id)
				} else if f := Failure(err); err == nil || f.Kind != clonejob.Changed {
					t.Errorf("failure %+v, want %s", f, clonejob.Changed)
				}
				removeStray(t, b)
				b.check(t)
				b.has(t, min(tries, 1)*map[bool]int{true: 1}[tries == 1], map[bool]int{true: layers}[tries == 1])
			})
		}
	}
}

// removeStray removes what a test has put into the staging directory, which may not be
// removed with what is ours.
func removeStray(t *testing.T, s *testStore) {
	t.Helper()
	stray, err := filepath.Glob(filepath.Join(s.job.GraphRoot, stagingName, "*", treeName+".away"))
	must(t, err)
	for _, dir := range stray {
		must(t, os.RemoveAll(filepath.Dir(dir)))
		_ = os.Remove(filepath.Dir(filepath.Dir(dir)))
	}
}

// TestLayersAreRenamedBelowMounts: podman mounts the directory of layers on itself.
func TestLayersAreRenamedBelowMounts(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	overlay := filepath.Join(b.job.GraphRoot, "overlay")
	must(t, exec.Command("mount", "--bind", overlay, overlay).Run())
	_, err := a.clone(t, b, id, clonejob.VerifyMetadata)
	must(t, err)
	equal(t, b, a, id)
	b.check(t)
}

// TestLayersOnAnotherFilesystemAreLeftToPodman: no file can be renamed to there.
func TestLayersOnAnotherFilesystemAreLeftToPodman(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	must(t, exec.Command("mount", "--bind", testfs.New(t, "xfs"), filepath.Join(b.job.GraphRoot, "overlay")).Run())
	if _, err := a.clone(t, b, id, clonejob.VerifyMetadata); !errors.Is(err, clonejob.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
	}
}

// TestProjectOfAQuotaIsInherited: no file can be renamed to a directory of another one.
func TestProjectOfAQuotaIsInherited(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", hardLayers(t)...)
	overlay := filepath.Join(b.job.GraphRoot, "overlay")
	if out, err := exec.Command("chattr", "-p", "7", "+P", overlay, overlay+"/l").CombinedOutput(); err != nil {
		t.Skipf("needs chattr: %v: %s", err, out)
	}
	_, err := a.clone(t, b, id, clonejob.VerifyMetadata)
	must(t, err)
	equal(t, b, a, id)
	b.check(t)
	out, err := exec.Command("lsattr", "-p", "-d", b.diff(layerID("", digest.FromBytes(hardLayers(t)[0])))).Output()
	must(t, err)
	if got := strings.Fields(string(out)); len(got) < 2 || got[0] != "7" || !strings.Contains(got[1], "P") {
		t.Errorf("project and flags %q", out)
	}
}

// TestTreesOfAnotherProjectAreLeftToPodman: no file can be renamed to a directory that
// gives another one.
func TestTreesOfAnotherProjectAreLeftToPodman(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	id := a.put(t, "localhost/image:1", manyLayers(t, 1, 3)...)
	overlay := filepath.Join(b.job.GraphRoot, "overlay")
	if out, err := exec.Command("chattr", "-p", "7", "+P", overlay).CombinedOutput(); err != nil {
		t.Skipf("needs chattr: %v: %s", err, out)
	}
	err := a.cloneWatched(t.Context(), b, id, func(int) {
		trees, err := filepath.Glob(filepath.Join(b.job.GraphRoot, stagingName, "*", treeName))
		must(t, err)
		must(t, exec.Command("chattr", "-p", "8", trees[0]).Run())
	})
	if !errors.Is(err, clonejob.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, clonejob.ErrUnsupported)
	}
	b.check(t)
	b.has(t, 0, 0)
}

// TestUnfinishedImagesOfKilledProcessesAreRemoved: those of others are left alone.
func TestUnfinishedImagesOfKilledProcessesAreRemoved(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a, b := newStore(t, dir+"/a"), newStore(t, dir+"/b")
	layers := hardLayers(t)
	id := a.put(t, "localhost/image:1", layers...)
	dead := b.put(t, unfinished+"dead", layers[0])
	named := b.put(t, "localhost/named:1", layers[1])
	must(t, b.AddNames(named, []string{unfinished + "dead2"}))
	working := &area{graphRoot: b.job.GraphRoot}
	must(t, working.open())
	defer working.close()
	p, err := working.newPlace()
	must(t, err)
	alive := b.put(t, unfinished+p.name, layers[1], layers[0])
	_, err = a.clone(t, b, id, clonejob.VerifyMetadata, "localhost/image:1")
	must(t, err)
	b.reopen(t)
	if _, err := b.Image(dead); !errors.Is(err, storage.ErrImageUnknown) {
		t.Errorf("image of a killed process: %v", err)
	}
	for id, want := range map[string]string{named: "localhost/named:1", alive: unfinished + p.name, id: "localhost/image:1"} {
		image, err := b.Image(id)
		must(t, err)
		if len(image.Names) != 1 || image.Names[0] != want {
			t.Errorf("image %s has the names %q", want, image.Names)
		}
	}
	p.remove()
}

// TestTemporaryDirectoriesAreLeftAsTheyWere: the library makes one to remove layers.
func TestTemporaryDirectoriesAreLeftAsTheyWere(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", manyLayers(t, 2, 3)...)
	for name, want := range map[string]bool{"without": false, "with": true} {
		b := newStore(t, dir+"/"+name)
		tempDirs := filepath.Join(b.job.GraphRoot, "overlay/tempdirs")
		if want {
			must(t, os.Mkdir(tempDirs, 0o700))
		}
		// The second layer cannot be put in place: the first one is taken back.
		done := 0
		err := a.cloneWatched(t.Context(), b, id, func(int) {
			trees, _ := filepath.Glob(filepath.Join(b.job.GraphRoot, stagingName, "*", treeName, "1"))
			if done++; done%2 != 0 {
				return
			}
			for _, path := range trees {
				_ = os.RemoveAll(path)
			}
		})
		if !errors.Is(err, clonejob.ErrChanged) {
			t.Errorf("error %v, want %v", err, clonejob.ErrChanged)
		}
		if _, err := os.Stat(tempDirs); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		entries, err := os.ReadDir(filepath.Dir(tempDirs))
		must(t, err)
		if want := 1 + map[bool]int{true: 1}[want]; len(entries) > want+1 { // l, a file, and that
			t.Errorf("%s: left %v", name, entries)
		}
	}
}

// TestStrangeStagingDirectories: what is no directory of a clone is left as it is.
func TestStrangeStagingDirectories(t *testing.T) {
	dir := testfs.New(t, "xfs")
	a := newStore(t, dir+"/a")
	id := a.put(t, "localhost/image:1", manyLayers(t, 2, 3)...)
	elsewhere := filepath.Join(dir, "elsewhere")
	must(t, os.MkdirAll(elsewhere+"/empty", 0o700))
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(elsewhere+"/empty", old, old))
	for name, tt := range map[string]struct {
		make func(staging string) error
		want error
	}{
		"with a file": {func(staging string) error {
			return errors.Join(os.Mkdir(staging, 0o700), os.WriteFile(staging+"/.nfs1", nil, 0o600))
		}, nil},
		"with links": {func(staging string) error {
			return errors.Join(os.Mkdir(staging, 0o700), os.Symlink(elsewhere, staging+"/link"), os.Symlink("nowhere", staging+"/dangling"))
		}, nil},
		"with a link for a lock": {func(staging string) error {
			return errors.Join(os.MkdirAll(staging+"/x", 0o700), os.Symlink(elsewhere, staging+"/x/"+lockName))
		}, nil},
		"with a directory for a lock": {func(staging string) error {
			return os.MkdirAll(staging+"/x/"+lockName, 0o700)
		}, nil},
		"a link": {func(staging string) error { return os.Symlink(elsewhere, staging) }, clonejob.ErrUnsupported},
		"a file": {func(staging string) error { return os.WriteFile(staging, nil, 0o600) }, clonejob.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			b := newStore(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")))
			staging := filepath.Join(b.job.GraphRoot, stagingName)
			must(t, tt.make(staging))
			before, err := exec.Command("find", staging, elsewhere, "-printf", "%p %y %l\n").Output()
			must(t, err)
			if _, err := a.clone(t, b, id, clonejob.VerifyMetadata); !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			after, err := exec.Command("find", staging, elsewhere, "-printf", "%p %y %l\n").Output()
			must(t, err)
			if string(after) != string(before) {
				t.Errorf("left %s of %s", after, before)
			}
			if tt.want == nil {
				equal(t, b, a, id)
			}
		})
	}
}
