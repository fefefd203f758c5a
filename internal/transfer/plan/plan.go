// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

// Package plan decides how the booted image of a host is copied to the bootc-owned store. It
// starts no program and reads no file but through the view that it is given.
package plan

import (
	"errors"
	"fmt"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/inventory"

	"github.com/bootc-podman/bootc-podman/internal/host"
)

// Source is where an image comes from.
type Source string

// The sources of an image, in the order they are considered. FromComposefs comes before
// registries where the image can be cloned out of the repository, and last where bootc has to
// export it. FromTransport is where
// the reference leads that is neither of a registry nor of a store: an OCI layout,
// an archive.
const (
	FromBootc     Source = "bootc"
	FromDefault   Source = "default"
	FromRegistry  Source = "registry"
	FromTransport Source = "transport"
	FromOSTree    Source = "ostree"
	FromComposefs Source = "composefs"
	// FromOCI is followed by the path of an OCI image layout; for bound images only.
	FromOCI Source = "oci:"
)

// Plan is how the image that a host boots is copied to the bootc-owned store. It is
// made before anything is changed.
type Plan struct {
	// Schema is the version of the JSON form.
	Schema int `json:"schema"`
	// Image is the reference that the deployment follows; Name is what the image
	// is called in the store. Role is the deployment's, "" for an image of no deployment.
	Image string    `json:"image"`
	Name  string    `json:"name"`
	Role  host.Role `json:"role"`
	// Destination is the store that gets the image: FromBootc or FromDefault.
	Destination Source `json:"destination"`
	// Digest is the manifest digest of what is booted, and of what will be in
	// the store unless that is exported from ostree.
	Digest string `json:"digest"`
	// Source is where the image comes from, Reason why from there.
	Source Source `json:"source"`
	Reason string `json:"reason"`
	// Take is what is taken from the source: an image ID, or a name there.
	Take string `json:"take"`
	// Method is by which means: nothing to do, a new name, a clone, or a copy, a pull
	// or an export with podman. MethodReason is why it is not another, "" where there
	// is none.
	Method       Method `json:"method"`
	MethodReason string `json:"method_reason"`
	// Fetch is the number of bytes that come over the network at most; Write bounds
	// from below what the store's files take then, nil when not known, and WriteReason
	// is why it is not. Neither counts layers that the store has. Available are the
	// bytes free on the store's filesystem without a reserve of root's, and its files
	// can share extents as Reflink says.
	Fetch       int64                `json:"bytes_to_fetch"`
	Write       *int64               `json:"bytes_to_write"`
	WriteReason string               `json:"write_reason"`
	Available   uint64               `json:"bytes_available"`
	Reflink     inventory.Capability `json:"reflink"`
	// Time is what the time it takes depends on.
	Time TimeClass `json:"time"`
	// Exact reports that the image in the store has the booted digest. An exported
	// one has the same content and another digest.
	Exact bool `json:"exact"`
	// Identity is Exact in words.
	Identity Identity `json:"identity"`
	// Kept reports whether bootc's garbage collection keeps the image, which it does
	// only if podman stores it under Name, character for character.
	Kept bool `json:"kept"`
	// Upgrade is how bootc upgrades the host afterwards, UpgradeReason why so, "" where it
	// is through the bootc store.
	Upgrade       Upgrade `json:"upgrade"`
	UpgradeReason string  `json:"upgrade_reason"`
	// Replaces is the ID of an image that has the name now, and loses it.
	Replaces string `json:"replaces"`
	// Discards are the IDs of images in the store that are what is booted, but damaged.
	// They are removed first, or their layers would be taken for good ones.
	Discards []string `json:"discards"`
	// Steps are what is done, in order.
	Steps []Step `json:"steps"`
	// Changed reports whether the run changed a store; before a run it is false. ResultDigest
	// is the manifest digest of the image in the store: after a run, and before it where it is
	// known.
	Changed      bool   `json:"changed"`
	ResultDigest string `json:"result_digest"`
	// Failed reports that the run failed at this image.
	Failed bool `json:"-"`
	// Alternatives are the other sources that have the image, and Refused those that do
	// not, both only as Choice.Alternatives says.
	Alternatives []Alternative `json:"alternatives"`
	Refused      []Refusal     `json:"refused"`

	// Reference is Image in its parts, Commit that of the booted deployment.
	Reference host.ImageReference `json:"-"`
	Commit    string              `json:"-"`
	// Hiding is the ID of the image of podman's own store that needs the name, too.
	Hiding string `json:"-"`
	// Newer reports that another digest will do.
	Newer bool `json:"-"`
	// Stored is the name that podman gives the image.
	Stored cstorage.Name `json:"-"`
	// Layers are those of the booted manifest, nil when not known.
	Layers []host.Descriptor `json:"-"`
	// Loan is what podman's own store lends to a pull, nil for nothing.
	Loan *Loan `json:"-"`
	// Assembly is what the image is made of, where podman's own store has its layers only.
	Assembly *Assembly `json:"-"`
	// Ignored is why bootc cannot upgrade through the bootc store, nil if it can.
	Ignored error `json:"-"`
	// Spooled bounds from below what podman has in temporary files.
	Spooled int64 `json:"-"`

	// untag reports that the image in the store has names of a run that was killed.
	untag bool
	// taken is the manifest digest of the image in the source, "" where it is not known.
	taken string
}

// Alternative is how the image would come from another source.
type Alternative struct {
	Source Source `json:"source"`
	// Choose are the options that choose it, separated by blanks.
	Choose string `json:"choose"`
	// Digest is the manifest digest of the image then, "" when not known. The others are
	// as in Plan.
	Digest       string    `json:"digest"`
	Exact        bool      `json:"exact"`
	Identity     Identity  `json:"identity"`
	Method       Method    `json:"method"`
	MethodReason string    `json:"method_reason"`
	Fetch        int64     `json:"bytes_to_fetch"`
	Write        *int64    `json:"bytes_to_write"`
	WriteReason  string    `json:"write_reason"`
	Time         TimeClass `json:"time"`
}

// Refusal is why the image does not come from a source.
type Refusal struct {
	Source Source `json:"source"`
	Reason string `json:"reason"`
}

// Identity is how the image in the store relates to the one that was copied.
type Identity string

// The identities. ostree does not keep the archives of layers, and bootc makes others when it
// exports a composefs deployment. OtherImage is what --accept-newer may bring.
const (
	SameImage  Identity = "same image, digest kept"
	FromFiles  Identity = "same files, new digest (ostree does not keep the archive)"
	BootcsCopy Identity = "same files, new digest (bootc does not keep the archive)"
	OtherImage Identity = "another image of this name"
)

// identity returns the one of a plan.
func (p *Plan) identity(kind host.Kind) Identity {
	switch {
	case p.Newer:
		return OtherImage
	case p.Exact:
		return SameImage
	case kind == host.Composefs:
		return BootcsCopy
	}
	return FromFiles
}

// identify sets what the image in the store will be, as far as that is known.
func (p *Plan) identify(kind host.Kind) {
	p.Identity = p.identity(kind)
	switch {
	case p.ResultDigest != "":
	case p.Exact:
		p.ResultDigest = p.Digest
	default:
		p.ResultDigest = p.taken
	}
}

// Arrived sets the manifest digest of the image in the store.
func (p *Plan) Arrived(digest string) {
	p.ResultDigest, p.Exact = digest, p.Digest == "" || digest == p.Digest
	if p.Exact && !p.Newer {
		p.Identity = SameImage
	}
}

// TimeClass is what the time of a transfer depends on.
type TimeClass string

// The classes, the fastest first: nothing that grows with the image; the number of its
// files, which share their content with the originals; its bytes, which are read and
// written on this host; and its bytes, which come over the network.
const (
	TimeInstant  TimeClass = "instant"
	TimeMetadata TimeClass = "metadata"
	TimeDisk     TimeClass = "disk"
	TimeNetwork  TimeClass = "network"
)

// time returns what the time of a plan depends on.
func (p *Plan) time() TimeClass {
	switch {
	case p.Method == Nothing, p.Method == Tag:
		return TimeInstant
	case p.Source == FromRegistry && (p.Fetch > 0 || p.Write == nil):
		return TimeNetwork
	case p.Write != nil && *p.Write == 0: // it is cloned, or all its layers are
		return TimeMetadata
	}
	return TimeDisk
}

// Upgrade is how bootc upgrades a host.
type Upgrade string

// NotExamined is Upgrade of a plan of another verb than set-unified.
const NotExamined Upgrade = "not-examined"

// The ways of upgrades: through the bootc store; from where the deployment's origin leads,
// without it; to what podman's own store has under the name, where skopeo looks first; and
// none, as bootc finds the image in the bootc store but cannot read it there.
const (
	UpgradeUnified Upgrade = "unified"
	UpgradeOrigin  Upgrade = "origin"
	UpgradeHidden  Upgrade = "hidden"
	UpgradeFails   Upgrade = "fails"
)

// Step is a part of what a plan does.
type Step struct {
	Name StepName `json:"name"`
	// Description is for people.
	Description string `json:"description"`
}

// StepName is what a step does.
type StepName string

// The steps of plans.
const (
	StepDiscard StepName = "discard"
	StepTag     StepName = "tag"
	StepUntag   StepName = "untag"
	StepCopy    StepName = "copy"
	StepClone   StepName = "clone"
	StepLend    StepName = "lend"
	StepPull    StepName = "pull"
	StepReturn  StepName = "return"
	StepExport  StepName = "export"
	StepBootc   StepName = "bootc"
	StepVerify  StepName = "verify"
	StepRemove  StepName = "remove"
	StepNameOwn StepName = "name"
)

// Method is a way to move an image.
type Method string

// The methods that a user chooses from. Auto clones, and leaves to podman what cannot be
// cloned.
const (
	Auto     Method = "auto"
	Clone    Method = "clone"
	ByPodman Method = "podman"
)

// The methods of plans, besides Clone. What is not cloned is copied by podman, but for
// what bootc exports.
const (
	Nothing  Method = "none"
	Tag      Method = "tag"
	Copy     Method = "copy"
	Pull     Method = "pull"
	Reexport Method = "export"
	ByBootc  Method = "bootc"
)

// Choice is what the user has to say about a plan.
type Choice struct {
	// From is the only source to consider, "" for any.
	From Source
	// Without are sources that turned out not to have it.
	Without []Source
	// NotCloned is why the image cannot be cloned out of the composefs repository, as was
	// tried, nil if it was not.
	NotCloned error
	// AcceptNewer takes an image of the same name and another digest.
	AcceptNewer bool
	// Method is how copies between stores are to be made: Auto, Clone or ByPodman.
	Method Method
	// Alternatives also looks at sources after the first that has the image.
	Alternatives bool
}

var (
	// ErrNotFromImage says that the booted deployment was not made from an image.
	ErrNotFromImage = errors.New("not made from a container image")
	// ErrNotBooted says that no deployment is booted.
	ErrNotBooted = errors.New("no deployment is booted")
	// ErrMovedOn says that a source has another image of the same name by now, which
	// Choice.AcceptNewer would take.
	ErrMovedOn = errors.New("not what is booted")
	// ErrNoSource says that no source has the booted image.
	ErrNoSource = errors.New("no source has the booted image")
	// ErrNoDigest says that it is not known which image exactly is booted.
	ErrNoDigest = errors.New("the manifest digest of what is booted is not known")
)

// LayeredError says that packages were layered locally on the image that the booted deployment
// follows, so that no image has what is booted. It is ErrNotFromImage.
type LayeredError struct{ Base host.ImageReference }

func (e *LayeredError) Error() string {
	return fmt.Sprintf("packages were layered locally on %s", e.Base)
}

// Unwrap returns ErrNotFromImage.
func (e *LayeredError) Unwrap() error { return ErrNotFromImage }

// The names of images without a name of their own in a store: an image of an OCI
// layout or an archive, and one that is copied from a composefs deployment.
const (
	unnamed    = "localhost/bootc"
	ExportName = "localhost/bootc-podman/export:latest"
)
