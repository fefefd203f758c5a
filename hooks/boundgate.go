// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
	"github.com/bootc-podman/bootc-podman/storageconf"
)

// Require is the annotation by which a container asks to run only as what is bound
// to the booted deployment. With the second value a difference is only reported.
const (
	Require          = "io.bootc-podman.require"
	RequireBound     = "bound"
	RequireBoundWarn = "bound-warn"
)

// gateOff is the file that opens the gate for all, by hand.
const gateOff = "gate-off"

// GateOffPath is the path of that file.
const GateOffPath = "/" + stateRoot + "/" + gateOff

// GateIsOff reports whether the gate is open for all on the host whose root is root.
func GateIsOff(root string) bool { return (&Invocation{Root: root}).isGateOff() }

// refusal is a reason why a container may not start.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// boundGate hands the configuration of a container on if the container may start.
func (v *Invocation) boundGate([]string) int {
	in := newInput()
	verdict := gateVerdict{require: RequireBound}
	var known atomic.Pointer[gateVerdict]
	err := v.bounded(func() error {
		raw, err := in.all(v.Stdin)
		if err != nil {
			return err
		}
		_, err = v.admit(raw, func(verdict gateVerdict) { known.Store(&verdict) })
		return err
	})
	if k := known.Load(); k != nil {
		verdict = *k
	}
	if err != nil && v.isGateOff() {
		v.warn(BoundGate, fmt.Errorf("container %s starts since the gate is off: %w", short(verdict.id), err))
		err = nil
	}
	if err != nil && verdict.require == RequireBound {
		v.deny(verdict.id, BoundGate, err.Error(), verdict.container)
		return 1
	}
	in.handOn(v.Stdout, v.Stdin)
	if err != nil {
		v.warn(BoundGate, fmt.Errorf("container %s would not start: %w", short(verdict.id), err))
	}
	return 0
}

func (v *Invocation) previewBoundGate(raw []byte, _ []string) []string {
	verdict, err := v.admit(raw, func(gateVerdict) {})
	switch {
	case err == nil:
		return []string{"lets the container start"}
	case v.isGateOff():
		return []string{"lets the container start since the gate is off: " + err.Error()}
	case verdict.require == RequireBoundWarn:
		return []string{"only warns: " + err.Error()}
	}
	return []string{"does not let the container start: " + err.Error()}
}

type gateVerdict struct {
	id        string
	require   string
	container *cstorage.Container
}

// admit returns why a container may not start, nil when it may. It calls learned with
// what is known of the container so far: with RequireBoundWarn it starts also when there is
// no time for more.
func (v *Invocation) admit(raw []byte, learned func(gateVerdict)) (verdict gateVerdict, err error) {
	verdict.require = RequireBound
	d, err := parseDocument(raw)
	if err != nil {
		return verdict, err
	}
	verdict.id = d.containerID()
	asked, ok := d.annotations[Require]
	switch {
	case !ok:
		verdict.require = ""
		return verdict, nil
	case asked == RequireBoundWarn:
		verdict.require = asked
	}
	learned(verdict)
	own, c, err := v.containerOfRoot(d)
	if errors.Is(err, errForeign) {
		return verdict, fmt.Errorf("%w, as with --rootfs or a user namespace of its own", err)
	}
	if err != nil {
		return verdict, err
	}
	defer own.close()
	// The record has its ID for certain, whatever the configuration looks like.
	verdict.id, verdict.container = cmp.Or(c.ID, verdict.id), &c
	learned(verdict)
	if asked != RequireBound && asked != RequireBoundWarn {
		return verdict, refuse("annotation %s is %q, neither %s nor %s", Require, asked, RequireBound, RequireBoundWarn)
	}
	return verdict, v.checkBound(own, c, d)
}

// checkBound returns why a container is not just the image that is bound to the booted
// deployment.
func (v *Invocation) checkBound(own *graph, c cstorage.Container, d *document) error {
	bound, problems, err := v.boundImages()
	if err != nil {
		return err
	}
	store, err := v.bootcStore()
	if err != nil {
		return err
	}
	defer store.Close()
	all := v.lookedInto(own)
	defer all.close()
	name, img := v.findBound(bound, store, c)
	if img == nil {
		return refuse("image %s, %s, is not bound to the booted deployment%s", c.ImageName, short(c.Image), alsoProblems(problems))
	}
	if img.ID != c.Image {
		if other, err := all.shadow(func(r cstorage.ImageRecord) bool { return r.ID == c.Image }); err == nil && other != "" {
			return refuse("image %s is shadowed: %s has another of its name, %s, and the bound one is %s", name, other, short(c.Image), short(img.ID))
		}
		return refuse("image %s is %s, and the bound one is %s", name, short(c.Image), short(img.ID))
	}
	shadow, err := all.shadow(func(r cstorage.ImageRecord) bool {
		return r.ID == img.ID || slices.ContainsFunc(r.Names, func(n string) bool { return slices.Contains(img.Names, n) })
	})
	if err != nil {
		return fmt.Errorf("look for copies of the image: %w", err)
	}
	if shadow != "" {
		return refuse("image %s is shadowed: %s has one of its name, or a copy of it", name, shadow)
	}
	if whole, err := store.Exists(img.ID, v.shortNames); err != nil || !whole {
		return refuse("image %s in the bootc-owned store is damaged", name)
	}
	var layers []string
	for _, l := range slices.Backward(store.LayersOf(img)) {
		layers = append(layers, l.ID)
	}
	bootc := all.bootc()
	if bootc == nil {
		return refuse("there is no bootc-owned store")
	}
	if err := v.checkLayers(all, bootc, c, layers); err != nil {
		return fmt.Errorf("image %s is not what runs: %w", name, err)
	}
	if err := v.checkLock(name, img); err != nil {
		return err
	}
	allowed, err := v.allowsChanges(d)
	if err != nil || allowed {
		return err
	}
	return v.checkUpper(own, bootc, c, layers)
}

// allowsChanges reports whether the container has the annotation, and not from its image.
func (v *Invocation) allowsChanges(d *document) (bool, error) {
	if d.annotations[AllowChanges] != "true" {
		return false, nil
	}
	ofImage, err := v.isOfImage(d, AllowChanges)
	return !ofImage, err
}

func alsoProblems(problems []error) string {
	if len(problems) == 0 {
		return ""
	}
	return fmt.Sprintf(", of which not all can be read: %v", problems[0])
}

// boundImages reads what is bound to the booted deployment.
func (v *Invocation) boundImages() ([]host.BoundImage, []error, error) {
	sysroot := host.Sysroot{Dir: v.Root, Running: v.Root}
	h, problems := host.ReadSysroot(sysroot)
	if h == nil {
		return nil, nil, errors.Join(problems...)
	}
	booted := h.Booted()
	if booted == nil {
		return nil, nil, refuse("no deployment is booted here")
	}
	return boundTo(sysroot, *booted)
}

// boundTo reads what is bound to a deployment.
func boundTo(sysroot host.Sysroot, d host.Deployment) ([]host.BoundImage, []error, error) {
	root, err := sysroot.OpenRoot(d)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s deployment: %w", d.Role, err)
	}
	defer root.Close()
	bound, problems := host.BoundImages(root)
	return bound, problems, nil
}

// bootcStore reads the bootc-owned store.
func (v *Invocation) bootcStore() (*cstorage.Store, error) {
	located, err := storageconf.Locate(v.Root)
	if err != nil {
		return nil, err
	}
	var store *cstorage.Store
	var problems []error
	for range 2 { // a file may be read while another is replaced
		if store, problems = inventory.OpenBootcStore(located, v.Root); store != nil && store.Err() == nil {
			return store, nil
		}
		if store != nil {
			store.Close()
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return nil, refuse("there is no bootc-owned store")
}

func (v *Invocation) shortNames() (cstorage.ShortNames, error) {
	return cstorage.ReadShortNames(v.Root)
}

// findBound finds the bound image that a container runs, or else the one of the
// same name.
func (v *Invocation) findBound(bound []host.BoundImage, store *cstorage.Store, c cstorage.Container) (name string, img *cstorage.Image) {
	for _, b := range bound {
		candidate, err := store.Lookup(b.Image, v.shortNames)
		if err != nil {
			continue
		}
		if candidate.ID == c.Image {
			return b.Image, candidate
		}
		if b.Image == c.ImageName || slices.Contains(candidate.Names, c.ImageName) {
			name, img = b.Image, candidate
		}
	}
	return name, img
}

// checkLock returns why an image is not as the lock file says.
func (v *Invocation) checkLock(name string, img *cstorage.Image) error {
	lock, err := ReadLock(v.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	digest, ok := lock.Images[name]
	if !ok {
		return refuse("image %s is not in %s", name, LockPath)
	}
	if !img.Is(digest) {
		return refuse("image %s is %s, but %s is in %s", name, img.Digest, digest, LockPath)
	}
	return nil
}

// isGateOff reports whether root opened the gate by hand.
func (v *Invocation) isGateOff() bool {
	dir, err := openState(v.Root, ".", false)
	if err != nil {
		return false
	}
	defer dir.Close()
	_, err = rooted.Stat(dir, gateOff, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil
}
