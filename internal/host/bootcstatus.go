// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
)

// bootcStatus is what we read of bootc's host object (host-v1.schema.json of
// bootc). A null leaves a field at its zero value, as if it were missing.
type bootcStatus struct {
	Status struct {
		Staged           *bootEntry   `json:"staged"`
		Booted           *bootEntry   `json:"booted"`
		Rollback         *bootEntry   `json:"rollback"`
		OtherDeployments []*bootEntry `json:"otherDeployments"`
		RollbackQueued   bool         `json:"rollbackQueued"`
	} `json:"status"`
}

type bootEntry struct {
	Image        *statusImage     `json:"image"`
	Incompatible bool             `json:"incompatible"`
	Pinned       bool             `json:"pinned"`
	OSTree       *statusOSTree    `json:"ostree"`
	Composefs    *statusComposefs `json:"composefs"`
}

type statusOSTree struct {
	Stateroot string `json:"stateroot"`
	Checksum  string `json:"checksum"`
	Serial    int    `json:"deploySerial"`
}

type statusComposefs struct {
	Verity string `json:"verity"`
}

type statusImage struct {
	Image        statusReference `json:"image"`
	Version      string          `json:"version"`
	Timestamp    string          `json:"timestamp"`
	ImageDigest  string          `json:"imageDigest"`
	Architecture string          `json:"architecture"`
}

type statusReference struct {
	Image     string `json:"image"`
	Transport string `json:"transport"`
	// Signature is a word, or an object that names an ostree remote.
	Signature any `json:"signature"`
}

// ParseBootcStatus reads what "bootc status --format=json" prints, in the
// versions v1 and v1alpha1 of the format. Unknown keys are skipped. A host that
// was not booted by bootc, and a container, have no deployments; that is no
// error. Values that could not be true, such as a malformed digest, are.
func ParseBootcStatus(data []byte) (*Host, error) {
	// Another version may have other types in it, so this comes first.
	var version struct {
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("parse bootc status: %w", err)
	}
	switch version.APIVersion {
	case "org.containers.bootc/v1", "org.containers.bootc/v1alpha1":
	default:
		return nil, fmt.Errorf("parse bootc status: unsupported apiVersion %q", version.APIVersion)
	}
	var parsed bootcStatus
	if err := json.Unmarshal(data, &parsed); err != nil {
		return nil, fmt.Errorf("parse bootc status: %w", err)
	}
	st := parsed.Status
	h := Host{RollbackQueued: st.RollbackQueued}
	for i, e := range append([]*bootEntry{st.Staged, st.Booted, st.Rollback}, st.OtherDeployments...) {
		if e == nil {
			continue
		}
		role := Other
		if slots := []Role{Staged, Booted, Rollback}; i < len(slots) {
			role = slots[i]
		}
		kind, d, err := e.deployment()
		if err == nil && h.Kind != "" && h.Kind != kind {
			err = errors.New("not of the kind of the other deployments")
		}
		if err != nil {
			return nil, fmt.Errorf("parse bootc status: %s deployment: %w", role, err)
		}
		h.Kind, d.Role = kind, role
		h.Deployments = append(h.Deployments, d)
	}
	return &h, nil
}

// deployment is everything but the role of a deployment.
func (e *bootEntry) deployment() (kind Kind, d Deployment, err error) {
	d = Deployment{Pinned: e.Pinned, Incompatible: e.Incompatible}
	switch {
	case e.OSTree != nil && e.Composefs != nil:
		err = errors.New("both ostree and composefs")
	case e.OSTree != nil:
		kind, err = OSTree, e.OSTree.describe(&d)
	case e.Composefs != nil:
		kind, err = Composefs, e.Composefs.describe(&d)
	default:
		err = errors.New("neither ostree nor composefs")
	}
	if err == nil && e.Image != nil && !e.Incompatible {
		err = e.Image.describe(&d)
	}
	return kind, d, err
}

// describe adds what names an ostree deployment. All of it is checked, since it
// becomes part of a path.
func (o *statusOSTree) describe(d *Deployment) error {
	switch {
	case strings.ContainsAny(o.Stateroot, "/\x00") || o.Stateroot == "." || o.Stateroot == "..":
		return fmt.Errorf("invalid stateroot %q", o.Stateroot)
	case !isHex(o.Checksum, commitDigits):
		return fmt.Errorf("invalid checksum %q", o.Checksum)
	case o.Serial < 0:
		return fmt.Errorf("invalid deploySerial %d", o.Serial)
	}
	d.Stateroot, d.Commit, d.Serial = o.Stateroot, o.Checksum, o.Serial
	// Old versions of bootc did not report the stateroot.
	if o.Stateroot != "" {
		d.Root = path.Join(ostreeDeploy, o.Stateroot, "deploy", o.Checksum+"."+strconv.Itoa(o.Serial))
	}
	return nil
}

// describe adds what names a composefs deployment.
func (c *statusComposefs) describe(d *Deployment) error {
	if !isHex(c.Verity, verityDigits) {
		return fmt.Errorf("invalid verity %q", c.Verity)
	}
	d.Verity = c.Verity
	return nil
}

// describe adds what is known of the image.
func (i *statusImage) describe(d *Deployment) error {
	image, err := i.Image.signed()
	if err != nil {
		return err
	}
	digest := i.ImageDigest
	// bootc reads the files of an early composefs host that had the digest
	// without its algorithm.
	if isHex(digest, 64) {
		digest = "sha256:" + digest
	}
	if digest != "" && !cstorage.IsDigest(digest) {
		return fmt.Errorf("invalid imageDigest %q", i.ImageDigest)
	}
	if i.Timestamp != "" {
		if d.Created, err = time.Parse(time.RFC3339, i.Timestamp); err != nil {
			return fmt.Errorf("invalid timestamp %q", i.Timestamp)
		}
		d.Created = d.Created.UTC()
	}
	d.Image, d.ManifestDigest = image, digest
	d.Version, d.Architecture = i.Version, i.Architecture
	return nil
}

// signed is the reference that r stands for.
func (r statusReference) signed() (*SignedReference, error) {
	transport, err := parseTransport(r.Transport)
	if err != nil {
		return nil, err
	}
	if r.Image == "" {
		return nil, errors.New("no image name")
	}
	s := &SignedReference{Image: ImageReference{Transport: transport, Name: r.Image}}
	switch signature := r.Signature.(type) {
	case nil:
		return s, nil
	case string:
		s.ContainerPolicy = signature == "containerPolicy"
		if s.ContainerPolicy || signature == "insecure" {
			return s, nil
		}
	case map[string]any:
		s.Remote, _ = signature["ostreeRemote"].(string)
		// A colon would end the remote when the reference is written.
		if s.Remote != "" && !strings.Contains(s.Remote, ":") && len(signature) == 1 {
			return s, nil
		}
	}
	// What asks for a signature in an unknown way must not pass for insecure.
	return nil, errors.New("unknown kind of signature")
}
