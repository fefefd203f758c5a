// SPDX-FileCopyrightText: The bootc-podman authors
// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bootc-podman/bootc-podman/internal/cstorage"
	"github.com/bootc-podman/bootc-podman/internal/host"
	"github.com/bootc-podman/bootc-podman/internal/inventory"
)

// Source is where an image comes from.
type Source string

// The sources of an image, in the order they are considered. FromTransport is where
// the reference leads that is neither of a registry nor of a store: an OCI layout,
// an archive.
const (
	FromBootc     Source = "bootc"
	FromDefault   Source = "default"
	FromRegistry  Source = "registry"
	FromTransport Source = "transport"
	FromOSTree    Source = "ostree"
	FromComposefs Source = "composefs"
)

// Plan is how the image that a host boots comes into the bootc-owned store. It is
// made before anything is changed; SetUnified does what it says.
type Plan struct {
	// Schema is the version of the JSON form.
	Schema int `json:"schema"`
	// Image is the reference that the deployment follows; Name is what the image
	// is called in the store. Role is the deployment's.
	Image string    `json:"image"`
	Name  string    `json:"name"`
	Role  host.Role `json:"role"`
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
	// Exact tells that the image in the store has the booted digest. An exported
	// one has the same content and another digest.
	Exact bool `json:"exact"`
	// Kept tells whether bootc's garbage collection keeps the image, which it does
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
	// Steps are what SetUnified does, in order.
	Steps []Step `json:"steps"`
	// Alternatives are the other sources that have the image, and Refused those that do
	// not, both only as Choice.Alternatives says.
	Alternatives []Alternative `json:"alternatives"`
	Refused      []Refusal     `json:"refused"`

	// image is Image in its parts, commit that of the booted deployment.
	image  host.ImageReference
	commit string
	kind   host.Kind
	host   *host.Host
	// hiding is the ID of the image of podman's own store that needs the name, too.
	hiding string
	// newer tells that another digest will do.
	newer bool
	// stored is the name that podman gives the image.
	stored host.Name
	// layers are those of the booted manifest, nil when not known.
	layers []host.Descriptor
	// loan is what podman's own store lends to a pull, nil for nothing.
	loan *loan
	// ignored is why bootc cannot upgrade through the bootc store, nil if it can.
	ignored error
	// untag tells that the image in the store has names of a run that was killed.
	untag bool
	// spooled bounds from below what podman has in temporary files.
	spooled int64
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
	// AcceptNewer takes an image of the same name and another digest.
	AcceptNewer bool
	// Method is how copies between stores are to be made: Auto, Clone or ByPodman.
	Method Method
	// Alternatives also looks at sources after the first that has the image.
	Alternatives bool

	// record is of an earlier run, nil for none.
	record *record
	// noProgram is why nothing can be cloned, nil if it can.
	noProgram error
	// repo is the directory of the ostree repository; measure sums up the files of an
	// image in it.
	repo    string
	measure func(commit string) (int64, error)
	// extents tells whether files can share them, "" to look for it.
	extents inventory.Capability
}

// sharing is the function of this name.
func (c Choice) sharing(from, to string) inventory.Capability {
	if c.extents != "" {
		return c.extents
	}
	return sharing(from, to)
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

// The names of images that have none of their own in a store: an image of an OCI
// layout or an archive, and one on its way from a composefs deployment.
const (
	unnamed    = "localhost/bootc"
	exportName = "localhost/bootc-podman/export:latest"
)

// NewPlan decides how the booted image comes into the bootc-owned store: what is
// booted, exactly, from the nearest source that has it.
func NewPlan(s *inventory.Survey, choice Choice) (*Plan, error) {
	booted := s.Host.Booted()
	switch {
	case booted == nil:
		return nil, ErrNotBooted
	case booted.Image == nil:
		return nil, fmt.Errorf("onboard deployment %s: %w", booted.ID(), ErrNotFromImage)
	case booted.ManifestDigest == "":
		return nil, fmt.Errorf("onboard deployment %s: %w", booted.ID(), ErrNoDigest)
	}
	image := booted.Image.Image
	p := &Plan{
		Schema: 1, Image: image.String(), Name: image.Name, Role: booted.Role,
		Digest: booted.ManifestDigest, Available: s.Free, Reflink: s.Filesystem.Reflink,
		Exact: true, commit: booted.Commit, image: image, kind: s.Host.Kind, host: s.Host,
	}
	if !image.NamesInRegistry() {
		image = host.ImageReference{Transport: host.ContainersStorage, Name: unnamed}
		p.Name = unnamed
	}
	var err error
	if p.stored, err = inventory.StorableName(image); err != nil {
		return nil, fmt.Errorf("onboard %s: %w", p.Image, err)
	}
	keepers, _ := s.Keepers(p.stored.String())
	p.Kept = len(keepers) > 0
	if named, err := s.Find(s.Bootc, p.Name); err == nil && named != nil && !named.Is(p.Digest) {
		p.Replaces = named.ID
	}
	p.Alternatives, p.Refused = []Alternative{}, []Refusal{}
	undecided := *p
	refused := refusals{}
	for i, try := range tries {
		if choice.From != "" && choice.From != try.source && try.source != FromBootc || slices.Contains(choice.Without, try.source) {
			continue
		}
		p.Source = try.source
		err := try.decide(p, s, booted, choice)
		if err == nil {
			p.foresee(s)
			p.Time, p.Steps = p.time(), append(p.discard(s), p.steps()...)
			if p.hiding = p.hides(s); p.hiding != "" {
				p.Steps = append(p.Steps, Step{StepNameOwn, fmt.Sprintf("name image %.12s of podman's own store %s, too: bootc's skopeo looks there first", p.hiding, p.stored)})
			}
			if choice.Alternatives && p.Source != FromBootc {
				p.compare(undecided, i, s, booted, choice)
			}
			return p, nil
		}
		*p = undecided
		if !errors.Is(err, errNotSuch) {
			refused = append(refused, fmt.Errorf("%s: %w", try.source, err))
		}
	}
	for _, source := range choice.Without {
		if (source == FromRegistry || source == FromTransport) && !choice.AcceptNewer && p.stored.Digest == "" {
			refused = append(refused, fmt.Errorf("%s: may have another image under this name, %w", source, ErrMovedOn))
		}
	}
	return nil, fmt.Errorf("onboard %s, %s: %w: %w", p.Image, p.Digest, ErrNoSource, refused)
}

// tries are the sources in their order, and how a plan decides about each.
var tries = []struct {
	source Source
	decide func(*Plan, *inventory.Survey, *host.Deployment, Choice) error
}{
	{FromBootc, (*Plan).fromBootc},
	{FromDefault, (*Plan).fromDefault},
	{FromRegistry, (*Plan).fromRegistry},
	{FromTransport, (*Plan).fromTransport},
	{FromOSTree, (*Plan).fromOSTree},
	{FromComposefs, (*Plan).fromComposefs},
}

// compare sets Alternatives and Refused of a plan that takes the image from the source
// with the given index; undecided is the plan without a source.
func (p *Plan) compare(undecided Plan, taken int, s *inventory.Survey, booted *host.Deployment, choice Choice) {
	choice.From = ""
	for i, try := range tries {
		if i == taken || try.source == FromBootc {
			continue
		}
		with, other := choice, undecided
		other.Source = try.source
		err := try.decide(&other, s, booted, with)
		if errors.Is(err, ErrMovedOn) {
			with.AcceptNewer, other = true, undecided
			other.Source = try.source
			if accepted := try.decide(&other, s, booted, with); accepted == nil {
				err = nil
			}
		}
		switch {
		case errors.Is(err, errNotSuch):
		case err != nil:
			p.Refused = append(p.Refused, Refusal{try.source, err.Error()})
		default:
			choose := "--from " + string(try.source)
			if with.AcceptNewer {
				choose += " --accept-newer"
			}
			p.Alternatives = append(p.Alternatives, Alternative{
				Source: try.source, Choose: choose, Digest: other.taken, Exact: other.Exact, Method: other.Method,
				MethodReason: other.MethodReason, Fetch: other.Fetch, Write: other.Write, WriteReason: other.WriteReason, Time: other.time(),
			})
		}
	}
}

// foresee sets how bootc upgrades the host once the image is in the bootc store.
func (p *Plan) foresee(s *inventory.Survey) {
	var sought []string
	for _, d := range inventory.UpgradeTargets(s.Host) {
		if d.Image == nil {
			continue
		}
		if name, err := inventory.StoredName(d.Image.Image); err == nil && name == p.stored {
			if p.ignored = s.LookedUp(); p.ignored != nil {
				p.Upgrade, p.UpgradeReason = UpgradeFails, p.ignored.Error()
				return
			}
			p.Upgrade = UpgradeUnified
			if other := p.hiddenBy(s); other != nil {
				hidden := &inventory.HiddenError{Name: p.stored.String(), Named: true, Other: other.Digest}
				p.Upgrade, p.UpgradeReason = UpgradeHidden, hidden.Error()
			}
			return
		}
		sought = append(sought, d.Image.Image.String())
	}
	p.Upgrade, p.UpgradeReason = UpgradeOrigin, fmt.Sprintf("bootc looks for %s, not for %s", strings.Join(sought, " or "), p.stored)
}

// hiddenBy returns the image of podman's own store that has the name there and will be
// another than the one in the bootc store, nil for none. Only skopeo looks there, see
// inventory.HiddenError.
func (p *Plan) hiddenBy(s *inventory.Survey) *cstorage.Image {
	if p.kind != host.OSTree || s.Own == nil || p.stored.Digest != "" {
		return nil
	}
	named := s.Own.Named(p.stored.String())
	switch {
	case named == nil, p.Exact && named.Has(p.Digest):
		return nil
	case p.Source == FromDefault && (p.Take == p.Name || p.Take == named.ID), p.Source == FromBootc && p.Take == named.ID:
		return nil
	}
	return named
}

// discard finds what is to be removed first.
func (p *Plan) discard(s *inventory.Survey) (steps []Step) {
	p.Discards, steps = []string{}, []Step{}
	if s.Bootc == nil || p.Method == Nothing {
		return steps
	}
	for _, img := range s.Bootc.Images {
		if err := s.Bootc.Damage(img); err != nil && img.Is(p.Digest) {
			p.Discards = append(p.Discards, img.ID)
			steps = append(steps, Step{StepDiscard, fmt.Sprintf("remove image %.12s from the bootc-owned store, which is damaged: %v", img.ID, err)})
		}
	}
	return steps
}

// refusals are why no source does.
type refusals []error

func (r refusals) Error() string {
	texts := make([]string, len(r))
	for i, err := range r {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap is what errors.Is looks at.
func (r refusals) Unwrap() []error { return r }

var (
	// errNotThere is why a source is passed over.
	errNotThere = errors.New("does not have it")
	// errNotSuch is why a source is not worth a word: no host of this kind, or no
	// reference like this one, has it.
	errNotSuch = errors.New("there is no such source")
)

// fromBootc looks whether the store has the image already, exported perhaps.
func (p *Plan) fromBootc(s *inventory.Survey, _ *host.Deployment, choice Choice) error {
	if s.Bootc == nil {
		return errNotThere
	}
	named, err := s.Find(s.Bootc, p.Name)
	if err != nil {
		return err
	}
	begun := choice.record.unfinished(p)
	if named != nil && s.Bootc.Damage(named) == nil && (named.Is(p.Digest) || choice.record.tells(named, p.Digest)) {
		p.Method, p.Take, p.Reason, p.Write = Nothing, named.ID, "the bootc-owned store has it", new(int64)
		p.Exact = slices.Contains(named.Digests, p.Digest)
		if begun && len(choice.record.gained(named, p)) > 0 {
			p.Method, p.Reason, p.untag = Tag, "the bootc-owned store has it, with a name more from a run that did not get to its end", true
		}
		return nil
	}
	for _, img := range s.Bootc.ByDigest(p.Digest) {
		p.Method, p.Take, p.Reason, p.Write = Tag, img.ID, "the bootc-owned store has it under another name", new(int64)
		p.untag = begun && len(choice.record.gained(img, p)) > 0
		return p.canName()
	}
	return errNotThere
}

// exact is the name that podman gives the booted image when it pulls it by digest.
func (p *Plan) exact() string {
	name := p.stored
	name.Tag, name.Digest = "", p.Digest
	return name.String()
}

// canName refuses a name with a digest, which podman gives an image only when it
// pulls it.
func (p *Plan) canName() error {
	if p.stored.Digest != "" {
		return errors.New("a name with a digest comes from a registry only")
	}
	return nil
}

func (p *Plan) fromDefault(s *inventory.Survey, _ *host.Deployment, choice Choice) error {
	named, err := s.Find(s.Default, p.Name)
	if err != nil {
		return err
	}
	damage := errNotThere
	if named != nil {
		if err := s.Default.Damage(named); err != nil {
			named, damage = nil, fmt.Errorf("the image is damaged: %w", err)
		}
	}
	var others []*cstorage.Image
	if s.Default != nil {
		others = s.Default.ByDigest(p.Digest)
	}
	img := named
	p.Take = p.Name
	switch {
	case named != nil && named.Is(p.Digest):
		p.Reason = "podman's own store has it"
	case named != nil && choice.AcceptNewer && p.image.NamesInRegistry():
		p.newer = true
		p.Reason = "podman's own store has an image of this name"
	case len(others) > 0:
		img = others[0]
		p.Take = img.ID
		p.Reason = "podman's own store has it under another name"
	case named != nil:
		if !p.image.NamesInRegistry() || p.stored.Digest != "" {
			return fmt.Errorf("has %s under this name", named.Digest)
		}
		return fmt.Errorf("has %s under this name, %w", named.Digest, ErrMovedOn)
	default:
		return damage
	}
	if p.Method, p.MethodReason, err = choice.copyMethod(s); err != nil {
		return err
	}
	layers := descriptors(s.Default, img)
	bytes := sizes(layers[storedLayers(s.Bootc, layers):])
	if p.Method == Clone {
		known := inventory.Yes
		copied := destination{store: s.Bootc, dir: s.Store.Path()}.written(source{store: s.Default, Image: img}, func(from, to string) inventory.Capability {
			shared := choice.sharing(from, to)
			if shared != inventory.Yes && known != inventory.Unknown {
				known = shared
			}
			return shared
		}, nil)
		p.writeUnlessShared(known, func() (int64, error) { return copied, nil })
	} else {
		p.Write, p.spooled = &bytes, bytes
	}
	p.Exact, p.taken = slices.Contains(img.Digests, p.Digest), img.Digest
	if p.Exact {
		p.taken = p.Digest
	}
	return p.canName()
}

// writeUnlessShared sets what a clone writes.
func (p *Plan) writeUnlessShared(shared inventory.Capability, bytes func() (int64, error)) {
	switch shared {
	case inventory.Yes:
		p.Write = new(int64)
	case inventory.No:
		p.write(bytes())
	default:
		p.Write, p.WriteReason = nil, "it takes trying to know whether files share extents there"
	}
}

// write sets what is written, unless it is not known.
func (p *Plan) write(bytes int64, err error) {
	if p.Write, p.WriteReason = &bytes, ""; err != nil {
		p.Write, p.WriteReason = nil, err.Error()
	}
}

// pulls sets what a pull of the booted image fetches and writes at least: layers are as
// in its manifest, compressed mostly, and not known otherwise.
func (p *Plan) pulls(s *inventory.Survey, choice Choice) int64 {
	p.Write, p.WriteReason = nil, "this host does not keep the manifest of what is booted, which has the sizes of its layers"
	for _, img := range s.Commits {
		if img.ManifestDigest == p.Digest {
			p.layers = img.Manifest.Layers
		}
	}
	if p.layers == nil {
		return 0
	}
	var shared inventory.Capability
	if p.loan != nil {
		shared = choice.sharing(s.Default.Path(), s.Store.Path())
	}
	fetched, written := destination{store: s.Bootc}.pulled(p.layers, p.loan, shared)
	if p.newer {
		p.WriteReason = "another image may come than what is booted"
		return fetched
	}
	p.write(written, nil)
	p.spooled = fetched
	return fetched
}

func (p *Plan) fromRegistry(s *inventory.Survey, _ *host.Deployment, choice Choice) error {
	if p.image.Transport != host.Registry {
		if choice.From == "" && p.image.Transport != host.ContainersStorage {
			return errNotSuch
		}
		return fmt.Errorf("image is of transport %s", p.image.Transport)
	}
	p.Method, p.Exact = Pull, true
	p.Reason = reason(choice, "no store of this host has what is booted")
	p.Take, p.taken = p.exact(), p.Digest
	if choice.AcceptNewer && p.stored.Digest == "" {
		p.Take, p.taken, p.Exact, p.newer = p.Name, "", false, true
	}
	if method, _, err := choice.copyMethod(s); err == nil && method == Clone && p.Exact {
		p.loan = newLoan(s.Default, s.Bootc, s.Commits, p.Digest)
	}
	p.Fetch = p.pulls(s, choice)
	return nil
}

// fromTransport takes the image from where it was taken when it was deployed, if
// that can be told apart from a store and a registry.
func (p *Plan) fromTransport(s *inventory.Survey, _ *host.Deployment, choice Choice) error {
	switch {
	case !p.image.NamesInRegistry():
	case choice.From == "":
		return errNotSuch
	default:
		return fmt.Errorf("image is of transport %s", p.image.Transport)
	}
	digest, err := lookAt(s.Root(), p.image)
	switch {
	case err != nil:
		return err
	case digest != "" && digest != p.Digest && !choice.AcceptNewer:
		return fmt.Errorf("has %s, %w", digest, ErrMovedOn)
	}
	p.newer = choice.AcceptNewer && digest != p.Digest
	p.Method, p.Take, p.taken, p.Exact = Pull, p.Image, digest, !p.newer
	p.pulls(s, choice) // which fetches nothing
	p.Reason = reason(choice, "no store of this host has what is booted")
	return nil
}

// reason is why an image comes from a source, unless it was asked for.
func reason(choice Choice, why string) string {
	if choice.From != "" {
		return "as asked for"
	}
	return why
}

func (p *Plan) fromOSTree(s *inventory.Survey, _ *host.Deployment, choice Choice) error {
	if s.Host.Kind == host.Composefs {
		return errNotSuch
	}
	for _, img := range s.Commits {
		if img.Checksum == p.commit {
			p.Take, p.Exact, p.Fetch = p.commit, false, 0
			var err error
			if p.Method, p.MethodReason, err = choice.exportMethod(s); err != nil {
				return err
			}
			bytes := func() (int64, error) { return choice.measure(p.commit) }
			if p.Method == Clone {
				p.writeUnlessShared(choice.sharing(choice.repo, s.Store.Path()), bytes)
			} else {
				p.write(bytes())
			}
			p.Reason = reason(choice, "no other source has what is booted")
			return p.canName()
		}
	}
	return errNotThere
}

// fromComposefs lets bootc export the deployment.
func (p *Plan) fromComposefs(s *inventory.Survey, _ *host.Deployment, choice Choice) error {
	if s.Host.Kind != host.Composefs {
		return errNotSuch
	}
	err := bootcFinds(s, p.image, p.Digest)
	if err != nil {
		return err
	}
	if _, p.MethodReason, err = choice.copyMethod(s); err != nil {
		return err
	}
	p.Method, p.Take, p.Exact, p.Fetch, p.Write = ByBootc, p.Image, false, 0, nil
	p.WriteReason = "bootc alone knows the layers of a composefs deployment"
	p.Reason = reason(choice, "no other source has what is booted")
	return p.canName()
}

// bootcFinds tells whether bootc is there, and would export the deployment with a
// manifest digest: it looks for the name of the image alone, a staged deployment
// first (bootc_composefs/export.rs).
func bootcFinds(s *inventory.Survey, image host.ImageReference, digest string) error {
	for _, d := range s.Host.Deployments {
		if d.Image == nil || d.Image.Image != image {
			continue
		}
		if d.ManifestDigest != digest {
			return fmt.Errorf("bootc would export the %s deployment, %s of the same name", d.Role, d.ManifestDigest)
		}
		break
	}
	_, err := s.Program("bootc")
	return err
}

func (p *Plan) steps() []Step {
	verify := Step{StepVerify, "verify that it is what is booted"}
	tag := Step{StepTag, fmt.Sprintf("name it %s in the bootc-owned store", p.Name)}
	switch p.Method {
	case Tag:
		if p.untag {
			return []Step{tag, {StepUntag, "take away the name that podman gave it"}, verify}
		}
		return []Step{tag, verify}
	case Clone:
		if p.Source == FromOSTree {
			return []Step{{StepClone, fmt.Sprintf("make %s of the booted commit's files in the ostree repository", p.Name)}, verify}
		}
		return []Step{{StepClone, fmt.Sprintf("clone %s from podman's own store", p.Take)}, verify}
	case Copy:
		return []Step{{StepCopy, fmt.Sprintf("copy %s from podman's own store", p.Take)}, verify}
	case Pull:
		pull := Step{StepPull, "pull " + p.Take}
		// bootc cannot remove an image of two names.
		switch {
		case p.Source == FromTransport:
			return []Step{pull, tag, {StepUntag, "take away the name that podman gave it"}, verify}
		case p.Take == p.Name || p.stored.Digest != "":
			return p.lending(pull, verify)
		}
		return p.lending(pull, tag, Step{StepUntag, "take away the name " + p.Take}, verify)
	case Reexport:
		return []Step{{StepExport, fmt.Sprintf("export the booted commit from the ostree repository as %s", p.Name)}, verify}
	case ByBootc:
		return []Step{
			{StepBootc, fmt.Sprintf("let bootc export %s to podman's own store as %s", p.Take, exportName)},
			{StepCopy, fmt.Sprintf("copy it from there as %s", p.Name)},
			{StepVerify, "verify that it is what bootc exported"},
			{StepRemove, "remove it from podman's own store"},
		}
	}
	return []Step{}
}

// lending are the steps of a pull, with those before and after it for what is lent.
func (p *Plan) lending(pull Step, others ...Step) []Step {
	if p.loan == nil {
		return append([]Step{pull}, others...)
	}
	lend := fmt.Sprintf("clone layers of image %.12s, %d of the booted one's, from podman's own store", p.loan.image, len(p.loan.blobs))
	return append([]Step{{StepLend, lend}, pull, {StepReturn, "remove what keeps only these layers"}}, others...)
}
