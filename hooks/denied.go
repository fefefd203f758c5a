// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

const (
	deniedDir = "denied"
	// maxDenied is how many denials are kept: a service that is restarted for ever
	// comes with a new container each time.
	maxDenied = 64
)

// Denial says why a container was not let start. podman says no more than that a
// hook failed. It is in /run/bootc-podman/denied/ID.json.
type Denial struct {
	// Schema is 1.
	Schema int       `json:"schema"`
	ID     string    `json:"id"`
	Hook   string    `json:"hook"`
	Reason string    `json:"reason"`
	Name   string    `json:"name"`
	Image  *Image    `json:"image"`
	Time   time.Time `json:"time"`
}

// deny records why a container may not start.
func (v *Invocation) deny(id, hook, reason string, c *cstorage.Container) {
	denial := Denial{Schema: 1, ID: id, Hook: hook, Reason: reason, Time: v.Now().UTC()}
	fields := map[string]string{"MESSAGE_ID": messageDenied, "BOOTC_PODMAN_HOOK": hook, "CONTAINER_ID_FULL": id}
	name := short(id)
	if c != nil {
		denial.Name, denial.Image = c.Name, &Image{ID: c.Image, Name: c.ImageName}
		maps.Copy(fields, map[string]string{"CONTAINER_NAME": c.Name, "IMAGE_ID": c.Image, "IMAGE_NAME": c.ImageName})
		name = cmp.Or(c.Name, name)
	}
	v.record(journal.PriErr, fmt.Sprintf("container %s may not start: %s", name, reason), fields)
	if err := v.writeDenial(denial); err != nil && !errors.Is(err, fs.ErrPermission) {
		v.warn(hook, err)
	}
}

func (v *Invocation) writeDenial(denial Denial) error {
	if denial.ID == "" {
		return nil
	}
	dir, err := openState(v.Root, deniedDir, true)
	if err != nil {
		return err
	}
	defer dir.Close()
	if names, err := recordNames(dir); err == nil && len(names) >= maxDenied {
		sweep(dir, v.Now(), func(string) bool { return false })
		slices.SortFunc(names, func(a, b string) int { return cmp.Compare(age(dir, a, v.Now()), age(dir, b, v.Now())) })
		for _, name := range names[maxDenied-1:] {
			_ = removeRecord(dir, name)
		}
	}
	return writeRecord(dir, leaseName(denial.ID), denial, 0o600)
}

// Denials reads why containers were not let start since the boot, the last one first, on
// the host whose root is root. Each problem names a record that could not be read.
func Denials(root string) (denials []Denial, problems []error) {
	denials, problems = records(root, deniedDir, "denial", "denials", readRecord[Denial])
	slices.SortStableFunc(denials, func(a, b Denial) int { return b.Time.Compare(a.Time) })
	return denials, problems
}
