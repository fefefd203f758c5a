// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/rooted"
)

// containerState is the state of a container that a runtime hands to its hooks,
// see "State" in the OCI runtime specification; nothing but what is needed.
type containerState struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	PID    int    `json:"pid"`
	Bundle string `json:"bundle"`
}

// Message IDs of the journal records, for journalctl MESSAGE_ID=.
const (
	messageStarted = "0e54b268df5c47ac95ac804eddc16b46"
	messageStopped = "00d3ddaa53d144f18eb1230e6d011f6d"
	messageGuarded = "002b8c27f4dd4e98a3351a309be26d16"
	messageParent  = "f46686d48cec402f82746dc585eab28b"
	messageDenied  = "b770665b448443e8824430be06b70c16"
	messageLabels  = "5905c20b0bb34a9b802065e1e12a93f1"
)

// ledger records that a container starts or has stopped. It always returns 0.
func (v *Invocation) ledger([]string) int {
	err := v.bounded(func() error {
		state, err := readState(v.Stdin)
		if err != nil {
			return err
		}
		switch state.Status {
		case "creating", "created", "running":
			return v.lend(state)
		case "stopped":
			return v.takeBack(state.ID)
		}
		return fmt.Errorf("container %q: unknown status %q", short(state.ID), state.Status)
	})
	// Rootless podman runs the same hooks, and cannot write here.
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		v.warn(Ledger, err)
	}
	return 0
}

func (*Invocation) previewLedger([]byte, []string) []string {
	return []string{"writes a lease while the container runs"}
}

// readState reads the state of a container. What is left of too large a one is
// read too: a runtime could stumble over a hook that does not read its input.
func readState(r io.Reader) (state containerState, err error) {
	content, err := rooted.ReadLimited(r, maxState)
	if err != nil {
		_, _ = io.Copy(io.Discard, r)
		return state, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return state, fmt.Errorf("decode state: %w", err)
	}
	if !validID(state.ID) {
		return state, fmt.Errorf("decode state: %q is no container ID", state.ID[:min(len(state.ID), 128)])
	}
	return state, nil
}

// lend writes the lease of a container that starts.
func (v *Invocation) lend(state containerState) error {
	dir, err := openState(v.Root, leasesDir, true)
	if err != nil {
		return err
	}
	defer dir.Close()
	lease := Lease{
		Schema: 1, ID: state.ID, Layers: []Layer{},
		PID: state.PID, PIDStart: processStart(v.Root, state.PID), BootID: bootID(v.Root), Started: v.Now().UTC(),
		BootedDigest: ReadIdentity(v.Root).Digest,
	}
	// A container that is not podman's, or whose records cannot be read, or not soon
	// enough, runs too.
	_ = writeLease(dir, lease) // the second write reports
	unlabelled, described := v.describe(&lease, state)
	err = writeLease(dir, lease)
	v.recordLease(lease, "started", messageStarted)
	if unlabelled != "" {
		v.record(journal.PriWarning, fmt.Sprintf("container %s: layer %q of the bootc-owned store lacks a container label, which SELinux may not let it read; see bootc-podman-hook(8)",
			lease.Name, unlabelled), with(lease.fields(), "MESSAGE_ID", messageLabels))
	}
	v.sweepLeases(dir)
	if errors.Is(described, errForeign) {
		described = nil
	}
	return errors.Join(err, described)
}

func writeLease(dir *os.File, lease Lease) error {
	content, err := json.Marshal(lease)
	if err != nil {
		return err
	}
	return rooted.WriteVolatile(dir, leaseName(lease.ID), append(content, '\n'), 0o600)
}

// describe fills in what the container's store has. It also returns a layer of
// the bootc-owned store that lacks a label.
func (v *Invocation) describe(lease *Lease, state containerState) (unlabelled string, err error) {
	own, err := v.graphOfBundle(state.Bundle, state.ID)
	if err != nil {
		return "", err
	}
	defer own.close()
	lease.Store = own.path
	c, err := own.container(func(r cstorage.ContainerRecord) bool { return r.ID == state.ID })
	if err != nil {
		return "", err
	}
	lease.Name, lease.Image = c.Name, Image{ID: c.Image, Name: c.ImageName}
	if own.Driver == cstorage.Overlay && cstorage.IsID(c.Layer) && !rooted.Exists(own.Dir, own.Driver.Dir(c.Layer)) {
		// The bundle and the record of a container of a transient store are below the run
		// root. Its configuration, which is large, names the graph root.
		graph, err := v.graphOfConfig(state.Bundle)
		if err != nil {
			return "", err
		}
		defer graph.close()
		own, lease.Store = graph, graph.path
	}
	all := v.openStores(own)
	defer all.close()
	lease.Image.Digest = all.digest(c.Image)
	layers, err := all.layers(own, c.Layer, v.mountedOf)
	if layers != nil {
		lease.Layers = layers
	}
	if bootc := all.bootc(); bootc != nil && v.hasSELinux() {
		unlabelled = unlabelledLayer(bootc, layers)
	}
	return unlabelled, err
}

// hasSELinux reports whether the host confines containers by labels.
func (v *Invocation) hasSELinux() bool {
	f, err := v.open("sys/fs/selinux/enforce", unix.O_PATH)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// unlabelledLayer returns the first of the layers in the bootc-owned store whose
// content containers may not read by its SELinux type, "" when there is none.
func unlabelledLayer(bootc *graph, layers []Layer) string {
	for _, l := range layers {
		if l.Store != BootcStore || !cstorage.IsID(l.ID) {
			continue
		}
		diff, err := rooted.Open(bootc.Dir, bootc.Driver.Files(l.ID), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		label := make([]byte, 512)
		n, err := unix.Fgetxattr(int(diff.Fd()), "security.selinux", label)
		diff.Close()
		if err != nil {
			n = 0
		}
		if !isContainerLabel(strings.TrimRight(string(label[:n]), "\x00")) {
			return l.ID
		}
	}
	return ""
}

// isContainerLabel reports whether confined containers may read what has this label:
// user:role:type:level.
func isContainerLabel(label string) bool {
	parts := strings.Split(label, ":")
	return len(parts) >= 3 && slices.Contains([]string{
		"container_ro_file_t", "container_share_t", "container_file_t", "container_var_lib_t", "svirt_sandbox_file_t",
	}, parts[2])
}

// graphOfConfig finds the store of a container by the configuration in its bundle.
func (v *Invocation) graphOfConfig(bundle string) (*graph, error) {
	raw, err := readBelow(v.Root, bundle+"/config.json", MaxConfig)
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(raw)
	if err != nil {
		return nil, err
	}
	g, _, err := v.graphOfRoot(d.rootfs)
	return g, err
}

// takeBack removes the lease of a container that has stopped. It may come late or
// twice: the lease of a container that started again is left alone.
func (v *Invocation) takeBack(id string) error {
	dir, err := openState(v.Root, leasesDir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	defer v.sweepLeases(dir)
	lease, err := readLease(dir, leaseName(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && lease.state(v.Root, bootID(v.Root)) == LeaseRunning {
		return nil
	}
	if lease.ID == id {
		v.recordLease(lease, "stopped", messageStopped)
	}
	return removeRecord(dir, leaseName(id))
}

// fields are those of journal records about the container. The first two are
// named as podman's own.
func (l Lease) fields() map[string]string {
	fields := map[string]string{
		"CONTAINER_ID_FULL": l.ID, "CONTAINER_NAME": l.Name, "IMAGE_ID": l.Image.ID, "IMAGE_NAME": l.Image.Name,
		"BOOTC_PODMAN_HOOK": Ledger, "BOOTC_PODMAN_STORE": l.Store, "OBJECT_PID": strconv.Itoa(l.PID),
	}
	fields = with(fields, "IMAGE_DIGEST", l.Image.Digest)
	return with(fields, "BOOTC_DIGEST", l.BootedDigest)
}

func (v *Invocation) recordLease(l Lease, what, message string) {
	v.record(journal.PriInfo, fmt.Sprintf("container %s %s, image %s %s", cmp.Or(l.Name, short(l.ID)), what, l.Image.Name, l.Image.Digest), with(l.fields(), "MESSAGE_ID", message))
}
