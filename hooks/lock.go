// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// LockPath is where the digests of bound images are pinned.
const LockPath = "/etc/bootc-podman/bound.lock"

const maxLock = 1 << 20

// Lock pins bound images: bound-gate lets a container start only with the image of
// the digest that the lock has for the name, as the bound unit spells it.
type Lock struct {
	// Schema is 1.
	Schema int               `json:"schema"`
	Images map[string]string `json:"images"`
}

// ReadLock reads the lock file of the host whose root is root. The error is
// fs.ErrNotExist where there is none.
func ReadLock(root string) (lock Lock, err error) {
	content, err := readBelow(root, LockPath, maxLock)
	if err != nil {
		return lock, fmt.Errorf("read lock: %w", err)
	}
	if err := json.Unmarshal(content, &lock); err != nil {
		return lock, fmt.Errorf("decode %s: %w", LockPath, err)
	}
	if lock.Schema != 1 {
		return lock, fmt.Errorf("decode %s: schema %d is not supported", LockPath, lock.Schema)
	}
	return lock, nil
}

// LockError reports that an image bound to the deployment of a role cannot be locked.
type LockError struct {
	Image string
	Role  host.Role
	Err   error
}

func (e *LockError) Error() string {
	return fmt.Sprintf("lock bound image %q of the %s deployment: %v", e.Image, e.Role, e.Err)
}

func (e *LockError) Unwrap() error { return e.Err }

// MakeLock makes a lock of the images that are bound to the booted and to the staged
// deployment, as the bootc-owned store has them. One that it does not have is a *LockError. The
// warnings are what could not be read of other deployments, and of a staged one whose
// images are not known before it boots.
func MakeLock(root string) (lock Lock, warnings []error, err error) {
	v := &Invocation{Root: root}
	lock = Lock{Schema: 1, Images: map[string]string{}}
	bound, warnings, err := v.boundToLock()
	if err != nil {
		return lock, nil, fmt.Errorf("lock bound images: %w", err)
	}
	if len(bound) == 0 {
		return lock, warnings, nil
	}
	store, err := v.bootcStore()
	if err != nil {
		return lock, nil, fmt.Errorf("lock bound images: %w", err)
	}
	defer store.Close()
	for _, b := range bound {
		img, err := store.Lookup(b.Image, v.shortNames)
		if err == nil && img.Digest == "" {
			err = errors.New("no digest is recorded")
		}
		if err != nil {
			return lock, nil, &LockError{b.Image, b.role, err}
		}
		lock.Images[b.Image] = img.Digest
	}
	return lock, warnings, nil
}

// boundImage is an image bound to the deployment of a role.
type boundImage struct {
	host.BoundImage
	role host.Role
}

// boundToLock reads what is bound to the booted and to the staged deployment.
func (v *Invocation) boundToLock() (bound []boundImage, warnings []error, err error) {
	sysroot := host.Sysroot{Dir: v.Root, Running: v.Root}
	h, problems := host.ReadSysroot(sysroot)
	switch {
	case h == nil:
		return nil, nil, errors.Join(problems...)
	case h.Booted() == nil:
		return nil, nil, refuse("no deployment is booted here")
	}
	for _, d := range h.Deployments {
		if d.Role != host.Booted && d.Role != host.Staged {
			continue
		}
		images, bad, err := boundTo(sysroot, d)
		if d.Role == host.Staged && errors.Is(err, host.ErrNoRoot) {
			problems = append(problems, fmt.Errorf("lock images bound to staged deployment %s: not known before it boots", d.ID()))
			continue
		}
		if err = errors.Join(append(bad, err)...); err != nil {
			return nil, nil, err
		}
		for _, b := range images {
			bound = append(bound, boundImage{b, d.Role})
		}
	}
	return bound, problems, nil
}

// Write writes the lock file of the host whose root is root, and reports whether it is another
// than before.
func (l Lock) Write(root string) (changed bool, err error) {
	content, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		changed, err = writeLock(root, append(content, '\n'))
	}
	if err != nil {
		return false, fmt.Errorf("write lock: %w", err)
	}
	return changed, nil
}

func writeLock(root string, content []byte) (changed bool, err error) {
	dir, err := rooted.OpenRoot(root)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	if err := rooted.MakeDirs(dir, filepath.Dir(LockPath), nil); err != nil {
		return false, err
	}
	before, err := rooted.ReadFile(dir, LockPath, maxLock)
	return err != nil || !bytes.Equal(before, content), rooted.WriteFile(dir, LockPath, content)
}
